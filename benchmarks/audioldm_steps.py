"""How many steps AudioLDM's solver needs: the curve, on mini-audioldm and held-out voices.

    python benchmarks/audioldm_steps.py [--data ../shared/data] [--pairs FOLDER] [--voices 37]

The same voices, seeds and noise for every solver and number of steps, so that settings are compared
pair by pair. Judged as the report of the bundled models judges (melody score, Fréchet distance in
the listener's last hidden layer), and by the Fréchet distance in the model's own CLAP. Held-out
voices are made by the factory where they are not cached, and so are the renders that the listener
learns from, unless `--pairs` has them. What is finished lies in the work folder and is not done
again. Writes `benchmarks/audioldm_steps.md`.
"""

import argparse
import functools
import itertools
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

from voice2music import __version__
from voice2music.checkpoints import cache_folder, locate
from voice2music.clip import Clip
from voice2music.dataset.shards import Pairs
from voice2music.dataset.tunes import cleared_tunes
from voice2music.engines import audioldm, band
from voice2music.engines.audioldm.conditions import branches
from voice2music.engines.audioldm.sampling import (
    ALWAYS,
    Interval,
    denoised,
    even_in_log_snr,
    scheduler_for,
)
from voice2music.engines.base import Settings
from voice2music.evaluation.frechet import frechet_distance
from voice2music.evaluation.intervals import Estimate
from voice2music.evaluation.minis.following import floor_of
from voice2music.evaluation.minis.listener import Listener
from voice2music.evaluation.minis.material import Job, Made, held_out, learnt, real, synthetic
from voice2music.evaluation.minis.measuring import FULL, HOURS
from voice2music.evaluation.minis.schooling import schooled
from voice2music.evaluation.minis.sizes import WHOLE
from voice2music.evaluation.report import played

TABLE = Path(__file__).with_suffix(".md")
NAME = "mini-audioldm"
VOICES = 37
SECONDS = 6.0  # of a take
FOLDS = 16  # of the jackknife
JUDGES = ("listener", "clap")
CLOSE = 0.05  # share of the reference's value that a setting may be worse by

Found = dict[str, np.ndarray[Any, np.dtype[Any]]]
Rows = Sequence[int] | np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Setting:
    """A way to walk from noise to latents.

    Args:
        solver: a name in `SOLVERS`.
        guided: shares of diffusion time between which there is guidance.
        dtype: of the UNet and the VAE's decoder.
    """

    solver: str
    steps: int
    guided: Interval = ALWAYS
    dtype: str = "float32"

    @property
    def title(self) -> str:
        """In words."""
        words = [f"{self.solver}, {self.steps} steps"]
        if self.guided != ALWAYS:
            words.append("guided from {:g} to {:g}".format(*self.guided))
        if self.dtype != "float32":
            words.append(self.dtype)
        return ", ".join(words)

    @property
    def file(self) -> str:
        """Name of what is kept of it."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title).split()) + ".npz"


class Spaced(DPMSolverMultistepScheduler):  # type: ignore[misc]
    """DPM-Solver++ 2M on other time steps than ours."""

    way: Callable[[torch.Tensor, int], list[int]]

    def set_timesteps(self, *, timesteps: list[int]) -> None:
        """As many as given, elsewhere."""
        super().set_timesteps(timesteps=self.way(self.alphas_cumprod, len(timesteps)))


class UniPC(UniPCMultistepScheduler):  # type: ignore[misc]
    """UniPC (Zhao et al. 2023) on our time steps."""

    def set_timesteps(self, steps: int) -> None:
        """Over the whole schedule."""
        signal = self.alphas_cumprod
        walk = even_in_log_snr(signal, steps, len(signal) - 1)
        super().set_timesteps(len(walk))
        self.timesteps = torch.tensor(walk)
        sigmas = ((1 - signal) / signal).sqrt()[self.timesteps]
        self.sigmas = torch.cat([sigmas, torch.zeros(1)])


def even_in_time(signal: torch.Tensor, steps: int) -> list[int]:
    return [round(x) for x in np.linspace(len(signal) - 1, 0, steps + 1)[:-1]]


def karras(signal: torch.Tensor, steps: int) -> list[int]:
    """Karras et al. 2022, rho 7, between the schedule's own ends."""
    sigmas = ((1 - signal) / signal).sqrt()
    wanted = torch.linspace(float(sigmas[-1]) ** (1 / 7), float(sigmas[0]) ** (1 / 7), steps) ** 7
    nearest = (sigmas.log() - wanted.log()[:, None]).abs().argmin(dim=1)
    return sorted(set(nearest.tolist()), reverse=True)


