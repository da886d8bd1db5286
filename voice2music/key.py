"""The key of a sung tune."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voice2music.harmony import Key
from voice2music.notes import Note

# How well each degree fits a key, from the tonic upwards (Temperley & Marvin 2008, "Pitch-class
# distribution and the identification of key": counts in the first movements of string quartets).
MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)


def estimate_key(notes: Sequence[Note]) -> Key:
    """The major or minor key that fits best; C major with confidence 0 where there is no note."""
    if not notes:
        return Key(0, "major", 0.0)
    sung: NDArray[np.float64] = np.zeros(12)
    for note in notes:
        sung[note.midi % 12] += note.seconds
    scores = {
        (tonic, mode): float(np.corrcoef(np.roll(profile, tonic), sung)[0, 1])
        for tonic in range(12)
        for mode, profile in (("major", MAJOR), ("minor", MINOR))
    }
    tonic, mode = max(scores, key=lambda key: scores[key])
    return Key(tonic, "major" if mode == "major" else "minor", 0.5)
