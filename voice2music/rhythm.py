"""Tempo and beats of a voice."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from voice2music.notes import Note
from voice2music.request import Guide

PLAIN_TEMPO = 100.0  # beats per minute where nothing can be heard


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
    """Beats, bars and tempo of a freely sung tune."""
    del notes, prior
    return steady(PLAIN_TEMPO, seconds, known=False)
