"""Lead sheets out of MusicXML: one melody with chord symbols above it.

Read straight from the XML (a few ms per sheet), as far as lead sheets go: ties, rests, pick-up
bars, repeats with first and second endings. Jumps (D.C., coda) are not followed, grace notes are
left out, and of notes that sound together the highest is the melody.
"""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from xml.etree import ElementTree

from voice2music.chords import QUALITIES, Chord, Key, Mode
from voice2music.errors import BadManifest

Element = ElementTree.Element

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_KINDS = {
    "major": "maj", "minor": "min", "augmented": "aug", "diminished": "dim", "power": "5",
    "dominant": "7", "major-seventh": "maj7", "minor-seventh": "m7", "half-diminished": "m7b5",
    "diminished-seventh": "dim7", "augmented-seventh": "aug7", "major-minor": "mmaj7",
    "minor-major": "mmaj7", "major-sixth": "6", "minor-sixth": "m6", "maj69": "69",
    "dominant-ninth": "9", "major-ninth": "maj9", "minor-ninth": "m9", "augmented-ninth": "aug7",
    "dominant-11th": "7sus4", "minor-11th": "m9", "dominant-13th": "13", "minor-13th": "m9",
    "suspended-second": "sus2", "suspended-fourth": "sus4",
}  # fmt: skip
_ADDED = {("dominant", "9", "-1"): "7b9", ("major", "9", "0"): "add9"}  # kind, degree, alter
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 11)}
_MOST_BYTES = 8 * 1024 * 1024  # of one unpacked sheet; real ones are below 1 MiB


@dataclass(frozen=True)
class SheetNote:
    """One note of a lead sheet: `start` and `end` in beats from the first bar line, MIDI note."""

    start: float
    end: float
    midi: int


@dataclass(frozen=True)
class SheetChord:
    """One chord of a lead sheet: `start` and `end` in beats from the first bar line."""

    start: float
    end: float
    chord: Chord


@dataclass(frozen=True)
class LeadSheet:
    """A tune with its chords, repeats played out. All times in beats; 0 is the first bar line.

    Args:
        notes: in order, not overlapping; a pick-up lies before 0.
        chords: in order, each lasting up to the next one or the end.
        key: tonic and mode; see `sheet_key`.
        metre: as written, "4/4".
        beats_per_bar: as the metre counts them: 4 in 4/4, 2 in 2/2, 2 dotted ones in 6/8.
        quarters_per_beat: 1 in 4/4, 2 in 2/2, 1.5 in 6/8.
        tempo: beats per minute where the sheet says so.
        beats: length after the first bar line.
    """

    title: str
    notes: tuple[SheetNote, ...]
    chords: tuple[SheetChord, ...]
    key: Key
    metre: str
    beats_per_bar: int
    quarters_per_beat: float
    tempo: float | None
    beats: float


@dataclass(frozen=True)
class _Bar:
    """One written bar; times in quarters from its start.

    Args:
        notes: start, end, MIDI note, whether tied to the note before.
        chords: start and chord.
        filled: length of what is written; `length`: what the bar takes when played.
        opens, closes: repeat marks; `endings`: numbers of the ending it stands in.
    """

    notes: tuple[tuple[Fraction, Fraction, int, bool], ...]
    chords: tuple[tuple[Fraction, Chord], ...]
    filled: Fraction
    length: Fraction
    opens: bool = False
    closes: bool = False
    endings: tuple[int, ...] = ()


def read_musicxml(packed: bytes, title: str) -> LeadSheet:
    """A lead sheet out of the bytes of a compressed (.mxl) or plain MusicXML file.

    Raises:
        BadManifest: not MusicXML, too large, or without notes.
    """
    root = _parsed(packed, title)
    measures = root.findall("part[1]/measure")
    written = list(_written_bars(measures))
    beats, beat_type = _metre(root, written)
    bars = _with_lengths(written, Fraction(4 * beats, beat_type))
    notes, chords, end = _played(bars)
    if not notes:
        raise BadManifest(f"'{title}' holds no notes.")
    compound = beat_type == 8 and beats % 3 == 0
    beat = Fraction(3, 2) if compound else Fraction(4, beat_type)
    return LeadSheet(
        title=title,
        notes=tuple(SheetNote(float(a / beat), float(b / beat), midi) for a, b, midi in notes),
        chords=tuple(SheetChord(float(a / beat), float(b / beat), c) for a, b, c in chords),
        key=sheet_key(_fifths(root), notes, chords),
        metre=f"{beats}/{beat_type}",
        beats_per_bar=beats // 3 if compound else beats,
        quarters_per_beat=float(beat),
        tempo=_tempo(root, beat),
        beats=float(end / beat),
    )


