"""The listener: a small network that tells genre and lead instrument by ear.

It is a measuring tool and no weight of the product. It is trained on the factory's renders, as they
are and as a model's codec or vocoder gives them back, and it is itself measured, on held-out ones,
before anything is measured with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voice2music.clip import Clip

RATE = 16_000
N_FFT, HOP, BINS = 1024, 320, 64
FLOOR = 1e-3  # of the magnitude
SIZE = 32  # of the embedding
NOBODY = "nobody"  # the lead where no instrument plays the tune


@dataclass(frozen=True, eq=False)
class Heard:
    """What the listener says of some clips, in their order.

    Args:
        genres, leads: log probabilities, shape (clips, names).
        embeddings: its penultimate layer, shape (clips, `SIZE`).
    """

    genres: NDArray[np.float64]
    leads: NDArray[np.float64]
    embeddings: NDArray[np.float64]


class Listener(nn.Module):
    """Log-mel of any length to genre and lead.

    Args:
        genres, leads: the names of the outputs.
    """

    def __init__(self, genres: Sequence[str], leads: Sequence[str]) -> None:
        super().__init__()
        self.genres, self.leads = tuple(genres), tuple(leads)
        self.picture = nn.Sequential(
            *_layer(nn.Conv2d(1, 24, 5, 2, 2)),
            *_layer(nn.Conv2d(24, 48, 3, 2, 1)),
            *_layer(nn.Conv2d(48, 80, 3, 2, 1)),
        )
        self.time = nn.Sequential(
            nn.Conv1d(80 * BINS // 8, 160, 5, padding=2, bias=False),
            nn.BatchNorm1d(160),
            nn.ReLU(),
            nn.Conv1d(160, 160, 5, padding=4, dilation=2, bias=False),
            nn.BatchNorm1d(160),
            nn.ReLU(),
        )
        self.embedding = nn.Sequential(nn.Dropout(0.2), nn.Linear(320, SIZE), nn.Tanh())
        self.genre = nn.Linear(SIZE, len(self.genres))
        self.lead = nn.Linear(320, len(self.leads))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of genres and leads, and embeddings.

        Args:
            mel: from `log_mel`, shape (batch, bins, frames).
        """
        seen = self.picture(mel[:, None])
        seen = self.time(seen.flatten(1, 2))
        pooled = torch.cat([seen.mean(dim=2), seen.amax(dim=2)], dim=1)
        embedded = self.embedding(pooled)
        return self.genre(embedded), self.lead(pooled), embedded

    @torch.inference_mode()
    def hear(self, clips: Sequence[Clip]) -> Heard:
        """Listen to clips of at least a second, one after the other."""
        self.eval()
        said = [self(log_mel(samples_of(clip))[None]) for clip in clips]
        genres, leads, embedded = (torch.cat(part).double() for part in zip(*said, strict=True))
        return Heard(
            functional.log_softmax(genres, dim=1).numpy(),
            functional.log_softmax(leads, dim=1).numpy(),
            embedded.numpy(),
        )

    def told(self, heard: Heard) -> list[str]:
        """The most likely genre of each clip."""
        return [self.genres[i] for i in heard.genres.argmax(axis=1)]

    def told_leads(self, heard: Heard, among: Sequence[str]) -> list[str]:
        """The most likely of some leads for each clip."""
        places = [self.leads.index(name) for name in among]
        return [among[i] for i in heard.leads[:, places].argmax(axis=1)]


def samples_of(clip: Clip) -> Tensor:
    """One channel at `RATE`, shape (samples,)."""
    return torch.from_numpy(clip.mono().resampled(RATE).samples[0].copy())


def log_mel(samples: Tensor) -> Tensor:
    """Log-mel without its mean, so that loudness says nothing; shape (..., bins, frames)."""
    window = torch.hann_window(N_FFT)
    shape = samples.shape[:-1]
    spectrum = torch.stft(
        samples.reshape(-1, samples.shape[-1]), N_FFT, HOP, window=window, return_complex=True
    ).abs()
    level = spectrum.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-6)
    mel = torch.log(_filters() @ (spectrum / level) + FLOOR)
    mel = mel - mel.mean(dim=(1, 2), keepdim=True)
    return mel.reshape(*shape, BINS, -1)


_cache: dict[str, Tensor] = {}


def _filters() -> Tensor:
    """Mel filters, shape (bins, N_FFT // 2 + 1)."""
    if "mel" not in _cache:
        from librosa.filters import mel

        _cache["mel"] = torch.from_numpy(
            mel(sr=RATE, n_fft=N_FFT, n_mels=BINS, fmin=40, fmax=7_600).astype(np.float32)
        )
    return _cache["mel"]


def _layer(convolution: nn.Conv2d) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()
