"""Everything that is heard in a voice, once, for all engines."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from voice2music.chords import Chord, ChordSpan, Key
from voice2music.clip import Clip
from voice2music.errors import BadManifest
from voice2music.findings import Finding, Severity, findings
from voice2music.harmony import harmonise
from voice2music.key import estimate_key
from voice2music.loudness import integrated_loudness
from voice2music.notes import Note, segment, tuning_offset
from voice2music.pitch import Pitch, track
from voice2music.quality import quality
from voice2music.request import Guide
from voice2music.rhythm import Grid, estimate_grid, known_grid

__all__ = ["Analysis", "Finding", "Severity", "analyse", "from_json", "to_json"]

SILENCE_LUFS = -120.0  # stands for -inf in JSON, which has no infinity


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


def analyse(clip: Clip, guide: Guide | None = None) -> Analysis:
    """Hear a voice: pitch, notes, tuning, key, beats, chords, and how good the recording is.

    Never fails on a sound that is not a tune: what hinders stands in `findings`.

    Args:
        clip: one voice, any rate and channels.
        guide: the guide beat, when one was sung to; the grid is then known.
    """
    clip = clip.mono()
    pitch = track(clip)
    tuning = tuning_offset(pitch)
    notes = segment(pitch, tuning, clip)
    key = estimate_key(notes)
    grid = known_grid(guide, clip.seconds) if guide else estimate_grid(notes, clip.seconds)
    loudness = integrated_loudness(clip)
    measured = quality(clip, pitch)
    return Analysis(
        seconds=clip.seconds,
        pitch=pitch,
        tuning=tuning,
        notes=notes,
        key=key,
        grid=grid,
        chords=harmonise(notes, grid, key, clip.seconds),
        voiced_share=float(pitch.voiced.mean()),
        loudness=loudness,
        clipping=measured.clipping,
        snr=measured.snr,
        accompaniment=measured.accompaniment,
        findings=findings(clip, pitch, notes, measured, loudness),
    )


def to_json(analysis: Analysis) -> dict[str, Any]:
    """As plain JSON values, without NaN or infinity; `from_json` gives the same analysis back.

    f0 is rounded to 0.01 Hz and confidence to 0.001; all else is kept exactly.
    """
    pitch = analysis.pitch
    out = {name: value for name, value in vars(analysis).items() if name != "pitch"}
    for name in ("notes", "chords", "findings"):
        out[name] = [asdict(one) for one in out[name]]
    for one in out["findings"]:
        one["values"] = dict(one["values"])
    out["key"], out["grid"] = asdict(analysis.key), asdict(analysis.grid)
    out["grid"]["beats"] = list(analysis.grid.beats)
    out["loudness"] = max(analysis.loudness, SILENCE_LUFS)
    out["f0"] = [round(float(value), 2) for value in pitch.f0]
    out["f0_confidence"] = [round(float(value), 3) for value in pitch.confidence]
    return out


def from_json(values: dict[str, Any]) -> Analysis:
    """An analysis out of JSON values.

    Raises:
        BadManifest: a field is missing, unknown or of the wrong kind.
    """
    given = dict(values)
    try:
        f0, confidence = (np.array(given.pop(name), np.float32) for name in ("f0", "f0_confidence"))
        if f0.shape != confidence.shape or f0.ndim != 1:
            raise ValueError(f"f0 has shape {f0.shape}, its confidence {confidence.shape}")
        given["pitch"] = Pitch(f0, confidence)
        given["notes"] = tuple(Note(**note) for note in given["notes"])
        given["key"] = Key(**given["key"])
        given["grid"] = Grid(**{**given["grid"], "beats": tuple(given["grid"]["beats"])})
        given["chords"] = tuple(
            ChordSpan(**{**span, "chord": Chord(**span["chord"])}) for span in given["chords"]
        )
        given["findings"] = tuple(
            Finding(**{**one, "values": tuple(one["values"].items())}) for one in given["findings"]
        )
        if given["loudness"] <= SILENCE_LUFS:
            given["loudness"] = -math.inf
        return Analysis(**given)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadManifest(
            f"This is not a whole analysis: {type(error).__name__}: {error}. Analyse the "
            f"recording again."
        ) from error
