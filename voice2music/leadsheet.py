"""Lead sheets: the tune with its chord symbols, as MusicXML for any notation program, or as text.

MusicXML after the W3C's 4.0 schema, score-partwise; a beat of the grid is written as a quarter.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from voice2music.chords import (
    Chord,
    ChordSpan,
    Key,
    bass_name,
    key_name,
    pitch_name,
    progression_text,
    root_name,
)
from voice2music.notes import Note
from voice2music.rhythm import Grid

UNITS = 4  # per beat: the tune is written in sixteenths
_BARS_PER_LINE = 4
_LOW_VOICE = 57  # MIDI; a tune whose middle note lies below is written with an octave-down clef
_TYPES = {
    1: ("16th", 0), 2: ("eighth", 0), 3: ("eighth", 1), 4: ("quarter", 0), 6: ("quarter", 1),
    8: ("half", 0), 12: ("half", 1), 16: ("whole", 0),
}  # fmt: skip
_KINDS = {
    "maj": "major", "min": "minor", "dim": "diminished", "aug": "augmented",
    "sus4": "suspended-fourth", "sus2": "suspended-second", "5": "power", "6": "major-sixth",
    "m6": "minor-sixth", "7": "dominant", "maj7": "major-seventh", "m7": "minor-seventh",
    "mmaj7": "major-minor", "m7b5": "half-diminished", "dim7": "diminished-seventh",
    "aug7": "augmented-seventh", "7sus4": "suspended-fourth", "7b9": "dominant", "add9": "major",
    "69": "major-sixth", "9": "dominant-ninth", "maj9": "major-ninth", "m9": "minor-ninth",
    "13": "dominant-13th",
}  # fmt: skip
_ADDED = {"7sus4": (7, -1), "7b9": (9, -1), "add9": (9, 0), "69": (9, 0)}  # degree, alteration
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
    '"http://www.musicxml.org/dtds/partwise.dtd">'
)


@dataclass(frozen=True)
class _Placed:
    """A note in `UNITS` from the first downbeat."""

    start: int
    end: int
    midi: int


def musicxml(
    notes: Sequence[Note], chords: Sequence[ChordSpan], grid: Grid, key: Key, title: str
) -> str:
    """A lead sheet as MusicXML: one voice, key and time signature, chord symbols, tempo.

    The tune is moved to the nearest sixteenth of the grid and notes held over a bar line are tied.
    Notes before the first downbeat make a pick-up bar.
    """
    placed = _placed(notes, grid)
    symbols = _symbols(chords, grid)
    lines = _bar_lines(placed, chords, grid)
    score = Element("score-partwise", version="4.0")
    SubElement(SubElement(score, "work"), "work-title").text = _NOT_XML.sub("", title)
    listed = SubElement(SubElement(score, "part-list"), "score-part", id="P1")
    SubElement(listed, "part-name").text = "Tune"
    part = SubElement(score, "part", id="P1")
    picked_up = lines[1] - lines[0] < lines[-1] - lines[-2]
    for number, (start, stop) in enumerate(pairwise(lines), start=0 if picked_up else 1):
        measure = SubElement(part, "measure", number=str(number))
        if number == 0:
            measure.set("implicit", "yes")
        if start == lines[0]:
            _write_attributes(measure, grid, key, placed)
        _write_bar(measure, start, stop, placed, symbols, key)
    SubElement(SubElement(part[-1], "barline", location="right"), "bar-style").text = "light-heavy"
    ElementTree.indent(score)
    return f"{_HEAD}\n{ElementTree.tostring(score, encoding='unicode')}\n"


def chord_sheet(chords: Sequence[ChordSpan], grid: Grid, key: Key) -> str:
    """The chords as plain text, four bars to a line, under a line with key, tempo and metre."""
    cells = progression_text(tuple(chords), grid, key).removesuffix(" |").split(" | ")
    width = max(len(cell) for cell in cells)
    lines = [f"{key_name(key)}, {grid.tempo:.0f} beats per minute, {grid.beats_per_bar} to the bar"]
    for i in range(0, len(cells), _BARS_PER_LINE):
        row = " | ".join(cell.ljust(width) for cell in cells[i : i + _BARS_PER_LINE])
        lines.append(f"| {row} |")
    return "\n".join(lines) + "\n"


def _unit(time: float, grid: Grid) -> int:
    """The unit nearest to a time; outside the beats the first and last tempo go on."""
    beats = np.array(grid.beats)
    if time < beats[0]:
        place = (time - beats[0]) / (beats[1] - beats[0])
    elif time > beats[-1]:
        place = len(beats) - 1 + (time - beats[-1]) / (beats[-1] - beats[-2])
    else:
        place = np.interp(time, beats, np.arange(len(beats)))
    return round((float(place) - grid.downbeat) * UNITS)


def _placed(notes: Sequence[Note], grid: Grid) -> list[_Placed]:
    """Notes on the grid, none lost, none overlapping; gaps of one unit are breath, not rests."""
    placed: list[_Placed] = []
    for note in notes:
        start = _unit(note.onset, grid)
        if placed:
            start = max(start, placed[-1].start + 1)
            before = placed[-1]
            if before.end > start or start - before.end == 1:
                placed[-1] = _Placed(before.start, start, before.midi)
        placed.append(_Placed(start, max(_unit(note.offset, grid), start + 1), note.midi))
    return placed


def _bar_lines(placed: Sequence[_Placed], chords: Sequence[ChordSpan], grid: Grid) -> list[int]:
    """Units of all bar lines; a pick-up of whole beats comes first, the last bar is whole."""
    per_bar = grid.beats_per_bar * UNITS
    first = min(0, placed[0].start // UNITS * UNITS) if placed else 0
    # A chord that ends a little after a bar line does not ask for one more bar.
    ends = [_unit(span.end, grid) - UNITS // 2 for span in chords] + [note.end for note in placed]
    whole = range(-(-first // per_bar) * per_bar, max([*ends, 1]) + per_bar, per_bar)
    return [first, *whole] if first < whole[0] else list(whole)


def _symbols(chords: Sequence[ChordSpan], grid: Grid) -> list[tuple[int, Chord]]:
    """Where each new chord is written, not before the first downbeat."""
    at: dict[int, Chord] = {}
    for span in chords:
        at[max(0, _unit(span.start, grid))] = span.chord
    return sorted(at.items())


def _write_attributes(measure: Element, grid: Grid, key: Key, placed: Sequence[_Placed]) -> None:
    """Key, metre, clef and tempo of the whole sheet."""
    attributes = SubElement(measure, "attributes")
    SubElement(attributes, "divisions").text = str(UNITS)
    signature = SubElement(attributes, "key")
    SubElement(signature, "fifths").text = str(key.fifths)
    SubElement(signature, "mode").text = key.mode
    time = SubElement(attributes, "time")
    SubElement(time, "beats").text = str(grid.beats_per_bar)
    SubElement(time, "beat-type").text = "4"
    clef = SubElement(attributes, "clef")
    SubElement(clef, "sign").text = "G"
    SubElement(clef, "line").text = "2"
    if placed and np.median([note.midi for note in placed]) < _LOW_VOICE:
        SubElement(clef, "clef-octave-change").text = "-1"
    direction = SubElement(measure, "direction", placement="above")
    metronome = SubElement(SubElement(direction, "direction-type"), "metronome")
    SubElement(metronome, "beat-unit").text = "quarter"
    SubElement(metronome, "per-minute").text = f"{grid.tempo:.0f}"
    SubElement(direction, "sound", tempo=f"{grid.tempo:g}")


def _write_bar(
    measure: Element,
    start: int,
    stop: int,
    placed: Sequence[_Placed],
    symbols: Sequence[tuple[int, Chord]],
    key: Key,
) -> None:
    """One bar's chord symbols, notes and rests, in the order of time."""
    waiting = [(at, chord) for at, chord in symbols if start <= at < stop]
    for note, a, b in _bar_contents(placed, start, stop):
        for at, chord in waiting:
            if at < b:
                _write_chord(measure, chord, at - a, key)
        waiting = [(at, chord) for at, chord in waiting if at >= b]
        if note is None and (a, b) == (start, stop):
            _write_note(measure, None, b - a, key, whole_bar=True)
            continue
        parts = list(_written(a - start, b - a))
        for i, units in enumerate(parts):
            tied_from = note is not None and (i > 0 or a > note.start)
            tied_to = note is not None and (i < len(parts) - 1 or b < note.end)
            midi = None if note is None else note.midi
            _write_note(measure, midi, units, key, tied_from=tied_from, tied_to=tied_to)


