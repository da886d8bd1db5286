"""Singable tunes that nobody wrote: phrases in the manner of the cleared tunes, in any mode.

A tune is a few two-bar phrases, some of which come back, at the same place or a step higher or
lower. Rhythms and steps are drawn from `phrase_counts`; phrases end on long notes and breathe.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from voice2music.chords import Key, Mode
from voice2music.dataset.musicxml import LeadSheet, SheetNote
from voice2music.dataset.phrase_counts import (
    KINDS,
    TICKS,
    WIDEST,
    PhraseCounts,
    Rhythm,
    motion,
    phrase_counts,
)

Chance = np.random.Generator
Array = NDArray[np.float64]

# Semitones of seven degrees. In a scale of five notes the other two are sung as their neighbours.
SCALES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "major": (0, 2, 4, 5, 7, 9, 11),
        "minor": (0, 2, 3, 5, 7, 8, 10),
        "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
        "dorian": (0, 2, 3, 5, 7, 9, 10),
        "mixolydian": (0, 2, 4, 5, 7, 9, 10),
        "phrygian": (0, 1, 3, 5, 7, 8, 10),
        "lydian": (0, 2, 4, 6, 7, 9, 11),
        "major pentatonic": (0, 2, 4, 4, 7, 9, 9),
        "minor pentatonic": (0, 3, 3, 5, 7, 7, 10),
        "hijaz": (0, 1, 4, 5, 7, 8, 10),
    }
)
MINOR_THIRD = 3
# How often each scale is drawn, in the order of `SCALES`.
_WEIGHTS = (0.36, 0.18, 0.08, 0.08, 0.08, 0.04, 0.04, 0.05, 0.05, 0.04)
_THREE = 0.25  # share of tunes in three
# Two-bar phrases by letter; the same letter is the same phrase.
_FORMS = ("aab", "aba", "abab", "abac", "aaba", "aabc", "abcb", "abacab", "aabaca")
_LEAST_RANGE, _MOST_RANGE = 4, 17  # semitones that people hum
_SEQUENCE = 0.35  # odds that a phrase comes back on another step of the scale
_NEW_ENDING = 0.4  # odds that it comes back with another last note
_ON_TONIC = 0.75  # odds that the tune ends on its tonic
_SMOOTH = 0.6  # counts added to every step that is possible
_REACH = 1.5  # scale steps, standard deviation of how far a tune leaves its middle range
_BREATH = (0, 3, 6, 9, 12)  # ticks of rest that are cut out of a phrase's last note
_CHROMATIC = 0.05  # odds that a step up is reached from a semitone below, by a raised note


@dataclass(frozen=True)
class Phrase:
    """Two bars: ticks from their start, lengths, and places in scale steps above the tonic."""

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    places: tuple[int, ...]


def singable_tune(seed: int) -> tuple[LeadSheet, str]:
    """A tune without chords, and the name of its scale; tonic C, 18 to 48 quarters long.

    Args:
        seed: any number from 0; the same seed gives the same tune for ever.
    """
    chance = np.random.default_rng([seed, 1961])
    scale = str(chance.choice(list(SCALES), p=_WEIGHTS))
    kind = "three" if chance.random() < _THREE else "four"
    form = str(chance.choice(_FORMS))
    notes: tuple[SheetNote, ...] = ()
    while not _LEAST_RANGE <= _range(notes) <= _MOST_RANGE:
        phrases = _phrases(phrase_counts(), form, kind, chance)
        notes = _notes(phrases, 2 * KINDS[kind] * TICKS, SCALES[scale], chance)
    mode: Mode = "minor" if MINOR_THIRD in SCALES[scale] else "major"
    quarters = 2 * KINDS[kind] * len(form)
    sheet = LeadSheet(
        title=f"phrases {seed}",
        notes=notes,
        chords=(),
        key=Key(0, mode),
        metre=f"{KINDS[kind]}/4",
        beats_per_bar=KINDS[kind],
        quarters_per_beat=1.0,
        tempo=None,
        beats=float(quarters),
    )
    return sheet, scale


def _range(notes: tuple[SheetNote, ...]) -> int:
    """Semitones from the lowest to the highest note; 0 without notes."""
    midi = [note.midi for note in notes] or [0]
    return max(midi) - min(midi)


def _phrases(counts: PhraseCounts, form: str, kind: str, chance: Chance) -> list[Phrase]:
    """The phrases of a form, those that come back varied a little."""
    first: dict[str, Phrase] = {}
    out: list[Phrase] = []
    place = int(chance.choice((0, 2, 4, 4, 2, -3)))  # tonic, third or fifth to begin with
    for index, letter in enumerate(form):
        last = index == len(form) - 1
        if letter in first:
            phrase = _again(first[letter], chance)
        else:
            phrase = first[letter] = _new(counts, kind, place, chance)
        if last and chance.random() < _ON_TONIC:
            phrase = _with_ending(phrase, 7 * round(phrase.places[-1] / 7))
        place = phrase.places[-1]
        out.append(phrase)
    return out


def _new(counts: PhraseCounts, kind: str, place: int, chance: Chance) -> Phrase:
    """A phrase that goes on from `place`."""
    bar = KINDS[kind] * TICKS
    struck = [
        *_drawn(counts.inner[kind], chance),
        *((start + bar, length) for start, length in _drawn(counts.closing[kind], chance)),
    ]
    starts, lengths = zip(*struck, strict=True)
    return Phrase(starts, lengths, _places(counts, len(struck), place, chance))


def _drawn(rhythms: Mapping[Rhythm, int], chance: Chance) -> Rhythm:
    weights = np.array(list(rhythms.values()), np.float64)
    return list(rhythms)[int(chance.choice(len(weights), p=weights / weights.sum()))]


def _places(counts: PhraseCounts, count: int, place: int, chance: Chance) -> tuple[int, ...]:
    """A walk through the scale: each step after the one before, the last to where phrases end."""
    intervals = np.arange(-WIDEST, WIDEST + 1)
    middle = 2.0 + chance.normal(0, 1)  # the middle of the range lies about the third
    out: list[int] = []
    before = 2
    for index in range(count):
        weights = counts.steps[before, place % 7] + _SMOOTH * np.exp(-0.8 * np.abs(intervals))
        away = np.abs(place + intervals - middle)
        weights = weights * np.exp(-0.5 * (np.maximum(away - 3, 0) / _REACH) ** 2)
        if index == count - 1:
            weights = weights * counts.ends[(place + intervals) % 7]
        step = int(chance.choice(intervals, p=weights / weights.sum()))
        place, before = place + step, motion(step)
        out.append(place)
    return tuple(out)


def _again(phrase: Phrase, chance: Chance) -> Phrase:
    """The phrase as it comes back."""
    shift = int(chance.choice((-2, -1, 1, 2))) if chance.random() < _SEQUENCE else 0
    moved = Phrase(phrase.starts, phrase.lengths, tuple(p + shift for p in phrase.places))
    if chance.random() < _NEW_ENDING:
        return _with_ending(moved, moved.places[-1] + int(chance.choice((-2, -1, 1, 2))))
    return moved


def _with_ending(phrase: Phrase, place: int) -> Phrase:
    return Phrase(phrase.starts, phrase.lengths, (*phrase.places[:-1], place))


def _notes(
    phrases: list[Phrase], size: int, scale: tuple[int, ...], chance: Chance
) -> tuple[SheetNote, ...]:
    """Phrases one after the other, `size` ticks each, as notes in quarters around middle C."""
    out: list[SheetNote] = []
    for number, phrase in enumerate(phrases):
        breath = int(chance.choice(_BREATH))
        for index, (start, length) in enumerate(zip(phrase.starts, phrase.lengths, strict=True)):
            following = phrase.starts[index + 1] if index + 1 < len(phrase.starts) else size
            held = min(length, following - start)
            if index == len(phrase.starts) - 1:
                held = max(held - breath, held // 2)
            onset = (number * size + start) / TICKS
            midi = _midi(phrase.places[index], scale)
            out.append(SheetNote(onset, onset + held / TICKS, midi))
    return tuple(_raised(out, chance))


def _raised(notes: list[SheetNote], chance: Chance) -> list[SheetNote]:
    """Some whole steps up reached by a semitone, as tunes borrow leading notes."""
    out = list(notes)
    for index in range(len(notes) - 1):
        here, after = notes[index], notes[index + 1]
        if after.midi - here.midi == 2 and chance.random() < _CHROMATIC:
            out[index] = SheetNote(here.start, here.end, here.midi + 1)
    return out


def _midi(place: int, scale: tuple[int, ...]) -> int:
    octave, degree = divmod(place, 7)
    return 60 + 12 * octave + scale[degree]
