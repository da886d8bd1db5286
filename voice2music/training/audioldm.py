"""mini-audioldm's UNet: latents out of noise, given words, a voice and a tune.

It learns as it will be used: words as CLAP's text tower reads them, the voice as CLAP's audio tower
hears it, the tune as the app's own hearing made it. Each is left out now and then, alone and
together, for guidance and so that none is needed. The network predicts v (Salimans and Ho, 2022),
which has about the same size at every noise level.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voice2music.engines.audioldm.layout import Layout
from voice2music.engines.audioldm.melody import MelodyRows
from voice2music.engines.audioldm.reading import diffusers_model
from voice2music.engines.spectrogram import MelSettings
from voice2music.training.assembly import Sources, assembled
from voice2music.training.audioldm_judge import Judge, losses_by_noise
from voice2music.training.crops import MINI_MEL
from voice2music.training.latents import ALIGN, Cached

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, UNet2DConditionModel

Chance = np.random.Generator
CONFIG = "training.json"


@dataclass(frozen=True)
class Config:
    """Sizes of the UNet and how it learns.

    Args:
        channels: of the levels; attention is at the last one.
        layers: residual blocks a level.
        groups: of the group norms; heads: channels of an attention head.
        clap: size of CLAP's vectors.
        latent_channels: of the VAE.
        rows: of the tune.
        mel: of the VAE and vocoder.
        frames: lengths of the crops in latent frames, drawn with equal chance; multiples of 4.
        batch_frames: latent frames in a batch.
        window_seconds: longest that is made at once.
        guidance: scale that goes with the checkpoint.
        nothing, words_only, tune_only: shares of a batch for which all is left out, or all but
            the words, or all but tune and voice.
        no_voice: share of the rest for which the voice's sound is left out.
        no_plan: share of those with words or tune that are given no beats and chords.
        music_share: share of words that are replaced by CLAP of the music itself.
        snr: the loss' weight is cut where signal to noise exceeds it (min-SNR; Hang et al., 2023);
            0 weights all noise levels alike.
        noisier: power of the uniform share of diffusion time; below 1, more steps are spent on high
            noise, where tune and genre are decided.
        judged: held-out pieces to make at validation; steps: to make them in.
    """

    channels: tuple[int, ...] = (64, 96, 160)
    layers: int = 1
    groups: int = 16
    heads: int = 32
    clap: int = 128
    latent_channels: int = 8
    rows: MelodyRows = field(default=MelodyRows(lines=4, plan=True))
    mel: MelSettings = field(default=MINI_MEL)
    frames: tuple[int, ...] = (80, 80, 80, 160)
    batch_frames: int = 640
    window_seconds: float = 10.24
    guidance: float = 1.75
    nothing: float = 0.1
    words_only: float = 0.1
    tune_only: float = 0.05
    no_voice: float = 0.4
    no_plan: float = 0.15
    music_share: float = 0.2
    snr: float = 0.0
    noisier: float = 0.75
    judged: int = 5
    steps: int = 14

    @property
    def layout(self) -> Layout:
        """What the engine must know."""
        return Layout(
            window_seconds=self.window_seconds,
            clap="concatenated",
            melody=self.rows,
            guidance=self.guidance,
            n_fft=self.mel.n_fft,
            fmin=self.mel.fmin,
            fmax=self.mel.fmax,
        )


def network_of(config: Config) -> "UNet2DConditionModel":
    """A UNet of random weights. Words and voice scale and shift every block's features (FiLM)."""
    from diffusers import UNet2DConditionModel

    levels = len(config.channels)
    unet = UNet2DConditionModel(
        sample_size=config.mel.bins // ALIGN,
        in_channels=config.latent_channels + config.rows.channels,
        out_channels=config.latent_channels,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        norm_num_groups=config.groups,
        cross_attention_dim=config.channels,
        attention_head_dim=config.heads,
        class_embed_type="simple_projection",
        class_embeddings_concat=True,
        projection_class_embeddings_input_dim=2 * config.clap,
        resnet_time_scale_shift="scale_shift",
    )
    with torch.no_grad():
        # CLAP's vectors have length 1: each of their values is small.
        unet.class_embedding.weight.mul_(config.clap**0.5)
        unet.conv_out.weight.zero_()
        unet.conv_out.bias.zero_()
    return unet


