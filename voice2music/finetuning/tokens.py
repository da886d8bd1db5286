"""Codec tokens of examples, made once per codec and kept beside the data."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EncodecModel

from voice2music.clip import Clip
from voice2music.dataset.songs.records import key_of
from voice2music.engines.musicgen.codec import codec_mark
from voice2music.finetuning.examples import Examples

Codes = NDArray[np.int16]
KEPT = "finetuning"  # folder in the data set


def tokens_of(examples: Examples, codec: EncodecModel, data: Path) -> list[Codes]:
    """Of each example, shape (codebooks, frames): the builder's, where this codec wrote them.

    Args:
        codec: mono; on any device.
        data: of the examples.
    """
    mark = codec_mark(codec)
    if (ready := examples.tokens(mark)) is not None:
        return ready
    path = data / KEPT / f"tokens-{key_of([mark, examples.marks('music')])}.npz"
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
