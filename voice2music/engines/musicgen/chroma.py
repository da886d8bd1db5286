"""Chroma of raw audio, as MusicGen-Melody's own feature extractor computes it.

The library's extractor needs torchaudio; this is the same recipe with torch alone, bit for bit:
power spectrum (periodic Hann window, centred, reflected edges), chroma filters weighted around the
fifth octave, the largest of the twelve per frame as one-hot.

It hears whatever is loudest (drums, bass, room), in A4 = 440 Hz, and takes silence for a C. The
engine conditions on the tracked tune instead (`rows`); this is kept to compare the two.
"""

import torch
from torch import Tensor
from transformers.audio_utils import chroma_filter_bank

from voice2music.clip import Clip


def plain_chroma(clip: Clip, rate: int, n_fft: int, hop_length: int) -> Tensor:
    """One-hot chroma of a recording, C first, shape (1 + samples // hop_length, 12).

    Args:
        clip: any rate and channels; averaged to one channel and resampled to `rate`.
        rate: Hz that the model's extractor works at.
        n_fft: length of the window in samples; a shorter clip is padded to it on both sides.
        hop_length: samples between frames.
    """
    samples = torch.from_numpy(clip.mono().resampled(rate).samples[0].copy())
    if (short := n_fft - len(samples)) > 0:
        samples = torch.nn.functional.pad(samples, (short // 2, short - short // 2))
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(samples, n_fft, hop_length, window=window, return_complex=True)
    power = (spectrum / window.pow(2).sum().sqrt()).abs().pow(2)
    filters = torch.from_numpy(
        chroma_filter_bank(num_frequency_bins=n_fft, num_chroma=12, sampling_rate=rate)
    ).float()
    strongest = torch.nn.functional.normalize(filters @ power, p=float("inf"), dim=0, eps=1e-6)
    return torch.nn.functional.one_hot(strongest.argmax(dim=0), 12).float()
