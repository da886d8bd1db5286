"""AudioLDM's VAE: log-mel to a latent of a quarter of its frames and bins, and back."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from voice2music.clip import write
from voice2music.engines.audioldm.reading import diffusers_model
from voice2music.engines.spectrogram import MelSettings
from voice2music.training.crops import MINI_MEL, Crops, Piece, pieces_with_tune
from voice2music.training.sounding import clip, griffin_lim, melody_kept

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@dataclass(frozen=True)
class VaeConfig:
    """Sizes of the VAE and how it learns.

    Args:
        mel: what it sees; the vocoder must see the same.
        channels: of the three levels, each half as fine as the one before.
        layers: residual blocks a level.
        latent_channels: of the latent.
        groups: of the group norms.
        frames: lengths of the crops in mel frames, drawn with equal chance; multiples of 4. Short
            ones are many to a batch, long ones few, and group norm sees them all, as it will be
            used on whole windows.
        batch_frames: mel frames in a batch.
        quieter: most dB that a crop is taken down.
        edges: weight of the differences between neighbouring bins and frames: pitch lies in them,
            and a plain distance rewards blur.
        kl: weight of the divergence from a unit Gaussian, per latent value.
        judged: held-out pieces, of `judged_frames` each.
    """

    mel: MelSettings = field(default=MINI_MEL)
    channels: tuple[int, int, int] = (16, 48, 112)
    layers: int = 1
    latent_channels: int = 8
    groups: int = 8
    frames: tuple[int, ...] = (64, 128, 256)
    batch_frames: int = 256
    quieter: float = 10.0
    edges: float = 0.5
    kl: float = 4e-3
    judged: int = 6
    judged_frames: int = 640


class VaeTraining(nn.Module):
    """The VAE with its losses.

    Args:
        vae: AutoencoderKL.
        config: weights of the losses.
    """

    def __init__(self, vae: "AutoencoderKL", config: VaeConfig) -> None:
        super().__init__()
        self.vae, self._config = vae, config

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            batch: "mel", shape (B, frames, bins), and unit Gaussian "noise" of the latent's shape.
        """
        mel = batch["mel"][:, None]
        latent = self.vae.encode(mel).latent_dist
        made = self.vae.decode(latent.mean + latent.std * batch["noise"]).sample.float()
        distance = functional.l1_loss(made, mel)
        edges = edge_distance(made, mel)
        # Per value, so that the weight means the same for every crop and latent size.
        divergence = latent.kl().float().sum() / latent.mean.numel()
        loss = distance + self._config.edges * edges + self._config.kl * divergence
        return {"loss": loss, "mel": distance, "edges": edges, "kl": divergence}


def edge_distance(made: Tensor, mel: Tensor) -> Tensor:
    """Mean distance of the differences between neighbouring bins, and frames, (..., T, F)."""
    error = made - mel
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


