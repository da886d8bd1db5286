"""How well a take follows the voice: pitch classes, chords, key and beat, each beside its floor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One measure in [0, 1] and its chance floor (shifted or transposed voices, same take)."""

    value: float
    floor: float


@dataclass(frozen=True)
class Follow:
    """How well one take follows the voice.

    Args:
        pitch: share of sung frames whose pitch class the music plays most strongly.
        chords: share of bars whose chord is heard in the music.
        key: 1 when the same key is heard, mir_eval's weights for related ones.
        beat: F-measure of the music's onsets on the voice's beats (70 ms).
        overall: the measures above their floors, weighted by role, in [0, 1]; takes are
            ordered by it.
        words: the verdict in one plain sentence.
        verdict: "closely", "mostly", "partly" or "hardly" (the page translates by it).
    """

    pitch: Measure
    chords: Measure
    key: Measure
    beat: Measure
    overall: float
    words: str
    verdict: str
