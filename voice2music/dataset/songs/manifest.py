"""What a build leaves at the top of its folder: a row per chunk, refused files, the datasheet.

train.jsonl, valid.jsonl, test.jsonl   a row per chunk
refused.jsonl                          a file that was not taken, the step, and why
build.json                             settings, versions, and a hash of all rows
about.json                             who made which song, for forgetting them
chunks/SONG/                           voice and music as FLAC, what is sung, caches
songs/SONG/                            records of the steps and the whole song taken apart
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from voice2music import __version__
from voice2music.dataset.shards import Row, read_rows, write_rows, write_text
from voice2music.dataset.songs.about import About
from voice2music.dataset.songs.datasheet import write_datasheet
from voice2music.dataset.songs.records import file_sha256, key_of
from voice2music.dataset.songs.refusals import Refusal
from voice2music.dataset.songs.sources import Song
from voice2music.dataset.songs.splits import SPLITS, Songs, Split, check_splits, splits
from voice2music.dataset.songs.steps import KINDS, Settings
from voice2music.dataset.songs.wording import Known, captions
from voice2music.errors import BadManifest, BadRequest, CannotSave

BUILD, ABOUT, REFUSED = "build.json", "about.json", "refused.jsonl"
KIND = "voice2music songs"
LOCK = ".lock"  # held while the folder is written to


@dataclass(frozen=True)
class Finished:
    """A finished build: how many songs and chunks, hours of the 30 s chunks, refused files."""

    folder: Path
    songs: int
    chunks: int
    hours: float
    refused: tuple[Refusal, ...]
    hash: str


def check_folder(source: Path, data: Path) -> None:
    """The folder of the data set is new, empty or a data set, and apart from the songs.

    Raises:
        BadRequest: it is not.
    """
    here, there = source.resolve(), data.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise BadRequest(
            f"The data set cannot lie in the folder of songs, nor they in it: '{source}', "
            f"'{data}'. Choose a folder beside it."
        )
    inside = [path for path in data.iterdir() if path.name != LOCK] if data.is_dir() else []
    if inside and not (data / BUILD).is_file():
        raise BadRequest(f"'{data}' holds other files. Choose a new or an empty folder.")


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """One build or forgetting at a time; a lock that a killed one left behind is none.

    Raises:
        BadRequest: another one is at work in that folder.
        CannotSave: the folder cannot be made or written to.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(data / LOCK)
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BadRequest(
            f"Another build is at work in '{data}'. Wait for it, or choose another folder."
        ) from error
    except OSError as error:
        raise CannotSave(f"'{data}' cannot be made: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()


def begin(data: Path) -> None:
    """Mark a data set as unfinished, until `finish` has written the new rows.

    Raises:
        CannotSave: the folder cannot be made or written to.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        unfinished = {"kind": KIND, "finished": False, "made_by": {}}
        write_text(data / BUILD, json.dumps(unfinished))  # until the new rows are written
    except OSError as error:
        raise CannotSave(f"'{data}' cannot be made: {error.strerror or error}.") from error


def finish(
    data: Path,
    settings: Settings,
    found: Sequence[Song],
    about: Mapping[str, About],
    chunks: Mapping[str, Sequence[Row]],
    refused: Sequence[Refusal],
    made_by: str,
    prune: bool = False,
) -> Finished:
    """Splits, captions, manifests and datasheet of all songs that were prepared.

    Args:
        found: all songs, the refused ones too.
        about, chunks: by song id, of those that were read, and of those that were prepared.
        prune: remove what was made of songs that are not among `found`.
    """
    names = {song.id: song for song in found}
    rows = _rows(chunks, about, names, data, settings)
    check_splits(rows)
    _remove(data / "chunks", set(chunks))
    if prune:
        _remove(data / "songs", set(names))
    told = {
        "version": f"voice2music {__version__}",
        "command": made_by,
        "separation": settings.separation or "ready pairs",
        "seed": str(settings.seed),
        **{
            f"limits: {part}": _listed(values) for part, values in settings.limits.to_json().items()
        },
    }
    who = {song: {"name": names[song].name, **asdict(known)} for song, known in about.items()}
    write_text(data / ABOUT, json.dumps(who, indent=1))
    return write_all(data, rows, sorted(refused, key=lambda r: r.file), told)


def write_all(
    data: Path,
    rows: Sequence[Row],
    refused: Sequence[Refusal],
    told: Mapping[str, str],
    *,
    finished: bool = True,
) -> Finished:
    """The manifests, the list of refused files, the datasheet and `build.json`, which is last.

    Args:
        finished: whether a build has ended, so that the rows are those of what lies on disk.
    """
    write_splits(data, rows)
    write_rows(data / REFUSED, tuple(asdict(refusal) for refusal in refused))
    write_datasheet(data, rows, refused, told)
    mark = key_of(list(rows))
    values = {"kind": KIND, "finished": finished, "hash": mark, "made_by": dict(told)}
    write_text(data / BUILD, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    seconds = sum(row["seconds"] for row in rows if row["model"] == "musicgen")
    songs = len({row["song_id"] for row in rows})
    return Finished(data, songs, len(rows), seconds / 3600, tuple(refused), mark)


def write_splits(data: Path, rows: Sequence[Row]) -> None:
    """The three manifests."""
    for split in SPLITS:
        write_rows(data / f"{split}.jsonl", tuple(row for row in rows if row["split"] == split))


def read_build(data: Path, *, finished: bool = True) -> dict[str, Any]:
    """What `build.json` says.

    Args:
        finished: refuse what a build has begun and not ended.
    Raises:
        BadManifest: there is none, or it is not a (finished) build's.
    """
    try:
        values = json.loads((data / BUILD).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadManifest(
            f"'{data}' is no data set of songs ({error}). Make one with `voice2music dataset "
            f"build`."
        ) from error
    known = isinstance(values, dict) and values.get("kind") == KIND
    if not known or (finished and not values.get("finished")):
        raise BadManifest(f"The data set in '{data}' is not finished. Run its build again.")
    found: dict[str, Any] = values
    return found


def read_chunks(data: Path, split: Split | None = None) -> tuple[Row, ...]:
    """The rows of one split, or of all.

    Raises:
        BadManifest: not a finished data set, or damaged.
    """
    read_build(data)
    wanted = SPLITS if split is None else (split,)
    rows = tuple(row for name in wanted for row in read_rows(data / f"{name}.jsonl"))
    for row in rows:
        _check_places(data, row)
    return rows


def _check_places(data: Path, row: Row) -> None:
    """A data set may be a stranger's: its files lie within it, and names are names."""
    try:
        places = [row[kind]["file"] for kind in (*KINDS, "caches") if row[kind]]
        inside = all((data / place).resolve().is_relative_to(data.resolve()) for place in places)
        named = re.fullmatch(r"[\w-]+", row["id"]) is not None
    except (KeyError, TypeError) as error:
        raise BadManifest(f"A row of '{data.name}' lacks {error}. Build it again.") from error
    if not (inside and named):
        raise BadManifest(
            f"A row of '{data.name}' ({row['id']!r:.60}) names files outside of it. Do not use it."
        )


def last_rows(data: Path) -> tuple[Row, ...]:
    """The rows of the last build that ended, if any."""
    files = [data / f"{name}.jsonl" for name in SPLITS]
    return tuple(row for file in files if file.is_file() for row in read_rows(file))


def damaged_chunks(data: Path) -> tuple[int, list[str]]:
    """How many chunks there are, and which have files that are not what the manifest says."""
    rows = read_chunks(data)
    return len(rows), [words for row in rows if (words := _damage(data, row))]


def _damage(data: Path, row: Row) -> str:
    places = [row[kind] for kind in (*KINDS, "caches") if row[kind]]
    wrong = [
        place["file"]
        for place in places
        if not (data / place["file"]).is_file()
        or file_sha256(data / place["file"]) != place["sha256"]
    ]
    return f"{row['id']}: not as the manifest says: {', '.join(wrong)}" if wrong else ""


def read_refused(data: Path) -> tuple[Refusal, ...]:
    """The files that were not taken by the last build that ended."""
    if not (data / REFUSED).is_file():
        return ()
    return tuple(Refusal(**row) for row in read_rows(data / REFUSED))


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _rows(
    chunks: Mapping[str, Sequence[Row]],
    about: Mapping[str, About],
    names: Mapping[str, Song],
    data: Path,
    settings: Settings,
) -> list[Row]:
    """All chunks with names, captions and split."""
    named: list[Row] = []
    for song, rows in sorted(chunks.items()):
        read = json.loads((data / "songs" / song / "read.json").read_text("utf-8"))
        apart = json.loads((data / "songs" / song / "apart.json").read_text("utf-8"))
        source = {"files": list(names[song].files), "sha256": read["sha256"]}
        for row in rows:
            told = _told(about[song], row["named"])
            said = captions(Known(told.genre, told.mood, row["bpm"], row["key"]), row["id"])
            fields = {("song" if k == "title" else k): v for k, v in asdict(told).items()}
            plain = {k: v for k, v in row.items() if k != "named"}
            named.append(
                {**plain, **fields, "song_id": song, "source": source,
                 "separation": apart["model"], "captions": list(said)}
            )  # fmt: skip
    dealt = splits(_songs(named), _shares(settings), settings.seed)
    return [{**row, "split": dealt[row["song_id"]]} for row in named]


def _told(about: About, named: Mapping[str, str]) -> About:
    """What is known, with CLAP's word for a genre and mood that nobody gave."""
    heard = About(genre=named["genre"], mood=named["mood"], genre_from="clap")
    told = about.over(heard)
    return told if told.genre else About(**{**asdict(told), "genre_from": ""})


def _songs(rows: Sequence[Row]) -> list[Songs]:
    found: dict[str, Songs] = {}
    for row in rows:
        seconds = row["seconds"] + (found[row["song_id"]].seconds if row["song_id"] in found else 0)
        kind = (row["genre"].casefold(), row["language"].casefold())
        found[row["song_id"]] = Songs(row["song_id"], row["artist"], row["song"], kind, seconds)
    return list(found.values())


def _shares(settings: Settings) -> dict[Split, float]:
    kept = settings.limits.split
    return {"train": 1 - kept.valid - kept.test, "valid": kept.valid, "test": kept.test}


def _remove(folder: Path, kept: set[str]) -> None:
    """Folders of songs that are not kept."""
    for place in folder.glob("*"):
        if place.is_dir() and place.name not in kept:
            shutil.rmtree(place)
