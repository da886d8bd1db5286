"""MusicGen-Melody's decoder, laid out for decoding on a processor: the same numbers, faster.

`transformers` computes the same from the same weights; a step of a small model takes three to six
times as long there, since each layer multiplies four times where two do, copies its past and calls
hundreds of small functions. Here queries, keys and values are one product, all codebooks' heads are
one, the past lies in memory set aside once, and nothing else happens in a step.
"""

import copy
from collections.abc import Sequence
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

from voice2music.engines.musicgen.linears import Linear, Precision, packed
from voice2music.engines.musicgen.loop import Passage
from voice2music.errors import CorruptCheckpoint

ROOM: Final = 3 << 30  # bytes for all pasts
WIDE: Final = 1024  # from which a step is worth spreading over cores


class Past:
    """Keys and values of one request's positions so far, and the room for those to come.

    Args:
        branches: conditioned runs side by side.
        positions: in all, those before the first token among them.
    """

    def __init__(self, decoder: "Decoder", branches: int, positions: int) -> None:
        heads, size = branches * decoder.heads, decoder.width // decoder.heads
        layers = range(decoder.depth)
        # Float32 even beside bfloat16 weights: its products of one row are five times faster.
        self._keys = [torch.empty(heads, size, positions, device=decoder.device) for _ in layers]
        self._values = [torch.empty(heads, positions, size, device=decoder.device) for _ in layers]
        self.branches, self.length = branches, 0

    def filled(self, layer: int, qkv: Tensor, scale: float) -> Tensor:
        """Attention of many first positions to those before them.

        Args:
            qkv: shape (branches, positions, 3, heads, size).
            scale: of the products of queries and keys.
        Returns:
            Shape (branches, positions, heads * size).
        """
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (branches, heads, positions, size)
        end = key.shape[2]
        self._keys[layer][:, :, :end] = key.flatten(0, 1).mT
        self._values[layer][:, :end] = value.flatten(0, 1)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale
        )
        return mixed.transpose(1, 2).flatten(2)

    def extended(self, layer: int, qkv: Tensor, scale: float) -> Tensor:
        """Attention of one more position to all; `length` counts it only after the last layer.

        Args:
            qkv: shape (branches, 3, heads, size).
            scale: as above.
        Returns:
            Shape (branches, heads * size).
        """
        query, key, value = qkv.transpose(0, 1).flatten(1, 2)  # each (branches * heads, size)
        end = self.length + 1
        keys, values = self._keys[layer], self._values[layer]
        keys[:, :, self.length] = key
        values[:, self.length] = value
        scores = torch.baddbmm(
            query[:1, None, :1], query[:, None], keys[:, :, :end], beta=0, alpha=scale
        )
        return torch.bmm(scores.softmax(dim=-1), values[:, :end]).view(self.branches, -1)


@dataclass(frozen=True, eq=False)
class _Layer:
    """One decoder layer's weights."""

    first_norm: nn.LayerNorm
    qkv: Linear
    out: Linear
    second_norm: nn.LayerNorm
    wide: Linear
    narrow: Linear
    activation: nn.Module


