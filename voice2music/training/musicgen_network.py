"""MusicGen-Melody without its codec, as it is trained: the library's layers, walked quickly.

The parts carry the names they have in `MusicgenMelodyForConditionalGeneration`, and the logits
equal that class's. What is our own is the way there: one pass over the prefix and all columns of
tokens, attention in blocks, the last layer on the tokens alone, all codebooks' losses at once.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    MusicgenMelodyConfig,
    MusicgenMelodyForCausalLM,
    MusicgenMelodyForConditionalGeneration,
    T5EncoderModel,
)

Batch = dict[str, Tensor]
BLOCKS = 5  # of queries; each sees the keys up to its own end only
NOTHING = -1  # token that is not there


class MusicgenNetwork(nn.Module):
    """Text encoder, melody projection and decoder.

    Args:
        config: of the whole model.
        emphasis: weight of each codebook's loss, mean 1.
        dropout: of the residual branches, in training.
    """

    def __init__(
        self, config: MusicgenMelodyConfig, emphasis: tuple[float, ...], dropout: float = 0.0
    ) -> None:
        super().__init__()
        width = config.decoder.hidden_size
        self.text_encoder = T5EncoderModel(config.text_encoder)
        self.decoder = MusicgenMelodyForCausalLM(config.decoder)
        self.enc_to_dec_proj = nn.Linear(config.text_encoder.d_model, width)
        self.audio_enc_to_dec_proj = nn.Linear(config.num_chroma, width)
        self.dropout = dropout
        self.emphasis: Tensor
        self.register_buffer("emphasis", torch.tensor(emphasis), persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            batch: `codes` (batch, codebooks, frames), `NOTHING` past the end, and `past`, what the
                model is told of them; `rows` (batch, melody frames, rows); `text` and `text_mask`
                (batch, length); `has_text` (batch,).
        Returns:
            "loss", weighted; "cross_entropy", plain; the same of the first and last codebook.
        """
        padding = self.decoder.config.pad_token_id
        inputs, _ = columns(batch["past"], padding)
        _, targets = columns(batch["codes"], padding)
        hidden = self.hidden(self.prefix(batch), inputs)
        losses = self.book_losses(hidden, targets)
        return {
            "loss": (losses * self.emphasis).mean(),
            "cross_entropy": losses.mean().detach(),
            "first_book": losses[0].detach(),
            "last_book": losses[-1].detach(),
        }

    def prefix(self, batch: Batch) -> Tensor:
        """What stands before the tokens: melody, then text; (batch, positions, width)."""
        mask = batch["text_mask"]
        states = self.text_encoder(batch["text"], attention_mask=mask).last_hidden_state
        words = self.enc_to_dec_proj(states) * (mask * batch["has_text"][:, None])[..., None]
        tune = self.audio_enc_to_dec_proj(batch["rows"])
        return torch.cat([tune, words.to(tune.dtype)], dim=1)

    def hidden(self, prefix: Tensor, inputs: Tensor) -> Tensor:
        """The decoder's states at the columns of tokens, (batch, columns, width)."""
        decoder = self.decoder.model.decoder
        tokens = sum(table(inputs[:, k]) for k, table in enumerate(decoder.embed_tokens))
        x = torch.cat([prefix.float(), tokens], dim=1)
        x = self._dropped(x + decoder.embed_positions(x))
        for layer in decoder.layers[:-1]:
            x = self._layer(layer, x, 0)
        x = self._layer(decoder.layers[-1], x, prefix.shape[1])
        states: Tensor = decoder.layer_norm(x)
        return states

    def book_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of each codebook, (codebooks,)."""
        heads = torch.stack([head.weight for head in self.decoder.lm_heads])
        return _applied(_BookLosses, _half(hidden).flatten(0, 1), _half(heads), targets)

    def _layer(self, layer: Any, x: Tensor, first: int) -> Tensor:  # noqa: ANN401
        """One decoder layer; what comes before position `first` is only listened to."""
        attention = layer.self_attn
        normal = layer.self_attn_layer_norm(x)
        heads = (attention.num_heads, attention.head_dim)
        query = attention.q_proj(normal[:, first:]).unflatten(-1, heads).transpose(1, 2)
        key = attention.k_proj(normal).unflatten(-1, heads).transpose(1, 2)
        value = attention.v_proj(normal).unflatten(-1, heads).transpose(1, 2)
        heard = causal_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x[:, first:] + self._dropped(attention.out_proj(heard))
        inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(x)))
        return x + self._dropped(layer.fc2(inner))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def columns(codes: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """The decoder's columns and what it is to say at each; codebook k runs k frames late.

    Column s is given frame s - 1 - k and is to say frame s - k: `engines.musicgen.loop.column_of`
    for a whole batch.

    Returns:
        inputs, with `padding` where there is no frame, and targets, with `NOTHING` there; both
        (batch, codebooks, frames + codebooks - 1).
    """
    books = codes.shape[1]
    room = F.pad(codes, (books, books), value=NOTHING)
    at = torch.arange(codes.shape[2] + books - 1, device=codes.device)[None] + books
    late = at - torch.arange(books, device=codes.device)[:, None]
    targets = room.gather(2, late.expand(len(codes), -1, -1))
    inputs = room.gather(2, (late - 1).expand(len(codes), -1, -1))
    return inputs.masked_fill(inputs == NOTHING, padding), targets


def fill(
    model: MusicgenMelodyForConditionalGeneration, network: nn.Module
) -> MusicgenMelodyForConditionalGeneration:
    """Put a network's weights into the whole model, whose codec stays as it is."""
    found = model.load_state_dict(network.state_dict(), strict=False)
    lacking = [name for name in found.missing_keys if not name.startswith("audio_encoder.")]
    if lacking or found.unexpected_keys:
        raise ValueError(f"not the same model: {lacking[:1] or found.unexpected_keys[:1]}")
    return model


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of the last positions to all before them, (batch, heads, queries, size).

    torch's own on a graphics card. On a processor its bfloat16 kernel takes three times as long as
    matrix products over blocks of queries (32 against 90 ms for 8 x 556 positions of 256, forward
    and back, one thread).
    """
    if query.is_cuda:
        return _on_card(query, key, value)
    flat = (part.flatten(0, 1) for part in (query, key, value))
    out = _applied(_BlockAttention, *flat, query.shape[-1] ** -0.5)
    return out.view(query.shape)


def _on_card(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if query.shape[2] == key.shape[2]:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    before = key.shape[2] - query.shape[2]
    seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen.tril(before))


class _BlockAttention(torch.autograd.Function):
    """Causal attention; query (n, queries, size), key and value (n, positions, size)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:  # noqa: ANN401
        query = query * scale
        out, weights = torch.empty_like(query), []
        for start, end, seen in _blocks(query.shape[1], key.shape[1]):
            scores = torch.bmm(query[:, start:end], key[:, :seen].transpose(1, 2))
            later = scores.new_full((end - start, end - start), -torch.inf).triu_(1)
            scores[:, :, seen - (end - start) :] += later
            weight = scores.softmax(dim=-1)
            out[:, start:end] = torch.bmm(weight, value[:, :seen])
            weights.append(weight)
        ctx.save_for_backward(query, key, value, *weights)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN401
        query, key, value, *weights = ctx.saved_tensors
        d_query = torch.empty_like(query)
        d_key, d_value = torch.zeros_like(key), torch.zeros_like(value)
        blocks = _blocks(query.shape[1], key.shape[1])
        for weight, (start, end, seen) in zip(weights, blocks, strict=True):
            d_out = grads[0][:, start:end].to(query.dtype)
            d_weight = torch.bmm(d_out, value[:, :seen].transpose(1, 2))
            d_value[:, :seen] += torch.bmm(weight.transpose(1, 2), d_out)
            d_score = torch._softmax_backward_data(d_weight, weight, -1, weight.dtype)
            d_query[:, start:end] = torch.bmm(d_score, key[:, :seen])
            d_key[:, :seen] += torch.bmm(d_score.transpose(1, 2), query[:, start:end])
        return d_query * ctx.scale, d_key, d_value, None


