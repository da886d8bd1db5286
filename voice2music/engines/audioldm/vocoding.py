"""Log-mel to waveform with SpeechT5HifiGan, in chunks, so that memory does not grow with length."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

CHUNK = 1024  # mel frames; 10.24 s at AudioLDM's 100 frames a second


@torch.no_grad()
def waveform(
    vocoder: "SpeechT5HifiGan",
    mel: Tensor,
    go_on: Callable[[float], None] = lambda share: None,
    chunk: int = CHUNK,
) -> Tensor:
    """Samples of a log-mel spectrogram, the same as in one piece.

    Args:
        vocoder: SpeechT5HifiGan.
        mel: natural log, shape (frames, bins).
        go_on: called with the share done before each chunk; may raise `Cancelled`.
        chunk: frames at a time, beside the margin that the network looks at.
    Returns:
        Shape (frames * hop,), within ±1.
    """
    hop, margin = math.prod(vocoder.config.upsample_rates), reach(vocoder.config)
    out = []
    for start in range(0, len(mel), chunk):
        go_on(start / len(mel))
        end = min(start + chunk, len(mel))
        first, last = max(0, start - margin), min(len(mel), end + margin)
        samples = vocoder(mel[first:last])
        out.append(samples[(start - first) * hop :][: (end - start) * hop])
    return torch.cat(out)


def reach(config: "SpeechT5HifiGanConfig") -> int:
    """Frames to either side that a sample of HiFi-GAN's output depends on, at most."""
    frames = 3.0 + 1.0  # the first convolution, 7 wide; rounding
    rate = 1
    for factor, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        frames += kernel / rate / factor
        rate *= factor
        frames += (
            max(
                # each dilated convolution is followed by one without dilation
                sum((size - 1) / 2 * (dilation + 1) for dilation in dilations)
                for size, dilations in zip(
                    config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
                )
            )
            / rate
        )
    return math.ceil(frames + 3 / rate)
