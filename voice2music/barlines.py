"""Where the bars of a tune begin: where long notes and the tune itself do, and harmony changes.

Tried and left out, for no gain: repetitions, which should begin alike (Temperley & Bartlette 2002).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from voice2music.metre import TICKS, Metre, shifted_log_probability

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Weights against metre; set on sheets outside the benchmark.
HARMONY = 2.0
BEGINNING = 2.0  # of where tunes begin
PER_BEAT = 0.5  # how much one beat of one pitch says about the chord, against an independent draw
STRANGE = 0.022  # probability of one pitch class outside the chord
RARE = 0.002  # probability of a chord outside the lists below
HELD = 4 * TICKS  # a long last note says no more than this

# Chords of a key (steps above the tonic, quality) and how often they sound: round numbers after
# the chord counts of popular song (de Clercq & Temperley 2011) and the common-practice ones.
CHORDS = {
    "major": {
        (0, "maj"): 0.35, (7, "maj"): 0.12, (7, "7"): 0.18, (5, "maj"): 0.13, (2, "min"): 0.06,
        (9, "min"): 0.06, (4, "min"): 0.02, (2, "7"): 0.03, (9, "7"): 0.02, (0, "7"): 0.02,
    },
    "minor": {
        (0, "min"): 0.40, (7, "7"): 0.15, (7, "maj"): 0.08, (5, "min"): 0.10, (8, "maj"): 0.06,
        (3, "maj"): 0.06, (10, "maj"): 0.05, (7, "min"): 0.03,
    },
}  # fmt: skip
INTERVALS = {"maj": (0, 4, 7), "min": (0, 3, 7), "7": (0, 4, 7, 10)}


def first_barline(ticks: Ints, midi: Ints, metre: Metre) -> int:
    """Ticks, 0 to a bar less a beat, from the reading's own bar line to the most probable one.

    Args:
        ticks: place of each onset, as `metre.parse` gives it, shape (notes,).
        midi: the notes, same shape.
    """
    shifts = range(0, metre.ticks, TICKS)
    scores = [
        shifted_log_probability(ticks, metre, shift)
        + BEGINNING
        * metre.start[metre.places.tolist().index((int(ticks[0]) - shift) % metre.ticks)]
        + HARMONY * harmony(_bars(ticks, midi, metre.ticks, shift))
        for shift in shifts
    ]
    return shifts[int(np.argmax(scores))]


def harmony(bars: Array) -> float:
    """Log probability of the pitch classes of bars when each has one chord of one unknown key.

    Args:
        bars: beats per pitch class, shape (bars, 12).
    """
    chords, keys = _chord_tables()
    fits = PER_BEAT * bars @ chords.T  # (bars, chords)
    per_key = logsumexp(keys[:, None, :] + fits[None], axis=2).sum(axis=1)
    return float(logsumexp(per_key))


def _bars(ticks: Ints, midi: Ints, bar: int, shift: int) -> Array:
    """Beats per pitch class in each bar, notes over a bar line divided, shape (bars, 12)."""
    ends = np.minimum(np.append(ticks[1:], ticks[-1] + HELD), ticks + HELD)
    first = (ticks[0] - shift) // bar
    out = np.zeros(((ends[-1] - shift) // bar - first + 1, 12))
    for start, end, note in zip(ticks - shift, ends - shift, midi, strict=True):
        for index in range(start // bar, (end - 1) // bar + 1):
            inside = min(end, (index + 1) * bar) - max(start, index * bar)
            out[index - first, note % 12] += inside / TICKS
    return out


@lru_cache(maxsize=1)
def _chord_tables() -> tuple[Array, Array]:
    """Log probability of pitch classes per chord, (chords, 12), and of chords per key."""
    names = [(root, quality) for root in range(12) for quality in INTERVALS]
    chords = np.full((len(names), 12), STRANGE)
    for row, (root, quality) in zip(chords, names, strict=True):
        tones = [(root + interval) % 12 for interval in INTERVALS[quality]]
        row[tones] = (1 - STRANGE * (12 - len(tones))) / len(tones)
    keys = [
        [CHORDS[mode].get(((root - tonic) % 12, quality), RARE) for root, quality in names]
        for mode in CHORDS
        for tonic in range(12)
    ]
    return np.log(chords), np.log(np.array(keys))
