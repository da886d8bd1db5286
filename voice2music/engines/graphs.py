"""Work on a graphics card as graphs: captured once, replayed without calls from the processor."""

import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from voice2music.garbage import garbage_later

log = logging.getLogger(__name__)

CAPTURING: Final = threading.Lock()  # other threads may use the card meanwhile, but not capture
BROKEN: Final = threading.Event()  # after a capture that failed, torch cannot capture any more


class Graphs:
    """Captured pieces of one work, each by its key; used by one thread at a time.

    Args:
        device: the card.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graphs = dict[Hashable, torch.cuda.CUDAGraph]()

    def run(self, key: Hashable, work: Callable[[], None], changed: Sequence[Tensor] = ()) -> None:
        """Do a piece of work, captured when its key comes for the first time.

        Where that cannot be done, which is said once, work is done without from then on: slower.

        Args:
            work: kernels on tensors that stay where they are, nothing asked of the card.
            changed: of these tensors, those whose values it reads before it changes them.
        """
        with torch.cuda.device(self._device):
            if key not in self._graphs and not BROKEN.is_set():
                self._capture(key, work, changed)
            if key in self._graphs:
                return self._graphs[key].replay()
            return work()

    def forget(self, key: Hashable) -> None:
        """Its tensors are to be freed."""
        self._graphs.pop(key, None)

    def forget_all(self) -> None:
        """All their tensors are to be freed."""
        self._graphs.clear()

    @cached_property
    def _aside(self) -> torch.cuda.Stream:
        """Where work is captured; libraries keep memory for every stream they see."""
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def _capture(self, key: Hashable, work: Callable[[], None], changed: Sequence[Tensor]) -> None:
        """Try to add a graph; nothing of the work shows yet."""
        self._try_out(work, changed)
        graph, others = torch.cuda.CUDAGraph(), list(self._graphs.values())
        pool = others[0].pool() if others else None  # nothing is left in it between pieces
        try:
            # A graph that the collector freed meanwhile would break the capture; and a capture that
            # breaks leaves its stream the current one, but for the block around it.
            with (
                CAPTURING,
                garbage_later(),
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, pool, self._aside, capture_error_mode="thread_local"),
            ):
                work()
        except torch.OutOfMemoryError:
            BROKEN.set()
            raise
        except RuntimeError as error:
            BROKEN.set()
            log.warning("This card's work cannot be captured, so it is slower: %s", error)
            return
        self._graphs[key] = graph

    def _try_out(self, work: Callable[[], None], changed: Sequence[Tensor]) -> None:
        """Do the work before it is captured, since libraries set themselves up at first."""
        kept = [state.clone() for state in changed]
        here = torch.cuda.current_stream()
        self._aside.wait_stream(here)
        try:
            with torch.cuda.stream(self._aside):
                for _ in range(2):
                    work()
        finally:
            here.wait_stream(self._aside)
            for state, before in zip(changed, kept, strict=True):
                state.copy_(before)
