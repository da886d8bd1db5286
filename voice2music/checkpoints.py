"""Name → verified local folder of weights; the only code that downloads.

A checkpoint is looked for, in this order: a folder given as a path; `checkpoints/NAME` in the
working directory and beside the package (the repository); the user's cache. Nothing is downloaded
unless `fetch` is called. The cache is `~/.cache/voice2music/checkpoints`; the environment variable
`VOICE2MUSIC_CACHE` puts another folder in the place of `~/.cache/voice2music`.

Weights are safetensors. Whatever else is read, is read without running code in it
(`torch.load(weights_only=True)`); a pickle that needs more is refused unless its owner says, in
`conversion.convert`, that it is to be trusted.
"""

import functools
import importlib.metadata
import json
import logging
import os
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from voice2music import checkpoint_files as files
from voice2music.errors import BadRequest, MissingCheckpoint

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]

CACHE_VARIABLE: Final = "VOICE2MUSIC_CACHE"
USUAL_FILES: Final = ("*.safetensors", "*.json", "*.txt")
SUGGESTION: Final = {"musicgen": "musicgen-melody", "audioldm": "audioldm-s"}


@dataclass(frozen=True)
class Entry:
    """What the index says about a checkpoint; see `checkpoints/index.toml` for the fields."""

    name: str
    engine: files.Kind
    licence: str
    commercial: bool
    note: str
    hub: str = ""
    revision: str = "main"
    bundled: bool = False
    megabytes: int = 0
    rate: int = 0
    files: tuple[str, ...] = USUAL_FILES
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A folder of weights on this machine, ready to be loaded.

    Args:
        name: of the index, or the folder's own.
        engine: "musicgen", "audioldm" or "separation".
        folder: where the files are.
        licence: SPDX name, or "unknown".
        commercial: whether music made with it may be used commercially.
        note: one sentence, may be empty.
    """

    name: str
    engine: files.Kind
    folder: Path
    licence: str
    commercial: bool
    note: str = ""

    @functools.cached_property
    def sha256(self) -> str:
        """Over all files in name order; kept in the cache until a file changes."""
        return _remembered_sha256(self.folder)


@dataclass(frozen=True)
class Listed:
    """One line of the list of models. `folder` is None where it is not on this machine."""

    name: str
    engine: files.Kind
    licence: str
    commercial: bool
    note: str
    megabytes: int
    folder: Path | None
    fetchable: bool

    @property
    def available(self) -> bool:
        """Whether it is on this machine."""
        return self.folder is not None


def cache_folder() -> Path:
    """Where fetched checkpoints and remembered hashes lie."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "voice2music"


@functools.cache
def index() -> dict[str, Entry]:
    """All checkpoints that are known by name, in the order of the index."""
    tables = tomllib.loads(_index_file().read_text(encoding="utf-8"))
    return {name: _entry(name, table) for name, table in tables.items()}


def list_checkpoints() -> tuple[Listed, ...]:
    """Every checkpoint of the index, and every other one found in a `checkpoints` folder."""
    known = [
        Listed(e.name, e.engine, e.licence, e.commercial, e.note, e.megabytes, _find(e.name),
               bool(e.hub))
        for e in index().values()
    ]  # fmt: skip
    return (*known, *(_listed_folder(folder) for folder in _other_folders()))


def default_checkpoint(engine: str) -> str:
    """The name to use where none is chosen: the first of the engine's that is on this machine.

    Where none is, it is the bundled one, whose `locate` says what to do.
    """
    names = [listed for listed in list_checkpoints() if listed.engine == engine]
    if not names:
        raise BadRequest(f"There is no engine {engine!r} that has checkpoints.")
    return next((listed.name for listed in names if listed.folder), names[0].name)


def locate(name: str | Path) -> Checkpoint:
    """The checkpoint of that name, hub repository ("facebook/musicgen-melody") or folder.

    Raises:
        MissingCheckpoint: it is not on this machine; the text says how to get it.
        CorruptCheckpoint: the folder is there but not a whole checkpoint.
    """
    entry = _entry_of(str(name))
    folder = _find(entry.name) if entry else _find(str(name))
    if folder is None:
        raise MissingCheckpoint(_how_to_get(str(name), entry))
    engine = files.check_layout(folder)
    if entry is None:
        terms = files.terms_of(folder)
        return Checkpoint(folder.name, engine, folder, terms.licence, terms.commercial, terms.note)
    return Checkpoint(entry.name, engine, folder, entry.licence, entry.commercial, entry.note)


def check(name: str | Path) -> Checkpoint:
    """`locate`, and that every file is the one that was pinned or fetched, to the bit.

    Raises:
        MissingCheckpoint, CorruptCheckpoint: see `locate`; or a file is another than it was.
    """
    found = locate(name)
    entry = index().get(found.name)
    pinned = files.recorded_hashes(found.folder) | (entry.sha256 if entry else {})
    files.check_hashes(found.folder, pinned)
    return found