class Decoder:
    """The decoder's weights and one step of it, on the processor.

    Args:
        network: in evaluation mode.
        precision: of the products with weights; everything between them is float32.
        spend: free the network's own weights while packing them, so that no more memory is used
            than the larger of both; it is of no use afterwards.
    """

    def __init__(
        self, network: MusicgenMelodyForCausalLM, precision: Precision, *, spend: bool = False
    ) -> None:
        config, inner = network.config, network.model.decoder
        self.precision, self.device = precision, network.device
        self.width, self.heads = config.hidden_size, config.num_attention_heads
        self.depth, self.codebooks = config.num_hidden_layers, config.num_codebooks
        self.channels, self.pad = config.audio_channels, config.pad_token_id
        self.small = self.width < WIDE
        self._scale = (self.width // self.heads) ** -0.5
        self._positions = torch.empty(0, self.width, device=self.device)
        self._embeddings = torch.cat([book.weight.detach().float() for book in inner.embed_tokens])
        size = len(inner.embed_tokens[0].weight)
        self._firsts = torch.arange(self.codebooks, device=self.device) * size
        self._layers = [_packed_layer(layer, precision, spend) for layer in inner.layers]
        self._norm = copied(inner.layer_norm, torch.float32)
        self._heads = packed(list(network.lm_heads), precision)
        if spend:
            network.to("meta")

    @torch.inference_mode()
    def begin(self, prefixes: Tensor, columns: Tensor, steps: int) -> tuple[Past, Tensor]:
        """Read the conditions and the first columns of tokens.

        Args:
            prefixes: hidden states before the first token, shape (branches, positions, width).
            columns: int64, shape (codebooks, n), the same for all branches.
            steps: for which `advance` will be called at most.
        Returns:
            The past, and the logits that follow, float32, shape (branches, codebooks, vocabulary).
        """
        branches = len(prefixes)
        known = self._embedded(columns.T.to(self.device)).expand(branches, -1, -1)
        hidden = torch.cat([prefixes.float(), known], dim=1)
        length = hidden.shape[1]
        hidden = (hidden + self._position(length + steps)[:length]).flatten(0, 1)
        past = Past(self, branches, length + steps)
        for i, layer in enumerate(self._layers):
            qkv = layer.qkv(layer.first_norm(hidden)).view(branches, length, 3, self.heads, -1)
            mixed = past.filled(i, qkv, self._scale).flatten(0, 1)
            hidden = _fed(layer, hidden + layer.out(mixed))
        past.length = length
        return past, self._logits(hidden.view(branches, length, -1)[:, -1])

    @torch.inference_mode()
    def advance(self, pasts: Sequence[Past], columns: Tensor) -> tuple[Tensor, ...]:
        """One more column of tokens for each of several requests.

        Args:
            pasts: one per request; they grow by one position.
            columns: int64, shape (requests, codebooks).
        Returns:
            One per request: the logits that follow, as `begin` gives them.
        """
        rows = [past.branches for past in pasts]
        longest = max(past.length for past in pasts) + 1
        places = [past.length for past in pasts]
        embedded = self._embedded(columns.to(self.device)) + self._position(longest)[places]
        owners = [i for i, count in enumerate(rows) for _ in range(count)]
        hidden = embedded[owners]
        for i, layer in enumerate(self._layers):
            qkv = layer.qkv(layer.first_norm(hidden)).view(len(hidden), 3, self.heads, -1)
            own = zip(pasts, torch.split(qkv, rows), strict=True)
            mixed = [past.extended(i, part, self._scale) for past, part in own]
            hidden = _fed(layer, hidden + layer.out(torch.cat(mixed)))
        for past in pasts:
            past.length += 1
        return torch.split(self._logits(hidden), rows)

    @property
    def room(self) -> int:
        """See `loop.Decoding`."""
        return ROOM

    def table(self, seats: int) -> "Apart":
        """See `loop.Decoding`; any number of passages fit."""
        return Apart(self)

    def bytes_of_past(self, branches: int, positions: int) -> int:
        """Memory that a request takes while it is decoded."""
        size: int = 2 * self.depth * branches * positions * self.width * 4
        return size

    def _embedded(self, columns: Tensor) -> Tensor:
        """Tokens (n, codebooks) to the sum of their embeddings (n, width)."""
        return functional.embedding_bag(columns + self._firsts, self._embeddings, mode="sum")

    def _position(self, length: int) -> Tensor:
        """Sinusoidal embeddings of at least the first `length` positions."""
        if len(self._positions) < length:
            make = MusicgenMelodySinusoidalPositionalEmbedding.get_embedding
            self._positions = make(length, self.width).float().to(self.device)
        return self._positions

    def _logits(self, hidden: Tensor) -> Tensor:
        """Rows (n, width) to logits (n, codebooks, vocabulary)."""
        return self._heads(self._norm(hidden)).view(len(hidden), self.codebooks, -1)


class Apart:
    """Passages each with a past of its own; see `loop.Table`."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._pasts: dict[Passage, Past] = {}

    def admit(self, passage: Passage) -> None:
        """See `loop.Table`; the first step is taken."""
        prefixes, columns = passage.prefixes, passage.known_columns
        self._pasts[passage], logits = self._decoder.begin(prefixes, columns, passage.steps - 1)
        passage.draw(logits)

    def step(self, passages: Sequence[Passage]) -> None:
        """See `loop.Table`; one step."""
        pasts = [self._pasts[passage] for passage in passages]
        columns = torch.tensor([passage.column for passage in passages])
        logits = self._decoder.advance(pasts, columns)
        for passage, own in zip(passages, logits, strict=True):
            try:
                passage.draw(own)
            except CorruptCheckpoint as error:
                passage.error = error

    def dismiss(self, passage: Passage) -> None:
        """See `loop.Table`."""
        self._pasts.pop(passage, None)

    def bytes_for(self, passages: Sequence[Passage]) -> int:
        """See `loop.Table`."""
        size = self._decoder.bytes_of_past
        return sum(size(len(passage.branches), passage.positions) for passage in passages)


def _fed(layer: _Layer, hidden: Tensor) -> Tensor:
    """The second half of a layer."""
    return hidden + layer.narrow(layer.activation(layer.wide(layer.second_norm(hidden))))


def _packed_layer(layer: MusicgenMelodyDecoderLayer, precision: Precision, spend: bool) -> _Layer:
    attention = layer.self_attn
    made = _Layer(
        first_norm=copied(layer.self_attn_layer_norm, torch.float32),
        qkv=packed([attention.q_proj, attention.k_proj, attention.v_proj], precision),
        out=packed([attention.out_proj], precision),
        second_norm=copied(layer.final_layer_norm, torch.float32),
        wide=packed([layer.fc1], precision),
        narrow=packed([layer.fc2], precision),
        activation=layer.activation_fn,
    )
    if spend:
        layer.to("meta")
    return made


def copied(norm: nn.LayerNorm, dtype: torch.dtype) -> nn.LayerNorm:
    """A copy where the original is."""
    return copy.deepcopy(norm).to(dtype).requires_grad_(False)
