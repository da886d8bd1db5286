"""Sampling MusicGen's tokens step by step: delays between codebooks, guidance, cancelling.

The library's `generate` mixes guidance over text and melody into one number, cannot hold a
negative text, draws from the global random state and gives nothing before the end. This loop runs
the same decoder with the same delays; its greedy tokens equal the library's (see the tests).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, MusicgenMelodyForCausalLM

from voice2music.engines.musicgen.cache import roomy_cache
from voice2music.errors import CorruptCheckpoint


@dataclass(frozen=True, eq=False)
class Branch:
    """One conditioned run of the decoder beside the others.

    Args:
        prefix: hidden states before the first token: melody, then text; shape (positions, width).
        weight: its part in the sum of logits; the weights of all branches add up to 1.
    """

    prefix: Tensor
    weight: float


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `top_k` 1 is greedy."""

    top_k: int = 250
    temperature: float = 1.0


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> tuple[Branch, ...]:
    """Classifier-free guidance: unconditional + scale * (conditional - unconditional).

    At scale 1 the unconditional run has no part and is left out.
    """
    if scale == 1:
        return (Branch(conditional, 1.0),)
    return (Branch(conditional, scale), Branch(unconditional, 1.0 - scale))


def codebook_delays(codebooks: int, channels: int) -> tuple[int, ...]:
    """Steps by which each codebook runs late: 0, 1, 2, … and in stereo 0, 0, 1, 1, …"""
    return tuple(book // channels for book in range(codebooks))


def sample_tokens(
    decoder: MusicgenMelodyForCausalLM,
    branches: tuple[Branch, ...],
    codes: Tensor,
    known: int,
    sampling: Sampling,
    generator: torch.Generator,
) -> Iterator[int]:
    """Fill `codes[:, known:]` in place, one step of the decoder at a time.

    Args:
        decoder: in evaluation mode.
        branches: conditions; all prefixes of the same shape.
        codes: int64, shape (codebooks, frames); the first `known` frames are the past to go on
            from. Tokens are drawn on the generator's device.
        known: frames that are given, 0 to begin from nothing.
    Yields:
        After every step, the number of frames that are complete. There are
        `frames - known + max delay` steps.
    Raises:
        CorruptCheckpoint: the weights give numbers that are not finite.
    """
    delays = codebook_delays(codes.shape[0], decoder.config.audio_channels)
    frames, latest = codes.shape[1], max(delays)
    prefixes: Tensor | None = torch.stack([branch.prefix for branch in branches])
    positions = len(branches[0].prefix) + frames + latest
    cache = roomy_cache(decoder.config.num_hidden_layers, positions)
    weights = torch.tensor([branch.weight for branch in branches], device=decoder.device)
    columns = _columns(codes, delays, range(known + 1), decoder.config.pad_token_id)
    for step in range(known, frames + latest):
        logits = _logits(decoder, columns, prefixes, weights, cache)
        drawn = _draw(logits, sampling, generator)
        for book, delay in enumerate(delays):
            if known <= step - delay < frames:
                codes[book, step - delay] = drawn[book]
        columns = _columns(codes, delays, range(step + 1, step + 2), decoder.config.pad_token_id)
        prefixes = None  # it is in the cache now
        yield max(known, step - latest + 1)


def _columns(codes: Tensor, delays: tuple[int, ...], steps: range, pad: int) -> Tensor:
    """The decoder's input at `steps`, shape (codebooks, steps): delayed codes, else padding.

    Column 0 is the start; column s holds frame s - 1 - delay of each codebook.
    """
    columns = torch.full((codes.shape[0], len(steps)), pad, dtype=torch.long)
    for book, delay in enumerate(delays):
        for at, step in enumerate(steps):
            if 0 <= step - 1 - delay < codes.shape[1]:
                columns[book, at] = codes[book, step - 1 - delay]
    return columns


@torch.inference_mode()
def _logits(
    decoder: MusicgenMelodyForCausalLM,
    columns: Tensor,
    prefixes: Tensor | None,
    weights: Tensor,
    cache: Cache,
) -> Tensor:
    """Guided logits of the next token, float32, shape (codebooks, vocabulary)."""
    state = random.getstate()  # the decoder draws from Python's generator for its LayerDrop
    try:
        hidden = decoder.model(
            input_ids=columns.to(decoder.device).repeat(len(weights), 1),
            encoder_hidden_states=prefixes,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
    finally:
        random.setstate(state)
    logits = torch.stack([head(hidden) for head in decoder.lm_heads], dim=1).float()  # (B, K, V)
    return (weights[:, None, None] * logits).sum(dim=0)


@torch.inference_mode()
def _draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> list[int]:
    """One token per codebook out of the `top_k` most likely."""
    logits = logits.to(generator.device)
    if not torch.isfinite(logits).all():
        raise CorruptCheckpoint(
            "The model gave numbers that are not finite, so its files are damaged or do not fit "
            "this precision. Run 'voice2music models check' on it."
        )
    best, token = (logits / sampling.temperature).topk(min(sampling.top_k, logits.shape[-1]))
    choice = torch.multinomial(best.softmax(dim=-1), 1, generator=generator)
    drawn: list[int] = token.gather(-1, choice)[:, 0].tolist()
    return drawn
