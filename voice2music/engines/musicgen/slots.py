"""Passages side by side on a graphics card: a step is one captured graph, tokens stay there.

A step of few rows reads all weights and does little else, so its time is that of the reading if
nothing comes between: no calls from the processor (`torch.cuda.CUDAGraph`), no waiting for it
(tokens are drawn on the card and go straight into the next step), no shapes that change. For that
all passages share one table of keys and values; which row belongs to whom, how long it is and how
its tokens are drawn are numbers in tensors.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from voice2music.engines.graphs import Graphs
from voice2music.engines.musicgen.drawing import Samplings, drawn_each, not_finite
from voice2music.engines.musicgen.loop import Passage

if TYPE_CHECKING:
    from voice2music.engines.musicgen.card import CardDecoder

BUCKET: Final = 256  # positions; attention reads whole buckets
BURST: Final = 10  # steps between two looks at the tokens
BRANCHES: Final = 3  # most runs of one passage, see `loop.guided`
NOISE: Final = 32  # steps for which noise is drawn together
SIZES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # counts of rows that have graphs


@dataclass(eq=False)
class _Place:
    """Where a passage sits.

    Args:
        offset: positions before its first column.
    """

    seat: int
    rows: list[int]
    offset: int
    noise: torch.Generator

    def position(self, passage: Passage) -> int:
        """Of the coming step."""
        return self.offset + passage.known + passage.taken


class Slots:
    """Passages in one table of keys and values; see `loop.Table`.

    A passage's noise comes from a generator of its own, so that its seed means the same in any
    company; logits are then as near as the products of other numbers of rows are.
    """

    @torch.inference_mode()
    def __init__(self, decoder: "CardDecoder", seats: int) -> None:
        self._decoder, self._places = decoder, dict[Passage, _Place]()
        device, books = decoder.device, decoder.codebooks
        self._seats, self._graphs = seats, Graphs(device)
        self._past, self._sinusoids = decoder.new_past(0, 0), decoder.sinusoids(1)
        self._columns = torch.zeros((seats, 1, books), dtype=torch.long, device=device)
        self._noise = torch.ones((seats, NOISE, books, decoder.vocabulary), device=device)
        self._step = torch.zeros(seats, dtype=torch.long, device=device)
        self._last, self._offset = self._step.clone(), self._step.clone()
        self._broken = torch.zeros(seats, dtype=torch.bool, device=device)
        self._mates = torch.zeros((seats, BRANCHES), dtype=torch.long, device=device)
        self._weights = torch.zeros((seats, BRANCHES, 1, 1), device=device)
        self._owners = torch.zeros(SIZES[-1], dtype=torch.long, device=device)
        self._samplings = Samplings.usual(seats, device)

    @torch.inference_mode()
    def admit(self, passage: Passage) -> None:
        """See `loop.Table`; no step is taken."""
        prefixes, columns = passage.prefixes, passage.columns
        taken = {row for place in self._places.values() for row in place.rows}
        rows = [row for row in range(SIZES[-1]) if row not in taken][: len(prefixes)]
        self._make_room(rows[-1] + 1, prefixes.shape[1] + len(columns))
        sitting = {place.seat for place in self._places.values()}
        seat = min(set(range(self._seats)) - sitting)
        seed = int(torch.randint(2**62, (), generator=passage.generator))
        noise = torch.Generator(self._decoder.device).manual_seed(seed)
        place = _Place(seat, rows, prefixes.shape[1], noise)
        self._seat(passage, place, columns)
        self._read(passage, place, prefixes)
        self._places[passage] = place

    @torch.inference_mode()
    def step(self, passages: Sequence[Passage]) -> None:
        """See `loop.Table`; as many steps as the shortest has left, but not more than `BURST`."""
        count = min(BURST, *(passage.steps - passage.taken for passage in passages))
        for i in range(count):
            for passage in passages:
                self._renew_noise(passage, passage.taken + i)
            self._run(*self._shape(i))
        columns, broken = self._columns.cpu().numpy(), self._broken.tolist()
        for passage in passages:
            seat = self._places[passage].seat
            passage.taken_over(columns[seat], passage.taken + count)
            passage.error = not_finite() if broken[seat] else None

    @torch.inference_mode()
    def dismiss(self, passage: Passage) -> None:
        """See `loop.Table`."""
        place = self._places.pop(passage, None)
        if place is not None:
            # The seat and the rows may be run along with others: never beyond what these have.
            for state in (self._step, self._last, self._offset, self._mates):
                state[place.seat] = 0
            self._owners[place.rows] = 0

    def bytes_for(self, passages: Sequence[Passage]) -> int:
        """See `loop.Table`; all rows are as long as the longest, and none go while others sit."""
        rows = _size(sum(len(passage.branches) for passage in passages))
        longest = max(passage.positions for passage in passages)
        if self._places:
            rows = max(rows, self._past.shape[1])
            longest = max(longest, self._past.shape[2])
        return self._decoder.bytes_of_past(rows, longest)

    def _make_room(self, rows: int, positions: int) -> None:
        """A larger table where this does not fit; what is written in it is kept."""
        had, length = self._past.shape[1:3]
        if rows <= had and positions <= length:
            return
        self._graphs.forget_all()  # they hold the old one's addresses
        larger = max(_size(rows), had), max(whole(positions), length)
        if not self._places:
            self._past = self._decoder.new_past(0, 0)  # freed before the new one is made
            if self._decoder.bytes_of_past(*larger) > self._decoder.room:
                larger = _size(rows), whole(positions)
        past, columns = self._past, self._columns
        self._past = self._decoder.new_past(*larger)
        self._past[:, : past.shape[1], : past.shape[2]] = past
        self._sinusoids = self._decoder.sinusoids(larger[1])
        self._columns = columns.new_zeros((self._seats, larger[1], columns.shape[2]))
        kept = min(larger[1], columns.shape[1])
        self._columns[:, :kept] = columns[:, :kept]

    def _seat(self, passage: Passage, place: _Place, columns: Tensor) -> None:
        """Fill in what concerns one passage."""
        seat, count = place.seat, len(place.rows)
        self._columns[seat, : len(columns)] = columns.to(self._columns)
        self._step[seat], self._last[seat] = passage.known, len(columns) - 1
        self._offset[seat], self._broken[seat] = place.offset, False
        self._mates[seat] = place.rows[0]
        self._mates[seat, :count] = torch.tensor(place.rows).to(self._mates)
        weights = torch.tensor([branch.weight for branch in passage.branches])
        self._weights[seat] = 0
        self._weights[seat, :count, 0, 0] = weights.to(self._weights)
        self._owners[place.rows] = seat
        self._samplings.put(seat, passage.sampling, self._decoder.vocabulary)

    def _read(self, passage: Passage, place: _Place, prefixes: Tensor) -> None:
        """Its conditions and its past."""
        decoder = self._decoder
        known = decoder.embedded(self._columns[place.seat, : passage.known])
        known = known.expand(len(prefixes), -1, -1)
        hidden = torch.cat([prefixes.to(known), known], dim=1)
        rows = torch.tensor(place.rows, device=decoder.device)
        self._past[:, rows] = 0  # masked positions count as zero times what is there
        decoder.read(hidden + self._sinusoids[: hidden.shape[1]], self._past, rows)

    def _renew_noise(self, passage: Passage, taken: int) -> None:
        """Where it is used up, by the passage's own steps."""
        if taken == 0 or (passage.known + taken) % NOISE == 0:
            place = self._places[passage]
            self._noise[place.seat].exponential_(generator=place.noise)

    def _shape(self, ahead: int) -> tuple[int, int]:
        """Rows and bucket of the step that comes after `ahead` others."""
        places = self._places.values()
        rows = min(_size(max(row for p in places for row in p.rows) + 1), self._past.shape[1])
        longest = max(place.position(passage) for passage, place in self._places.items())
        return rows, min(whole(longest + ahead + 1), self._past.shape[2])

    def _run(self, rows: int, bucket: int) -> None:
        """One step on the device."""
        if not self._decoder.graph:
            return self._advance(rows, bucket)
        changed = (self._step, self._columns, self._broken)
        key = rows, bucket
        return self._graphs.run(key, lambda: self._advance(*key), changed)

    def _advance(self, rows: int, bucket: int) -> None:
        """What is captured: from the columns at hand to those that come next, for all seats."""
        who, step = torch.arange(self._seats, device=self._step.device), self._step
        owners = self._owners[:rows]
        positions = (self._offset + self._step)[owners].clamp(max=bucket - 1)
        hidden = self._decoder.embedded(self._columns[who, step])[owners]
        hidden = hidden + self._sinusoids[positions]
        logits = self._decoder.step(hidden, self._past, positions, bucket)
        mixed = (self._weights * logits[self._mates]).sum(dim=1)
        noise = self._noise[who, step % NOISE]
        tokens = drawn_each(mixed, self._samplings, noise)
        coming = torch.minimum(step + 1, self._last)
        ready = self._columns[who, coming]
        self._columns[who, coming] = torch.where(ready < 0, tokens, ready)
        self._broken |= ~torch.isfinite(mixed.sum(dim=(1, 2)))
        self._step.copy_(coming)


def whole(positions: int) -> int:
    """Rounded up to whole buckets."""
    return -(-positions // BUCKET) * BUCKET


def _size(count: int) -> int:
    """The next of `SIZES`."""
    return SIZES[bisect_left(SIZES, count)]
