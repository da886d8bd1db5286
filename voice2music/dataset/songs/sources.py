"""Which songs there are: a folder of files, or ready pairs of voice and accompaniment."""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from voice2music.dataset.songs.about import About, Entry, read_table
from voice2music.errors import BadRequest

AUDIO = (".mp3", ".flac", ".wav", ".m4a", ".ogg", ".opus", ".aac", ".aif", ".aiff", ".webm")
PLACE = "{song}"  # in a pattern of file names


@dataclass(frozen=True)
class Song:
    """One song to be worked on.

    Args:
        id: of its path: the same in every run.
        files: relative to the folder of songs; the mixture, or voice and accompaniment.
        about: from a table; tags are read later.
        why_not: why it cannot be used at all, "" where it can.
    """

    id: str
    files: tuple[str, ...]
    about: About
    why_not: str = ""

    @property
    def ready(self) -> bool:
        """Whether voice and accompaniment are given apart."""
        return len(self.files) == 2

    @property
    def name(self) -> str:
        """What a user knows it by."""
        return " + ".join(self.files)


@dataclass(frozen=True)
class Patterns:
    """Names of ready pairs, without endings, such as "{song}_vocals" and "{song}_backing".

    Raises:
        BadRequest: `{song}` is missing or there twice, or both patterns are the same.
    """

    voice: str
    back: str

    def __post_init__(self) -> None:
        if self.voice == self.back or any(p.count(PLACE) != 1 for p in (self.voice, self.back)):
            raise BadRequest(
                f"The names of pairs must be two patterns with {PLACE} once in each, such as "
                f"'{PLACE}_vocals' and '{PLACE}_backing'; got '{self.voice}' and '{self.back}'."
            )


def patterns_of(voice: str | None, back: str | None) -> Patterns | None:
    """Of the user's two options; None where neither is given.

    Raises:
        BadRequest: only one is given; see `Patterns`.
    """
    if voice is None and back is None:
        return None
    return Patterns(voice or "", back or "")


def songs(
    folder: Path, table: Path | None = None, patterns: Patterns | None = None
) -> tuple[Song, ...]:
    """All songs of a folder and its subfolders, in the order of their paths.

    Args:
        folder: links out of it are not followed.
        table: see `read_table`; files that it does not name are taken too, without its knowledge.
        patterns: the files are ready pairs with such names; others are refused.
    Raises:
        BadRequest: no folder, or no song in it. BadManifest: see `read_table`.
    """
    if not folder.is_dir():
        raise BadRequest(f"There is no folder '{folder}'. Give one with songs in it.")
    entries = read_table(table) if table else ()
    files = [path.relative_to(folder).as_posix() for path in _audio(folder)]
    found = sorted(_songs(files, entries, patterns), key=lambda song: song.name)
    if not found:
        raise BadRequest(
            f"There is no song in '{folder}'. Files with these endings count: {' '.join(AUDIO)}."
        )
    return tuple(found)


def _audio(folder: Path) -> Iterator[Path]:
    inside = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in AUDIO or path.name.startswith("."):
            continue
        if path.is_file() and inside in path.resolve().parents:
            yield path


def _songs(
    files: list[str], entries: tuple[Entry, ...], patterns: Patterns | None
) -> Iterator[Song]:
    there = set(files)
    taken: set[str] = set()
    known: dict[str, About] = {}
    for entry in entries:
        names = (entry.voice, entry.back) if entry.voice and entry.back else (entry.file,)
        lacking = [name for name in names if name not in there]
        if len(names) == 2 or lacking:
            taken.update(names)
            why = f"the table names it, but there is no such file: {lacking[0]}" if lacking else ""
            yield _song(names, entry.about, why)
        else:
            known[entry.file] = entry.about
    left = [name for name in files if name not in taken]
    if patterns is None:
        for name in left:
            yield _song((name,), known.get(name, About()))
    else:
        yield from _pairs(left, patterns, known)


def _pairs(files: list[str], patterns: Patterns, known: Mapping[str, About]) -> Iterator[Song]:
    voices, backs = (_named(files, pattern) for pattern in (patterns.voice, patterns.back))
    for song in sorted({*voices, *backs}):
        names = tuple(each[song] for each in (voices, backs) if song in each)
        why = "" if len(names) == 2 else "its other half is missing"
        about = known.get(names[0], About()).over(known.get(names[-1], About()))
        yield _song(names, about, why)
    for name in sorted(set(files) - {*voices.values(), *backs.values()}):
        yield _song((name,), About(), "its name fits neither pattern of the pairs")


def _named(files: list[str], pattern: str) -> dict[str, str]:
    """Song to file, of those whose name without ending is as the pattern says."""
    before, after = map(re.escape, pattern.split(PLACE))
    shape = re.compile(f"(?P<folder>(?:.*/)?){before}(?P<song>[^/]+){after}\\.[^./]+")
    found = ((name, shape.fullmatch(name)) for name in files)
    return {hit["folder"] + hit["song"]: name for name, hit in found if hit}


def _song(names: tuple[str, ...], about: About, why_not: str = "") -> Song:
    """With an id of the file's name, told apart by a hash of the whole path."""
    stem = re.sub(r"[^a-z0-9]+", "-", Path(names[0]).stem.lower()).strip("-")[:40] or "song"
    mark = hashlib.sha256(b"\n".join(map(os.fsencode, names))).hexdigest()[:8]
    known = [name.encode("utf-8", "replace").decode() for name in names]
    if known != list(names):
        return Song(f"{stem}-{mark}", tuple(known), about, "its name is not UTF-8: rename it")
    return Song(f"{stem}-{mark}", names, about, why_not)
