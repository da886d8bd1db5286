"""A finished piece of music and the JSON that makes it again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voice2music.harmony import ChordSpan
from voice2music.score import Follow


@dataclass(frozen=True)
class Take:
    """One finished take: files on disk and what is known about them.

    Args:
        engine: "musicgen", "audioldm" or "band"; `variation` counts from 0.
        music: WAV of the music alone, stereo, aligned to the voice, -14 LUFS, <= -1 dBTP.
        mix: WAV of music and voice; None where there was no voice.
        voice: WAV of the voice as it stands in the mix, same length as `music` (so that a page
            can mix by itself); None where there was no voice.
        json: the file that `again` reads.
        stems: instrument name to WAV.
        midi, musicxml: where the engine has them.
        seconds: length of the music; `took`: seconds it took to make.
        follow: None where there was no voice.
        chords: what was played, where known.
        made_by: checkpoint name (or "the band") and its licence, one line for the card.
        commercial: whether the music may be used commercially.
        notes: plain sentences about what was done differently from what was asked.
    """

    engine: str
    variation: int
    music: Path
    mix: Path | None
    voice: Path | None
    json: Path
    seconds: float
    took: float
    made_by: str
    commercial: bool
    follow: Follow | None = None
    stems: dict[str, Path] = field(default_factory=dict)
    midi: Path | None = None
    musicxml: Path | None = None
    chords: tuple[ChordSpan, ...] = ()
    notes: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)
