"""What training reads instead of sound: EnCodec tokens and melody rows, or log-mels, per chunk."""

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
    from voice2music.engines.musicgen.engine import MusicGen
    from voice2music.engines.spectrogram import MelSettings

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


def audioldm_cache(folder: Path, name: str, music: Clip) -> Tensors:
    """Of one chunk: "NAME.mel" float16 (frames, bins), levelled as AudioLDM is trained.

    Args:
        folder: of an AudioLDM checkpoint, whose log-mel it is.
    """
    from voice2music.engines.spectrogram import log_mel

    settings = _mel(folder)
    frames = math.ceil(music.seconds * settings.rate / settings.hop)
    return {f"{name}.mel": log_mel(music, settings, frames).numpy().astype(np.float16)}


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
def _mel(folder: Path) -> "MelSettings":
    from voice2music.engines.audioldm.parts import load_parts

    return load_parts(folder).mel
