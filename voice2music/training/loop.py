"""The training loop of every model here: plain, resumable, on any number of processes.

What a model adds is a `Task`: its network, its batches, how it is judged and how it is written
down. The loop keeps an average of the weights (Polyak), cuts gradients, warms up and cools down the
learning rate, stops at a number of steps or minutes, and writes a state from which the run goes on.
A batch is drawn from (seed, step, process) alone, so a resumed run sees what it would have seen;
see `draws` for those that do not depend on the number of processes.
"""

import copy
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from voice2music.errors import CorruptCheckpoint, MissingPackage, TrainingFailed
from voice2music.training.averages import Means, averaging
from voice2music.training.best import Best
from voice2music.training.draws import StepChance
from voice2music.training.optimiser import optimiser
from voice2music.training.processes import processes
from voice2music.training.sharding import (
    load_whole_states,
    sharded,
    whole,
    whole_states,
    whole_weights,
)
from voice2music.training.state import fitting, learnt, load_learnt, read_state, write_state
from voice2music.training.stopping import asked_to_stop
from voice2music.training.task import Batch, Progress, Settings, Task

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

LOG, CONFIG, BOARD = "log.jsonl", "training.json", "board"
MOST_BAD_STEPS = 20  # in a row, before a run is given up


def train(task: Task, settings: Settings, run: Path, about: Mapping[str, Any]) -> Progress:
    """Train to the end of `settings`, going on from the state in `run` where there is one.

    An interrupt (Ctrl-C or a polite kill) ends it after the step in hand, the state written.

    Args:
        task: what to train; its network is changed in place.
        settings: how long and how fast.
        run: a folder for state, log, validations; may be new.
        about: JSON values to be kept beside the weights (the model's own configuration).
    Returns:
        How far it came.
    Raises:
        TrainingFailed: losses that are not finite, time after time.
        CorruptCheckpoint: the state is of another model or cannot be read.
    """
    run.mkdir(parents=True, exist_ok=True)
    looped = _Loop(task, settings, run)
    looped.resume()
    if looped.main:
        text = json.dumps({"about": dict(about), "settings": asdict(settings)}, indent=2)
        (run / CONFIG).write_text(text + "\n", encoding="utf-8")
    looped.go()
    return looped.progress


def averaged(task: Task, run: Path, best: str = "") -> nn.Module:
    """The averaged weights of a run, in evaluation mode.

    Args:
        best: `Settings.best` of the run: the weights of its best validation instead of the last.
    Raises:
        CorruptCheckpoint: no state there, or one of another model.
    """
    network: nn.Module = AveragedModel(task.network).module
    state = read_state(run)
    if state is None:
        raise CorruptCheckpoint(f"'{run.name}' holds no training state. Train first.")
    weights = Best(run, best, 1).weights() if best else None
    with fitting(run):
        load_learnt(network, weights or state["average"] or state["network"])
    return network.eval()


class _Steps(Dataset[Mapping[str, Any]]):
    """Batch number i of a run, for one of its processes."""

    def __init__(self, task: Task, seed: int, process: int, processes: int) -> None:
        self._task, self._seed, self._place = task, seed, (process, processes)

    def __getitem__(self, step: int) -> Mapping[str, Any]:
        chance = StepChance(self._seed, step, *self._place)
        return {key: torch.as_tensor(value) for key, value in self._task.batch(chance).items()}


