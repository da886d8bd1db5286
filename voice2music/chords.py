"""Chords and keys as people write them: vocabulary, spelling, reading and printing.

Everything here is notation; which chords fit a tune is decided in `voice2music.harmony`, which
also hands on these names.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

from voice2music.errors import BadChords, BadRequest
from voice2music.rhythm import Grid

Mode = Literal["major", "minor"]

QUALITIES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "maj": (0, 4, 7),
        "min": (0, 3, 7),
        "dim": (0, 3, 6),
        "aug": (0, 4, 8),
        "sus4": (0, 5, 7),
        "sus2": (0, 2, 7),
        "5": (0, 7),
        "6": (0, 4, 7, 9),
        "m6": (0, 3, 7, 9),
        "7": (0, 4, 7, 10),
        "maj7": (0, 4, 7, 11),
        "m7": (0, 3, 7, 10),
        "mmaj7": (0, 3, 7, 11),
        "m7b5": (0, 3, 6, 10),
        "dim7": (0, 3, 6, 9),
        "aug7": (0, 4, 8, 10),
        "7sus4": (0, 5, 7, 10),
        "7b9": (0, 4, 7, 10, 1),
        "add9": (0, 4, 7, 2),
        "69": (0, 4, 7, 9, 2),
        "9": (0, 4, 7, 10, 2),
        "maj9": (0, 4, 7, 11, 2),
        "m9": (0, 3, 7, 10, 2),
        "13": (0, 4, 7, 10, 9),
    }
)
"""Quality to semitones above the root, in the order root, third, fifth, added notes."""

_SUFFIX = {"maj": "", "min": "m"}  # printed differently from the quality's name
_ALIASES = {
    "": "maj", "maj": "maj", "major": "maj", "M": "maj",
    "m": "min", "min": "min", "minor": "min", "-": "min", "mi": "min",
    "dim": "dim", "°": "dim",
    "aug": "aug", "+": "aug", "#5": "aug",
    "sus": "sus4", "sus4": "sus4", "sus2": "sus2", "5": "5",
    "6": "6", "maj6": "6", "M6": "6", "add6": "6", "m6": "m6", "min6": "m6", "-6": "m6",
    "7": "7", "dom7": "7", "dom": "7",
    "maj7": "maj7", "M7": "maj7", "Δ": "maj7", "Δ7": "maj7", "j7": "maj7", "ma7": "maj7",
    "m7": "m7", "min7": "m7", "-7": "m7", "mi7": "m7",
    "mmaj7": "mmaj7", "mM7": "mmaj7", "minmaj7": "mmaj7", "-maj7": "mmaj7", "-Δ": "mmaj7",
    "mΔ": "mmaj7",
    "m7b5": "m7b5", "min7b5": "m7b5", "-7b5": "m7b5", "ø": "m7b5", "ø7": "m7b5",
    "dim7": "dim7", "°7": "dim7", "o7": "dim7",
    "aug7": "aug7", "+7": "aug7", "7#5": "aug7", "7+": "aug7",
    "7sus4": "7sus4", "7sus": "7sus4", "7b9": "7b9",
    "add9": "add9", "add2": "add9", "69": "69", "6add9": "69",
    "9": "9", "maj9": "maj9", "M9": "maj9", "Δ9": "maj9", "m9": "m9", "min9": "m9", "-9": "m9",
    "13": "13",
}  # fmt: skip

_FIFTHS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}  # place on the line of fifths
_LETTERS = "FCGDAEB"
_PLAIN_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MAJOR_TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MINOR_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")

_KEY = re.compile(
    r"([A-Ga-g])[ -]?(#|b|(?i:sharp|flat)|)\s*(m|M|(?i:min|minor|maj|major)|)", re.ASCII
)
_ROOT = re.compile(r"([A-Ga-g])([#b]?)")
_UNICODE = str.maketrans({"♯": "#", "♭": "b", "△": "Δ", "∆": "Δ", "º": "°", "−": "-", "–": "-"})
_LONGEST_TEXT = 4_000  # characters; 120 s of music need far fewer
_MOST_PER_BAR = 8
_WHAT_IS_READ = (
    "Write a letter from A to G, with # or b where needed, and then nothing (major), "
    "m, 7, maj7, m7, dim, m7b5, dim7, aug, sus4, 6, m6 or 9, for example C, F#m7, Bbmaj7 or G/B."
)


@dataclass(frozen=True)
class Key:
    """A key: tonic as pitch class (C = 0), mode, and how sure we are in [0, 1]."""

    tonic: int
    mode: Mode
    confidence: float = 1.0

    @property
    def fifths(self) -> int:
        """Sharps (positive) or flats (negative) of its key signature, -6 to 6."""
        return _line_of_fifths(_tonic_name(self)) - (3 if self.mode == "minor" else 0)


@dataclass(frozen=True)
class Chord:
    """A chord: root as pitch class (C = 0) and quality, one of `QUALITIES`.

    Args:
        bass: pitch class of the lowest note where that is not the root (G/B), else None.
    Raises:
        BadChords: no such pitch class or quality.
    """

    root: int
    quality: str
    bass: int | None = None

    def __post_init__(self) -> None:
        if self.quality not in QUALITIES:
            raise BadChords(
                f"The chord quality {self.quality!r} is not known. Use {', '.join(QUALITIES)}."
            )
        for pitch_class in (self.root, self.lowest):
            if not 0 <= pitch_class <= 11:
                raise BadChords(f"A pitch class lies from 0 (C) to 11 (B), not at {pitch_class}.")
        if self.bass == self.root:
            object.__setattr__(self, "bass", None)

    @property
    def lowest(self) -> int:
        """Pitch class of the bass: the root unless another bass is asked for."""
        return self.root if self.bass is None else self.bass

    @property
    def symbol(self) -> str:
        """As written without a key in mind: "F#m7", "Bb", "G/B"; see `chord_symbol`."""
        return _symbol(self, _PLAIN_NAMES[self.root])

    def transposed(self, semitones: int) -> "Chord":
        """The same chord so many semitones higher."""
        bass = None if self.bass is None else (self.bass + semitones) % 12
        return Chord((self.root + semitones) % 12, self.quality, bass)


@dataclass(frozen=True)
class ChordSpan:
    """A chord that sounds from `start` to `end` seconds."""

    start: float
    end: float
    chord: Chord


def chord_pitch_classes(chord: Chord) -> frozenset[int]:
    """The chord's pitch classes (C = 0), with its bass."""
    tones = {(chord.root + step) % 12 for step in QUALITIES[chord.quality]}
    return frozenset(tones | {chord.lowest})


