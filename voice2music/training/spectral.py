"""How far two sounds are apart as spectra: losses to train on and distances to report.

Magnitudes are scaled so that a sine of full scale has magnitude 1 at every window length; what lies
more than 80 dB below that is not heard in music and counts as equal.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from transformers.audio_utils import mel_filter_bank

WINDOWS = (2048, 1024, 512, 256, 128)  # samples; hops of a quarter
FLOOR = 1e-4  # -80 dB
LOWEST_BAND = 20.0  # Hz


def spectrum(sound: Tensor, window: Tensor) -> Tensor:
    """Complex spectra of (batch, samples): (batch, window / 2 + 1, frames), sines of 1 giving 1."""
    size = len(window)
    spectra = torch.stft(sound, size, size // 4, window=window, return_complex=True)
    return spectra * (2 / window.sum())


def magnitude(spectra: Tensor) -> Tensor:
    """Absolute values with a gradient everywhere, also at zero."""
    return (spectra.real.square() + spectra.imag.square() + FLOOR**2 / 100).sqrt()


def mel_bands(rate: int, size: int) -> Tensor:
    """Triangles of unit area on the mel scale, shape (window / 2 + 1, bands); 16 bins a band."""
    bands = mel_filter_bank(
        num_frequency_bins=size // 2 + 1,
        num_mel_filters=size // 16,
        min_frequency=LOWEST_BAND,
        max_frequency=rate / 2,
        sampling_rate=rate,
        norm=None,
        mel_scale="slaney",
    )
    made = torch.as_tensor(bands, dtype=torch.float32)
    # A band narrower than a bin may miss every bin; it takes the nearest one.
    empty = made.sum(dim=0) == 0
    centres = torch.linspace(0, 1, size // 16 + 2)[1:-1]
    for band in torch.flatten(torch.nonzero(empty)):
        made[int(centres[band] * size / 8), band] = 1.0
    return made / made.sum(dim=0, keepdim=True)


class SpectralLoss(nn.Module):
    """Log-mel L1, log-magnitude L1 and spectral convergence over several window lengths.

    Args:
        rate: Hz.
        windows: lengths in samples; a sound must be longer than half the longest.
    Source: Yamamoto et al., "Parallel WaveGAN", 2020 (magnitudes); Kumar et al., "High-Fidelity
        Audio Compression with Improved RVQGAN", 2023 (mel, many windows).
    """

    def __init__(self, rate: int, windows: Sequence[int] = WINDOWS) -> None:
        super().__init__()
        self._sizes = tuple(windows)
        for size in self._sizes:
            window = torch.hann_window(size)
            self.register_buffer(f"window{size}", window, persistent=False)
            self.register_buffer(f"bands{size}", mel_bands(rate, size), persistent=False)

    def forward(self, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        """ "mel", "log" and "convergence" of (batch, samples), each a mean over the windows.

        The first two are in nepers (1 is 8.7 dB), the third is relative.
        """
        with torch.autocast(real.device.type, enabled=False):
            terms = [self._at(size, real.float(), made.float()) for size in self._sizes]
        return {key: torch.stack([term[key] for term in terms]).mean() for key in terms[0]}

    def _at(self, size: int, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        window, bands = self.get_buffer(f"window{size}"), self.get_buffer(f"bands{size}")
        wanted = magnitude(spectrum(real, window))
        got = magnitude(spectrum(made, window))
        apart = torch.linalg.vector_norm(wanted - got, dim=(1, 2))
        return {
            "mel": l1_loss(_log_mel(got, bands), _log_mel(wanted, bands)),
            "log": l1_loss((got + FLOOR).log(), (wanted + FLOOR).log()),
            "convergence": (apart / (torch.linalg.vector_norm(wanted, dim=(1, 2)) + FLOOR)).mean(),
        }


def _log_mel(magnitudes: Tensor, bands: Tensor) -> Tensor:
    return (magnitudes.transpose(1, 2) @ bands + FLOOR).log()


def log_spectral_distance(real: Tensor, made: Tensor) -> float:
    """Root mean square difference of log spectra over the bins, mean over frames, in dB."""
    window = torch.hann_window(1024, device=real.device)
    levels = [20 * (magnitude(spectrum(sound, window)) + FLOOR).log10() for sound in (real, made)]
    return float((levels[0] - levels[1]).square().mean(dim=1).sqrt().mean())


def si_sdr(real: Tensor, made: Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, mean over (batch, samples).

    Source: Le Roux et al., "SDR - half-baked or well done?", 2019.
    """
    real, made = real - real.mean(-1, keepdim=True), made - made.mean(-1, keepdim=True)
    scale = (made * real).sum(-1, keepdim=True) / (real.square().sum(-1, keepdim=True) + 1e-12)
    target = scale * real
    ratio = target.square().sum(-1) / ((made - target).square().sum(-1) + 1e-12)
    return float((10 * (ratio + 1e-12).log10()).mean())
