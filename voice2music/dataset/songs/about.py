"""What is known of a song besides its sound: from a table of the user's, else from its tags."""

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any

from voice2music.clip import DEMUXERS
from voice2music.errors import BadManifest

LONGEST_TEXT = 300  # characters of a field; more is no name
LARGEST_TABLE = 64 * 1024 * 1024  # bytes
_OTHER_NAMES = {"license": "licence", "vocals": "voice", "instrumental": "back", "name": "title"}


@dataclass(frozen=True)
class About:
    """Who made a song and what may be done with it; "" where that is not known.

    Args:
        genre, mood, language: in words, as the source has them.
        licence: by which it may be used; consent: of the singer, in words.
        genre_from: "table", "tag", "clap", or "" where no genre is known.
    """

    artist: str = ""
    title: str = ""
    genre: str = ""
    mood: str = ""
    language: str = ""
    licence: str = ""
    consent: str = ""
    genre_from: str = ""

    def over(self, other: "About") -> "About":
        """This, with what it does not know taken from `other`."""
        known = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}
        merged = replace(other, **known)
        return replace(merged, genre_from=self.genre_from if self.genre else other.genre_from)


FIELDS = tuple(f.name for f in fields(About) if f.name != "genre_from")
_FREE = re.compile(r"creative ?commons|\bCC(?:0|[ -](?:0|BY))\b|public domain", re.IGNORECASE)
COLUMNS = ("file", "voice", "back", *FIELDS)


@dataclass(frozen=True)
class Entry:
    """One row of a table: a song's file, or a voice with its accompaniment, and what is known.

    Args:
        file, voice, back: paths relative to the folder of songs, with slashes; "" where not given.
    """

    file: str
    voice: str
    back: str
    about: About


def read_table(path: Path) -> tuple[Entry, ...]:
    """The rows of a CSV (with a line of headings) or JSON (a list of objects).

    The columns are `COLUMNS`; a row has a `file`, or a `voice` and a `back`.

    Raises:
        BadManifest: cannot be read, unknown columns, rows without a file, a file named twice, paths
            that lead out of the folder.
    """
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    entries = tuple(_entry(path, number, row) for number, row in rows)
    seen: set[str] = set()
    for entry in entries:
        for name in filter(None, (entry.file, entry.voice, entry.back)):
            if name in seen:
                raise BadManifest(f"'{path.name}' names '{name}' twice. Keep one row of it.")
            seen.add(name)
    return entries


def from_tags(tags: Mapping[str, str]) -> About:
    """What a file's own tags say (ID3, Vorbis comments, MP4), whatever their case."""
    known = {key.lower(): _text(value) for key, value in tags.items()}
    genre = known.get("genre", "")
    return About(
        artist=known.get("artist") or known.get("album_artist", ""),
        title=known.get("title", ""),
        genre=genre,
        mood=known.get("mood", ""),
        language=known.get("language", ""),
        licence=known.get("license") or known.get("licence") or _free(known.get("copyright", "")),
        genre_from="tag" if genre else "",
    )


def _free(notice: str) -> str:
    """A copyright notice that is a licence; most only say whose the song is."""
    return notice if _FREE.search(notice) else ""


def tags_of(path: Path) -> dict[str, str]:
    """What an audio file says of itself: names as the file has them, any text.

    Empty where there are none or they cannot be read: the sound's reader says what is wrong.
    """
    import av

    try:
        with av.open(
            f"file:{path.resolve()}",
            metadata_errors="replace",
            container_options={"format_whitelist": DEMUXERS},
        ) as container:
            streams = container.streams.audio
            found = {**(streams[0].metadata if streams else {}), **container.metadata}
    except (av.FFmpegError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()}


def _csv_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(StringIO(_read(path)), restkey="", restval="")
    try:
        rows = list(enumerate(reader, 2))
    except csv.Error as error:
        raise BadManifest(f"'{path.name}' is no CSV ({error}). Save it as CSV again.") from error
    _check_columns(path, reader.fieldnames or ())
    if wide := [number for number, row in rows if row.get("")]:
        raise BadManifest(
            f"'{path.name}', line {wide[0]}: more values than headings. Put texts with commas in "
            f"quotation marks."
        )
    return rows


def _json_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        rows = json.loads(_read(path))
    except ValueError as error:
        raise BadManifest(f"'{path.name}' is no JSON ({error}).") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadManifest(f"'{path.name}' must hold a list of objects, one per song.")
    for row in rows:
        _check_columns(path, row)
    return list(enumerate(rows, 1))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise BadManifest(f"'{path.name}' is larger than 64 MB; that is no table of songs.")
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadManifest(f"'{path.name}' cannot be read ({error}). Save it as UTF-8.") from error


def _check_columns(path: Path, names: Iterable[str]) -> None:
    given = [_column(name) for name in names]
    unknown = sorted(set(given) - set(COLUMNS))
    if unknown or not given:
        named = ", ".join(name or "one without a heading" for name in unknown) or "none at all"
        raise BadManifest(
            f"'{path.name}' has columns that are not known: {named}. "
            f"Known are {', '.join(COLUMNS)}; only 'file' is needed."
        )
    if "file" not in given and not {"voice", "back"} <= set(given):
        raise BadManifest(
            f"'{path.name}' does not say which file a row is about: it needs a column 'file', or "
            f"'voice' and 'back'."
        )


def _column(name: str) -> str:
    plain = str(name).strip().lower()
    return _OTHER_NAMES.get(plain, plain)


def _entry(path: Path, number: int, row: Mapping[str, Any]) -> Entry:
    values = {_column(key): _text(value) for key, value in row.items()}
    file, voice, back = (_inside(path, number, values.get(key, "")) for key in COLUMNS[:3])
    if not (file or (voice and back)):
        raise BadManifest(
            f"'{path.name}', row {number}: no file. Give a 'file', or a 'voice' and a 'back'."
        )
    known = {name: values.get(name, "") for name in FIELDS}
    return Entry(file, voice, back, About(**known, genre_from="table" if known["genre"] else ""))


def _inside(path: Path, number: int, name: str) -> str:
    """A relative path that stays in the folder of songs."""
    plain = PurePosixPath(name.replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts:
        raise BadManifest(
            f"'{path.name}', row {number}: '{name}' leads out of the folder of songs. Write paths "
            f"relative to it."
        )
    return str(plain) if name else ""


def _text(value: object) -> str:
    """One line of text, cut where it is no name any more."""
    return " ".join(str(value or "").split())[:LONGEST_TEXT]
