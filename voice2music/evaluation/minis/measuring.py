"""All measures of one model, the most telling first."""

import functools
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from voice2music.checkpoints import Checkpoint, cache_folder, locate
from voice2music.dataset.shards import Pairs
from voice2music.dataset.tunes import Tune, cleared_tunes
from voice2music.engines.loading import load_engine
from voice2music.evaluation.minis import card, cost, following, genres, soundness
from voice2music.evaluation.minis.lines import Line
from voice2music.evaluation.minis.listener import Listener
from voice2music.evaluation.minis.material import (
    Bandstand,
    Job,
    Made,
    Neural,
    Studio,
    held_out,
    learnt,
    real,
    synthetic,
)
from voice2music.evaluation.minis.schooling import CLIP, Lesson, lesson, schooled
from voice2music.evaluation.minis.sizes import Sizes
from voice2music.request import Request

log = logging.getLogger(__name__)

HOURS = 1.5  # of renders that the listener learns from, where none are given
FULL = 64  # held-out voices that are made, whether or not all are asked about
SCORE = {"musicgen": "≥ .70 (.45 without a GPU)", "audioldm": "≥ .60 (.40 without a GPU)"}
REAL_SCORE = "≥ .50 (.30 without a GPU)"


@dataclass(frozen=True)
class Inputs:
    """Where material lies.

    Args:
        data: reference recordings; what is not there is left out, and the card says so.
        pairs: renders that the listener learns from; made where None.
    """

    data: Path
    pairs: Path | None = None


def measure(
    name: str, sizes: Sizes, inputs: Inputs, *, minutes: float | None = None, dry: bool = False
) -> str:
    """Everything about one bundled model; written into its card and given back as Markdown.

    The card is written after every phase, so that nothing is lost where one breaks.

    Args:
        name: of the checkpoint, or its folder.
        minutes: no phase is begun after so many; those left out are named on the card.
        dry: leave the card alone.
    """
    started, load = time.monotonic(), os.getloadavg()[0]
    checkpoint = locate(name)
    model = _Model(name, checkpoint, sizes, inputs)
    lines: list[Line] = []
    missing = list(model.phases())
    text = ""
    for title, phase in model.phases().items():
        spent = (time.monotonic() - started) / 60
        if minutes is not None and spent > minutes:
            break
        log.info("%s: %s", checkpoint.name, title)
        lines += phase()
        missing.remove(title)
        done = card.Run(checkpoint, sizes, (time.monotonic() - started) / 60, load, tuple(missing))
        text = card.text(lines, model.odd, done)
        if not dry:
            card.written(checkpoint.folder / "README.md", text)
    return text