@torch.no_grad()
def with_inputs_of(config: Config, unet: "UNet2DConditionModel") -> "UNet2DConditionModel":
    """The UNet, with the further inputs of `config`, if any; at first they change nothing."""
    have, want = unet.config.in_channels, config.latent_channels + config.rows.channels
    if have >= want:
        return unet
    wider = network_of(config)
    weights = unet.state_dict()
    known = weights["conv_in.weight"]
    weights["conv_in.weight"] = functional.pad(known, (0, 0, 0, 0, 0, want - have))
    wider.load_state_dict(weights)
    return wider


def scheduler_of() -> "DDIMScheduler":
    """AudioLDM's noise schedule, with v as what is predicted."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


class Denoiser(nn.Module):
    """The UNet with its loss.

    Args:
        unet: UNet2DConditionModel.
        snr: see `Config`.
    """

    signal: Tensor

    def __init__(self, unet: "UNet2DConditionModel", snr: float = 0.0) -> None:
        super().__init__()
        self.unet, self.snr = unet, snr
        signal = scheduler_of().alphas_cumprod
        self.register_buffer("signal", signal, persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared error of v.

        Args:
            batch: "latent" and unit Gaussian "noise" (B, C, T, F), "time" (B,), "clap" (B, 2 size),
                "tune" (B, rows, T, F).
        """
        error = self.errors(batch)
        high = batch["time"] >= 500
        out = {"loss": (error * self._weight(batch["time"])).mean()}
        for name, part in (("high noise", high), ("low noise", ~high)):
            if bool(part.any()):
                out[name] = error[part].mean()
        return out

    def errors(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error of v for each row, shape (B,)."""
        share = self.signal[batch["time"]][:, None, None, None]
        clean, noise = batch["latent"].float(), batch["noise"]
        noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
        wanted = share.sqrt() * noise - (1 - share).sqrt() * clean
        v: Tensor = self.unet(
            torch.cat([noisy, batch["tune"]], dim=1),
            batch["time"],
            encoder_hidden_states=None,
            class_labels=batch["clap"],
        ).sample
        return (v.float() - wanted).square().mean(dim=(1, 2, 3))

    def _weight(self, time: Tensor) -> Tensor:
        if not self.snr:
            return torch.ones_like(self.signal[time])
        ratio = self.signal[time] / (1 - self.signal[time])
        return ratio.clamp(max=self.snr) / (ratio + 1)


class AudioLdmTask:
    """See `voice2music.training.task.Task`.

    Args:
        config: sizes and habits.
        unet: to be trained.
        train, valid: cached splits.
        sources: folders of the other networks.
    """

    rival: None = None

    def __init__(
        self,
        config: Config,
        unet: "UNet2DConditionModel",
        train: Cached,
        valid: Cached,
        sources: Sources,
    ) -> None:
        self.config, self._train, self._valid, self._sources = config, train, valid, sources
        self.network: nn.Module = Denoiser(unet, config.snr)
        self._judge = Judge(valid.pairs, sources, config.layout, config.mel, config.judged)

    def batch(self, chance: Chance) -> dict[str, Any]:
        """Crops of one length with what is known of them."""
        frames = int(chance.choice(self.config.frames))
        count = max(1, self.config.batch_frames // frames)
        return drawn(self._train, self.config, frames, count, chance)

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Losses by noise level with and without the right tune; takes that are listened to."""
        assert isinstance(network, Denoiser)
        chance = np.random.default_rng(0)
        held_out = drawn(self._valid, self.config, min(self.config.frames), 16, chance, drop=False)
        tensors = {key: torch.as_tensor(value) for key, value in held_out.items()}
        out = losses_by_noise(network.errors, tensors)
        schedule = scheduler_of().config
        return out | self._judge.followed(network.unet, schedule, self.config.steps, folder)

    def export(self, network: nn.Module, folder: Path) -> None:
        """The whole checkpoint."""
        assert isinstance(network, Denoiser)
        assembled(network.unet, scheduler_of(), self.config.layout, self._sources, folder)
        (folder / "unet" / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n")


def task(
    config: Config,
    data: Path,
    sources: Sources,
    start: Path | None = None,
    cache: Path | None = None,
) -> AudioLdmTask:
    """What the loop trains.

    Args:
        config: sizes; with `start` they must be that UNet's.
        data: folder of pairs.
        sources: exported folders of VAE and CLAP; the vocoder may come later.
        start: an exported `unet/` folder to go on from; inputs that it does not know begin at zero.
        cache: folder for latents and vectors; None is `cache` inside `data`.
    """
    kept = cache or data / "cache"
    train, valid = (
        Cached(data, split, sources.vae, sources.clap, config.mel, config.rows, kept)
        for split in ("train", "valid")
    )
    if start is None:
        unet = network_of(config)
    else:
        unet = with_inputs_of(config, diffusers_model("UNet2DConditionModel", start, torch.float32))
    return AudioLdmTask(config, unet.train(), train, valid, sources)


def drawn(
    cached: Cached,
    config: Config,
    frames: int,
    count: int,
    chance: Chance,
    drop: bool = True,
) -> dict[str, NDArray[Any]]:
    """Crops of `frames` latent frames with noise, times and conditions, as `Denoiser` takes them.

    Args:
        cached: a split.
        config: how often conditions are left out.
        frames, count: length and number.
        drop: leave conditions out at all.
    """
    lengths = np.where(cached.lengths >= frames, cached.lengths, 0)
    chosen = chance.choice(len(cached), count, p=lengths / lengths.sum())
    rows = [_row(cached, config, int(i), frames, chance, drop) for i in chosen]
    latents = np.stack([row[0] for row in rows])
    # One time from every equal part of the schedule: every step sees all noise levels.
    times = ((np.arange(count) + chance.random(count)) / count) ** config.noisier * 1000
    return {
        "latent": latents,
        "noise": chance.standard_normal(latents.shape, np.float32),
        "time": chance.permutation(np.minimum(times.astype(np.int64), 999)),
        "tune": np.stack([row[1] for row in rows]),
        "clap": np.stack([row[2] for row in rows]),
    }


def _row(
    cached: Cached, config: Config, index: int, frames: int, chance: Chance, drop: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Latents, tune and CLAP vector of one crop."""
    first = int(chance.integers(cached.frames(index) - frames + 1))
    tune = cached.tune(index, first, frames)
    if drop and chance.random() < config.music_share:
        words = cached.music(index)
    else:
        words = cached.words(index, chance)
    voice = cached.voice(index)
    if drop:
        tune, words, voice = _left_out(tune, words, voice, config, chance)
    return cached.latent(index, first, frames), tune, np.concatenate([words, voice])


def _left_out(
    tune: NDArray[np.float32],
    words: NDArray[np.float32],
    voice: NDArray[np.float32],
    config: Config,
    chance: Chance,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Some of it as zeros, which is what the engine gives for what it is not given."""
    case = chance.random()
    if case < config.nothing:
        return 0 * tune, 0 * words, 0 * voice
    if chance.random() < config.no_plan:
        tune[config.rows.tune :] = 0
    if case < config.nothing + config.words_only:
        tune[: config.rows.tune] = 0
        return tune, words, 0 * voice
    if case < config.nothing + config.words_only + config.tune_only:
        return tune, 0 * words, 0 * voice
    return tune, words, 0 * voice if chance.random() < config.no_voice else voice
