"""What the accompaniment is to do, frame by frame: the one layout for training and playing.

A network that is given a tune alone has to guess its beats and its chords, and small ones guess
badly. The job has both, heard in the voice or set by the user; the band plays by them, and with
these rows the networks can too. In training they are those of the music that is to be made: an
instruction, as the words are, not something heard.

Beat rows, in this order:
    beat, downbeat: 1 at the time of one, shared between the two frames around it
    cosine, sine: of the place within the beat, moved to 0 to 1
Chord rows: the pitch classes of the chord that sounds, C first; then its lowest note's, likewise.

All rows are 0 where no plan is given and after its end.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voice2music.arrangement import played_grid
from voice2music.chords import ChordSpan, chord_pitch_classes
from voice2music.engines.base import Conditioning
from voice2music.rhythm import Grid
from voice2music.styles import style

Rows = NDArray[np.float32]

BEAT_ROWS = 4
CHORD_ROWS = 12


@dataclass(frozen=True)
class Plan:
    """Beats and chords of the music.

    Args:
        grid: the beats as they are played, at the style's pace and in its bars.
        chords: may be empty.
        seconds: where the music ends.
    """

    grid: Grid
    chords: tuple[ChordSpan, ...]
    seconds: float


def plan_of(given: Conditioning) -> Plan:
    """The plan by which the band would play."""
    return Plan(played_grid(given.grid, style(given.genre)), given.chords, given.seconds)


def beat_rows(plan: Plan, times: NDArray[np.float64]) -> Rows:
    """Beats at evenly spaced times in seconds, shape (frames, 4)."""
    first = math.floor(plan.grid.beat_at(0.0))
    last = math.ceil(plan.grid.beat_at(plan.seconds))
    numbers = np.arange(first, last + 1)
    beats = np.array([plan.grid.time_at(float(number)) for number in numbers])
    strong = (numbers - plan.grid.downbeat) % plan.grid.beats_per_bar == 0
    angle = 2 * np.pi * np.interp(times, beats, numbers)
    rows = np.stack(
        [
            _pulses(beats, times),
            _pulses(beats[strong], times),
            (1 + np.cos(angle)) / 2,
            (1 + np.sin(angle)) / 2,
        ],
        axis=1,
    )
    rows[(times < 0) | (times >= plan.seconds)] = 0
    return rows.astype(np.float32)


def chord_rows(plan: Plan, times: NDArray[np.float64]) -> tuple[Rows, Rows]:
    """Pitch classes of the chords and of their lowest notes, shape (frames, 12) each."""
    chord, bass = np.zeros((2, len(times), CHORD_ROWS), np.float32)
    for span in plan.chords:
        sounds = (times >= span.start) & (times < min(span.end, plan.seconds))
        for tone in chord_pitch_classes(span.chord):
            chord[sounds, tone] = 1
        bass[sounds, span.chord.lowest] = 1
    return chord, bass


def _pulses(at: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 at each moment, shared between the two times next to it."""
    step = times[1] - times[0] if len(times) > 1 else 1.0
    near = 1 - np.abs(times[:, None] - at) / step
    pulses: NDArray[np.float64] = np.maximum(near, 0).sum(axis=1)
    return np.minimum(pulses, 1.0)