def _bar_contents(
    placed: Sequence[_Placed], start: int, stop: int
) -> Iterator[tuple[_Placed | None, int, int]]:
    """Notes and rests (None) that fill a bar, each with its start and end inside it."""
    now = start
    for note in placed:
        a, b = max(note.start, start), min(note.end, stop)
        if a >= b:
            continue
        if a > now:
            yield None, now, a
        yield note, a, b
        now = b
    if now < stop:
        yield None, now, stop


def _written(start: int, length: int) -> Iterator[int]:
    """A length in note values: long ones begin on beats, short ones do not hide a beat."""
    while length:
        if start % UNITS == 0:
            longest = length
        elif start % UNITS == UNITS // 2:
            longest = min(length, UNITS + UNITS // 2)
        else:
            longest = min(length, UNITS - start % UNITS)
        value = max(units for units in _TYPES if units <= longest)
        yield value
        start, length = start + value, length - value


def _write_note(
    measure: Element,
    midi: int | None,
    units: int,
    key: Key,
    *,
    tied_from: bool = False,
    tied_to: bool = False,
    whole_bar: bool = False,
) -> None:
    """A note, or a rest where `midi` is None."""
    note = SubElement(measure, "note")
    ties = [kind for kind, tied in (("stop", tied_from), ("start", tied_to)) if tied]
    if midi is None:
        SubElement(note, "rest", {"measure": "yes"} if whole_bar else {})
    else:
        _write_pitch(note, midi, key)
    SubElement(note, "duration").text = str(units)
    for kind in ties:
        SubElement(note, "tie", type=kind)
    SubElement(note, "voice").text = "1"
    if not whole_bar:
        name, dots = _TYPES[units]
        SubElement(note, "type").text = name
        for _ in range(dots):
            SubElement(note, "dot")
    if ties:
        notations = SubElement(note, "notations")
        for kind in ties:
            SubElement(notations, "tied", type=kind)


def _write_pitch(note: Element, midi: int, key: Key) -> None:
    """Step, alteration and octave as the key spells them: B# lies in the octave below."""
    name = pitch_name(midi % 12, key)
    alter = name.count("#") - name.count("b")
    pitch = SubElement(note, "pitch")
    SubElement(pitch, "step").text = name[0]
    if alter:
        SubElement(pitch, "alter").text = str(alter)
    SubElement(pitch, "octave").text = str((midi - alter) // 12 - 1)


def _write_chord(measure: Element, chord: Chord, offset: int, key: Key) -> None:
    """A chord symbol, `offset` units after the note that follows it begins."""
    harmony = SubElement(measure, "harmony", {"print-frame": "no"})
    root = root_name(chord, key)
    _write_step(SubElement(harmony, "root"), "root", root)
    suffix = Chord(0, chord.quality).symbol.removeprefix("C")
    SubElement(harmony, "kind", text=suffix).text = _KINDS[chord.quality]
    if chord.bass is not None:
        _write_step(SubElement(harmony, "bass"), "bass", bass_name(chord, root))
    if chord.quality in _ADDED:
        value, alter = _ADDED[chord.quality]
        degree = SubElement(harmony, "degree", {"print-object": "no"})
        SubElement(degree, "degree-value").text = str(value)
        SubElement(degree, "degree-alter").text = str(alter)
        SubElement(degree, "degree-type").text = "add"
    if offset:
        SubElement(harmony, "offset").text = str(offset)


def _write_step(parent: Element, prefix: str, name: str) -> None:
    SubElement(parent, f"{prefix}-step").text = name[0]
    if alter := name.count("#") - name.count("b"):
        SubElement(parent, f"{prefix}-alter").text = str(alter)
