"""A codec of spectra, from which the codec of waveforms learns its tokens.

From waveforms alone, tokens that keep a tune take days of training: the decoder does not know yet
what a latent means, and the encoder what the decoder needs. Between log-mels and latents it takes
minutes. So the codebooks are learned here; the codec's decoder then learns to sound what they say,
and its encoder to find in a waveform the latents that are found here in its log-mel.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import EncodecModel

from voice2music.clip import write
from voice2music.engines.spectrogram import MelSettings, log_mel_of
from voice2music.training.codec import CodecConfig, codebook_use, new_codec
from voice2music.training.crops import Crops, Piece, pieces_with_tune
from voice2music.training.quantiser import CodebookTraining
from voice2music.training.sounding import clip, griffin_lim, melody_kept
from voice2music.training.vae import edge_distance

FOLDER, WEIGHTS, SIZES = "teacher", "model.safetensors", "config.json"
STEP = 4  # log-mel frames per token frame
LEVEL, SPREAD = -3.0, 2.5  # of log-mels, about: the network sees them near 0 ± 1


@dataclass(frozen=True)
class TeacherConfig:
    """Sizes of the teacher.

    Args:
        codec: whose codebooks are learned; its hop is `STEP` log-mel frames.
        bins: mel bands; floor: magnitudes below it are not heard.
        channels, dilations: of the convolutions on either side.
        batch, seconds: crops per step, and their length.
        edges: weight of the differences between neighbours, see `VaeConfig`.
        judged, judged_seconds: held-out pieces at a validation.
    """

    codec: CodecConfig = field(default_factory=CodecConfig)
    bins: int = 128
    floor: float = 1e-3
    channels: int = 256
    dilations: tuple[int, ...] = (1, 3, 9)
    batch: int = 16
    seconds: float = 2.56
    edges: float = 0.5
    judged: int = 4
    judged_seconds: float = 5.12

    @property
    def mel(self) -> MelSettings:
        """The log-mel."""
        hop = self.codec.hop // STEP
        return MelSettings(rate=self.codec.rate, hop=hop, bins=self.bins, floor=self.floor)


class Teacher(nn.Module):
    """Log-mels to latents and back."""

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.config = config
        width, channels = config.codec.width, config.channels
        self.encoder = nn.Sequential(
            nn.Conv1d(config.bins, channels, 5, padding=2),
            *(_Block(channels, dilation) for dilation in config.dilations),
            nn.Conv1d(channels, channels, 2 * STEP, STEP, STEP // 2),
            *(_Block(channels, dilation) for dilation in config.dilations[:2]),
            nn.Conv1d(channels, width, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(width, channels, 3, padding=1),
            *(_Block(channels, dilation) for dilation in config.dilations[:2]),
            nn.ConvTranspose1d(channels, channels, 2 * STEP, STEP, STEP // 2),
            *(_Block(channels, dilation) for dilation in config.dilations),
            nn.Conv1d(channels, config.bins, 1),
        )

    def heard(self, samples: Tensor) -> Tensor:
        """Log-mel (batch, bins, frames) of samples (batch, n), n a multiple of the codec's hop."""
        with torch.autocast(samples.device.type, enabled=False):
            return ((log_mel_of(samples.float(), self.config.mel) - LEVEL) / SPREAD).mT

    def latents(self, samples: Tensor) -> Tensor:
        """Latents (batch, width, frames) of samples (batch, n)."""
        latents: Tensor = self.encoder(self.heard(samples))
        return latents.float()

    def mel(self, latents: Tensor) -> Tensor:
        """Natural-log mel (batch, frames, bins) of latents."""
        made: Tensor = self.decoder(latents)
        return made.mT.float() * SPREAD + LEVEL


