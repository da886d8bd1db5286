"""Log-mel spectrograms as AudioLDM and its vocoder know them.

Source: Liu et al., "AudioLDM" (ICML 2023), preprocessing after Tacotron 2: magnitude (not power)
STFT with reflected edges, slaney mel filters, natural logarithm.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from voice2music.clip import Clip


@dataclass(frozen=True)
class MelSettings:
    """How a checkpoint's VAE and vocoder see sound. `rate`, `hop` and `bins` are the vocoder's.

    Args:
        rate: Hz.
        hop: samples between frames.
        bins: mel bands.
        n_fft: samples; also the length of the Hann window.
        fmin, fmax: Hz.
        floor: magnitudes below it are raised to it before the logarithm.
        peak: the waveform is brought to this peak first, as in AudioLDM's training data.
    """

    rate: int = 16_000
    hop: int = 160
    bins: int = 64
    n_fft: int = 1024
    fmin: float = 0.0
    fmax: float = 8_000.0
    floor: float = 1e-5
    peak: float = 0.5


def log_mel(clip: Clip, settings: MelSettings, frames: int) -> Tensor:
    """Natural-log mel magnitudes, shape (frames, bins), of `clip` levelled to the usual peak.

    Args:
        clip: any rate and channels; cut or padded with silence to `frames`.
        settings: as the checkpoint was trained.
        frames: how many, `settings.hop` samples each.
    """
    length = frames * settings.hop
    wave = clip.mono().resampled(settings.rate).samples[0, :length]
    samples = levelled(torch.tensor(wave), settings)
    samples = torch.nn.functional.pad(samples, (0, length - len(samples)))
    return log_mel_of(samples[None], settings)[0]


def levelled(samples: Tensor, settings: MelSettings) -> Tensor:
    """Samples, shape (n,), around zero and at the usual peak."""
    centred = samples - samples.mean()
    return centred / (centred.abs().max() + 1e-8) * settings.peak


def log_mel_of(samples: Tensor, settings: MelSettings) -> Tensor:
    """Natural-log mel magnitudes of levelled samples: (..., n) to (..., n / hop, bins).

    Args:
        samples: n is a multiple of the hop; edges are reflected.
        settings: as the checkpoint was trained.
    """
    magnitudes = magnitudes_of(samples, settings)
    mel = magnitudes @ mel_filters_of(settings).to(samples.device).T
    return mel.clamp(min=settings.floor).log()


def magnitudes_of(samples: Tensor, settings: MelSettings) -> Tensor:
    """STFT magnitudes: (..., n) to (..., n / hop, n_fft / 2 + 1).

    Args:
        samples, settings: as of `log_mel_of`.
    """
    window = torch.hann_window(settings.n_fft, device=samples.device)
    flat = samples.reshape(-1, samples.shape[-1])
    spectrum = torch.stft(
        flat, settings.n_fft, settings.hop, window=window, return_complex=True
    ).abs()  # (B, n_fft / 2 + 1, frames + 1): one frame is centred on the very end
    frames = samples.shape[-1] // settings.hop
    return spectrum[..., :frames].mT.reshape(*samples.shape[:-1], frames, -1)


@functools.lru_cache(maxsize=4)
def mel_filters_of(settings: MelSettings) -> Tensor:
    """Of a checkpoint, (bins, n_fft / 2 + 1)."""
    # Kept from call to call, so it must serve training even where playing asked for it first.
    with torch.inference_mode(False):
        return mel_filters(
            settings.n_fft, settings.bins, settings.rate, settings.fmin, settings.fmax
        )


def mel_filters(n_fft: int, bins: int, rate: int, fmin: float, fmax: float) -> Tensor:
    """Slaney mel filters with slaney norm (librosa's default), (bins, n_fft / 2 + 1)."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=n_fft // 2 + 1,
        num_mel_filters=bins,
        min_frequency=fmin,
        max_frequency=fmax,
        sampling_rate=rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.T.astype(np.float32))
