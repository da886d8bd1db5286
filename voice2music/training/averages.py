"""What a run keeps means of: its weights, and what it logs."""

from collections.abc import Callable

import torch
from torch import Tensor


class Means:
    """Means of what was logged since it was last emptied."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []

    def add(self, row: dict[str, float]) -> None:
        """What a step logs."""
        self._rows.append(row)

    def empty(self) -> dict[str, float]:
        """The means, to five digits; then it begins anew."""
        keys = dict.fromkeys(key for row in self._rows for key in row)
        means = {k: [row[k] for row in self._rows if k in row] for k in keys}
        self._rows = []
        return {key: round(sum(values) / len(values), 5) for key, values in means.items()}


def averaging(decay: float) -> Callable[..., None]:
    """Polyak averaging whose memory grows with the run, so that early weights are forgotten."""

    def update(averages: list[Tensor], current: list[Tensor], count: int | Tensor) -> None:
        done = float(count)
        weight = 1 - min(decay, (1 + done) / (10 + done))
        torch._foreach_lerp_(averages, current, weight)

    return torch.no_grad()(update)