def _parsed(packed: bytes, title: str) -> Element:
    """The XML tree; entity declarations, which can blow a small file up, are refused."""
    try:
        data = _unpacked(packed)
        if b"<!ENTITY" in data or not data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
            raise BadManifest(f"'{title}' is not plain MusicXML in UTF-8.")
        return ElementTree.fromstring(data)
    except (zipfile.BadZipFile, ElementTree.ParseError, StopIteration) as error:
        raise BadManifest(f"'{title}' cannot be read as MusicXML: {error}") from error


def _unpacked(packed: bytes) -> bytes:
    if not packed.startswith(b"PK"):
        return packed
    with zipfile.ZipFile(BytesIO(packed)) as archive:
        name = next(n for n in archive.namelist() if not n.startswith("META-INF"))
        with archive.open(name) as file:
            return file.read(_MOST_BYTES)


def _metre(root: Element, bars: list[_Bar]) -> tuple[int, int]:
    """Beats and beat type; where none is written, quarters as many as most bars hold."""
    time = root.find("part/measure/attributes/time")
    if time is None:
        lengths = [bar.filled for bar in bars] or [Fraction(4)]
        commonest = max(lengths, key=lambda length: lengths.count(length))
        return max(1, round(commonest)), 4
    return int(time.findtext("beats", "4")), int(time.findtext("beat-type", "4"))


def _fifths(root: Element) -> int | None:
    text = root.findtext("part/measure/attributes/key/fifths")
    return None if text is None else int(text)


def _tempo(root: Element, beat: Fraction) -> float | None:
    sound = root.find(".//sound[@tempo]")
    return None if sound is None else float(sound.get("tempo", "0")) / float(beat)


def _written_bars(measures: list[Element]) -> Iterator[_Bar]:
    divisions = 1
    endings: tuple[int, ...] = ()
    first_ending_seen = False
    for measure in measures:
        divisions = int(measure.findtext("attributes/divisions", str(divisions)))
        marks = {repeat.get("direction") for repeat in measure.findall("barline/repeat")}
        brackets = {e.get("type"): e.get("number", "1") for e in measure.iter("ending")}
        if "forward" in marks:
            first_ending_seen = False
        if "start" in brackets:
            numbers = tuple(int(n) for n in brackets["start"].replace(",", " ").split())
            endings = numbers if first_ending_seen or 1 in numbers else (1,)
            first_ending_seen = True
        yield replace(
            _contents(measure, divisions),
            opens="forward" in marks,
            closes="backward" in marks,
            endings=endings,
        )
        if "stop" in brackets or "discontinue" in brackets:
            endings = ()


def _contents(measure: Element, divisions: int) -> _Bar:
    """Notes and chords of one bar; its length is that of what is written."""
    now = Fraction(0)
    filled = Fraction(0)
    notes: list[tuple[Fraction, Fraction, int, bool]] = []
    chords: list[tuple[Fraction, Chord]] = []
    for element in measure:
        length = Fraction(int(element.findtext("duration", "0")), divisions)
        if element.tag == "harmony" and (chord := _chord(element)) is not None:
            chords.append((now + Fraction(int(element.findtext("offset", "0")), divisions), chord))
        elif element.tag == "backup":
            now -= length
        elif element.tag == "forward":
            now += length
        elif element.tag == "note" and element.find("grace") is None:
            if element.find("chord") is not None:
                now -= length
            if (midi := _midi(element)) is not None:
                tied = element.find("tie[@type='stop']") is not None
                notes.append((now, now + length, midi, tied))
            now += length
        filled = max(filled, now)
    return _Bar(tuple(_highest(notes)), tuple(chords), filled, filled)


def _highest(
    notes: list[tuple[Fraction, Fraction, int, bool]],
) -> Iterator[tuple[Fraction, Fraction, int, bool]]:
    """Of notes that begin together, the highest."""
    best = {note[0]: note for note in sorted(notes, key=lambda note: note[2])}
    return iter(best[start] for start in sorted(best))


def _midi(note: Element) -> int | None:
    pitch = note.find("pitch")
    if pitch is None:
        return None
    step = _STEPS[pitch.findtext("step", "C")] + int(pitch.findtext("alter", "0"))
    return 12 * (int(pitch.findtext("octave", "4")) + 1) + step


