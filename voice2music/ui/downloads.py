"""A take's files as a visitor downloads them, with the balance of voice and music she set."""

import math
import shutil
import zipfile
from pathlib import Path
from typing import Any

from voice2music.clip import read, write
from voice2music.errors import BadRequest
from voice2music.finish import mixed
from voice2music.leadsheet import chord_sheet
from voice2music.take import safe_name
from voice2music.ui.cards import AUDIO, downloads
from voice2music.ui.visit import Kept, Visit

QUIETEST = -80.0  # dB; taken for nothing


def download(visit: Visit, event: dict[str, Any]) -> dict[str, str]:
    """The file that was asked for, as {"url", "name"}.

    Args:
        event: "take", "kind" (of `cards.downloads`) and "balance" in [0, 1]: 0 voice alone, .5
            both, 1 music alone.
    Raises:
        BadRequest: an unknown take, or a kind that it does not have.
    """
    kept = visit.take(str(event.get("take", "")))
    kind = str(event.get("kind", ""))
    if kind not in downloads(kept.take):
        raise BadRequest(f"This take has no {kind!r}. It has {', '.join(downloads(kept.take))}.")
    path = _made(kept, kind, float(event.get("balance", 0.5)), visit)
    return {"url": visit.url(path), "name": f"{_name(kept)}{_ending(path, kind)}"}


def levels(balance: float) -> tuple[float, float]:
    """Levels of music and voice in dB for a balance in [0, 1]; the player's `v2m.gains`."""
    music = min(1.0, 2 * balance) ** 2
    voice = min(1.0, 2 * (1 - balance)) ** 2
    return _decibel(music), _decibel(voice)


def _decibel(gain: float) -> float:
    return max(QUIETEST, 20 * math.log10(gain)) if gain > 0 else QUIETEST


def _made(kept: Kept, kind: str, balance: float, visit: Visit) -> Path:
    take = kept.take
    if kind in AUDIO:
        return _audio(kept, kind, balance, visit)
    if kind == "stems":
        return _zipped(take.stems, visit.file(".zip"))
    if kind == "chords":
        path = visit.file(".txt")
        path.write_text(chord_sheet(take.chords, kept.grid, kept.key), encoding="utf-8")
        return path
    files = {"midi": take.midi, "musicxml": take.musicxml, "json": take.json}
    return shutil.copyfile(_there(files[kind]), visit.file(_there(files[kind]).suffix))


def _audio(kept: Kept, kind: str, balance: float, visit: Visit) -> Path:
    """Music and voice at the balance; the music's own file where the voice is silent."""
    take = kept.take
    music_level, voice_level = levels(min(1.0, max(0.0, balance)))
    music = read(take.music)
    if take.voice is None or voice_level <= QUIETEST:
        return write(music, visit.file(f".{kind}"))
    voice = read(take.voice)
    if music_level <= QUIETEST:
        return write(voice, visit.file(f".{kind}"))
    return write(mixed(music, voice, music_level, voice_level), visit.file(f".{kind}"))


def _zipped(files: dict[str, Path], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files.items():
            archive.write(file, f"{safe_name(name)}{file.suffix}")
    return path


def _name(kept: Kept) -> str:
    start = safe_name(kept.voice_name) if kept.voice_name else "words"
    return f"{start}-{kept.request.genre_of(kept.slot)}-{kept.slot}-{kept.request.seed}"


def _ending(path: Path, kind: str) -> str:
    return {"stems": "-stems.zip", "chords": "-chords.txt"}.get(kind, path.suffix)


def _there(path: Path | None) -> Path:
    assert path is not None, "the list of downloads holds only what is there"
    return path