def chord_symbol(chord: Chord, key: Key) -> str:
    """The chord's symbol, spelled as music in `key` spells it: Gb in Db major, F# in D."""
    return _symbol(chord, root_name(chord, key))


def root_name(chord: Chord, key: Key) -> str:
    """Letter and accidental of the chord's root in `key`.

    Diminished chords lead upwards, so C major has G#dim7, but Ab and Db7.
    """
    reach = (2, 9) if 6 in QUALITIES[chord.quality] else (5, 6)
    return _nearest_name(chord.root, _line_of_fifths(_tonic_name(key)), *reach)


def bass_name(chord: Chord, root: str) -> str:
    """Letter and accidental of the chord's lowest note where its root is written `root`: E/G#."""
    reach = (6, 5) if 3 in QUALITIES[chord.quality] else (4, 7)
    return _nearest_name(chord.lowest, _line_of_fifths(root), *reach)


def pitch_name(pitch_class: int, key: Key) -> str:
    """Letter and accidental of a note of the tune in `key`, never with a double accidental.

    Of all names the one is taken that lies nearest to the key on the line of fifths: four
    places below the tonic to seven above it in major, five to six in minor, so that C major has
    C# and Ab and A minor has its leading note G#. After Temperley, *The Cognition of Basic
    Musical Structures*, 2001, chapter 5.
    """
    reach = (4, 7) if key.mode == "major" else (5, 6)
    return _nearest_name(pitch_class, _line_of_fifths(_tonic_name(key)), *reach)


def _nearest_name(pitch_class: int, centre: int, below: int, above: int) -> str:
    """The name that lies so far below or above a place on the line of fifths, Cb to E#."""
    for place in range(centre - below, centre + above + 1):
        if place * 7 % 12 == pitch_class and -7 <= place <= 11:
            return _name_on_line(place)
    return _PLAIN_NAMES[pitch_class]


