"""Where music starts its sounds, and where its pulse is."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from voice2music.clip import Clip

RATE = 16_000  # Hz; drums and attacks are all there below 8 kHz
HOP = 0.010  # s between frames
WINDOW = 512  # samples at RATE, 32 ms: an attack is seen 10 ms early at most
TIGHTNESS = 100.0  # how strictly a pulse keeps its tempo (Ellis 2007)
TOLERANCE = 0.070  # s, mir_eval.beat's window


def onset_strength(clip: Clip) -> NDArray[np.float32]:
    """Spectral flux every 10 ms, shape (frames,), mean 1 (0 everywhere for silence).

    The rise of the log spectrum over 20 ms against a spectrum widened by one bin on either side,
    so that vibrato does not look like an onset.
    Source: Boeck and Widmer 2013 (SuperFlux).
    """
    from scipy.signal import stft  # here, as it takes half a second of the page's start

    hop = round(HOP * RATE)
    samples = clip.mono().resampled(RATE).samples[0]
    _, _, spectrum = stft(samples, RATE, nperseg=WINDOW, noverlap=WINDOW - hop, padded=True)
    log = np.log1p(1000 * np.abs(spectrum))
    earlier = maximum_filter1d(log, 3, axis=0)[:, :-2]
    flux = np.maximum(0, log[:, 2:] - earlier).sum(axis=0)
    # A rise between frames i and i + 2 is the attack that the window at i + 1 is centred on.
    strength = np.pad(flux, (1, 1))
    mean = strength.mean()
    return (strength / mean if mean > 0 else strength).astype(np.float32)


def pulse(strength: NDArray[np.float32], tempo: float) -> NDArray[np.float64]:
    """Seconds of a pulse near `tempo` that rides on the onsets; empty where there are none.

    Args:
        strength: from `onset_strength`.
        tempo: beats per minute to expect; the pulse may drift around it.
    Source: dynamic programming after Ellis, "Beat tracking by dynamic programming", 2007.
    """
    if strength.max(initial=0) == 0:
        return np.zeros(0)
    period = 60 / tempo / HOP
    local = uniform_filter1d(strength / strength.std(), 3)
    gaps = np.arange(round(period / 2), round(2 * period) + 1)
    penalty = -TIGHTNESS * np.log(gaps / period) ** 2
    total, before = local.astype(np.float64), np.full(len(local), -1)
    for i in range(gaps[0], len(local)):
        reach = gaps[gaps <= i]
        scores = total[i - reach] + penalty[: len(reach)]
        best = int(scores.argmax())
        if scores[best] > 0:
            total[i] += scores[best]
            before[i] = i - reach[best]
    return _traced(total, before, gaps[-1]) * HOP


def beat_f_measure(beats: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """F-measure of `beats` against `reference`, both rising seconds, within 70 ms; 0 where empty.

    Agrees with mir_eval.beat.f_measure.
    """
    if not len(beats) or not len(reference):
        return 0.0
    hits = used = 0
    for time in reference:
        while used < len(beats) and beats[used] < time - TOLERANCE:
            used += 1
        if used < len(beats) and beats[used] <= time + TOLERANCE:
            hits, used = hits + 1, used + 1
    return 2 * hits / (len(beats) + len(reference))


def _traced(
    total: NDArray[np.float64], before: NDArray[np.int_], last_gap: int
) -> NDArray[np.float64]:
    """Frames of the best path, from its end near the end of the music back to its start."""
    tail = max(0, len(total) - last_gap)
    frame = tail + int(total[tail:].argmax())
    path = [frame]
    while before[frame] >= 0:
        frame = int(before[frame])
        path.append(frame)
    return np.array(path[::-1], np.float64)
