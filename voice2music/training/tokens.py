"""What MusicGen learns from: every piece as codec tokens, melody rows and texts, in memory.

The tokens of a data set are made once per codec and kept beside the pairs. Rows and texts are cheap
and are made when a run begins.
"""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import EncodecModel

from voice2music.dataset.shards import Pairs, Row, write_text
from voice2music.engines.base import Melody
from voice2music.engines.musicgen.format import Format
from voice2music.engines.musicgen.rows import melody_rows
from voice2music.notes import Note
from voice2music.training.plans import music_plan
from voice2music.training.teacher import FOLDER as TEACHER
from voice2music.training.teacher import load_teacher

Codes = NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Piece:
    """One piece of the data set.

    Args:
        codes: shape (codebooks, frames).
        rows: melody rows from the beginning to a window past the end, 0 to 255 for 0 to 1, shape
            (frames + window, rows); frame i of codes and of rows lie at the same time.
        captions: its texts.
    """

    id: str
    codes: Codes
    rows: NDArray[np.uint8]
    captions: tuple[str, ...]

    @property
    def frames(self) -> int:
        """Length of the music in codec frames."""
        return int(self.codes.shape[1])

    def rows_from(self, start: int, frames: int) -> NDArray[np.float32]:
        """`melody_rows` as an engine makes them for a window that begins at codec frame `start`."""
        return self.rows[start : start + frames].astype(np.float32) / np.float32(255)


def pieces(pairs: Pairs, form: Format, window: int, codec: Path) -> tuple[Piece, ...]:
    """All pieces of a split.

    Args:
        form: which rows; its melody frames are as fast as the codec's.
        window: melody frames of one pass.
        codec: folder of the EnCodec that makes the tokens.
    """
    codes = encoded(pairs, codec)
    return tuple(
        Piece(row["id"], codes[i], _rows(pairs, i, form, codes[i].shape[1] + window), _texts(row))
        for i, row in enumerate(pairs.rows)
    )


def melody_of(pairs: Pairs, index: int) -> Melody:
    """The tune of a piece as the app heard it."""
    notes = pairs.rows[index]["heard"]["notes"]
    return Melody(pairs.heard(index), tuple(Note(on, off, int(midi)) for on, off, midi in notes))


def encoded(pairs: Pairs, codec: Path) -> list[Codes]:
    """Tokens of every piece, made where they are not yet kept beside the pairs.

    Args:
        codec: folder of an `EncodecModel`; music and codec have the same sample rate.
    """
    name = f"tokens-{_fingerprint(codec)}"
    kept, places = pairs.folder / f"{name}.npy", pairs.folder / f"{name}.json"
    index = _index(places)
    if not {row["id"] for row in pairs.rows} <= set(index):  # none yet, or pairs were added
        _encode(Pairs(pairs.folder), codec, kept, places)
        index = _index(places)
    codes = np.load(kept, mmap_mode="r", allow_pickle=False)
    return [codes[:, slice(*index[row["id"]])] for row in pairs.rows]


def _index(places: Path) -> dict[str, list[int]]:
    """First and last frame of every piece among the kept tokens; empty where none are kept."""
    if not places.is_file():
        return {}
    index: dict[str, list[int]] = json.loads(places.read_text(encoding="utf-8"))
    return index


def _encode(pairs: Pairs, folder: Path, kept: Path, places: Path) -> None:
    """Write the tokens of all pieces; the index is written last."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    latents, codec = _listener(folder, device)

    def one(index: int) -> Codes:
        return _codes(latents, codec, torch.from_numpy(pairs.music(index)).to(device))

    workers = 1 if device == "cuda" else len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        codes = list(pool.map(one, range(len(pairs))))
    ends = np.cumsum([piece.shape[1] for piece in codes]).tolist()
    index = {
        row["id"]: [end - piece.shape[1], end]
        for row, piece, end in zip(pairs.rows, codes, ends, strict=True)
    }
    part = kept.with_name(f".{kept.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.save(file, np.concatenate(codes, axis=1))
    part.replace(kept)
    write_text(places, json.dumps(index))


def _listener(folder: Path, device: str) -> tuple[Callable[[Tensor], Tensor], EncodecModel]:
    """What finds latents in samples (1, n), and the codec whose books they are written with.

    That is a teacher, where one lies beside the codec: its latents are those that the codec's own
    encoder was taught to find.
    """
    if (folder / TEACHER).is_dir():
        teacher, codec = load_teacher(folder)
        hop = codec.config.hop_length
        heard = teacher.to(device).latents
        return lambda samples: heard(_whole(samples, hop)), codec.eval().to(device)
    codec = EncodecModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    codec = codec.eval().to(device)
    return lambda samples: codec.encoder(samples[:, None]), codec


def _whole(samples: Tensor, hop: int) -> Tensor:
    """Padded with silence to whole frames."""
    return functional.pad(samples, (0, -samples.shape[-1] % hop))


@torch.inference_mode()
def _codes(latents: Callable[[Tensor], Tensor], codec: EncodecModel, samples: Tensor) -> Codes:
    codes: Codes = codec.quantizer.encode(latents(samples[None]))[:, 0].cpu().numpy()
    return codes.astype(np.int16)


def _fingerprint(codec: Path) -> str:
    """Of the codec's files, so that tokens of another codec are never taken for these."""
    digest = hashlib.sha256()
    for file in sorted([codec / "config.json", *codec.rglob("*.safetensors")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _rows(pairs: Pairs, index: int, form: Format, frames: int) -> NDArray[np.uint8]:
    plan = music_plan(pairs.rows[index])
    rows = melody_rows(melody_of(pairs, index), form.row_format(frames), plan=plan)
    return np.round(255 * rows).astype(np.uint8)


def _texts(row: Row) -> tuple[str, ...]:
    return tuple(row["captions"])
