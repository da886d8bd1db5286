"""The key of a sung tune.

Each of the 24 keys is scored by how probable its degrees make the notes that were sung: degrees
as in written music (Temperley) and as in songs (counted), mixed. Relative keys share their notes,
so two cues of the tonic itself are added: the rising fourth from the fifth to the tonic with which
so many tunes set out ("A-maz-", "Should auld", "Oh when"), and a last note of the tonic's chord.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from voice2music.chords import Key, Mode
from voice2music.notes import Note

Array = NDArray[np.float64]
COUNTS = Path(__file__).with_name("tune_counts.json")
MODES: tuple[Mode, ...] = ("major", "minor")

# In how many segments of the Kostka-Payne corpus each degree occurs, from the tonic upwards
# (Temperley 2007, "Music and Probability", chapter 6).
DEGREES: dict[Mode, tuple[float, ...]] = {
    "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
}
# The same for songs: major is counted (`tune_counts.json`), minor is by hand for want of sheets:
# mostly natural, as in folk and popular song, where a classical profile hears the relative major.
IN_SONGS = (0.20, 0.01, 0.11, 0.15, 0.01, 0.11, 0.01, 0.18, 0.045, 0.03, 0.075, 0.015)
CLASSICAL: dict[Mode, float] = {"major": 0.5, "minor": 0.25}  # weight of `DEGREES` against songs
SELDOM = 0.006  # share of a last note outside the list
LAST: dict[Mode, dict[int, float]] = {
    "major": {0: 0.35, 4: 0.30, 7: 0.25, 2: 0.03, 9: 0.02, 5: 0.01, 11: 0.02},
    "minor": {0: 0.35, 3: 0.30, 7: 0.25, 2: 0.03, 8: 0.02, 5: 0.01, 10: 0.02},
}
# What counts how much; all set on some 1,000 songs and folk tunes.
PER_NOTE = 0.5  # of median length; others by the square root of their length
PER_FOURTH = 0.5
MOST_FOURTHS = 3
PER_END = 0.15
MINOR = -0.9  # minor tunes are rarer


def estimate_key(notes: Sequence[Note]) -> Key:
    """The most probable major or minor key of a tune.

    Args:
        notes: in order, tuned to the singer's own grid.
    Returns:
        Its confidence is its probability among the 24; with no notes, C major with 0.
    """
    if not notes:
        return Key(0, "major", 0.0)
    chances = softmax([_score(notes, mode) for mode in MODES])
    mode, tonic = np.unravel_index(int(np.argmax(chances)), chances.shape)
    return Key(int(tonic), MODES[mode], float(chances[mode, tonic]))


def _score(notes: Sequence[Note], mode: Mode) -> Array:
    """Log probability, up to a constant, of each tonic, shape (12,)."""
    median = float(np.median([note.seconds for note in notes]))
    sung = np.zeros(12)
    for note in notes:
        sung[note.midi % 12] += np.sqrt(note.seconds / median)
    degrees = _degrees()[mode]
    scores = PER_NOTE * np.array([np.roll(sung, -tonic) @ degrees for tonic in range(12)])
    scores += PER_FOURTH * np.minimum(_rising_fourths(notes), MOST_FOURTHS)
    for tonic in range(12):
        degree = (notes[-1].midi - tonic) % 12
        scores[tonic] += PER_END * np.log(LAST[mode].get(degree, SELDOM))
    return scores + (MINOR if mode == "minor" else 0.0)


@lru_cache(maxsize=1)
def _degrees() -> dict[Mode, Array]:
    """Log probability of each degree, both sources weighed together."""
    counted = np.array(json.loads(COUNTS.read_text(encoding="utf-8"))["degrees"]) + 0.002
    songs: dict[Mode, Array] = {"major": counted, "minor": np.array(IN_SONGS)}
    return {
        mode: CLASSICAL[mode] * _log_shares(np.array(DEGREES[mode]))
        + (1 - CLASSICAL[mode]) * _log_shares(songs[mode])
        for mode in MODES
    }


def _log_shares(values: Array) -> Array:
    return np.asarray(np.log(values / values.sum()), np.float64)


def _rising_fourths(notes: Sequence[Note]) -> Array:
    """How often a leap up by a fourth lands on each pitch class."""
    landed = [after.midi % 12 for before, after in pairwise(notes) if after.midi - before.midi == 5]
    return np.bincount(landed, minlength=12).astype(np.float64)
