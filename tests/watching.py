"""What torch is asked to do: names of its functions and where their tensors are."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKING = {"item", "_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique"}  # and wait


class Listed(TorchDispatchMode):
    """Writes down torch's functions in the order of their calls, but for mere views.

    Attributes:
        names: of the functions.
        homes: kinds of device that any tensor lay on, views included.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.homes: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not func.is_view:
            self.names.append(func.overloadpacket.__name__)
        out = func(*args, **(kwargs or {}))
        tensors = (x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor))
        self.homes |= {x.device.type for x in tensors}
        return out
