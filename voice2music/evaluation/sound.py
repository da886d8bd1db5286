"""Is it sound at all? Silence, clipping, stuck tones, steadiness: what breaks in young models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import stft

from voice2music.clip import Clip
from voice2music.loudness import integrated_loudness

BLOCK = 0.4  # s
QUIET = -50.0  # dBFS rms: a block below it counts as silent
FULL_SCALE = 0.999


@dataclass(frozen=True)
class Sound:
    """What is wrong or right with a take's sound.

    Args:
        loudness: LUFS of the raw output, -inf when silent.
        silent: share of 0.4 s blocks below -50 dBFS.
        clipped: share of samples at full scale.
        stuck: share of the whole take's power in its strongest third of a semitone; a held sine
            is near 1.
        unsteadiness: standard deviation of the blocks' level in dB, silent ones left out.
    """

    loudness: float
    silent: float
    clipped: float
    stuck: float
    unsteadiness: float

    @property
    def sound(self) -> bool:
        """Whether nothing is plainly wrong."""
        return self.silent < 0.2 and self.clipped < 0.001 and self.stuck < 0.5


def sound_of(music: Clip) -> Sound:
    """Measure raw output, before any finishing."""
    mono = music.mono()
    size = max(1, round(BLOCK * music.rate))
    blocks = mono.samples[0][: mono.samples.shape[1] // size * size].reshape(-1, size)
    if not len(blocks):
        blocks = mono.samples
    level = 10 * np.log10(np.maximum((blocks.astype(np.float64) ** 2).mean(axis=1), 1e-12))
    loud = level[level >= QUIET]
    return Sound(
        loudness=integrated_loudness(music),
        silent=float(np.mean(level < QUIET)),
        clipped=float(np.mean(np.abs(music.samples) >= FULL_SCALE)),
        stuck=_stuck(mono.samples[0], music.rate),
        unsteadiness=float(loud.std()) if len(loud) else 0.0,
    )


def _stuck(samples: NDArray[np.float32], rate: int) -> float:
    """Share of the average power spectrum that lies within its strongest 1/36 octave."""
    window = min(8192, len(samples))
    frequency, _, spectrum = stft(samples, rate, nperseg=window)
    power = (np.abs(spectrum) ** 2).mean(axis=1)
    if power.sum() <= 0:
        return 0.0
    peak = frequency[power.argmax()]
    width = max(peak * (2 ** (1 / 72) - 1), 2 * frequency[1])
    return float(power[np.abs(frequency - peak) <= width].sum() / power.sum())
