"""Means over voices with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Args:
        mean: over groups of the mean within each; NaN where there was nothing to measure.
        low, high: 95 % percentile bootstrap over groups; NaN with fewer than two groups.
        n: values.
        groups: voices they came from.
    """

    mean: float
    low: float
    high: float
    n: int
    groups: int


def estimate(values: Sequence[float], groups: Sequence[str], *, seed: int = 0) -> Estimate:
    """Mean of `values` with an interval that resamples whole groups.

    Takes of one voice resemble one another; resampling them one by one would make the interval
    too narrow (Field and Welsh 2007, "Bootstrapping clustered data"). NaN values (nothing to
    measure in that take) are left out.

    Raises:
        ValueError: lengths differ.
    """
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} values but {len(groups)} groups")
    by_group: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        if not np.isnan(value):
            by_group.setdefault(group, []).append(value)
    means = np.array([np.mean(v) for v in by_group.values()], np.float64)
    n = sum(len(v) for v in by_group.values())
    if not len(means):
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    if len(means) < 2:
        return Estimate(float(means[0]), np.nan, np.nan, n, 1)
    draws = np.random.default_rng(seed).integers(0, len(means), (DRAWS, len(means)))
    low, high = np.quantile(means[draws].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(means.mean()), float(low), float(high), n, len(means))
