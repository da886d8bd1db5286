"""How the listener learns: first from renders, then from what a model's codec makes of them."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from voice2music.clip import Clip
from voice2music.dataset.shards import MANIFEST, Pairs
from voice2music.evaluation.minis.listener import BINS, NOBODY, RATE, Listener, log_mel, samples_of

log = logging.getLogger(__name__)

Chance = np.random.Generator
Reconstruct = Callable[[Clip], Clip]
CLIP = 10.0  # seconds of a render that is brought through a codec
TILT, HISS = 0.4, 0.1  # of the log-mel in training: standard deviations of slope and noise
SMOOTHING, LEAD_WEIGHT = 0.05, 0.4
VERSION = 1  # of this file and of the network; part of the cache's name


@dataclass(frozen=True)
class Plan:
    """How long the listener learns.

    Args:
        steps: on renders; `again`: on renders and reconstructions, half and half.
        reconstructions: renders that are brought through each codec.
        crop: seconds; `rate`: the highest learning rate.
    """

    steps: int = 450
    again: int = 120
    reconstructions: int = 160
    batch: int = 32
    crop: float = 5.0
    rate: float = 4e-3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Lesson:
    """A render, shape (samples,) at `RATE`, with its genre and lead."""

    samples: NDArray[np.float32]
    genre: str
    lead: str


def schooled(pairs: Path, through: Mapping[str, Reconstruct], plan: Plan, cache: Path) -> Listener:
    """A listener that knows the genres of `pairs` and how the codecs sound.

    Args:
        pairs: a data set; its training split is learnt.
        through: what codecs make of a sound, under names that change with their weights.
        cache: folder for what was learnt, so that it is learnt once.
    """
    known = hashlib.sha256((pairs / MANIFEST).read_bytes()).hexdigest()
    begun = _name(known, {**asdict(plan), "again": 0, "reconstructions": 0}, ())
    listener = _loaded(cache / begun)
    data = Pairs(pairs, "train")
    if listener is None:
        listener = _new(data, plan.seed)
        _learn(listener, data, [], plan, plan.steps)
        _save(listener, cache / begun)
    if not through or not plan.again:
        return listener.eval()
    done = _name(known, asdict(plan), sorted(through))
    finished = _loaded(cache / done)
    if finished is None:
        lessons = [
            lesson
            for number, codec in enumerate(through.values())
            for lesson in _reconstructed(data, codec, plan, number)
        ]
        _learn(listener, data, lessons, plan, plan.again)
        _save(listener, cache / done)
        finished = listener
    return finished.eval()


def lesson(data: Pairs, index: int, start: float = 0.0, seconds: float | None = None) -> Lesson:
    """A render of a data set, from `start` on."""
    row = data.rows[index]
    clip = Clip(data.music(index, start, seconds), row["music"]["rate"])
    return Lesson(samples_of(clip).numpy(), row["genre"], row["lead"] or NOBODY)


def _new(data: Pairs, seed: int) -> Listener:
    genres = sorted({row["genre"] for row in data.rows})
    leads = sorted({row["lead"] or NOBODY for row in data.rows})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Listener(genres, leads)


def _learn(
    listener: Listener, data: Pairs, lessons: Sequence[Lesson], plan: Plan, steps: int
) -> None:
    """Train in place; with `lessons`, every other example is one of them, at a lower rate."""
    chance = np.random.default_rng([plan.seed, len(lessons)])
    rate = plan.rate / (4 if lessons else 1)
    optimiser = torch.optim.AdamW(listener.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.15)
    listener.train()
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        for step in range(steps):
            loss = _loss(listener, _batch(data, lessons, plan, chance))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if step % 50 == 49:
                log.info("listener: step %d of %d, loss %.2f", step + 1, steps, loss.item())


def _loss(listener: Listener, batch: Sequence[Lesson]) -> Tensor:
    mel = log_mel(torch.from_numpy(np.stack([one.samples for one in batch])))
    slope = torch.linspace(-1, 1, BINS)[None, :, None]
    mel = mel + TILT * torch.randn(len(batch), 1, 1) * slope + HISS * torch.randn_like(mel)
    genres = torch.tensor([listener.genres.index(one.genre) for one in batch])
    leads = torch.tensor([listener.leads.index(one.lead) for one in batch])
    with torch.autocast("cpu", torch.bfloat16):
        genre, lead, _ = listener(mel)
    return functional.cross_entropy(
        genre.float(), genres, label_smoothing=SMOOTHING
    ) + LEAD_WEIGHT * functional.cross_entropy(lead.float(), leads)


def _batch(data: Pairs, lessons: Sequence[Lesson], plan: Plan, chance: Chance) -> list[Lesson]:
    """Crops of renders, and of reconstructions where there are any."""
    out = []
    for place in range(plan.batch):
        if lessons and place % 2:
            one = lessons[int(chance.integers(len(lessons)))]
            room = len(one.samples) / RATE - plan.crop
            start = round(chance.uniform(0, max(room, 0.0)) * RATE)
            one = Lesson(one.samples[start:], one.genre, one.lead)
        else:
            index = int(chance.integers(len(data)))
            room = data.rows[index]["seconds"] - plan.crop
            one = lesson(data, index, chance.uniform(0, max(room, 0.0)), plan.crop)
        length = round(plan.crop * RATE)
        samples = np.pad(one.samples[:length], (0, max(0, length - len(one.samples))))
        out.append(Lesson(samples, one.genre, one.lead))
    return out


def _reconstructed(data: Pairs, codec: Reconstruct, plan: Plan, number: int) -> list[Lesson]:
    """Renders of all genres as a codec gives them back."""
    log.info("listener: %d renders through a codec", plan.reconstructions)
    chance = np.random.default_rng([plan.seed, 7, number])
    chosen = chance.permutation(len(data))[: plan.reconstructions]
    return [through(lesson(data, int(index), 0.0, CLIP), codec) for index in chosen]


def through(one: Lesson, codec: Reconstruct) -> Lesson:
    """A render as a codec gives it back."""
    return Lesson(samples_of(codec(Clip(one.samples, RATE))).numpy(), one.genre, one.lead)


def _name(known: str, plan: dict[str, object], through: Sequence[str]) -> str:
    text = json.dumps([VERSION, known, plan, list(through)], sort_keys=True)
    return f"listener-{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"


def _save(listener: Listener, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {"genres": json.dumps(listener.genres), "leads": json.dumps(listener.leads)}
    part = path.with_suffix(".part")
    save_file(listener.state_dict(), part, names)
    part.replace(path)


def _loaded(path: Path) -> Listener | None:
    """A listener out of the cache."""
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        names = file.metadata()
    listener = Listener(json.loads(names["genres"]), json.loads(names["leads"]))
    listener.load_state_dict(load_file(path))
    return listener
