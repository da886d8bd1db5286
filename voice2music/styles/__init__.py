"""Styles: what makes a disco a disco, as data.

`styles.toml` lists the styles in the order in which they are offered; each lies in a TOML file of
its own. How a pattern is written is told in `voice2music/styles/README.md`.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from voice2music.errors import BadRequest
from voice2music.gm import DRUMS, KITS, PROGRAMS

Kind = Literal["bass", "walk", "comp", "arpeggio", "pad", "power", "answer", "unison"]
Colour = Literal["triads", "sevenths", "dominant", "power"]
Ending = Literal["ring", "stab"]
STROKES = ".123456789"
MARKS: Mapping[Kind, str] = MappingProxyType(
    {
        "bass": ".-1345678a",
        "walk": ".-x",
        "comp": f"{STROKES}-u",
        "arpeggio": f"{STROKES}-",
        "pad": f"{STROKES}-",
        "power": f"{STROKES}-m",
        "answer": f"{STROKES}-",
        "unison": "",
    }
)
"""What may stand in a pattern, by the kind of its player."""
WIDTH = 0.4  # of everything but the lead, the bass and the drums, unless the style says otherwise

Bar = str
"""One bar of a pattern, a character per step."""
Groove = Mapping[str, tuple[Bar, ...]]
"""Drum name to the bars that are played in turn."""


@dataclass(frozen=True)
class Instrument:
    """An instrument and its place in the mix.

    Args:
        program: GM program (or drum kit) from 0.
        low, high: MIDI range in which it plays.
        pan: -1 left to 1 right.
        level: loudness while it plays, LUFS, before the whole is brought to its level.
        room: share of reverb, 0 dry to 1.
        vibrato: depth in cents.
        width: how far it spreads to both sides, 0 a point to 1.
    """

    program: int
    low: int
    high: int
    pan: float = 0.0
    level: float = -20.0
    room: float = 0.5
    vibrato: float = 0.0
    width: float = 0.0

    @property
    def name(self) -> str:
        """Its General MIDI name."""
        return PROGRAMS[self.program]


@dataclass(frozen=True)
class Layer:
    """One player of the accompaniment.

    Args:
        name: of the stem and the MIDI track.
        kind: how the pattern's characters are read; see the README.
        instrument: what is played.
        patterns: the first is played mostly, the others now and then; each one or more bars.
        enters: phrase (from 0) at which the player comes in, in pieces long enough for a build-up.
        voices: most notes of a chord.
        strum: seconds between two strings of a strummed chord.
        late: seconds behind (or, negative, ahead of) the beat.
        short: share of its steps for which a note sounds.
        ghost: plays softer while the singer sings.
    """

    name: str
    kind: Kind
    instrument: Instrument
    patterns: tuple[tuple[Bar, ...], ...]
    enters: int = 0
    voices: int = 4
    strum: float = 0.0
    late: float = 0.0
    short: float = 0.95
    ghost: bool = True


@dataclass(frozen=True)
class Lead:
    """Who plays the tune.

    Args:
        name: of the stem and the MIDI track.
        instrument: what is played.
        octave_doubling: semitones at which a second voice doubles the tune (0 is none).
        tremolo: strokes per second on long notes (0 is none), as a mandolin or an oud plays them.
        quarter_tones: notes sung between two keys are played between them.
    """

    name: str
    instrument: Instrument
    octave_doubling: int = 0
    tremolo: float = 0.0
    quarter_tones: bool = False


@dataclass(frozen=True)
class Drums:
    """The drummer.

    Args:
        instrument: the kit.
        grooves: the first for the first phrase, the second for the next, and so on, then again.
        fills: one bar each; one is chosen at the end of every `Style.fill_every` bars.
        pickup: one bar, of which the end is played before the first downbeat.
        ending: drums that strike on the last downbeat.
        crash: whether a cymbal marks the bar after a fill.
        late: seconds behind the beat, by drum.
    """

    instrument: Instrument
    grooves: tuple[Groove, ...]
    fills: tuple[Groove, ...]
    pickup: Groove
    ending: tuple[str, ...]
    crash: bool
    late: Mapping[str, float]


@dataclass(frozen=True)
class Style:
    """A genre.

    Args:
        name, title: for programs and for people.
        prompt: words for the neural models.
        moods: how it feels.
        tempo_range, tempo: beats per minute, lowest and highest, and usual.
        beats_per_bar: its metre.
        steps: characters per beat in its patterns.
        swing: where the second of two steps falls within the pair, 0.5 straight, 0.67 triplets.
        loose: standard deviation of a player's timing, seconds.
        colour: how triads are enriched.
        room_seconds: reverberation time.
        treble: dB by which the highs of the whole are lifted or, negative, lowered.
        phrase: bars per phrase; `fill_every` so many bars the drummer plays a fill.
        ending: the last chord rings, or is cut short.
        intro: players that play before the singer's first note, where there are bars for it.
        lead, drums, layers: the band. `drums` is None for a band without a drummer.
    """

    name: str
    title: str
    prompt: str
    moods: tuple[str, ...]
    tempo_range: tuple[float, float]
    tempo: float
    beats_per_bar: int
    steps: int
    swing: float
    loose: float
    colour: Colour
    room_seconds: float
    treble: float
    phrase: int
    fill_every: int
    ending: Ending
    intro: tuple[str, ...]
    lead: Lead
    drums: Drums | None
    layers: tuple[Layer, ...]


@lru_cache(maxsize=1)
def styles() -> Mapping[str, Style]:
    """All styles by name, in the order in which they are offered."""
    folder = files(__package__)
    order = tomllib.loads((folder / "styles.toml").read_text("utf-8"))["order"]
    return MappingProxyType(
        {
            name: read_style(name, tomllib.loads((folder / f"{name}.toml").read_text("utf-8")))
            for name in order
        }
    )


def style(name: str) -> Style:
    """The style of that name; capitals, and blanks or underscores for hyphens, do not matter.

    Raises:
        BadRequest: there is none; the message lists those there are.
    """
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    known = styles()
    if plain not in known:
        raise BadRequest(f"There is no genre {name[:40]!r}. Choose of {', '.join(known)}.")
    return known[plain]


def own_style(path: Path) -> Style:
    """A style of one's own, out of a TOML file that is called as it is.

    Raises:
        BadRequest: not there, not TOML, or not a style.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(f"'{path.name}' cannot be read as a style: {error}.") from error
    return read_style(path.stem, data)


