"""A small network that turns a log-mel back into the STFT magnitudes it was made of."""

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from voice2music.engines.audioldm.reading import own_model
from voice2music.engines.phases import CHUNK, QUIET, ROUNDS, phased_in_chunks
from voice2music.engines.spectrogram import MelSettings, mel_filters_of

FOLDER = "inverter"  # inside `vocoder/`


class MelInverter(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Log-mel to the logarithm of the STFT magnitudes it was made of.

    It corrects the plain answer, every band's mean over its bins, by dilated convolutions in time.

    Args:
        rate, hop, bins, n_fft, fmin, fmax: of the log-mel, see `MelSettings`.
        channels: inside.
        kernel: frames that a convolution sees.
        dilations: of the residual blocks.
        corrections: rounds in which the magnitudes are brought to the log-mel itself.
    """

    config_name = "config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        rate: int = 16_000,
        hop: int = 160,
        bins: int = 64,
        n_fft: int = 1024,
        fmin: float = 0.0,
        fmax: float = 8_000.0,
        channels: int = 256,
        kernel: int = 3,
        dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4),
        corrections: int = 3,
    ) -> None:
        super().__init__()
        self.settings = MelSettings(rate, hop, bins, n_fft, fmin, fmax)
        filters = mel_filters_of(self.settings)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("plain", _means(filters), persistent=False)
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("spread", torch.ones(bins))
        self.into = nn.Conv1d(bins, channels, kernel, padding=kernel // 2)
        self.blocks = nn.ModuleList(_Block(channels, kernel, dilation) for dilation in dilations)
        self.out = nn.Conv1d(channels, n_fft // 2 + 1, 1)
        nn.init.zeros_(self.out.weight)

    @property
    def reach(self) -> int:
        """Frames to either side that a frame of magnitudes depends on."""
        return int(self.config.kernel // 2 * (1 + sum(self.config.dilations)))

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel (B, frames, bins) to log magnitudes, never below `QUIET`, (B, frames, n)."""
        plain = (mel.float().exp() @ self.plain + QUIET).log()
        hidden = self.into(((mel - self.mean) / self.spread).mT)
        for block in self.blocks:
            hidden = block(hidden)
        corrected: Tensor = plain + self.out(functional.silu(hidden)).mT.float()
        return corrected

    def magnitudes(self, mel: Tensor) -> Tensor:
        """Log-mel (B, frames, bins) to magnitudes, (B, frames, n).

        Every bin is corrected by what the bands over it lack, so that the network only has to
        know how a band's energy lies within it.
        """
        made: Tensor = (self(mel).exp() - QUIET).clamp(min=QUIET / 100)
        heard, cover = mel.float().exp(), self.filters.sum(dim=0) + 1e-9
        for _ in range(self.config.corrections):
            lacking = heard / (made @ self.filters.T + 1e-7)
            made = made * (lacking @ self.filters) / cover
        return made


@torch.no_grad()
def inverted(
    inverter: MelInverter,
    mel: Tensor,
    go_on: Callable[[float], None] = lambda share: None,
    rounds: int = ROUNDS,
    chunk: int = CHUNK,
) -> Tensor:
    """Samples of a log-mel spectrogram, in chunks, so that memory does not grow with length.

    Args:
        mel: natural log, shape (frames, bins).
        go_on: called with the share done before each round; may raise `Cancelled`.
        rounds: of phases.
        chunk: frames at a time, beside the margins that make it the same as in one piece.
    Returns:
        Shape (frames * hop,), within ±1.
    """
    heard = torch.cat([mel, mel[-1:]])  # one frame is centred on the very end

    def magnitudes(first: int, last: int) -> Tensor:
        begin = max(0, first - inverter.reach)
        made = inverter.magnitudes(heard[None, begin : last + inverter.reach])[0]
        return made[first - begin : last - begin]

    samples = phased_in_chunks(magnitudes, len(heard), inverter.settings, go_on, rounds, chunk)
    return samples.clamp(-1, 1)


class _Block(nn.Module):
    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.wide = nn.Conv1d(
            channels, channels, kernel, padding=kernel // 2 * dilation, dilation=dilation
        )
        self.mixed = nn.Conv1d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.wide(functional.silu(hidden))
        result: Tensor = hidden + self.mixed(functional.silu(inner))
        return result


def load_inverter(vocoder: Path) -> MelInverter | None:
    """The inverter that a vocoder's folder brings, on the CPU; None where it brings none.

    Raises:
        CorruptCheckpoint: damaged.
    """
    folder = vocoder / FOLDER
    return own_model(MelInverter, folder) if folder.is_dir() else None


def _means(filters: Tensor) -> Tensor:
    """From bands to bins, (bands, n): each bin the mean of the bands over it."""
    over = filters / filters.sum(dim=0, keepdim=True).clamp(min=1e-12)
    return over / filters.sum(dim=1, keepdim=True)
