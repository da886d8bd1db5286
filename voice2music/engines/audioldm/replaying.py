"""The UNet on a graphics card, where a take's few predictions are graphs of fixed shape.

At AudioLDM's sizes a prediction is hundreds of small kernels, and starting them takes the processor
longer than the card needs to run them.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from voice2music.engines.graphs import Graphs

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

SHAPES: Final = 8  # that are kept: a take has two or three, and others of its length the same


@dataclass(frozen=True, eq=False)
class _Fixed:
    """Tensors that stay where they are.

    Args:
        batch, clap: what the UNet is given; see `Replayed`.
        time: int64, shape (n,).
        out: its prediction.
    """

    batch: Tensor
    time: Tensor
    clap: Tensor
    out: Tensor


class Replayed:
    """Stands in for a UNet with a class embedding and no cross-attention; any thread may call it.

    Args:
        unet: in evaluation mode, on the device it is to run on; its weights stay where they are.
        graph: capture predictions and replay them; for CUDA only. Without, the same is computed on
            the same fixed tensors, for tests.
    """

    def __init__(self, unet: "UNet2DConditionModel", *, graph: bool) -> None:
        self._unet, self.config, self.dtype = unet, unet.config, unet.dtype
        self._graphs = Graphs(unet.device) if graph else None
        self._fixed = OrderedDict[tuple[torch.Size, torch.Size], _Fixed]()
        self._using = threading.Lock()

    @torch.inference_mode()
    def __call__(
        self, batch: Tensor, time: Tensor, encoder_hidden_states: None, class_labels: Tensor
    ) -> "UNet2DConditionOutput":
        """The UNet's prediction.

        Args:
            batch: shape (n, channels, T, F).
            time: of the schedule, one for all.
            encoder_hidden_states: there are none.
            class_labels: shape (n, size).
        """
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        with self._using:
            fixed = self._at_hand(batch, class_labels)
            fixed.batch.copy_(batch)
            fixed.time.fill_(int(time))
            fixed.clap.copy_(class_labels)
            self._predict(fixed)
            return UNet2DConditionOutput(sample=fixed.out.clone())

    def _predict(self, fixed: _Fixed) -> None:
        if self._graphs is None:
            return self._work(fixed)
        return self._graphs.run(_key(fixed), lambda: self._work(fixed))

    def _work(self, fixed: _Fixed) -> None:
        """What is captured."""
        predicted = self._unet(
            fixed.batch, fixed.time, encoder_hidden_states=None, class_labels=fixed.clap
        )
        fixed.out.copy_(predicted.sample)

    def _at_hand(self, batch: Tensor, clap: Tensor) -> _Fixed:
        """Tensors of these shapes; those that were longest not used make room."""
        key = batch.shape, clap.shape
        if key not in self._fixed:
            self._fixed[key] = self._made(batch, clap)
        self._fixed.move_to_end(key)
        if len(self._fixed) > SHAPES:
            oldest, _ = self._fixed.popitem(last=False)
            if self._graphs is not None:
                self._graphs.forget(oldest)
        return self._fixed[key]

    def _made(self, batch: Tensor, clap: Tensor) -> _Fixed:
        count, _, *size = batch.shape
        device, dtype = self._unet.device, self.dtype
        return _Fixed(
            torch.empty_like(batch, device=device, dtype=dtype),
            torch.empty(count, dtype=torch.long, device=device),
            torch.empty_like(clap, device=device, dtype=dtype),
            torch.empty((count, self.config.out_channels, *size), device=device, dtype=dtype),
        )


def _key(fixed: _Fixed) -> tuple[torch.Size, torch.Size]:
    return fixed.batch.shape, fixed.clap.shape
