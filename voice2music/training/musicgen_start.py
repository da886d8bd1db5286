"""Where a MusicGen begins: with heads that already look at the right place.

Positions are sinusoids, and a linear map moves a sinusoid along by a constant. The tokens at time t
stand a constant number of positions behind the melody frame of time t, since the melody (as fast as
the codec) and the text (of one length) stand before them. So a query matrix that turns the phases
back by that number, and a key matrix that leaves them alone, make a head that looks exactly there;
other numbers give heads that look at the tokens just before, or at the text. Learnt from nothing,
that alignment takes most of a short training; given, following the tune is left to learn.

For that to hold at the beginning, the phases that heads read are kept free of anything else: what
is embedded, and what the first layers add, keeps to other dimensions.

Two more things are known before the first step and are given too. Tokens are vectors of the codec's
codebooks: tokens that sound alike begin with embeddings (and heads) that are alike. And how often
each token is said at all is where every prediction begins.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from voice2music.training.musicgen_network import MusicgenNetwork

PHASED: Final = 2  # layers that begin with such heads
CALM: Final = 0.01  # rad per position; slower phases hardly move over a whole window
STILL: Final = 4  # of the slowest dimensions that nothing is written to
CONTRAST: Final = 10.0  # score where a head looks, over the score of everywhere else
TEMPO_BENDS: Final = 8  # cosines that a tempo's first embedding is made of
OWN_PART: Final = 0.2  # of the variance of a token's embedding, that has nothing to do with sound


@dataclass(frozen=True)
class Look:
    """Where one head looks.

    Args:
        at: "tune": the melody at the time of the tokens that are to be said; "before": the tokens
            themselves.
        shift: positions from there; later is positive.
        spread: standard deviation of where it looks, in positions.
    """

    at: str
    shift: float
    spread: float


LOOKS: Final = (  # of the first layers
    (Look("tune", 0, 0.7), Look("tune", 3, 1.5)),
    (Look("before", -1, 0.7), Look("tune", -4, 2.0)),
)
LARGER: Final = (1.0, 1.2)  # spread of the hidden states, against the layer before
CARRIERS: Final = 2  # the first heads of the first layer hand the melody rows on
FREQUENCIES: Final = 16  # that a head reads
ROW, CARRIED = 2.0, 4.0  # length of a melody row's vector, where it stands and as it is handed on


@dataclass(frozen=True, eq=False)
class _Plan:
    """Dimensions of the hidden states: the first half are cosines of positions, then the sines.

    Args:
        width: of the hidden states.
        read: frequencies (numbers into either half) that heads read.
        tune: sines, nearly still, that hold the melody rows.
        spread: what the layer norm divides by, about.
    """

    width: int
    read: Tensor
    tune: Tensor
    spread: float

    @property
    def half(self) -> int:
        return self.width // 2

    @property
    def still(self) -> int:
        """A dimension that is always about one: the slowest cosine."""
        return self.half - 1

    @property
    def phases(self) -> Tensor:
        return torch.cat([self.read, self.read + self.half])

    @property
    def reserved(self) -> Tensor:
        """Dimensions that embeddings keep out of."""
        still = self.half - 1 - torch.arange(STILL)
        return torch.cat([self.phases, self.tune, still, still + self.half])

    @property
    def free(self) -> Tensor:
        """Dimensions that are not reserved."""
        left = torch.ones(self.width, dtype=torch.bool)
        left[self.reserved] = False
        return left.nonzero()[:, 0]

    def speed(self) -> Tensor:
        """Radians per position of the frequencies that are read."""
        return torch.exp(self.read * (-math.log(10_000) / (self.half - 1)))


@dataclass(frozen=True, eq=False)
class Known:
    """What is known before the first step.

    Args:
        tempos: beats per minute → token; tempos that are near begin alike.
        codebooks: the codec's vectors, (codebooks, entries, size).
        counts: how often each token is said, (codebooks, entries).
    """

    tempos: dict[int, int]
    codebooks: Tensor | None = None
    counts: Tensor | None = None


@torch.no_grad()
def prepare(
    network: MusicgenNetwork,
    melody_frames: int,
    text_length: int,
    known: Known,
    tune_rows: int,
    aligned: bool = True,
) -> None:
    """Give a network its first weights.

    Args:
        melody_frames, text_length: positions before the tokens, in this order.
        tune_rows: the first of the melody's rows, which heads hand on from the beginning.
        aligned: with the heads described above; without them for comparison.
    Raises:
        ValueError: the decoder is too narrow for the melody rows.
    """
    _scale(network)
    _order_tempos(network.text_encoder.get_input_embeddings().weight, known.tempos)
    if known.codebooks is not None:
        _embed_vectors(network, known.codebooks)
    if known.counts is not None:
        _expect(network, known.counts)
    if not aligned:
        return
    layers = network.decoder.model.decoder.layers
    plan = _planned(network, tune_rows)
    _clear(network, plan)
    rows = torch.arange(len(plan.tune))
    network.audio_enc_to_dec_proj.weight[plan.tune, rows] = ROW
    starts = {"tune": melody_frames + text_length, "before": 0}
    for layer, looks, larger in zip(layers, LOOKS, LARGER, strict=False):
        plan = replace(plan, spread=plan.spread * larger)
        layer.self_attn_layer_norm.bias[plan.phases] = 1 / plan.spread
        for head, look in enumerate(looks[: layer.self_attn.num_heads]):
            _look(layer.self_attn, head, look, plan, starts[look.at] - look.shift)
    plan = _planned(network, tune_rows)
    for head in range(CARRIERS):
        _carry(layers[0].self_attn, head, plan)


def _scale(network: MusicgenNetwork) -> None:
    """Matrices that keep the size of what they are given; residual branches begin small."""
    decoder = network.decoder.model.decoder
    width, depth = decoder.config.hidden_size, len(decoder.layers)
    for layer in decoder.layers:
        attention = layer.self_attn
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj, layer.fc1):
            nn.init.normal_(linear.weight, std=width**-0.5)
        for linear in (attention.out_proj, layer.fc2):
            nn.init.normal_(linear.weight, std=(2 * depth * linear.in_features) ** -0.5)
    for table in decoder.embed_tokens:
        nn.init.normal_(table.weight, std=0.5 / math.sqrt(len(decoder.embed_tokens)))
    for head in network.decoder.lm_heads:
        nn.init.normal_(head.weight, std=0.5 * width**-0.5)
    words, tune = network.enc_to_dec_proj, network.audio_enc_to_dec_proj
    nn.init.normal_(words.weight, std=0.5 * words.in_features**-0.5)
    nn.init.normal_(tune.weight, std=0.3)
    nn.init.zeros_(words.bias)
    nn.init.zeros_(tune.bias)


def _order_tempos(table: Tensor, tempos: dict[int, int]) -> None:
    """Embeddings of numbers along a smooth curve over the logarithm of the tempo."""
    if not tempos:
        return
    height = torch.log(torch.tensor(list(tempos), dtype=torch.float32))
    height = (height - height.min()) / (height.max() - height.min()).clamp(min=1e-6)
    bends = torch.cos(math.pi * height[:, None] * torch.arange(TEMPO_BENDS))
    curve = bends @ torch.randn(TEMPO_BENDS, table.shape[1])
    table[list(tempos.values())] = curve / curve.std() * table.std()


def _embed_vectors(network: MusicgenNetwork, codebooks: Tensor) -> None:
    """Embeddings and heads that are random projections of the tokens' vectors, and a little more.

    Every codebook has a projection of its own: they speak of different frames at a time.
    """
    tables, heads = network.decoder.model.decoder.embed_tokens, network.decoder.lm_heads
    for vectors, table, head in zip(codebooks, tables, heads, strict=True):
        middle = vectors - vectors.mean(dim=0)
        unit = middle / middle.std().clamp(min=1e-6)
        for weight in (table.weight, head.weight):
            projected = unit @ torch.randn(unit.shape[1], weight.shape[1])
            projected *= weight.std() / projected.std().clamp(min=1e-6)
            part = weight[: len(unit)]
            part.copy_(math.sqrt(1 - OWN_PART) * projected + math.sqrt(OWN_PART) * part)


def _expect(network: MusicgenNetwork, counts: Tensor) -> None:
    """Heads that say every token as often as it is said: a dimension that is one, times its log."""
    norm = network.decoder.model.decoder.layer_norm
    still = norm.weight.shape[0] // 2 - 1
    norm.weight[still], norm.bias[still] = 0.0, 1.0
    for count, head in zip(counts, network.decoder.lm_heads, strict=True):
        logs = torch.log(count.float() + 1)
        head.weight[:, still] = logs - logs.mean()


def _planned(network: MusicgenNetwork, rows: int) -> _Plan:
    decoder = network.decoder.model.decoder
    width = decoder.config.hidden_size
    half = width // 2
    moving = math.ceil(-math.log(CALM) * (half - 1) / math.log(10_000))
    if rows + STILL > half - moving:
        raise ValueError(f"{rows} melody rows need a wider decoder than {width}")
    count = min(decoder.layers[0].self_attn.head_dim // 2, moving, FREQUENCIES)
    read = torch.linspace(0, moving - 1, count).round().long()
    positions = decoder.embed_positions.weights[:600]
    content = 0.5**2 * (1 - (2 * count + rows + 2 * STILL) / width)  # of the embeddings
    spread = math.sqrt(float(positions.var(dim=1).mean()) + content)
    tune = width - 1 - STILL - torch.arange(rows)
    return _Plan(width, read, tune, spread)


def _clear(network: MusicgenNetwork, plan: _Plan) -> None:
    """Nothing else is written where heads read, nor where the tune is to stand."""
    decoder = network.decoder.model.decoder
    for table in decoder.embed_tokens:
        table.weight[:, plan.reserved] = 0
    network.enc_to_dec_proj.weight[plan.reserved] = 0
    network.audio_enc_to_dec_proj.weight[plan.reserved] = 0
    for layer in decoder.layers[: PHASED - 1]:
        layer.self_attn.out_proj.weight[plan.reserved] = 0
        layer.fc2.weight[plan.reserved] = 0


def _look(attention: Any, head: int, look: Look, plan: _Plan, back: float) -> None:  # noqa: ANN401
    """Make a head's scores a bell around the position `back` before the query's own.

    A bell is a sum of cosines of the distance, one for each frequency that is read, and a cosine of
    a difference is a product of phases: queries and keys.
    """
    size, count = attention.head_dim, len(plan.read)
    speed = plan.speed()
    # CONTRAST * bell of this width has, on its top, the curvature of the look's own.
    weights = speed * torch.exp(-((speed * look.spread) ** 2) * CONTRAST / 2)
    gain = plan.spread * (CONTRAST * weights / weights.sum() * math.sqrt(size)).sqrt()
    rows = slice(head * size, head * size + 2 * count)
    for matrix in (attention.k_proj.weight, attention.q_proj.weight):
        matrix[head * size : (head + 1) * size] = 0
    attention.k_proj.weight[rows] = _turned(plan, torch.zeros(count), gain)
    attention.q_proj.weight[rows] = _turned(plan, speed * back, gain)


def _turned(plan: _Plan, phase: Tensor, gain: Tensor) -> Tensor:
    """The matrix that reads cosines and sines of the position and turns them back by `phase`.

    The layer norm takes a mean off all dimensions. The difference to one that is always one undoes
    that, up to a constant, which the norm's bias adds.
    """
    count = len(plan.read)
    at = torch.arange(count)
    out = torch.zeros(2 * count, plan.width)
    out[at, plan.read] = out[count + at, plan.read + plan.half] = phase.cos() * gain
    out[at, plan.read + plan.half] = phase.sin() * gain
    out[count + at, plan.read] = -phase.sin() * gain
    out[:, plan.still] = -out.sum(dim=1)
    return out


def _carry(attention: Any, head: int, plan: _Plan) -> None:  # noqa: ANN401
    """A head that hands the melody rows on, each as a vector of its own in the free dimensions."""
    first = head * attention.head_dim
    own = slice(first, first + len(plan.tune))
    attention.v_proj.weight[first : first + attention.head_dim] = 0
    attention.v_proj.weight[own][torch.arange(len(plan.tune)), plan.tune] = plan.spread / ROW
    vectors = torch.randn(len(plan.free), len(plan.tune)) * CARRIED / math.sqrt(len(plan.free))
    attention.out_proj.weight[plan.free, own] = vectors
