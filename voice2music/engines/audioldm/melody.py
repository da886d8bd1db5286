"""The tune as extra input channels of AudioLDM's UNet: the one layout for training and playing.

CLAP gives one vector for a whole clip, which cannot carry a tune. These rows can: they run at the
latent's frame rate and are the same over the latent's frequency bins.

Rows, in this order (C = 14 + octaves):
    0-11    pitch class: the share of the frame in which it is sung (1 inside a held note)
    12-     octave, from `lowest` upwards, likewise
    last-1  onset: 1 where a note begins
    last    voicing: 1 sung, -1 rest
All rows are 0 where no melody is given, which a rest (voicing -1) is not; training drops the
melody by the same zeros, and guidance uses them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voice2music.engines.base import Melody
from voice2music.pitch import HOP


@dataclass(frozen=True)
class MelodyRows:
    """Which rows a checkpoint was trained with.

    Args:
        lowest: MIDI note at which the first octave row begins (36 is C2).
        octaves: number of octave rows; notes beyond them count to the nearest one.
    """

    lowest: int = 36
    octaves: int = 5

    def __post_init__(self) -> None:
        if self.lowest % 12 != 0 or self.octaves < 1:
            raise ValueError(f"octave rows begin at a C and there is at least one, got {self}")

    @property
    def channels(self) -> int:
        """Number of rows, C."""
        return 12 + self.octaves + 2


def melody_channels(
    melody: Melody | None, frames: int, frame_rate: float, bins: int, rows: MelodyRows
) -> NDArray[np.float32]:
    """The tune as UNet input channels, shape (C, frames, bins).

    Args:
        melody: the tune; None gives zeros, "no melody given".
        frames: latent frames; past the melody's end there are rests.
        frame_rate: latent frames per second.
        bins: latent frequency bins.
        rows: the layout.
    """
    out = np.zeros((rows.channels, frames), np.float32)
    if melody is not None:
        sung = _shares(melody.midi, frames, frame_rate, rows)
        out[:-2] = sung
        out[-2] = _onsets(melody, frames, frame_rate)
        out[-1] = 2 * sung[:12].sum(axis=0) - 1
    return np.repeat(out[:, :, None], bins, axis=2)


def _shares(
    midi: NDArray[np.float32], frames: int, frame_rate: float, rows: MelodyRows
) -> NDArray[np.float32]:
    """Share of each latent frame sung in each pitch class and octave, (12 + octaves, frames)."""
    frame = np.floor(np.arange(len(midi)) * HOP * frame_rate + 1e-6).astype(int)
    inside = frame < frames
    frame, midi = frame[inside], midi[inside]
    total = np.maximum(np.bincount(frame, minlength=frames), 1)

    voiced = np.isfinite(midi)
    frame, note = frame[voiced], np.round(midi[voiced]).astype(int)
    octave = np.clip((note - rows.lowest) // 12, 0, rows.octaves - 1)
    out = np.zeros((12 + rows.octaves, frames), np.float32)
    np.add.at(out, (note % 12, frame), 1.0)
    np.add.at(out, (12 + octave, frame), 1.0)
    return np.asarray(out / total, np.float32)


def _onsets(melody: Melody, frames: int, frame_rate: float) -> NDArray[np.float32]:
    """1 in every frame in which a note begins, shape (frames,)."""
    out = np.zeros(frames, np.float32)
    at = [int(note.onset * frame_rate + 1e-6) for note in melody.notes if note.onset >= 0]
    out[[frame for frame in at if frame < frames]] = 1.0
    return out
