"""AudioLDM's vocoder: log-mel to sound, a HiFi-GAN taught by spectra first and by rivals later."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from voice2music.clip import write
from voice2music.engines.audioldm.reading import diffusers_model, transformers_model
from voice2music.engines.audioldm.vocoding import waveform
from voice2music.engines.spectrogram import MelSettings, log_mel_of
from voice2music.training.crops import MINI_MEL, Crops, Piece, pieces_with_tune
from voice2music.training.rivals import SpectrumRivals
from voice2music.training.sounding import clip, griffin_lim, melody_kept
from voice2music.training.spectral import SpectralLoss
from voice2music.training.vae import rebuilt

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan

SLOPE = 0.1  # of the leaky rectifiers below zero


@dataclass(frozen=True)
class VocoderConfig:
    """Sizes of the vocoder and how it learns.

    Args:
        mel: what it hears; the VAE must see the same.
        channels: after the first layer; halved by every stage.
        rates: of the stages, their product is the hop; a stage of rate 1 thinks at the rate that
            it is given.
        kernels: of the stages' transposed convolutions; as odd or even as the rate.
        block_kernels, dilations: of the residual blocks side by side in every stage.
        batch, frames: crops in a batch and their mel frames, a multiple of 4.
        margin: further frames that are heard but not judged, on either side.
        quieter: most dB that a crop is taken down.
        windows: of the spectral loss, samples.
        log, convergence: weights beside log-mel, which has 1.
        rebuilt: share of crops heard as the VAE leaves them, where there is a VAE.
        rival_channels: of the discriminators' first layers; 0 is none.
        judged: held-out pieces, of `judged_frames` each.
    """

    mel: MelSettings = field(default=MINI_MEL)
    channels: int = 512
    rates: tuple[int, ...] = (1, 4, 4, 4, 4)
    kernels: tuple[int, ...] = (3, 8, 8, 8, 8)
    block_kernels: tuple[int, ...] = (3,)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3),)
    batch: int = 4
    frames: int = 48
    margin: int = 4
    quieter: float = 10.0
    windows: tuple[int, ...] = (4096, 2048, 1024, 512, 256)
    log: float = 0.5
    convergence: float = 0.5
    rebuilt: float = 0.5
    rival_channels: int = 16
    judged: int = 6
    judged_frames: int = 640


class VocoderTraining(nn.Module):
    """The vocoder with its losses.

    Args:
        vocoder: SpeechT5HifiGan.
        config: weights of the losses.
    """

    def __init__(self, vocoder: "SpeechT5HifiGan", config: VocoderConfig) -> None:
        super().__init__()
        self.vocoder, self._config = vocoder, config
        self._spectral = SpectralLoss(config.mel.rate, config.windows)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of "mel" (B, margin + frames + margin, bins) against "real" (B, samples)."""
        config, real = self._config, batch["real"]
        edge = config.margin * config.mel.hop
        made = self.vocoder(batch["mel"]).float()[:, edge : edge + real.shape[1]]
        terms = self._spectral(real, made)
        loss = terms["mel"] + config.log * terms["log"] + config.convergence * terms["convergence"]
        return {"loss": loss, **terms, "real": real, "made": made}


