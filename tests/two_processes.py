"""Run by torchrun: a fine-tuning's first gradients, and a short run, of each process.

torchrun --nproc_per_node N tests/two_processes.py MODEL DATA START OUT BATCH [sharded]
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from voice2music.checkpoints import locate
from voice2music.finetuning.audioldm import AudioldmFinetuning
from voice2music.finetuning.musicgen import MusicgenFinetuning
from voice2music.finetuning.recipe import AudioldmRecipe, MusicgenRecipe
from voice2music.finetuning.run import BEST, finetune
from voice2music.training.loop import _Loop
from voice2music.training.processes import leave
from voice2music.training.sharding import whole, whole_states
from voice2music.training.task import Settings

WHOLE = {"no_voice": 0.0, "no_words": 0.0, "nothing": 0.0}  # nothing is left out
GO = Settings(steps=4, learning_rate=1e-3, warm_up=1, average=0.0, precision="no", best=BEST,
              validations=4, log_steps=1, patience=3, save_minutes=1e-9)  # fmt: skip


def task_of(model: str, data: Path, start: Path, batch: int, **more: float):
    checkpoint = locate(start)
    if model == "musicgen":
        recipe = MusicgenRecipe(seconds=3.0, batch=batch, judged=0, **more)
        return MusicgenFinetuning(recipe, data, checkpoint)
    return AudioldmFinetuning(
        AudioldmRecipe(seconds=3.0, batch=batch, judged=0, **more), data, checkpoint
    )


def gradients(task, settings: Settings, out: Path) -> None:
    """Of the first step, before they are cut, as they are after all processes are heard."""
    loop = _Loop(task, settings, out / "loop")
    given = next(loop._batches())
    loop._accelerator.backward(loop._network(batch=given)["loss"])
    network = loop._accelerator.unwrap_model(loop._network)
    found = {n: whole(p.grad).clone() for n, p in network.named_parameters() if p.requires_grad}
    place = loop._accelerator.process_index
    torch.save({"gradients": found, "batch": given}, out / f"gradients-{place}.pt")


def resumed(task, settings: Settings, run: Path, out: Path) -> None:
    """The weights and states of a sharded run, as another one finds them."""
    loop = _Loop(task, settings, run)
    assert loop.resume()
    weights, states = whole_states(loop._network, loop._optimiser)
    if loop.main:
        torch.save({"network": weights, "optimiser": states}, out / "resumed.pt")


def main() -> None:
    model, data, start, out, batch, *sharded = sys.argv[1:]
    data, start, out = Path(data), Path(start), Path(out)
    out.mkdir(exist_ok=True, parents=True)
    torch.set_num_threads(1)
    settings = replace(GO, sharded=bool(sharded))
    more = {**WHOLE, "no_plan" if model == "musicgen" else "no_tune": 0.0}
    gradients(task_of(model, data, start, int(batch), **more), settings, out)
    task = task_of(model, data, start, int(batch))
    finetune(task, settings, data, out / "run", out / "model")
    if sharded:
        resumed(task, settings, out / "run", out)
    leave(0)


if __name__ == "__main__":
    main()
