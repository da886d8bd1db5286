"""From logits to tokens: temperature, the most likely few, and the draw."""

from dataclasses import dataclass

import torch
from torch import Tensor

from voice2music.errors import CorruptCheckpoint


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Args:
        top_k: only so many of the most likely; 1 is greedy.
        temperature: above 1 evens chances out, below 1 sharpens them.
        top_p: only the most likely that together have this chance (Holtzman et al. 2020).
    """

    top_k: int = 250
    temperature: float = 1.0
    top_p: float = 1.0


def processed(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits with what may not be drawn at minus infinity, any shape (..., vocabulary)."""
    logits = logits / sampling.temperature
    if sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        values, order = logits.sort(dim=-1)  # rising: what is cut are the first
        cut = values.softmax(dim=-1).cumsum(dim=-1) <= 1 - sampling.top_p
        cut[..., -1] = False
        logits = logits.masked_fill(cut.scatter(-1, order, cut), -torch.inf)
    return logits


def drawn(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> list[int]:
    """One token per codebook.

    Args:
        logits: guided, float32, shape (codebooks, vocabulary).
        generator: on the logits' device.
    Raises:
        CorruptCheckpoint: they are not finite.
    """
    if not torch.isfinite(logits.sum()):
        raise CorruptCheckpoint(
            "The model gave numbers that are not finite, so its files are damaged or do not fit "
            "this precision. Run 'voice2music models check' on it."
        )
    if sampling.top_k == 1:
        tokens = logits.argmax(dim=-1)
    else:
        chances = processed(logits, sampling).softmax(dim=-1)
        tokens = torch.multinomial(chances, 1, generator=generator)[:, 0]
    values: list[int] = tokens.tolist()
    return values
