"""What training reads instead of sound, per chunk: tokens and melody rows; latents and voices."""

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.engines.base import Melody
from voice2music.engines.plan import Plan

if TYPE_CHECKING:
    from voice2music.engines.audioldm.engine import AudioLDM
    from voice2music.engines.musicgen.engine import MusicGen

Tensors = dict[str, NDArray[np.generic]]


def musicgen_cache(
    folder: Path, name: str, music: Clip, melody: Melody, plan: Plan | None
) -> Tensors:
    """Of one chunk: "NAME.tokens" int16 (codebooks, frames), "NAME.rows" float16 (frames, rows).

    Args:
        folder: of a MusicGen-Melody checkpoint, whose codec and melody rows they are.
    """
    from voice2music.engines.musicgen.format import read_format
    from voice2music.engines.musicgen.rows import melody_rows

    form = read_format(folder)
    frames = math.ceil(music.seconds * form.melody_frame_rate)
    rows = melody_rows(melody, form.row_format(frames), plan=plan)
    tokens = _musicgen(folder).tokens(music)
    return {f"{name}.tokens": tokens, f"{name}.rows": rows.astype(np.float16)}


def codec_of(folder: Path) -> str:
    """The mark of the codec whose tokens `musicgen_cache` keeps."""
    return _musicgen(folder).codec_mark


def audioldm_cache(folder: Path, name: str, music: Clip, voice: Clip) -> Tensors:
    """Of one chunk: "NAME.latents" float16 (channels, frames, bins), the VAE's mean; "NAME.voice",
    CLAP's vector of the voice, where the checkpoint has its audio tower.

    Args:
        folder: of an AudioLDM checkpoint.
    """
    import torch

    engine = _audioldm(folder)
    with torch.inference_mode():
        latents = engine.encoded(music, engine.parts.frames(music.seconds))
        out: Tensors = {f"{name}.latents": latents.cpu().numpy().astype(np.float16)}
        if engine.parts.audio is not None:
            out[f"{name}.voice"] = engine.parts.audio.embed(voice).float().cpu().numpy()
    return out


@lru_cache(maxsize=1)
def ears_of(folder: Path) -> str:
    """The mark of the networks whose latents and vectors `audioldm_cache` keeps."""
    from voice2music.engines.audioldm.marks import ears_mark

    return ears_mark(folder)


def write_cache(tensors: Tensors, path: Path) -> Path:
    """As safetensors, whole or not at all."""
    from safetensors.numpy import save_file

    part = path.with_name(f".{path.name}.part")
    try:
        save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


@lru_cache(maxsize=1)
def _musicgen(folder: Path) -> "MusicGen":
    from voice2music.checkpoints import locate
    from voice2music.engines import musicgen

    return musicgen.load(locate(folder))


@lru_cache(maxsize=1)
def _audioldm(folder: Path) -> "AudioLDM":
    from voice2music.checkpoints import locate
    from voice2music.engines import audioldm

    return audioldm.load(locate(folder))
