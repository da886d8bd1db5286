"""A tiny random AudioLDM in the real on-disk layout, as diffusers' own pipeline reads it."""

import json
from pathlib import Path
from typing import Literal

import torch
from diffusers import AudioLDMPipeline, AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import (
    ClapConfig,
    ClapModel,
    ClapTextModelWithProjection,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from voice2music.engines.audioldm.clap import AudioFeatures, whole
from voice2music.engines.audioldm.layout import Fusion, Layout
from voice2music.engines.audioldm.melody import MelodyRows

CLAP_SIZE = 32
# The tiny tower folds 16 mel bands into a square of 64, so 10 s must fit into 256 frames.
FEATURES = AudioFeatures(hop=1920, bins=16)


def build_tiny_audioldm(
    folder: Path,
    *,
    melody: bool = False,
    audio_tower: Literal["own", "mismatched", "none"] = "own",
    clap: Fusion = "weighted",
    film: bool = False,
    window_seconds: float = 10.24,
    seed: int = 0,
) -> Path:
    """Write a whole checkpoint of random weights (about 1 MB) and give its folder back."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = tiny_clap()
        rows = MelodyRows() if melody else None
        pipeline = AudioLDMPipeline(
            vae=tiny_vae(),
            text_encoder=_text_tower(tower),
            tokenizer=tiny_tokenizer(),
            unet=tiny_unet(rows, clap, film),
            scheduler=DDIMScheduler(
                beta_start=0.0015,
                beta_end=0.0195,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            vocoder=tiny_vocoder(),
        )
        other = tiny_clap()
    pipeline.save_pretrained(folder)
    Layout(window_seconds=window_seconds, clap=clap, melody=rows).write(folder)
    if audio_tower != "none":
        chosen = tower if audio_tower == "own" else other
        whole(chosen, pipeline.tokenizer, FEATURES).save(folder / "audio_tower")
    return folder


def tiny_tokenizer() -> RobertaTokenizer:
    """Bytes only, no merges."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab = {token: i for i, token in enumerate([*specials, *bytes_to_unicode().values()])}
    return RobertaTokenizer(vocab=vocab, merges=[], model_max_length=512)


def tiny_clap() -> ClapModel:
    """Both towers; RoBERTa's heads are 64 wide at every size, so the smallest has one."""
    config = ClapConfig(
        text_config={
            "vocab_size": 261,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "intermediate_size": 64,
            "max_position_embeddings": 514,
        },
        audio_config={
            "spec_size": 64,
            "num_mel_bins": 16,
            "window_size": 4,
            "patch_embeds_hidden_size": 16,
            "depths": [2, 2],
            "num_attention_heads": [2, 4],
            "hidden_size": 32,
            "num_hidden_layers": 2,
        },
        projection_dim=CLAP_SIZE,
    )
    model = ClapModel(config).eval()
    # The library's initial weights are so small that all sounds and texts come out alike.
    for name, weight in model.named_parameters():
        if name.endswith("weight") and weight.dim() == 2:
            torch.nn.init.normal_(weight, std=2.0 / weight.shape[1] ** 0.5)
    return model


def _text_tower(clap: ClapModel) -> ClapTextModelWithProjection:
    tower = ClapTextModelWithProjection(clap.config.text_config).eval()
    tower.text_model, tower.text_projection = clap.text_model, clap.text_projection
    return tower


def tiny_vae() -> AutoencoderKL:
    """Three levels, as AudioLDM's: a latent frame is four mel frames."""
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=4,
        scaling_factor=0.9,
    ).eval()


def tiny_unet(rows: MelodyRows | None, clap: Fusion, film: bool) -> UNet2DConditionModel:
    """Two levels; attention looks at the latents only, words come in by the class embedding."""
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=8 + (rows.channels if rows else 0),
        out_channels=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=(16, 32),
        attention_head_dim=4,
        class_embed_type="simple_projection",
        class_embeddings_concat=True,
        projection_class_embeddings_input_dim=CLAP_SIZE * (2 if clap == "concatenated" else 1),
        resnet_time_scale_shift="scale_shift" if film else "default",
    ).eval()
    with torch.no_grad():
        unet.class_embedding.weight.mul_(10.0)  # so that words matter without training
    return unet


def tiny_vocoder() -> SpeechT5HifiGan:
    """AudioLDM's rates and kernels; weights scaled up, as a random HiFi-GAN peaks at 9e-7."""
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            sampling_rate=16_000,
            upsample_initial_channel=32,
            upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[16, 16, 8, 4, 4],
            resblock_kernel_sizes=[3, 5],
            resblock_dilation_sizes=[[1, 3], [1, 3]],
            normalize_before=False,
        )
    ).eval()
    with torch.no_grad():
        for name, weight in vocoder.named_parameters():
            if name.endswith("weight"):
                torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        waves = vocoder.conv_post.weight
        peak = torch.atanh(vocoder(torch.randn(64, 64)).abs().max().double())
        waves.mul_(float(0.7 / peak))
    return vocoder


def strip_to_text_only(folder: Path) -> Path:
    """What a pretrained diffusers repository holds: no audio tower, no settings of ours."""
    for path in [*(folder / "audio_tower").glob("*"), folder / "voice2music.json"]:
        path.unlink()
    (folder / "audio_tower").rmdir()
    assert json.loads((folder / "model_index.json").read_text())["_class_name"].startswith("Audio")
    return folder
