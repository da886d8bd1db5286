"""All measures of one model, the most telling first."""

import functools
import hashlib
import itertools
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
from voice2music.errors import BadRequest
from voice2music.evaluation.minis import card, cost, following, genres, soundness
from voice2music.evaluation.minis.listener import Listener
from voice2music.evaluation.minis.material import (
    SECONDS,
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
from voice2music.evaluation.minis.record import Phase, keep, kept
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
    name: str,
    sizes: Sizes,
    inputs: Inputs,
    *,
    only: Sequence[str] = (),
    minutes: float | None = None,
    dry: bool = False,
) -> str:
    """Everything about one bundled model; written into its card and given back as Markdown.

    The card is written after every phase, so that nothing is lost where one breaks.

    Args:
        name: of the checkpoint, or its folder.
        only: phases to be measured anew; of the others the card shows what an earlier run with the
            same weights and sizes found. All where empty.
        minutes: no phase is begun after so many; those that are missing are named on the card.
        dry: leave the card alone.
    Raises:
        BadRequest: there is no such phase.
    """
    started, load = time.monotonic(), os.getloadavg()[0]
    model = _Model(name, locate(name), sizes, inputs)
    phases = model.phases()
    if unknown := set(only) - set(phases):
        raise BadRequest(f"No phase is called {unknown}. There are: {', '.join(phases)}.")
    record = _record(model.checkpoint, sizes)
    found = kept(record) if only else {}
    text = card.text(found, tuple(phases), card.Run(model.checkpoint, sizes, 0.0, load))
    for title in only or phases:
        spent = (time.monotonic() - started) / 60
        if minutes is not None and spent > minutes:
            break
        log.info("%s: %s", model.checkpoint.name, title)
        found[title] = phases[title]()
        keep(record, found)
        spent = (time.monotonic() - started) / 60
        text = card.text(found, tuple(phases), card.Run(model.checkpoint, sizes, spent, load))
        if not dry:
            card.written(model.checkpoint.folder / "README.md", text)
    return text


def _record(checkpoint: Checkpoint, sizes: Sizes) -> Path:
    """Where what was found is kept."""
    text = f"{checkpoint.sha256} {sizes}"
    name = f"report-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    return cache_folder() / "minis" / name


class _Model:
    """One model under the measures; takes are made when they are first needed."""

    def __init__(self, name: str, checkpoint: Checkpoint, sizes: Sizes, inputs: Inputs) -> None:
        self.name, self.checkpoint = name, checkpoint
        self.sizes, self.inputs = sizes, inputs
        self.column = checkpoint.engine

    def phases(self) -> dict[str, Callable[[], Phase]]:
        """What is measured, in this order: what needs a quiet machine comes last."""
        return {
            "play my tune": self._synthetic,
            "real clips": self._real,
            "back me up": self._backs,
            "time and harmony": self._time_and_key,
            "sound": self._sound,
            "genre": self._genre,
            "words": self._words,
            "distance": self._distance,
            "odd cases": self._odd,
            "cost": self._cost,
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

    def _synthetic(self) -> Phase:
        lines = following.tune_lines(
            "synthetic voices", self.takes, self.studio, self.takes, SCORE[self.column]
        )
        return Phase(tuple(lines))

    def _real(self) -> Phase:
        if not self.clips:
            return Phase()
        pool = [*self.takes, *self.clips]
        lines = following.tune_lines("real clips", self.clips, self.studio, pool, REAL_SCORE)
        return Phase(tuple(lines))

    def _backs(self) -> Phase:
        return Phase(tuple(following.back_lines(self.backs, self.studio, self.takes)))

    def _time_and_key(self) -> Phase:
        return Phase(tuple(following.time_and_key_lines(self.takes, self.studio, self.takes)))

    def _sound(self) -> Phase:
        seeds = soundness.seeds_line(self.studio, self.jobs[0], self.sizes.same)
        return Phase((*soundness.sound_lines(self.everything, self.studio), seeds))

    def _genre(self) -> Phase:
        first = self.renders[: self.sizes.rebuilt]
        lines = genres.listener_lines(self.listener, first, self.rebuilt)
        return Phase((*lines, genres.genre_line(self.listener, self.everything, self.studio)))

    def _words(self) -> Phase:
        sizes = self.sizes
        lines = genres.swap_lines(self.listener, self.studio, self.takes[: sizes.swaps])
        if sizes.leads:
            lines.append(genres.lead_line(self.listener, self.studio, self.jobs[: sizes.leads]))
        return Phase((*lines, genres.tempo_line(self.studio, sizes.tempi)))

    def _distance(self) -> Phase:
        """Of takes of full length; each voice is asked once before any is asked again."""
        asked = ((job, seed) for seed in itertools.count() for job in self.jobs)
        takes = [
            self.studio.made(job, seed=seed, seconds=SECONDS)
            for job, seed in itertools.islice(asked, self.sizes.distance)
        ]
        return Phase(tuple(genres.frechet_lines(self.listener, takes, self.renders, self.rebuilt)))

    def _odd(self) -> Phase:
        return Phase(odd=tuple(soundness.odd_table(self.studio, self.takes, self.sizes.odd)))

    def _cost(self) -> Phase:
        return Phase(tuple(cost.cost_lines(self.column, self.name)))


@functools.cache
def _bandstand() -> Bandstand:
    """One for all models: they are asked the same."""
    return Bandstand(load_engine("band", Request()))


def _tunes(data: Path) -> tuple[Tune, ...]:
    """The written tunes, where they are there."""
    archive = data / "symbolic" / "OpenEWLD.tar.xz"
    return cleared_tunes(archive) if archive.is_file() else ()
