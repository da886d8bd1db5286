"""What is learned from, out of either kind of data set: songs taken apart, or made pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from voice2music.clip import OWN, Clip, read
from voice2music.dataset.shards import MANIFEST, Pairs, Row
from voice2music.dataset.songs.chunks import melody_of as melody_of_chunk
from voice2music.dataset.songs.chunks import plan_of as plan_of_chunk
from voice2music.dataset.songs.manifest import BUILD, read_chunks
from voice2music.dataset.songs.records import key_of
from voice2music.dataset.songs.splits import Split
from voice2music.dataset.songs.wording import families
from voice2music.engines.base import Melody
from voice2music.engines.plan import Plan
from voice2music.errors import BadManifest, BadRequest
from voice2music.finetuning.recipe import Prompts
from voice2music.notes import Note
from voice2music.styles import styles
from voice2music.training.plans import music_plan

Values = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Example:
    """One stretch of music with the voice that it belongs to.

    Args:
        id: the same in every run.
        seconds: of both.
        melody: what is sung; plan: beats and chords of the music, None where none are known.
        families: the prompts "none", "genre" and "refined"; captions: all words for it.
        role: "tune" or "back".
    """

    id: str
    seconds: float
    melody: Melody
    plan: Plan | None
    families: Mapping[str, str]
    captions: tuple[str, ...]
    role: str
    genre: str

    def words(self, prompts: Prompts, chance: np.random.Generator) -> str:
        """A caption of a family, or any."""
        if prompts != "all":
            return self.families[prompts]
        return self.captions[int(chance.integers(len(self.captions)))]


class Examples:
    """All examples of a split, and their sound.

    Args:
        data: that `voice2music dataset build` or `dataset make` made.
        split: of it.
        model: whose chunks, where there are several.
    Raises:
        BadRequest: nothing in it. BadManifest: neither kind of data set, or damaged.
    """

    def __init__(self, data: Path, split: Split, model: str = "musicgen") -> None:
        self._data = data
        self._pairs: Pairs | None = None
        if (data / BUILD).is_file():
            self._rows: Sequence[Row] = [r for r in read_chunks(data, split) if r["model"] == model]
            made = [_of_chunk(data, row) for row in self._rows]
        elif (data / MANIFEST).is_file():
            self._pairs = Pairs(data, split)
            self._rows = self._pairs.rows
            made = [_of_pair(self._pairs, index) for index in range(len(self._pairs))]
        else:
            raise BadManifest(
                f"'{data}' is no data set. Make one with `voice2music dataset build` or `make`."
            )
        if not made:
            raise BadRequest(
                f"'{data.name}' has nothing to fine-tune on in its split '{split}'. Use more songs."
            )
        self.all: tuple[Example, ...] = tuple(made)

    def __len__(self) -> int:
        return len(self.all)

    def music(self, index: int) -> Clip:
        """The music of an example."""
        if self._pairs is not None:
            return Clip(self._pairs.music(index), self._rows[index]["music"]["rate"])
        return read(self._data / self._rows[index]["music"]["file"], OWN)

    def voice(self, index: int) -> Clip:
        """The voice of an example."""
        if self._pairs is not None:
            return Clip(self._pairs.voice(index), self._rows[index]["voice"]["rate"])
        return read(self._data / self._rows[index]["voice"]["file"], OWN)

    def tokens(self, codec: str) -> list[NDArray[np.int16]] | None:
        """What the builder kept of all music as tokens, if that codec wrote them.

        Args:
            codec: see `engines.musicgen.codec.codec_mark`.
        """
        found = self._kept("codec", codec, "tokens")
        return None if found is None else [values.astype(np.int16) for values in found]

    def latents(self, ears: str) -> tuple[list[Values], list[Values]] | None:
        """What the builder kept of all music as latents and of all voices as vectors, if those
        networks made them.

        Args:
            ears: see `engines.audioldm.marks.ears_mark`.
        """
        latents, voices = (self._kept("ears", ears, kind) for kind in ("latents", "voice"))
        return None if latents is None or voices is None else (latents, voices)

    def _kept(self, key: str, mark: str, kind: str) -> list[Values] | None:
        """One tensor of every example; None where any is missing or of other networks."""
        out = []
        for row in self._rows:
            cache = row.get("caches") or {}
            if cache.get(key) != mark:
                return None
            with safe_open(self._data / cache["file"], "numpy") as file:
                if (name := f"{row['id']}.{kind}") not in file.keys():  # noqa: SIM118
                    return None
                out.append(file.get_tensor(name))
        return out

    @property
    def hash(self) -> str:
        """Of all that is learned from: sound, notes, beats, chords, words."""
        return key_of(list(self._rows))

    def marks(self, *kinds: str) -> list[str]:
        """The sha256 of every "music" or "voice", in order."""
        return [row[kind]["sha256"] for row in self._rows for kind in kinds]


def _of_chunk(data: Path, row: Row) -> Example:
    return _example(row, melody_of_chunk(data, row), plan_of_chunk(row), row["genre"], row["role"])


def _of_pair(pairs: Pairs, index: int) -> Example:
    row = pairs.rows[index]
    notes = tuple(Note(on, off, int(midi)) for on, off, midi in row["heard"]["notes"])
    melody = Melody(pairs.heard(index), notes)
    known = styles()
    genre = known[row["genre"]].title if row["genre"] in known else row["genre"]
    return _example(row, melody, music_plan(row), genre, row["role"])


def _example(
    row: dict[str, Any], melody: Melody, plan: Plan | None, genre: str, role: str
) -> Example:
    return Example(
        id=row["id"],
        seconds=float(row["seconds"]),
        melody=melody,
        plan=plan,
        families=families(genre),
        captions=tuple(row["captions"]),
        role=role,
        genre=genre,
    )
