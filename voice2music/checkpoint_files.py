"""What lies in a checkpoint's folder: its kind, its hash, whether it is whole. Reads no weights."""

import hashlib
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from voice2music.errors import CorruptCheckpoint

Kind = Literal["musicgen", "audioldm", "separation"]

OWN_FILE: Final = "voice2music.json"  # what we know about a folder beyond its library's files
SOURCE_FILE: Final = ".voice2music-source.json"  # where it was fetched from, with hashes
LARGEST_HEADER: Final = 100 << 20  # bytes; the format's own limit
WEIGHTS: Final = ("*.safetensors", "*.bin", "*.th")
TOKENIZERS: Final = ("tokenizer.json", "spiece.model", "vocab.json")


@dataclass(frozen=True)
class Terms:
    """What the files say about their use."""

    licence: str
    commercial: bool
    note: str


def kind_of(folder: Path) -> Kind | None:
    """Which engine a folder is for, by its configuration; None where it is no checkpoint."""
    if _json(folder / "config.json").get("model_type") == "musicgen_melody":
        return "musicgen"
    if str(_json(folder / "model_index.json").get("_class_name", "")).startswith("AudioLDM"):
        return "audioldm"
    if (folder / "htdemucs.yaml").is_file():
        return "separation"
    return None


def terms_of(folder: Path) -> Terms:
    """Licence by `voice2music.json`, else by the model card, else unknown and not commercial."""
    own = _json(folder / OWN_FILE)
    licence = own.get("licence") or _card_licence(folder / "README.md") or "unknown"
    return Terms(str(licence), own.get("commercial") is True, str(own.get("note", "")))


def check_layout(folder: Path) -> Kind:
    """That every file the engine needs is there and whole; gives the engine.

    Raises:
        CorruptCheckpoint: it is not; the text names the file.
    """
    if not folder.is_dir():
        raise CorruptCheckpoint(f"There is no folder '{folder}'.")
    kind = kind_of(folder)
    if kind is None:
        raise CorruptCheckpoint(
            f"'{folder.name}' is no model this program can use: it holds neither a config.json of "
            f"MusicGen-Melody nor a model_index.json of AudioLDM. An audiocraft or laion_clap "
            f"file is converted first: voice2music models convert."
        )
    for part in _parts(folder, kind):
        _check_weights(folder, part)
    if kind == "musicgen" and not any((folder / name).is_file() for name in TOKENIZERS):
        raise CorruptCheckpoint(f"'{folder.name}' has no text tokenizer (tokenizer.json).")
    return kind


def check_hashes(folder: Path, pinned: dict[str, str]) -> None:
    """That the files are those that were pinned, by name and sha256.

    Raises:
        CorruptCheckpoint: one is not there or is another.
    """
    for name, wanted in sorted(pinned.items()):
        file = folder / name
        if not file.is_file():
            raise CorruptCheckpoint(f"'{folder.name}/{name}' is missing. Fetch the model again.")
        if file_sha256(file) != wanted.lower():
            raise CorruptCheckpoint(
                f"'{folder.name}/{name}' is not the file it should be (its sha256 differs). "
                f"Delete the folder and fetch the model again."
            )


def recorded_hashes(folder: Path) -> dict[str, str]:
    """The sha256 of each file as it was fetched, empty where the folder was not fetched by us."""
    files = _json(folder / SOURCE_FILE).get("sha256", {})
    return {str(name): str(value) for name, value in files.items()}


def folder_sha256(folder: Path) -> str:
    """Hash over all files of the folder in name order, but for model cards and hidden ones.

    The sha256 of what `sha256sum` prints for them: "hash  name" lines.
    """
    lines = [f"{file_sha256(folder / name)}  {name}\n" for name in _names(folder)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def stamp(folder: Path) -> list[list[Any]]:
    """Name, size and time of change of each file that is hashed; the same stamp, the same hash."""
    found = [(name, (folder / name).stat()) for name in _names(folder)]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]


def file_sha256(file: Path) -> str:
    """The sha256 of one file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _names(folder: Path) -> list[str]:
    names = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(
        name.as_posix()
        for name in names
        if name.suffix != ".md" and not any(part.startswith(".") for part in name.parts)
    )


def _parts(folder: Path, kind: Kind) -> list[Path]:
    """The folders that must hold weights."""
    if kind != "audioldm":
        return [folder]
    index = _json(folder / "model_index.json")
    parts = ("vae", "unet", "text_encoder", "vocoder")
    if missing := [part for part in parts if part not in index or not (folder / part).is_dir()]:
        raise CorruptCheckpoint(f"'{folder.name}' lacks its {missing[0]} folder.")
    extra = [folder / "vocoder" / "inverter"]
    return [folder / part for part in parts] + [part for part in extra if part.is_dir()]


def _check_weights(folder: Path, part: Path) -> None:
    """That `part` holds weights, all shards of them, none cut short."""
    where = part.relative_to(folder.parent).as_posix()
    found = [file for pattern in WEIGHTS for file in sorted(part.glob(pattern))]
    if not found:
        raise CorruptCheckpoint(f"'{where}' holds no weights (*.safetensors). Fetch it again.")
    for index in part.glob("*.index.json"):
        for shard in sorted(set(_json(index).get("weight_map", {}).values())):
            if not (part / Path(shard).name).is_file():
                raise CorruptCheckpoint(f"'{where}/{shard}' is missing. Fetch the model again.")
    for file in found:
        if file.suffix == ".safetensors":
            _check_safetensors(file, where)


def _check_safetensors(file: Path, where: str) -> None:
    """That the file is as long as its header says (a broken-off download is not)."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size, LARGEST_HEADER):
                raise ValueError("header longer than the file")
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        if not ends or 8 + length + max(ends) != size:
            raise ValueError("length differs from the header")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpoint(
            f"'{where}/{file.name}' is damaged or was cut short. Fetch the model again."
        ) from error


def _card_licence(card: Path) -> str | None:
    """The licence in a model card's front matter."""
    if not card.is_file():
        return None
    text = card.read_text(encoding="utf-8", errors="replace")[:10_000]
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^licen[sc]e:\s*([\w.+-]+)\s*$", front[1], re.M) if front else None
    return found[1].upper() if found else None


def _json(file: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
