"""One line of the table: a number with its interval, floor, ceiling, n and target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voice2music.evaluation.intervals import Estimate, estimate


@dataclass(frozen=True)
class Line:
    """One measure of one model.

    Args:
        value: NaN where nothing could be measured.
        floor: what a take that does not follow would get.
        ceiling: what the band gets, where there is such a thing.
        target: in words, "" where there is none.
    """

    measure: str
    value: Estimate
    floor: float = float("nan")
    ceiling: float = float("nan")
    target: str = ""

    def row(self) -> str:
        """As a row of Markdown."""
        e = self.value
        cells = [
            self.measure,
            f"**{number(e.mean)}**",
            f"{number(e.low)} to {number(e.high)}" if e.low == e.low else "–",
            number(self.floor),
            number(self.ceiling),
            self.target or "–",
            f"{e.n} of {e.groups}" if e.groups != e.n else str(e.n),
        ]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| measure | value | 95 % interval | floor | ceiling | target | n |\n"
    "|---|---|---|---|---|---|---|"
)


def number(value: float) -> str:
    """Three figures; a dash for NaN."""
    if np.isnan(value):
        return "–"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def single(value: float, n: int = 1) -> Estimate:
    """One number that no interval is known of."""
    return Estimate(value, float("nan"), float("nan"), n, n)


def share(said: Sequence[bool], groups: Sequence[str]) -> Estimate:
    """The share of takes that something is true of."""
    return estimate([float(one) for one in said], groups)


def mean(values: Sequence[float]) -> float:
    """Of those that are not NaN; NaN where there are none."""
    kept = [value for value in values if value == value]
    return float(np.mean(kept)) if kept else float("nan")
