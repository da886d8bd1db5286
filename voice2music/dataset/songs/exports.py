"""A data set of songs for other programs: audiocraft, Hugging Face datasets, WebDataset.

Sound is copied as it is. Everything that is known of a chunk goes with it, its licence, consent and
artist too. An artist who is forgotten later is still in exports that were made before.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from voice2music import __version__
from voice2music.dataset.shards import Row, write_text
from voice2music.dataset.songs.chunks import Model
from voice2music.dataset.songs.manifest import alone, read_build, read_chunks
from voice2music.dataset.songs.splits import SPLITS, Split
from voice2music.errors import BadManifest, BadRequest, CannotSave

Format = Literal["audiocraft", "audiofolder", "webdataset"]
FORMATS: tuple[Format, ...] = get_args(Format)
ABOUT = "export.json"  # marks a folder as ours, so that it may be written again
SHARD_BYTES = 256 * 2**20  # of a tar
_TOLD: tuple[str, ...] = (
    "seconds", "start", "end", "artist", "song", "song_id", "genre", "mood", "language",
    "licence", "consent", "bpm", "key", "role", "separation", "captions",
)  # fmt: skip
_NAMES: Mapping[Split, str] = MappingProxyType(
    {"train": "train", "valid": "validation", "test": "test"}
)  # as Hugging Face calls them


@dataclass(frozen=True)
class Exported:
    """What was written: folder, chunks, seconds of music."""

    folder: Path
    chunks: int
    seconds: float


def export(data: Path, out: Path, form: Format, model: Model = "musicgen") -> Exported:
    """Write a data set for another program; `out` is there when it is whole.

    Args:
        data: that a build has finished.
        out: new, empty, or an earlier export, which is replaced.
        form: see `FORMATS`.
        model: whose chunks: of 30 s, or of 20 s.
    Raises:
        BadRequest: an unknown format, a folder with other files, no chunks.
        BadManifest: not a finished data set; its sound is gone.
        CannotSave: disk full, no permission; what was there before stays.
    """
    if form not in FORMATS:
        raise BadRequest(f"The format is of {', '.join(FORMATS)}, got {form!r}.")
    read_build(data)  # nothing is written into what is no data set
    with alone(data):
        return _exported(data, out.resolve(), form, model)


def _exported(data: Path, out: Path, form: Format, model: Model) -> Exported:
    """The same, while nobody changes the data set."""
    mark = read_build(data)["hash"]
    rows = [row for row in read_chunks(data) if row["model"] == model]
    if not rows:
        raise BadRequest(f"'{data.name}' has no chunks for {model}. Build it with some songs.")
    _check_out(data, out)
    _check_sound(data, rows)
    part = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _WRITERS[form](data, part, rows)
        licences = sorted({row["licence"] or "unknown" for row in rows})
        about = {"format": form, "model": model, "hash": mark, "licences": licences}
        write_text(part / ABOUT, json.dumps({**about, "version": __version__}, indent=1))
        _put(part, out)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise CannotSave(
            f"'{out}' cannot be written: {error.strerror or error}. Make room and try again."
        ) from error
    return Exported(out, len(rows), sum(row["seconds"] for row in rows))


def _put(part: Path, out: Path) -> None:
    """In the place of an earlier export, which is there until the new one is."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.is_dir():
        out.replace(old)
    try:
        part.replace(out)
    except OSError:
        if old.is_dir():
            old.replace(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check_out(data: Path, out: Path) -> None:
    here, there = data.resolve(), out.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise BadRequest(f"The export cannot lie in the data set, nor it in the export: '{out}'.")
    ours = (out / ABOUT).is_file()
    if out.exists() and not (ours or (out.is_dir() and not any(out.iterdir()))):
        raise BadRequest(f"'{out}' holds other files. Choose a new or an empty folder.")


def _check_sound(data: Path, rows: Sequence[Row]) -> None:
    """Said before anything is copied."""
    for row in rows:
        for kind in ("music", "voice"):
            if not (data / row[kind]["file"]).is_file():
                raise BadManifest(f"'{row[kind]['file']}' is gone. Run the build again.")


def told(row: Row) -> dict[str, Any]:
    """What goes with a chunk, in plain values."""
    return {"id": row["id"], **{key: row[key] for key in _TOLD}}


def _by_split(rows: Sequence[Row]) -> Iterator[tuple[Split, list[Row]]]:
    for split in SPLITS:
        if inside := [row for row in rows if row["split"] == split]:
            yield split, inside


# ---- audiocraft


def audiocraft(data: Path, out: Path, rows: Sequence[Row]) -> None:
    """`egs/SPLIT/data.jsonl`, music with a JSON beside it, and the `dset` that names them.

    Paths count from the folder of the export. The voice lies beside the music; audiocraft itself
    takes a melody out of the music.

    Source: audiocraft's `AudioMeta` and `MusicInfo` (its docs/DATASETS.md and docs/MUSICGEN.md).
    """
    lines = ["# @package __global__", "", "datasource:", "  max_sample_rate: 48000"]
    lines += ["  max_channels: 2"]
    for split, inside in _by_split(rows):
        folder, metas = out / "audio" / split, []
        folder.mkdir(parents=True)
        for row in inside:
            path = _copied(data, row, "music", folder / f"{row['id']}.flac")
            _copied(data, row, "voice", folder / f"{row['id']}.voice.flac")
            write_text(path.with_suffix(".json"), _json(_music_info(row)))
            metas.append(_audio_meta(path, out))
        (out / "egs" / split).mkdir(parents=True)
        write_text(out / "egs" / split / "data.jsonl", _lines(metas))
        if split != "test":  # audiocraft calls it "evaluate"
            lines.append(f"  {split}: egs/{split}")
    known = {split for split, _ in _by_split(rows)}
    judged = next((split for split in ("valid", "test", "train") if split in known), "train")
    lines += [f"  evaluate: egs/{'test' if 'test' in known else judged}"]
    lines += [f"  generate: egs/{judged}"]
    write_text(out / "dset.yaml", "\n".join(lines) + "\n")


def _audio_meta(path: Path, out: Path) -> dict[str, Any]:
    import soundfile

    found = soundfile.info(path)
    return {
        "path": path.relative_to(out).as_posix(),
        "duration": found.frames / found.samplerate,
        "sample_rate": found.samplerate,
        "amplitude": None,
        "weight": None,
        "info_path": None,
    }


def _music_info(row: Row) -> dict[str, Any]:
    """The fields that `MusicInfo` wants, and the rest of what is known."""
    refined = row["captions"][2]  # none, genre, refined: see `wording.captions`
    return {
        **told(row),
        "title": row["song"],
        "artist": row["artist"],
        "key": row["key"],
        "bpm": row["bpm"] or "",
        "genre": row["genre"],
        "moods": [row["mood"]] if row["mood"] else [],
        "keywords": [],
        "description": refined,
        "name": row["id"],
        "instrument": "Mix",
        "voice": f"{row['id']}.voice.flac",
    }


# ---- Hugging Face


def audiofolder(data: Path, out: Path, rows: Sequence[Row]) -> None:
    """A folder per split with sounds and `metadata.jsonl`, and a card.

    `datasets.load_dataset("audiofolder", data_dir=OUT)` gives columns `audio` (the music) and
    `voice`.
    """
    for split, inside in _by_split(rows):
        folder, lines = out / _NAMES[split], []
        folder.mkdir()
        for row in inside:
            names = {kind: f"{row['id']}.{kind}.flac" for kind in ("music", "voice")}
            for kind, name in names.items():
                _copied(data, row, kind, folder / name)
            files = {"audio_file_name": names["music"], "voice_file_name": names["voice"]}
            lines.append({**files, **told(row)})
        write_text(folder / "metadata.jsonl", _lines(lines))
    write_text(out / "README.md", _card(rows))


def _card(rows: Sequence[Row]) -> str:
    licences = sorted({row["licence"] or "unknown" for row in rows})
    songs = {row["song_id"] for row in rows}
    return (
        "---\npretty_name: Voices with their accompaniment\n"
        "tags: [music, singing, source-separation]\n---\n"
        f"# Voices with their accompaniment\n\n{len(rows)} chunks of {len(songs)} songs, made with "
        f"voice2music {__version__}. Every row says its own licence and consent; all of them: "
        f"{'; '.join(licences)}.\n"
    )


# ---- WebDataset


def webdataset(data: Path, out: Path, rows: Sequence[Row]) -> None:
    """`SPLIT-000000.tar` and so on: `ID.music.flac`, `ID.voice.flac` and `ID.json` in turn.

    Times and owners are left out: the same data set gives the same bytes.
    """
    for split, inside in _by_split(rows):
        shards = _cut([(row, _bytes(data, row)) for row in inside])
        for number, shard in enumerate(shards):
            with tarfile.open(out / f"{split}-{number:06d}.tar", "w") as tar:
                for row in shard:
                    _add(tar, f"{row['id']}.json", _json(told(row)).encode())
                    for kind in ("music", "voice"):
                        sound = (data / row[kind]["file"]).read_bytes()
                        _add(tar, f"{row['id']}.{kind}.flac", sound)


def _cut(sized: Iterable[tuple[Row, int]]) -> list[list[Row]]:
    """Rows in turn, in groups of at most `SHARD_BYTES` (or one row)."""
    shards: list[list[Row]] = []
    size = SHARD_BYTES
    for row, more in sized:
        if size + more > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(row)
        size += more
    return shards


def _bytes(data: Path, row: Row) -> int:
    return sum((data / row[kind]["file"]).stat().st_size for kind in ("music", "voice"))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _copied(data: Path, row: Row, kind: str, path: Path) -> Path:
    shutil.copyfile(data / row[kind]["file"], path)
    return path


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(_json(row) + "\n" for row in rows)


_WRITERS: Mapping[Format, Callable[[Path, Path, Sequence[Row]], None]] = MappingProxyType(
    {"audiocraft": audiocraft, "audiofolder": audiofolder, "webdataset": webdataset}
)