def spaced(config: Any, way: Callable[[torch.Tensor, int], list[int]]) -> Spaced:
    scheduler = Spaced.from_config(config, algorithm_type="dpmsolver++", solver_order=2)
    scheduler.way = way
    return scheduler


DDIM, DPM = "DDIM", "DPM-Solver++ 2M"
SOLVERS: dict[str, Callable[[Any], Any]] = {
    DDIM: lambda config: scheduler_for(config, "ddim"),
    DPM: lambda config: scheduler_for(config, "dpm++"),
    f"{DPM}, even in time": lambda config: spaced(config, even_in_time),
    f"{DPM}, Karras": lambda config: spaced(config, karras),
    "DPM-Solver++ 3M": lambda config: DPMSolverMultistepScheduler.from_config(
        config, algorithm_type="dpmsolver++", solver_order=3
    ),
    "UniPC": UniPC.from_config,
}
REFERENCE = Setting(DDIM, 200)
FINE = Setting(DPM, 30)  # near the exact flow; what latents are held against
SETTINGS = (
    *(Setting(DPM, steps) for steps in (20, 10, 6)),
    REFERENCE,
    *(Setting(DPM, steps) for steps in (8, 15, 12, 30, 5, 4, 3)),
    *(Setting(DPM, 8, guided) for guided in ((0.0, 0.8), (0.2, 0.8), (0.3, 1.0))),
    *(Setting(DPM, steps, dtype="bfloat16") for steps in (8, 20)),
    Setting(DPM, 8, (0.2, 0.8), "bfloat16"),
    *(Setting(solver, 6) for solver in list(SOLVERS)[2:]),
    *(Setting(solver, 4) for solver in list(SOLVERS)[2:]),
    *(Setting(DDIM, steps) for steps in (10, 20, 50, 100)),
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--pairs", type=Path, help="renders that the listener learns from")
    options.add_argument("--work", type=Path, default=Path("build/audioldm-steps"))
    options.add_argument("--voices", type=int, default=VOICES)
    given = options.parse_args()
    torch.set_num_threads(1)
    work = given.work / f"{locate(NAME).sha256[:12]}-{given.voices}"
    work.mkdir(parents=True, exist_ok=True)
    stage = Stage(given.data, given.pairs, given.voices)
    for setting in SETTINGS:
        kept(work / setting.file, functools.partial(measured, stage, setting))
    ends = kept(work / "ends.npz", lambda: both_ends(stage))
    found = {setting: dict(np.load(work / setting.file)) for setting in SETTINGS}
    TABLE.write_text(table(found, ends), encoding="utf-8")


def kept(path: Path, make: Callable[[], Found]) -> Found:
    """What `make` finds, once."""
    if not path.exists():
        print(path.stem, file=sys.stderr, flush=True)
        with path.with_suffix(".part").open("wb") as file:
            np.savez(file, **make())
        path.with_suffix(".part").rename(path)
    return dict(np.load(path))


class Stage:
    """Voices, the model, the band and the judge; each made when it is first asked for."""

    def __init__(self, data: Path, pairs: Path | None, voices: int) -> None:
        self.data, self.pairs, self.voices = data, pairs, voices
        self.models = {
            name: audioldm.load(NAME, "cpu", precision=name)  # type: ignore[arg-type]
            for name in ("float32", "bfloat16")
        }
        self.model = self.models["float32"]

    @functools.cached_property
    def held(self) -> Path:
        """The held-out data set."""
        archive = self.data / "symbolic" / "OpenEWLD.tar.xz"
        tunes = cleared_tunes(archive) if archive.is_file() else ()
        return held_out(cache_folder() / "minis" / "held-out", max(FULL, self.voices), tunes)

    @functools.cached_property
    def jobs(self) -> list[Job]:
        """Synthetic voices, then real clips."""
        return [*synthetic(self.held, self.voices), *real(self.data / "vocals")]

    @functools.cached_property
    def pool(self) -> list[Made]:
        """What every voice asks for; the floor is taken over the others."""
        nothing = Clip(np.zeros(16_000, np.float32), 16_000)
        return [
            Made(job, job.genre, job.asked("audioldm", seconds=SECONDS), nothing)
            for job in self.jobs
        ]

    @functools.cached_property
    def listener(self) -> Listener:
        """The report's."""
        cache = cache_folder() / "minis"
        through = {locate(NAME).sha256: self.model.reconstructed}
        return schooled(self.pairs or learnt(cache / "learnt", HOURS), through, WHOLE.plan, cache)

    def judged(self, clips: Sequence[Clip]) -> Found:
        """Tune, floor, genre and embedding of one clip for each voice."""
        made = [
            Made(one.job, one.genre, one.asked, clip)
            for one, clip in zip(self.pool, clips, strict=True)
        ]
        told = self.listener.told(self.listener.hear(clips))
        return {
            "melody": np.array([one.accuracy for one in made]),
            "floor": np.array([floor_of(one, self.pool) for one in made]),
            "told": np.array([a == one.genre for a, one in zip(told, made, strict=True)], float),
            **self.embedded(clips),
        }

    def embedded(self, clips: Sequence[Clip]) -> Found:
        """What the listener and the model's own CLAP make of clips."""
        tower = self.model.parts.audio
        assert tower is not None, f"{NAME} brings an audio tower"
        return {
            "listener": self.listener.hear(clips).embeddings,
            "clap": torch.stack([tower.embed(clip) for clip in clips]).double().numpy(),
        }


def measured(stage: Stage, setting: Setting) -> Found:
    """A take for every voice."""
    calls: list[int] = []
    model = stage.models[setting.dtype]
    watching = model.parts.unet.register_forward_pre_hook(
        lambda unet, given: calls.append(len(given[0]))
    )
    latents = [drawn(model, one, number, setting) for number, one in enumerate(stage.pool)]
    watching.remove()
    clips = [sounded(model, one) for one in latents]
    runs = np.array(sum(calls) / len(latents))
    return {**stage.judged(clips), "latents": torch.stack(latents).numpy(), "runs": runs}


@torch.inference_mode()
def drawn(model: audioldm.AudioLDM, one: Made, seed: int, setting: Setting) -> torch.Tensor:
    """Latents of a take, shape (channels, frames, bins)."""
    parts = model.parts
    frames = parts.frames(SECONDS)
    shape = (parts.vae.config.latent_channels, frames, parts.mel.bins // parts.shrink)
    return denoised(
        parts.unet,
        SOLVERS[setting.solver](parts.schedule),
        torch.randn(shape, generator=torch.Generator().manual_seed(seed)),
        branches(parts, one.asked, Settings(start_from="noise"), frames),
        window=parts.window,
        steps=setting.steps,
        start=None,
        strength=1.0,
        go_on=lambda share: None,
        guided=setting.guided,
    )


@torch.inference_mode()
def sounded(model: audioldm.AudioLDM, latents: torch.Tensor) -> Clip:
    rate = model.parts.mel.rate
    samples = model.sounded(model.decoded(latents))
    return Clip(samples[: round(SECONDS * rate)].numpy(), rate)


def both_ends(stage: Stage) -> Found:
    """Renders as the reference, the band through the VAE as the ceiling, noise as the floor."""
    held, engine = Pairs(stage.held, "test"), band.load()
    renders = [
        Clip(held.music(i, 0.0, SECONDS), row["music"]["rate"])
        for i, row in enumerate(held.rows)
        if row["seconds"] >= SECONDS
    ]
    tunes = [
        stage.model.reconstructed(
            played(engine, one.job.asked("band", seconds=SECONDS), Settings()).cut(0, SECONDS)
        )
        for one in stage.pool
    ]
    chance = np.random.default_rng(0)
    noise = [
        Clip(0.1 * chance.standard_normal(round(SECONDS * 16_000)).astype(np.float32), 16_000)
        for _ in stage.pool
    ]
    return {
        **{f"renders {name}": value for name, value in stage.embedded(renders).items()},
        **{f"band {name}": value for name, value in stage.judged(tunes).items()},
        **{f"noise {name}": value for name, value in stage.judged(noise).items()},
        "synthetic": np.array(stage.voices),
    }


# ---- the table


def jackknifed(statistic: Callable[[Rows], float], rows: int) -> Estimate:
    """A statistic of some of the voices, with an interval: folds of them left out in turn."""
    fold = np.arange(rows) % FOLDS
    left = np.array([statistic(np.flatnonzero(fold != k)) for k in range(FOLDS)])
    error = 1.96 * np.sqrt((FOLDS - 1) / FOLDS * ((left - left.mean()) ** 2).sum())
    whole = statistic(np.arange(rows))
    return Estimate(whole, whole - float(error), whole + float(error), rows, rows)


def distance(found: Found, ends: Found, judge: str, rows: Rows) -> float:
    return frechet_distance(found[judge][rows], ends[f"renders {judge}"])


def score(found: Found, ends: Found, rows: Rows) -> float:
    """Share of the way from other voices' tunes to the band's own playing."""
    floor = np.nanmean(found["floor"][rows])
    top = np.nanmean(ends["band melody"][rows])
    return float((np.nanmean(found["melody"][rows]) - floor) / (top - floor))


def compared(found: Found, base: Found, ends: Found) -> list[Estimate]:
    """Both distances and the tune's score over those of the reference."""
    ratios: list[Callable[[Rows], float]] = [
        lambda r, judge=judge: (  # type: ignore[misc]
            distance(found, ends, judge, r) / distance(base, ends, judge, r)
        )
        for judge in JUDGES
    ]
    ratios.append(lambda r: score(found, ends, r) / score(base, ends, r))
    return [jackknifed(ratio, len(ends["band melody"])) for ratio in ratios]


def snr(found: Found, fine: Found) -> float:
    """How far latents lie from the finest solution, dB; higher is nearer."""
    apart = ((found["latents"] - fine["latents"]) ** 2).sum()
    return float(10 * np.log10((fine["latents"] ** 2).sum() / max(apart, 1e-12)))


def row(title: str, one: Found, base: Found, ends: Found, more: Sequence[str]) -> str:
    rows = len(ends["band melody"])
    near, far, tune = compared(one, base, ends)
    values = [
        jackknifed(lambda r: distance(one, ends, JUDGES[0], r), rows), near,
        jackknifed(lambda r: distance(one, ends, JUDGES[1], r), rows), far,
        jackknifed(lambda r: score(one, ends, r), rows), tune,
    ]  # fmt: skip
    cells = [title, *(interval(value) for value in values), f"{one['told'].mean():.2f}", *more]
    return f"| {' | '.join(cells)} |"


def table(found: dict[Setting, Found], ends: Found) -> str:
    rows, base = len(ends["band melody"]), found[REFERENCE]
    lines = []
    for setting in sorted(found, key=order):
        one = found[setting]
        near = "–" if setting == FINE else f"{snr(one, found[FINE]):.1f}"
        more = [near, f"{float(one['runs']):.0f}", verdict(compared(one, base, ends))]
        lines.append(row(setting.title, one, base, ends, more))
    lines.append(others_row(ends))
    for name, title in (("band", "the band through the VAE"), ("noise", "white noise")):
        one = {key.removeprefix(f"{name} "): value for key, value in ends.items()
               if key.startswith(name)}  # fmt: skip
        lines.append(row(title, one, base, ends, ["–", "–", "–"]))
    voices = int(ends["synthetic"])
    head = [
        "# How many steps AudioLDM needs",
        "",
        f"voice2music {__version__}, Python {platform.python_version()}, torch "
        f"{torch.__version__}. Written by `python benchmarks/audioldm_steps.py`.",
        "",
        f"{NAME}, {rows} takes of {SECONDS:g} s: {voices} held-out synthetic voices and "
        f"{rows - voices} real clips, the same seeds in every row.",
        "",
        "| solver | Fréchet, listener | ÷ DDIM 200 | Fréchet, CLAP | ÷ DDIM 200 | melody score "
        "| ÷ DDIM 200 | genre told | latents, dB | UNet runs | within 5 % |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *lines, "", chosen(found, ends), "", NOTES])


def others_row(ends: Found) -> str:
    """As many held-out renders against the others: what the distances come to by chance alone."""
    rows = len(ends["band melody"])
    mixed = np.random.default_rng(0).permutation(len(ends[f"renders {JUDGES[0]}"]))
    found = [
        frechet_distance(renders[mixed[:rows]], renders[mixed[rows:]])
        for renders in (ends[f"renders {judge}"] for judge in JUDGES)
    ]
    cells = ["as many held-out renders, against the others", f"{found[0]:.3f}", "–",
             f"{found[1]:.3f}", *["–"] * 7]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def order(setting: Setting) -> tuple[Any, ...]:
    places = list(SOLVERS)
    return (setting.guided != ALWAYS, setting.dtype != "float32", places.index(setting.solver),
            -setting.steps, setting.guided)  # fmt: skip


def verdict(ratios: Sequence[Estimate]) -> str:
    """Whether none is worse by more than `CLOSE`, and whether the intervals say so too."""
    *far, tune = ratios
    if max(one.mean for one in far) > 1 + CLOSE or tune.mean < 1 - CLOSE:
        return "no"
    sure = max(one.high for one in far) <= 1 + CLOSE and tune.low >= 1 - CLOSE
    return "**yes**, so are the intervals" if sure else "yes"


def chosen(found: dict[Setting, Found], ends: Found) -> str:
    """The fewest steps of our solver from which on all are within `CLOSE`."""
    curve = sorted((s for s in found if s == Setting(DPM, s.steps)), key=lambda s: -s.steps)
    said = {s.steps: verdict(compared(found[s], found[REFERENCE], ends)) for s in curve}
    good = list(itertools.takewhile(lambda steps: said[steps] != "no", said))
    sure = list(itertools.takewhile(lambda steps: "intervals" in said[steps], said))
    if not sure:
        return f"No number of steps of {DPM} is surely within 5 % of {REFERENCE.title}."
    return (
        f"The fewest steps of {DPM} that are within 5 % of {REFERENCE.title} in all three figures, "
        f"as all larger numbers are: {good[-1]} by the estimates, **{sure[-1]}** by the intervals "
        f"too."
    )


def interval(found: Estimate) -> str:
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


NOTES = """\
Fréchet: distance to the held-out renders in the last hidden layer of the report's listener (32
values), and in the model's own CLAP (128). With so few takes both are too large, by the same for
all rows; as many renders say by how much. The listener's has nothing left above that, so it only
tells what is broken; the CLAP's has. Melody score: 0 plays other voices' tunes as well, 1 plays
the tune as well as the band does through the VAE. Intervals: 95 %, jackknife over voices; those of
the ratios are of pairs, the same voices left out above and below. Genre told: share of takes that
the listener takes for the genre asked for. Latents: power of those by DPM-Solver++ 2M with 30 steps
over that of the difference. UNet runs of a take: every condition of every step is one; guidance
takes two. Within 5 %: neither distance larger, nor the melody score smaller, by more than 5 % than
with 200 steps of DDIM. DPM-Solver++ and UniPC walk steps evenly spaced in log-SNR unless the row
says otherwise. Guided from a to b: at diffusion times between these shares of the whole (1 is
noise), and not at others.
"""

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
