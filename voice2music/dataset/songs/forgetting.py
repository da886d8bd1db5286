"""Leaving an artist out for good: sound, chunks, caches, records and rows go; a hash stays.

The hash of the name keeps a later build from taking the songs in again. It tells whether somebody
known is meant, and does not list names.
"""

import hashlib
import json
import shutil
from pathlib import Path

from voice2music.dataset.shards import write_text
from voice2music.dataset.songs.splits import plain_name
from voice2music.errors import BadManifest, BadRequest

FORGOTTEN = "forgotten.json"


def forgotten(data: Path, artist: str) -> bool:
    """Whether an artist was asked to be left out of a data set.

    Raises:
        BadManifest: the list of those is damaged.
    """
    return bool(artist) and _mark(artist) in _marks(data)


def forget(data: Path, artist: str) -> int:
    """Delete everything of an artist, whatever the case and accents of the name.

    Returns:
        How many songs were removed.
    Raises:
        BadRequest: no name. BadManifest: no finished data set. OSError: see `write_datasheet`.
    """
    from voice2music.dataset.songs import manifest

    wanted = plain_name(artist)
    if not wanted:
        raise BadRequest("Say whose songs are to be removed.")
    told = manifest.read_build(data)["made_by"]
    about = json.loads((data / manifest.ABOUT).read_text("utf-8"))
    theirs = {song for song, known in about.items() if plain_name(known["artist"]) == wanted}
    write_text(data / FORGOTTEN, json.dumps(sorted({*_marks(data), _mark(artist)})))
    rows = [row for row in manifest.read_chunks(data) if row["song_id"] not in theirs]
    kept = {song: known for song, known in about.items() if song not in theirs}
    files = {about[song]["name"] for song in theirs}
    refused = [refusal for refusal in manifest.read_refused(data) if refusal.file not in files]
    manifest.write_splits(data, rows)  # first: no row may be left without its sound
    for place in (data / part / song for part in ("chunks", "songs") for song in theirs):
        if place.is_dir():
            shutil.rmtree(place)
    write_text(data / manifest.ABOUT, json.dumps(kept, indent=1))
    manifest.write_all(data, rows, refused, told)
    return len(theirs)


def _marks(data: Path) -> set[str]:
    path = data / FORGOTTEN
    if not path.is_file():
        return set()
    try:
        return set(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadManifest(f"'{path.name}' is damaged ({error}). Restore it from a copy.") from error


def _mark(artist: str) -> str:
    return hashlib.sha256(plain_name(artist).encode()).hexdigest()
