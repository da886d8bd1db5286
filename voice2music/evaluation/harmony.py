"""Does the music fit the tune? Chords and key as an outside estimator hears them."""

import numpy as np
from numpy.typing import NDArray

from voice2music.chords import QUALITIES, ChordSpan, Key
from voice2music.clip import Clip
from voice2music.engines.base import Melody
from voice2music.pitch import HOP
from voice2music.score import key_of_chroma

RATE = 22_050
CQT_HOP = 1024  # samples at RATE, 46 ms
CHANGE = 0.05  # probability that a chord changes from one frame to the next
SHARPNESS = 8.0  # how much a better cosine counts

Frames = NDArray[np.int64]


def heard_chords(chroma: NDArray[np.float64], seconds: float) -> Frames:
    """The triad heard every 10 ms: 2 * root + (1 if minor); -1 in silence. Shape (frames,).

    "librosa-triads": chroma_cqt of the harmonic part, cosine to 24 triads, smoothed by a Viterbi
    path that changes chords at 5 % of the frames. Named so in every table that uses it.

    Args:
        chroma: from `tonal_chroma`, of music `seconds` long.
    """
    cosine = _triads() @ (chroma / np.maximum(np.linalg.norm(chroma, axis=0), 1e-9))
    path = _smoothed(SHARPNESS * cosine)
    path[chroma.max(axis=0) < 1e-3] = -1
    return _every_10_ms(path, seconds)


def chord_fit(heard: Frames, melody: Melody) -> float:
    """Share of voiced frames on a tone of the heard chord, minus the mean over 11 transpositions.

    Above 0 the music fits this tune better than it fits the tune in the wrong key. NaN where
    nothing is sung over a chord.
    """
    frames = min(len(heard), len(melody.midi))
    sung = ~np.isnan(melody.midi[:frames]) & (heard[:frames] >= 0)
    if not sung.any():
        return float("nan")
    root, minor = np.divmod(heard[:frames][sung], 2)
    note = np.round(melody.midi[:frames][sung]).astype(int)
    shares = []
    for shift in range(12):
        step = (note + shift - root) % 12
        shares.append(np.mean((step == 0) | (step == 4 - minor) | (step == 7)))
    return float(shares[0] - np.mean(shares[1:]))


def chord_accuracy(heard: Frames, chords: tuple[ChordSpan, ...]) -> float:
    """Share of time in which the heard triad is that of the expected chord (maj/min of it)."""
    right = total = 0
    for span in chords:
        part = heard[round(span.start / HOP) : round(span.end / HOP)]
        minor = 3 in QUALITIES[span.chord.quality] and 4 not in QUALITIES[span.chord.quality]
        right += int((part == 2 * span.chord.root + minor).sum())
        total += len(part)
    return right / total if total else float("nan")


def heard_key(chroma: NDArray[np.float64]) -> Key | None:
    """The key of the mean chroma (profile correlation), None for silence."""
    return key_of_chroma(chroma.astype(np.float32))


def tonal_chroma(music: Clip) -> NDArray[np.float64]:
    """Chroma of the harmonic part, shape (12, frames at CQT_HOP), not normalised."""
    from librosa.effects import harmonic
    from librosa.feature import chroma_cqt

    samples = music.mono().resampled(RATE).samples[0]
    tonal = harmonic(samples, margin=2.0)
    chroma: NDArray[np.float64] = chroma_cqt(
        y=tonal, sr=RATE, hop_length=CQT_HOP, norm=None, tuning=0.0
    )
    return chroma


def _triads() -> NDArray[np.float64]:
    """Unit vectors of C, Cm, C#, C#m, ..., shape (24, 12)."""
    out = np.zeros((24, 12))
    for root in range(12):
        for minor in (0, 1):
            out[2 * root + minor, [root, (root + 4 - minor) % 12, (root + 7) % 12]] = 3**-0.5
    return out


def _smoothed(score: NDArray[np.float64]) -> Frames:
    """The path of 24 states with the highest sum of `score` and log change probabilities."""
    stay, change = np.log(1 - CHANGE), np.log(CHANGE / 23)
    total, before = score[:, 0].copy(), np.zeros(score.shape, np.int64)
    for t in range(1, score.shape[1]):
        other = int(total.argmax())
        moved = total[other] + change
        keep = total + stay >= moved
        before[:, t] = np.where(keep, np.arange(24), other)
        total = np.where(keep, total + stay, moved) + score[:, t]
    path = np.zeros(score.shape[1], np.int64)
    path[-1] = total.argmax()
    for t in range(score.shape[1] - 1, 0, -1):
        path[t - 1] = before[path[t], t]
    return path


def _every_10_ms(path: Frames, seconds: float) -> Frames:
    at = np.round(np.arange(round(seconds / HOP)) * HOP * RATE / CQT_HOP).astype(np.int64)
    return path[np.minimum(at, len(path) - 1)]
