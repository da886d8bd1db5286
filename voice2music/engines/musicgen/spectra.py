"""Tokens to sound by magnitudes: a small network says how loud every frequency is, and the phases
follow from the overlap of the windows.

EnCodec's decoder makes waveforms at once, which takes days of training on a graphics card. What the
tokens say about magnitudes is learned in minutes. A checkpoint whose folder brings `spectra/` is
heard through it; the EnCodec decoder in it stays what other programs play it with.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from voice2music.errors import CorruptCheckpoint

FOLDER, CONFIG, WEIGHTS = "spectra", "config.json", "model.safetensors"


@dataclass(frozen=True)
class SpectraConfig:
    """Sizes.

    Args:
        width: of the codec's latents.
        channels, dilations: of the convolutions.
        step: spectrum frames per token frame.
        bins: of a spectrum.
        level, spread: of what comes out, about: the network gives values near 0 ± 1.
    """

    width: int = 64
    channels: int = 256
    dilations: tuple[int, ...] = (1, 3, 9)
    step: int = 4
    bins: int = 513
    level: float = -3.0
    spread: float = 2.5


class TokenSpectra(nn.Module):
    """Quantised latents to log spectra, `step` of them a token frame."""

    def __init__(self, config: SpectraConfig) -> None:
        super().__init__()
        self.config = config
        channels, step = config.channels, config.step
        self.layers = nn.Sequential(
            nn.Conv1d(config.width, channels, 3, padding=1),
            *(Block(channels, dilation) for dilation in config.dilations[:2]),
            nn.ConvTranspose1d(channels, channels, 2 * step, step, step // 2),
            *(Block(channels, dilation) for dilation in config.dilations),
            nn.Conv1d(channels, config.bins, 1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (batch, width, frames) to natural logs (batch, step * frames, bins)."""
        out: Tensor = self.layers(latents)
        return out.mT.float() * self.config.spread + self.config.level


class Block(nn.Module):
    """Two convolutions around a residual."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.wide = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.mixed = nn.Conv1d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Same shape, (batch, channels, frames)."""
        inner = self.mixed(functional.gelu(self.wide(functional.gelu(hidden))))
        result: Tensor = hidden + inner
        return result


def save_spectra(spectra: TokenSpectra, folder: Path) -> None:
    """Half-precision weights and sizes into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.half().contiguous() for key, value in spectra.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(asdict(spectra.config), indent=2) + "\n", "utf-8")


def load_spectra(checkpoint: Path) -> TokenSpectra | None:
    """What `spectra/` in a checkpoint's folder holds; None where there is no such folder.

    Raises:
        CorruptCheckpoint: damaged.
    """
    folder = checkpoint / FOLDER
    if not folder.is_dir():
        return None
    try:
        given = json.loads((folder / CONFIG).read_text("utf-8"))
        spectra = TokenSpectra(SpectraConfig(**_tuples(given)))
        spectra.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CorruptCheckpoint(
            f"'{checkpoint.name}/{FOLDER}' cannot be read ({why}). Fetch the model again."
        ) from error
    return spectra.float().eval()


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
