"""Discriminators that look at complex spectra of several window lengths.

After Défossez et al., "High Fidelity Neural Audio Compression", 2022, made light: the first layer
halves the frequencies, and spectra are compressed so that quiet partials count.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, leaky_relu, relu
from torch.nn.utils.parametrizations import weight_norm

from voice2music.training.spectral import magnitude, spectrum

COMPRESSION = 0.6  # magnitudes m become m ** (1 - COMPRESSION)
FEATURE_WEIGHT = 2.0  # of feature matching beside the verdict itself


class SpectrumRival(nn.Module):
    """One window length; kernels are (frequency, time)."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        widths = (2, channels, channels, 2 * channels, 2 * channels)
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(before, after, (5, 3), stride=(2, 1), padding=(2, dilation),
                          dilation=(1, dilation))
            )
            for before, after, dilation in zip(widths, widths[1:], (1, 1, 2, 4), strict=False)
        )  # fmt: skip
        self.verdict = weight_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, sound: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The verdict on every place (above 0: real), and what each layer saw."""
        with torch.autocast(sound.device.type, enabled=False):
            spectra = spectrum(sound.float(), self.get_buffer("window"))
            weight = magnitude(spectra) ** -COMPRESSION
            hidden = torch.stack((spectra.real * weight, spectra.imag * weight), dim=1)
        features = []
        for layer in self.layers:
            hidden = leaky_relu(layer(hidden), 0.2)
            features.append(hidden)
        return self.verdict(hidden), features


class SpectrumRivals(nn.Module):
    """Discriminators for several window lengths, with hinge losses and feature matching.

    Args:
        windows: lengths in samples.
        channels: of the first layers.
    """

    def __init__(self, windows: Sequence[int] = (2048, 1024, 512), channels: int = 16) -> None:
        super().__init__()
        self.rivals = nn.ModuleList(SpectrumRival(size, channels) for size in windows)

    def forward(self, real: Tensor, made: Tensor) -> Tensor:
        """What the rivals minimise; (batch, samples) each."""
        losses = []
        for rival in self.rivals:
            # One pass over both: the convolutions are busier, and they share the normalised weight.
            verdict = rival(torch.cat((real, made)))[0].float()
            of_real, of_made = verdict.chunk(2)
            losses.append(relu(1 - of_real).mean() + relu(1 + of_made).mean())
        return torch.stack(losses).mean()

    def praise(self, real: Tensor, made: Tensor) -> Tensor:
        """What the network minimises: to be taken for real, and to look so on the way."""
        losses = []
        for rival in self.rivals:
            verdict, got = rival(made)
            with torch.no_grad():
                wanted = rival(real)[1]
            losses.append(-verdict.float().mean() + FEATURE_WEIGHT * _unlike(wanted, got))
        return torch.stack(losses).mean()


def _unlike(wanted: list[Tensor], got: list[Tensor]) -> Tensor:
    """Mean distance of features, relative to their size."""
    pairs = [(a.float(), b.float()) for a, b in zip(wanted, got, strict=True)]
    return torch.stack([l1_loss(b, a) / (a.abs().mean() + 1e-6) for a, b in pairs]).mean()
