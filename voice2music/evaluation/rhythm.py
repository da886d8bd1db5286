"""Is the music in the voice's time? Tempo and beats as librosa hears them."""

import math

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.onsets import beat_f_measure

RATE = 22_050
HOP_LENGTH = 512
TOLERANCE = 0.04  # share of the tempo, as in mir_eval and the tempo literature
OCTAVES = (0.5, 1.0, 2.0)


def heard_beats(music: Clip) -> tuple[float, NDArray[np.float64]]:
    """Beats per minute and beat times (s) of librosa's beat tracker; 0 and none in silence."""
    from librosa.beat import beat_track

    samples = music.mono().resampled(RATE).samples[0]
    if not samples.any():
        return 0.0, np.zeros(0)
    tempo, beats = beat_track(y=samples, sr=RATE, hop_length=HOP_LENGTH, units="time")
    return float(np.atleast_1d(tempo)[0]), np.asarray(beats, np.float64)


def same_tempo(heard: float, asked: float) -> bool:
    """Whether `heard` is within 4 % of `asked`, of its half or of its double ("Accuracy 2")."""
    if heard <= 0:
        return False
    return any(abs(math.log(heard / (asked * o))) <= math.log(1 + TOLERANCE) for o in OCTAVES)


def beat_f(found: NDArray[np.float64], beats: NDArray[np.float64], seconds: float) -> float:
    """F-measure of `found` against `beats` within 70 ms, at the better of the beat levels.

    A tracker may settle on every other beat or on the eighths; both are in time.

    Args:
        found, beats: rising seconds; beats outside 0 to `seconds` do not count.
    Returns:
        NaN with fewer than two beats to find.
    """
    inside = beats[(beats >= 0) & (beats < seconds)]
    if len(inside) < 2:
        return float("nan")
    halves = np.sort(np.concatenate([inside, (inside[1:] + inside[:-1]) / 2]))
    levels = (inside, halves, inside[::2], inside[1::2])
    return max(beat_f_measure(found, level) for level in levels)
