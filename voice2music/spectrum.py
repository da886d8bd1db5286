"""Spectral peaks, frame by frame: the tones in a sound without its noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from voice2music.clip import Clip
from voice2music.pitch import HOP, frame_count

RATE = 16_000  # Hz
WINDOW = 4_096  # samples: 256 ms, or 3.9 Hz between bins
STRIDE = 2  # pitch frames (10 ms) per spectrum
LOWEST, HIGHEST = 55.0, 5_000.0  # Hz of the peaks
AROUND = 31  # bins (121 Hz) whose mean a peak is measured against
FLOOR = 60.0  # dB under the clip's strongest peak below which nothing counts
BLOCK = 64  # spectra at a time, so that they fit the processor's cache


@dataclass(frozen=True, eq=False)
class Spectra:
    """Magnitude spectra; row i is centred on `i * STRIDE * HOP` seconds, bin k is `hertz(k)`."""

    magnitude: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Peaks:
    """Spectral peaks of all rows, each array of shape (peaks,).

    Args:
        row: which spectrum.
        frequency: Hz, interpolated between bins.
        magnitude: same scale as the spectra.
    """

    row: NDArray[np.int64]
    frequency: NDArray[np.float64]
    magnitude: NDArray[np.float64]

    def where(self, kept: NDArray[np.bool_]) -> "Peaks":
        """Only those for which `kept` holds."""
        return Peaks(self.row[kept], self.frequency[kept], self.magnitude[kept])


def spectra(clip: Clip) -> Spectra:
    """Spectra of every second 10 ms frame of `clip`, Hann window, up to `HIGHEST` Hz."""
    samples = clip.mono().cut(0, max(clip.seconds, 0.1)).resampled(RATE).samples[0]
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)
    windows = windows[:: round(HOP * RATE) * STRIDE][: -(-frame_count(clip) // STRIDE)]
    hann = np.hanning(WINDOW).astype(np.float32)
    bins = int(HIGHEST * WINDOW / RATE)
    out = np.empty((len(windows), bins), np.float32)
    for start in range(0, len(windows), BLOCK):
        block = np.fft.rfft(windows[start : start + BLOCK] * hann)
        out[start : start + BLOCK] = np.abs(block[:, :bins])
    return Spectra(out)


def peaks(of: Spectra, stands_out: float) -> Peaks:
    """Local maxima of `stands_out` times the mean magnitude around them, or more.

    Noise and drums fill their bands evenly: of white noise, one bin in 25 passes twice the mean
    and one in 1,200 three times it (Rayleigh).
    """
    magnitude = of.magnitude
    middle = magnitude[:, 1:-1]
    around = uniform_filter1d(magnitude, AROUND, axis=1, mode="nearest")[:, 1:-1]
    least = magnitude.max(initial=0) * 10 ** (-FLOOR / 20)
    found = (middle > magnitude[:, :-2]) & (middle >= magnitude[:, 2:])
    found &= (middle > stands_out * around) & (middle > least)
    found[:, : int(LOWEST * WINDOW / RATE) - 1] = False
    rows, columns = np.nonzero(found)
    left, top, right = (
        np.log(np.maximum(magnitude[rows, columns + side], 1e-12)).astype(np.float64)
        for side in (0, 1, 2)
    )
    # The vertex of the parabola through the logarithms; exact for a Gaussian main lobe.
    fraction = 0.5 * (left - right) / (left - 2 * top + right)
    return Peaks(rows, (columns + 1 + fraction) * RATE / WINDOW, np.exp(top))


def lasting(found: Peaks, rows: int, reach: int) -> NDArray[np.bool_]:
    """Which peaks are also there, within a bin, in half or more of the `reach` rows around.

    Args:
        rows: number of spectra.
        reach: rows looked at on either side.
    """
    bins = int(HIGHEST * WINDOW / RATE) + 2
    at = np.round(found.frequency * WINDOW / RATE).astype(np.int64) + 1
    there = np.zeros((rows + 2 * reach, bins + 2), np.bool_)
    for beside in (-1, 0, 1):
        there[found.row + reach, at + beside] = True
    count = np.zeros(len(at), np.int64)
    for step in range(1, reach + 1):
        count += there[found.row + reach - step, at].astype(np.int64)
        count += there[found.row + reach + step, at]
    return count >= reach
