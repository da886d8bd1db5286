"""What the training loop is given: a model that learns, and how its run goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from voice2music.errors import BadRequest
from voice2music.training.draws import StepChance

Batch = dict[str, Tensor]


class Rival(Protocol):
    """Discriminators, as a module: calling it gives their own loss."""

    def __call__(self, real: Tensor, made: Tensor) -> Tensor:
        """Loss that teaches the rival to tell `made` from `real`, both (batch, samples)."""

    def praise(self, real: Tensor, made: Tensor) -> Tensor:
        """Loss that teaches the network to be taken for real."""


class Task(Protocol):
    """What one model adds to the loop."""

    @property
    def network(self) -> nn.Module:
        """Takes a batch by keyword `batch` and gives scalars: "loss" is minimised, others logged.

        With a rival it also gives "real" and "made".
        """

    @property
    def rival(self) -> nn.Module | None:
        """A module that keeps `Rival`, or None."""

    def batch(self, chance: StepChance) -> Mapping[str, Any]:
        """One training batch of arrays or tensors, drawn from `chance` alone."""

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Judge averaged weights on held-out pieces; sounds and pictures may go into `folder`."""

    def export(self, network: nn.Module, folder: Path) -> None:
        """Write averaged weights as they are used."""


@dataclass(frozen=True)
class Settings:
    """How a run goes.

    Args:
        minutes: of training, validation not counted; over all sessions of a resumed run.
        steps: where the run ends at the latest; one of the two must be given.
        learning_rate: at its highest.
        warm_up: steps over which it rises from zero.
        final: share of it at the end of the cosine.
        betas, weight_decay: of AdamW; biases, gains and single rows do not decay.
        clip: largest norm of the gradient.
        average: decay of the weights' average per step; shorter at the beginning; 0 keeps none.
        parts: that a batch is cut into, their gradients added up; its size is a multiple of it.
        best: the figure of the validations by which weights are kept, the smallest; "" keeps none.
        keep: how many are; patience: validations without a better one after which the run ends, 0
            is never.
        rival_from: share of the run after which the rival is heard; 1 is never.
        rival_rate: learning rate of the rival.
        rival_weight: of what it says, in the network's loss.
        precision: "bf16" computes where it is safe in half precision, "no" in single.
        sharded: split gradients and the optimiser's states over the processes; without an average
            of the weights, a rival or 8-bit states.
        eight_bit: AdamW with states of 8 bits (package bitsandbytes, on a CUDA card).
        board: log for TensorBoard too (package tensorboard), into `board/` of the run.
        validations: how many times, evenly, the last one at the end.
        save_minutes: between two written states.
        workers: processes that prepare batches.
        seed: of weights' noise and batches.
    """

    minutes: float | None = None
    steps: int | None = None
    learning_rate: float = 1e-3
    warm_up: int = 100
    final: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999
    parts: int = 1
    best: str = ""
    keep: int = 1
    patience: int = 0
    rival_from: float = 1.0
    rival_rate: float = 3e-4
    rival_weight: float = 1.0
    precision: str = "bf16"
    sharded: bool = False
    eight_bit: bool = False
    board: bool = False
    validations: int = 4
    save_minutes: float = 3.0
    log_steps: int = 20
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.minutes or self.steps):
            raise BadRequest("Say how long to train: minutes, steps, or both.")
        if self.precision not in ("bf16", "no"):
            raise BadRequest(f"precision is bf16 or no, got {self.precision!r}.")
        if self.sharded and (self.average or self.eight_bit or self.rival_from < 1):
            raise BadRequest("A sharded run has no average, no rival and no 8-bit states.")


@dataclass
class Progress:
    """How far a run is.

    Args:
        step: optimiser steps done; seconds: of training so far, over all sessions.
        validated: validations done; bad: steps in a row whose loss or gradient was not finite.
    """

    step: int = 0
    seconds: float = 0.0
    validated: int = 0
    bad: int = 0

    def share(self, settings: Settings) -> float:
        """0 at the beginning, 1 at the end."""
        by_step = self.step / settings.steps if settings.steps else 0.0
        by_time = self.seconds / 60 / settings.minutes if settings.minutes else 0.0
        return min(1.0, max(by_step, by_time))
