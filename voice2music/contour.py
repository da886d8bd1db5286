"""The line a voice means: its f0 curve without vibrato, how fast it moves, where it is steady."""

import numpy as np
from numpy.typing import NDArray

from voice2music.pitch import HOP, Pitch, stretches

Array = NDArray[np.float64]

# Vibrato of singers lies at 4 to 8 Hz (Sundberg 1994), so half a period takes 60 to 125 ms; wider
# here, for trills and slow trembling.
HALF_PERIOD = (0.04, 0.16)  # s between a peak and the next trough
RIPPLE = 0.08  # semitones; smaller wiggles are the tracker's
DEEPEST = 3.0  # semitones from trough to peak; more is a yodel or two notes
SLOPE_SPAN = 0.06  # s over which the slope is taken
STEADY = 5.0  # semitones per second; slower than a scoop, faster than drift
SHORTEST_STEADY = 0.08  # s


def midline(pitch: Pitch) -> Array:
    """Fractional MIDI notes with vibrato taken out, shape (frames,); NaN where nothing is sung.

    Where peaks and troughs alternate at the pace of a vibrato, each is replaced by a quarter of
    its neighbours' sum plus a half of itself, which cancels any even alternation exactly; between
    them the line is straight. Everywhere else the curve stays as it is.
    """
    line = pitch.midi.astype(np.float64)
    for first, last in stretches(np.isfinite(line)):
        for turns in _vibrati(line[first:last]):
            heights = line[first + turns]
            middle = np.concatenate(
                (
                    [(heights[0] + heights[1]) / 2],
                    (heights[:-2] + 2 * heights[1:-1] + heights[2:]) / 4,
                    [(heights[-2] + heights[-1]) / 2],
                )
            )
            frames = np.arange(turns[0], turns[-1] + 1)
            line[first + frames] = np.interp(frames, turns, middle)
    return line


def vibrating(pitch: Pitch) -> NDArray[np.bool_]:
    """Frames in which the voice shakes, shape (frames,)."""
    curve = pitch.midi.astype(np.float64)
    out = np.zeros(len(curve), np.bool_)
    for first, last in stretches(np.isfinite(curve)):
        for turns in _vibrati(curve[first:last]):
            out[first + turns[0] : first + turns[-1] + 1] = True
    return out


def slope(line: Array) -> Array:
    """How fast `line` moves, semitones per second; 0 where it is NaN."""
    half = round(SLOPE_SPAN / HOP / 2)
    out = np.zeros(len(line))
    for first, last in stretches(np.isfinite(line)):
        padded = np.pad(line[first:last], half, mode="edge")
        out[first:last] = (padded[2 * half :] - padded[: -2 * half]) / (2 * half * HOP)
    return out


def steady_stretches(line: Array) -> list[tuple[int, int]]:
    """First and one-past-last frame of every stretch that keeps its pitch for 80 ms or more."""
    calm = np.isfinite(line) & (np.abs(slope(line)) < STEADY)
    # A leap ends a stretch even when the slope on both sides is calm.
    calm[1:] &= ~(np.abs(np.diff(line, prepend=line[:1])[1:]) > 0.5)
    return [(a, b) for a, b in stretches(calm) if (b - a) * HOP >= SHORTEST_STEADY]


def _vibrati(curve: Array) -> list[NDArray[np.intp]]:
    """Turning points, in frames, of each vibrato: at least three alike swings in a row."""
    turns = _turning_points(curve)
    if len(turns) < 4:
        return []
    swing, gap = np.abs(np.diff(curve[turns])), np.diff(turns) * HOP
    fits = (gap >= HALF_PERIOD[0]) & (gap <= HALF_PERIOD[1]) & (swing <= DEEPEST)
    paired = fits[1:] & fits[:-1] & _alike(swing, 2.5) & _alike(gap, 2.0)
    kept = np.concatenate((paired, [False])) | np.concatenate(([False], paired))
    return [turns[a : b + 1] for a, b in stretches(kept) if b - a >= 3]


def _alike(values: Array, factor: float) -> NDArray[np.bool_]:
    """Which neighbours differ by less than `factor`."""
    return np.maximum(values[1:], values[:-1]) < factor * np.minimum(values[1:], values[:-1])


def _turning_points(curve: Array) -> NDArray[np.intp]:
    """Frames of the peaks and troughs that differ from their neighbours by `RIPPLE` or more."""
    if len(curve) < 8:
        return np.zeros(0, np.intp)
    smooth = np.convolve(np.pad(curve, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    rising = np.diff(smooth) > 0
    turns = np.flatnonzero(rising[1:] != rising[:-1]) + 1
    while len(turns) > 1:
        swing = np.abs(np.diff(smooth[turns]))
        smallest = int(np.argmin(swing))
        if swing[smallest] >= RIPPLE:
            break
        turns = np.delete(turns, [smallest, smallest + 1])
    return turns
