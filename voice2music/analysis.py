"""Everything that is heard in a voice, once, for all engines."""

from dataclasses import dataclass
from typing import Literal

from voice2music.harmony import ChordSpan, Key
from voice2music.notes import Note
from voice2music.pitch import Pitch
from voice2music.rhythm import Grid

Severity = Literal["info", "warning", "stop"]


@dataclass(frozen=True)
class Finding:
    """Something the singer should know, in plain words.

    Args:
        code: stable name, e.g. "too_quiet", "clipped", "maqam" (the page translates by it).
        text: the English sentence: what was heard and what to do.
        severity: "stop" means that no music can be made from this clip.
        values: the numbers that stand in the text, for translations.
    """

    code: str
    text: str
    severity: Severity = "warning"
    values: tuple[tuple[str, float | str], ...] = ()


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was heard. Times in seconds from the start of the clip.

    Args:
        seconds: length of the clip.
        pitch: the f0 curve as sung (not tuned).
        tuning: the singer's offset from A4 = 440 Hz, cents, -50 to 50.
        notes: in order, not overlapping; `midi` already corrected for `tuning`.
        key, grid, chords: chords cover the clip, one or more per bar.
        voiced_share: share of frames that are sung, in [0, 1].
        loudness: integrated, LUFS (-inf when silent).
        clipping: share of samples at full scale, in [0, 1].
        snr: voice over noise floor, dB, estimated.
        accompaniment: how surely music plays behind the voice, in [0, 1].
        findings: plain words, the gravest first.
    """

    seconds: float
    pitch: Pitch
    tuning: float
    notes: tuple[Note, ...]
    key: Key
    grid: Grid
    chords: tuple[ChordSpan, ...]
    voiced_share: float
    loudness: float
    clipping: float
    snr: float
    accompaniment: float
    findings: tuple[Finding, ...] = ()
