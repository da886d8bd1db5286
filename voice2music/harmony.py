"""Chords under a tune, and the names of chords and keys."""

from voice2music.chords import (
    QUALITIES,
    Chord,
    ChordSpan,
    Key,
    Mode,
    bars,
    chord_pitch_classes,
    chord_symbol,
    key_name,
    parse_chord,
    parse_key,
    parse_progression,
    pitch_name,
    progression_text,
    spans_of_bars,
    within_bar,
)
from voice2music.notes import Note
from voice2music.rhythm import Grid

__all__ = [
    "QUALITIES",
    "Chord",
    "ChordSpan",
    "Key",
    "Mode",
    "bars",
    "chord_pitch_classes",
    "chord_symbol",
    "harmonise",
    "key_name",
    "parse_chord",
    "parse_key",
    "parse_progression",
    "pitch_name",
    "progression_text",
    "spans_of_bars",
    "within_bar",
]

_TRIADS = {
    "major": ((0, "maj"), (2, "min"), (4, "min"), (5, "maj"), (7, "maj"), (9, "min")),
    "minor": ((0, "min"), (3, "maj"), (5, "min"), (7, "maj"), (8, "maj"), (10, "maj")),
}


def harmonise(
    notes: tuple[Note, ...],
    grid: Grid,
    key: Key,
    seconds: float,
    happy: float = 0.0,
    jazzy: float = 0.0,
    per_bar: int | None = None,
) -> tuple[ChordSpan, ...]:
    """Chords for a tune: each bar the triad of the key that holds most of the sung time."""
    triads = [Chord((key.tonic + step) % 12, quality) for step, quality in _TRIADS[key.mode]]

    def held(chord: Chord, start: float, end: float) -> float:
        return sum(
            max(0.0, min(n.offset, end) - max(n.onset, start))
            for n in notes
            if n.midi % 12 in chord_pitch_classes(chord)
        )

    best = [(max(triads, key=lambda c: held(c, bar[0], bar[-1])),) for bar in bars(grid, seconds)]
    return spans_of_bars(best, grid, seconds)
