"""A song's chunks on disk: voice and music as FLAC, caches beside them, and a row for each."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from voice2music.chords import ChordSpan, parse_chord
from voice2music.clip import Clip, write
from voice2music.dataset.shards import UNVOICED, Row, as_cents
from voice2music.dataset.songs.caches import (
    Tensors,
    audioldm_cache,
    codec_of,
    ears_of,
    musicgen_cache,
    write_cache,
)
from voice2music.dataset.songs.cutting import Cut, cuts
from voice2music.dataset.songs.listening import BAR, Heard
from voice2music.dataset.songs.records import file_sha256, save_array
from voice2music.engines.base import Melody
from voice2music.engines.plan import Plan
from voice2music.evaluation.sound import sound_of
from voice2music.notes import Note
from voice2music.pitch import HOP
from voice2music.rhythm import Grid

if TYPE_CHECKING:
    from voice2music.dataset.songs.steps import SongWork

Model = Literal["musicgen", "audioldm"]
MODELS: tuple[Model, ...] = get_args(Model)


def chunk_rows(work: "SongWork") -> list[Row]:
    """Cut a song for both models and write what comes out; rows without names and captions."""
    folder = work.data / "chunks" / work.song.id
    if folder.is_dir():
        shutil.rmtree(folder)  # of another cutting
    folder.mkdir(parents=True)
    rows: list[Row] = []
    for model in MODELS:
        made = list(_written(work, model, folder))
        rows += [row for row, _ in made]
        tensors = {key: value for _, cache in made for key, value in cache.items()}
        if tensors:
            path = write_cache(tensors, folder / f"{model}.safetensors")
            place = {"file": _place(work.data, path), "sha256": file_sha256(path)}
            if model == "musicgen" and work.settings.musicgen:
                place["codec"] = codec_of(work.settings.musicgen)
            if model == "audioldm" and work.settings.audioldm:
                place["ears"] = ears_of(work.settings.audioldm)
            for row, _ in made:
                row["caches"] = place
    return rows


def melody_of(data: Path, row: Row) -> Melody:
    """The tune of a chunk, as it was heard in the voice."""
    cents = np.load(data / row["heard_pitch"]["file"], allow_pickle=False)
    midi = np.where(cents == UNVOICED, np.nan, cents / 100).astype(np.float32)
    notes = row["heard"]["notes"]
    return Melody(midi, tuple(Note(on, off, int(key)) for on, off, key in notes))


def plan_of(row: Row) -> Plan | None:
    """Beats and chords of a chunk's music; None where no beat was heard."""
    if row["bpm"] is None or len(row["beats"]) < 2:
        return None
    grid = Grid(tuple(row["beats"]), row["bars"]["downbeat"], row["bars"]["beats"], row["bpm"])
    chords = tuple(ChordSpan(a, b, parse_chord(name)) for a, b, name in row["chords"])
    return Plan(grid, chords, row["seconds"])


def _written(work: "SongWork", model: Model, folder: Path) -> Iterator[tuple[Row, Tensors]]:
    """Every chunk of a model, with its cache."""
    heard, limits = work.heard, work.settings.limits.chunk
    found = cuts(
        ~np.isnan(heard.midi),
        work.back.seconds,
        getattr(limits, model),
        limits.shortest,
        limits.voiced,
        heard.bar_lines,
    )
    number = 0
    for cut in found:
        voice, music = (clip.cut(cut.start, cut.end) for clip in (work.voice, work.back))
        if sound_of(music).silent > limits.silent:
            continue
        name = f"{work.song.id}-{model[0]}{number:03d}"
        row: Row = {"id": name, "model": model, **_labels(heard, cut)}
        for kind, clip in (("voice", voice), ("music", music)):
            path = write(clip, folder / f"{model[0]}{number:03d}.{kind}.flac")
            row[kind] = {"file": _place(work.data, path), "sha256": file_sha256(path)}
        path = folder / f"{model[0]}{number:03d}.pitch.npy"
        save_array(as_cents(_curve(heard, cut.start, cut.end)), path)
        row["heard_pitch"] = {"file": _place(work.data, path), "sha256": file_sha256(path)}
        row["caches"] = None
        yield row, _cached(work, model, row, music, voice)
        number += 1


def _cached(work: "SongWork", model: Model, row: Row, music: Clip, voice: Clip) -> Tensors:
    checkpoint = getattr(work.settings, model)
    if checkpoint is None:
        return {}
    if model == "audioldm":
        return audioldm_cache(checkpoint, row["id"], music, voice)
    melody = melody_of(work.data, row)
    return musicgen_cache(checkpoint, row["id"], music, melody, plan_of(row))


def _labels(heard: Heard, cut: Cut) -> Row:
    """What was heard within a chunk; times from its beginning."""
    inside = [i for i, beat in enumerate(heard.beats) if cut.start <= beat < cut.end]
    first = inside[0] if inside else 0
    return {
        "start": round(cut.start, 3),
        "end": round(cut.end, 3),
        "seconds": round(cut.seconds, 3),
        "voiced": round(cut.voiced, 3),
        "bpm": heard.bpm,
        "beats": [round(heard.beats[i] - cut.start, 3) for i in inside],
        "bars": {"beats": BAR, "downbeat": (heard.downbeat - first) % BAR},
        "key": heard.key or "",
        "chords": _chords(heard, cut),
        "tuning": heard.tuning,
        "range": heard.range and list(heard.range),
        "role": "back",
        "heard": {"notes": _notes(heard, cut)},
    }


def _chords(heard: Heard, cut: Cut) -> list[list[Any]]:
    return [
        [round(max(a, cut.start) - cut.start, 3), round(min(b, cut.end) - cut.start, 3), name]
        for a, b, name in heard.chords
        if b > cut.start and a < cut.end
    ]


def _notes(heard: Heard, cut: Cut) -> list[list[Any]]:
    kept = [n for n in heard.notes if n.offset > cut.start and n.onset < cut.end]
    moved = [
        replace(n, onset=max(n.onset, cut.start) - cut.start,
                offset=min(n.offset, cut.end) - cut.start) for n in kept
    ]  # fmt: skip
    return [[round(n.onset, 3), round(n.offset, 3), n.midi] for n in moved]


def _curve(heard: Heard, start: float, end: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return heard.midi[round(start / HOP) : round(end / HOP)]


def _place(data: Path, path: Path) -> str:
    return path.relative_to(data).as_posix()