def key_name(key: Key) -> str:
    """The key in words: "F# minor", "Bb major"."""
    return f"{_tonic_name(key)} {key.mode}"


def parse_key(text: str) -> Key:
    """A key out of "A minor", "Am", "F# major", "Bb".

    Raises:
        BadRequest: anything else.
    """
    plain = text.translate(_UNICODE).strip()
    match = _KEY.fullmatch(plain)
    if match is None:
        raise BadRequest(
            f"The key {_shown(text)} cannot be read. Write for example C major, A minor, F#m or Bb."
        )
    accidental = {"sharp": "#", "flat": "b"}.get(match[2].lower(), match[2])
    minor = match[3] == "m" or match[3].lower() in ("min", "minor")
    return Key(_pitch_class(match[1].upper() + accidental), "minor" if minor else "major")


def parse_chord(text: str) -> Chord:
    """One chord symbol: C, Am, F#m7, Bbmaj7, G/B, C-7, CΔ, B°.

    Raises:
        BadChords: not a chord symbol; the text says what is one.
    """
    plain = text.translate(_UNICODE).strip().replace("(", "").replace(")", "")
    match = _ROOT.match(plain)
    body, _, bass = plain.replace("6/9", "69").partition("/")
    bass_match = _ROOT.fullmatch(bass) if bass else None
    quality = _ALIASES.get(body[match.end() :]) if match else None
    if match is None or quality is None or ("/" in plain.replace("6/9", "") and not bass_match):
        raise BadChords(f"The chord {_shown(text)} cannot be read. {_WHAT_IS_READ}")
    low = _pitch_class(bass_match[0][0].upper() + bass_match[2]) if bass_match else None
    return Chord(_pitch_class(match[1].upper() + match[2]), quality, low)


def bars(grid: Grid, seconds: float) -> tuple[tuple[float, ...], ...]:
    """The bars of [0, seconds] as beat times: each bar its beats and its end, seconds.

    The first bar begins at the grid's first downbeat, so a pick-up lies before it; beats go on at
    the last tempo where the grid ends early. The last bar may end after `seconds`.
    """
    beats = list(grid.beats[grid.downbeat :]) or [grid.beats[-1]]
    step = grid.beats[-1] - grid.beats[-2]
    per_bar = grid.beats_per_bar
    while len(beats) < per_bar + 1 or beats[len(beats) - 1 - (len(beats) - 1) % per_bar] < seconds:
        beats.append(beats[-1] + step)
    whole = [tuple(beats[i : i + per_bar + 1]) for i in range(0, len(beats) - per_bar, per_bar)]
    sounding = [bar for bar in whole if bar[-1] > 1e-6 and bar[0] < seconds - step / 2]
    return tuple(sounding or whole[-1:])


def within_bar(bar: tuple[float, ...], share: float) -> float:
    """The time at `share` (0 to 1) of a bar's beats, seconds; beats may be of unequal length."""
    place = share * (len(bar) - 1)
    beat = min(int(place), len(bar) - 2)
    return bar[beat] + (place - beat) * (bar[beat + 1] - bar[beat])


def spans_of_bars(
    per_bar: Sequence[tuple[Chord, ...]], grid: Grid, seconds: float
) -> tuple[ChordSpan, ...]:
    """Chords of each bar of `bars(grid, seconds)` as spans that tile [0, seconds].

    The chords of a bar share it equally; equal neighbours in one bar become one span. A pick-up
    has the first bar's first chord, and what is left after the last bar has its last chord.
    """
    starts: list[tuple[float, Chord]] = []
    for bar, chords in zip(bars(grid, seconds), per_bar, strict=True):
        for i, chord in enumerate(chords):
            if i == 0 or chord != chords[i - 1]:
                starts.append((within_bar(bar, i / len(chords)), chord))
    inside = [(max(t, 0.0), chord) for t, chord in starts if t < seconds - 1e-6]
    last_before = [i for i, (t, _) in enumerate(inside) if t <= 1e-6]
    inside = inside[last_before[-1] if last_before else 0 :] or starts[:1]
    inside[0] = (0.0, inside[0][1])
    ends = [t for t, _ in inside[1:]] + [seconds]
    return tuple(ChordSpan(t, end, chord) for (t, chord), end in zip(inside, ends, strict=True))


