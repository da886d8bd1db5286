"""Does the music play the tune? Melody accuracy after Music ControlNet."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.engines.base import Melody
from voice2music.pitch import HOP

RATE = 22_050
CQT_HOP = 256  # samples at RATE, 11.6 ms
BINS_PER_OCTAVE = 36
OCTAVES = 5  # C3 to C8
LOWEST = 130.8128  # Hz, C3
CORNER = 261.6  # Hz, of the high-pass weight that takes bass and chords down
LAG = 0.150  # s searched on either side
LAG_STEP = 0.010


@dataclass(frozen=True)
class Accuracy:
    """Share of voiced frames whose pitch class the music plays, and the lag at which it does."""

    value: float
    lag: float


def prominent_pitch_classes(music: Clip) -> NDArray[np.int64]:
    """The most prominent pitch class (C = 0) every 10 ms; -1 in silence. Shape (frames,).

    Constant-Q magnitudes from C3 to C8, 36 bins an octave, weighted by a second-order high-pass
    at 261.6 Hz, the strongest bin folded to twelve classes.
    Source: Wu et al., "Music ControlNet", 2023, section on melody control.
    """
    import librosa

    bins = BINS_PER_OCTAVE * OCTAVES
    magnitude = np.abs(
        librosa.cqt(
            music.mono().resampled(RATE).samples[0],
            sr=RATE,
            hop_length=CQT_HOP,
            fmin=LOWEST,
            n_bins=bins,
            bins_per_octave=BINS_PER_OCTAVE,
        )
    )
    frequency = librosa.cqt_frequencies(bins, fmin=LOWEST, bins_per_octave=BINS_PER_OCTAVE)
    weighted = magnitude * _high_pass(frequency)[:, None]
    best = weighted.argmax(axis=0)
    classes = np.round(best / (BINS_PER_OCTAVE / 12)).astype(np.int64) % 12
    classes[weighted.max(axis=0) < 1e-5] = -1
    frames = round(music.seconds / HOP)
    at = np.clip(np.round(np.arange(frames) * HOP * RATE / CQT_HOP), 0, len(classes) - 1)
    played: NDArray[np.int64] = classes[at.astype(np.int64)]
    return played


def melody_accuracy(played: NDArray[np.int64], melody: Melody) -> Accuracy:
    """Share of the melody's voiced frames on which `played` has its pitch class.

    The best lag within ±150 ms is taken: a take may be late as a whole, but the lag is one number
    for the take and reported.

    Args:
        played: from `prominent_pitch_classes`.
        melody: on the singer's own tuning.
    Returns:
        NaN where nothing is sung.
    """
    asked = np.where(np.isnan(melody.midi), -2, np.round(np.nan_to_num(melody.midi))).astype(int)
    sung = asked >= 0
    if not sung[: len(played)].any():
        return Accuracy(np.nan, 0.0)
    lags = np.arange(-round(LAG / LAG_STEP), round(LAG / LAG_STEP) + 1)
    shares = [_agreement(played, asked, sung, round(lag * LAG_STEP / HOP)) for lag in lags]
    # Of equally good lags the smallest one is meant.
    best = max(range(len(lags)), key=lambda i: (shares[i], -abs(lags[i])))
    return Accuracy(shares[best], float(lags[best] * LAG_STEP))


def moved_to_key(melody: Melody, semitones: int) -> Melody:
    """The same tune `semitones` higher: another voice brought to this one's key, for the floor."""
    from dataclasses import replace

    notes = tuple(replace(note, midi=note.midi + semitones) for note in melody.notes)
    return Melody(melody.midi + np.float32(semitones), notes)


def normalised(accuracy: float, floor: float, ceiling: float) -> float:
    """(accuracy - floor) / (ceiling - floor); NaN where the ceiling is not above the floor."""
    return (accuracy - floor) / (ceiling - floor) if ceiling > floor else float("nan")


def _agreement(
    played: NDArray[np.int64], asked: NDArray[np.int_], sung: NDArray[np.bool_], lag: int
) -> float:
    """Agreement when the music is `lag` frames late."""
    times = np.flatnonzero(sung)
    times = times[(times + lag >= 0) & (times + lag < len(played))]
    if not len(times):
        return 0.0
    return float(np.mean(played[times + lag] == asked[times] % 12))


def _high_pass(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Magnitude of a second-order Butterworth high-pass at `CORNER`."""
    ratio = frequency / CORNER
    weight: NDArray[np.float64] = ratio**2 / np.sqrt(1 + ratio**4)
    return weight