def read_style(name: str, data: Mapping[str, Any]) -> Style:
    """A style out of the values of its TOML file.

    Raises:
        BadRequest: a key is missing or unknown, or a pattern does not fill its bars.
    """
    plain = {field.name for field in fields(Style)} - {"name", "lead", "drums", "layers"}
    try:
        _no_more_than(data, plain | {"lead", "drums", "layer"})
        values = {key: data[key] for key in plain}
        for key in ("moods", "tempo_range", "intro"):
            values[key] = tuple(values[key])
        step_count = values["steps"] * values["beats_per_bar"]
        return Style(
            name=name,
            lead=_lead(data["lead"]),
            drums=_drums(data["drums"], step_count) if "drums" in data else None,
            layers=tuple(_layer(layer, step_count) for layer in data["layer"]),
            **values,
        )
    except KeyError as error:
        raise BadRequest(f"Style {name!r}: {error} is missing.") from error
    except (ValueError, TypeError) as error:
        raise BadRequest(f"Style {name!r}: {error}.") from error


def _lead(data: Mapping[str, Any]) -> Lead:
    own = {key: data[key] for key in ("octave_doubling", "tremolo", "quarter_tones") if key in data}
    _no_more_than(data, {"name", "instrument", *own, *_PLACE})
    return Lead(data["name"], _instrument(data), **own)


