"""The optimiser of every run: AdamW, with states of 8 bits where that is asked for."""

from collections.abc import Callable

import torch
from torch import nn

from voice2music.errors import BadRequest, MissingPackage
from voice2music.training.task import Settings


def optimiser(network: nn.Module, settings: Settings, rate: float) -> torch.optim.Optimizer:
    """AdamW; only matrices and filters decay."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    kind: Callable[..., torch.optim.Optimizer] = (
        _eight_bit() if settings.eight_bit else torch.optim.AdamW
    )
    return kind([g for g in groups if g["params"]], lr=rate, betas=settings.betas)


def _eight_bit() -> Callable[..., torch.optim.Optimizer]:
    """AdamW that remembers in 8 bits (Dettmers et al. 2022)."""
    if not torch.cuda.is_available():
        raise BadRequest("8-bit AdamW needs a CUDA graphics card. Train without it.")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise MissingPackage(
            "8-bit AdamW needs the package bitsandbytes. Run 'pip install bitsandbytes'."
        ) from error
    kind: Callable[..., torch.optim.Optimizer] = AdamW8bit
    return kind
