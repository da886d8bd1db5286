"""Notes out of an f0 curve, and the singer's tuning offset."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """One sung note.

    Args:
        onset, offset: seconds from the start of the clip.
        midi: the nearest note of the *singer's own* grid (A4 = 69 at 440 Hz shifted by her tuning).
        cents: how far the note's median lies off that grid, -50 to 50.
    """

    onset: float
    offset: float
    midi: int
    cents: float = 0.0

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.offset - self.onset
