"""Phases for magnitudes that are still coming: what was given out is not touched again.

Rounds as in `phases`, but over one block after the other. What a block's frames share with the
samples before it is held to those samples, so a block goes on where the last one stopped, and
there is no seam to hide (Zhu, Beauregard and Wyse, "Real-time signal estimation from modified
short-time Fourier transform magnitude spectra", 2007, with blocks in place of single frames).
"""

import math

import numpy as np
import torch
from torch import Tensor

from voice2music.engines.phases import MOMENTUM, ROUNDS, brought_to, first_phases, laid_over
from voice2music.engines.spectrogram import MelSettings


class PhasesOnward:
    """Turns magnitudes into samples, block by block.

    Args:
        settings: of the STFT.
        rounds: for each block.
    """

    def __init__(self, settings: MelSettings, rounds: int = ROUNDS) -> None:
        self._hop, self._size, self._rounds = settings.hop, settings.n_fft, rounds
        self._settings = settings
        # Frames before a block that reach into it, and as many before those to hear them whole.
        self.behind = math.ceil(settings.n_fft / 2 / settings.hop) - 1
        self._past: Tensor | None = None  # samples before the block, enough for those frames
        self._phase = np.zeros(settings.n_fft // 2 + 1)  # of the last frame without a part in it

    def block(self, magnitudes: Tensor, begun: int, frames: int) -> Tensor:
        """The samples of the next frames.

        Args:
            magnitudes: shape (frames, n_fft / 2 + 1): `begun` before the block, the block's, and
                what is known of those that follow, one at least.
            begun: `behind`, or 0 at the very beginning.
            frames: of the block.
        Returns:
            Shape (frames * hop,).
        """
        wanted = magnitudes.float().contiguous()
        phases = first_phases(wanted, self._settings, self._phase)
        spectrum = wanted * torch.from_numpy(np.exp(1j * phases)).to(wanted.device, torch.complex64)
        edge = self._size // 2
        held = None if self._past is None else self._past[-(begun * self._hop + edge) :]
        spectrum, samples = self._settled(spectrum, wanted, held)
        start = edge + begun * self._hop
        end = start + frames * self._hop
        self._past = samples[:end]
        if (before := begun + frames - self.behind - 1) >= 0:
            self._phase = spectrum[before].angle().double().cpu().numpy()
        return samples[start:end]

    def _settled(
        self, spectrum: Tensor, wanted: Tensor, held: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Spectrum and samples after all rounds, from half a window before the first frame on."""
        edge, window = self._size // 2, torch.hann_window(self._size, device=wanted.device)
        weight = laid_over(window.square().expand(len(wanted), -1), self._hop).clamp(min=1e-3)
        before = torch.zeros_like(spectrum)
        for left in reversed(range(self._rounds + 1)):
            parts = torch.fft.irfft(spectrum, self._size).mul_(window)
            samples = laid_over(parts, self._hop).div_(weight)
            if held is None:  # the very beginning, mirrored as torch's STFT has it
                samples[:edge] = samples[edge + 1 : 2 * edge + 1].flip(0)
            else:
                samples[: len(held)] = held
            if left:
                now = torch.fft.rfft(samples.unfold(0, self._size, self._hop) * window)
                spectrum = torch.sub(now, before, alpha=MOMENTUM / (1 + MOMENTUM), out=spectrum)
                brought_to(spectrum, wanted)
                before = now
        return spectrum, samples
