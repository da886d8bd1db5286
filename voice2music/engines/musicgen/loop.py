"""Tokens step by step: delays between codebooks, guidance, going on from a past.

The library's `generate` mixes guidance over text and melody into one number, cannot hold a negative
text, draws from the global random state and gives nothing before the end. The greedy tokens of this
loop equal the library's (see the tests).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voice2music.engines.musicgen.decoder import Decoder, Past
from voice2music.engines.musicgen.drawing import Sampling, drawn


@dataclass(frozen=True, eq=False)
class Branch:
    """One conditioned run of the decoder beside the others.

    Args:
        prefix: hidden states before the first token: melody, then text; shape (positions, width).
        weight: its part in the sum of logits; the weights of all branches add up to 1.
    """

    prefix: Tensor
    weight: float


def guided(
    both: Tensor, worded: Tensor, neither: Tensor, *, words: float, voice: float
) -> tuple[Branch, ...]:
    """Classifier-free guidance with a strength each for words and voice.

    neither + words * (worded - neither) + voice * (both - worded)

    Equal strengths need no run with words alone, a strength of 1 or 0 spares another.

    Args:
        both, worded, neither: prefixes with words and voice, words only, none of them.
    """
    weights = ((both, voice), (worded, words - voice), (neither, 1.0 - words))
    return tuple(Branch(prefix, weight) for prefix, weight in weights if abs(weight) > 1e-6)


def codebook_delays(codebooks: int, channels: int) -> tuple[int, ...]:
    """Steps by which each codebook runs late: 0, 1, 2, … and in stereo 0, 0, 1, 1, …"""
    return tuple(book // channels for book in range(codebooks))


def column_of(codes: NDArray[np.int64], delays: tuple[int, ...], step: int, pad: int) -> list[int]:
    """The decoder's input at `step`, one token per codebook: delayed codes, else padding.

    Column 0 is the start; column s holds frame s - 1 - delay of each codebook.
    """
    frames = [step - 1 - delay for delay in delays]
    known = codes.shape[1]
    return [
        int(codes[book, frame]) if 0 <= frame < known else pad for book, frame in enumerate(frames)
    ]


class Passage:
    """A stretch of music that is being written, one step of the decoder at a time.

    `begin`, then `draw` until `done`; between them someone calls `Decoder.advance` with `past` and
    `column`, perhaps with those of other passages.

    Args:
        decoder: whose codebooks and padding these are.
        branches: conditions; all prefixes of the same shape.
        codes: int64, shape (codebooks, frames), written in place; the first `known` frames are the
            past to go on from.
        known: frames that are given, 0 to begin from nothing.
        sampling, generator: of the draws, on the processor.
    """

    def __init__(
        self,
        decoder: Decoder,
        branches: tuple[Branch, ...],
        codes: Tensor,
        known: int,
        sampling: Sampling,
        generator: torch.Generator,
    ) -> None:
        self._decoder, self._branches = decoder, branches
        self._codes, self._known = codes.numpy(), known
        self._sampling, self._generator = sampling, generator
        self._delays = codebook_delays(len(codes), decoder.channels)
        self._frames, self._latest = codes.shape[1], max(self._delays)
        weights = torch.tensor([branch.weight for branch in branches], device=decoder.device)
        self._weights = weights[:, None, None]
        self._step = known
        self.past: Past | None = None

    @property
    def steps(self) -> int:
        """Of the decoder, from first to last."""
        return self._frames - self._known + self._latest

    @property
    def bytes(self) -> int:
        """Memory for the past once it is begun."""
        positions = len(self._branches[0].prefix) + self._known + self.steps
        return self._decoder.bytes_of_past(len(self._branches), positions)

    @property
    def taken(self) -> int:
        """Steps so far."""
        return self._step - self._known

    @property
    def done(self) -> bool:
        """Whether all frames are written."""
        return self.taken == self.steps

    @property
    def column(self) -> list[int]:
        """The decoder's input of the coming step, one token per codebook."""
        return self._column(self._step)

    def complete(self, taken: int) -> int:
        """Frames all of whose codebooks are written after so many steps."""
        return self._known + max(0, taken - self._latest)

    def begin(self) -> Tensor:
        """Read conditions and past; the branches' logits for the first `draw`."""
        columns = torch.tensor([self._column(step) for step in range(self._known + 1)]).T
        prefixes = torch.stack([branch.prefix for branch in self._branches])
        self.past, logits = self._decoder.begin(prefixes, columns, self.steps - 1)
        return logits

    @torch.inference_mode()
    def draw(self, logits: Tensor) -> None:
        """Write the tokens of one step.

        Args:
            logits: of each branch, shape (branches, codebooks, vocabulary).
        Raises:
            CorruptCheckpoint: they are not finite.
        """
        mixed = (self._weights * logits).sum(dim=0).to(self._generator.device)
        tokens = drawn(mixed, self._sampling, self._generator)
        for book, delay in enumerate(self._delays):
            if self._known <= self._step - delay < self._frames:
                self._codes[book, self._step - delay] = tokens[book]
        self._step += 1

    def _column(self, step: int) -> list[int]:
        return column_of(self._codes, self._delays, step, self._decoder.pad)


def written(decoder: Decoder, passage: Passage) -> Iterator[int]:
    """Write a passage by itself; yields the steps taken, after every step."""
    passage.draw(passage.begin())
    yield passage.taken
    while not passage.done:
        assert passage.past is not None
        passage.draw(*decoder.advance([passage.past], torch.tensor([passage.column])))
        yield passage.taken
