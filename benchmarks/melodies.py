"""Melodies with known key, tempo and beats, cut from lead sheets, for `hearing.py`.

The rule. A phrase ends with a note after which no other begins for a dotted quarter. An excerpt
begins where the tune or a phrase begins, ends with the first phrase that ends 12 to 20 s later over
the tonic chord, and stands in one key: at least 90 % of its sung time lies in the scale (of minor:
the natural one and the leading note), at least 80 % of its chords' time belongs to triads of that
scale. The key is the sheet's by `voice2music.dataset.musicxml.sheet_key`, from scale, chords and
signature, since the signature alone is often missing or wrong. No two excerpts of a tune overlap,
none is the repetition of another. Sheets give no tempo: one is drawn for each excerpt, evenly by
ratio from the range of its metre in `TEMPOS`; a beat is a half in 2/2, a dotted quarter in 6/8.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from voice2music.chords import QUALITIES, Chord, Key
from voice2music.dataset.musicxml import LeadSheet, SheetNote
from voice2music.notes import Note

SHORTEST, LONGEST = 12.0, 20.0  # s
PAUSE = 1.5  # quarters from the last onset of a phrase to the next one
LEAD = 0.4  # s of silence first
TEMPOS = {
    "4/4": (72, 144),
    "2/2": (60, 100),
    "3/4": (84, 168),
    "2/4": (66, 120),
    "6/8": (50, 90),
    "12/8": (50, 90),
}
SCALES = {"major": {0, 2, 4, 5, 7, 9, 11}, "minor": {0, 2, 3, 5, 7, 8, 10, 11}}


@dataclass(frozen=True)
class Melody:
    """An excerpt.

    Args:
        notes: in seconds, at an even tempo.
        beats: place of each onset in beats; 0 is a bar line.
        key, tempo, beats_per_bar, metre: the truth.
    """

    title: str
    notes: tuple[Note, ...]
    beats: tuple[float, ...]
    key: Key
    tempo: float
    beats_per_bar: int
    metre: str


def drawn(sheets: Sequence[LeadSheet], count: int, seed: int) -> list[Melody]:
    """`count` melodies: the first excerpt of each tune in drawn order, then the second, and on."""
    order = np.random.default_rng(seed).permutation(len(sheets))
    rows = [list(excerpts(sheets[index], seed)) for index in order]
    turns = max(len(row) for row in rows)
    return [row[turn] for turn in range(turns) for row in rows if turn < len(row)][:count]


def excerpts(sheet: LeadSheet, seed: int) -> Iterator[Melody]:
    """All excerpts of a sheet that keep the rule, in order."""
    if sheet.metre not in TEMPOS:
        return
    digest = hashlib.sha256(sheet.title.encode()).digest()
    rng = np.random.default_rng((seed, *digest[:4]))
    low, high = TEMPOS[sheet.metre]
    seen: set[tuple[tuple[float, int], ...]] = set()
    start = 0
    while start < len(sheet.notes):
        tempo = float(low * (high / low) ** rng.random())
        end = _end(sheet, start, tempo)
        notes = sheet.notes[start : end + 1] if end is not None else ()
        tune = tuple((round(n.start - notes[0].start, 3), n.midi - notes[0].midi) for n in notes)
        if notes and tune not in seen and _in_one_key(sheet, notes):
            seen.add(tune)
            yield _melody(sheet, notes, tempo)
            start += len(notes)
        else:
            start = _next_phrase(sheet, start)


def _end(sheet: LeadSheet, start: int, tempo: float) -> int | None:
    """Index of the note with which the excerpt ends."""
    begin = sheet.notes[start].start
    for index in range(start, len(sheet.notes)):
        seconds = (sheet.notes[index].end - begin) * 60 / tempo
        if seconds > LONGEST:
            return None
        if seconds >= SHORTEST and _ends_phrase(sheet, index) and _over_tonic(sheet, index):
            return index
    return None


def _ends_phrase(sheet: LeadSheet, index: int) -> bool:
    if index + 1 == len(sheet.notes):
        return True
    beats = sheet.notes[index + 1].start - sheet.notes[index].start
    return beats * sheet.quarters_per_beat >= PAUSE - 1e-6


def _next_phrase(sheet: LeadSheet, start: int) -> int:
    return next(
        (i + 1 for i in range(start, len(sheet.notes)) if _ends_phrase(sheet, i)), len(sheet.notes)
    )


def _over_tonic(sheet: LeadSheet, index: int) -> bool:
    start = sheet.notes[index].start
    sounding = [span.chord for span in sheet.chords if span.start <= start + 1e-6 < span.end]
    return any(_is_tonic(chord, sheet.key) for chord in sounding)


def _is_tonic(chord: Chord, key: Key) -> bool:
    minor = 3 in QUALITIES[chord.quality]
    return chord.root == key.tonic and minor == (key.mode == "minor")


def _in_one_key(sheet: LeadSheet, notes: Sequence[SheetNote]) -> bool:
    scale = {(sheet.key.tonic + step) % 12 for step in SCALES[sheet.key.mode]}
    sung = sum(note.end - note.start for note in notes)
    inside = sum(note.end - note.start for note in notes if note.midi % 12 in scale)
    begin, end = notes[0].start, notes[-1].end
    played = [
        (min(span.end, end) - max(span.start, begin), span.chord)
        for span in sheet.chords
        if span.end > begin and span.start < end
    ]
    fitting = sum(
        beats
        for beats, chord in played
        if {(chord.root + step) % 12 for step in QUALITIES[chord.quality][:3]} <= scale
    )
    return inside >= 0.9 * sung and fitting >= 0.8 * sum(beats for beats, _ in played)


def _melody(sheet: LeadSheet, notes: Sequence[SheetNote], tempo: float) -> Melody:
    period = 60 / tempo
    begin = notes[0].start
    bar = math.floor(begin / sheet.beats_per_bar) * sheet.beats_per_bar
    sung = tuple(
        # Singers let go a little early.
        Note(
            LEAD + (n.start - begin) * period,
            LEAD + (n.end - 0.02 * (n.end - n.start) - begin) * period,
            n.midi,
        )
        for n in notes
    )
    return Melody(
        title=sheet.title,
        notes=sung,
        beats=tuple(note.start - bar for note in notes),
        key=sheet.key,
        tempo=tempo,
        beats_per_bar=sheet.beats_per_bar,
        metre=sheet.metre,
    )
