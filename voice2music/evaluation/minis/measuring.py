"""All measures of one model, in the order of the table."""

import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from voice2music import __version__
from voice2music.checkpoints import Checkpoint, cache_folder, locate
from voice2music.dataset.shards import Pairs
from voice2music.dataset.tunes import Tune, cleared_tunes
from voice2music.engines.loading import load_engine
from voice2music.evaluation.minis import card, cost, following, genres, soundness
from voice2music.evaluation.minis.lines import HEAD, Line
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
from voice2music.evaluation.minis.schooling import CLIP, Lesson, Plan, lesson, schooled
from voice2music.request import Request

log = logging.getLogger(__name__)

HOURS = 1.5  # of renders that the listener learns from, where none are given
FULL = 64  # held-out voices that are made, whether or not all are asked about
SCORE = {"musicgen": ".70 (.45 without a GPU)", "audioldm": ".60 (.40 without a GPU)"}
REAL_SCORE = ".50 (.30 without a GPU)"


@dataclass(frozen=True)
class Sizes:
    """How many of everything.

    Args:
        voices, seeds: held-out synthetic voices and takes of each, "play my tune".
        real_seeds: takes of each real clip.
        backs: voices that are backed up.
        swaps, leads, tempi: takes with another genre word, a lead word, a tempo word.
        renders: held-out ones that the listener is tested on and the distance is taken to.
        rebuilt: of them that go through the codec.
        same: seeds that must give different takes; odd: takes of each odd case.
        plan: how long the listener learns.
    """

    voices: int
    seeds: int
    real_seeds: int
    backs: int
    swaps: int
    leads: int
    tempi: int
    renders: int
    rebuilt: int
    same: int
    odd: int
    plan: Plan

    def with_wishes(self, voices: int | None, seeds: int | None) -> "Sizes":
        """The same with other voices and seeds."""
        voices = voices or self.voices
        return replace(
            self, voices=voices, seeds=seeds or self.seeds, backs=min(self.backs, voices)
        )


WHOLE = Sizes(64, 2, 8, 64, 32, 32, 16, 256, 256, 16, 4, Plan())
QUICK = Sizes(16, 1, 1, 8, 6, 0, 4, 256, 64, 16, 1, Plan(again=60, reconstructions=64))


def measure(
    name: str, sizes: Sizes, data: Path, pairs: Path | None = None, *, dry: bool = False
) -> str:
    """Everything about one bundled model; written into its card and given back as Markdown.

    Args:
        name: of the checkpoint, or its folder.
        data: reference recordings; what is not there is left out, and the table says so.
        pairs: renders that the listener learns from; made where None.
        dry: leave the card alone.
    """
    started = time.monotonic()
    checkpoint = locate(name)
    column = checkpoint.engine
    log.info("%s: costs", checkpoint.name)
    costs = cost.cost_lines(column, name)
    studio = Studio(column, _neural(column, name), _bandstand())
    lines, odd = _measured(studio, checkpoint, sizes, data, pairs)
    text = _text([*lines, *costs], odd, checkpoint, sizes, time.monotonic() - started)
    if not dry:
        card.written(checkpoint.folder / "README.md", text)
    return text


def _measured(
    studio: Studio, checkpoint: Checkpoint, sizes: Sizes, data: Path, pairs: Path | None
) -> tuple[list[Line], list[str]]:
    """The lines of the table, and the table of odd cases."""
    folder = held_out(cache_folder() / "minis" / "held-out", max(FULL, sizes.voices), _tunes(data))
    jobs = synthetic(folder, sizes.voices)
    takes = _takes(studio, "synthetic", jobs, sizes.seeds)
    clips = _takes(studio, "real", real(data / "vocals"), sizes.real_seeds)
    backs = [studio.made(job, "back") for job in jobs[: sizes.backs]]
    log.info("following")
    score = SCORE[studio.column]
    lines = following.tune_lines("synthetic voices", takes, studio, takes, score)
    if clips:
        lines += following.tune_lines("real clips", clips, studio, takes + clips, REAL_SCORE)
    lines += following.back_lines(backs, studio, takes)
    lines += following.time_and_key_lines(takes, studio.bandstand, takes)
    everything = [*takes, *clips, *backs]
    listener = _listener(studio, checkpoint, sizes, pairs)
    lines += _word_lines(studio, listener, sizes, everything, jobs, Pairs(folder, "test"))
    log.info("sound")
    lines += soundness.sound_lines(everything)
    lines.append(soundness.seeds_line(studio, jobs[0], sizes.same))
    log.info("odd cases")
    return lines, soundness.odd_table(studio, takes, sizes.odd)