def parse_progression(text: str, grid: Grid, seconds: float) -> tuple[ChordSpan, ...]:
    """Chords per bar, "C | Am | F G | G7", laid on the grid and repeated over [0, seconds].

    Bars are parted by | or by lines; chords in one bar share it equally; % repeats the bar before.
    Without any bar line each chord has a bar of its own.
    Raises:
        BadChords: nothing there, too much, or a chord that cannot be read.
    """
    written = _written_bars(text)
    count = len(bars(grid, seconds))
    return spans_of_bars([written[i % len(written)] for i in range(count)], grid, seconds)


def progression_text(spans: tuple[ChordSpan, ...], grid: Grid, key: Key | None = None) -> str:
    """The spans as text per bar, which `parse_progression` reads back.

    Args:
        key: spells the roots; None spells them as `Chord.symbol` does.
    """
    names = [chord_symbol(s.chord, key) if key else s.chord.symbol for s in spans]
    out = [
        " ".join(names[_span_at(spans, t)] for t in _slots(spans, bar))
        for bar in bars(grid, spans[-1].end)
    ]
    return " | ".join(out) if len(out) > 1 else f"{out[0]} |"


def _slots(spans: tuple[ChordSpan, ...], bar: tuple[float, ...]) -> list[float]:
    """Times inside the fewest equal parts of a bar at which every change of chord falls."""
    changes = [s.start for s in spans[1:] if bar[0] + 1e-6 < s.start < bar[-1] - 1e-6]
    for parts in range(1, 17):
        edges = [within_bar(bar, i / parts) for i in range(parts + 1)]
        if all(min(abs(t - edge) for edge in edges) < 1e-4 for t in changes):
            return [(a + b) / 2 for a, b in pairwise(edges)]
    return [(a + b) / 2 for a, b in pairwise(bar)]  # off every part: what sounds on each beat


def _span_at(spans: tuple[ChordSpan, ...], time: float) -> int:
    """Index of the span that sounds at `time`, the first or last one outside all."""
    return max(0, sum(s.start <= time for s in spans) - 1)


def _written_bars(text: str) -> list[tuple[Chord, ...]]:
    """The bars of a chord text, at least one."""
    if len(text) > _LONGEST_TEXT:
        raise BadChords(f"The chords are {len(text):,} characters long; {_LONGEST_TEXT:,} suffice.")
    plain = re.sub(r"\|+:?|:\|+|\n", "|", text.replace(",", " "))
    parts = [part.split() for part in plain.split("|") if part.strip()]
    if len(parts) == 1 and "|" not in plain.strip():
        parts = [[word] for word in parts[0]]
    if not parts:
        raise BadChords("No chords were written. Write them bar by bar, for example C | Am | F G.")
    written: list[tuple[Chord, ...]] = []
    for part in parts:
        if part == ["%"] and written:
            written.append(written[-1])
        else:
            written.append(tuple(parse_chord(word) for word in part))
        if len(part) > _MOST_PER_BAR:
            raise BadChords(
                f"Bar {len(written)} has {len(part)} chords; at most {_MOST_PER_BAR} fit into one. "
                f"Part bars with |, for example C | Am | F G."
            )
    return written


def _symbol(chord: Chord, root: str) -> str:
    bass = "" if chord.bass is None else f"/{bass_name(chord, root)}"
    return root + _SUFFIX.get(chord.quality, chord.quality) + bass


def _tonic_name(key: Key) -> str:
    return (_MAJOR_TONICS if key.mode == "major" else _MINOR_TONICS)[key.tonic]


def _line_of_fifths(name: str) -> int:
    """Place of a note's name on the line of fifths, C = 0, G = 1, F = -1, F# = 6, Bb = -2."""
    return _FIFTHS[name[0]] + 7 * (name.count("#") - name.count("b"))


def _name_on_line(place: int) -> str:
    sharps = (place + 1) // 7
    return _LETTERS[(place + 1) % 7] + ("#" * sharps if sharps >= 0 else "b" * -sharps)


def _pitch_class(name: str) -> int:
    return _line_of_fifths(name) * 7 % 12


def _shown(text: str) -> str:
    """User text as it stands in an error, not longer than a line."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
