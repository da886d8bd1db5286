"""f0 and voicing of a sung, hummed or whistled clip, every 10 ms.

The tracker is SwiftF0 (MIT, an ONNX network inside its wheel; 46.9 to 2,093.75 Hz). Its frames are
16 ms apart and centred on their times: on a known glide the error is smallest at an offset of
0 ms (within 2 ms), so none is corrected here.

There is no speech detector in front of it: those score humming as silence.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from voice2music.clip import Clip

if TYPE_CHECKING:
    from swift_f0 import SwiftF0

HOP = 0.010  # s between frames
MODEL_RATE = 16_000  # Hz, of SwiftF0
MODEL_HOP = 0.016  # s between its frames
VOICED = 0.5  # confidence from which its authors call a frame voiced
LOUD = 0.5  # level to which the 99.9th percentile is brought: quiet clips lower its confidence
LOUD_PERCENTILE = 99.9  # a single click must not set the level
WHISTLED = 1_900.0  # Hz; from here on the half-speed pass is trusted
DYNAMICS = 40.0  # dB under the clip's loud frames at which a tone is a tail, hum or bleed, not song
SHORTEST = 0.040  # s; a shorter voiced stretch is a click of the tongue or a bump of the microphone

SHORT_SLIP = 0.10  # s; held for less, a leap is a slip where the spectrum cannot tell
ODD = -20.0  # dB of the odd harmonics in all, over which the lower octave is the right one


@dataclass(frozen=True, eq=False)
class Pitch:
    """A tracked f0 curve; frame i lies at `i * HOP` seconds.

    Args:
        f0: Hz, shape (frames,); 0 where nothing is sung.
        confidence: the tracker's own, in [0, 1], shape (frames,).
    """

    f0: NDArray[np.float32]
    confidence: NDArray[np.float32]

    @property
    def voiced(self) -> NDArray[np.bool_]:
        """Which frames are sung."""
        return self.f0 > 0

    @property
    def midi(self) -> NDArray[np.float32]:
        """Fractional MIDI note per frame (A4 = 69 = 440 Hz), NaN where nothing is sung."""
        return hz_to_midi(self.f0)


def hz_to_midi(f0: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fractional MIDI notes of frequencies in Hz (A4 = 69 = 440 Hz); NaN for 0 Hz."""
    sung = np.where(f0 > 0, f0, np.nan)
    return np.asarray(69.0 + 12.0 * np.log2(sung / 440.0), np.float32)


def track(clip: Clip) -> Pitch:
    """The f0 curve of one voice, `round(seconds / HOP)` frames (at least one).

    Covers men, women and children (46.9 Hz to 2.1 kHz) and whistles (to 4.2 kHz). The level of
    the recording does not matter.

    Source: SwiftF0, https://github.com/lars76/swift-f0.
    """
    frames = frame_count(clip)
    gain = _gain(clip)
    if gain == 0.0:
        return Pitch(np.zeros(frames, np.float32), np.zeros(frames, np.float32))
    mono = clip.mono().cut(0, max(clip.seconds, 0.1)).resampled(2 * MODEL_RATE)
    samples = np.clip(mono.samples[0] * gain, -1, 1)
    halved = Clip(samples, 2 * MODEL_RATE).resampled(MODEL_RATE)
    level = frame_level(halved, frames)
    midi, confidence = _detected(halved.samples[0], frames, MODEL_HOP)
    if _whistles(samples, confidence, level):
        midi, confidence = _with_whistle(midi, confidence, samples, frames)
    voiced = _voiced(confidence, level)
    midi = _without_octave_slips(midi, voiced, halved)
    f0 = np.where(voiced, 440.0 * 2.0 ** ((midi - 69.0) / 12.0), 0.0)
    return Pitch(f0.astype(np.float32), confidence.astype(np.float32))


def frame_count(clip: Clip) -> int:
    """Number of 10 ms frames of a clip, at least one."""
    return max(1, round(clip.seconds / HOP))


