"""Sound of tokens by their magnitudes (see `spectra`), block by block."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import EncodecModel

from voice2music.engines.musicgen.spectra import TokenSpectra
from voice2music.engines.phases import QUIET
from voice2music.engines.phases_onward import PhasesOnward
from voice2music.engines.spectrogram import MelSettings

# In token frames. Blocks lie on a grid of their own, so the sound does not depend on how its tokens
# come; the first is short, so that something is heard soon.
FIRST, BLOCK = 12, 32
AHEAD = 3  # what is known of the music after a block when its phases are found
CONTEXT = 8  # that a spectrum depends on, to either side


class PieceSounder:
    """Turns codes into sound as they come: the same samples as all at once.

    Args:
        spectra: what the codec's latents sound like.
        codec: whose codebooks they are written with; mono.
    """

    def __init__(self, spectra: TokenSpectra, codec: EncodecModel) -> None:
        self._spectra, self._codec = spectra, codec
        self._step = spectra.config.step
        settings = MelSettings(
            rate=codec.config.sampling_rate,
            hop=codec.config.hop_length // self._step,
            n_fft=2 * (spectra.config.bins - 1),
        )
        self._phases = PhasesOnward(settings)
        self._heard = 0  # frames already given out
        self._given: list[NDArray[np.float32]] = [np.zeros((1, 0), np.float32)]

    def whole(self) -> NDArray[np.float32]:
        """All that was given out, shape (1, samples)."""
        return np.concatenate(self._given, axis=1)

    @torch.inference_mode()
    def push(self, codes: Tensor, final: bool = False) -> NDArray[np.float32]:
        """The sound that can be known by now and was not given out before.

        Args:
            codes: all complete frames from the start on, shape (codebooks, frames).
            final: no more will come; everything that is left is given out.
        Returns:
            float32, shape (1, samples); a whole number of frames, perhaps none.
        """
        frames, before = codes.shape[1], len(self._given)
        while self._heard < frames:
            end = self._heard + (BLOCK if self._heard else FIRST)
            if not final and end + AHEAD + CONTEXT > frames:
                break
            self._given.append(self._sounded(codes, min(end, frames)))
        fresh = self._given[before:]
        return np.concatenate(fresh, axis=1) if fresh else np.zeros((1, 0), np.float32)

    def _sounded(self, codes: Tensor, end: int) -> NDArray[np.float32]:
        """Samples from what was heard to token frame `end`."""
        step, begun = self._step, self._phases.behind if self._heard else 0
        first = self._heard * step - begun
        magnitudes = self._magnitudes(codes, first, end + AHEAD)
        samples = self._phases.block(magnitudes, begun, (end - self._heard) * step)
        self._heard = end
        return samples.cpu().numpy()[None]

    def _magnitudes(self, codes: Tensor, first: int, end: int) -> Tensor:
        """From spectrum `first` to token frame `end` and one more, which is centred on it.

        After the very end, the end is held. Shape (spectra, bins).
        """
        start = max(0, first // self._step - CONTEXT)
        known = codes[:, None, start : end + CONTEXT].to(self._codec.device)
        logs = self._spectra(self._codec.quantizer.decode(known).float())[0]
        at = torch.arange(first, end * self._step + 1) - start * self._step
        at = at.clamp(max=len(logs) - 1)
        magnitudes: Tensor = (logs[at].exp() - QUIET).clamp(min=0)
        return magnitudes