def _takes(studio: Studio, title: str, jobs: Sequence[Job], seeds: int) -> list[Made]:
    """Takes with the role "tune"."""
    out = []
    for job in jobs:
        out += [studio.made(job, seed=seed) for seed in range(seeds)]
        log.info("%s: %d of %d voices", title, len(out) // seeds, len(jobs))
    return out


def _word_lines(
    studio: Studio,
    listener: Listener,
    sizes: Sizes,
    made: Sequence[Made],
    jobs: Sequence[Job],
    held: Pairs,
) -> list[Line]:
    """Genre, lead, tempo, distances."""
    log.info("words")
    renders = _renders(held, sizes.renders)
    some = renders[: sizes.rebuilt]
    lines, rebuilt = genres.listener_lines(listener, some, studio)
    heard = listener.hear([one.music for one in made])
    lines.append(genres.genre_line(listener, heard, made, studio))
    first = {one.job.name: one for one in reversed(made[: len(jobs) * sizes.seeds])}
    tunes = [first[job.name] for job in jobs]
    lines += genres.swap_lines(listener, studio, tunes[: sizes.swaps])
    if sizes.leads:
        lines.append(genres.lead_line(listener, studio, jobs[: sizes.leads]))
    lines.append(genres.tempo_line(studio, sizes.tempi))
    log.info("distances")
    return lines + genres.frechet_lines(listener, heard, made, renders, rebuilt)


def _renders(held: Pairs, count: int) -> list[Lesson]:
    """Held-out renders in a shuffled order."""
    order = np.random.default_rng(0).permutation(len(held))[:count]
    return [lesson(held, int(index), 0.0, CLIP) for index in order]


def _listener(studio: Studio, checkpoint: Checkpoint, sizes: Sizes, pairs: Path | None) -> Listener:
    """Taught on renders, and on what this model's codec makes of them."""
    cache = cache_folder() / "minis"
    folder = pairs or learnt(cache / "learnt", HOURS)
    through = {checkpoint.sha256: studio.engine.reconstructed}
    log.info("listener")
    return schooled(folder, through, sizes.plan, cache)


def _neural(column: str, name: str) -> Neural:
    """The engine as the app loads it."""
    engine = load_engine(column, Request(checkpoints={column: name}))
    assert hasattr(engine, "reconstructed")
    return engine  # type: ignore[return-value]


@functools.cache
def _bandstand() -> Bandstand:
    """One for all models: they are asked the same."""
    return Bandstand(load_engine("band", Request()))


def _tunes(data: Path) -> tuple[Tune, ...]:
    """The written tunes, where they are there."""
    archive = data / "symbolic" / "OpenEWLD.tar.xz"
    return cleared_tunes(archive) if archive.is_file() else ()


def _text(
    lines: Sequence[Line], odd: Sequence[str], checkpoint: Checkpoint, sizes: Sizes, took: float
) -> str:
    """The generated part of the card."""
    when = datetime.now(UTC).date().isoformat()
    head = (
        f"Measured on {when} with voice2music {__version__} by `make minis-report`, in "
        f"{took / 60:.0f} minutes on CPU; weights {checkpoint.sha256[:16]}. All on the raw "
        f"output of the network: from noise or tokens, no cascade, no finishing, nothing rendered "
        f"mixed in. At most 10 s of each voice; {sizes.voices} held-out synthetic voices × "
        f"{sizes.seeds}, real clips × {sizes.real_seeds}."
    )
    notes = (
        "a: melody accuracy after Music ControlNet (CQT C3 to C8, high-pass weight at 261.6 Hz, "
        "lag within 150 ms). f: the same takes against other voices moved to the same tonic. c: "
        "the band's \"play my tune\" of the same requests through this model's codec (or VAE and "
        "vocoder). Chords, key and tempo are heard by librosa-triads, profile correlation and "
        "librosa's beat tracker; their ceiling is the band's own render. Genre and lead are told "
        "by a small network that learnt renders and their reconstructions; the Fréchet distance "
        "is taken in its last hidden layer (32 values), floor: white noise, ceiling: renders "
        "through the codec; with few takes it is biased upwards. Intervals: bootstrap over voices. "
        "n: takes (of so many voices)."
    )
    table = [HEAD, *(line.row() for line in lines)]
    return "\n".join(
        ["## Measured", "", head, "", *table, "", "### Odd cases", "", *odd, "", notes]
    )
