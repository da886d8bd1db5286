"""Tempo and beats of a voice."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Where the beats are. They may breathe with the singer; a guide beat makes them exact.

    Args:
        beats: seconds, rising, at least two; they reach from at or before the first note to at
            or past the end of the clip (the first may lie below 0).
        downbeat: index into `beats` of the first downbeat, 0 to `beats_per_bar` - 1.
        beats_per_bar: 2 to 7.
        tempo: beats per minute, of the whole clip.
        confidence: in [0, 1].
        known: True when a guide beat gave the grid; then nothing was estimated.
        ambiguous: True when double or half the tempo fits nearly as well.
    """

    beats: tuple[float, ...]
    downbeat: int
    beats_per_bar: int
    tempo: float
    confidence: float = 1.0
    known: bool = False
    ambiguous: bool = False

    @property
    def downbeats(self) -> tuple[float, ...]:
        """Times of bar starts, seconds."""
        return self.beats[self.downbeat :: self.beats_per_bar]
