"""What the band plays: notes in seconds, by instrument."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlayedNote:
    """One note or stroke.

    Args:
        onset, offset: seconds; a note that began before 0 is heard from 0 on.
        midi: key, 0 to 127; on drums the drum's key.
        velocity: 1 to 127.
        bend: cents off the key, for quarter tones.
    """

    onset: float
    offset: float
    midi: int
    velocity: int
    bend: float = 0.0
