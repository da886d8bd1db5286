"""Tempo and beats of a voice."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import spsolve

from voice2music.barlines import first_barline
from voice2music.metre import TEMPOS, TICKS, TIMING, Parse, metres, parse, with_long_pauses
from voice2music.notes import Note
from voice2music.request import Guide

Array = NDArray[np.float64]

PLAIN_TEMPO = 100.0  # beats per minute where nothing can be heard
GRACE = 0.08  # s; notes closer than this begin as one
SWAY = 0.02  # standard deviation of the change from one beat's length to the next, as a share
NEAR = 3.0  # difference in log probability
SLOW, FAST = 75.0, 125.0  # beyond these, people tap at double or half the tempo too


@dataclass(frozen=True)
class Grid:
    """Where the beats are. They may breathe with the singer; a guide beat makes them exact.

    Args:
        beats: seconds, rising, at least two; they reach from at or before the first note to at
            or past the end of the clip (the first may lie below 0).
        downbeat: index into `beats` of the first downbeat, 0 to `beats_per_bar` - 1.
        beats_per_bar: 2 to 7.
        tempo: beats per minute, of the whole clip.
        confidence: in [0, 1].
        known: True when a guide beat gave the grid; then nothing was estimated.
        ambiguous: True when double or half the tempo fits nearly as well.
    """

    beats: tuple[float, ...]
    downbeat: int
    beats_per_bar: int
    tempo: float
    confidence: float = 1.0
    known: bool = False
    ambiguous: bool = False

    @property
    def downbeats(self) -> tuple[float, ...]:
        """Times of bar starts, seconds."""
        return self.beats[self.downbeat :: self.beats_per_bar]

    def time_at(self, beat: float) -> float:
        """Seconds at a position in beats; 0 is `beats[0]`, and it may lie outside the beats.

        Between two beats, and beyond the ends at the pace of the nearest two, time is linear.
        """
        left = min(max(math.floor(beat), 0), len(self.beats) - 2)
        start, end = self.beats[left], self.beats[left + 1]
        return start + (beat - left) * (end - start)

    def beat_at(self, time: float) -> float:
        """Position in beats at a time in seconds; the inverse of `time_at`."""
        left = min(max(bisect.bisect_right(self.beats, time) - 1, 0), len(self.beats) - 2)
        start, end = self.beats[left], self.beats[left + 1]
        return left + (time - start) / (end - start)


def steady(
    tempo: float,
    seconds: float,
    beats_per_bar: int = 4,
    first_downbeat: float = 0.0,
    *,
    known: bool = True,
) -> Grid:
    """An even grid that covers a clip.

    Args:
        tempo: beats per minute.
        seconds: length of the clip.
        first_downbeat: time of any bar start, seconds; it may lie outside the clip.
        known: False where the grid is a mere assumption; its confidence is then 0.
    """
    period = 60.0 / tempo
    first = math.floor(-first_downbeat / period + 1e-9)
    last = max(first + 1, math.ceil((seconds - first_downbeat) / period - 1e-9))
    beats = tuple(first_downbeat + index * period for index in range(first, last + 1))
    return Grid(beats, -first % beats_per_bar, beats_per_bar, tempo, float(known), known)


def known_grid(guide: Guide, seconds: float) -> Grid:
    """The grid of a guide beat, on the recording's own time.

    The recorded voice lags what was played by `guide.latency`, so the beats are that much later.
    """
    return steady(guide.tempo, seconds, guide.beats_per_bar, guide.first_downbeat + guide.latency)


def rebarred(grid: Grid, beats_per_bar: int) -> Grid:
    """The same beats in bars of another length; the first downbeat stays one."""
    return replace(grid, beats_per_bar=beats_per_bar, downbeat=grid.downbeat % beats_per_bar)


def estimate_grid(notes: Sequence[Note], seconds: float, *, prior: float | None = None) -> Grid:
    """Beats, bars and tempo of a freely sung tune.

    The onsets are read in bars of four, three and six eighths (`voice2music.metre`), the best
    reading is kept, its bar lines are set where harmony changes (`voice2music.barlines`), and its
    beats are drawn smoothly through the onsets, so that they breathe as the singer does.

    Args:
        notes: what was sung, in any order.
        seconds: length of the clip; the beats reach past it.
        prior: beats per minute that are expected, where something is known; else each metre's
            natural tempo is.
    Returns:
        Where fewer than three onsets were sung, an even grid from the first onset on with
        confidence 0.
    """
    sung = _distinct(notes)
    if len(sung) < 3:
        first = sung[0].onset if sung else 0.0
        return steady(prior or PLAIN_TEMPO, seconds, first_downbeat=first, known=False)
    onsets = np.array([note.onset for note in sung])
    readings = [parse(onsets, metre, prior) for metre in metres()]
    best = max(readings, key=lambda reading: reading.log_probability)
    ticks = with_long_pauses(best.ticks, onsets, best.metre)
    barline = first_barline(ticks, np.array([note.midi for note in sung]), best.metre)

    grid = _through(onsets, (ticks - barline) / TICKS, best.metre.beats, seconds)
    sure, ambiguous = _doubts(readings, grid.tempo)
    return replace(grid, confidence=sure, ambiguous=ambiguous)


def _distinct(notes: Sequence[Note]) -> list[Note]:
    """Notes in order without those that begin together or hurry after another (grace notes)."""
    out: list[Note] = []
    for note in sorted(notes, key=lambda note: note.onset):
        if not out or note.onset - out[-1].onset >= GRACE:
            out.append(note)
        elif note.offset > out[-1].offset:
            out[-1] = replace(note, onset=out[-1].onset)  # the note that stays is the one meant
    return out


def _through(onsets: Array, places: Array, beats_per_bar: int, seconds: float) -> Grid:
    """Beats drawn through onsets at known places (in beats from a bar line)."""
    first, last = math.floor(places[0]), math.ceil(places[-1])
    period = float((onsets[-1] - onsets[0]) / (places[-1] - places[0]))
    sway = SWAY
    beats = _smooth_beats(onsets, places - first, last - first + 1, sway * period)
    while np.diff(beats).min() < period / 2:  # onsets far off their places would turn time back
        sway /= 2
        beats = _smooth_beats(onsets, places - first, last - first + 1, sway * period)

    sung = np.interp((places[0] - first, places[-1] - first), np.arange(len(beats)), beats)
    tempo = 60 * (places[-1] - places[0]) / (sung[1] - sung[0])
    edge = min(4, len(beats) - 1)
    before = (beats[edge] - beats[0]) / edge
    after = (beats[-1] - beats[-1 - edge]) / edge
    lead = max(0, math.ceil(beats[0] / before))
    tail = max(0, math.ceil((seconds - beats[-1]) / after))
    every = (
        *(beats[0] - before * np.arange(lead, 0, -1)),
        *beats,
        *(beats[-1] + after * np.arange(1, tail + 1)),
    )
    downbeat = (lead - first) % beats_per_bar
    return Grid(tuple(float(beat) for beat in every), downbeat, beats_per_bar, float(tempo))


def _smooth_beats(onsets: Array, places: Array, count: int, sway: float) -> Array:
    """Times x of `count` beats that minimise

        sum ((x at place - onset) / TIMING)^2 + sum (second difference of x / sway)^2,

    the smoothest tempo that the onsets allow: what a Kalman smoother finds, in one step.
    """
    left = np.minimum(places.astype(np.int64), count - 2)
    share = places - left
    index, bend = np.arange(len(places)), len(places) + np.arange(count - 2)
    weights = np.concatenate(
        (
            (1 - share) / TIMING,
            share / TIMING,
            np.outer((1, -2, 1), np.ones(count - 2) / sway).ravel(),
        )
    )
    rows = np.concatenate((index, index, bend, bend, bend))
    columns = np.concatenate((left, left + 1, *(np.arange(count - 2) + k for k in range(3))))
    system = csr_array((weights, (rows, columns)), shape=(len(places) + count - 2, count))
    wanted = np.concatenate((onsets / TIMING, np.zeros(count - 2)))
    return np.asarray(spsolve((system.T @ system).tocsc(), system.T @ wanted), np.float64)


def _doubts(readings: Sequence[Parse], tempo: float) -> tuple[float, bool]:
    """Confidence, and whether double or half the tempo is nearly as likely."""
    by_tempo = np.max([reading.by_tempo for reading in readings], axis=0)
    octaves = np.log2(TEMPOS / tempo)
    best = float(by_tempo.max())
    related = np.abs(octaves - np.round(octaves)) < 0.2
    margin = best - float(by_tempo[~related].max())
    others = by_tempo[related & (np.abs(octaves) > 0.5)]
    doubtful = bool(len(others)) and best - float(others.max()) < NEAR
    strange = not SLOW <= tempo <= FAST
    return float(1 / (1 + math.exp(-(margin - 2) / 1.2))), doubtful or strange
