"""Codec tokens of examples, made once per codec and kept beside the data."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EncodecModel

from voice2music.clip import Clip
from voice2music.finetuning.examples import Examples

Codes = NDArray[np.int16]
KEPT = "finetuning"  # folder in the data set


def tokens_of(examples: Examples, codec: EncodecModel, checkpoint: Path, data: Path) -> list[Codes]:
    """Of each example, shape (codebooks, frames).

    Args:
        codec: mono; on any device.
        checkpoint: the folder that it is from; its weights name what is kept.
        data: of the examples.
    """
    path = data / KEPT / f"tokens-{_mark(examples.marks, checkpoint)}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            return [kept[str(index)] for index in range(len(examples))]
    codes = [encoded(codec, examples.music(index)) for index in range(len(examples))]
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        np.savez(file, **{str(index): each for index, each in enumerate(codes)})  # type: ignore[arg-type]
    part.replace(path)
    return codes


@torch.inference_mode()
def encoded(codec: EncodecModel, sound: Clip) -> Codes:
    """A sound's tokens, shape (codebooks, frames)."""
    samples = sound.mono().resampled(codec.config.sampling_rate).samples
    given = torch.tensor(samples, device=codec.device)[:, None]
    codes: Codes = codec.encode(given).audio_codes[0, 0].cpu().numpy().astype(np.int16)
    return codes


def _mark(sounds: Sequence[str], checkpoint: Path) -> str:
    digest = hashlib.sha256("\n".join(sounds).encode())
    for file in sorted(checkpoint.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size} ".encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
