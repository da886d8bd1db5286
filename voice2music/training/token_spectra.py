"""Training of what tokens sound like: magnitudes of the music that they were made of."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from voice2music.clip import write
from voice2music.engines.musicgen.spectra import (
    SpectraConfig,
    TokenSpectra,
    load_spectra,
    save_spectra,
)
from voice2music.engines.phases import QUIET, phased
from voice2music.engines.spectrogram import MelSettings, magnitudes_of
from voice2music.training.crops import Crops, Piece, pieces_with_tune
from voice2music.training.sounding import clip, melody_kept
from voice2music.training.teacher import load_teacher


@dataclass(frozen=True)
class TokenSpectraConfig:
    """How it learns; its sizes are the teacher's.

    Args:
        batch, seconds: crops per step, and their length.
        linear: weight of the magnitudes' own distance beside that of their logarithms.
        margin: spectrum frames at either end of a crop that are not judged.
        judged, judged_seconds: held-out pieces at a validation.
    """

    batch: int = 12
    seconds: float = 1.92
    linear: float = 1.0
    margin: int = 8
    judged: int = 6
    judged_seconds: float = 10.24


class TokenSpectraNetwork(nn.Module):
    """The network, and the teacher and codebooks whose latents it hears."""

    def __init__(self, spectra: TokenSpectra, teacher: Path, config: TokenSpectraConfig) -> None:
        super().__init__()
        self.spectra, self.config = spectra, config
        listener, codec = load_teacher(teacher)
        self.teacher = listener.requires_grad_(False)
        self.quantizer = codec.quantizer.requires_grad_(False)

    @torch.no_grad()
    def latents(self, samples: Tensor) -> Tensor:
        """Quantised latents (batch, width, frames) of samples (batch, n)."""
        with torch.autocast(samples.device.type, enabled=False):
            found = self.teacher.latents(samples)
            quantised: Tensor = self.quantizer.decode(self.quantizer.encode(found))
        return quantised

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of "real" (batch, samples) against their "magnitudes" (batch, frames, bins)."""
        inside = slice(self.config.margin, -self.config.margin)
        made = self.spectra(self.latents(batch["real"]))[:, inside]
        real = batch["magnitudes"][:, inside] + QUIET
        level = real.mean(dim=(1, 2), keepdim=True)
        log = l1_loss(made, real.log())
        linear = l1_loss(made.clamp(max=8).exp() / level, real / level)
        return {"loss": log + self.config.linear * linear, "log": log, "linear": linear}


class TokenSpectraTask:
    """See `voice2music.training.task.Task`.

    Args:
        config: how it learns.
        data: folder of pairs.
        teacher: an exported teacher, whose decoder it begins as.
        start: a folder that holds exported `spectra/`.
    """

    rival: None = None

    def __init__(
        self, config: TokenSpectraConfig, data: Path, teacher: Path, start: Path | None = None
    ) -> None:
        self.config, self._data = config, data
        spectra = load_spectra(start) if start else None
        self.network: nn.Module = TokenSpectraNetwork(
            spectra or _from_teacher(teacher), teacher, config
        )
        mel = load_teacher(teacher)[0].config.mel
        self.settings = MelSettings(rate=mel.rate, hop=mel.hop, n_fft=mel.n_fft)
        self._crops = Crops(data, "train", self.settings, 10.0)

    def batch(self, chance: np.random.Generator) -> dict[str, Any]:
        """Crops of music and their magnitudes."""
        step = 4
        frames = step * round(self.config.seconds * self.settings.rate / self.settings.hop / step)
        real, _ = self._crops.draw(chance, self.config.batch, frames)
        return {"real": real, "magnitudes": magnitudes_of(real, self.settings)}

    @torch.no_grad()
    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Melody kept by music, by its true magnitudes, and by its tokens."""
        frames = round(self.config.judged_seconds * self.settings.rate / self.settings.hop)
        pieces = pieces_with_tune(self._data, self.settings, self.config.judged, frames // 4 * 4)
        made = [sounded(network, piece, self.settings) for piece in pieces]
        for piece, sound in list(zip(pieces, made, strict=True))[:2]:
            write(clip(sound, self.settings.rate), folder / f"{piece.name}.wav")
        rate = self.settings.rate
        return {
            "melody": melody_kept(pieces, made, rate),
            "melody of the music": melody_kept(pieces, [piece.sound for piece in pieces], rate),
        }

    def export(self, network: nn.Module, folder: Path) -> None:
        """As `spectra/` of a checkpoint."""
        spectra: Any = copy.deepcopy(network.spectra)
        save_spectra(spectra.to("cpu").eval(), folder)


def sounded(network: Any, piece: Piece, settings: MelSettings) -> Tensor:  # noqa: ANN401
    """A piece as its tokens sound, shape (samples,)."""
    magnitudes = (network.spectra(network.latents(piece.sound[None]))[0].exp() - QUIET).clamp(min=0)
    return phased(torch.cat([magnitudes, magnitudes[-1:]]).T, settings)


def _from_teacher(folder: Path) -> TokenSpectra:
    """The teacher's decoder, with new values for what comes out."""
    teacher, _ = load_teacher(folder)
    sizes = teacher.config
    config = SpectraConfig(
        width=sizes.codec.width, channels=sizes.channels, dilations=sizes.dilations
    )
    spectra = TokenSpectra(config)
    mine, known = spectra.state_dict(), teacher.decoder.state_dict()
    fitting = {k: v for k, v in known.items() if f"layers.{k}" in mine}
    same = {k: v for k, v in fitting.items() if mine[f"layers.{k}"].shape == v.shape}
    spectra.load_state_dict({**mine, **{f"layers.{key}": value for key, value in same.items()}})
    return spectra


def task(
    config: TokenSpectraConfig, data: Path, teacher: Path, start: Path | None = None
) -> TokenSpectraTask:
    """See `TokenSpectraTask`."""
    return TokenSpectraTask(config, data, teacher, start)
