"""The whole of an AudioLDM checkpoint out of networks that were trained apart."""

import json
import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voice2music.engines.audioldm.layout import Layout
from voice2music.errors import MissingCheckpoint
from voice2music.training.latents import towers

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, UNet2DConditionModel

LARGEST = "14MB"  # of a file of weights
_CLASSES = {
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "ClapTextModelWithProjection"],
    "tokenizer": ["transformers", "RobertaTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "vocoder": ["transformers", "SpeechT5HifiGan"],
}


@dataclass(frozen=True)
class Sources:
    """Exported folders that a checkpoint is put together from.

    Args:
        vae: AutoencoderKL; clap: whole ClapModel with tokenizer and preprocessor_config.json.
        vocoder: SpeechT5HifiGan; None while there is none yet.
    """

    vae: Path
    clap: Path
    vocoder: Path | None = None


def assembled(
    unet: "UNet2DConditionModel",
    scheduler: "DDIMScheduler",
    layout: Layout,
    sources: Sources,
    folder: Path,
) -> Path:
    """Write a checkpoint in diffusers' layout, weights in half precision, and give it back.

    Raises:
        MissingCheckpoint: there is no vocoder.
    """
    if sources.vocoder is None:
        raise MissingCheckpoint("There is no vocoder to put into the checkpoint. Train one first.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in (("vae", sources.vae), ("vocoder", sources.vocoder)):
        if source.resolve() != (folder / name).resolve():
            shutil.copytree(source, folder / name, dirs_exist_ok=True)
    deepcopy(unet).cpu().half().save_pretrained(folder / "unet", max_shard_size=LARGEST)
    scheduler.save_pretrained(folder / "scheduler")
    split_clap(sources.clap, folder)
    layout.write(folder)
    _write_index(folder)
    return folder


def split_clap(source: Path, folder: Path) -> None:
    """A ClapModel as `text_encoder/`, `tokenizer/` and `audio_tower/` of a checkpoint."""
    from transformers import ClapTextModelWithProjection

    text, audio = towers(source)
    clap = text.model
    encoder = ClapTextModelWithProjection(clap.config.text_config).eval()
    encoder.text_model, encoder.text_projection = clap.text_model, clap.text_projection
    audio.model.half()
    audio.save(folder / "audio_tower")
    encoder.half().save_pretrained(folder / "text_encoder", max_shard_size=LARGEST)
    text.tokenizer.save_pretrained(folder / "tokenizer")


def _write_index(folder: Path) -> None:
    import diffusers

    index = {"_class_name": "AudioLDMPipeline", "_diffusers_version": diffusers.__version__}
    (folder / "model_index.json").write_text(json.dumps(index | _CLASSES, indent=2) + "\n")
