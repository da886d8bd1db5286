"""EnCodec's decoder run piece by piece: the same samples as all at once, but while they are made.

Only its LSTM remembers; its state is carried on. The convolutions see a few frames to either side,
so each piece is computed with some frames of context that are then cut away.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecLSTM

CONTEXT = 8  # frames; the convolutions before the LSTM reach 6 at most, those after it fewer


def codec_mark(codec: EncodecModel) -> str:
    """A short hash of a codec's weights: two checkpoints with one mark write the same tokens."""
    digest = hashlib.sha256()
    for name, value in sorted(codec.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def near_processor(codec: EncodecModel) -> None:
    """Keep the sizes that its convolutions reckon with here, wherever the codec is moved to.

    As the library's buffers they would go to a graphics card and be asked for there four times a
    convolution; each time the processor would wait until the card has done all it was given.
    """
    for module in codec.modules():
        if isinstance(module, EncodecConv1d):
            for name in ("stride", "kernel_size", "padding_total"):
                size = getattr(module, name)
                delattr(module, name)
                setattr(module, name, size)


class PieceDecoder:
    """Turns codes into sound as they come.

    Args:
        codec: with weight normalisation (a normalisation over time would see the whole piece).
        channels: 1, or 2 for codebooks that alternate left and right.
    """

    def __init__(self, codec: EncodecModel, channels: int = 1) -> None:
        self._codec = codec
        self._channels = channels
        layers = list(codec.decoder.layers)
        at = next(i for i, layer in enumerate(layers) if isinstance(layer, EncodecLSTM))
        self._before: list[nn.Module] = layers[:at]
        self._lstm: nn.LSTM = layers[at].lstm
        self._after: list[nn.Module] = layers[at + 1 :]
        self._state: tuple[Tensor, Tensor] | None = None
        self._remembered: Tensor | None = (
            None  # the LSTM's output so far, (channels, width, frames)
        )
        self._heard = 0  # frames already given out
        self._given: list[NDArray[np.float32]] = []

    def whole(self) -> NDArray[np.float32]:
        """All that was given out, shape (channels, samples)."""
        return np.concatenate(self._given, axis=1)

    @torch.inference_mode()
    def push(self, codes: Tensor, final: bool = False) -> NDArray[np.float32]:
        """The sound that can be known by now and was not given out before.

        Args:
            codes: all complete frames from the start on, shape (codebooks, frames).
            final: no more will come; everything that is left is given out.
        Returns:
            float32, shape (channels, samples); a whole number of frames, perhaps none.
        """
        frames = codes.shape[1]
        self._remember(codes, frames if final else max(0, frames - CONTEXT))
        done = 0 if self._remembered is None else self._remembered.shape[-1]
        end = done if final else max(self._heard, done - CONTEXT)
        hop = self._codec.config.hop_length
        if end <= self._heard or self._remembered is None:
            return np.zeros((self._channels, 0), np.float32)
        first = max(0, self._heard - CONTEXT)
        hidden = self._remembered[..., first : end + CONTEXT]
        for layer in self._after:
            hidden = layer(hidden)
        piece = hidden[:, 0, (self._heard - first) * hop : (end - first) * hop]
        self._heard = end
        self._given.append(piece.float().cpu().numpy())
        return self._given[-1]

    def _remember(self, codes: Tensor, end: int) -> None:
        """Run everything up to and with the LSTM on to frame `end`."""
        done = 0 if self._remembered is None else self._remembered.shape[-1]
        if end <= done:
            return
        first = max(0, done - CONTEXT)
        quantised = self._codec.quantizer.decode(self._books(codes[:, first:]))
        for layer in self._before:
            quantised = layer(quantised)
        fresh = quantised[..., done - first : end - first]
        out, self._state = self._lstm(fresh.permute(2, 0, 1), self._state)
        out = out.permute(1, 2, 0) + fresh
        parts = [out] if self._remembered is None else [self._remembered, out]
        self._remembered = torch.cat(parts, dim=-1)

    def _books(self, codes: Tensor) -> Tensor:
        """As the quantiser wants it: (codebooks per channel, channels, frames)."""
        per_channel = codes.shape[0] // self._channels
        books = codes.reshape(per_channel, self._channels, codes.shape[1])
        return books.to(self._codec.device)
