"""A take's files as a visitor downloads them, with the balance of voice and music she set."""

import math
import shutil
import zipfile
from pathlib import Path
from typing import Any

from voice2music.clip import Clip, read, write
from voice2music.errors import BadRequest
from voice2music.finish import mixed
from voice2music.leadsheet import chord_sheet
from voice2music.take import Take, safe_name
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
    ending = {"stems": "-stems.zip", "chords": "-chords.txt", "midi": ".mid"}.get(kind, f".{kind}")
    path = visit.named(f"{_name(kept)}{ending}")
    _write(kept, kind, float(event.get("balance", 0.5)), path)
    return {"url": visit.url(path), "name": path.name}


def levels(balance: float) -> tuple[float, float]:
    """Levels of music and voice in dB for a balance in [0, 1]; the player's `v2m.gains`."""
    music = min(1.0, 2 * balance) ** 2
    voice = min(1.0, 2 * (1 - balance)) ** 2
    return _decibel(music), _decibel(voice)


def _decibel(gain: float) -> float:
    return max(QUIETEST, 20 * math.log10(gain)) if gain > 0 else QUIETEST


def _write(kept: Kept, kind: str, balance: float, path: Path) -> None:
    take = kept.take
    files = {"midi": take.midi, "musicxml": take.musicxml, "json": take.json}
    if kind in AUDIO:
        write(_balanced(take, balance), path)
    elif kind == "stems":
        _zip(take.stems, path)
    elif kind == "chords":
        path.write_text(chord_sheet(take.chords, kept.grid, kept.key), encoding="utf-8")
    elif (source := files[kind]) is not None:
        shutil.copyfile(source, path)


def _balanced(take: Take, balance: float) -> Clip:
    """Music and voice at the balance; one of them alone, as it is, where the other is silent."""
    music_level, voice_level = levels(min(1.0, max(0.0, balance)))
    music = read(take.music)
    if take.voice is None or voice_level <= QUIETEST:
        return music
    voice = read(take.voice)
    return voice if music_level <= QUIETEST else mixed(music, voice, music_level, voice_level)


def _zip(files: dict[str, Path], path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files.items():
            archive.write(file, f"{safe_name(name)}{file.suffix}")


def _name(kept: Kept) -> str:
    start = safe_name(kept.voice_name) if kept.voice_name else "words"
    return f"{start}-{kept.request.genre_of(kept.slot)}-{kept.slot}-{kept.request.seed}"