def _chord(harmony: Element) -> Chord | None:
    """The chord of a <harmony>, None for N.C. and kinds without a root."""
    kind = harmony.findtext("kind", "")
    step = harmony.findtext("root/root-step")
    if step is None or kind not in _KINDS:
        return None
    quality = _KINDS[kind]
    for degree in harmony.findall("degree"):
        added = degree.findtext("degree-value", ""), degree.findtext("degree-alter", "0")
        quality = _ADDED.get((kind, *added), quality)
    bass = harmony.findtext("bass/bass-step")
    bass_alter = int(harmony.findtext("bass/bass-alter", "0"))
    return Chord(
        (_STEPS[step] + int(harmony.findtext("root/root-alter", "0"))) % 12,
        quality,
        None if bass is None else (_STEPS[bass] + bass_alter) % 12,
    )


def _with_lengths(bars: list[_Bar], nominal: Fraction) -> list[_Bar]:
    """Bars as long as the metre says, but for pick-ups, last bars and bars cut in two."""
    filled = [bar.filled for bar in bars]
    sums = [Fraction(0), *(a + b for a, b in pairwise(filled)), Fraction(0)]
    out = []
    for i, bar in enumerate(bars):
        cut = i in (0, len(bars) - 1) or bar.closes or nominal in (sums[i], sums[i + 1])
        short = cut and 0 < bar.filled < nominal
        out.append(replace(bar, length=bar.filled if short else nominal))
    return out


def _order(bars: list[_Bar]) -> Iterator[_Bar]:
    """The bars in the order in which they are played."""
    start, turn, i = 0, 1, 0
    while i < len(bars):
        bar = bars[i]
        if bar.opens and i != start:
            start, turn = i, 1
        if bar.endings and turn not in bar.endings:
            i += 1
            continue
        yield bar
        if bar.closes and turn < max(2, *bar.endings, 2):
            # Back to the very beginning, a full last bar already holds the pick-up.
            skip = start == 0 and bars[0].length < bars[1].length and bar.length == bars[1].length
            i, turn = start + skip, turn + 1
            continue
        if bar.closes:
            start, turn = i + 1, 1
        i += 1


def _played(
    bars: list[_Bar],
) -> tuple[list[tuple[Fraction, Fraction, int]], list[tuple[Fraction, Fraction, Chord]], Fraction]:
    """Notes and chords in time, quarters from the first bar line, and the end."""
    short_first = len(bars) > 1 and bars[0].length < bars[1].length
    now = -bars[0].length if bars and short_first else Fraction(0)
    notes: list[tuple[Fraction, Fraction, int]] = []
    starts: list[tuple[Fraction, Chord]] = []
    for bar in _order(bars):
        for a, b, midi, tied in bar.notes:
            if tied and notes and notes[-1][1:] == (now + a, midi):
                notes[-1] = (notes[-1][0], now + b, midi)
            else:
                notes.append((now + a, now + b, midi))
        starts += [(now + a, chord) for a, chord in bar.chords]
        now += bar.length
    cut = [(a, min(b, c), m) for (a, b, m), (c, _, _) in pairwise([*notes, (now, now, 0)])]
    starts.sort(key=lambda start: start[0])
    ends = [*(t for t, _ in starts[1:]), now]
    held = [(a, b, chord) for (a, chord), b in zip(starts, ends, strict=False) if b > a]
    return cut, held, now


def sheet_key(
    fifths: int | None,
    notes: Sequence[tuple[Fraction, Fraction, int]],
    chords: Sequence[tuple[Fraction, Fraction, Chord]],
) -> Key:
    """The key of a tune with chords.

    The mode that a sheet states is nearly always "major", and many state no signature or a wrong
    one. So every key is scored: share of the tune inside its scale, share of the time under its
    tonic chord, and a vote each for the last note, the first and the last chord and the signature.
    """

    lengths = [(float(b - a), midi) for a, b, midi in notes]
    sung = sum(length for length, _ in lengths)
    played = max(1.0, sum(float(b - a) for a, b, _ in chords))

    def score(key: Key) -> float:
        scale = {(key.tonic + step) % 12 for step in _SCALES[key.mode]}
        tonic = [chord.root == key.tonic and _mode(chord) == key.mode for _, _, chord in chords]
        inside = sum(length for length, midi in lengths if midi % 12 in scale)
        under = sum(float(b - a) for (a, b, _), on in zip(chords, tonic, strict=True) if on)
        ends = tonic[:1] + tonic[-1:] + [notes[-1][2] % 12 == key.tonic, key.fifths == fifths]
        return 2 * inside / sung + under / played + 0.25 * sum(ends)

    modes: tuple[Mode, ...] = ("major", "minor")
    return max((Key(tonic, mode) for mode in modes for tonic in range(12)), key=score)


def _mode(chord: Chord) -> Mode:
    return "minor" if 3 in QUALITIES[chord.quality] else "major"
