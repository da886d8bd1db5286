"""OpenEWLD, 502 lead sheets with chords, and the part of it that is cleared for our use.

Cleared is a work that was first performed by 1930 and whose authors had all died by 1955: in
2026 such a work is free both where protection runs 95 years from publication and where it runs 70
years from the last author's death. Years are those of the archive's own database.

Its table `work_author` names one author per work only; all of them stand in the name of the
work's folder. By the table alone 238 entries would pass, among them works with an author who died
as late as 1996. Here every author of the folder's name must be in `authors` with a year of death,
else the work is left out. Several entries of one work share one sheet; it counts once.

`python -m voice2music.dataset.openewld ARCHIVE` writes the list, `openewld_cleared.csv`, and what
is counted from its sheets, `harmony_counts.json`.

Source: F. Simonetta et al., *Symbolic Music Similarity through a Graph-based Representation*,
Audio Mostly 2018; scores public domain, code and database MIT. Titles, authors' names and dates in
the database, and so in the list, come from secondhandsongs.com (CC BY-NC 3.0).
"""

import csv
import sqlite3
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from voice2music.chords import key_name
from voice2music.dataset.harmony_counts import write_counts
from voice2music.dataset.musicxml import LeadSheet, SheetChord, SheetNote, read_musicxml
from voice2music.errors import BadManifest

__all__ = [
    "Archive",
    "LeadSheet",
    "SheetChord",
    "SheetNote",
    "Work",
    "cleared_works",
    "listed_works",
    "open_archive",
    "read_sheet",
    "write_list",
]

LAST_YEAR = 1930  # of the first performance
LAST_DEATH = 1955  # of any author
CLEARED = Path(__file__).with_name("openewld_cleared.csv")
_COLUMNS = ("title", "authors", "year", "deaths", "path", "key", "metre", "tempo")
_ROOT = "OpenEWLD/"


@dataclass(frozen=True)
class Work:
    """A cleared work.

    Args:
        year: of the first performance; `deaths`: the authors' years of death, in their order.
        path: of the sheet inside the archive.
    """

    title: str
    authors: tuple[str, ...]
    year: int
    deaths: tuple[int, ...]
    path: str


@dataclass(frozen=True, eq=False)
class Archive:
    """The archive's sheets (path to bytes) and its database, unpacked in memory."""

    sheets: Mapping[str, bytes]
    database: bytes


def open_archive(path: Path | str) -> Archive:
    """Read the .tar.xz as its makers publish it; nothing is written to disk.

    Raises:
        BadManifest: not there, not such an archive, or without its database.
    """
    sheets: dict[str, bytes] = {}
    database = b""
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is not None and member.name.endswith(".mxl"):
                    sheets[member.name.removeprefix(_ROOT)] = file.read()
                elif file is not None and member.name.endswith("OpenEWLD.db"):
                    database = file.read()
    except (OSError, tarfile.TarError) as error:
        raise BadManifest(f"'{Path(path).name}' cannot be read as an archive: {error}") from error
    if not database or not sheets:
        raise BadManifest(f"'{Path(path).name}' is not OpenEWLD: no database or no sheets in it.")
    return Archive(sheets, database)


def cleared_works(archive: Archive) -> tuple[Work, ...]:
    """The works that keep the rule, in the order of their paths, each sheet once."""
    with sqlite3.connect(":memory:") as database:
        database.deserialize(archive.database)
        deaths = {
            str(name): int(death[:4])
            for name, death in database.execute("SELECT common_name, death FROM authors")
            if death
        }
        rows = database.execute(
            "SELECT title, first_performance_date, path_leadsheet FROM works ORDER BY id"
        ).fetchall()
    works: dict[str, Work] = {}
    for title, date, path in rows:
        authors = _authors(path, deaths)
        if date and authors and path in archive.sheets:
            died = tuple(deaths[name] for name in authors)
            work = Work(str(title), authors, int(date[:4]), died, path)
            if work.year <= LAST_YEAR and max(died) <= LAST_DEATH:
                works.setdefault(path, work)
    return tuple(works[path] for path in sorted(works))


def read_sheet(archive: Archive, work: Work) -> LeadSheet:
    """The work's lead sheet, times in beats; about 20 ms.

    Raises:
        BadManifest: the archive does not hold it, or it cannot be read.
    """
    if work.path not in archive.sheets:
        raise BadManifest(f"The archive holds no '{work.path}'.")
    return read_musicxml(archive.sheets[work.path], work.title)


def write_list(archive: Archive, works: tuple[Work, ...], path: Path = CLEARED) -> None:
    """The list of cleared works as CSV, with key, metre and tempo of each sheet."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for work in works:
            sheet = read_sheet(archive, work)
            names, deaths = "; ".join(work.authors), "; ".join(map(str, work.deaths))
            tempo = "" if sheet.tempo is None else f"{sheet.tempo:g}"
            music = (key_name(sheet.key), sheet.metre, tempo)
            writer.writerow((work.title, names, work.year, deaths, work.path, *music))


def listed_works(path: Path = CLEARED) -> Iterator[Work]:
    """The works of the committed list."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            authors = tuple(row["authors"].split("; "))
            deaths = tuple(int(year) for year in row["deaths"].split("; "))
            yield Work(row["title"], authors, int(row["year"]), deaths, row["path"])


def _authors(path: str, known: Mapping[str, int]) -> tuple[str, ...]:
    """All authors in the folder's name, "A._B-C-D", or () where one of them is not in `known`.

    Names may hold hyphens themselves, so the longest known name is taken each time.
    """
    parts = Path(path).parts[1].replace("_", " ").split("-")
    names: list[str] = []
    while parts:
        ends = [n for n in range(len(parts), 0, -1) if "-".join(parts[:n]) in known]
        if not ends:
            return ()
        names.append("-".join(parts[: ends[0]]))
        parts = parts[ends[0] :]
    return tuple(names)


def main(arguments: list[str]) -> int:
    """Write the list and the counts out of the archive named on the command line."""
    if len(arguments) != 1:
        print("usage: python -m voice2music.dataset.openewld ARCHIVE", file=sys.stderr)
        return 2
    archive = open_archive(arguments[0])
    works = cleared_works(archive)
    write_list(archive, works)
    write_counts([read_sheet(archive, work) for work in works])
    print(f"{len(works)} cleared works")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
