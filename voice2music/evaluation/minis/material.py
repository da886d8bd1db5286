"""What the models are asked: held-out synthetic voices, real clips, and the takes made of them."""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voice2music.analysis import Analysis, analyse
from voice2music.clip import Clip, read
from voice2music.conditioning import conditioning, tune_of
from voice2music.dataset import factory
from voice2music.dataset.pairs import Recipe, installed
from voice2music.dataset.shards import MANIFEST, Pairs
from voice2music.dataset.tunes import Tune
from voice2music.engines.base import Conditioning, Engine, Settings
from voice2music.evaluation import melody, report
from voice2music.request import Request, Role
from voice2music.soundfont import SoundFont
from voice2music.styles import styles

log = logging.getLogger(__name__)

SEED = 20_261_123  # of held-out voices; no training set is made from it
SECONDS = 10.0  # of a take at most: what the models were trained on
RATE = 16_000
RENDERS = 4  # of each held-out voice, for the listener and the Fréchet distance
SHARD = 300.0
LEFT_OUT = ("voco_vowels_e_i_o.flac", "derived/noisy_vocadito_10_ocean0_room.flac")


class Neural(Engine, Protocol):
    """An engine whose codec, or VAE and vocoder, can be heard alone."""

    def reconstructed(self, sound: Clip) -> Clip:
        """A sound through the codec alone."""
        ...


@dataclass(frozen=True, eq=False)
class Job:
    """One voice that music is asked for, as the app heard it, and the genre."""

    name: str
    clip: Clip
    heard: Analysis
    genre: str

    def asked(
        self,
        column: str,
        role: Role = "tune",
        genre: str | None = None,
        words: str = "",
        seconds: float | None = None,
    ) -> Conditioning:
        """What an engine would be given by the app; the tune is as long as it was sung, or
        played again until there are `seconds`.
        """
        request = Request(genre=genre or self.genre, role=role, words=words, seconds=seconds)
        return conditioning(request, column, tune_of(request, self.heard), self.clip, None)


@dataclass(frozen=True, eq=False)
class Made:
    """One take, raw, and what it was to follow."""

    job: Job
    genre: str
    asked: Conditioning
    music: Clip

    @cached_property
    def pitch_classes(self) -> NDArray[np.int64]:
        """The most prominent one every 10 ms."""
        return melody.prominent_pitch_classes(self.music)

    @cached_property
    def accuracy(self) -> float:
        """Melody accuracy against its own request; NaN without a voice."""
        tune = self.asked.melody
        return melody.melody_accuracy(self.pitch_classes, tune).value if tune else float("nan")

    @cached_property
    def heard(self) -> report.Heard:
        """What the outside estimators hear in it."""
        return report.hear(self.music)

    @cached_property
    def measures(self) -> dict[str, float]:
        """Every measure against its own request; a take without chords fits none."""
        found = report.measures(self.heard, self.asked)
        return {name: 0.0 if name == "chord fit" and value != value else value
                for name, value in found.items()}  # fmt: skip


@dataclass(eq=False)
class Bandstand:
    """The band's renders of the same requests; each is played once."""

    band: Engine
    _played: dict[tuple[str, Role], Made] = field(default_factory=dict)

    def made(self, job: Job, role: Role = "tune") -> Made:
        """The band's own render of a job."""
        if (job.name, role) not in self._played:
            asked = job.asked("band", role)
            music = report.played(self.band, asked, Settings(SEED)).mono().resampled(RATE)
            self._played[job.name, role] = Made(job, job.genre, asked, music)
        return self._played[job.name, role]


@dataclass(eq=False)
class Studio:
    """A model, and the band beside it."""

    column: str
    engine: Neural
    bandstand: Bandstand
    _through: dict[str, Made] = field(default_factory=dict)

    def made(
        self,
        job: Job,
        role: Role = "tune",
        seed: int = 0,
        genre: str | None = None,
        words: str = "",
        seconds: float | None = None,
    ) -> Made:
        """A take of the model's own: from noise, the cascade off."""
        asked = job.asked(self.column, role, genre, words, seconds)
        return Made(job, genre or job.genre, asked, self.raw(asked, seed))

    def raw(self, asked: Conditioning, seed: int = 0) -> Clip:
        """The network's own sound for what is asked."""
        return report.played(self.engine, asked, Settings(seed, start_from="noise"))

    def ceiling(self, job: Job) -> Made:
        """The band's "play my tune" of a job through this model's codec."""
        if job.name not in self._through:
            made = self.bandstand.made(job)
            music = self.engine.reconstructed(made.music)
            self._through[job.name] = Made(job, made.genre, made.asked, music)
        return self._through[job.name]


def held_out(
    folder: Path,
    voices: int,
    tunes: Sequence[Tune] = (),
    fonts: tuple[SoundFont, ...] | None = None,
) -> Path:
    """A data set of `voices` voices or more that sing tunes of the test split, made where absent.

    Args:
        folder: its name gets the number of voices.
        tunes: written tunes; only those of the test split are sung.
        fonts: the installed ones where None.
    """
    recipe = Recipe(
        SEED, fonts or installed(), RATE, SECONDS, renders=RENDERS, captions=1, split="test"
    )
    folder = folder.with_name(f"{folder.name}-{voices}-{len(tunes)}")
    if not (folder / MANIFEST).is_file():
        log.info("held-out voices: making %d", voices)
        hours = voices * RENDERS * SECONDS / 3600
        factory.make(folder, recipe, tunes, hours, shard_seconds=min(SHARD, hours * 3600))
    return folder


def learnt(folder: Path, hours: float, fonts: tuple[SoundFont, ...] | None = None) -> Path:
    """Renders for the listener to learn from, made where absent."""
    recipe = Recipe(
        SEED + 1, fonts or installed(), RATE, SECONDS, renders=RENDERS, captions=1, split="train"
    )
    if not (folder / MANIFEST).is_file():
        log.info("listener: making %.1f hours of renders", hours)
        factory.make(folder, recipe, (), hours, shard_seconds=min(SHARD, hours * 3600))
    return folder


def synthetic(folder: Path, voices: int) -> list[Job]:
    """The first `voices` voices of a held-out set, the genres in turn."""
    pairs = Pairs(folder, "test")
    first: dict[str, int] = {}
    for index, row in enumerate(pairs.rows):
        first.setdefault(row["id"].rsplit("-", 1)[0], index)
    jobs: list[Job] = []
    for name, index in list(first.items())[:voices]:
        clip = Clip(pairs.voice(index), pairs.rows[index]["voice"]["rate"])
        jobs.append(job(name, clip, len(jobs)))
    return jobs


def real(folder: Path) -> list[Job]:
    """The first ten seconds of the real clips; none where the folder is absent."""
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        return []
    with manifest.open(newline="", encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["file"] not in LEFT_OUT]
    clips = {name: read(folder / name) for name in names}
    return [
        job(name, clip.cut(0, min(clip.seconds, SECONDS)), index)
        for index, (name, clip) in enumerate(clips.items())
    ]


def job(name: str, clip: Clip, number: int) -> Job:
    """A voice as the app hears it; `number` chooses the genre."""
    genres = list(styles())
    return Job(name, clip, analyse(clip), genres[number % len(genres)])
