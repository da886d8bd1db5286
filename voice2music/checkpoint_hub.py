"""Downloading from huggingface.co: only safe kinds of files, checked against the hub's hashes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voice2music import checkpoint_files as files
from voice2music.errors import CorruptCheckpoint, MissingCheckpoint, MissingPackage

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be downloaded.

    Args:
        hub: repository, "owner/name"; `revision`: a commit or branch of it.
        patterns: which files.
        megabytes: how much it will be, for the progress; 0 where it is not known.
        sha256: file name to pinned hash, beside those that the hub itself states.
    """

    hub: str
    revision: str
    patterns: tuple[str, ...]
    megabytes: int
    sha256: dict[str, str]


def download(wanted: Wanted, folder: Path, progress: Progress) -> None:
    """Fetch into `folder`, which appears whole or not at all; a broken-off download is resumed.

    Raises:
        MissingCheckpoint: it could not be downloaded.
        CorruptCheckpoint: it is not what the hub or the index states, or no usable model.
    """
    partial = folder.with_name(f".{folder.name}.part")
    progress(0.0, f"Asking for {wanted.hub}")
    revision, hashes = _fetch(wanted, partial, progress)
    progress(0.95, "Checking the files")
    try:
        files.check_layout(partial)
        files.check_hashes(partial, hashes | wanted.sha256)
    except CorruptCheckpoint:
        shutil.rmtree(partial)  # the client would take the files for whole and never mend them
        raise
    source = {"hub": wanted.hub, "revision": revision, "sha256": hashes}
    (partial / files.SOURCE_FILE).write_text(json.dumps(source, indent=1), encoding="utf-8")
    shutil.rmtree(partial / ".cache", ignore_errors=True)  # the hub client's own bookkeeping
    if folder.is_dir() and any(folder.iterdir()):
        shutil.rmtree(partial)  # another process has fetched it meanwhile
        return
    shutil.rmtree(folder, ignore_errors=True)  # an empty one would be in the way on Windows
    partial.replace(folder)


def _fetch(wanted: Wanted, partial: Path, progress: Progress) -> tuple[str, dict[str, str]]:
    """Download; gives the commit and the hub's hashes of the files that came."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingPackage(
            "Fetching models needs the package huggingface_hub: pip install 'voice2music[models]'"
        ) from error
    failures = (
        errors.HTTPError,  # type: ignore[attr-defined]  # of the HTTP library that it uses
        errors.HFValidationError,
        errors.RevisionResolutionError,
        errors.XetDownloadError,
        OSError,
    )
    try:
        promised = hub.HfApi().model_info(wanted.hub, revision=wanted.revision, files_metadata=True)
        hub.snapshot_download(
            wanted.hub,
            revision=promised.sha,
            local_dir=partial,
            allow_patterns=list(wanted.patterns),
            tqdm_class=_bar(progress, wanted.megabytes * 10**6),
        )
    except failures as error:
        raise MissingCheckpoint(
            f"'{wanted.hub}' could not be downloaded ({_short(error)}). Check the name, the "
            f"network and the free disk space, then try again; it goes on where it stopped."
        ) from error
    hashes = {
        file.rfilename: file.lfs.sha256
        for file in promised.siblings or []
        if file.lfs and (partial / file.rfilename).is_file()
    }
    return promised.sha or wanted.revision, hashes


def _bar(progress: Progress, expected: int) -> type:
    """A progress bar class for the hub's client that tells `progress` instead of drawing.

    The client opens several: some count files, some the same bytes at two places; the one that is
    furthest counts.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    furthest = 0

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: object, **kwargs: object) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **(kwargs | {"disable": False, "file": _Nowhere()}))

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal furthest
            changed = super().update(n)
            if self.unit == "B" and self.n > furthest and expected:
                furthest = self.n
                progress(min(0.95, furthest / expected), f"{furthest / 10**6:.0f} MB fetched")
            return bool(changed)

    return Bar


class _Nowhere:
    """A stream that drops what is written to it."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
