"""MusicGen-Melody's decoder for a graphics card: shapes that do not change, few kernels a step.

`slots` says how passages share it. On other devices the same code runs, more slowly than
`decoder.Decoder`; the tests compare them there.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MusicgenMelodyForCausalLM
from transformers.models.musicgen_melody.modeling_musicgen_melody import (
    MusicgenMelodyDecoderLayer,
    MusicgenMelodySinusoidalPositionalEmbedding,
)

from voice2music.engines.devices import free_memory
from voice2music.engines.musicgen.decoder import ROOM, copied
from voice2music.engines.musicgen.linears import Precision, stacked
from voice2music.engines.musicgen.slots import Slots, whole

SHARE: Final = 0.5  # of the card's free memory that the pasts may take
NEVER: Final = -1e4  # added to the scores of positions that are not there; an infinity may give NaN


@dataclass(frozen=True, eq=False)
class _Layer:
    """One decoder layer's weights, as (out, in)."""

    first_norm: nn.LayerNorm
    qkv: Tensor
    out: Tensor
    second_norm: nn.LayerNorm
    wide: Tensor
    narrow: Tensor
    activation: nn.Module


class CardDecoder:
    """The decoder's weights and one step of it; see `loop.Decoding`.

    Args:
        network: in evaluation mode, on the device it is to run on.
        precision: "float32" or "bfloat16", of weights, pasts and all between.
        spend: see `decoder.Decoder`.
        graph: capture steps and replay them; for CUDA only.
    """

    def __init__(
        self,
        network: MusicgenMelodyForCausalLM,
        precision: Precision,
        *,
        spend: bool = False,
        graph: bool,
    ) -> None:
        config, inner = network.config, network.model.decoder
        self.precision, self.device, self.graph = precision, network.device, graph
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.width, self.heads = config.hidden_size, config.num_attention_heads
        self.small = False
        self.depth, self.codebooks = config.num_hidden_layers, config.num_codebooks
        self.channels, self.pad = config.audio_channels, config.pad_token_id
        books = [book.weight.detach() for book in inner.embed_tokens]
        self._embeddings = torch.cat(books).to(self.dtype)
        self._firsts = torch.arange(self.codebooks, device=self.device) * len(books[0])
        self._layers = [_packed(layer, self.dtype, spend) for layer in inner.layers]
        self._norm = copied(inner.layer_norm, self.dtype)
        self._heads = stacked(list(network.lm_heads)).to(self.dtype)
        self.vocabulary = len(self._heads) // self.codebooks
        if spend:
            network.to("meta")

    @property
    def room(self) -> int:
        """See `loop.Decoding`."""
        if self.device.type != "cuda":
            return ROOM
        return int(SHARE * free_memory(self.device))

    def table(self, seats: int) -> "Slots":
        """See `loop.Decoding`."""
        return Slots(self, seats)

    def bytes_of_past(self, branches: int, positions: int) -> int:
        """See `loop.Decoding`."""
        size: int = 2 * self.depth * branches * whole(positions) * self.width * self.dtype.itemsize
        return size

    def new_past(self, rows: int, positions: int) -> Tensor:
        """Empty keys and values, shape (layers, rows, positions, 2, heads, size)."""
        shape = (self.depth, rows, positions, 2, self.heads, self.width // self.heads)
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def sinusoids(self, length: int) -> Tensor:
        """Embeddings of positions, shape (length, width)."""
        make = MusicgenMelodySinusoidalPositionalEmbedding.get_embedding
        table: Tensor = make(length, self.width).to(self.device, self.dtype)
        return table

    def embedded(self, columns: Tensor) -> Tensor:
        """Tokens (n, codebooks) to the sum of their embeddings (n, width)."""
        return self._embeddings[columns + self._firsts].sum(dim=1)

    def read(self, hidden: Tensor, past: Tensor, rows: Tensor) -> None:
        """Write the keys and values of many first positions.

        Args:
            hidden: embeddings, positions' included, shape (branches, n, width).
            past: see `new_past`; changed.
            rows: of the past, one per branch.
        """
        length = hidden.shape[1]
        for layer, own in zip(self._layers, past, strict=True):
            qkv = functional.linear(layer.first_norm(hidden), layer.qkv)
            qkv = qkv.view(*hidden.shape[:2], 3, self.heads, -1)
            own[rows, :length] = qkv[:, :, 1:]
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            hidden = hidden + functional.linear(mixed.transpose(1, 2).flatten(2), layer.out)
            _feed(layer, hidden.view(-1, self.width))

    def step(self, hidden: Tensor, past: Tensor, positions: Tensor, bucket: int) -> Tensor:
        """One more position of each row.

        Args:
            hidden: embeddings, positions' included, shape (rows, width); changed.
            past: see `new_past`, with at least as many rows; changed.
            positions: of the rows, int64, all below `bucket`.
            bucket: positions that attention looks at.
        Returns:
            Logits, float32, shape (rows, codebooks, vocabulary).
        """
        rows, length = len(hidden), past.shape[2]
        places = torch.arange(rows, device=self.device) * length + positions
        seen = torch.arange(bucket, device=self.device) <= positions[:, None, None, None]
        mask = torch.zeros_like(seen, dtype=self.dtype).masked_fill(~seen, NEVER)
        for layer, own in zip(self._layers, past, strict=True):
            qkv = functional.linear(layer.first_norm(hidden), layer.qkv)
            own.view(-1, 2 * self.width).index_copy_(0, places, qkv[:, self.width :])
            query = qkv[:, : self.width].view(rows, self.heads, 1, -1)
            key, value = own[:rows, :bucket].permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            hidden.addmm_(mixed.view(rows, -1), layer.out.t())
            _feed(layer, hidden)
        logits = functional.linear(self._norm(hidden), self._heads).float()
        return logits.view(rows, self.codebooks, -1)


def _feed(layer: _Layer, hidden: Tensor) -> None:
    """The second half of a layer, rows (n, width), in place."""
    wide = functional.linear(layer.second_norm(hidden), layer.wide)
    hidden.addmm_(layer.activation(wide), layer.narrow.t())


def _packed(layer: MusicgenMelodyDecoderLayer, dtype: torch.dtype, spend: bool) -> _Layer:
    attention = layer.self_attn
    made = _Layer(
        first_norm=copied(layer.self_attn_layer_norm, dtype),
        qkv=stacked([attention.q_proj, attention.k_proj, attention.v_proj]).to(dtype),
        out=stacked([attention.out_proj]).to(dtype),
        second_norm=copied(layer.final_layer_norm, dtype),
        wide=stacked([layer.fc1]).to(dtype),
        narrow=stacked([layer.fc2]).to(dtype),
        activation=layer.activation_fn,
    )
    if spend:
        layer.to("meta")
    return made