class VaeTask:
    """See `voice2music.training.task.Task`.

    Args:
        config: sizes and weights.
        data: folder of pairs.
        start: an exported `vae/` folder to go on from.
    """

    rival: None = None

    def __init__(self, config: VaeConfig, data: Path, start: Path | None = None) -> None:
        self.config, self._data = config, data
        self._crops = Crops(data, "train", config.mel, config.quieter)
        if start is None:
            vae = _scaled_to_data(new_vae(config), self._measured(32))
        else:
            vae = diffusers_model("AutoencoderKL", start, torch.float32)
        self.network: nn.Module = VaeTraining(vae.train(), config)

    def batch(self, chance: np.random.Generator) -> dict[str, Tensor]:
        """Crops of one length: "mel", shape (B, frames, bins), and "noise" for the latent."""
        frames = int(chance.choice(self.config.frames))
        _, mel = self._crops.draw(chance, max(1, self.config.batch_frames // frames), frames)
        shape = (len(mel), self.config.latent_channels, frames // 4, self.config.mel.bins // 4)
        return {"mel": mel, "noise": torch.from_numpy(chance.standard_normal(shape, np.float32))}

    @torch.no_grad()
    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Distances on held-out pieces, and the melody that is left in them."""
        vae, mel = _vae(network), self.config.mel
        pieces = self._pieces
        made = [rebuilt(vae, piece.mel[None])[0] for piece in pieces]
        sounds = [griffin_lim(one, mel) for one in made]
        for piece, sound in list(zip(pieces, sounds, strict=True))[:2]:
            write(clip(sound, mel.rate), folder / f"{piece.name}.vae.wav")
            write(clip(griffin_lim(piece.mel, mel), mel.rate), folder / f"{piece.name}.mel.wav")
        both = [(one, piece.mel) for one, piece in zip(made, pieces, strict=True)]
        return {
            "mel": float(np.mean([functional.l1_loss(a, b) for a, b in both])),
            "edges": float(np.mean([edge_distance(a, b) for a, b in both])),
            "melody": melody_kept(pieces, sounds, mel.rate),
            **self._references,
        }

    @torch.no_grad()
    def export(self, network: nn.Module, folder: Path) -> None:
        """As `vae/` of a checkpoint, its latents around zero with a scaling factor of 1 / std."""
        vae = copy.deepcopy(_vae(network)).to("cpu").eval()
        measured = torch.cat([vae.encode(mel[:, None]).latent_dist.mode() for mel in self._many()])
        _centre(vae, measured.mean(dim=(0, 2, 3)))
        spread = float((measured - measured.mean(dim=(0, 2, 3), keepdim=True)).std())
        vae.register_to_config(scaling_factor=round(1 / spread, 5))
        vae.half().save_pretrained(folder)

    @cached_property
    def _pieces(self) -> list[Piece]:
        frames, count = self.config.judged_frames, self.config.judged
        return pieces_with_tune(self._data, self.config.mel, count, frames)

    @cached_property
    def _references(self) -> dict[str, float]:
        """What the music itself has, and what its log-mel leaves."""
        pieces, mel = self._pieces, self.config.mel
        without_vae = [griffin_lim(piece.mel, mel) for piece in pieces]
        return {
            "melody of the mel": melody_kept(pieces, without_vae, mel.rate),
            "melody of the music": melody_kept(pieces, [p.sound for p in pieces], mel.rate),
        }

    def _many(self) -> list[Tensor]:
        chance = np.random.default_rng(0)
        return [self._crops.draw(chance, 4, max(self.config.frames))[1] for _ in range(32)]

    def _measured(self, count: int) -> Tensor:
        """Log-mels, to see their mean and spread."""
        chance = np.random.default_rng(0)
        return self._crops.draw(chance, count, max(self.config.frames))[1]


def task(config: VaeConfig, data: Path, start: Path | None = None) -> VaeTask:
    """What the loop trains: see `VaeTask`."""
    return VaeTask(config, data, start)


def new_vae(config: VaeConfig) -> "AutoencoderKL":
    """A VAE of random weights. No attention: it must hold on windows of any length."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        latent_channels=config.latent_channels,
        norm_num_groups=config.groups,
        mid_block_add_attention=False,
        sample_size=config.mel.bins,
        scaling_factor=1.0,
    )


@torch.no_grad()
def rebuilt(vae: "AutoencoderKL", mel: Tensor) -> Tensor:
    """Log-mels through the latent and back, both (B, frames, bins)."""
    made: Tensor = vae.decode(vae.encode(mel[:, None]).latent_dist.mode()).sample[:, 0]
    return made


def _vae(network: nn.Module) -> "AutoencoderKL":
    vae: AutoencoderKL = network.vae
    return vae


@torch.no_grad()
def _scaled_to_data(vae: "AutoencoderKL", mel: Tensor) -> "AutoencoderKL":
    """Let the first layer take, and the last one give, values of the log-mel's mean and spread."""
    mean, spread = float(mel.mean()), float(mel.std())
    into, out = vae.encoder.conv_in, vae.decoder.conv_out
    into.bias -= into.weight.sum(dim=(1, 2, 3)) * mean / spread
    into.weight /= spread
    out.weight *= spread
    out.bias.mul_(spread).add_(mean)
    return vae


@torch.no_grad()
def _centre(vae: "AutoencoderKL", mean: Tensor) -> None:
    """Move the latents by -mean, exactly: the layers next to them take it up."""
    vae.quant_conv.bias[: len(mean)] -= mean
    out = vae.post_quant_conv
    out.bias += out.weight[:, :, 0, 0] @ mean