class _Loop:
    def __init__(self, task: Task, settings: Settings, run: Path) -> None:
        self.task, self.settings, self.run = task, settings, run
        self.progress = Progress()
        processes()  # first, so that the others have the patience to wait for this one
        self._accelerator = Accelerator()
        self.main = self._accelerator.is_main_process
        torch.manual_seed(settings.seed)
        self._average: AveragedModel | None = None  # without, large models need half the memory
        if settings.average:
            self._average = AveragedModel(
                task.network, multi_avg_fn=averaging(settings.average), use_buffers=False
            ).to(self._accelerator.device)
        self._best = Best(run, settings.best, settings.keep)
        self._stale = self._best.stale
        self._board = _board(run) if settings.board and self.main else None
        if settings.sharded:  # a copy; the task's own network is whole, for judging
            self._network: Any = sharded(copy.deepcopy(task.network))
            self._optimiser: Any = optimiser(self._network, settings, settings.learning_rate)
        else:
            self._network, self._optimiser = self._accelerator.prepare(
                task.network, optimiser(task.network, settings, settings.learning_rate)
            )
        self._rival: Any = None
        if task.rival is not None:
            self._rival, self._rival_optimiser = self._accelerator.prepare(
                task.rival, optimiser(task.rival, settings, settings.rival_rate)
            )

    def go(self) -> None:
        """Steps, and in between what is written and judged."""
        if self._worse():
            return
        saved, since, logged = time.monotonic(), time.monotonic(), Means()
        with asked_to_stop() as stop:
            for batch in self._batches():
                logged.add(self._step(batch))
                now = time.monotonic()
                self.progress.seconds += now - since
                stopped, due = self._agreed(stop(), now - saved > 60 * self.settings.save_minutes)
                if self.progress.step % self.settings.log_steps == 0:
                    self._write({"train": logged.empty(), "rate": self._rate()})
                if due:
                    self.save()
                    saved = time.monotonic()
                self._validate_when_due()
                since = time.monotonic()
                if stopped or self.progress.share(self.settings) >= 1 or self._worse():
                    break
        self.save()

    def _batches(self) -> Iterator[Batch]:
        """Every batch from the next step on, on this process's device."""
        place = self._accelerator.process_index, self._accelerator.num_processes
        steps = _Steps(self.task, self.settings.seed, *place)
        last = self.settings.steps or 2**31
        if self.progress.share(self.settings) >= 1:
            return
        loader = DataLoader(
            steps,
            batch_size=None,
            sampler=range(self.progress.step, last),
            num_workers=self.settings.workers,
            pin_memory=self._accelerator.device.type == "cuda",
            persistent_workers=self.settings.workers > 0,
        )
        for batch in loader:
            yield {k: v.to(self._accelerator.device, non_blocking=True) for k, v in batch.items()}

    def _step(self, batch: Batch) -> dict[str, float]:
        """One step of the network, and of its rival where it is heard."""
        self._set_rates()
        if self.settings.parts > 1:
            return self._step_in_parts(batch)
        with self._half():
            out = self._network(batch=batch)
        scalars = {key: value for key, value in out.items() if value.dim() == 0}
        loss = out["loss"]
        if self._rival is not None and self.progress.share(self.settings) >= self._rival_from():
            scalars["rival"] = self._teach_rival(out["real"], out["made"].detach())
            scalars["praise"] = self._praise(out["real"], out["made"])
            loss = loss + self.settings.rival_weight * scalars["praise"]
        self._optimiser.zero_grad()
        self._accelerator.backward(loss)
        self._descend(self._network, self._optimiser)
        self._count()
        return {key: float(value.detach()) for key, value in scalars.items()}

    def _step_in_parts(self, batch: Batch) -> dict[str, float]:
        """The same with less memory: the gradients of equal parts of the batch are added up."""
        parts = self.settings.parts
        logged = Means()
        self._optimiser.zero_grad()
        for number in range(parts):
            part = {key: value.chunk(parts)[number] for key, value in batch.items()}
            with self._half():
                out = self._network(batch=part)
            self._accelerator.backward(out["loss"] / parts)
            logged.add({key: float(v.detach()) for key, v in out.items() if v.dim() == 0})
        self._descend(self._network, self._optimiser)
        self._count()
        return logged.empty()

    def _count(self) -> None:
        """A step is done."""
        if self._average is not None:
            self._average.update_parameters(self._accelerator.unwrap_model(self._network))
        self.progress.step += 1

    def _worse(self) -> bool:
        """Whether so many validations in a row were no better than an earlier one."""
        patience = self.settings.patience
        return bool(patience) and self._stale >= patience

    def _rival_from(self) -> float:
        return self.settings.rival_from if self.settings.rival_from < 1 else math.inf

    def _teach_rival(self, real: Tensor, made: Tensor) -> Tensor:
        with self._half():
            loss: Tensor = self._rival(real, made)
        self._rival_optimiser.zero_grad()
        self._accelerator.backward(loss)
        self._descend(self._rival, self._rival_optimiser)
        return loss

    def _praise(self, real: Tensor, made: Tensor) -> Tensor:
        rival = self._accelerator.unwrap_model(self._rival)
        rival.requires_grad_(False)
        with self._half():
            loss: Tensor = rival.praise(real, made)
        rival.requires_grad_(True)
        return loss

    def _half(self) -> torch.autocast:
        """Not accelerate's own, which is settled once for the life of a process."""
        device = self._accelerator.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def _descend(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Follow the gradient, unless it leads nowhere."""
        norm = whole(self._accelerator.clip_grad_norm_(network.parameters(), self.settings.clip))
        if bool(torch.isfinite(norm)):
            optimiser.step()
            self.progress.bad = 0
            return
        self.progress.bad += 1
        log.warning("step %d is left out: its gradient is not finite", self.progress.step)
        if self.progress.bad >= MOST_BAD_STEPS:
            raise TrainingFailed(
                f"The last {MOST_BAD_STEPS} steps had no finite gradient. Train with a lower "
                "learning rate, from the last state that was good."
            )

    def _rate(self) -> float:
        """The learning rate of the next step: a linear rise, then half a cosine."""
        share = self.progress.share(self.settings)
        cosine = (1 + math.cos(math.pi * share)) / 2
        falling = self.settings.final + (1 - self.settings.final) * cosine
        rising = min(1.0, (self.progress.step + 1) / max(1, self.settings.warm_up))
        return self.settings.learning_rate * rising * falling

    def _set_rates(self) -> None:
        share = self._rate() / self.settings.learning_rate
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * share
        if self._rival is not None:
            for group in self._rival_optimiser.param_groups:
                group["lr"] = self.settings.rival_rate * share

    def _agreed(self, stop: bool, due: bool) -> tuple[bool, bool]:
        """Whether to stop, and whether the state is to be written, as all processes have it.

        All go by the first one's clock, and stop when any is asked to. Otherwise they would part
        ways, and wait for one another for ever.
        """
        if self._accelerator.num_processes == 1:
            return stop, due
        mine = torch.tensor([[self.progress.seconds, stop, due]], dtype=torch.float64)
        everybodys = self._accelerator.gather(mine.to(self._accelerator.device))
        self.progress.seconds = float(everybodys[0, 0])
        return bool(everybodys[:, 1].any()), bool(everybodys[0, 2])

    def _validate_when_due(self) -> None:
        """By share of the run, so that a run in minutes is judged evenly too."""
        share, count = self.progress.share(self.settings), self.settings.validations
        if not count or share < (self.progress.validated + 1) / count:
            return
        self.progress.validated = int(share * count)
        network = self._judged()
        if self.main:
            folder = self.run / "valid" / f"{self.progress.step:07d}"
            folder.mkdir(parents=True, exist_ok=True)
            with torch.no_grad():
                judged = self.task.validate(network, folder)
            self._write({"valid": judged})
            self._best.add(self.progress.step, judged, learnt(network))
        stale = [self._best.stale]  # known to the first process alone
        broadcast_object_list(stale)
        self._stale = stale[0]

    def _judged(self) -> nn.Module:
        """The average, or where there is none the network itself."""
        if self._average is not None:
            return self._average.module.eval()
        if self.settings.sharded:
            weights = whole_weights(self._network)
            if self.main:
                load_learnt(self.task.network.to(self._accelerator.device), weights)
            return self.task.network
        network: nn.Module = self._accelerator.unwrap_model(self._network)
        return network

    def _write(self, values: Mapping[str, Any]) -> None:
        if not self.main:
            return
        row = {"step": self.progress.step, "minutes": round(self.progress.seconds / 60, 2)}
        with (self.run / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **values}) + "\n")
        if self._board is not None:
            for kind, figures in values.items():
                for name, figure in (
                    figures if isinstance(figures, dict) else {"": figures}
                ).items():
                    self._board.add_scalar(f"{kind}/{name}".rstrip("/"), figure, self.progress.step)
            self._board.flush()
        log.info("step %d, %.1f min: %s", self.progress.step, self.progress.seconds / 60, values)

    def save(self) -> None:
        """The state, whole or not at all."""
        if self.settings.sharded:
            weights, states = whole_states(self._network, self._optimiser)
        if not self.main:
            return
        if not self.settings.sharded:
            network = self._accelerator.unwrap_model(self._network)
            weights, states = learnt(network), self._optimiser.state_dict()
        state = {
            "network": weights,
            "average": learnt(self._average.module) if self._average else {},
            "averages": int(self._average.n_averaged) if self._average else 0,
            "optimiser": states,
            "progress": asdict(self.progress),
        }
        if self._rival is not None:
            state["rival"] = self._accelerator.unwrap_model(self._rival).state_dict()
            state["rival_optimiser"] = self._rival_optimiser.state_dict()
        write_state(self.run, state)

    def resume(self) -> bool:
        """Go on from the run's state; False where there is none."""
        state = read_state(self.run)
        if state is None:
            return False
        with fitting(self.run):
            self._load(state["network"], state["optimiser"])
            if self._average is not None:
                load_learnt(self._average.module, state["average"])
                self._average.n_averaged.fill_(state["averages"])
            if self._rival is not None:
                self._accelerator.unwrap_model(self._rival).load_state_dict(state["rival"])
                self._rival_optimiser.load_state_dict(state["rival_optimiser"])
            self.progress = Progress(**state["progress"])
        self._best.rewind(self.progress.step)
        self._stale = self._best.stale
        return True

    def _load(self, weights: dict[str, Any], states: dict[str, Any]) -> None:
        """Weights and the optimiser's states out of a state."""
        if self.settings.sharded:
            load_whole_states(self._network, self._optimiser, weights, states)
        else:
            load_learnt(self._accelerator.unwrap_model(self._network), weights)
            self._optimiser.load_state_dict(states)


def _board(run: Path) -> "SummaryWriter":
    """A log for TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingPackage(
            "TensorBoard is not installed. Run 'pip install tensorboard', or leave --board out."
        ) from error
    return SummaryWriter(run / BOARD)
