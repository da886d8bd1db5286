"""Magnitudes to waveform without a vocoder, by rounds.

Where the magnitudes of an STFT are known, its phases follow from the overlap of its windows
(Griffin and Lim, 1984). Only the magnitudes have to be found by a network, which is learned in
minutes, where a HiFi-GAN takes days.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voice2music.engines.spectrogram import MelSettings

QUIET = 1e-2  # magnitude that is not heard any more, 82 dB below a sine at the usual peak
ROUNDS = 32
MOMENTUM = 0.99  # Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm", 2013


def phased(
    magnitudes: Tensor,
    settings: MelSettings,
    go_on: Callable[[float], None] = lambda share: None,
    rounds: int = ROUNDS,
) -> Tensor:
    """Samples whose STFT has these magnitudes as nearly as can be.

    Args:
        magnitudes: shape (n_fft / 2 + 1, frames + 1).
        settings: of the STFT.
        go_on: called before each round with the share done; may raise `Cancelled`.
        rounds: how many.
    """
    length = (magnitudes.shape[1] - 1) * settings.hop
    window = torch.hann_window(settings.n_fft, device=magnitudes.device)
    shape = (settings.n_fft, settings.hop)
    unit = _first_phases(magnitudes, settings)
    before = torch.zeros_like(unit)
    for i in range(rounds):
        go_on(i / rounds)
        samples = torch.istft(magnitudes * unit, *shape, window=window, length=length)
        now = torch.stft(samples, *shape, window=window, return_complex=True)
        sped = now - MOMENTUM / (1 + MOMENTUM) * before
        unit, before = sped / (sped.abs() + 1e-12), now
    return torch.istft(magnitudes * unit, *shape, window=window, length=length)


def _first_phases(magnitudes: Tensor, settings: MelSettings) -> Tensor:
    """Unit complex numbers: every bin turns with the frequency of the nearest peak.

    Source: Beauregard, Harish and Wyse, "Single Pass Spectrogram Inversion", 2015.
    """
    values = magnitudes.float().cpu().numpy()
    phase = np.zeros(len(values))
    phases = np.empty(values.shape)
    for frame in range(values.shape[1]):
        phase = _turned(phase, values[:, frame], settings)
        phases[:, frame] = phase
    turned = torch.from_numpy(np.exp(1j * phases)).to(torch.complex64)
    return turned.to(magnitudes.device)


def _turned(
    phase: NDArray[np.float64], magnitude: NDArray[np.float32], settings: MelSettings
) -> NDArray[np.float64]:
    """The phases of the next frame, shape (bins,)."""
    middle = magnitude[1:-1]
    peaks = np.flatnonzero((middle > magnitude[:-2]) & (middle >= magnitude[2:])) + 1
    if not len(peaks):
        return phase
    left, top, right = (np.log(magnitude[peaks + i] + 1e-9) for i in (-1, 0, 1))
    offset = np.clip((left - right) / 2 / np.minimum(left - 2 * top + right, -1e-9), -0.5, 0.5)
    turn = 2 * math.pi * settings.hop / settings.n_fft * (peaks + offset)
    bins = np.arange(len(magnitude))
    borders = (peaks[1:] + peaks[:-1]) / 2
    nearest = np.searchsorted(borders, bins)
    # Windows are centred on their frames, so bins beside a peak are by turns half a turn off.
    turned: NDArray[np.float64] = (phase[peaks] + turn)[nearest] + math.pi * (
        (bins - peaks[nearest]) % 2
    )
    return turned % (2 * math.pi)
