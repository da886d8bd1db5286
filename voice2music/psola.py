"""A voice sung at another pitch and in another time, its vowels kept (TD-PSOLA).

The recording is cut into grains of two periods, one for every period; they are laid down again at
the wished distance, so that the pitch changes while the shape of each grain, and with it the
vowel, stays. Source: Moulines and Charpentier 1990, "Pitch-synchronous waveform processing
techniques for text-to-speech synthesis using diphones".
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, oaconvolve

from voice2music.clip import Clip
from voice2music.pitch import HOP, stretches

Array = NDArray[np.float64]

UNVOICED = 0.006  # s between grains where nothing is sung
GRAB = 0.15  # share of a period by which a mark is moved to the strongest point of the wave


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
    marks, periods = _marks(samples, f0, clip.rate)
    length = round(len(wanted) * HOP * clip.rate)
    out, weight = np.zeros(length), np.zeros(length)
    time = 0.0
    while time < len(wanted) * HOP:
        frame = min(int(time / HOP), len(wanted) - 1)
        nearest = _nearest(marks, float(np.interp(time, np.arange(len(source)) * HOP, source)))
        half = round(periods[nearest] * clip.rate)
        _lay(out, weight, round(time * clip.rate), samples, round(marks[nearest] * clip.rate), half)
        time += 1.0 / wanted[frame] if wanted[frame] > 0 else UNVOICED
    # Where grains hardly overlap the sum is left as it is, so that it fades instead of growing.
    return Clip((out / np.maximum(weight, 0.5)).astype(np.float32), clip.rate)


def _lay(out: Array, weight: Array, at: int, samples: Array, centre: int, half: int) -> None:
    """Add the grain around `centre` of `samples` to `out` at `at`, and its window to `weight`."""
    before = min(half, at, centre)
    after = min(half, len(out) - at, len(samples) - centre)
    if before + after <= 0:
        return
    window = 0.5 + 0.5 * np.cos(np.pi * np.arange(-before, after) / max(half, 1))
    out[at - before : at + after] += samples[centre - before : centre + after] * window
    weight[at - before : at + after] += window


def _nearest(marks: Array, time: float) -> int:
    right = int(np.searchsorted(marks, time))
    if right == 0 or right == len(marks):
        return min(right, len(marks) - 1)
    return right if marks[right] - time < time - marks[right - 1] else right - 1


def _marks(samples: Array, f0: Array, rate: int) -> tuple[Array, Array]:
    """Times of the grains' centres, seconds, and the period at each.

    One for every period of the voice, at the same point of each; every 6 ms elsewhere.
    """
    low = oaconvolve(samples, firwin(2 * (rate // 400) + 1, 900, fs=rate), "same")
    seconds = len(samples) / rate
    sung = f0 > 0
    edges = [(first * HOP, min(last * HOP, seconds)) for first, last in stretches(sung)]
    marks: list[float] = []
    end = 0.0
    for first, last in [*edges, (seconds, seconds)]:
        marks.extend(np.arange(end, first, UNVOICED))
        marks.extend(_voiced_marks(low, f0, rate, first, last))
        end = last
    times = np.array(sorted(marks) or [0.0])
    frame = np.minimum((times / HOP).astype(int), len(f0) - 1)
    return times, np.where(f0[frame] > 0, 1.0 / np.maximum(f0[frame], 1.0), UNVOICED)


def _voiced_marks(low: Array, f0: Array, rate: int, first: float, last: float) -> list[float]:
    """One mark per period from `first` to `last` seconds, each near the strongest point."""
    marks: list[float] = []
    time = first
    while time < last:
        pitch = f0[min(int(time / HOP), len(f0) - 1)]
        if pitch <= 0:
            break
        reach = max(1, round((0.5 if not marks else GRAB) * rate / pitch))
        centre = round(time * rate)
        start = max(0, centre - reach)
        around = low[start : centre + reach + 1]
        if len(around) == 0:
            break
        time = (start + int(np.argmax(around))) / rate
        marks.append(time)
        time += 1.0 / pitch
    return marks