def _drums(data: Mapping[str, Any], steps: int) -> Drums:
    _no_more_than(
        data,
        {"kit", "level", "room", "groove", "fill", "pickup", "ending", "crash", "late"},
    )
    kit = Instrument(KITS[data["kit"]], 0, 127, 0.0, data["level"], data.get("room", 0.4))
    ending = tuple(data["ending"].split())
    _known_drums(ending)
    late = {drum: ms / 1000 for drum, ms in data.get("late", {}).items()}
    _known_drums(late)
    return Drums(
        instrument=kit,
        grooves=tuple(_groove(groove, steps) for groove in data["groove"]),
        fills=tuple(_groove(fill, steps) for fill in data["fill"]),
        pickup=_groove(data["pickup"], steps),
        ending=ending,
        crash=data["crash"],
        late=MappingProxyType(late),
    )


def _layer(data: Mapping[str, Any], steps: int) -> Layer:
    own = {key: data[key] for key in ("enters", "voices", "short", "ghost") if key in data}
    times = {key: data[key] / 1000 for key in ("strum", "late") if key in data}
    _no_more_than(data, {"name", "kind", "instrument", "patterns", *own, *times, *_PLACE})
    if data["kind"] not in MARKS:
        raise ValueError(f"kind {data['kind']!r} is none of {', '.join(MARKS)}")
    patterns = tuple(bars(pattern, steps) for pattern in data.get("patterns", ()))
    if not patterns and data["kind"] != "unison":
        raise KeyError("patterns")
    for pattern in patterns:
        _only_marks(pattern, MARKS[data["kind"]])
    deep = data["kind"] in ("bass", "walk")
    instrument = _instrument({"width": 0.0 if deep else WIDTH} | dict(data))
    return Layer(data["name"], data["kind"], instrument, patterns, **own, **times)


_PLACE = ("low", "high", "pan", "level", "room", "vibrato", "width")


def _instrument(data: Mapping[str, Any]) -> Instrument:
    values = {key: data[key] for key in _PLACE if key in data}
    for end in ("low", "high"):
        values[end] = _midi(values[end])
    return Instrument(PROGRAMS.index(data["instrument"]), **values)


def _groove(data: Mapping[str, str], steps: int) -> Groove:
    _known_drums(data)
    groove = {drum: bars(pattern, steps) for drum, pattern in data.items()}
    for pattern in groove.values():
        _only_marks(pattern, STROKES)
    return MappingProxyType(groove)


def bars(pattern: str, steps: int) -> tuple[Bar, ...]:
    """A written pattern as bars of `steps` characters; blanks are for the eye, "|" parts bars.

    Raises:
        ValueError: a bar is too short or too long.
    """
    out = tuple(re.sub(r"\s", "", bar) for bar in pattern.split("|"))
    for bar in out:
        if len(bar) != steps:
            raise ValueError(f"the bar {bar!r} has {len(bar)} steps, not {steps}")
    return out


def _only_marks(pattern: Sequence[Bar], marks: str) -> None:
    for bar in pattern:
        for mark in bar:
            if mark not in marks:
                raise ValueError(f"{mark!r} in the bar {bar!r} is none of {marks!r}")


def _midi(name: str) -> int:
    """MIDI number of a note name such as "Eb3" (C4 = 60)."""
    match = re.fullmatch(r"([A-G])([#b]?)(-?\d)", name)
    if match is None:
        raise ValueError(f"{name!r} is not a note such as Eb3")
    semitones = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[match[1]]
    return 12 * (int(match[3]) + 1) + semitones + {"#": 1, "b": -1, "": 0}[match[2]]


def _known_drums(names: Iterable[str]) -> None:
    for name in names:
        if name not in DRUMS:
            raise ValueError(f"there is no drum {name!r}")


def _no_more_than(data: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(data) - known):
        raise ValueError(f"{unknown[0]!r} is not a key; known are {', '.join(sorted(known))}")
