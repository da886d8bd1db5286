"""Key and chords."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["major", "minor"]


@dataclass(frozen=True)
class Key:
    """A key: tonic as pitch class (C = 0), mode, and how sure we are in [0, 1]."""

    tonic: int
    mode: Mode
    confidence: float = 1.0


@dataclass(frozen=True)
class Chord:
    """A chord: root as pitch class (C = 0) and quality, one of `QUALITIES`."""

    root: int
    quality: str


@dataclass(frozen=True)
class ChordSpan:
    """A chord that sounds from `start` to `end` seconds."""

    start: float
    end: float
    chord: Chord
