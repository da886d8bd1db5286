"""Sound of tokens by their magnitudes (see `spectra`), piece by piece and as a whole."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import EncodecModel

from voice2music.engines.musicgen.spectra import TokenSpectra
from voice2music.engines.phases import QUIET, phased
from voice2music.engines.spectrogram import MelSettings

CONTEXT = 8  # token frames that a spectrum depends on, to either side
LEAD = 6  # token frames before a piece in which its phases settle
FADE = 0.03  # seconds in which a piece takes over from the one before


class PieceSounder:
    """Turns codes into sound as they come, and once more at the end: then without seams.

    Args:
        spectra: what the codec's latents sound like.
        codec: whose codebooks they are written with; mono.
    """

    def __init__(self, spectra: TokenSpectra, codec: EncodecModel) -> None:
        self._spectra, self._codec = spectra, codec
        self._hop: int = codec.config.hop_length
        self._settings = MelSettings(
            rate=codec.config.sampling_rate,
            hop=self._hop // spectra.config.step,
            n_fft=2 * (spectra.config.bins - 1),
        )
        self._heard = 0  # frames already given out
        self._next: Tensor | None = None  # what followed the last piece, as it was heard then
        self._codes: Tensor | None = None

    @torch.inference_mode()
    def push(self, codes: Tensor, final: bool = False) -> NDArray[np.float32]:
        """The sound that can be known by now and was not given out before.

        Args:
            codes: all complete frames from the start on, shape (codebooks, frames).
            final: no more will come; everything that is left is given out.
        Returns:
            float32, shape (1, samples); a whole number of frames, perhaps none.
        """
        frames = codes.shape[1]
        self._codes = codes
        end = frames if final else max(self._heard, frames - CONTEXT)
        if end <= self._heard:
            return np.zeros((1, 0), np.float32)
        first, last = max(0, self._heard - LEAD), min(frames, end + LEAD)
        sound = self._sounded(codes, first, last)
        piece = sound[(self._heard - first) * self._hop : (end - first) * self._hop]
        piece = self._joined(piece)
        self._next = sound[(end - first) * self._hop :]
        self._heard = end
        return piece.cpu().numpy()[None]

    @torch.inference_mode()
    def whole(self) -> NDArray[np.float32]:
        """All codes that were pushed, in one go, shape (1, samples)."""
        assert self._codes is not None
        return self._sounded(self._codes, 0, self._codes.shape[1]).cpu().numpy()[None]

    def _sounded(self, codes: Tensor, first: int, last: int) -> Tensor:
        """Samples of token frames `first` to `last`."""
        step = self._spectra.config.step
        start, stop = max(0, first - CONTEXT), min(codes.shape[1], last + CONTEXT)
        latents = self._codec.quantizer.decode(codes[:, None, start:stop].to(self._codec.device))
        logs = self._spectra(latents.float())[0, (first - start) * step : (last - start) * step]
        magnitudes = (logs.exp() - QUIET).clamp(min=0)
        # One more spectrum is centred on the very end.
        return phased(torch.cat([magnitudes, magnitudes[-1:]]).T, self._settings)

    def _joined(self, piece: Tensor) -> Tensor:
        """The piece, faded in over what the one before had expected here."""
        if self._next is None:
            return piece
        count = min(round(FADE * self._settings.rate), len(piece), len(self._next))
        rise = torch.linspace(0, 1, count, device=piece.device)
        start = rise * piece[:count] + (1 - rise) * self._next[:count]
        return torch.cat([start, piece[count:]])
