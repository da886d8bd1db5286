"""What is done with one song: read, take apart, judge, listen, cut, cache. Each step once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music import clip as audio
from voice2music.clip import Clip, read, write
from voice2music.dataset.shards import Row
from voice2music.dataset.songs.about import About, from_tags, tags_of
from voice2music.dataset.songs.bleed import voice_in
from voice2music.dataset.songs.chunks import chunk_rows
from voice2music.dataset.songs.fingerprint import fingerprint
from voice2music.dataset.songs.limits import Limits
from voice2music.dataset.songs.listening import Heard, listen
from voice2music.dataset.songs.naming import genre_of, mood_of
from voice2music.dataset.songs.records import (
    Record,
    Records,
    Refused,
    file_sha256,
    key_of,
    save_array,
)
from voice2music.dataset.songs.sources import Song
from voice2music.evaluation.sound import sound_of
from voice2music.notes import Note
from voice2music.pitch import Pitch, track
from voice2music.quality import clipping, quality

VERSION = 1  # of the steps: a new one does all of them again
CACHES = 2  # of what is kept for training: a new one cuts the chunks again
STEM_RATE = 44_100  # Hz, at most
SECOND = 1.0  # s; longer differences between a voice and its accompaniment are no pair
KINDS = ("voice", "music", "heard_pitch")
PRINT, PITCH, HEARD = "fingerprint.npy", "pitch.npy", "heard.npy"


@dataclass(frozen=True)
class Settings:
    """What a build depends on besides its songs.

    Args:
        limits: thresholds.
        separation: "htdemucs" or "spleeter".
        clap: folder of a CLAP that names what nobody named, or None.
        musicgen, audioldm: folders of the checkpoints that caches are made for, or None.
        seed: of what is drawn.
    """

    limits: Limits
    separation: str
    clap: Path | None = None
    musicgen: Path | None = None
    audioldm: Path | None = None
    seed: int = 0

    @property
    def resolved(self) -> "Settings":
        """The same in any working folder."""
        folders = {name: getattr(self, name) for name in ("clap", "musicgen", "audioldm")}
        return replace(self, **{name: path and path.resolve() for name, path in folders.items()})


class SongWork:
    """One song on its way into the data set.

    Args:
        song: which.
        source: folder of the songs.
        data: folder of the data set; the song's own lies in `songs/` there.
        settings: of the build.
    """

    def __init__(self, song: Song, source: Path, data: Path, settings: Settings) -> None:
        self.song, self.source, self.data, self.settings = song, source, data, settings
        self.folder = data / "songs" / song.id
        self.records = Records(self.folder)

    @cached_property
    def read(self) -> Record:
        """Sha256, seconds and tags; beside it the fingerprint.

        Raises:
            Refused: no sound, silence, too long, too short, clipped.
        """
        paths = [self.source / name for name in self.song.files]
        limits = self.settings.limits.to_json()["song"]
        return self.records.made("read", [VERSION, _seen(paths), limits], self._read, [PRINT])

    @cached_property
    def apart(self) -> Record:
        """What took the voice out, and the sha256 of both parts; they lie in the song's folder."""
        made_by = "" if self.song.ready else self.settings.separation
        depends = [VERSION, self.read["sha256"], made_by]
        return self.records.made("apart", depends, self._apart, ["voice.flac", "back.flac"])

    @cached_property
    def measured(self) -> Record:
        """The figures that are judged; beside them the voice's pitch.

        Raises:
            Refused: nobody sings.
        """
        return self.records.made("heard", self._after_parts, self._measured, [PITCH])

    @cached_property
    def judged(self) -> Record:
        """Figures of voice and accompaniment.

        Raises:
            Refused: by the limits.
        """
        limits = {k: self.settings.limits.to_json()[k] for k in ("voice", "back")}
        record = self.measured
        return self.records.made(
            "judged", [record["stamp"], limits], lambda: _within(record, self.settings.limits)
        )

    @cached_property
    def listened(self) -> Record:
        """Beats, key, chords and notes."""
        return self.records.made("listened", [self.measured["stamp"]], self._listened, [HEARD])

    @cached_property
    def named(self) -> Record:
        """Genre and mood by CLAP; empty where there is none."""
        clap = self.settings.clap
        if clap is None:
            return {"genre": "", "mood": ""}
        depends = [self._after_parts, _weights(clap)]
        return self.records.made("named", depends, lambda: self._named(clap))

    @cached_property
    def chunks(self) -> list[Row]:
        """The rows of its chunks, whose sound and caches lie in `chunks/`.

        Raises:
            Refused: there are none.
        """
        assert self.judged
        settings = self.settings
        models = [m and _weights(m) for m in (settings.musicgen, settings.audioldm)]
        depends = [self.listened["stamp"], settings.limits.to_json()["chunk"], models, CACHES]
        rows: list[Row] = self.records.made("chunks", depends, self._chunks)["rows"]
        places = [row[kind]["file"] for row in rows for kind in (*KINDS, "caches") if row[kind]]
        if not all((self.data / place).is_file() for place in places):
            rows = self._chunks()["rows"]  # somebody removed them
        return rows

    @cached_property
    def voice(self) -> Clip:
        """Alone."""
        assert self.apart
        return read(self.folder / "voice.flac", audio.OWN)

    @cached_property
    def back(self) -> Clip:
        """The accompaniment."""
        assert self.apart
        return read(self.folder / "back.flac", audio.OWN)

    @property
    def print(self) -> NDArray[np.uint32]:
        """The fingerprint."""
        assert self.read
        loaded: NDArray[np.uint32] = np.load(self.folder / PRINT, allow_pickle=False)
        return loaded

    @property
    def heard(self) -> Heard:
        """As it was listened to."""
        kept = {k: v for k, v in self.listened.items() if k != "stamp"}
        midi = np.load(self.folder / HEARD, allow_pickle=False)
        notes = tuple(Note(*note) for note in kept.pop("notes"))
        chords = tuple((a, b, name) for a, b, name in kept.pop("chords"))
        return Heard(beats=tuple(kept.pop("beats")), midi=midi, notes=notes, chords=chords, **kept)

    @property
    def _after_parts(self) -> list[Any]:
        return [VERSION, self.apart["voice"], self.apart["back"]]

    def _read(self) -> Record:
        limits = self.settings.limits.song
        paths = [self.source / name for name in self.song.files]
        allowed = audio.Limits(round(limits.megabytes * 2**20), 60 * limits.minutes)
        clips = [read(path, allowed) for path in paths]
        for name, clip in zip(self.song.files, clips, strict=True):
            _check_sound(name, clip, limits.shortest, limits.silent, limits.clipped)
        if len(clips) == 2 and abs(clips[0].seconds - clips[1].seconds) > SECOND:
            lengths = " and ".join(f"{clip.seconds:.1f} s" for clip in clips)
            raise Refused(f"voice and accompaniment are not of one length ({lengths})")
        save_array(fingerprint(_mixed(clips)), self.folder / PRINT)
        return {
            "sha256": key_of([file_sha256(path) for path in paths]),
            "seconds": round(clips[0].seconds, 3),
            "tags": _tags(paths),
        }

    def _apart(self) -> Record:
        limits = audio.OWN
        clips = [read(self.source / name, limits) for name in self.song.files]
        if len(clips) == 1:
            from voice2music.separation import separate

            minutes, model = self.settings.limits.song.minutes, self.settings.separation
            found = separate(clips[0], model=model or None, longest=60 * minutes)
            clips = [found.voice, found.accompaniment]
        seconds = min(clip.seconds for clip in clips)
        record: Record = {"model": "" if self.song.ready else self.settings.separation}
        for name, clip in zip(("voice", "back"), clips, strict=True):
            part = (clip.mono() if name == "voice" else clip).cut(0, seconds)
            path = self.folder / f"{name}.flac"
            write(part.resampled(min(part.rate, STEM_RATE)), path)
            record[name] = file_sha256(path)
        return record

    def _measured(self) -> Record:
        pitch = track(self.voice)
        save_array(np.stack([pitch.f0, pitch.confidence]), self.folder / PITCH)
        if not pitch.voiced.any():
            raise Refused("no voice could be heard in it")
        found = quality(self.voice, pitch)
        return {
            "voiced": round(float(pitch.voiced.mean()), 4),
            "snr": round(found.snr, 2),
            "accompaniment": round(found.accompaniment, 4),
            "silent": round(sound_of(self.back).silent, 4),
            "bleed": _rounded(voice_in(self.back, pitch)),
        }

    def _listened(self) -> Record:
        heard = listen(self.voice, self.back, self._pitch)
        save_array(heard.midi, self.folder / HEARD)
        kept = {k: v for k, v in vars(heard).items() if k != "midi"}
        kept["notes"] = [
            [round(n.onset, 3), round(n.offset, 3), n.midi, round(n.cents, 1)] for n in heard.notes
        ]
        return json.loads(json.dumps(kept))  # type: ignore[no-any-return]

    def _named(self, clap: Path) -> Record:
        return {"genre": genre_of(self.back, clap), "mood": mood_of(self.back, clap)}

    def _chunks(self) -> Record:
        rows = chunk_rows(self)
        if not rows:
            raise Refused("nowhere in it is enough sung over enough music for a chunk")
        return {"rows": rows}

    @cached_property
    def _pitch(self) -> Pitch:
        f0, confidence = np.load(self.folder / PITCH, allow_pickle=False)
        return Pitch(f0, confidence)


