"""What was asked, whole and frozen; serialises to one JSON object."""

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from voice2music.errors import BadRequest

ENGINES = ("musicgen", "audioldm", "band")
MAX_WORDS = 1_000  # characters of free text
SHORTEST, LONGEST = 3.0, 120.0  # seconds of music
Role = Literal["tune", "back"]
Decision = Literal["auto", "yes", "no"]
Start = Literal["noise", "voice", "band"]


@dataclass(frozen=True)
class Guide:
    """The beat the singer heard in the headphones.

    Args:
        tempo: beats per minute.
        beats_per_bar: 2 to 7.
        first_downbeat: seconds from the start of the recording at which bar one was *played*.
        latency: seconds by which the recorded voice lags what was played.
    """

    tempo: float
    beats_per_bar: int = 4
    first_downbeat: float = 0.0
    latency: float = 0.175


@dataclass(frozen=True)
class Request:
    """One job. Every field has a default but what to do it to; unknown values are refused.

    Args:
        engines: which engines, in the order of their takes.
        genre: a name from `styles.toml`; `genres` overrides it per engine.
        mood, words, negative: free text; `words` is cut at 1,000 characters.
        role: "tune" plays the tune on an instrument, "back" accompanies the voice.
        seconds: length of the music; None is the voice's own length.
        seed: of the first variation; variation i uses seed + i.
        variations: takes per engine, 1 to 8.
        tempo, key, chords: the user's own instead of what was heard ("A minor"; "C | Am | F G").
        faithful: 1 follows the voice closely, 0 leaves the models free.
        happy, jazzy: bend the chords, -1 to 1.
        checkpoints: engine name to checkpoint name or folder.
        guidance: classifier-free guidance scale; None is the engine's own.
        steps: diffusion steps; None is the engine's own.
        start_from, strength: what AudioLDM starts from, and how much of it is remade, 0 to 1.
        separate, denoise: clean-up of the voice before it is heard.
        corrected: snap the hum to key and grid before it conditions the engines.
        guide: the guide beat, when one was used.
        voice_level, music_level: dB in the mix.
    """

    engines: tuple[str, ...] = ENGINES
    genre: str = "pop"
    genres: dict[str, str] = field(default_factory=dict)
    mood: str = ""
    words: str = ""
    negative: str = ""
    role: Role = "tune"
    seconds: float | None = None
    seed: int = 0
    variations: int = 1
    tempo: float | None = None
    key: str | None = None
    chords: str | None = None
    faithful: float = 0.7
    happy: float = 0.0
    jazzy: float = 0.0
    checkpoints: dict[str, str] = field(default_factory=dict)
    guidance: float | None = None
    steps: int | None = None
    start_from: Start = "noise"
    strength: float = 0.6
    separate: Decision = "auto"
    denoise: bool = False
    corrected: bool = False
    guide: Guide | None = None
    voice_level: float = -3.0
    music_level: float = -3.0

    def __post_init__(self) -> None:
        _check_choice("engine", self.engines, ENGINES)
        _check_choice("role", (self.role,), ("tune", "back"))
        _check_choice("separate", (self.separate,), ("auto", "yes", "no"))
        _check_choice("start_from", (self.start_from,), ("noise", "voice", "band"))
        if not self.engines:
            raise BadRequest(f"No engine was chosen. Choose of {', '.join(ENGINES)}.")
        _check_range("seconds", self.seconds, SHORTEST, LONGEST)
        _check_range("tempo", self.tempo, 30, 300)
        _check_range("variations", self.variations, 1, 8)
        _check_range("seed", self.seed, 0, 2**31 - 1)
        _check_range("steps", self.steps, 1, 1000)
        _check_range("guidance", self.guidance, 0, 30)
        for name in ("faithful", "strength"):
            _check_range(name, getattr(self, name), 0, 1)
        for name in ("happy", "jazzy"):
            _check_range(name, getattr(self, name), -1, 1)
        for name in ("voice_level", "music_level"):
            _check_range(name, getattr(self, name), -80, 12)
        for name in ("words", "negative", "mood"):
            object.__setattr__(self, name, plain_text(getattr(self, name)))
        if self.guide is not None:
            _check_range("guide tempo", self.guide.tempo, 30, 300)
            _check_range("beats per bar", self.guide.beats_per_bar, 2, 7)
            _check_range("first downbeat", self.guide.first_downbeat, -60, 600)
            _check_range("latency", self.guide.latency, 0, 2)

    def genre_of(self, engine: str) -> str:
        """The genre that this engine plays."""
        return self.genres.get(engine, self.genre)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` gives the same request back."""
        out: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return out

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Request":
        """A request out of JSON values.

        Raises:
            BadRequest: an unknown field, or a value of the wrong kind or out of range.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise BadRequest(f"Unknown setting {unknown[0]!r}. Known: {', '.join(sorted(known))}.")
        given = dict(values)
        try:
            if isinstance(given.get("guide"), dict):
                given["guide"] = Guide(**given["guide"])
            if "engines" in given:
                given["engines"] = tuple(given["engines"])
            return cls(**given)
        except TypeError as error:
            raise BadRequest(f"A setting has the wrong kind of value: {error}") from error


def plain_text(text: str) -> str:
    """Free text without control characters, white space folded, cut at `MAX_WORDS` characters."""
    if not isinstance(text, str):
        raise BadRequest(f"Expected text, got {type(text).__name__}.")
    return re.sub(r"[\x00-\x1f\x7f\s]+", " ", text).strip()[:MAX_WORDS]


def _check_choice(name: str, given: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for value in given:
        if value not in allowed:
            raise BadRequest(f"{name} {value!r} is not known. Choose of {', '.join(allowed)}.")


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequest(f"{name} must be a number, got {value!r}.")
    if not low <= value <= high:
        raise BadRequest(f"{name} is {value:g}; it must be from {low:g} to {high:g}.")
