"""A fine-tuning from beginning to end: judged before, trained, judged after, written as a model.

run/run.json            recipe, settings, checkpoint, data, their hashes, seed, git revision
run/before.json         figures of the checkpoint as it came
run/log.jsonl           losses and figures of every validation; run/board/ the same for TensorBoard
run/valid/STEP/         takes for the same held-out voices at every validation
run/best/               weights of the best validations; run/state.pt from where it goes on
"""

import json
import logging
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from voice2music import __version__
from voice2music.checkpoints import Checkpoint
from voice2music.dataset.shards import write_text
from voice2music.dataset.songs.records import key_of
from voice2music.dataset.songs.splits import Split
from voice2music.errors import BadRequest
from voice2music.finetuning.card import card
from voice2music.finetuning.examples import Examples
from voice2music.finetuning.recipe import AudioldmRecipe, MusicgenRecipe
from voice2music.training.loop import averaged, train
from voice2music.training.processes import first_alone, processes
from voice2music.training.task import Progress, Settings, Task

log = logging.getLogger(__name__)

BEST = "loss"
# What a run cannot change on the way.
FIXED = ("seed", "learning_rate", "average", "parts", "precision", "sharded", "eight_bit", "best")
RUN, BEFORE = "run.json", "before.json"
MADE = "finetuning.json"  # the run's description, in the model's folder


class Finetuning(Task, Protocol):
    """A task that began with a checkpoint."""

    model: str
    start: Checkpoint
    examples: dict[Split, Examples]

    @property
    def recipe(self) -> MusicgenRecipe | AudioldmRecipe:
        """What is trained and left out."""


def finetune(task: Finetuning, settings: Settings, data: Path, run: Path, out: Path) -> Progress:
    """Fine-tune and export; a run that was stopped goes on where it was.

    Args:
        settings: how long; its batches are cut into the recipe's `gathered` parts.
        data: that the task learns from.
        run: folder of the run.
        out: folder of the finished model, written at the end of the run only.
    Returns:
        How far it came; `out` is there when its share is 1 or it ended early.
    Raises:
        BadRequest: the run in that folder is another one.
        TrainingFailed, CorruptCheckpoint: see `training.loop.train`.
    """
    about = described(task, settings, data)
    with first_alone():
        _check_out(out, task.start.folder)
        run.mkdir(parents=True, exist_ok=True)
        _check_run(run, about)
    with first_alone() as first:
        before = _before(task, run) if first else {}
    progress = train(task, settings, run, {"recipe": asdict(task.recipe)})
    with first_alone() as first:
        if first and ended(progress, settings, run):
            _export(task, settings, run, out, before, progress, about)
    return progress


def _export(
    task: Finetuning,
    settings: Settings,
    run: Path,
    out: Path,
    before: Mapping[str, float],
    progress: Progress,
    about: Mapping[str, Any],
) -> None:
    """The model's folder, whole or not at all."""
    network = averaged(task, run, settings.best)
    folder = run / "valid" / "best"
    folder.mkdir(parents=True, exist_ok=True)
    after = task.validate(network, folder)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    task.export(network, part)
    write_text(part / "README.md", card(out.name, about, before, after, progress))
    shutil.copyfile(run / RUN, part / MADE)
    if out.is_dir():
        shutil.rmtree(out)
    part.replace(out)


def ended(progress: Progress, settings: Settings, run: Path) -> bool:
    """Whether a run is over: at its end, or it got no better for long enough."""
    from voice2music.training.best import Best

    stale = Best(run, settings.best, settings.keep).stale
    return progress.share(settings) >= 1 or bool(settings.patience and stale >= settings.patience)


def described(task: Finetuning, settings: Settings, data: Path) -> dict[str, Any]:
    """Everything that the result depends on."""
    start, weights = task.start, list(task.network.parameters())
    return {
        "model": task.model,
        "recipe": asdict(task.recipe),
        "told": task.recipe.told,
        "settings": asdict(settings),
        "processes": processes().num_processes,
        "start": {"name": start.name, "sha256": start.sha256, "licence": start.licence},
        "data": {
            "name": data.name,
            "hash": key_of([examples.hash for examples in task.examples.values()]),
            "examples": {split: len(examples) for split, examples in task.examples.items()},
            "seconds": {
                split: round(sum(e.seconds for e in examples.all), 1)
                for split, examples in task.examples.items()
            },
        },
        "parameters": {
            "all": sum(p.numel() for p in weights),
            "learning": sum(p.numel() for p in weights if p.requires_grad),
        },
        "version": __version__,
        "git": revision(),
    }


def revision() -> str:
    """The git revision of the program, "-dirty" where files were changed; "" outside of git."""
    place = Path(__file__).parent
    words = ["git", "-C", str(place), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _check_out(out: Path, start: Path) -> None:
    """The folder of the model is new, empty, or of an earlier run; tried before hours are spent."""
    inside = {start.resolve(), *start.resolve().parents}
    if out.resolve() in inside:
        raise BadRequest(f"'{out}' holds the checkpoint to begin with. Choose another folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / MADE).is_file():
        raise BadRequest(f"'{out}' holds other files. Choose a new folder for the model.")
    out.parent.mkdir(parents=True, exist_ok=True)


def _check_run(run: Path, about: Mapping[str, Any]) -> None:
    """The folder's run is this one; it is described where there is none."""
    path = run / RUN
    plain = json.loads(json.dumps(about))
    if not path.is_file():
        write_text(path, json.dumps(plain, indent=1) + "\n")
        return
    there = json.loads(path.read_text("utf-8"))
    same = ("model", "recipe", "processes", "start", "data")
    other = [key for key in same if there.get(key) != plain[key]]
    mine, theirs = plain["settings"], there.get("settings", {})
    other += [key for key in FIXED if theirs.get(key) != mine[key]]
    if other:
        raise BadRequest(
            f"'{run}' holds another run (other: {', '.join(other)}). Go on with what it began "
            f"with, or choose a new folder."
        )


def _before(task: Finetuning, run: Path) -> dict[str, float]:
    """How the checkpoint itself does on the same held-out voices, measured once."""
    path = run / BEFORE
    if path.is_file():
        known: dict[str, float] = json.loads(path.read_text("utf-8"))
        return known
    folder = run / "valid" / "before"
    folder.mkdir(parents=True, exist_ok=True)
    with _unchanged():
        scores = task.validate(task.network, folder)
    write_text(path, json.dumps(scores))
    return scores


@contextmanager
def _unchanged() -> Iterator[None]:
    """What is judged first must not change what is drawn later."""
    with torch.random.fork_rng():
        yield
