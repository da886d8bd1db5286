"""The best weights of a run, by one figure of its validations, and whether it still gets better."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from voice2music.dataset.shards import write_text
from voice2music.errors import CorruptCheckpoint

FOLDER, INDEX = "best", "best.json"


class Best:
    """Weights of the best validations, on disk.

    Args:
        run: folder of the run.
        metric: the figure to be small; "" keeps nothing.
        keep: how many.
    """

    def __init__(self, run: Path, metric: str, keep: int) -> None:
        self._folder, self._metric, self._keep = run / FOLDER, metric, keep
        self._seen: list[tuple[int, float]] = []
        path = self._folder / INDEX
        if metric and path.is_file():
            try:
                read = json.loads(path.read_text("utf-8"))
                self._seen = [(int(step), float(value)) for step, value in read]
            except (ValueError, TypeError) as error:
                raise CorruptCheckpoint(
                    f"'{run.name}/{FOLDER}/{INDEX}' is damaged ({error}). Remove that folder: the "
                    f"run goes on, and keeps its best weights from here on."
                ) from error

    @property
    def stale(self) -> int:
        """Validations since the best one."""
        if not self._seen:
            return 0
        values = [value for _, value in self._seen]
        return len(values) - 1 - values.index(min(values))

    def add(self, step: int, scores: Mapping[str, float], weights: Mapping[str, Tensor]) -> None:
        """A validation; its weights are kept if it is among the best.

        Raises:
            CorruptCheckpoint: the scores lack the figure.
        """
        if not self._metric:
            return
        if self._metric not in scores:
            raise CorruptCheckpoint(
                f"The validation has no figure '{self._metric}' to keep the best by; it has "
                f"{', '.join(scores)}."
            )
        value = scores[self._metric]
        kept = [one for one in self._seen if one[0] != step]
        self._seen = [*kept, (step, value if math.isfinite(value) else math.inf)]
        self._folder.mkdir(exist_ok=True)
        best = self._best()
        if step in best:
            part = self._folder / f".{step:07d}.part"
            torch.save(dict(weights), part)
            part.replace(self._path(step))
        write_text(self._folder / INDEX, json.dumps(self._seen))
        for path in self._folder.glob("*.pt"):
            if int(path.stem) not in best:
                path.unlink()

    def rewind(self, step: int) -> None:
        """Forget validations after a step: a run that was killed goes on from an earlier one."""
        self._seen = [one for one in self._seen if one[0] <= step]

    def weights(self) -> dict[str, Tensor] | None:
        """Those of the best validation; None where none were kept."""
        best = self._best()
        if not best or not self._path(best[0]).is_file():
            return None
        found: dict[str, Tensor] = torch.load(
            self._path(best[0]), map_location="cpu", weights_only=True
        )
        return found

    def _best(self) -> list[int]:
        """Steps of the best validations, the best first."""
        return [step for step, _ in sorted(self._seen, key=lambda one: one[1])][: self._keep]

    def _path(self, step: int) -> Path:
        return self._folder / f"{step:07d}.pt"