def frame_level(clip: Clip, frames: int, window: float = 0.025) -> NDArray[np.float64]:
    """Level in dB (0 = full-scale square wave) of `window` seconds around each 10 ms frame."""
    samples = clip.mono().samples[0]
    width = max(1, round(window * clip.rate))
    power = uniform_filter1d(np.square(samples, dtype=np.float64), width, mode="constant")
    at = np.minimum(np.round(np.arange(frames) * HOP * clip.rate).astype(int), len(samples) - 1)
    level: NDArray[np.float64] = 10.0 * np.log10(np.maximum(power[at], 1e-12))
    return level


@lru_cache(maxsize=1)
def _detector() -> "SwiftF0":
    """The network, loaded once; several threads may use it. It sleeps between calls."""
    # ONNX Runtime reports to Microsoft from 1.29 on, and keeps an identifier in the user's cache,
    # unless this stands in the environment before it is loaded.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    from swift_f0 import SwiftF0

    return SwiftF0(threads=1, spin=False)


def _gain(clip: Clip) -> float:
    """What brings the loud parts to `LOUD`; 0 for digital silence."""
    loud = float(np.percentile(np.abs(clip.samples), LOUD_PERCENTILE)) or clip.peak
    return LOUD / loud if loud > 0 else 0.0


def _detected(
    samples: NDArray[np.float32], frames: int, hop: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fractional MIDI note and confidence on our 10 ms frames."""
    result = _detector().detect(samples, MODEL_RATE)
    sure: NDArray[np.float64] = result.confidence
    notes: NDArray[np.float64] = 69.0 + 12.0 * np.log2(result.pitch_hz / 440.0)
    times: NDArray[np.float64] = np.arange(len(sure), dtype=np.float64) * hop
    at: NDArray[np.float64] = np.arange(frames, dtype=np.float64) * HOP
    return _interpolated(at, times, notes, sure), np.interp(at, times, sure)


def _interpolated(
    at: NDArray[np.float64],
    times: NDArray[np.float64],
    midi: NDArray[np.float64],
    confidence: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Pitch between frames: linear inside a stretch, the surer neighbour across a jump or edge."""
    right = np.clip(np.searchsorted(times, at), 1, max(1, len(times) - 1))
    if len(times) == 1:
        return np.full(len(at), midi[0])
    left = right - 1
    share = np.clip((at - times[left]) / (times[right] - times[left]), 0, 1)
    between = midi[left] + share * (midi[right] - midi[left])
    surer = np.where(confidence[right] > confidence[left], midi[right], midi[left])
    smooth = (np.abs(midi[right] - midi[left]) < 2.0) & (
        np.minimum(confidence[left], confidence[right]) >= VOICED
    )
    return np.where(smooth, between, surer)


def _whistles(
    samples: NDArray[np.float32], confidence: NDArray[np.float64], level: NDArray[np.float64]
) -> bool:
    """Whether single high tones (not hisses) sound for 50 ms where no pitch was found."""
    loud = np.flatnonzero((confidence < VOICED) & (level > np.percentile(level, 95) - 20.0))
    if len(loud) < 5:
        return False
    n_fft = 1024  # 32 ms at 32 kHz
    starts = np.clip(np.round(loud * HOP * 2 * MODEL_RATE).astype(int) - n_fft // 2, 0, None)
    padded = np.pad(samples, (0, n_fft))
    frames = padded[starts[:, None] + np.arange(n_fft)] * np.hanning(n_fft).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames)))
    peak = power.argmax(axis=1)
    around = np.clip(peak[:, None] + np.arange(-2, 3), 0, power.shape[1] - 1)
    share = np.take_along_axis(power, around, axis=1).sum(axis=1) / (power.sum(axis=1) + 1e-12)
    return bool(np.sum((share > 0.5) & (peak * 2 * MODEL_RATE / n_fft > WHISTLED)) >= 5)


