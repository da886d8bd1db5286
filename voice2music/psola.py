"""A voice sung at another pitch and in another time, its vowels kept (TD-PSOLA).

The recording is cut into grains of two periods, one for every period; they are laid down again at
the wished distance, so that the pitch changes while the shape of each grain, and with it the
vowel, stays. Source: Moulines and Charpentier 1990, "Pitch-synchronous waveform processing
techniques for text-to-speech synthesis using diphones".
"""

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.pitch import HOP, stretches

Array = NDArray[np.float64]

UNVOICED = 0.006  # s between grains where nothing is sung


def resung(clip: Clip, f0: Array, wanted: Array, source: Array) -> Clip:
    """The voice at another pitch and in another time.

    Args:
        clip: one voice; channels are averaged.
        f0: its pitch, Hz, every 10 ms of the *recording*; 0 where nothing is sung.
        wanted: the new pitch, Hz, every 10 ms of the *result*; 0 where nothing is to be sung.
        source: seconds in the recording that each 10 ms of the result is taken from, never
            falling, same shape as `wanted`.
    Returns:
        As long as `wanted`, at the clip's rate.
    """
    samples = clip.mono().samples[0].astype(np.float64)
    rate, seconds = clip.rate, len(wanted) * HOP
    marks = _marks(f0)
    frames = np.arange(len(wanted)) * HOP
    out, weight = np.zeros(round(seconds * rate)), np.zeros(round(seconds * rate))
    time = 0.0
    while time < seconds:
        pitch = wanted[min(int(time / HOP), len(wanted) - 1)]
        origin = float(np.interp(time, frames, source))
        sung = f0[min(int(origin / HOP), len(f0) - 1)]
        if sung > 0 and len(marks):
            # Only whole periods join without a break. Noise may be cut anywhere: taken from
            # exactly where it belongs, it is copied unchanged.
            origin = _nearest(marks, origin)
        half = round(rate / sung if sung > 0 else rate * UNVOICED)
        _lay(out, weight, round(time * rate), samples, round(origin * rate), half)
        time += 1.0 / pitch if pitch > 0 else UNVOICED
    # Where grains hardly overlap the sum is left as it is, so that it fades instead of growing.
    return Clip((out / np.maximum(weight, 0.5)).astype(np.float32), rate)


def _lay(out: Array, weight: Array, at: int, samples: Array, centre: int, half: int) -> None:
    """Add the grain around `centre` of `samples` to `out` at `at`, and its window to `weight`."""
    before = min(half, at, centre)
    after = min(half, len(out) - at, len(samples) - centre)
    if before + after <= 0:
        return
    window = 0.5 + 0.5 * np.cos(np.pi * np.arange(-before, after) / half)
    out[at - before : at + after] += samples[centre - before : centre + after] * window
    weight[at - before : at + after] += window


def _nearest(marks: Array, time: float) -> float:
    right = int(np.searchsorted(marks, time))
    near = marks[max(right - 1, 0) : right + 1]
    return float(near[np.argmin(np.abs(near - time))])


def _marks(f0: Array) -> Array:
    """Seconds at which each period of the voice begins: where its phase passes a whole number.

    The phase is the sum of f0. What f0 is wrong by (some cents) makes the marks wander slowly
    against the wave, which does no harm: neighbouring grains only have to fit each other. Marks
    moved to the peaks of the wave were tried and made the pitch rougher (.2 for .09 semitones).
    """
    marks = []
    for first, last in stretches(f0 > 0):
        phase = np.concatenate(([0.0], np.cumsum(f0[first:last] * HOP)))
        times = (first + np.arange(last - first + 1)) * HOP
        marks.append(np.interp(np.arange(0.0, phase[-1]), phase, times))
    return np.concatenate(marks) if marks else np.zeros(0)