def _seen(paths: list[Path]) -> list[Any]:
    """What tells whether files changed, without reading them; empty for those that are gone."""
    stats = [path.stat() for path in paths if path.is_file()]
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]


def _check_sound(
    name: str, clip: Clip, shortest: float, silent: float, most_clipped: float
) -> None:
    if clip.seconds < shortest:
        raise Refused(f"'{name}' is {clip.seconds:.1f} s long; at least {shortest:g} s are needed")
    if clip.peak < silent:
        raise Refused(f"'{name}' is silent")
    if (share := clipping(clip)) > most_clipped:
        raise Refused(f"'{name}' is clipped: {share:.1%} of its samples are cut off")


def _mixed(clips: list[Clip]) -> Clip:
    """The song that a pair makes."""
    if len(clips) == 1:
        return clips[0]
    voice, back = (clip.mono().resampled(STEM_RATE) for clip in clips)
    length = min(voice.samples.shape[1], back.samples.shape[1])
    return Clip(voice.samples[:, :length] + back.samples[:, :length], STEM_RATE)


def _tags(paths: list[Path]) -> Mapping[str, str]:
    """Of the first file that has some, then of the other."""
    about = About()
    for path in paths:
        about = about.over(from_tags(tags_of(path)))
    return {key: value for key, value in vars(about).items() if value}


def _within(found: Record, limits: Limits) -> Record:
    """The figures, if the limits allow them."""
    voice, back = limits.voice, limits.back
    bleed = found["bleed"]
    if found["voiced"] < voice.voiced:
        raise Refused(f"in only {found['voiced']:.1%} of it is sung")
    if found["snr"] < voice.snr:
        raise Refused(f"the voice is only {found['snr']:.1f} dB over the noise")
    if found["accompaniment"] > voice.accompaniment:
        raise Refused("music still plays in the voice")
    if found["silent"] > back.silent:
        raise Refused(f"{found['silent']:.0%} of the accompaniment is silent")
    if bleed is not None and bleed > back.voice:
        raise Refused(f"the voice is still in the accompaniment ({bleed:.1f} dB)")
    return {k: v for k, v in found.items() if k != "stamp"}


def _rounded(value: float) -> float | None:
    return round(value, 2) if value == value else None


@lru_cache(maxsize=8)
def _weights(folder: Path) -> str:
    """What tells one checkpoint from another: a hash of its weights and settings."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json"))
    return key_of([[path.relative_to(folder).as_posix(), file_sha256(path)] for path in files])
