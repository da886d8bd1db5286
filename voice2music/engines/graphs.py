"""Work on a graphics card as graphs: captured once, replayed without calls from the processor."""

import threading
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

_CAPTURING: Final = threading.Lock()  # other threads may use the card meanwhile, but not capture


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

        Args:
            work: kernels on tensors that stay where they are, nothing asked of the card.
            changed: of these tensors, those whose values it reads before it changes them.
        """
        with torch.cuda.device(self._device):
            if key not in self._graphs:
                self._graphs[key] = self._captured(work, changed)
            self._graphs[key].replay()

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

    def _captured(
        self, work: Callable[[], None], changed: Sequence[Tensor]
    ) -> torch.cuda.CUDAGraph:
        """The graph. The work is done before, since libraries set themselves up at first."""
        kept = [state.clone() for state in changed]
        aside, here = self._aside, torch.cuda.current_stream()
        graph, others = torch.cuda.CUDAGraph(), list(self._graphs.values())
        pool = others[0].pool() if others else None  # nothing is left in it between pieces
        with _CAPTURING:
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                for _ in range(2):
                    work()
            here.wait_stream(aside)
            for state, before in zip(changed, kept, strict=True):
                state.copy_(before)
            with torch.cuda.graph(graph, pool, aside, capture_error_mode="thread_local"):
                work()
        return graph
