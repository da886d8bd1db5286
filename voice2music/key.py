"""The key of a sung tune.

Each of the 24 keys is scored by how probable its degrees make the notes that were sung. Relative
keys share their notes, so a cue of the tonic itself is added: the rising fourth from the fifth to
the tonic with which so many tunes set out ("A-maz-", "Should auld", "Oh when").

Tried and left out, since they did not help on tunes outside the benchmark: last and first notes,
ends of phrases, pairs of notes, and a hidden Markov model of implied chords.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from voice2music.chords import Key, Mode
from voice2music.notes import Note

Array = NDArray[np.float64]
MODES: tuple[Mode, ...] = ("major", "minor")

# In how many segments of the Kostka-Payne corpus each degree occurs, from the tonic upwards
# (Temperley 2007, "Music and Probability", chapter 6).
DEGREES: dict[Mode, tuple[float, ...]] = {
    "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
}
# What counts how much; set on 850 tunes outside the benchmark, as are the next two.
PER_LENGTH = 0.3  # for a note as long as the median one
PER_NOTE = 0.1
PER_FOURTH = 0.6
MINOR = -0.5  # minor tunes are rarer
LONGEST = 2.5  # medians; a longer note says no more
MOST_FOURTHS = 3


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
        sung[note.midi % 12] += PER_NOTE + PER_LENGTH * min(note.seconds / median, LONGEST)
    degrees = np.log(DEGREES[mode] / np.sum(DEGREES[mode]))
    scores = np.array([np.roll(sung, -tonic) @ degrees for tonic in range(12)])
    scores += PER_FOURTH * np.minimum(_rising_fourths(notes), MOST_FOURTHS)
    return scores + (MINOR if mode == "minor" else 0.0)


def _rising_fourths(notes: Sequence[Note]) -> Array:
    """How often a leap up by a fourth lands on each pitch class."""
    landed = [after.midi % 12 for before, after in pairwise(notes) if after.midi - before.midi == 5]
    return np.bincount(landed, minlength=12).astype(np.float64)
