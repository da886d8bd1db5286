"""Where networks run, and what a graphics card is told first."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial

import torch

from voice2music.engines.graphs import CAPTURING


def chosen(device: str | None) -> str:
    """As torch names it; None takes a graphics card where there is one.

    A card is told, for the whole process, what changes no numbers that are promised: float32 beside
    the half-precision networks stays float32, and attention leaves cuDNN's plans alone, of which
    every thread makes its own for every length and none is freed.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.enable_cudnn_sdp(False)
    return name


def beside(device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """Blocks whose work on a card waits for nothing that was begun outside them.

    What goes in must be on the processor or have been there long, and what comes out must be
    brought to the processor inside. Elsewhere they are ordinary blocks.

    The card is touched by the first block and not before: on ZeroGPU engines are loaded where
    there is none, and work in a process that is forked later.
    """
    if device.type != "cuda":
        return nullcontext
    stream = cache(partial(torch.cuda.Stream, device))
    return lambda: torch.cuda.stream(stream())


def give_back() -> None:
    """Memory of cards that nobody uses any more."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        with CAPTURING:  # a capture would break
            torch.cuda.empty_cache()


def free_memory(device: torch.device) -> int:
    """Bytes that could be had on a card, those that torch keeps for later among them."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
