"""Crops of music with their log-mel, as the VAE and the vocoder learn from them."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voice2music.clip import Clip
from voice2music.dataset.shards import Pairs
from voice2music.engines.base import Melody
from voice2music.engines.spectrogram import MelSettings, levelled, log_mel, log_mel_of

# Where tunes are, 96 bins lie a half closer than AudioLDM's 64. On held-out pieces, log-mel and
# back (Griffin-Lim) keeps a melody accuracy of .78 of .83; 64 bins every 160 samples keep .62. A
# second of sound has as many values either way.
MINI_MEL = MelSettings(hop=256, bins=96)


class Crops:
    """Random crops of one split, every piece brought to the log-mel's usual peak.

    Args:
        folder: of pairs; their music has the rate of `mel`.
        split: "train" or "valid".
        mel: the log-mel.
        quieter: most dB that a crop is taken down, so that levels are not learned by heart.
    """

    def __init__(self, folder: Path, split: str, mel: MelSettings, quieter: float = 0.0) -> None:
        self.pairs, self.mel, self.quieter = Pairs(folder, split), mel, quieter
        self._level = lru_cache(maxsize=None)(self._measured_level)
        self._seconds = np.array([row["seconds"] for row in self.pairs.rows])

    def draw(self, chance: np.random.Generator, count: int, frames: int) -> tuple[Tensor, Tensor]:
        """Sound (count, frames * hop) and its log-mel (count, frames, bins).

        Pieces are drawn by their length. The log-mel is cut from a longer one, so that its edges
        see the sound around them as they do in the middle of a piece.
        """
        margin = -(-self.mel.n_fft // self.mel.hop)
        share = self._seconds / self._seconds.sum()
        chosen = chance.choice(len(self._seconds), count, p=share)
        wide = torch.stack([self._crop(int(i), chance, frames + 2 * margin) for i in chosen])
        inside = slice(margin * self.mel.hop, (margin + frames) * self.mel.hop)
        return wide[:, inside], log_mel_of(wide, self.mel)[:, margin : margin + frames]

    def _crop(self, index: int, chance: np.random.Generator, frames: int) -> Tensor:
        seconds = frames * self.mel.hop / self.mel.rate
        start = chance.uniform(0, max(0.0, self._seconds[index] - seconds))
        mean, gain = self._level(index)
        gain *= 10 ** (-chance.uniform(0, self.quieter) / 20)
        cut = (torch.from_numpy(self.pairs.music(index, start, seconds)) - mean) * gain
        return torch.nn.functional.pad(cut, (0, frames * self.mel.hop - len(cut)))

    def _measured_level(self, index: int) -> tuple[float, float]:
        """Mean of a piece, and what brings it to the usual peak."""
        samples = torch.from_numpy(self.pairs.music(index))
        peak = float((samples - samples.mean()).abs().max())
        return float(samples.mean()), self.mel.peak / (peak + 1e-8)


class Piece:
    """The beginning of a held-out piece, to judge on.

    Args:
        pairs: a split of them.
        index: which one.
        mel: the log-mel.
        frames: how many; a shorter piece is padded with silence.
    """

    def __init__(self, pairs: Pairs, index: int, mel: MelSettings, frames: int) -> None:
        self.name = str(pairs.rows[index]["id"])
        seconds = frames * mel.hop / mel.rate
        samples = pairs.music(index, 0.0, seconds)
        padded = np.pad(samples, (0, frames * mel.hop - len(samples)))
        self.sound: Tensor = levelled(torch.from_numpy(padded), mel)
        self.mel: Tensor = log_mel(Clip(padded, mel.rate), mel, frames)
        self.melody = Melody(pairs.heard(index, 0.0, seconds), ())


def pieces_with_tune(folder: Path, mel: MelSettings, count: int, frames: int) -> list[Piece]:
    """The first held-out pieces in which a lead plays the tune."""
    pairs = Pairs(folder, "valid")
    tunes = [i for i, row in enumerate(pairs.rows) if row["role"] == "tune"]
    return [Piece(pairs, i, mel, frames) for i in tunes[:count]]
