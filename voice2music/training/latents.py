"""What AudioLDM's UNet learns from, computed once: latents, tunes and CLAP's vectors of all pieces.

Each is one array on disk, named after everything that it depends on, so a new VAE or CLAP makes
new ones. The tune's rows are the ones that the engine makes (`engines.audioldm.melody`), from what
was heard in the voice.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.dataset.shards import MANIFEST, Pairs, Row
from voice2music.engines.audioldm.clap import AudioFeatures, AudioTower, TextTower, whole
from voice2music.engines.audioldm.melody import MelodyRows, melody_channels
from voice2music.engines.base import Melody
from voice2music.engines.spectrogram import MelSettings, log_mel
from voice2music.notes import Note
from voice2music.training.clap import load
from voice2music.training.plans import music_plan

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

ALIGN = 4  # latent frames; a UNet of three levels shortens time by as much
_AS_ASKED = 0.5  # odds of the caption that is worded as the app words a request


class Cached:
    """Latents, tunes and CLAP's vectors of one split.

    Args:
        data: folder of pairs; split: of it.
        vae, clap: exported folders.
        mel: of the VAE; rows: of the tune.
        cache: a folder to keep them in.
    """

    def __init__(
        self,
        data: Path,
        split: str,
        vae: Path,
        clap: Path,
        mel: MelSettings,
        rows: MelodyRows,
        cache: Path,
    ) -> None:
        self.pairs, self.mel, self.rows = Pairs(data, split), mel, rows
        cache.mkdir(parents=True, exist_ok=True)
        self._heads = _heads(self.pairs, mel)
        key = _hash(data / MANIFEST, split, json.dumps(asdict(mel)))
        latents, vectors = f"{key}-{_hash(*_files(vae))}", f"{key}-{_hash(*_files(clap))}"
        self.latents = _kept(cache / f"latents-{latents}.npy", lambda path: self._encode(vae, path))
        self.tunes = _kept(
            cache / f"lines-{key}-{_hash(str(rows))}.npy", lambda path: self._hear(path)
        )
        self.clap = _kept(cache / f"clap-{vectors}.npy", lambda path: self._embed(clap, path))

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Latent frames of every piece."""
        return np.diff(self._heads)

    def frames(self, index: int) -> int:
        """Latent frames of a piece."""
        return int(self._heads[index + 1] - self._heads[index])

    def latent(self, index: int, first: int, frames: int) -> NDArray[np.float32]:
        """Scaled latents of a piece from a frame on, shape (channels, frames, bins)."""
        return _part(self.latents, self._place(index, first, frames)).transpose(1, 0, 2)

    def tune(self, index: int, first: int, frames: int) -> NDArray[np.float32]:
        """The rows of tune and plan at the same frames, shape (C, frames, bins)."""
        return _part(self.tunes, self._place(index, first, frames)).transpose(1, 0, 2)

    def words(self, index: int, chance: np.random.Generator) -> NDArray[np.float32]:
        """CLAP of one of a piece's captions, shape (size,)."""
        count = len(self.pairs.rows[index]["captions"])
        asked = chance.random() < _AS_ASKED
        return np.asarray(
            self.clap[index, 2 + (0 if asked else chance.integers(count))], np.float32
        )

    def music(self, index: int) -> NDArray[np.float32]:
        """CLAP of a piece's music, shape (size,)."""
        return np.asarray(self.clap[index, 0], np.float32)

    def voice(self, index: int) -> NDArray[np.float32]:
        """CLAP of a piece's voice, shape (size,)."""
        return np.asarray(self.clap[index, 1], np.float32)

    def _place(self, index: int, first: int, frames: int) -> slice:
        start = int(self._heads[index]) + first
        return slice(start, start + frames)

    @torch.inference_mode()
    def _encode(self, folder: Path, path: Path) -> None:
        from voice2music.engines.audioldm.reading import diffusers_model

        vae: AutoencoderKL = diffusers_model("AutoencoderKL", folder, torch.float32)
        bins = self.mel.bins // shrink(vae)
        shape = (int(self._heads[-1]), vae.config.latent_channels, bins)
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for index, row in enumerate(self.pairs.rows):
            sound = Clip(self.pairs.music(index), row["music"]["rate"])
            mel = log_mel(sound, self.mel, self.frames(index) * shrink(vae))
            mean = vae.encode(mel[None, None]).latent_dist.mode()[0]
            scaled = mean * float(vae.config.scaling_factor)
            out[self._heads[index] : self._heads[index + 1]] = scaled.permute(1, 0, 2).numpy()
        out.flush()

    def _hear(self, path: Path) -> None:
        rate, bins = frame_rate(self.mel), self.mel.bins // ALIGN
        shape = (int(self._heads[-1]), self.rows.channels, bins)
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for index in range(len(self.pairs)):
            heard, plan = heard_melody(self.pairs, index), music_plan(self.pairs.rows[index])
            channels = melody_channels(heard, self.frames(index), rate, bins, self.rows, plan)
            out[self._heads[index] : self._heads[index + 1]] = channels.transpose(1, 0, 2)
        out.flush()

    def _embed(self, folder: Path, path: Path) -> None:
        text, audio = towers(folder)
        most = max(len(row["captions"]) for row in self.pairs.rows)
        shape = (len(self.pairs), 2 + most, audio.captions.shape[1])
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        voices: dict[tuple[str, int], torch.Tensor] = {}  # several pieces are made for a voice
        for index, row in enumerate(self.pairs.rows):
            out[index, 0] = audio.embed(Clip(self.pairs.music(index), row["music"]["rate"]))
            place = (row["voice"]["file"], row["voice"]["start"])
            if place not in voices:
                voice = Clip(self.pairs.voice(index), row["voice"]["rate"])
                voices[place] = audio.embed(voice)
            out[index, 1] = voices[place]
            out[index, 2 : 2 + len(row["captions"])] = text.embed(row["captions"])
        out.flush()