def _blocks(queries: int, positions: int) -> list[tuple[int, int, int]]:
    """First and last query of each block, and the positions that it sees."""
    size = -(-queries // BLOCKS)
    starts = range(0, queries, size)
    return [
        (start, min(start + size, queries), positions - queries + min(start + size, queries))
        for start in starts
    ]


class _BookLosses(torch.autograd.Function):
    """Linear heads and their cross-entropies, one codebook at a time, gradients made on the way.

    hidden (n, width), heads (codebooks, vocabulary, width), targets (batch, codebooks, columns)
    with n = batch * columns.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, heads: Tensor, targets: Tensor) -> Tensor:  # noqa: ANN401
        losses, d_hidden, d_heads = [], [], []
        for book, head in enumerate(heads):
            target = targets[:, book].flatten()
            there = target != NOTHING
            known = target.clamp(min=0)[:, None]
            logits = (hidden @ head.T).float()
            chances = logits.log_softmax(dim=-1)
            share = there.float() / there.sum().clamp(min=1)
            losses.append(-(chances.gather(1, known)[:, 0] * share).sum())
            if ctx.needs_input_grad[0]:
                error = chances.exp_()
                error.scatter_add_(1, known, torch.full_like(known, -1, dtype=error.dtype))
                error = (error * share[:, None]).to(head.dtype)
                d_hidden.append(error @ head)
                d_heads.append(error.T @ hidden)
        if d_hidden:
            ctx.save_for_backward(torch.stack(d_hidden), torch.stack(d_heads))
        return torch.stack(losses)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        d_hidden, d_heads = ctx.saved_tensors
        weight = grads[0].to(d_hidden.dtype)
        return torch.einsum("k,knd->nd", weight, d_hidden), d_heads * weight[:, None, None], None


def _applied(function: type[torch.autograd.Function], *given: Tensor | float) -> Tensor:
    """A function of our own on the tape."""
    out: Tensor = function.apply(*given)  # type: ignore[no-untyped-call]
    return out


def _half(x: Tensor) -> Tensor:
    """In the precision of autocast, where that is on."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
