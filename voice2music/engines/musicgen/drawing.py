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


@dataclass(frozen=True, eq=False)
class Samplings:
    """How tokens are drawn, of several requests, as tensors on their device, each (requests,).

    Args:
        top_k, temperature, top_p: see `Sampling`.
    """

    top_k: Tensor
    temperature: Tensor
    top_p: Tensor

    @classmethod
    def usual(cls, requests: int, device: torch.device) -> "Samplings":
        """Room for so many."""
        one = torch.ones(requests, device=device)
        return cls(one.long(), one.clone(), one)

    def put(self, i: int, sampling: Sampling, vocabulary: int) -> None:
        """Set one request's."""
        self.top_k[i] = min(sampling.top_k, vocabulary)
        self.temperature[i], self.top_p[i] = sampling.temperature, sampling.top_p


def processed_each(logits: Tensor, samplings: Samplings) -> Tensor:
    """What `processed` gives, each request in its own way, without a look at any number.

    Args:
        logits: shape (requests, codebooks, vocabulary).
    """
    logits = logits / samplings.temperature[:, None, None]
    falling = logits.sort(dim=-1, descending=True).values
    ends = (samplings.top_k - 1)[:, None, None].expand(-1, logits.shape[1], -1)
    few = falling.masked_fill(falling < falling.gather(-1, ends), -torch.inf)
    chances = few.softmax(dim=-1)
    top_p = samplings.top_p[:, None, None]
    cut = (chances.cumsum(dim=-1) - chances >= top_p) & (top_p < 1) | few.isneginf()
    least = falling.masked_fill(cut, torch.inf).amin(dim=-1, keepdim=True)
    return logits.masked_fill(logits < least, -torch.inf)


def drawn_each(logits: Tensor, samplings: Samplings, noise: Tensor) -> Tensor:
    """One token per request and codebook, by the Gumbel trick: int64, (requests, codebooks).

    Args:
        logits: see `processed_each`.
        noise: of the same shape, drawn from the exponential distribution of rate 1.
    """
    return (processed_each(logits, samplings) - noise.log()).argmax(dim=-1)


def not_finite() -> CorruptCheckpoint:
    """The error where logits are not finite."""
    return CorruptCheckpoint(
        "The model gave numbers that are not finite, so its files are damaged or do not fit "
        "this precision. Run 'voice2music models check' on it."
    )


def drawn(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> list[int]:
    """One token per codebook.

    Args:
        logits: guided, float32, shape (codebooks, vocabulary).
        generator: on the logits' device.
    Raises:
        CorruptCheckpoint: they are not finite.
    """
    if not torch.isfinite(logits.sum()):
        raise not_finite()
    if sampling.top_k == 1:
        tokens = logits.argmax(dim=-1)
    else:
        chances = processed(logits, sampling).softmax(dim=-1)
        tokens = torch.multinomial(chances, 1, generator=generator)[:, 0]
    values: list[int] = tokens.tolist()
    return values
