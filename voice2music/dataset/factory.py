"""Hours of training pairs, made by as many processes as there are, the same whatever their number.

Every shard depends on the recipe and its own number only. A run that was stopped goes on where it
was; more hours of the same recipe are added to those that are there.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music import __version__
from voice2music.dataset.pairs import Recipe, Voiced, pieces, voice_labels, voiced
from voice2music.dataset.shards import (
    HEARD_RATE,
    MANIFEST,
    RECIPE,
    Row,
    Shard,
    as_cents,
    as_pcm,
    is_whole,
    read_rows,
    sha256,
    shard_name,
    write_rows,
    write_shard,
    write_text,
)
from voice2music.dataset.tunes import Tune
from voice2music.dataset.voices import RATE as VOICE_RATE
from voice2music.errors import BadManifest, BadRequest, CannotSave

log = logging.getLogger(__name__)

SHARD_SECONDS = 600.0  # of music
_MOST_TRIES = 20  # recordings in a row that nothing can be heard in


@dataclass(frozen=True)
class Made:
    """A finished shard: seconds of its music, and CPU seconds that it took; 0 when it was there."""

    index: int
    seconds: float
    cpu: float


Progress = Callable[[Made, int], None]


def make(
    folder: Path,
    recipe: Recipe,
    tunes: Sequence[Tune],
    hours: float,
    *,
    workers: int = 1,
    shard_seconds: float = SHARD_SECONDS,
    progress: Progress = lambda made, total: None,
) -> Path:
    """At least `hours` of music with voices, captions and labels.

    Args:
        folder: is made; may hold shards of the same recipe, which are kept.
        tunes: written tunes; with none, all tunes are the generator's.
        workers: processes.
        shard_seconds: of music per shard.
        progress: called for each finished shard with the number of all.
    Returns:
        The manifest, one row per piece in the order of the shards.
    Raises:
        BadManifest: the folder holds another recipe's data.
        BadRequest: no hours or no workers.
        CannotSave: disk full, no permission.
    """
    if not hours > 0 or workers < 1 or shard_seconds <= 0:
        raise BadRequest(f"Ask for some hours and workers, not {hours:g} and {workers}.")
    total = math.ceil(hours * 3600 / shard_seconds)
    with _saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _check_recipe(folder, recipe, tunes, shard_seconds)
    missing = []
    for index in range(total):
        if is_whole(folder, index):
            progress(Made(index, _seconds(folder, index), 0.0), total)
        else:
            missing.append(index)
    for made in _all(folder, recipe, tuple(tunes), missing, workers, shard_seconds):
        progress(made, total)
    paths = [folder / f"{shard_name(index)}.jsonl" for index in range(total)]
    with _saving(folder):
        write_rows(folder / MANIFEST, tuple(row for path in paths for row in read_rows(path)))
    return folder / MANIFEST


def made_shard(
    recipe: Recipe, tunes: Sequence[Tune], index: int, seconds: float = SHARD_SECONDS
) -> Shard:
    """One shard: voices with their pieces until there are `seconds` of music."""
    files = {
        "music": f"{shard_name(index)}.music.wav",
        "voice": f"{shard_name(index)}.voice.wav",
        "heard": f"{shard_name(index)}.heard.npy",
    }
    rates = {"music": recipe.rate, "voice": VOICE_RATE, "heard": HEARD_RATE}
    stores = {kind: _Store(files[kind], rates[kind]) for kind in files}
    rows: list[Row] = []
    for number, voice in _voices(recipe, tunes, index):
        sung = stores["voice"].add(as_pcm(voice.sound))
        heard = stores["heard"].add(as_cents(voice.midi))
        labels = voice_labels(voice)
        for render, piece in enumerate(pieces(recipe, voice, (recipe.seed, index, number))):
            rows.append(
                {
                    "id": f"{recipe.seed}-{index:05d}-{number:03d}-{render}",
                    "seed": [recipe.seed, index, number, render],
                    **piece.labels,
                    **labels,
                    "music": stores["music"].add(as_pcm(piece.sound)),
                    "voice": sung,
                    "heard_pitch": heard,
                }
            )
        if stores["music"].seconds >= seconds:
            break
    arrays = {kind: store.values() for kind, store in stores.items()}
    return Shard(arrays["music"], arrays["voice"], arrays["heard"], tuple(rows), rates)


class _Store:
    """One file of a shard as it grows."""

    def __init__(self, file: str, rate: int) -> None:
        self._file, self._rate = file, rate
        self._parts: list[NDArray[np.int16]] = []
        self._count = 0

    @property
    def seconds(self) -> float:
        return self._count / self._rate

    def add(self, values: NDArray[np.int16]) -> dict[str, Any]:
        """Append; where the values lie, for the row."""
        start, self._count = self._count, self._count + len(values)
        self._parts.append(values)
        return {
            "file": self._file,
            "rate": self._rate,
            "start": start,
            "count": len(values),
            "sha256": sha256(values),
        }

    def values(self) -> NDArray[np.int16]:
        return np.concatenate(self._parts)


def _voices(recipe: Recipe, tunes: Sequence[Tune], index: int) -> Iterator[tuple[int, Voiced]]:
    """Recordings with their numbers, without end; those the app would refuse are left out."""
    number, refused = 0, 0
    while refused < _MOST_TRIES:
        voice = voiced(recipe, tunes, (recipe.seed, index, number))
        if voice is None:
            log.info("shard %d: nothing could be heard in voice %d", index, number)
            refused += 1
        else:
            refused = 0
            yield number, voice
        number += 1
    raise AssertionError(f"{_MOST_TRIES} voices in a row in which nothing could be heard")


def _all(
    folder: Path,
    recipe: Recipe,
    tunes: tuple[Tune, ...],
    missing: Sequence[int],
    workers: int,
    seconds: float,
) -> Iterator[Made]:
    """Make the missing shards, here or in processes of their own, in the order they are done."""
    if workers == 1 or len(missing) < 2:
        for index in missing:
            yield _make_one(folder, recipe, tunes, index, seconds)
        return
    # Not forked: the pitch tracker's runtime has threads, which a fork would leave locked.
    pool = ProcessPoolExecutor(
        min(workers, len(missing)), get_context("spawn"), _begin, (folder, recipe, tunes, seconds)
    )
    try:
        for future in as_completed([pool.submit(_work, index) for index in missing]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _make_one(
    folder: Path, recipe: Recipe, tunes: Sequence[Tune], index: int, seconds: float
) -> Made:
    started = time.process_time()
    shard = made_shard(recipe, tunes, index, seconds)
    with _saving(folder):
        write_shard(folder, index, shard)
    return Made(index, len(shard.music) / recipe.rate, time.process_time() - started)


_job: tuple[Path, Recipe, tuple[Tune, ...], float] | None = None  # of a worker process


def _begin(folder: Path, recipe: Recipe, tunes: tuple[Tune, ...], seconds: float) -> None:
    """In a new worker: what it works on; sent once and not with every shard."""
    global _job
    _job = folder, recipe, tunes, seconds


def _work(index: int) -> Made:
    assert _job is not None
    folder, recipe, tunes, seconds = _job
    return _make_one(folder, recipe, tunes, index, seconds)


def _check_recipe(
    folder: Path, recipe: Recipe, tunes: Sequence[Tune], shard_seconds: float
) -> None:
    """The folder's recipe is this one; it is written where there is none."""
    path = folder / RECIPE
    made_by = {"version": __version__, "shard_seconds": shard_seconds, "tunes": len(tunes)}
    values = {**recipe.to_json(), **made_by}
    if not path.is_file():
        write_text(path, json.dumps(values, indent=1) + "\n")
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadManifest(f"'{path}' is damaged: {error}. Choose another folder.") from error
    if there != json.loads(json.dumps(values)):
        other = sorted(k for k in {*there, *values} if there.get(k) != values.get(k))
        raise BadManifest(
            f"'{folder}' holds pairs of another recipe (other: {', '.join(other)}). "
            f"Choose another folder."
        )


@contextmanager
def _saving(folder: Path) -> Iterator[None]:
    """What the disk says against writing, as our own error."""
    try:
        yield
    except OSError as error:
        raise CannotSave(f"The data set cannot be written to '{folder}': {error}") from error


def _seconds(folder: Path, index: int) -> float:
    """Of a finished shard's music."""
    rows = read_rows(folder / f"{shard_name(index)}.jsonl")
    return float(sum(row["music"]["count"] / row["music"]["rate"] for row in rows))
