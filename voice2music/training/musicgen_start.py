"""Where a MusicGen begins: with heads that already look at the right place.

Positions are sinusoids, and a linear map moves a sinusoid along by a constant. The tokens at time t
stand a constant number of positions behind the melody frame of time t, since the melody (as fast as
the codec) and the text (of one length) stand before them. So a query matrix that turns the phases
back by that number, and a key matrix that leaves them alone, make a head that looks exactly there;
other numbers give heads that look at the tokens just before, or at the text. Learnt from nothing,
that alignment takes most of a short training; given, following the tune is left to learn.

For that to hold at the beginning, the phases that heads read are kept free of anything else: what
is embedded, and what the first layers add, keeps to other dimensions.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from voice2music.training.musicgen_network import MusicgenNetwork

PHASED: Final = 2  # layers that begin with such heads
CALM: Final = 0.01  # rad per position; slower phases hardly move over a whole window
STILL: Final = 4  # of the slowest dimensions that nothing is written to
CONTRAST: Final = 10.0  # score where a head looks, over the score of everywhere else
TUNE_BENDS: Final = 8  # cosines that a tempo's first embedding is made of


@dataclass(frozen=True)
class Look:
    """Where one head looks.

    Args:
        at: "tune": the melody at the time of the tokens that are to be said; "before": the tokens
            themselves; "words": the beginning of the text.
        shift: positions from there; later is positive.
        spread: standard deviation of where it looks, in positions.
    """

    at: str
    shift: float
    spread: float


LOOKS: Final = (
    (Look("tune", 0, 0.7), Look("tune", 3, 1.5), Look("before", -1, 0.7), Look("words", 8, 7.0)),
    (Look("tune", -4, 2.0), Look("before", -3, 1.0)),
)
CARRIERS: Final = 2  # the first heads of the first layer hand the melody rows on as they are


@dataclass(frozen=True, eq=False)
class _Plan:
    """Dimensions of the hidden states: the first half are cosines of positions, then the sines.

    Args:
        width: of the hidden states.
        read: frequencies (numbers into either half) that heads read.
        tune: sines, nearly still, that hold the melody rows.
        spread: what the layer norm divides by, about.
        mean: what it takes off, about.
    """

    width: int
    read: Tensor
    tune: Tensor
    spread: float
    mean: float

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
        return torch.cat([self.phases, self.tune, self.tune - self.half, still, still + self.half])

    def speed(self) -> Tensor:
        """Radians per position of the frequencies that are read."""
        return torch.exp(self.read * (-math.log(10_000) / (self.half - 1)))


@torch.no_grad()
def prepare(
    network: MusicgenNetwork,
    melody_frames: int,
    text_length: int,
    tempos: dict[int, int],
    aligned: bool = True,
) -> None:
    """Give a network its first weights.

    Args:
        melody_frames, text_length: positions before the tokens, in this order.
        tempos: beats per minute → token; tempos that are near begin alike.
        aligned: with the heads described above; without them for comparison.
    Raises:
        ValueError: the decoder is too narrow for the melody rows.
    """
    _scale(network)
    _order_tempos(network.text_encoder.get_input_embeddings().weight, tempos)
    if not aligned:
        return
    layers = network.decoder.model.decoder.layers
    plan = _planned(network)
    _clear(network, plan)
    rows = torch.arange(len(plan.tune))
    network.audio_enc_to_dec_proj.weight[plan.tune, rows] = 1.0
    starts = {"tune": melody_frames + text_length, "before": 0, "words": -melody_frames}
    for layer, looks in zip(layers, LOOKS, strict=False):
        layer.self_attn_layer_norm.bias[plan.phases] = 1 / plan.spread
        for head, look in enumerate(looks[: layer.self_attn.num_heads]):
            _look(layer.self_attn, head, look, plan, starts[look.at] - look.shift)
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
    bends = torch.cos(math.pi * height[:, None] * torch.arange(TUNE_BENDS))
    curve = bends @ torch.randn(TUNE_BENDS, table.shape[1])
    table[list(tempos.values())] = curve / curve.std() * table.std()


def _planned(network: MusicgenNetwork) -> _Plan:
    decoder = network.decoder.model.decoder
    width, rows = decoder.config.hidden_size, network.audio_enc_to_dec_proj.in_features
    half = width // 2
    moving = math.ceil(-math.log(CALM) * (half - 1) / math.log(10_000))
    if rows + STILL > half - moving:
        raise ValueError(f"{rows} melody rows need a wider decoder than {width}")
    count = min(decoder.layers[0].self_attn.head_dim // 2, moving)
    read = torch.linspace(0, moving - 1, count).round().long()
    positions = decoder.embed_positions.weights[:600]
    content = 0.5**2 * (1 - 2 * (count + rows + STILL) / width)  # of the embeddings
    spread = math.sqrt(float(positions.var(dim=1).mean()) + content)
    tune = width - 1 - STILL - torch.arange(rows)
    return _Plan(width, read, tune, spread, float(positions.mean()))


def _clear(network: MusicgenNetwork, plan: _Plan) -> None:
    """Nothing else is written where heads read, nor where the tune is to stand."""
    decoder = network.decoder.model.decoder
    for table in decoder.embed_tokens:
        table.weight[:, plan.reserved] = 0
    network.enc_to_dec_proj.weight[plan.reserved] = 0
    network.audio_enc_to_dec_proj.weight.zero_()
    for layer in decoder.layers[: PHASED - 1]:
        layer.self_attn.out_proj.weight[plan.reserved] = 0
        layer.fc2.weight[plan.reserved] = 0


def _look(attention: Any, head: int, look: Look, plan: _Plan, back: float) -> None:  # noqa: ANN401
    """Make a head's scores a bell around the position `back` before the query's own.

    A bell is a sum of cosines of the distance, one for each frequency that is read, and a cosine of
    a difference is a product of phases: queries and keys. A look at the words goes to one place
    whatever the query's own position is: `back` then counts from position 0.
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
    if look.at == "words":
        there = torch.cat([(speed * back).cos() * gain, -(speed * back).sin() * gain])
        attention.q_proj.weight[rows, plan.still] = there / (1 - plan.mean)
    else:
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
    """A head that hands the melody rows on as they are, each to dimensions of its own."""
    first = head * attention.head_dim
    own = first + torch.arange(len(plan.tune))
    attention.v_proj.weight[first : first + attention.head_dim] = 0
    attention.v_proj.weight[own, plan.tune] = plan.spread
    attention.out_proj.weight[:, first : first + attention.head_dim] = 0
    attention.out_proj.weight[plan.tune - head * plan.half, own] = 1.0
