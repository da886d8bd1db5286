"""What was asked, whole and frozen; serialises to one JSON object."""

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from voice2music.errors import BadRequest

ENGINES = ("musicgen", "audioldm", "band")
MAX_WORDS = 1_000  # characters of free text
OPTIONAL = ("seconds", "tempo", "steps", "guidance")  # numbers that may be None
SEEDS = 2**31  # a seed is below this
SHORTEST, LONGEST = 3.0, 120.0  # seconds of music
Role = Literal["tune", "back"]
Decision = Literal["auto", "yes", "no"]
Start = Literal["auto", "noise", "voice", "band"]


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
        seed: of the first variation; variation i uses seed + i (after 2^31 - 1 comes 0).
        variations: takes per engine, 1 to 8.
        tempo, key, chords: the user's own instead of what was heard ("A minor"; "C | Am | F G").
        faithful: 1 follows the voice closely, 0 leaves the models free.
        happy, jazzy: bend the chords, -1 to 1.
        checkpoints: engine name to checkpoint name or folder.
        guidance: classifier-free guidance scale; None is the engine's own.
        steps: diffusion steps; None is the engine's own.
        start_from, strength: what AudioLDM starts from, and how much of it is remade, 0 to 1;
            "auto" is noise for a checkpoint that can follow a tune, else the band's sketch.
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
    start_from: Start = "auto"
    strength: float = 0.45
    separate: Decision = "auto"
    denoise: bool = False
    corrected: bool = False
    guide: Guide | None = None
    voice_level: float = -3.0
    music_level: float = -3.0

    def __post_init__(self) -> None:
        self._check_kinds()
        _check_choice("engine", self.engines, ENGINES)
        _check_choice("role", (self.role,), ("tune", "back"))
        _check_choice("separate", (self.separate,), ("auto", "yes", "no"))
        _check_choice("start_from", (self.start_from,), ("auto", "noise", "voice", "band"))
        if not self.engines:
            raise BadRequest(f"No engine was chosen. Choose of {', '.join(ENGINES)}.")
        _check_range("seconds", self.seconds, SHORTEST, LONGEST)
        _check_range("tempo", self.tempo, 30, 300)
        _check_range("variations", self.variations, 1, 8, whole=True)
        _check_range("seed", self.seed, 0, SEEDS - 1, whole=True)
        _check_range("steps", self.steps, 1, 1000, whole=True)
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
            _check_range("beats per bar", self.guide.beats_per_bar, 2, 7, whole=True)
            _check_range("first downbeat", self.guide.first_downbeat, -60, 600)
            _check_range("latency", self.guide.latency, 0, 2)

    def _check_kinds(self) -> None:
        """Values out of JSON may be anything; what is not a number is looked at here."""
        if not (isinstance(self.engines, tuple) and all(isinstance(e, str) for e in self.engines)):
            raise BadRequest(f"engines must be a list of names, got {_shown(self.engines)}.")
        for name in ("genre", "role", "separate", "start_from"):
            _check_kind(name, getattr(self, name), str, "text")
        for name in ("key", "chords"):
            _check_kind(name, getattr(self, name), str | None, "text")
        for name in ("denoise", "corrected"):
            _check_kind(name, getattr(self, name), bool, "true or false")
        for name in ("genres", "checkpoints"):
            per_engine = getattr(self, name)
            _check_kind(name, per_engine, dict, "a table of engine names")
            _check_choice("engine", tuple(per_engine), ENGINES)
            for value in per_engine.values():
                _check_kind(name, value, str, "text")
            object.__setattr__(self, name, dict(per_engine))  # the caller keeps his own
        _check_kind("guide", self.guide, Guide | None, "a table with a tempo")

    def genre_of(self, engine: str) -> str:
        """The genre that this engine plays."""
        return self.genres.get(engine, self.genre)

    def seed_of(self, variation: int) -> int:
        """The seed of a variation, counted from 0."""
        return (self.seed + variation) % SEEDS

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` gives the same request back."""
        out: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return out

    @classmethod
    def from_json(cls, values: object) -> "Request":
        """A request out of JSON values.

        Raises:
            BadRequest: an unknown field, or a value of the wrong kind or out of range.
        """
        if not isinstance(values, dict):
            raise BadRequest(f"A request is a table of settings, got {_shown(values)}.")
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                listed = ", ".join(sorted(known))
                raise BadRequest(f"Unknown setting {_shown(name)}. Known: {listed}.")
        given = dict(values)
        if isinstance(given.get("guide"), dict):
            given["guide"] = _guide(given["guide"])
        if isinstance(given.get("engines"), list):
            given["engines"] = tuple(given["engines"])
        return cls(**given)


def _guide(values: dict[str, Any]) -> Guide:
    """A guide beat out of JSON values."""
    known = [f.name for f in dataclasses.fields(Guide)]
    if "tempo" not in values or (set(values) - set(known)):
        raise BadRequest(f"A guide beat has a tempo and may have {', '.join(known[1:])}.")
    return Guide(**values)


def plain_text(text: object) -> str:
    """Free text without control characters, white space folded, cut at `MAX_WORDS` characters."""
    if not isinstance(text, str):
        raise BadRequest(f"Expected text, got {type(text).__name__}.")
    # Half a surrogate pair cannot be written to any file.
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\s]+", " ", text).strip()[:MAX_WORDS]


def _check_kind(name: str, value: object, kind: Any, words: str) -> None:  # noqa: ANN401
    if not isinstance(value, kind):
        raise BadRequest(f"{name} must be {words}, got {_shown(value)}.")


def _check_choice(name: str, given: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for value in given:
        if value not in allowed:
            raise BadRequest(
                f"{name} {_shown(value)} is not known. Choose of {', '.join(allowed)}."
            )


def _check_range(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    """A number that is there lies in [low, high]. NaN lies nowhere."""
    if value is None and name in OPTIONAL:
        return
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds):
        a_number = "a whole number" if whole else "a number"
        raise BadRequest(f"{name} must be {a_number}, got {_shown(value)}.")
    if not low <= value <= high:
        raise BadRequest(f"{name} is {_shown(value)}; it must be from {low:g} to {high:g}.")


def _shown(value: object) -> str:
    """A value as it stands in an error, not longer than a line."""
    if isinstance(value, int) and not -(10**12) < value < 10**12:
        return "a very large number"  # Python refuses to print thousands of digits
    text = f"{value:g}" if isinstance(value, int | float) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
