"""Tokens step by step: delays between codebooks, guidance, going on from a past.

The library's `generate` mixes guidance over text and melody into one number, cannot hold a negative
text, draws from the global random state and gives nothing before the end. The greedy tokens of this
loop equal the library's (see the tests).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voice2music.engines.musicgen.drawing import Sampling, drawn
from voice2music.engines.musicgen.linears import Precision


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


class Table(Protocol):
    """Where passages are written side by side; used by one thread at a time."""

    def admit(self, passage: "Passage") -> None:
        """Read its conditions and its past; it may take its first step.

        Raises:
            CorruptCheckpoint: its numbers are not finite.
        """
        ...

    def step(self, passages: Sequence["Passage"]) -> None:
        """One step or a few for all of them; one that breaks gets its `error`.

        Args:
            passages: all that are at the table but those that are done, broken or given up.
        """
        ...

    def dismiss(self, passage: "Passage") -> None:
        """Forget it, whether done or not, admitted or not."""
        ...

    def bytes_for(self, passages: Sequence["Passage"]) -> int:
        """Memory that their pasts take at this table."""
        ...


class Decoding(Protocol):
    """A decoder's weights where they are to run, see `decoder.Decoder` and `card.CardDecoder`.

    Attributes:
        small: its steps are better not spread over the processor's cores.
    """

    small: bool
    precision: Precision
    device: torch.device
    codebooks: int
    channels: int
    pad: int

    @property
    def room(self) -> int:
        """Bytes that the pasts of all passages may take together."""
        ...

    def table(self, seats: int) -> Table:
        """Room for so many passages at once."""
        ...

    def bytes_of_past(self, branches: int, positions: int) -> int:
        """Memory that a request takes while it is decoded."""
        ...


class Passage:
    """A stretch of music that is being written, one step of the decoder at a time, by a `Table`.

    Either that takes its `column`s and gives logits to `draw`, or it draws by itself, and what it
    has drawn is `taken_over`.

    Args:
        decoder: whose codebooks and padding these are.
        branches: conditions; all prefixes of the same shape.
        codes: int64, shape (codebooks, frames), written in place; the first `known` frames are the
            past to go on from.
        known: frames that are given, 0 to begin from nothing.
        sampling, generator: of the draws, on the processor.

    Attributes:
        error: why it cannot be written to its end.
    """

    def __init__(
        self,
        decoder: Decoding,
        branches: tuple[Branch, ...],
        codes: Tensor,
        known: int,
        sampling: Sampling,
        generator: torch.Generator,
    ) -> None:
        self._decoder, self.branches = decoder, branches
        self._codes, self.known = codes.numpy(), known
        self.sampling, self.generator = sampling, generator
        self._delays = codebook_delays(len(codes), decoder.channels)
        self._frames, self._latest = codes.shape[1], max(self._delays)
        weights = torch.tensor([branch.weight for branch in branches], device=decoder.device)
        self._weights = weights[:, None, None]
        self._step = known
        self.error: BaseException | None = None

    @property
    def steps(self) -> int:
        """Of the decoder, from first to last."""
        return self._frames - self.known + self._latest

    @property
    def positions(self) -> int:
        """Of the decoder when all is written: conditions, what is known, and all steps."""
        return len(self.branches[0].prefix) + self.known + self.steps

    @property
    def taken(self) -> int:
        """Steps so far."""
        return self._step - self.known

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
        return self.known + max(0, taken - self._latest)

    @property
    def prefixes(self) -> Tensor:
        """Of all branches, shape (branches, positions, width)."""
        return torch.stack([branch.prefix for branch in self.branches])

    @property
    def known_columns(self) -> Tensor:
        """The decoder's input up to the first draw, int64, shape (codebooks, known + 1)."""
        return torch.tensor([self._column(step) for step in range(self.known + 1)]).T

    @property
    def columns(self) -> Tensor:
        """The decoder's input at all steps and what the last one draws: int64, (steps, codebooks).

        -1 stands where a token is yet to be drawn.
        """
        codes = self._codes.copy()
        codes[:, self.known :] = -1
        pad, count = self._decoder.pad, self.known + self.steps + 1
        return torch.tensor([column_of(codes, self._delays, i, pad) for i in range(count)])

    @torch.inference_mode()
    def draw(self, logits: Tensor) -> None:
        """Write the tokens of one step.

        Args:
            logits: of each branch, shape (branches, codebooks, vocabulary).
        Raises:
            CorruptCheckpoint: they are not finite.
        """
        mixed = (self._weights * logits).sum(dim=0).to(self.generator.device)
        tokens = drawn(mixed, self.sampling, self.generator)
        for book, delay in enumerate(self._delays):
            if self.known <= self._step - delay < self._frames:
                self._codes[book, self._step - delay] = tokens[book]
        self._step += 1

    def taken_over(self, columns: NDArray[np.int64], steps: int) -> None:
        """Write tokens that were drawn elsewhere.

        Args:
            columns: as `columns`, filled so far.
            steps: that were taken in all.
        """
        for book, delay in enumerate(self._delays):
            end = max(self.known, min(self._frames, self.known + steps - delay))
            drawn_ = columns[self.known + 1 + delay : end + 1 + delay, book]
            self._codes[book, self.known : end] = drawn_
        self._step = self.known + steps

    def _column(self, step: int) -> list[int]:
        return column_of(self._codes, self._delays, step, self._decoder.pad)


def written(decoder: Decoding, passage: Passage) -> Iterator[int]:
    """Write a passage by itself; yields the steps taken.

    Raises:
        CorruptCheckpoint: its numbers are not finite.
    """
    table = decoder.table(1)
    table.admit(passage)
    while passage.error is None and not passage.done:
        if passage.taken:
            yield passage.taken
        table.step([passage])
    if passage.error is not None:
        raise passage.error
    yield passage.taken