class _Block(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.wide = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.mixed = nn.Conv1d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.mixed(functional.gelu(self.wide(functional.gelu(hidden))))
        result: Tensor = hidden + inner
        return result


class TeacherNetwork(nn.Module):
    """The teacher and the codec whose codebooks it learns, with the losses."""

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.config, self.teacher = config, Teacher(config)
        self.codec = new_codec(config.codec)
        for part in (self.codec.encoder, self.codec.decoder):
            part.requires_grad_(False)
        given = config.codec
        self.codebooks = CodebookTraining(
            given.width, given.warm_up, given.pool, given.decay, given.dropout
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of "real" (batch, samples)."""
        heard = self.teacher.heard(batch["real"])
        latents = self.teacher.encoder(heard).float()
        with torch.autocast(latents.device.type, enabled=False):
            quantised = self.codebooks(self.codec.quantizer, latents, int(batch["seed"]))
        made = self.teacher.decoder(quantised.latents).float()
        distance = SPREAD * functional.l1_loss(made, heard)
        edges = SPREAD * edge_distance(made.mT, heard.mT)
        commitment = self.config.codec.commitment * quantised.commitment
        loss = distance + self.config.edges * edges + commitment
        return {
            "loss": loss,
            "mel": distance,
            "edges": edges,
            "commitment": quantised.commitment,
            "perplexity": quantised.perplexity,
        }


class TeacherTask:
    """See `voice2music.training.task.Task`.

    Args:
        config: sizes.
        data: folder of pairs.
    """

    rival: None = None

    def __init__(self, config: TeacherConfig, data: Path) -> None:
        self.config, self._data = config, data
        self._crops = Crops(data, "train", config.mel, 10.0)
        self.network: nn.Module = TeacherNetwork(config)

    def batch(self, chance: np.random.Generator) -> dict[str, Any]:
        """Crops of music, (batch, samples)."""
        hop = self.config.codec.hop
        frames = STEP * round(self.config.seconds * self.config.codec.rate / hop)
        real, _ = self._crops.draw(chance, self.config.batch, frames)
        return {"real": real, "seed": np.int64(chance.integers(2**31))}

    @torch.no_grad()
    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """What the tokens keep of log-mels and of the tune (phases by rounds)."""
        frames = round(self.config.judged_seconds * self.config.mel.rate / self.config.mel.hop)
        pieces = pieces_with_tune(
            self._data, self.config.mel, self.config.judged, frames // STEP * STEP
        )
        return judged(network, pieces, self.config, folder)

    def export(self, network: nn.Module, folder: Path) -> None:
        """The codec with its codebooks, and the teacher beside it."""
        trained: Any = network  # a module of modules, whatever it is wrapped in
        trained.codec.eval().save_pretrained(folder)
        (folder / FOLDER).mkdir(exist_ok=True)
        save_file(trained.teacher.state_dict(), folder / FOLDER / WEIGHTS)
        (folder / FOLDER / SIZES).write_text(json.dumps(asdict(self.config), indent=2) + "\n")


def judged(
    network: Any,  # noqa: ANN401
    pieces: list[Piece],
    config: TeacherConfig,
    folder: Path,
) -> dict[str, float]:
    """Distance of log-mels, use of the books, melody kept by log-mel, latents and tokens."""
    sounds = [piece.sound for piece in pieces]
    latents = [network.teacher.latents(sound[None]) for sound in sounds]
    codes = [network.codec.quantizer.encode(each) for each in latents]  # (books, 1, frames)
    mels = {
        "mel": [log_mel_of(sound, config.mel) for sound in sounds],
        "latents": [network.teacher.mel(each)[0] for each in latents],
        "tokens": [network.teacher.mel(network.codec.quantizer.decode(c))[0] for c in codes],
    }
    pairs = zip(mels["tokens"], mels["mel"], strict=True)
    out = {"distance": float(np.mean([float((a - b).abs().mean()) for a, b in pairs]))}
    out["melody of the music"] = melody_kept(pieces, sounds, config.codec.rate)
    for name, each in mels.items():
        made = [griffin_lim(mel, config.mel) for mel in each]
        out[f"melody of the {name}"] = melody_kept(pieces, made, config.codec.rate)
    write(clip(made[0], config.codec.rate), folder / "tokens.wav")
    return out | codebook_use(torch.cat(codes, dim=2)[:, 0].numpy(), config.codec.entries)


def load_teacher(folder: Path) -> tuple[Teacher, EncodecModel]:
    """The teacher, and the codec with its codebooks, that `TeacherTask.export` wrote."""
    sizes = json.loads((folder / FOLDER / SIZES).read_text("utf-8"))
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()}
    codec: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in given.pop("codec").items()
    }
    teacher = Teacher(TeacherConfig(codec=CodecConfig(**codec), **given))
    teacher.load_state_dict(load_file(folder / FOLDER / WEIGHTS))
    return teacher.eval(), EncodecModel.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32
    )


def task(config: TeacherConfig, data: Path) -> TeacherTask:
    """See `TeacherTask`."""
    return TeacherTask(config, data)
