"""A tiny data set of pairs: sixteen pieces of four seconds for eight voices, in four genres."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music.dataset.shards import (
    MANIFEST,
    Shard,
    as_cents,
    as_pcm,
    sha256,
    write_rows,
    write_shard,
)

RATE, SECONDS = 16_000, 4.0
GENRES = ("disco", "jazz", "metal", "waltz")
TEMPO = {"disco": 120.0, "jazz": 140.0, "metal": 100.0, "waltz": 90.0}


def write(folder: Path) -> Path:
    """A tune of two notes a voice; two pieces for each, told apart by their overtones."""
    count, frames = round(SECONDS * RATE), round(SECONDS * 100)
    music: list[NDArray[np.float32]] = []
    voices: list[NDArray[np.float32]] = []
    heard: list[NDArray[np.float32]] = []
    rows: list[dict[str, Any]] = []
    for number in range(8):
        notes = (55 + number, 62 + number)
        curve = np.repeat(np.float32(notes), frames // 2)
        curve[frames // 2 - 10 : frames // 2] = np.nan
        voices.append(_sound(np.nan_to_num(curve, nan=0.0), (1.0,)))
        heard.append(curve)
        for version in range(2):
            genre = GENRES[(number + 2 * version) % 4]
            overtones = [(GENRES.index(genre) + k) % 4 / 4 for k in range(6)]
            music.append(_sound(np.repeat(np.float32(notes), frames // 2), overtones))
            rows.append(_row(number, version, genre, notes, count, frames))
    pcm = {"music": as_pcm(np.concatenate(music)), "voice": as_pcm(np.concatenate(voices))}
    cents = as_cents(np.concatenate(heard))
    for row in rows:
        for kind, values in (*pcm.items(), ("heard_pitch", cents)):
            place = row[kind]
            part = values[place["start"] : place["start"] + place["count"]]
            place["sha256"] = sha256(part)
    rates = {"music": RATE, "voice": RATE}
    write_shard(folder, 0, Shard(pcm["music"], pcm["voice"], cents, tuple(rows), rates))
    write_rows(folder / MANIFEST, tuple(rows))
    return folder


def _sound(midi: NDArray[np.float32], overtones: Any) -> NDArray[np.float32]:
    """Held notes, a value per 10 ms, silent where it is 0."""
    note = np.repeat(midi, RATE // 100)
    phase = np.cumsum(2 * np.pi * 440 * 2 ** ((note - 69) / 12) / RATE)
    tones = [level * np.sin((k + 1) * phase) for k, level in enumerate(overtones)]
    return np.asarray(0.2 * np.sum(tones, axis=0) * (note > 0), np.float32)


def _row(
    number: int, version: int, genre: str, notes: tuple[int, int], count: int, frames: int
) -> dict[str, Any]:
    role = ("tune", "back")[version]
    tempo = TEMPO[genre]
    words = {"tune": "instrumental lead melody", "back": "instrumental accompaniment for a singer"}
    half = SECONDS / 2
    return {
        "id": f"p{number}-{version}",
        "split": "valid" if number > 5 else "train",
        "genre": genre,
        "role": role,
        "mood": ("", "sad")[number % 2],
        "lead": "Flute" if role == "tune" else None,
        "tempo": tempo,
        "seconds": SECONDS,
        "beats": np.arange(0, SECONDS + 60 / tempo, 60 / tempo).tolist(),
        "bars": {"beats": 4, "downbeat": 0},
        "chords": [[0.0, half, "C"], [half, SECONDS, "Am"]],
        "captions": [f"{genre}, {words[role]}, {tempo:.0f} BPM, C major", f"{genre} music"],
        "heard": {
            "key": "C major",
            "tempo": tempo,
            "notes": [[0.0, half - 0.1, notes[0]], [half, SECONDS, notes[1]]],
        },
        "music": {**_place("music.wav", (2 * number + version) * count, count), "rate": RATE},
        "voice": {**_place("voice.wav", number * count, count), "rate": RATE},
        "heard_pitch": {**_place("heard.npy", number * frames, frames), "rate": 100},
    }


def _place(ending: str, start: int, count: int) -> dict[str, Any]:
    return {"file": f"shard-00000.{ending}", "start": start, "count": count}
