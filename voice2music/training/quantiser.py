"""Learning the codebooks of an EnCodec model, which `transformers` only knows how to use.

The codebooks are moving averages of the vectors that chose them, and lie in the model's own
buffers, so that saving the model saves them. In the first steps the latents pass unquantised and
are collected; k-means over them makes the first codebooks, one after the other on what the books
before left. Entries that nobody chooses any more are put where vectors are.
Source: van den Oord et al., "Neural Discrete Representation Learning", 2017; Zeghidour et al.,
"SoundStream", 2021.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.models.encodec.modeling_encodec import (
    EncodecEuclideanCodebook,
    EncodecResidualVectorQuantizer,
)

REVIVE_STEPS = 20  # between two looks for dead entries
DEAD = 0.03  # share of an even entry's use below which an entry is dead
KMEANS_ROUNDS = 12
SMOOTHING = 1e-5  # keeps an unused entry's mean finite


@dataclass(frozen=True, eq=False)
class Quantised:
    """Latents as the decoder gets them, (batch, width, frames), and what it cost.

    Args:
        commitment: mean square of what each book left, relative to the latents' own mean square.
        perplexity: mean over the books of how many entries this batch really used.
    """

    latents: Tensor
    commitment: Tensor
    perplexity: Tensor


class CodebookTraining(nn.Module):
    """State of the codebooks' training that the EnCodec model has no place for.

    Args:
        width: of the latents.
        warm_up: steps without quantisation; 0 for codebooks that are trained already.
        pool: latents collected for k-means.
        decay: of the moving averages, per step.
        dropout: share of sounds that are decoded from their first books only, so that the first
            ones learn to carry most.
    """

    def __init__(self, width: int, warm_up: int, pool: int, decay: float, dropout: float) -> None:
        super().__init__()
        self.warm_up, self.decay, self.dropout = warm_up, decay, dropout
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("pool", torch.zeros(pool if warm_up else 0, width))

    def forward(
        self, books: EncodecResidualVectorQuantizer, latents: Tensor, seed: int
    ) -> Quantised:
        """One training step: quantise (batch, width, frames), move the codebooks."""
        chance = torch.Generator(latents.device).manual_seed(seed)
        steps = self.get_buffer("steps")
        steps += 1
        if int(steps) <= self.warm_up:
            self._collect(latents)
            nothing = latents.new_zeros(())
            return Quantised(latents, nothing, nothing)
        if self.warm_up and int(steps) == self.warm_up + 1:
            self._begin(books, chance)
        return self._quantise(books, latents, chance)

    def _quantise(
        self, books: EncodecResidualVectorQuantizer, latents: Tensor, chance: torch.Generator
    ) -> Quantised:
        batch, width, frames = latents.shape
        rest = latents.transpose(1, 2).reshape(-1, width)
        scale = rest.detach().square().mean() + 1e-8
        used = self._books_used(batch, len(books.layers), chance, latents.device)
        made, costs, entries = torch.zeros_like(rest), [], []
        for number, layer in enumerate(books.layers):
            chosen = layer.codebook.quantize(rest.detach())
            near = layer.codebook.decode(chosen)
            self._follow(layer.codebook, rest.detach(), chosen, chance)
            heard = (number < used).repeat_interleave(frames)[:, None]
            made = made + near * heard
            costs.append((rest - near).square().mean() / scale)
            entries.append(perplexity(chosen, layer.codebook.codebook_size))
            rest = rest - near
        made = made.reshape(batch, frames, width).transpose(1, 2)
        # Straight through: the encoder gets the decoder's gradient as if nothing had been rounded.
        straight = latents + (made - latents).detach()
        return Quantised(straight, torch.stack(costs).mean(), torch.stack(entries).mean())

    def _books_used(
        self, batch: int, books: int, chance: torch.Generator, device: torch.device
    ) -> Tensor:
        """How many books each sound is decoded from."""
        few = torch.randint(1, books + 1, (batch,), generator=chance, device=device)
        dropped = torch.rand(batch, generator=chance, device=device) < self.dropout
        return torch.where(dropped, few, books)

    @torch.no_grad()
    def _follow(
        self,
        book: EncodecEuclideanCodebook,
        vectors: Tensor,
        chosen: Tensor,
        chance: torch.Generator,
    ) -> None:
        """Move every entry towards the mean of the vectors that chose it."""
        counts = torch.bincount(chosen, minlength=book.codebook_size).to(vectors.dtype)
        sums = torch.zeros_like(book.embed).index_add_(0, chosen, vectors)
        _sum_over_processes(counts, sums)
        book.cluster_size.lerp_(counts, 1 - self.decay)
        book.embed_avg.lerp_(sums, 1 - self.decay)
        if int(self.get_buffer("steps")) % REVIVE_STEPS == 0:
            _revive(book, vectors, float(counts.sum()) / book.codebook_size, chance)
        book.embed.copy_(book.embed_avg / (book.cluster_size + SMOOTHING)[:, None])

    @torch.no_grad()
    def _collect(self, latents: Tensor) -> None:
        """Keep the newest latents: the pool is shifted and filled up at its end."""
        pool = self.get_buffer("pool")
        fresh = latents.transpose(1, 2).reshape(-1, latents.shape[1])[-len(pool) :]
        pool.copy_(torch.cat((pool[len(fresh) :], fresh)))

    @torch.no_grad()
    def _begin(self, books: EncodecResidualVectorQuantizer, chance: torch.Generator) -> None:
        """First codebooks, each by k-means on what those before it left."""
        pool = self.get_buffer("pool")
        rest = pool[pool.abs().sum(dim=1) > 0]
        for layer in books.layers:
            book = layer.codebook
            entries, counts = kmeans(rest, book.codebook_size, chance)
            even = len(rest) / book.codebook_size
            book.embed.copy_(entries)
            book.cluster_size.copy_(counts.clamp(min=1) / even * 0.5)
            book.embed_avg.copy_(entries * book.cluster_size[:, None])
            rest = rest - book.decode(book.quantize(rest))


def kmeans(vectors: Tensor, count: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from random vectors: entries (count, width) and how many chose each."""
    picked = torch.randint(len(vectors), (count,), generator=chance, device=vectors.device)
    entries = vectors[picked].clone()
    # Twins (a pool smaller than the book) would never part.
    entries += (
        1e-3 * vectors.std() * torch.randn(entries.shape, generator=chance, device=vectors.device)
    )
    for _ in range(KMEANS_ROUNDS):
        chosen = torch.cdist(vectors, entries).argmin(dim=1)
        counts = torch.bincount(chosen, minlength=count).to(vectors.dtype)
        sums = torch.zeros_like(entries).index_add_(0, chosen, vectors)
        means = sums / counts.clamp(min=1)[:, None]
        entries = torch.where(counts[:, None] > 0, means, entries)
    return entries, counts


def perplexity(chosen: Tensor, size: int) -> Tensor:
    """exp of the entropy of the entries' use: how many are in even use, 1 to `size`."""
    share = torch.bincount(chosen.flatten(), minlength=size).float() / chosen.numel()
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()


def _revive(
    book: EncodecEuclideanCodebook, vectors: Tensor, even: float, chance: torch.Generator
) -> None:
    """Put dead entries onto vectors of this batch, with the use of an average entry."""
    dead = book.cluster_size < DEAD * even
    picked = torch.randint(
        len(vectors), (book.codebook_size,), generator=chance, device=vectors.device
    )
    book.cluster_size.masked_fill_(dead, even)
    book.embed_avg.copy_(torch.where(dead[:, None], vectors[picked] * even, book.embed_avg))


def _sum_over_processes(*statistics: Tensor) -> None:
    """All processes move their codebooks alike."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for statistic in statistics:
            torch.distributed.all_reduce(statistic)
