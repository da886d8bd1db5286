"""Means over voices with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def share_of_way(
    values: Sequence[float],
    floors: Sequence[float],
    ceilings: Sequence[float],
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> Estimate:
    """(mean value - mean floor) / (mean ceiling - mean floor), the interval over whole groups.

    The share is taken of the means and not take by take: a single take whose ceiling is hardly
    above its floor would outweigh all others. Takes in which any of the three is NaN are left out.

    Returns:
        0 where the values lie at the floors, 1 at the ceilings; NaN where the mean ceiling is not
        above the mean floor.
    Raises:
        ValueError: lengths differ.
    """
    if len({len(values), len(floors), len(ceilings), len(groups)}) > 1:
        raise ValueError("values, floors, ceilings and groups of different lengths")
    by_group: dict[str, list[tuple[float, float, float]]] = {}
    for value, floor, ceiling, group in zip(values, floors, ceilings, groups, strict=True):
        if not np.isnan([value, floor, ceiling]).any():
            by_group.setdefault(group, []).append((value, floor, ceiling))
    n = sum(len(v) for v in by_group.values())
    if not by_group:
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    means = np.array([np.mean(v, axis=0) for v in by_group.values()], np.float64)
    whole = float(_share(means.mean(axis=0)))
    if len(means) < 2 or np.isnan(whole):
        return Estimate(whole, np.nan, np.nan, n, len(means))
    draws = np.random.default_rng(seed).integers(0, len(means), (DRAWS, len(means)))
    shares = _share(means[draws].mean(axis=1))
    low, high = np.nanquantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(whole, float(low), float(high), n, len(means))


def _share(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of values, floors and ceilings in the last axis; NaN where there is no room between."""
    value, floor, ceiling = np.moveaxis(parts, -1, 0)
    room = np.where(ceiling > floor, ceiling - floor, np.nan)
    share: NDArray[np.float64] = (value - floor) / room
    return share
