"""Pairs on disk: big files that training maps into memory, and one line of JSON per piece.

A shard is some ten minutes of music: `shard-00000.music.wav` and `shard-00000.voice.wav` (16 bits,
one channel), `shard-00000.heard.npy` (what the pitch tracker heard, hundredths of a MIDI note per
10 ms) and `shard-00000.jsonl`. Nothing is compressed: a crop is read where it lies, in
microseconds, and is the same bytes wherever it is made. The .jsonl is written last, so a shard that
has one is whole. `manifest.jsonl` holds the lines of all shards.
"""

import hashlib
import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music.errors import BadManifest
from voice2music.pitch import HOP

MANIFEST, RECIPE = "manifest.jsonl", "recipe.json"
UNVOICED = -1
HEARD_RATE = round(1 / HOP)  # values per second
_HEADER = 44  # bytes of a plain WAV file before its samples
_KINDS = ("music", "voice", "heard_pitch")

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard in memory; 16-bit values, shape (n,).

    Args:
        music, voice: samples; `heard`: hundredths of a MIDI note.
        rows: one per piece; `rates`: Hz of music and voice.
    """

    music: NDArray[np.int16]
    voice: NDArray[np.int16]
    heard: NDArray[np.int16]
    rows: tuple[Row, ...]
    rates: dict[str, int]


def shard_name(index: int) -> str:
    """What the shard's files are called, without their endings."""
    return f"shard-{index:05d}"


def as_pcm(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    """Full scale ±1 as 16-bit samples."""
    return np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)


def as_cents(midi: NDArray[np.float32]) -> NDArray[np.int16]:
    """Fractional MIDI notes as hundredths, `UNVOICED` where nothing is sung (NaN)."""
    return np.where(np.isnan(midi), UNVOICED, np.round(100 * np.nan_to_num(midi))).astype(np.int16)


def sha256(values: NDArray[np.int16]) -> str:
    """Of the values' bytes, low byte first."""
    return hashlib.sha256(values.astype("<i2").tobytes()).hexdigest()


def write_shard(folder: Path, index: int, shard: Shard) -> None:
    """All files of a shard, each whole or not at all, the .jsonl last."""
    name = shard_name(index)
    for kind in ("music", "voice"):
        part = folder / f".{name}.{kind}.wav.part"
        with part.open("wb") as file, wave.open(file, "wb") as out:
            out.setparams((1, 2, shard.rates[kind], 0, "NONE", ""))
            out.writeframes(getattr(shard, kind).astype("<i2").tobytes())
        part.replace(folder / f"{name}.{kind}.wav")
    part = folder / f".{name}.heard.npy.part"
    with part.open("wb") as file:
        np.save(file, shard.heard)
    part.replace(folder / f"{name}.heard.npy")
    write_rows(folder / f"{name}.jsonl", shard.rows)


def write_rows(path: Path, rows: tuple[Row, ...]) -> None:
    """One JSON object per line, the file whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a manifest or a shard.

    Raises:
        BadManifest: not there, or not lines of JSON objects.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise BadManifest(
            f"'{path.name}' cannot be read ({error}). Run `voice2music dataset make` again."
        ) from error
    if not all(isinstance(row, dict) for row in rows):
        raise BadManifest(f"'{path.name}' does not hold one JSON object per line.")
    return tuple(rows)


def is_whole(folder: Path, index: int) -> bool:
    """Whether a shard is finished: its lines are there and its files as long as they say."""
    path = folder / f"{shard_name(index)}.jsonl"
    if not path.is_file():
        return False
    rows = read_rows(path)
    ends = {kind: max(row[kind]["start"] + row[kind]["count"] for row in rows) for kind in _KINDS}
    return all(_count(folder / rows[0][kind]["file"]) == ends[kind] for kind in _KINDS)


class Pairs:
    """A finished data set, read where it lies on disk.

    Args:
        folder: that `voice2music dataset make` wrote.
        split: "train", "valid" or "test"; None is all.
    Raises:
        BadManifest: there is no manifest, or it cannot be read.
    """

    def __init__(self, folder: Path, split: str | None = None) -> None:
        self.folder = folder
        rows = read_rows(folder / MANIFEST)
        self.rows = tuple(row for row in rows if split is None or row["split"] == split)

    def __len__(self) -> int:
        return len(self.rows)

    def music(
        self, index: int, start: float = 0.0, seconds: float | None = None
    ) -> NDArray[np.float32]:
        """Music from `start` on, full scale ±1, at `row["music"]["rate"]`."""
        return _sound(self._cut("music", index, start, seconds))

    def voice(
        self, index: int, start: float = 0.0, seconds: float | None = None
    ) -> NDArray[np.float32]:
        """The voice from `start` on, full scale ±1, at `row["voice"]["rate"]`."""
        return _sound(self._cut("voice", index, start, seconds))

    def heard(
        self, index: int, start: float = 0.0, seconds: float | None = None
    ) -> NDArray[np.float32]:
        """What was heard: tuned fractional MIDI notes every 10 ms, NaN where nothing is sung."""
        cents = self._cut("heard_pitch", index, start, seconds)
        return np.where(cents == UNVOICED, np.nan, cents / 100).astype(np.float32)

    def damaged(self) -> Iterator[str]:
        """Compare every piece's bytes with its sha256; yields what does not fit, in words."""
        for index, row in enumerate(self.rows):
            for kind in _KINDS:
                if sha256(np.asarray(self._cut(kind, index, 0.0, None))) != row[kind]["sha256"]:
                    yield f"{row['id']}: the {kind} file is not what the manifest says"

    def _cut(self, kind: str, index: int, start: float, seconds: float | None) -> NDArray[np.int16]:
        place = self.rows[index][kind]
        first = min(round(start * place["rate"]), place["count"])
        count = place["count"] - first
        if seconds is not None:
            count = min(count, round(seconds * place["rate"]))
        mapped = _mapped(self.folder / place["file"])
        return mapped[place["start"] + first : place["start"] + first + count]


def _sound(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """16-bit samples at full scale ±1."""
    return np.asarray(pcm, np.float32) / np.float32(32767)


@lru_cache(maxsize=4096)
def _mapped(path: Path) -> NDArray[np.int16]:
    """A shard's values, read when they are used."""
    try:
        if path.suffix == ".npy":
            mapped: NDArray[np.int16] = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            mapped = np.memmap(path, "<i2", "r", offset=_HEADER)
    except (OSError, ValueError) as error:
        raise BadManifest(f"'{path.name}' is missing or damaged: {error}.") from error
    return mapped


def _count(path: Path) -> int:
    """Values in a shard's file; -1 where it is not there."""
    if not path.is_file():
        return -1
    if path.suffix == ".npy":
        return len(np.load(path, mmap_mode="r", allow_pickle=False))
    return (path.stat().st_size - _HEADER) // 2
