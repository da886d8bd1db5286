"""The tune as extra input channels of AudioLDM's UNet: the one layout for training and playing.

CLAP gives one vector for a whole clip, which cannot carry a tune. These rows can: they run at the
latent's frame rate.

Rows, in this order (C = 14 + octaves + 2 lines, and 4 + 2 lines of the plan):
    0-11    pitch class: the share of the frame in which it is sung (1 inside a held note)
    12-     octave, from `lowest` upwards, likewise
    then    onset: 1 where a note begins
    then    voicing: 1 sung, -1 rest
    then    lines: where in frequency the pitch class lies, in every octave
    then    lines: where the sung note and its harmonics lie
    last    the plan of the accompaniment (`engines.plan`), if a checkpoint has it: beats, lines
            where the tones of the chord lie in every octave, lines of its lowest note and its
            harmonics
The lines, if a checkpoint has them, differ from frequency bin to frequency bin: a bin's rows are
the mel bands within it. All other rows are the same over the bins. Convolutions, which are the same
everywhere, must first find out where they are to make use of those; lines they need only follow.

All rows of the melody are 0 where none is given, which a rest (voicing -1) is not, and all rows of
the plan where there is none; training drops both by the same zeros, and guidance uses them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voice2music.engines.base import Melody
from voice2music.engines.plan import BEAT_ROWS, Plan, beat_rows, chord_rows
from voice2music.pitch import HOP

NOTES = 128  # of MIDI
HARMONICS = 12
BASS = 36  # C2: the bass lines are drawn in the octave that begins there


@dataclass(frozen=True)
class MelodyRows:
    """Which rows a checkpoint was trained with.

    Args:
        lowest: MIDI note at which the first octave row begins (36 is C2).
        octaves: number of octave rows; notes beyond them count to the nearest one.
        lines: mel bands in a latent bin, each with two rows of lines; 0 is no lines.
        fmax: Hz at which the mel bands end.
        plan: with the plan's rows, which need lines.
    """

    lowest: int = 36
    octaves: int = 5
    lines: int = 0
    fmax: float = 8_000.0
    plan: bool = False

    def __post_init__(self) -> None:
        if self.lowest % 12 != 0 or self.octaves < 1:
            raise ValueError(f"octave rows begin at a C and there is at least one, got {self}")
        if self.lines < 0 or self.fmax <= 0:
            raise ValueError(f"there cannot be fewer than no lines, got {self}")
        if self.plan and not self.lines:
            raise ValueError(f"the plan's chords are drawn as lines, got {self}")

    @property
    def flat(self) -> int:
        """Number of rows that are the same over all bins; they come first."""
        return 12 + self.octaves + 2

    @property
    def tune(self) -> int:
        """Number of rows of the tune; they come before the plan's."""
        return self.flat + 2 * self.lines

    @property
    def channels(self) -> int:
        """Number of rows, C."""
        return self.tune + (BEAT_ROWS + 2 * self.lines if self.plan else 0)


def melody_channels(
    melody: Melody | None,
    frames: int,
    frame_rate: float,
    bins: int,
    rows: MelodyRows,
    plan: Plan | None = None,
) -> NDArray[np.float32]:
    """Tune and plan as UNet input channels, shape (C, frames, bins).

    Args:
        melody: the tune; None gives zeros, "no melody given".
        frames: latent frames; past the melody's end there are rests.
        frame_rate: latent frames per second.
        bins: latent frequency bins.
        rows: the layout.
        plan: of the accompaniment; None gives zeros.
    """
    out = np.zeros((rows.channels, frames, bins), np.float32)
    if melody is not None:
        out[: rows.tune] = _tune_channels(melody, frames, frame_rate, bins, rows)
    if rows.plan and plan is not None:
        out[rows.tune :] = _plan_channels(plan, np.arange(frames) / frame_rate, bins, rows)
    return out


