"""Chroma of music: how strongly each pitch class sounds, frame by frame, drums left aside.

Only spectral peaks that stand out of their surroundings count (drums and noise fill their bands
evenly), each at its interpolated frequency, for its own pitch class and, less, for those of which
it may be an overtone. Source: Gomez 2006, "Tonal description of music audio signals" (harmonic
pitch class profile).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from voice2music.clip import Clip
from voice2music.pitch import HOP, frame_count

RATE = 16_000  # Hz
WINDOW = 4_096  # samples: 256 ms, or 3.9 Hz between bins
STRIDE = 2  # every second 10 ms frame is analysed, the one after it is its equal
LOWEST, HIGHEST = 55.0, 5_000.0  # Hz of the peaks that count
CENTRE, WIDTH = 72.0, 18.0  # MIDI note and semitones of the Gaussian weight: tunes over bass
OVERTONES = 4  # a peak counts for its own pitch class and for those it may be overtone 2 to 4 of
DECAY = 0.6  # of each further overtone (Gomez 2006)
STANDS_OUT = 2.0  # times the mean magnitude of the 31 bins (121 Hz) around
FLOOR = 60.0  # dB under the clip's strongest peak below which nothing counts

Array = NDArray[np.float32]


def chromagram(clip: Clip, tuning: float = 0.0) -> Array:
    """Strength of the twelve pitch classes (C first) every 10 ms, shape (12, frames), >= 0.

    Frame i is centred on `i * HOP` seconds. Not normalised; all 0 where nothing tonal sounds.

    Args:
        clip: any rate and channels.
        tuning: how far the music lies off A4 = 440 Hz, cents.
    """
    frames = frame_count(clip)
    spectrum = _magnitudes(clip, frames)
    rows, bins, heights, offsets = _peaks(spectrum)
    frequency = (bins + offsets) * RATE / WINDOW
    midi = 69 + 12 * np.log2(frequency / 440) - tuning / 100
    strength = np.sqrt(heights) * np.exp(-0.5 * ((midi - CENTRE) / WIDTH) ** 2)
    chroma = np.zeros(spectrum.shape[0] * 12)
    for overtone in range(1, OVERTONES + 1):
        root = midi - 12 * np.log2(overtone)
        nearest = np.round(root)
        # A peak between two pitch classes says little about either.
        clear = np.cos(np.pi * (root - nearest)) ** 2
        index = rows * 12 + nearest.astype(np.int64) % 12
        weight = strength * clear * DECAY ** (overtone - 1)
        chroma += np.bincount(index, weight, minlength=len(chroma))
    by_frame = np.repeat(chroma.reshape(-1, 12), STRIDE, axis=0)[:frames]
    return np.ascontiguousarray(by_frame.T, np.float32)


def _magnitudes(clip: Clip, frames: int) -> Array:
    """Magnitude spectra of every second frame, shape (frames / 2, bins)."""
    samples = clip.mono().cut(0, max(clip.seconds, 0.1)).resampled(RATE).samples[0]
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    hop = round(HOP * RATE) * STRIDE
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::hop]
    windows = windows[: -(-frames // STRIDE)]
    hann = np.hanning(WINDOW).astype(np.float32)
    top = int(HIGHEST * WINDOW / RATE)
    out = np.empty((len(windows), top), np.float32)
    for start in range(0, len(windows), 64):  # in blocks that fit the processor's cache
        block = np.fft.rfft(windows[start : start + 64] * hann)
        out[start : start + 64] = np.abs(block[:, :top])
    return out


def _peaks(
    spectrum: Array,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Row, bin, magnitude and fraction of a bin of every peak that stands out."""
    middle = spectrum[:, 1:-1]
    around = uniform_filter1d(spectrum, 31, axis=1, mode="nearest")[:, 1:-1]
    least = spectrum.max(initial=0) * 10 ** (-FLOOR / 20)
    found = (middle > spectrum[:, :-2]) & (middle >= spectrum[:, 2:])
    found &= (middle > STANDS_OUT * around) & (middle > least)
    found[:, : int(LOWEST * WINDOW / RATE) - 1] = False
    rows, columns = np.nonzero(found)
    left, peak, right = (
        np.log(np.maximum(spectrum[rows, columns + side], 1e-12)).astype(np.float64)
        for side in (0, 1, 2)
    )
    # The vertex of the parabola through the logarithms; exact for a Gaussian main lobe.
    offsets = 0.5 * (left - right) / (left - 2 * peak + right)
    return rows, columns + 1, np.exp(peak), offsets
