"""Phases block by block: as near as all at once, and never taken back."""

import math

import pytest
import torch

from voice2music.engines.phases import phased
from voice2music.engines.phases_onward import PhasesOnward
from voice2music.engines.spectrogram import MelSettings

RATE, HOP, SIZE = 16_000, 160, 1024
SETTINGS = MelSettings(rate=RATE, hop=HOP, n_fft=SIZE)


def music(seconds: float = 3.0) -> torch.Tensor:
    """Chords with attacks over a little noise."""
    time = torch.arange(round(seconds * RATE)) / RATE
    sound = 0.01 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    for i, pitch in enumerate((220.0, 277.2, 329.6, 440.0, 554.4, 659.3)):
        beat = (time - 0.25 * (i % 3)) % 0.75
        sound += 0.2 * torch.exp(-3 * beat) * torch.sin(2 * math.pi * pitch * time + i)
    return sound[: len(sound) // HOP * HOP]


def spectrum(sound: torch.Tensor) -> torch.Tensor:
    """Magnitudes, shape (frames, bins)."""
    window = torch.hann_window(SIZE)
    return torch.stft(sound, SIZE, HOP, window=window, return_complex=True).abs().T


def onward(magnitudes: torch.Tensor, first: int, block: int, ahead: int) -> torch.Tensor:
    """All blocks, one after the other."""
    phases, count, start, pieces = PhasesOnward(SETTINGS), len(magnitudes) - 1, 0, []
    while start < count:
        end = min(count, start + (block if start else first))
        begun = phases.behind if start else 0
        known = magnitudes[start - begun : min(count, end + ahead) + 1]
        pieces.append(phases.block(known, begun, end - start))
        start = end
    return torch.cat(pieces)


def off(sound: torch.Tensor, wanted: torch.Tensor) -> float:
    """Spectral convergence in dB."""
    return float(20 * torch.log10((spectrum(sound) - wanted).norm() / wanted.norm()))


@pytest.mark.parametrize(("first", "block", "ahead"), [(48, 128, 12), (48, 64, 12), (20, 40, 8)])
def test_blocks_come_as_near_as_the_whole(first: int, block: int, ahead: int) -> None:
    wanted = spectrum(music())
    whole, blocks = off(phased(wanted.T, SETTINGS), wanted), off(
        onward(wanted, first, block, ahead), wanted
    )  # fmt: skip
    assert whole < -20
    assert blocks < whole + 1
    noise = torch.randn(len(music()), generator=torch.Generator().manual_seed(1))
    assert off(noise, wanted) > -3  # the floor


def test_seams_are_not_heard() -> None:
    """The spectra around seams are no worse than elsewhere, and nothing clicks there."""
    wanted = spectrum(music())
    sound = onward(wanted, 48, 32, 12)
    wrong = (spectrum(sound) - wanted).norm(dim=1) / wanted.norm(dim=1)
    seams = torch.arange(48, len(wanted) - 8, 32)
    inner = torch.arange(64, len(wanted) - 8, 32)
    assert float(wrong[seams].mean()) < 1.5 * float(wrong[inner].mean()) + 0.01
    steps = sound.diff().abs()
    assert float(steps[seams * HOP - 1].max()) < 1.5 * float(steps.quantile(0.999))


def test_what_was_given_out_does_not_depend_on_what_comes_later() -> None:
    wanted = spectrum(music())
    other = wanted.clone()
    other[200:] = wanted[200:].flip(0)
    one, two = (onward(m, 48, 64, 12) for m in (wanted, other))
    same = 176 * HOP  # the last block that ends twelve frames before the change
    assert torch.equal(one[:same], two[:same])
    assert not torch.allclose(one[same + 64 * HOP :], two[same + 64 * HOP :], atol=1e-2)
