"""Training of the mel inverter, which stands in for a vocoder: log-mel to STFT magnitudes."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from voice2music.clip import write
from voice2music.engines.audioldm.inversion import MelInverter, inverted
from voice2music.engines.audioldm.reading import diffusers_model, own_model
from voice2music.engines.phases import QUIET
from voice2music.engines.spectrogram import MelSettings, log_mel_of, magnitudes_of
from voice2music.training.crops import MINI_MEL, Crops, Piece, pieces_with_tune
from voice2music.training.sounding import clip, griffin_lim, melody_kept
from voice2music.training.spectral import SpectralLoss
from voice2music.training.vae import rebuilt

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

MARGIN = 4  # frames at a crop's edges that are heard but not judged


@dataclass(frozen=True)
class InverterConfig:
    """Sizes of the inverter and how it learns.

    Args:
        mel: what it hears; the VAE must see the same.
        channels, kernel, dilations: see `MelInverter`.
        batch, frames: crops in a batch and their mel frames, a multiple of 4.
        quieter: most dB that a crop is taken down.
        linear: weight of the magnitudes' own distance, which the loud ones make, beside that of
            their logarithms.
        rebuilt: share of crops heard as the VAE leaves them, where there is a VAE.
        judged: held-out pieces, of `judged_frames` each.
    """

    mel: MelSettings = field(default=MINI_MEL)
    channels: int = 256
    kernel: int = 3
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    batch: int = 12
    frames: int = 96
    quieter: float = 10.0
    linear: float = 1.0
    rebuilt: float = 0.25
    judged: int = 6
    judged_frames: int = 640


class InverterTraining(nn.Module):
    """The inverter with its losses.

    Args:
        inverter: to train.
        config: weights of the losses.
    """

    def __init__(self, inverter: MelInverter, config: InverterConfig) -> None:
        super().__init__()
        self.inverter, self._config = inverter, config

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of "mel" (B, frames, bins) against "magnitudes" (B, frames, n)."""
        inside = slice(MARGIN, -MARGIN)
        made = self.inverter(batch["mel"])[:, inside].float()
        real = batch["magnitudes"][:, inside] + QUIET
        level = real.mean(dim=(1, 2), keepdim=True)
        log = l1_loss(made, real.log())
        linear = l1_loss(made.clamp(max=8).exp() / level, real / level)
        return {"loss": log + self._config.linear * linear, "log": log, "linear": linear}


class InverterTask:
    """See `voice2music.training.task.Task`.

    Args:
        config: sizes and weights.
        data: folder of pairs.
        start: an exported inverter's folder to go on from.
        vae: an exported `vae/` folder whose blur is to be forgiven.
    """

    rival: None = None

    def __init__(
        self,
        config: InverterConfig,
        data: Path,
        start: Path | None = None,
        vae: Path | None = None,
    ) -> None:
        self.config, self._data = config, data
        self._crops = Crops(data, "train", config.mel, config.quieter)
        self._vae: AutoencoderKL | None = None
        if vae is not None:
            self._vae = diffusers_model("AutoencoderKL", vae, torch.float32).requires_grad_(False)
        if start is None:
            inverter = new_inverter(config)
            mel = self._crops.draw(np.random.default_rng(0), 32, 256)[1]
            inverter.mean.copy_(mel.mean(dim=(0, 1)))
            inverter.spread.copy_(mel.std(dim=(0, 1)))
        else:
            inverter = own_model(MelInverter, start)
        self.network: nn.Module = InverterTraining(inverter.train(), config)

    def batch(self, chance: np.random.Generator) -> dict[str, Tensor]:
        """Crops: "mel" (B, frames, bins) and "magnitudes" (B, frames, n)."""
        config = self.config
        sound, mel = self._crops.draw(chance, config.batch, config.frames)
        count = round(config.rebuilt * config.batch)  # drawn anew, so the first ones will do
        if self._vae is not None and count:
            with torch.autocast("cpu", torch.bfloat16):
                mel[:count] = rebuilt(self._vae, mel[:count]).float()
        return {"mel": mel, "magnitudes": magnitudes_of(sound, config.mel)}

    @torch.no_grad()
    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Distances between held-out pieces and what is made of their log-mels; melody kept."""
        inverter = _inverter(network)
        sounds = {"": [inverted(inverter, piece.mel) for piece in self._pieces]}
        if self._vae is not None:
            mels = [rebuilt(self._vae, piece.mel[None])[0] for piece in self._pieces]
            sounds[" after the VAE"] = [inverted(inverter, mel) for mel in mels]
        for name, made in sounds.items():
            for piece, sound in list(zip(self._pieces, made, strict=True))[:2]:
                write(clip(sound, self.config.mel.rate), folder / f"{piece.name}{name}.wav")
        judged = [self._judged(made, name) for name, made in sounds.items()]
        return {**{k: v for one in judged for k, v in one.items()}, **self._references}

    @torch.no_grad()
    def export(self, network: nn.Module, folder: Path) -> None:
        """As `vocoder/inverter/` of a checkpoint."""
        inverter = copy.deepcopy(_inverter(network)).to("cpu").half().eval()
        inverter.save_pretrained(folder)

    def _judged(self, made: Sequence[Tensor], name: str) -> dict[str, float]:
        """Distances of sounds that stand for the judged pieces."""
        mel = self.config.mel
        spectral = SpectralLoss(mel.rate)
        pairs = list(zip(self._pieces, made, strict=True))
        terms = [spectral(piece.sound[None], sound[None]) for piece, sound in pairs]
        heard = [float((log_mel_of(sound, mel) - piece.mel).abs().mean()) for piece, sound in pairs]
        return {
            **{f"{key}{name}": float(np.mean([term[key] for term in terms])) for key in terms[0]},
            f"log-mel{name}": float(np.mean(heard)),
            f"melody{name}": melody_kept(self._pieces, made, mel.rate),
        }

    @cached_property
    def _pieces(self) -> list[Piece]:
        frames, count = self.config.judged_frames, self.config.judged
        return pieces_with_tune(self._data, self.config.mel, count, frames)

    @cached_property
    def _references(self) -> dict[str, float]:
        """The music itself, and what can be had without learning."""
        mel = self.config.mel
        made = [griffin_lim(piece.mel, mel) for piece in self._pieces]
        music = melody_kept(self._pieces, [piece.sound for piece in self._pieces], mel.rate)
        return {**self._judged(made, " of Griffin-Lim"), "melody of the music": music}


def task(
    config: InverterConfig, data: Path, start: Path | None = None, vae: Path | None = None
) -> InverterTask:
    """What the loop trains: see `InverterTask`."""
    return InverterTask(config, data, start, vae)


def new_inverter(config: InverterConfig) -> MelInverter:
    """An inverter that gives the plain answer."""
    mel = config.mel
    inverter: MelInverter = MelInverter(
        rate=mel.rate,
        hop=mel.hop,
        bins=mel.bins,
        n_fft=mel.n_fft,
        fmin=mel.fmin,
        fmax=mel.fmax,
        channels=config.channels,
        kernel=config.kernel,
        dilations=config.dilations,
    )
    return inverter


def _inverter(network: nn.Module) -> MelInverter:
    return cast(MelInverter, network.inverter)
