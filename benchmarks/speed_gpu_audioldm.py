"""AudioLDM's rows of `speed_gpu.py`: diffusers' pipeline and our sampling on the same networks.

Both sound through the pipeline's VAE and vocoder in bfloat16, which the app keeps in float32: what
differs is the sampling.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from diffusers import AudioLDMPipeline, AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from speed_musicgen import Work, alternating
from transformers import (
    ClapTextConfig,
    ClapTextModelWithProjection,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from voice2music.engines.audioldm.engine import STEPS
from voice2music.engines.audioldm.replaying import Replayed
from voice2music.engines.audioldm.sampling import Branch, denoised, scheduler_for, times

if TYPE_CHECKING:
    from speed_gpu import Setting

DDIM = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear",
        "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}  # fmt: skip
CLAP = 512
FEW, MANY = 5, 25  # steps; one step is the time between


def pipeline(setting: "Setting") -> AudioLDMPipeline:
    """diffusers' own, whose text encoder costs nothing."""
    attentive = ("CrossAttn{}Block2D",) * 3
    unet = UNet2DConditionModel(
        in_channels=8, out_channels=8, block_out_channels=setting.unet,
        down_block_types=("DownBlock2D", *(kind.format("Down") for kind in attentive)),
        up_block_types=(*(kind.format("Up") for kind in attentive), "UpBlock2D"),
        cross_attention_dim=setting.unet, class_embed_type="simple_projection",
        class_embeddings_concat=True, projection_class_embeddings_input_dim=CLAP,
    )  # fmt: skip
    vae = AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=8, block_out_channels=setting.vae,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
    )  # fmt: skip
    vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(
        model_in_dim=64, sampling_rate=16_000, upsample_initial_channel=setting.vocoder,
        upsample_rates=[5, 4, 2, 2, 2], upsample_kernel_sizes=[16, 16, 8, 4, 4],
        normalize_before=False,
    ))  # fmt: skip
    words = ClapTextModelWithProjection(
        ClapTextConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    )
    made = AudioLDMPipeline(vae, words, None, unet, DDIMScheduler(**DDIM), vocoder)
    made.set_progress_bar_config(disable=True)
    for model in (unet, vae, vocoder):
        model.eval()
    return made.to(setting.device, torch.bfloat16)


class Latent:
    """diffusers' pipeline, and our sampling on its networks."""

    def __init__(self, setting: "Setting") -> None:
        self.setting, self.pipeline = setting, pipeline(setting)
        self.unet = Replayed(self.pipeline.unet, graph=setting.device == "cuda")
        self.clap = torch.randn(2, CLAP, device=setting.device).bfloat16()

    def theirs(self, steps: int) -> None:
        """A whole take of theirs."""
        self.pipeline(
            prompt_embeds=self.clap[:1], negative_prompt_embeds=self.clap[1:],
            audio_length_in_s=self.setting.seconds, num_inference_steps=steps,
            guidance_scale=2.5,
        )  # fmt: skip
        self.setting.done()

    @torch.inference_mode()
    def ours(self, steps: int) -> int:
        """A whole take of ours; gives the steps that it took."""
        config, frames = self.pipeline.scheduler.config, round(self.setting.seconds * 25)
        noise = torch.randn(8, frames, 16, device=self.setting.device)
        none = noise[:0]
        both = [Branch(2.5, self.clap[0], none), Branch(-1.5, self.clap[1], none)]
        latents = denoised(
            self.unet, scheduler_for(config, "dpm++"), noise, both, frames, steps,
            None, 1.0, lambda share: None,
        )  # fmt: skip
        mel = self.pipeline.decode_latents(latents[None].to(self.clap))
        self.pipeline.mel_spectrogram_to_waveform(mel)
        self.setting.done()
        return len(times(scheduler_for(config, "dpm++"), steps, 1.0))


def cells(setting: "Setting") -> list[str]:
    """A step, and a whole take."""
    latent = Latent(setting)
    kinds: dict[str, Callable[[int], object]] = {"theirs": latent.theirs, "ours": latent.ours}
    works: dict[str, Work] = {
        f"{name} {steps}": lambda one=one, steps=steps: one(steps)
        for name, one in kinds.items() for steps in (FEW, MANY)
    } | {"theirs": lambda: latent.theirs(200), "ours": lambda: latent.ours(STEPS)}  # fmt: skip
    took = alternating(works)
    between = latent.ours(MANY) - latent.ours(FEW)
    theirs = (took[f"theirs {MANY}"] - took[f"theirs {FEW}"]) / (MANY - FEW)
    ours = (took[f"ours {MANY}"] - took[f"ours {FEW}"]) / between
    return [
        f"{1e3 * ours:.1f} ms, theirs {1e3 * theirs:.1f} ms: {theirs / ours:.2f} ×",
        f"{took['ours']:.2f} s at {STEPS} steps, theirs {took['theirs']:.2f} s: "
        f"{took['theirs'] / took['ours']:.1f} ×",
    ]
