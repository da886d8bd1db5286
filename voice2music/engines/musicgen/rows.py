"""The tune as MusicGen-Melody is given it: pitch classes frame by frame, and what else it knows.

Beside the tune there may be the plan of the accompaniment (`engines.plan`).

One definition for training and playing, so that what a model was trained on and what it is given
later cannot drift apart.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice2music.engines.base import Melody
from voice2music.engines.plan import BEAT_ROWS, CHORD_ROWS, Plan, beat_rows, chord_rows
from voice2music.pitch import HOP

Rows = NDArray[np.float32]

LOWEST_OCTAVE: Final = 2  # C2 (MIDI 36) is the lowest octave row, C7 the highest
TUNE_ROWS: Final = {"chroma": 12, "octave": 6, "onset": 1, "voicing": 1}
PLAN_ROWS: Final = {"beat": BEAT_ROWS, "chord": CHORD_ROWS, "bass": CHORD_ROWS}
ROW_SIZES: Final = TUNE_ROWS | PLAN_ROWS
HELD_WEIGHT: Final = 0.01  # a rest speaks only where nothing is sung within the window


@dataclass(frozen=True)
class RowFormat:
    """What rows a model wants, and how fast.

    Args:
        frame_rate: frames per second; frame i lies at `i / frame_rate` seconds.
        frames: how many.
        window: seconds around a frame that it speaks for (a Hann window of that length).
        rows: blocks of rows in order, of `ROW_SIZES`; "chroma" comes first.
    """

    frame_rate: float
    frames: int
    window: float
    rows: tuple[str, ...] = ("chroma",)

    @property
    def size(self) -> int:
        """Number of rows in all."""
        return sum(ROW_SIZES[row] for row in self.rows)


def null_rows(form: RowFormat) -> Rows:
    """No melody, no plan: row 0 is one everywhere, all others zero, shape (frames, rows).

    The convention of MusicGen-Melody's dropped condition (an all-zero spectrum, whose largest bin
    is the first). It equals a held C where "chroma" is all there is.
    """
    rows = np.zeros((form.frames, form.size), np.float32)
    rows[:, 0] = 1.0
    return rows


def melody_rows(
    melody: Melody | None, form: RowFormat, start: float = 0.0, plan: Plan | None = None
) -> Rows:
    """The tune from `start` seconds on as rows, shape (frames, rows), values in [0, 1].

    - chroma: one-hot, C first. Rests keep the last sung pitch class, the time before the first
      note has the first one, the time after the end the last one: an all-zero frame would not
      be neutral (its largest row is the first, which is C).
    - octave: one-hot like chroma; octaves outside C2 to B7 count as the nearest.
    - onset: 1 where a note begins.
    - voicing: share of the frame that is sung.
    - beat, chord, bass: of the plan, see `engines.plan`.

    Args:
        melody: None, or one with no sung frame, gives the rows of `null_rows`.
        form: which rows, how many frames, how fast.
        start: seconds of the tune at frame 0.
        plan: None, where none is given or none of its rows are wanted.
    """
    times = start + np.arange(form.frames) / form.frame_rate
    rows = null_rows(form)
    sung = melody is not None and bool(np.isfinite(melody.midi).any())
    blocks = _tune_blocks(melody, form, times) if melody is not None and sung else {}
    if plan is not None and any(row in PLAN_ROWS for row in form.rows):
        blocks["beat"] = beat_rows(plan, times)
        blocks["chord"], blocks["bass"] = chord_rows(plan, times)
    for name, place in _places(form.rows).items():
        if name in blocks:
            rows[:, place] = blocks[name]
    return rows


def plan_places(rows: tuple[str, ...]) -> list[int]:
    """Which rows are the plan's."""
    places = _places(rows)
    return [
        i
        for name in rows
        if name in PLAN_ROWS
        for i in range(places[name].start, places[name].stop)
    ]


def _places(rows: tuple[str, ...]) -> dict[str, slice]:
    """Where each block of rows lies."""
    ends = np.cumsum([ROW_SIZES[row] for row in rows]).tolist()
    return {row: slice(end - ROW_SIZES[row], end) for row, end in zip(rows, ends, strict=True)}


def _tune_blocks(
    melody: Melody, form: RowFormat, times: NDArray[np.float64]
) -> dict[str, NDArray[np.float64] | Rows]:
    semitones = np.round(_held(melody.midi)).astype(int)
    sung = np.isfinite(melody.midi)
    index, weight = _window(times, form.window, len(semitones))
    votes = weight * np.where(sung[index], 1.0, HELD_WEIGHT)
    return {
        "chroma": _one_hot(semitones[index] % 12, votes, 12),
        "octave": _one_hot(_octave(semitones[index]), votes, ROW_SIZES["octave"]),
        "onset": _onsets(melody, times, form.frame_rate),
        "voicing": _voicing(sung, times, form.frame_rate),
    }


def _held(midi: NDArray[np.float32]) -> NDArray[np.float32]:
    """`midi` with every NaN replaced by the last number before it (the first one at the start)."""
    known = np.flatnonzero(np.isfinite(midi))
    last = np.maximum.accumulate(np.where(np.isfinite(midi), np.arange(len(midi)), known[0]))
    held: NDArray[np.float32] = midi[last]
    return held


def _window(
    times: NDArray[np.float64], window: float, length: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices of the 10 ms frames around each time and their Hann weights, (frames, taps)."""
    reach = max(0, round(window / HOP / 2))
    taps = np.arange(-reach, reach + 1)
    weight = np.cos(np.pi * taps / (2 * (reach + 1))) ** 2
    index = np.round(times / HOP).astype(np.int64)[:, None] + taps
    return np.clip(index, 0, length - 1), np.broadcast_to(weight, index.shape)


def _octave(semitones: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row of each MIDI note's octave: C4 (60) is in octave 4."""
    row: NDArray[np.int64] = np.clip(
        semitones // 12 - 1 - LOWEST_OCTAVE, 0, ROW_SIZES["octave"] - 1
    )
    return row


def _one_hot(
    values: NDArray[np.int64], votes: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """The value with most votes per frame, one-hot, shape (frames, size)."""
    tally = np.stack([np.where(values == v, votes, 0.0).sum(axis=1) for v in range(size)], axis=1)
    rows: NDArray[np.float64] = np.eye(size)[tally.argmax(axis=1)]
    return rows


def _onsets(melody: Melody, times: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """1 in the frame nearest to each note's onset, shape (frames, 1)."""
    row = np.zeros((len(times), 1))
    at = np.round((np.array([note.onset for note in melody.notes]) - times[0]) * rate).astype(int)
    row[at[(at >= 0) & (at < len(times))]] = 1.0
    return row


def _voicing(
    sung: NDArray[np.bool_], times: NDArray[np.float64], rate: float
) -> NDArray[np.float64]:
    """Share of each frame's own time (no overlap) that is sung, shape (frames, 1)."""
    reach = max(0, round(1 / rate / HOP / 2 - 0.5))
    index = np.round(times / HOP).astype(int)[:, None] + np.arange(-reach, reach + 1)
    inside = (index >= 0) & (index < len(sung))
    share = (sung[np.clip(index, 0, len(sung) - 1)] & inside).mean(axis=1, keepdims=True)
    return np.asarray(share, np.float64)
