"""Long sounds in overlapping windows of the length a network was trained on.

Each window is computed by itself and the results are averaged where they overlap, weighted by a
triangle, so that a window's edges, where it knows least, count least. Applied to the predicted
noise of every step, this is MultiDiffusion (Bar-Tal et al., ICML 2023) along time: neighbouring
windows agree on their overlap while they are drawn, and memory does not grow with length.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def windows(frames: int, size: int, align: int = 1) -> list[slice]:
    """Windows of `size` frames over `frames`, neighbours overlapping by about half.

    Args:
        frames, size: multiples of `align`.
        align: windows begin at multiples of it.
    Returns:
        One window of all frames where they fit.
    """
    if frames <= size:
        return [slice(0, frames)]
    count = 1 + math.ceil((frames - size) / (size / 2))
    step = (frames - size) / (count - 1) / align
    starts = [align * round(i * step) for i in range(count)]
    return [slice(start, start + size) for start in starts]


def over_windows(
    function: Callable[[Tensor], Tensor], whole: Tensor, size: int, align: int
) -> Tensor:
    """`function` of every window of `whole`, joined.

    Args:
        function: (C, frames, F) to (C', frames * ratio, F'), the ratio always the same.
        whole: shape (C, frames, F).
        size, align: see `windows`; `align` times the ratio is whole.
    """
    parts = windows(whole.shape[1], size, align)
    outs = [function(whole[:, part]) for part in parts]
    if len(parts) == 1:
        return outs[0]
    ratio = outs[0].shape[1] / size
    length = round(whole.shape[1] * ratio)
    total = outs[0].new_zeros(outs[0].shape[0], length, outs[0].shape[2])
    weight = outs[0].new_zeros(length, 1)
    taper = triangle(outs[0].shape[1]).to(total, non_blocking=True)[:, None]
    for part, out in zip(parts, outs, strict=True):
        place = slice(round(part.start * ratio), round(part.stop * ratio))
        total[:, place] += out * taper
        weight[place] += taper
    return total / weight


def triangle(length: int) -> Tensor:
    """Rises to 1 in the middle and falls again, nowhere 0, shape (length,)."""
    rising = (torch.arange(length) + 0.5) / (length / 2)
    return torch.minimum(rising, rising.flip(0))