def _with_whistle(
    midi: NDArray[np.float64],
    confidence: NDArray[np.float64],
    samples: NDArray[np.float32],
    frames: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frames without a pitch filled from a pass at half speed, which reaches an octave higher.

    Samples at 32 kHz that are said to be at 16 kHz sound half as high and twice as long.
    """
    lower, surer = _detected(samples, frames, MODEL_HOP / 2)
    high = lower + 12.0
    whistled = (
        (confidence < VOICED) & (surer >= VOICED) & (high > 69 + 12 * np.log2(WHISTLED / 440))
    )
    return np.where(whistled, high, midi), np.where(whistled, surer, confidence)


def _voiced(confidence: NDArray[np.float64], level: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Frames that are sung: sure, not far below the song's level, in stretches of some length."""
    voiced = confidence >= VOICED
    if not voiced.any():
        return voiced
    voiced &= level > np.percentile(level[voiced], 95) - DYNAMICS
    for first, last in stretches(voiced):
        if (last - first) * HOP < SHORTEST:
            voiced[first:last] = False
    return voiced


def stretches(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one-past-last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _without_octave_slips(
    midi: NDArray[np.float64], voiced: NDArray[np.bool_], clip: Clip
) -> NDArray[np.float64]:
    """Leaps of an octave or a twelfth from one frame to the next, and back, undone.

    A voice needs several frames for such a leap (octave leaps of a synthetic singer never show
    one), so it is the tracker that leaps. What lies between two opposite leaps is moved back when
    the spectrum tells the other octave.
    """
    out = midi.copy()
    for first, last in stretches(voiced):
        edges = [first, *(first + 1 + np.flatnonzero(_leaps(np.diff(midi[first:last])))), last]
        for index, (start, end) in enumerate(pairwise(edges)):
            # Leaps are looked up in `out`: one that was undone is none any more.
            up = out[start] - out[start - 1] if start > first else np.nan
            down = out[end - 1] - out[end] if end < last else np.nan
            before = start - edges[index - 1] if index else 0
            after = edges[index + 2] - end if end < last else 0
            if start > first and end < last:
                slipped = _leaps(up) and abs(up - down) < 1.0
                slipped = slipped and _is_slip(clip, out, start, end, up)
            else:  # at an end of the singing, a short piece beside a longer one
                slipped = end - start <= SHORT_SLIP / HOP and before + after >= 2 * (end - start)
                slipped = slipped and bool(_leaps(up) or _leaps(down))
            if slipped:
                interval = up if start > first else down
                out[start:end] -= np.sign(interval) * (19.02 if abs(interval) > 15 else 12.0)
    return out


def _leaps(steps: NDArray[np.float64] | float) -> NDArray[np.bool_]:
    """Which steps are an octave or a twelfth; NaN is none."""
    size = np.abs(steps)
    return np.asarray((np.abs(size - 12.0) < 0.7) | (np.abs(size - 19.02) < 0.7))


def _is_slip(clip: Clip, midi: NDArray[np.float64], start: int, end: int, interval: float) -> bool:
    """Whether frames tracked an octave too high (or low) really are: the odd harmonics tell.

    A tone has energy at the odd multiples of its f0; one an octave above it has none there.
    """
    if abs(interval) > 15.0:
        return end - start <= SHORT_SLIP / HOP
    at = int((start + end) / 2 * HOP * clip.rate)
    low = 440.0 * 2.0 ** ((float(np.median(midi[start:end])) - max(interval, 0.0) - 69.0) / 12.0)
    length = round(0.08 * clip.rate)
    around = clip.samples[0, max(0, at - length // 2) :][:length]
    harmonics = low * np.arange(1, 9)
    turns = np.arange(len(around)) / clip.rate * harmonics[harmonics < clip.rate / 2, None]
    windowed = around * np.hanning(len(around))
    energy = np.square(np.abs(np.exp(-2j * np.pi * turns) @ windowed))
    odd = 10 * np.log10(energy[::2].sum() / max(energy.sum(), 1e-20) + 1e-9)
    return bool(odd > ODD) if interval > 0 else bool(odd < ODD)
