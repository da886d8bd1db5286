"""What was not taken into a data set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """A file that was refused.

    Args:
        file: as the user named it, relative to the folder of songs.
        step: of the work, at which it was refused.
        why: a sentence for the user.
    """

    file: str
    step: str
    why: str