def towers(folder: Path) -> tuple[TextTower, AudioTower]:
    """Both towers of an exported CLAP."""
    clap, tokenizer = load(folder)
    features = AudioFeatures.read(folder / "preprocessor_config.json")
    return TextTower(clap, tokenizer), whole(clap, tokenizer, features)


def heard_melody(pairs: Pairs, index: int, seconds: float | None = None) -> Melody:
    """What was heard in a piece's voice, as the engines are given it.

    Args:
        seconds: from the beginning; None is all.
    """
    notes = pairs.rows[index]["heard"]["notes"]
    kept = [note for note in notes if seconds is None or note[0] < seconds]
    return Melody(pairs.heard(index, 0.0, seconds), tuple(Note(a, b, midi) for a, b, midi in kept))


def shrink(vae: "AutoencoderKL") -> int:
    """Mel frames to a latent frame."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def frame_rate(mel: MelSettings, shrunk: int = 4) -> float:
    """Latent frames per second."""
    return mel.rate / mel.hop / shrunk


def _heads(pairs: Pairs, mel: MelSettings) -> NDArray[np.int64]:
    """Where each piece's frames begin, and where the last one's end."""
    counts = [_frames(row, mel) for row in pairs.rows]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _frames(row: Row, mel: MelSettings) -> int:
    """Latent frames that hold a piece, as the engine counts them."""
    seconds: float = row["music"]["count"] / row["music"]["rate"]
    return math.ceil(seconds * frame_rate(mel) / ALIGN - 1e-9) * ALIGN


def _part(values: NDArray[np.float16], place: slice) -> NDArray[np.float32]:
    return np.asarray(values[place], np.float32)


def _kept(path: Path, make: Callable[[Path], None]) -> NDArray[Any]:
    """The array in a file; made first where it is not there."""
    if not path.is_file():
        part = path.with_name(f".{path.name}.part")
        make(part)
        part.replace(path)
    values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return values


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))


def _hash(*parts: Path | str) -> str:
    """Of files' contents and texts."""
    known = hashlib.sha256()
    for part in parts:
        known.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    return known.hexdigest()[:10]
