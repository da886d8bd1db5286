"""A finished piece of music, its files, and the JSON that makes it again."""

import hashlib
import json
import platform
import re
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

from voice2music import __version__
from voice2music.clip import Clip, write
from voice2music.engines.base import Description, Rendition, Sounds
from voice2music.errors import BadManifest, CannotSave
from voice2music.harmony import ChordSpan
from voice2music.remarks import Remark
from voice2music.request import Request
from voice2music.score import Follow

FORMAT = 1  # of the JSON
PACKAGES = ("numpy", "scipy", "soxr", "swift-f0", "torch", "transformers", "diffusers")
LARGEST_JSON = 1 << 20  # bytes
LONGEST_NAME = 60  # characters of a file name that come from the input's own
LONGEST_BYTES = 180  # of the same; file systems take 255 with what is put around it


@dataclass(frozen=True)
class Take:
    """One finished take: files on disk and what is known about them.

    Args:
        engine: "musicgen", "audioldm" or "band"; `variation` counts from 0.
        music: WAV of the music alone, stereo, aligned to the voice, -14 LUFS, <= -1 dBTP.
        mix: WAV of music and voice; None where there was no voice.
        voice: WAV of the voice, as loud as the music and as long, so that a page can mix by
            itself; None where there was no voice.
        json: the file that `again` reads.
        stems: instrument name to WAV.
        midi, musicxml: where the engine has them.
        seconds: length of the music; `took`: seconds it took to make.
        follow: None where there was no voice.
        chords: what was played, where known.
        made_by: what made it, one line for the card; `licence` of the weights or sounds.
        commercial: whether the music may be used commercially.
        notes: what was done differently from what was asked; `str` of one is a sentence.
        record: what stands in `json`.
    """

    engine: str
    variation: int
    music: Path
    mix: Path | None
    voice: Path | None
    json: Path
    seconds: float
    took: float
    made_by: str
    licence: str
    commercial: bool
    follow: Follow | None = None
    stems: dict[str, Path] = field(default_factory=dict)
    midi: Path | None = None
    musicxml: Path | None = None
    chords: tuple[ChordSpan, ...] = ()
    notes: tuple[Remark, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Made:
    """Everything about one take that is to be saved.

    Args:
        engine, variation, request, description: what made it, as what was asked.
        rendition: the engine's own result (MIDI, lead sheet, chords, notes).
        music, voice, mix, stems: finished audio.
        follow: the score, None without a voice.
        input_file: what the engines heard, from `save_input`; None without a voice.
        took: seconds.
        sounds: the SoundFont of the band, or of its sketch where the model was given one.
    """

    engine: str
    variation: int
    request: Request
    description: Description
    rendition: Rendition
    music: Clip
    voice: Clip | None
    mix: Clip | None
    stems: Mapping[str, Clip]
    follow: Follow | None
    input_file: Path | None
    took: float
    sounds: Sounds | None = None


def safe_name(text: str) -> str:
    """`text` as the beginning of a file name: letters and digits of any script, '-' and '_'."""
    # Some systems write an accent as a letter of its own, which is no \w.
    stem = unicodedata.normalize("NFC", Path(text).stem)
    name = re.sub(r"[^\w-]+", "-", stem).strip("-_")[:LONGEST_NAME]
    return name.encode()[:LONGEST_BYTES].decode(errors="ignore") or "take"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_input(voice: Clip, folder: Path, name: str) -> Path:
    """The cleaned voice, sample for sample, so that a take can be made again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(voice.samples.tobytes()).hexdigest()[:8]
        path = folder / f"{safe_name(name)}-{digest}.voice.wav"
        return path if path.exists() else write(voice, path, exact=True)
    except OSError as error:
        raise _cannot_save(folder, error) from error


def save(made: Made, folder: Path, name: str) -> Take:
    """Write a take's files into `folder` and say where they are; its JSON comes last.

    A take is saved whole or not at all.
    Raises:
        CannotSave: the disk is full or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stem = _claimed_stem(folder, made, safe_name(name))
        try:
            return _saved(made, folder, stem)
        except BaseException:  # Ctrl-C too
            _remove_half(folder, stem)
            raise
    except OSError as error:
        raise _cannot_save(folder, error) from error


def read_record(path: Path) -> dict[str, Any]:
    """A take's JSON, checked.

    Raises:
        BadManifest: not there, not JSON, not a take's.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise BadManifest(f"'{path.name}' is too large to be a take's JSON.")
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadManifest(
            f"'{path.name}' cannot be read as a take's JSON ({error}). Choose the .json beside a "
            f"take."
        ) from error
    if not _is_record(record):
        raise BadManifest(
            f"'{path.name}' is not a take's JSON of this version. Choose the .json beside a take."
        )
    return record


def _is_record(record: object) -> bool:
    """Whether JSON values are a take's, as far as they are read outside of its request."""
    if not isinstance(record, dict) or record.get("format") != FORMAT or "input" not in record:
        return False
    sounds = record.get("soundfont")  # takes of older versions do not say
    if sounds is not None and not _names_sounds(sounds):
        return False
    files = [record.get("music")] + [record["input"]] * (record["input"] is not None)
    named = all(
        isinstance(file, dict) and isinstance(file.get("file"), str) and "sha256" in file
        for file in files
    )
    return named and isinstance(record.get("engine"), str) and {"seed", "request"} <= set(record)


def _names_sounds(sounds: object) -> bool:
    return isinstance(sounds, dict) and all(
        isinstance(sounds.get(field), str) for field in ("name", "sha256")
    )


def _saved(made: Made, folder: Path, stem: str) -> Take:
    music = write(made.music, folder / f"{stem}.wav")
    mix = write(made.mix, folder / f"{stem}.mix.wav") if made.mix else None
    voice = write(made.voice, folder / f"{stem}.voice.wav") if made.voice else None
    stems = {}
    for instrument, clip in made.stems.items():
        (folder / f"{stem}.stems").mkdir(exist_ok=True)
        stems[instrument] = write(clip, folder / f"{stem}.stems" / f"{safe_name(instrument)}.wav")
    midi = musicxml = None
    if made.rendition.midi is not None:
        midi = folder / f"{stem}.mid"
        midi.write_bytes(made.rendition.midi)
    if made.rendition.musicxml is not None:
        musicxml = folder / f"{stem}.musicxml"
        musicxml.write_text(made.rendition.musicxml, encoding="utf-8")
    record = _record(made, music)
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Take(
        engine=made.engine,
        variation=made.variation,
        music=music,
        mix=mix,
        voice=voice,
        json=path,
        seconds=made.music.seconds,
        took=made.took,
        made_by=made.description.checkpoint or made.description.title,
        licence=made.description.licence,
        commercial=made.description.commercial,
        follow=made.follow,
        stems=stems,
        midi=midi,
        musicxml=musicxml,
        chords=made.rendition.chords,
        notes=made.rendition.notes,
        record=record,
    )


def _remove_half(folder: Path, stem: str) -> None:
    """Delete what there is of a take that could not be saved whole."""
    for ending in ("wav", "mix.wav", "voice.wav", "mid", "musicxml", "json"):
        (folder / f"{stem}.{ending}").unlink(missing_ok=True)
    shutil.rmtree(folder / f"{stem}.stems", ignore_errors=True)


def _claimed_stem(folder: Path, made: Made, name: str) -> str:
    """A name that no other take has: nothing is overwritten.

    It is taken by making its .wav, empty as yet, which only one process can do.
    """
    genre = safe_name(made.request.genre_of(made.engine))
    stem = free = f"{name}-{genre}-{made.engine}-{made.variation + 1}"
    for number in count(2):
        claim = folder / f"{free}.wav"
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            if not (folder / f"{free}.json").exists():
                break
            claim.unlink()  # of a take whose music was moved away
        free = f"{stem}-{number}"
    return free


def _record(made: Made, music: Path) -> dict[str, Any]:
    """What is needed to make the take again, and what is known about it."""
    return {
        "format": FORMAT,
        "engine": made.engine,
        "variation": made.variation,
        "seed": made.request.seed_of(made.variation),
        "batch_size": 1,
        "request": made.request.to_json(),
        "input": made.input_file
        and {"file": made.input_file.name, "sha256": sha256(made.input_file)},
        "checkpoint": {
            "name": made.description.checkpoint,
            "sha256": made.description.sha256,
            "licence": made.description.licence,
            "commercial": made.description.commercial,
        },
        "soundfont": made.sounds and asdict(made.sounds),
        "music": {"file": music.name, "sha256": sha256(music), "seconds": made.music.seconds},
        "follow": made.follow and asdict(made.follow),
        "notes": [str(note) for note in made.rendition.notes],
        "took_seconds": round(made.took, 3),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {"voice2music": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # an extra that is not installed made no part of this take
    return found


def _cannot_save(folder: Path, error: OSError) -> CannotSave:
    return CannotSave(
        f"The take could not be saved in '{folder.name}': {error.strerror or error}. "
        f"Make room on the disk or choose another folder."
    )


def remove(take: Take) -> None:
    """Delete a take's files (not the voice it was made from, which other takes share)."""
    for path in (take.music, take.mix, take.voice, take.json, take.midi, take.musicxml):
        if path is not None:
            path.unlink(missing_ok=True)
    for path in take.stems.values():
        path.unlink(missing_ok=True)
    if take.stems:
        next(iter(take.stems.values())).parent.rmdir()