class VocoderTask:
    """See `voice2music.training.task.Task`.

    Args:
        config: sizes and weights.
        data: folder of pairs.
        start: an exported `vocoder/` folder to go on from.
        vae: an exported `vae/` folder whose blur is to be forgiven.
    """

    def __init__(
        self,
        config: VocoderConfig,
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
            vocoder = new_vocoder(config)
            _hear_evenly(vocoder, self._crops.draw(np.random.default_rng(0), 32, 256)[1])
        else:
            vocoder = transformers_model("SpeechT5HifiGan", start)
        self.network: nn.Module = VocoderTraining(vocoder.train(), config)
        channels = config.rival_channels
        self.rival: nn.Module | None = SpectrumRivals(channels=channels) if channels else None

    def batch(self, chance: np.random.Generator) -> dict[str, Tensor]:
        """Crops: "mel", with its margins, and "real" (B, samples)."""
        config = self.config
        frames = config.frames + 2 * config.margin
        sound, mel = self._crops.draw(chance, config.batch, frames)
        if self._vae is not None:
            blurred = torch.from_numpy(chance.random(config.batch) < config.rebuilt)
            mel[blurred] = rebuilt(self._vae, mel[blurred]) if blurred.any() else mel[blurred]
        edge = config.margin * config.mel.hop
        return {"mel": mel, "real": sound[:, edge : edge + config.frames * config.mel.hop]}

    @torch.no_grad()
    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Distances between held-out pieces and what is made of their log-mels; melody kept."""
        vocoder = _vocoder(network)
        sounds = {"": [waveform(vocoder, piece.mel) for piece in self._pieces]}
        if self._vae is not None:
            mels = [rebuilt(self._vae, piece.mel[None])[0] for piece in self._pieces]
            sounds[" after the VAE"] = [waveform(vocoder, mel) for mel in mels]
        for name, made in sounds.items():
            for piece, sound in list(zip(self._pieces, made, strict=True))[:2]:
                write(clip(sound, self.config.mel.rate), folder / f"{piece.name}{name}.wav")
        judged = [self._judged(made, name) for name, made in sounds.items()]
        return {**{k: v for one in judged for k, v in one.items()}, **self._references}

    @torch.no_grad()
    def export(self, network: nn.Module, folder: Path) -> None:
        """As `vocoder/` of a checkpoint."""
        vocoder = copy.deepcopy(_vocoder(network)).to("cpu").half().eval()
        vocoder.save_pretrained(folder)

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
        """The music itself, and what can be had without a vocoder."""
        mel = self.config.mel
        made = [griffin_lim(piece.mel, mel) for piece in self._pieces]
        music = melody_kept(self._pieces, [piece.sound for piece in self._pieces], mel.rate)
        return {**self._judged(made, " of Griffin-Lim"), "melody of the music": music}


def task(
    config: VocoderConfig, data: Path, start: Path | None = None, vae: Path | None = None
) -> VocoderTask:
    """What the loop trains: see `VocoderTask`."""
    return VocoderTask(config, data, start, vae)


def new_vocoder(config: VocoderConfig) -> "SpeechT5HifiGan":
    """A vocoder of random weights that keep a signal's size from layer to layer.

    The class's own are so small that all sounds come out as silence, and stay so for long.

    Raises:
        ValueError: rates that do not make up the hop.
    """
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    if math.prod(config.rates) != config.mel.hop:
        raise ValueError(f"the product of rates {config.rates} is not the hop {config.mel.hop}")
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=config.mel.bins,
            sampling_rate=config.mel.rate,
            upsample_initial_channel=config.channels,
            upsample_rates=list(config.rates),
            upsample_kernel_sizes=list(config.kernels),
            resblock_kernel_sizes=list(config.block_kernels),
            resblock_dilation_sizes=[list(dilations) for dilations in config.dilations],
            leaky_relu_slope=SLOPE,
            normalize_before=True,
        )
    )
    _fill(vocoder)
    return vocoder


@torch.no_grad()
def _fill(vocoder: "SpeechT5HifiGan") -> None:
    """Weights that keep the spread; residual branches begin small."""
    gain = math.sqrt(2 / (1 + SLOPE**2))
    for name, layer in vocoder.named_modules():
        if isinstance(layer, nn.ConvTranspose1d):
            inputs = layer.in_channels * layer.kernel_size[0] / layer.stride[0]
        elif isinstance(layer, nn.Conv1d):
            inputs = layer.in_channels * layer.kernel_size[0]
        else:
            continue
        spread = gain / math.sqrt(inputs) * (0.3 if ".convs2." in name else 1.0)
        nn.init.normal_(layer.weight, std=spread)
        nn.init.zeros_(layer.bias)
    vocoder.conv_post.weight.mul_(0.1)


@torch.no_grad()
def _hear_evenly(vocoder: "SpeechT5HifiGan", mel: Tensor) -> None:
    """Set what is taken off every bin, and what it is divided by, from log-mels (B, T, bins)."""
    vocoder.mean.copy_(mel.mean(dim=(0, 1)))
    vocoder.scale.copy_(mel.std(dim=(0, 1)))


def _vocoder(network: nn.Module) -> "SpeechT5HifiGan":
    vocoder: SpeechT5HifiGan = network.vocoder
    return vocoder
