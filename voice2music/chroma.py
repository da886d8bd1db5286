"""Chroma of music: how strongly each pitch class sounds, frame by frame, drums left aside.

Only spectral peaks that stand out of their surroundings count, each at its interpolated
frequency, for its own pitch class and, less, for those of which it may be an overtone.
Source: Gomez 2006, "Tonal description of music audio signals" (harmonic pitch class profile).
"""

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.pitch import frame_count
from voice2music.spectrum import STRIDE, lasting, peaks, spectra

CENTRE, WIDTH = 72.0, 18.0  # MIDI note and semitones of the Gaussian weight: tunes over bass
OVERTONES = 4  # a peak counts for its own pitch class and for those it may be overtone 2 to 4 of
DECAY = 0.6  # of each further overtone (Gomez 2006)
STANDS_OUT = 2.0  # vibrato smears its peaks: a higher threshold loses sung and bowed notes
LASTS = 3  # rows (60 ms) on either side, in half of which a peak must be there too


def chromagram(clip: Clip, tuning: float = 0.0) -> NDArray[np.float32]:
    """Strength of the twelve pitch classes (C first) every 10 ms, shape (12, frames), >= 0.

    Frame i is centred on `i * HOP` seconds. Not normalised; all 0 where nothing tonal sounds.

    Args:
        clip: any rate and channels.
        tuning: how far the music lies off A4 = 440 Hz, cents.
    """
    spectrum = spectra(clip)
    found = peaks(spectrum, STANDS_OUT)
    found = found.where(lasting(found, len(spectrum.magnitude), LASTS))
    midi = 69 + 12 * np.log2(found.frequency / 440) - tuning / 100
    strength = np.sqrt(found.magnitude) * np.exp(-0.5 * ((midi - CENTRE) / WIDTH) ** 2)
    chroma = np.zeros(len(spectrum.magnitude) * 12)
    for overtone in range(1, OVERTONES + 1):
        root = midi - 12 * np.log2(overtone)
        nearest = np.round(root)
        # A peak between two pitch classes says little about either.
        clear = np.cos(np.pi * (root - nearest)) ** 2
        index = found.row * 12 + nearest.astype(np.int64) % 12
        weight = strength * clear * DECAY ** (overtone - 1)
        chroma += np.bincount(index, weight, minlength=len(chroma))
    by_frame = np.repeat(chroma.reshape(-1, 12), STRIDE, axis=0)[: frame_count(clip)]
    return np.ascontiguousarray(by_frame.T, np.float32)
