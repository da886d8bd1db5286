"""Loudness (ITU-R BS.1770-4) and true peak: measuring them, and bringing a clip to a target."""

import warnings

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from voice2music.clip import Clip

GATE_BLOCK = 0.4  # s, BS.1770's gating block
OVERSAMPLING = 4  # BS.1770 annex 2
TARGET = -14.0  # LUFS, what streaming services play at
CEILING = -1.0  # dBTP
CLOSE = 0.1  # LU, what EBU Tech 3341 asks of a meter
LOOK_AHEAD = 0.004  # s, half the limiter's window


def integrated_loudness(clip: Clip) -> float:
    """Integrated loudness in LUFS; -inf for silence.

    A clip shorter than one gating block is repeated until it fills one.
    Source: ITU-R BS.1770-4, by pyloudnorm.
    """
    import pyloudnorm  # here: it brings scipy.signal, see `onsets.onset_strength`

    samples = clip.samples.T.astype(np.float64)
    needed = int(np.ceil(GATE_BLOCK * clip.rate)) + 1
    if len(samples) < needed:
        samples = np.tile(samples, (-(-needed // len(samples)), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # log of zero in silent blocks
        loudness = float(
            pyloudnorm.Meter(clip.rate, filter_class="DeMan").integrated_loudness(samples)
        )
    return loudness if np.isfinite(loudness) else -np.inf


def true_peak(clip: Clip) -> float:
    """True peak in dBTP: the peak of the signal oversampled four times; -inf for silence."""
    peak = float(np.abs(_oversampled(clip)).max())
    return float(20 * np.log10(peak)) if peak > 0 else -np.inf


def normalised(clip: Clip, target: float = TARGET, ceiling: float = CEILING) -> Clip:
    """`clip` at `target` LUFS with its true peak at or below `ceiling` dBTP.

    Peaks over the ceiling are limited with look-ahead; what the limiter takes is made up for once
    or twice. Material too peaky for both keeps the ceiling and ends up quieter. Silence stays.
    """
    out = clip
    for _ in range(3):
        missing = target - integrated_loudness(out)
        if missing == np.inf or (out is not clip and abs(missing) < CLOSE):
            break
        out = limited(out.scaled(10 ** (missing / 20)), ceiling)
    return out


def limited(clip: Clip, ceiling: float = CEILING) -> Clip:
    """`clip` with its true peak at or below `ceiling` dBTP, by a look-ahead limiter.

    The gain is the running minimum of what each sample's neighbourhood needs, smoothed over the
    same window, so it never exceeds what any true peak inside the window allows.
    """
    allowed = 10 ** (ceiling / 20)
    if 10 ** (true_peak(clip) / 20) <= allowed:
        return clip
    half = max(1, round(LOOK_AHEAD * clip.rate))
    needed = np.minimum(1, allowed / np.maximum(_peaks(clip), 1e-9))
    lowest = minimum_filter1d(needed, 4 * half + 1)
    smooth = uniform_filter1d(uniform_filter1d(lowest, half + 1), half + 1)
    out = Clip((clip.samples * smooth).astype(np.float32), clip.rate)
    # Modulating the gain can raise an inter-sample peak by a hair; the rest is plain scaling.
    return out.scaled(min(1.0, allowed / 10 ** (true_peak(out) / 20)))


def _oversampled(clip: Clip) -> NDArray[np.float32]:
    """Samples at four times the rate, shape (samples, channels)."""
    rate = clip.rate
    out: NDArray[np.float32] = soxr.resample(clip.samples.T, rate, rate * OVERSAMPLING)
    return out


def _peaks(clip: Clip) -> NDArray[np.float64]:
    """Largest absolute value near each sample over all channels, between samples too."""
    over = np.abs(_oversampled(clip)).max(axis=1)
    length = clip.samples.shape[1]
    over = np.pad(over, (0, max(0, length * OVERSAMPLING - len(over))))[: length * OVERSAMPLING]
    between = over.reshape(length, OVERSAMPLING).max(axis=1)
    peaks = np.maximum(between, np.abs(clip.samples).max(axis=0))
    return np.asarray(peaks, np.float64)