def _tune_channels(
    melody: Melody, frames: int, frame_rate: float, bins: int, rows: MelodyRows
) -> NDArray[np.float32]:
    """Rows of the tune, shape (tune, frames, bins)."""
    flat = np.zeros((rows.flat, frames), np.float32)
    shares = _shares(melody.midi, frames, frame_rate)
    for note in np.flatnonzero(shares.any(axis=1)):
        octave = np.clip((note - rows.lowest) // 12, 0, rows.octaves - 1)
        flat[note % 12] += shares[note]
        flat[12 + octave] += shares[note]
    flat[-2] = _onsets(melody, frames, frame_rate)
    flat[-1] = 2 * flat[:12].sum(axis=0) - 1
    wide = np.repeat(flat[:, :, None], bins, axis=2)
    if not rows.lines:
        return wide
    return np.concatenate([wide, _lines(shares, bins, rows)])


def _plan_channels(
    plan: Plan, times: NDArray[np.float64], bins: int, rows: MelodyRows
) -> NDArray[np.float32]:
    """Rows of the plan, shape (4 + 2 lines, frames, bins)."""
    chord, bass = chord_rows(plan, times)
    bands = bins * rows.lines
    tones = octave_lines(bands, rows.fmax)[:12]
    roots = harmonic_lines(bands, rows.fmax)[BASS : BASS + 12]
    beats = np.repeat(beat_rows(plan, times).T[:, :, None], bins, axis=2)
    lines = [
        drawn.T.reshape(bins, rows.lines, -1).transpose(1, 2, 0)
        for drawn in ((chord[:, :, None] * tones).max(axis=1), bass @ roots)
    ]
    return np.concatenate([beats, *lines])


def _shares(midi: NDArray[np.float32], frames: int, frame_rate: float) -> NDArray[np.float32]:
    """Share of each latent frame in which each MIDI note is sung, (128, frames)."""
    frame = np.floor(np.arange(len(midi)) * HOP * frame_rate + 1e-6).astype(int)
    inside = frame < frames
    frame, midi = frame[inside], midi[inside]
    total = np.maximum(np.bincount(frame, minlength=frames), 1)

    voiced = np.isfinite(midi)
    note = np.clip(np.round(midi[voiced]), 0, NOTES - 1).astype(int)
    out = np.zeros((NOTES, frames), np.float32)
    np.add.at(out, (note, frame[voiced]), 1.0)
    return np.asarray(out / total, np.float32)


def _lines(shares: NDArray[np.float32], bins: int, rows: MelodyRows) -> NDArray[np.float32]:
    """Rows of lines, shape (2 lines, frames, bins)."""
    bands = bins * rows.lines
    drawn = [
        (table.T @ shares).reshape(bins, rows.lines, -1).transpose(1, 2, 0)
        for table in (octave_lines(bands, rows.fmax), harmonic_lines(bands, rows.fmax))
    ]
    return np.asarray(np.concatenate(drawn), np.float32)


@lru_cache(maxsize=4)
def octave_lines(bands: int, fmax: float) -> NDArray[np.float32]:
    """Where the octaves of every MIDI note lie among mel bands, shape (128, bands)."""
    return np.stack(
        [
            _marked([_hertz(n) for n in range(note % 12, 144, 12)], bands, fmax)
            for note in range(128)
        ]
    )


@lru_cache(maxsize=4)
def harmonic_lines(bands: int, fmax: float) -> NDArray[np.float32]:
    """Where the first `HARMONICS` harmonics of every MIDI note lie, shape (128, bands)."""
    return np.stack(
        [_marked([_hertz(n) * h for h in range(1, HARMONICS + 1)], bands, fmax) for n in range(128)]
    )


def _hertz(note: int) -> float:
    return float(440 * 2 ** ((note - 69) / 12))


def _marked(hertz: Sequence[float], bands: int, fmax: float) -> NDArray[np.float32]:
    """1 at each frequency, shared between the two bands whose centres are next to it; (bands,)."""
    from transformers.audio_utils import hertz_to_mel

    out = np.zeros(bands + 2, np.float32)  # a band's centre and the scale's two ends
    step = hertz_to_mel(fmax, mel_scale="slaney") / (bands + 1)
    for frequency in hertz:
        place = hertz_to_mel(frequency, mel_scale="slaney") / step
        if place < bands + 1:
            low = int(place)
            out[low] = max(out[low], low + 1 - place)
            out[low + 1] = max(out[low + 1], place - low)
    return out[1:-1]


def _onsets(melody: Melody, frames: int, frame_rate: float) -> NDArray[np.float32]:
    """1 in every frame in which a note begins, shape (frames,)."""
    out = np.zeros(frames, np.float32)
    at = [int(note.onset * frame_rate + 1e-6) for note in melody.notes if note.onset >= 0]
    out[[frame for frame in at if frame < frames]] = 1.0
    return out
