"""Matrix products of the decoder's weights, laid out once for the few rows of a decoding step.

One step multiplies a handful of rows with every weight there is, so its time is that of reading
the weights: bytes count more than arithmetic. Reading the conditions multiplies hundreds of rows,
and there arithmetic counts.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from transformers import MusicgenMelodyForCausalLM

Precision = Literal["float32", "bfloat16", "int8"]

WHOLE = 16  # widths that int8 products need to be multiples of; others end the process
MANY = 64  # rows from which weights are better turned into bfloat16; more than a step ever has


class Linear(Protocol):
    """Rows times the weights of one or more layers without bias, side by side."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows float32 (n, in) to float32 (n, out)."""
        ...


class Dense:
    """Weights in float32 or bfloat16.

    Args:
        layers: that read the same input; they come out one after the other.
        dtype: of weights and products.
    """

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype) -> None:
        weights = stacked(layers).to(dtype)
        # Of two rows, bfloat16 products are up to twice as fast on weights stored as (out, in),
        # those of float32 by a third on (in, out).
        self._weights = weights.t() if dtype == torch.bfloat16 else weights.t().contiguous()

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Linear`."""
        return torch.mm(rows.to(self._weights.dtype), self._weights).float()


class Int8:
    """Weights as whole numbers from -127 to 127 with one scale per output, products in bfloat16.

    Of fewer than `MANY` rows, each result is the same to the bit whatever others there are.

    Args:
        layers: see `Dense`; their input widths are multiples of `WHOLE`.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        weights = stacked(layers).float()
        scales = (weights.abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.bfloat16).tiny)
        self._scales = scales.bfloat16()
        steps = weights / self._scales.float()[:, None]
        self._weights = steps.round().clamp(-127, 127).to(torch.int8).contiguous()

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Linear`."""
        if len(rows) >= MANY and torch.cpu._is_avx512_bf16_supported():
            return torch.mm(rows.bfloat16(), self._weights.bfloat16().t()).float() * self._scales
        return torch._weight_int8pack_mm(rows.bfloat16(), self._weights, self._scales).float()


def packed(layers: Sequence[nn.Linear], precision: Precision) -> Linear:
    """The layers' weights, copied."""
    if precision == "int8":
        return Int8(layers)
    return Dense(layers, torch.bfloat16 if precision == "bfloat16" else torch.float32)


def int8_pays() -> bool:
    """Whether this processor has the instructions that int8 products were measured with."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def int8_fits(network: MusicgenMelodyForCausalLM) -> bool:
    """Whether all its widths are ones that int8 products take."""
    return all(size % WHOLE == 0 for size in (network.config.hidden_size, network.config.ffn_dim))


def stacked(layers: Sequence[nn.Linear]) -> Tensor:
    """Their weights one below the other, shape (out of all, in)."""
    return torch.cat([layer.weight.detach() for layer in layers])