def fetch(name: str, progress: Progress = lambda share, words: None) -> Checkpoint:
    """Download a checkpoint into the cache, unless it is on this machine, and verify it.

    Args:
        name: of the index, or any hub repository "owner/name" in one of the known layouts.
        progress: called with the share done in [0, 1] and a few words.
    Raises:
        MissingCheckpoint: unknown, not to be downloaded, or the download failed.
        CorruptCheckpoint: what came is not what the hub or the index promised.
    """
    entry = _entry_of(name) or _hub_entry(name)
    if _find(entry.name) is None:
        if not entry.hub:
            raise MissingCheckpoint(_how_to_get(name, entry))
        from voice2music import checkpoint_hub

        wanted = checkpoint_hub.Wanted(
            entry.hub, entry.revision, entry.files, entry.megabytes, entry.sha256
        )
        checkpoint_hub.download(wanted, cache_folder() / "checkpoints" / entry.name, progress)
    progress(1.0, f"{entry.name} is here")
    return check(entry.name)


def _index_file() -> Path:
    """`checkpoints/index.toml` of the repository, or its copy in the installed package."""
    beside = Path(__file__).parents[1] / "checkpoints" / "index.toml"
    if beside.is_file():
        return beside
    for file in importlib.metadata.files("voice2music") or ():
        if file.name == "index.toml" and "voice2music" in file.parts:
            return Path(str(file.locate()))
    raise MissingCheckpoint("The index of models is missing. Install voice2music again.")


def _entry(name: str, table: dict[str, Any]) -> Entry:
    """An entry out of its table in the index."""
    given = dict(table)
    if "files" in given:
        given["files"] = tuple(given["files"])
    return Entry(name=name, **given)


def _entry_of(name: str) -> Entry | None:
    """By name or by hub repository."""
    by_hub = {entry.hub: entry for entry in index().values() if entry.hub}
    return index().get(name) or by_hub.get(name)


def _hub_entry(name: str) -> Entry:
    """An entry for a hub repository that the index does not know."""
    if name.count("/") != 1 or not all(name.split("/")) or name.startswith((".", "/")):
        raise MissingCheckpoint(_how_to_get(name, None))
    return Entry(_folder_name(name), "musicgen", "unknown", False, "", hub=name)


def _folder_name(name: str) -> str:
    return name.replace("/", "--")


def _roots() -> tuple[Path, ...]:
    """Folders that hold checkpoints by name, the first found wins."""
    roots = (
        Path.cwd() / "checkpoints",
        Path(__file__).parents[1] / "checkpoints",
        cache_folder() / "checkpoints",
    )
    return tuple(dict.fromkeys(root.resolve() for root in roots if root.is_dir()))


def _find(name: str) -> Path | None:
    """The folder of a path, a name or a hub repository, where there is one with files in it."""
    given = Path(name).expanduser()
    candidates = [given] if given.is_absolute() or len(given.parts) > 1 else []
    if name not in ("", ".", ".."):
        candidates += [root / _folder_name(name) for root in _roots()]
    return next((path for path in candidates if path.is_dir() and any(path.iterdir())), None)


def _other_folders() -> Iterator[Path]:
    """Checkpoints in the known places that the index does not name."""
    seen = set(index())
    for root in _roots():
        for folder in sorted(root.iterdir()):
            hidden = folder.name.startswith(".")
            if folder.is_dir() and not hidden and folder.name not in seen and files.kind_of(folder):
                seen.add(folder.name)
                yield folder


def _listed_folder(folder: Path) -> Listed:
    engine, terms = files.kind_of(folder), files.terms_of(folder)
    assert engine is not None  # `_other_folders` gives no others
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Listed(
        folder.name, engine, terms.licence, terms.commercial, terms.note, size // 10**6, folder,
        fetchable=False,
    )  # fmt: skip


def _how_to_get(name: str, entry: Entry | None) -> str:
    """One sentence or two: what is missing and how to get it."""
    if entry is None:
        return (
            f"There is no model '{name}' in a checkpoints folder. Known names: "
            f"{', '.join(index())}."
        )
    if entry.bundled:
        other = SUGGESTION[entry.engine]
        return (
            f"The small built-in model '{entry.name}' is not in this copy of the program: take it "
            f"from the repository's folder checkpoints/{entry.name}, or get {index()[other].hub} "
            f"instead ({_size(index()[other])}, not for commercial use): "
            f"voice2music models fetch {other}"
        )
    return (
        f"The model '{entry.name}' is not on this machine; get it ({_size(entry)}, "
        f"{entry.licence}): voice2music models fetch {entry.name}"
    )


def _size(entry: Entry) -> str:
    return (
        f"{entry.megabytes / 1000:.1f} GB" if entry.megabytes >= 1000 else f"{entry.megabytes} MB"
    )


def _remembered_sha256(folder: Path) -> str:
    """`folder_sha256`, from the cache where no file has changed since."""
    memory = cache_folder() / "sha256.json"
    key, now = str(folder.resolve()), files.stamp(folder)
    known = _memory(memory)
    if key in known and known[key].get("stamp") == now:
        return str(known[key]["sha256"])
    found = files.folder_sha256(folder)
    known[key] = {"stamp": now, "sha256": found}
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial = memory.with_name(f"{memory.name}.{os.getpid()}.part")
        partial.write_text(json.dumps(known), encoding="utf-8")
        partial.replace(memory)
    except OSError as error:  # a read-only home costs time at the next start, nothing else
        log.warning("the hash of %s could not be remembered: %s", folder.name, error)
    return found


def _memory(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