class _Model:
    """One model under the measures; takes are made when they are first needed."""

    def __init__(self, name: str, checkpoint: Checkpoint, sizes: Sizes, inputs: Inputs) -> None:
        self.name, self.checkpoint = name, checkpoint
        self.sizes, self.inputs = sizes, inputs
        self.column = checkpoint.engine
        self.odd: list[str] = []  # the table of odd cases

    def phases(self) -> dict[str, Callable[[], list[Line]]]:
        """What is measured, in this order."""
        return {
            "play my tune": self._synthetic,
            "real clips": self._real,
            "back me up": self._backs,
            "tempo, key and chords": self._time_and_key,
            "sound": self._sound,
            "cost": lambda: cost.cost_lines(self.column, self.name),
            "genre": self._genre,
            "words": self._words,
            "distance": self._distance,
            "odd cases": self._odd,
        }

    @cached_property
    def studio(self) -> Studio:
        """The engine as the app loads it."""
        engine = load_engine(self.column, Request(checkpoints={self.column: self.name}))
        assert hasattr(engine, "reconstructed")
        neural: Neural = engine  # type: ignore[assignment]
        return Studio(self.column, neural, _bandstand())

    @cached_property
    def held(self) -> Path:
        """The held-out data set."""
        folder = cache_folder() / "minis" / "held-out"
        return held_out(folder, max(FULL, self.sizes.voices), _tunes(self.inputs.data))

    @cached_property
    def jobs(self) -> list[Job]:
        """The held-out voices."""
        return synthetic(self.held, self.sizes.voices)

    @cached_property
    def takes(self) -> list[Made]:
        """Of the held-out voices, seed by seed, all voices first."""
        return self._made(self.jobs, self.sizes.seeds)

    @cached_property
    def clips(self) -> list[Made]:
        """Of the real clips."""
        return self._made(real(self.inputs.data / "vocals"), self.sizes.real_seeds)

    @cached_property
    def backs(self) -> list[Made]:
        """With the role "back"."""
        return [self.studio.made(job, "back") for job in self.jobs[: self.sizes.backs]]

    @cached_property
    def everything(self) -> list[Made]:
        """All takes made so far for following."""
        return [*self.takes, *self.clips, *self.backs]

    @cached_property
    def listener(self) -> Listener:
        """Taught on renders, and on what this model's codec makes of them."""
        cache = cache_folder() / "minis"
        folder = self.inputs.pairs or learnt(cache / "learnt", HOURS)
        through = {self.checkpoint.sha256: self.studio.engine.reconstructed}
        return schooled(folder, through, self.sizes.plan, cache)

    @cached_property
    def renders(self) -> list[Lesson]:
        """Held-out renders in a shuffled order."""
        held = Pairs(self.held, "test")
        order = np.random.default_rng(0).permutation(len(held))[: self.sizes.renders]
        return [lesson(held, int(index), 0.0, CLIP) for index in order]

    @cached_property
    def rebuilt(self) -> list[Lesson]:
        """The first of them through the codec."""
        return genres.through_codec(self.renders[: self.sizes.rebuilt], self.studio)

    def _made(self, jobs: Sequence[Job], seeds: int) -> list[Made]:
        out = []
        for seed in range(seeds):
            out += [self.studio.made(job, seed=seed) for job in jobs]
            log.info("%d takes", len(out))
        return out

    def _synthetic(self) -> list[Line]:
        return following.tune_lines(
            "synthetic voices", self.takes, self.studio, self.takes, SCORE[self.column]
        )

    def _real(self) -> list[Line]:
        if not self.clips:
            return []
        pool = [*self.takes, *self.clips]
        return following.tune_lines("real clips", self.clips, self.studio, pool, REAL_SCORE)

    def _backs(self) -> list[Line]:
        return following.back_lines(self.backs, self.studio, self.takes)

    def _time_and_key(self) -> list[Line]:
        return following.time_and_key_lines(self.takes, self.studio.bandstand, self.takes)

    def _sound(self) -> list[Line]:
        seeds = soundness.seeds_line(self.studio, self.jobs[0], self.sizes.same)
        return [*soundness.sound_lines(self.everything), seeds]

    def _genre(self) -> list[Line]:
        first = self.renders[: self.sizes.rebuilt]
        lines = genres.listener_lines(self.listener, first, self.rebuilt)
        return [*lines, genres.genre_line(self.listener, self.everything, self.studio)]

    def _words(self) -> list[Line]:
        sizes = self.sizes
        lines = genres.swap_lines(self.listener, self.studio, self.takes[: sizes.swaps])
        if sizes.leads:
            lines.append(genres.lead_line(self.listener, self.studio, self.jobs[: sizes.leads]))
        return [*lines, genres.tempo_line(self.studio, sizes.tempi)]

    def _distance(self) -> list[Line]:
        return genres.frechet_lines(self.listener, self.everything, self.renders, self.rebuilt)

    def _odd(self) -> list[Line]:
        self.odd = soundness.odd_table(self.studio, self.takes, self.sizes.odd)
        return []


@functools.cache
def _bandstand() -> Bandstand:
    """One for all models: they are asked the same."""
    return Bandstand(load_engine("band", Request()))


def _tunes(data: Path) -> tuple[Tune, ...]:
    """The written tunes, where they are there."""
    archive = data / "symbolic" / "OpenEWLD.tar.xz"
    return cleared_tunes(archive) if archive.is_file() else ()
