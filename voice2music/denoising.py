"""Steady noise (rain, wind, fans, hiss) taken off a voice, without taking the hum for noise.

Denoisers made for speech, DeepFilterNet among them, remove a sustained hum as if it were a fan
(measured: `benchmarks/cleanup.md`). This one knows when and at which pitch is sung. The noise is
measured in the pauses of the singing or, where there are none, between the voice's harmonics; a
gain for each frequency and frame follows from it (log-spectral amplitude estimator, decision-
directed: Ephraim & Malah 1984 and 1985); and the voice's own harmonics lose 3 dB at most.
"""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import istft, stft
from scipy.special import exp1

from voice2music.clip import Clip, fitted
from voice2music.errors import Cancelled
from voice2music.pitch import HOP, Pitch, track

log = logging.getLogger(__name__)

WINDOW = 0.093  # s; long enough to part the harmonics of a low voice from the noise between them
AROUND_SINGING = 0.16  # s on either side that are no pause: breaths, consonants, echoes
ENOUGH_FRAMES = 13  # (0.3 s) in which nothing is sung, to tell the noise
FLOOR = 10 ** (-18 / 20)  # no frequency is lowered further; what is left hides the seams
HARMONIC_FLOOR = 10 ** (-3 / 20)
HIGHEST_HARMONIC = 4_000.0  # Hz
SMOOTHING = 0.98  # of the a-priori ratio from frame to frame
LEAST_RATIO = 10 ** (-25 / 10)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def denoise(clip: Clip, *, cancelled: Callable[[], bool] = lambda: False) -> Clip:
    """The same recording with less noise: same length, rate and channels.

    Raises:
        Cancelled: as its name says.
    """
    size = 2 ** round(np.log2(WINDOW * clip.rate))
    size = 2 ** round(np.log2(WINDOW * clip.rate))
    whole = fitted(clip.samples, max(clip.samples.shape[1], size))
    _, _, spectrum = stft(whole, nperseg=size, noverlap=size - size // 4)  # (ch, bins, frames)
    power = np.square(np.abs(spectrum)).mean(axis=0) + 1e-16
    pitch = track(clip.mono())
    times = np.arange(power.shape[1]) * (size // 4) / clip.rate
    frequencies = np.arange(power.shape[0]) * clip.rate / size
    harmonic = _harmonics(pitch, times, frequencies)
    pause = _pauses(pitch, times)
    noise = _noise(power, harmonic, pause)
    gain = np.maximum(_gain(power / noise[:, None], cancelled), FLOOR)
    gain = np.where(harmonic, np.maximum(gain, HARMONIC_FLOOR), gain)
    _, out = istft(spectrum * gain, nperseg=size, noverlap=size - size // 4)
    log.info("took the noise off %.1f s", clip.seconds)
    return Clip(fitted(out.astype(np.float32), clip.samples.shape[1]), clip.rate)


def _pauses(pitch: Pitch, times: Array) -> Mask:
    """Frames at some distance from any singing."""
    width = 2 * round(AROUND_SINGING / HOP) + 1
    near = maximum_filter1d(pitch.voiced, width, mode="constant", cval=False)
    return np.asarray(~near[_frames(pitch, times)], np.bool_)


def _harmonics(pitch: Pitch, times: Array, frequencies: Array) -> Mask:
    """Where the voice's harmonics lie, of shape (bins, frames)."""
    f0 = pitch.f0[_frames(pitch, times)].astype(np.float64)
    order = np.round(frequencies[:, None] / np.where(f0 > 0, f0, np.inf))
    # The main lobe's half, or what vibrato within the window spreads.
    reach = np.maximum(1.2 * frequencies[1], 0.02 * order * f0)
    near = np.abs(frequencies[:, None] - order * f0) < reach
    return np.asarray(near & (order >= 1) & (frequencies[:, None] < HIGHEST_HARMONIC), np.bool_)


def _frames(pitch: Pitch, times: Array) -> NDArray[np.intp]:
    """The pitch frame at each time."""
    return np.minimum(times / HOP, len(pitch.f0) - 1).astype(np.intp)


def _noise(power: Array, harmonic: Mask, pause: Mask) -> Array:
    """Mean power of the noise in each bin, from the frames in which nothing is sung there."""
    unsung = np.broadcast_to(pause, power.shape)
    if pause.sum() < ENOUGH_FRAMES:
        unsung = ~maximum_filter1d(harmonic, 5, axis=0)
    level = np.full(len(power), np.nan)
    told = unsung.sum(axis=1) >= ENOUGH_FRAMES
    if not told.any():  # a few hundredths of a second: nothing tells voice and noise apart
        return np.full(len(power), 1e-16)
    level[told] = np.nanmedian(np.where(unsung[told], np.log(power[told]), np.nan), axis=1)
    bins = np.arange(len(power))
    whole = np.interp(bins, bins[told], level[told])
    median = np.exp(uniform_filter1d(whole, 5))
    # The mean: the power of noise is exponentially distributed.
    return np.asarray(median / np.log(2), np.float64)


def _gain(ratio: Array, cancelled: Callable[[], bool]) -> Array:
    """Of each bin and frame, from the power over the noise's, in [0, 1]."""
    gain = np.empty_like(ratio)
    before = np.ones(len(ratio))  # the a-priori ratio that the frame before makes likely
    for frame in range(ratio.shape[1]):
        if frame % 100 == 0 and cancelled():
            raise Cancelled("The noise removal was stopped.")
        now = ratio[:, frame]
        prior = np.maximum(
            SMOOTHING * before + (1 - SMOOTHING) * np.maximum(now - 1, 0), LEAST_RATIO
        )
        wiener = prior / (1 + prior)
        gain[:, frame] = np.minimum(wiener * np.exp(exp1(np.maximum(wiener * now, 1e-8)) / 2), 1)
        before = gain[:, frame] ** 2 * now
    return gain
