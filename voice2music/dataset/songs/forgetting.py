"""Leaving an artist out for good: sound, chunks, caches, records and rows go; hashes stay.

The hashes, of the name and of the songs' files, keep a later build from taking the songs in again.
They tell whether somebody known is meant, and do not list names.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from voice2music.dataset.shards import write_text
from voice2music.dataset.songs.refusals import Refusal
from voice2music.dataset.songs.splits import artists
from voice2music.errors import BadManifest, BadRequest

FORGOTTEN = "forgotten.json"
SOMEBODY = "a forgotten artist's file"  # stands for its name wherever it is told
CACHES = "finetuning"  # folder of what fine-tuning keeps beside the data; holds tokens of all songs


def forgotten(data: Path, artist: str, sha256: str = "") -> bool:
    """Whether a song is to be left out of a data set.

    Args:
        artist: one, or several who share it; one of them is enough.
        sha256: of its files, as its record has it.
    Raises:
        BadManifest: the list of those is damaged.
    """
    marks = _marks(data)
    return sha256 in marks or any(_mark(name) in marks for name in artists(artist))


def forget(data: Path, artist: str) -> int:
    """Delete everything of an artist, whatever the case and accents of the name.

    A build that has not ended is no hindrance. Songs that are shared with others go too.

    Returns:
        How many songs were removed.
    Raises:
        BadRequest: no name. BadManifest: no data set. OSError: see `write_datasheet`.
    """
    from voice2music.dataset.songs import manifest

    if not artists(artist):
        raise BadRequest("Say whose songs are to be removed.")
    manifest.read_build(data, finished=False)  # nothing is written into what is no data set
    with manifest.alone(data):
        return _forgotten(data, artist)


def _forgotten(data: Path, artist: str) -> int:
    """How many songs were removed."""
    from voice2music.dataset.songs import manifest

    made = manifest.read_build(data, finished=False)
    about = _about(data / manifest.ABOUT)
    theirs = _songs_of(data, artist, about)
    hashes = {read["sha256"] for song in theirs if (read := _read(data, song)).get("sha256")}
    marks = {*_marks(data), *map(_mark, artists(artist)), *hashes}
    write_text(data / FORGOTTEN, json.dumps(sorted(marks)))
    rows = [row for row in manifest.last_rows(data) if row["song_id"] not in theirs]
    names = {about[song]["name"] for song in theirs if song in about}
    refused = without_names(manifest.read_refused(data), names)
    manifest.write_splits(data, rows)  # first: no row may be left without its sound
    places = [data / part / song for part in ("chunks", "songs") for song in theirs]
    for place in (*places, data / CACHES):
        if place.is_dir():
            shutil.rmtree(place)
    kept = {song: known for song, known in about.items() if song not in theirs}
    write_text(data / manifest.ABOUT, json.dumps(kept, indent=1))
    manifest.write_all(
        data, rows, refused, made.get("made_by", {}), finished=bool(made.get("finished"))
    )
    return len(theirs)


def without_names(refused: Iterable[Refusal], names: set[str]) -> list[Refusal]:
    """Refusals without files of those names, and without these names in the reasons of others."""
    out = []
    for refusal in refused:
        why = refusal.why
        for name in names:
            why = why.replace(f"'{name}'", SOMEBODY)
        if refusal.file not in names:
            out.append(replace(refusal, why=why))
    return out


def _songs_of(data: Path, artist: str, about: Mapping[str, Any]) -> set[str]:
    """By the table and tags of the last build, and by the tags of what was read since."""
    wanted = artists(artist)
    known = {song: values["artist"] for song, values in about.items()}
    for folder in (data / "songs").glob("*"):
        known.setdefault(folder.name, _read(data, folder.name).get("tags", {}).get("artist", ""))
    return {song for song, name in known.items() if wanted & artists(name)}


def _read(data: Path, song: str) -> dict[str, Any]:
    """A song's record of having been read; empty where there is none."""
    try:
        record = json.loads((data / "songs" / song / "read.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _about(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        known: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BadManifest(f"'{path.name}' is damaged ({error}). Build the set again.") from error
    return known


def _marks(data: Path) -> set[str]:
    path = data / FORGOTTEN
    if not path.is_file():
        return set()
    try:
        return set(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadManifest(f"'{path.name}' is damaged ({error}). Restore it from a copy.") from error


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
