"""Magnitudes to sound: against librosa and torch's own STFT, and in chunks against the whole."""

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from voice2music.engines.phases import _nearest, phased, phased_in_chunks
from voice2music.engines.spectrogram import MelSettings

SETTINGS = [MelSettings(n_fft=512, hop=128), MelSettings(n_fft=512, hop=100)]


def music(seconds: float = 3.0, rate: int = 8_000) -> Tensor:
    """A gliding tone with overtones, and clicks."""
    time = torch.arange(round(seconds * rate)) / rate
    phase = 2 * torch.pi * (200 * time + 30 * time**2)
    sound = sum(torch.sin(k * phase) / k for k in range(1, 8))
    sound[:: rate // 3] += 2.0
    return 0.1 * sound


def magnitudes(sound: Tensor, settings: MelSettings) -> Tensor:
    window = torch.hann_window(settings.n_fft)
    sound = sound[: len(sound) // settings.hop * settings.hop]
    return torch.stft(sound, settings.n_fft, settings.hop, window=window, return_complex=True).abs()


def decibels(one: Tensor, other: Tensor) -> float:
    """Power of one over that of their difference."""
    return float(10 * torch.log10(one.square().sum() / (one - other).square().sum()))


@pytest.mark.parametrize("settings", SETTINGS)
def test_no_round_is_the_inverse_transform_of_the_first_phases(settings: MelSettings) -> None:
    """A steady tone turns by its frequency: the first phases alone give it back."""
    rate = settings.n_fft * 16
    tone = torch.sin(2 * torch.pi * 440.0 * torch.arange(rate) / rate)
    wanted = magnitudes(tone, settings)
    made = phased(wanted, settings, rounds=0)
    assert len(made) == (wanted.shape[1] - 1) * settings.hop
    inside = slice(settings.n_fft * 2, -settings.n_fft * 2)
    spectrum = np.abs(np.fft.rfft(made[inside].numpy() * np.hanning(len(made[inside]))))
    heard = spectrum.argmax() * rate / len(made[inside])
    assert heard == pytest.approx(440.0, abs=rate / len(made[inside]))
    assert float(made[inside].std()) == pytest.approx(float(tone.std()), rel=0.05)


def plain(wanted: Tensor, settings: MelSettings, rounds: int) -> Tensor:
    """Fast Griffin-Lim from our first phases, by torch's own transforms."""
    window, shape = torch.hann_window(settings.n_fft), (settings.n_fft, settings.hop)
    sound = phased(wanted, settings, rounds=0)
    before = torch.zeros_like(wanted)
    for _ in range(rounds):
        now = torch.stft(sound, *shape, window=window, return_complex=True)
        unit = torch.polar(torch.ones_like(wanted), (now - 0.99 / 1.99 * before).angle())
        sound = torch.istft(wanted * unit, *shape, window=window, length=len(sound))
        before = now
    return sound


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("rounds", [1, 2, 8])
def test_rounds_are_those_of_a_plain_loop(settings: MelSettings, rounds: int) -> None:
    """But for rounding, which grows with every round."""
    wanted = magnitudes(music(), settings)
    made = phased(wanted, settings, rounds=rounds)
    assert made.std() > 0.05
    assert decibels(plain(wanted, settings, rounds), made) > 80


def test_it_lacks_less_than_librosas_rounds_from_random_phases() -> None:
    settings = SETTINGS[0]
    wanted = magnitudes(music(), settings)
    theirs = librosa.griffinlim(
        wanted.numpy(), n_iter=8, hop_length=settings.hop, n_fft=settings.n_fft, momentum=0.99,
        random_state=0,
    )  # fmt: skip
    ours = phased(wanted, settings, rounds=8)
    assert lacking(ours, wanted, settings) < lacking(torch.tensor(theirs), wanted, settings)


def lacking(sound: Tensor, wanted: Tensor, settings: MelSettings) -> float:
    """Spectral convergence: 0 where a sound has just these magnitudes."""
    made = magnitudes(sound, settings)
    return float((made - wanted).norm() / wanted.norm())


def test_more_rounds_lack_less() -> None:
    wanted = magnitudes(music(), SETTINGS[0])
    left = [lacking(phased(wanted, SETTINGS[0], rounds=n), wanted, SETTINGS[0]) for n in (0, 8, 32)]
    assert left[0] > 1.2 * left[1]
    assert left[1] > left[2]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("chunk", [40, 63, 150])
def test_chunks_are_the_same_as_the_whole_seams_and_all(settings: MelSettings, chunk: int) -> None:
    wanted = magnitudes(music(), settings).mT
    parts: list[int] = []

    def of(first: int, last: int) -> Tensor:
        parts.append(last - first)
        return wanted[first:last]

    whole = phased_in_chunks(of, len(wanted), settings, rounds=4, chunk=10_000)
    shares: list[float] = []
    joined = phased_in_chunks(of, len(wanted), settings, shares.append, rounds=4, chunk=chunk)
    assert whole.std() > 0.05
    assert decibels(whole, joined) > 80
    assert (whole - joined).abs().max() < 1e-4
    assert max(parts[1:]) < parts[0]
    assert shares == sorted(shares)
    assert len(shares) == 4 * (len(parts) - 1)


def test_of_two_peaks_as_near_the_lower_one_counts() -> None:
    peak = np.zeros((3, 7), bool)
    peak[0, [1, 5]] = True
    peak[1, 3] = True
    assert _nearest(peak).tolist() == [[1, 1, 1, 1, 5, 5, 5], [3] * 7, [0] * 7]


def test_frames_without_a_peak_are_silence_and_no_error() -> None:
    made = phased(torch.zeros(257, 50), SETTINGS[0], rounds=2)
    assert made.shape == (49 * 128,)
    assert not made.any()
