"""What is known of a song so far, one small file per step, so that a build can be gone on with.

A step's record is written last and whole. It holds a stamp of all that the step depended on;
where that is still the same, the step is not done again.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music.dataset.shards import write_text
from voice2music.errors import BadAudio, NoMelody, TooLong

Record = dict[str, Any]


class Refused(Exception):
    """A song cannot be used; says why. Never leaves the builder: it becomes a line of the sheet."""


class Records:
    """The records of one song.

    Args:
        folder: of the song's own; is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def made(
        self,
        step: str,
        depends: Any,  # noqa: ANN401
        work: Callable[[], Record],
        files: Sequence[str] = (),
    ) -> Record:
        """The record of a step; `work` is done where there is none yet, or a file is gone.

        What is wrong with the song itself is part of the record and is raised again next time.

        Args:
            depends: plain values that decide what comes out.
            files: that the step leaves in the song's folder.
        Raises:
            Refused: the song is of no use.
        """
        stamp = key_of(depends)
        record = self._read(step)
        whole = "refused" in record or all((self.folder / name).is_file() for name in files)
        if record.get("stamp") != stamp or not whole:
            self._path(step).unlink(missing_ok=True)  # its files are about to change
            record = {"stamp": stamp, **_outcome(work)}
            write_text(self._path(step), json.dumps(record, ensure_ascii=False))
        if "refused" in record:
            raise Refused(record["refused"])
        return record

    def _path(self, step: str) -> Path:
        return self.folder / f"{step}.json"

    def _read(self, step: str) -> Record:
        """What stands there; nothing where it is missing or damaged, and the step is done again."""
        try:
            record = json.loads(self._path(step).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def key_of(values: Any) -> str:  # noqa: ANN401
    """A short hash of plain values."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_array(values: NDArray[np.generic], path: Path) -> None:
    """As .npy, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        np.save(file, values, allow_pickle=False)
    part.replace(path)


def _outcome(work: Callable[[], Record]) -> Record:
    try:
        return work()
    except (Refused, BadAudio, NoMelody, TooLong) as error:
        return {"refused": str(error)}
