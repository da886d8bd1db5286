"""Noise off a voice: less noise, the same voice, and never a hum taken for noise."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.clip import Clip, read
from voice2music.denoising import denoise
from voice2music.errors import Cancelled
from voice2music.notes import Note
from voice2music.pitch import track
from voice2music.singer import sing

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "vocals"
needs_recordings = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")


def si_sdr(estimate: Clip, reference: Clip) -> float:
    """Scale-invariant signal-to-distortion ratio, dB (Le Roux et al. 2019)."""
    e, r = (clip.mono().samples[0].astype(float) for clip in (estimate, reference))
    target = (e @ r) / (r @ r) * r
    return float(10 * np.log10((target @ target) / ((e - target) @ (e - target))))


def noisy(voice: Clip, level: float, seed: int = 1) -> Clip:
    """White noise, `level` dB under the voice's mean power."""
    noise = np.random.default_rng(seed).standard_normal(voice.samples.shape)
    gain = np.sqrt(np.mean(voice.samples**2) / np.mean(noise**2)) * 10 ** (-level / 20)
    return Clip(voice.samples + gain * noise, voice.rate)


def hum(midi=(57, 59, 60, 62, 64, 62), gap: float = 0.4) -> Clip:
    notes = [Note(i * 1.0, i * 1.0 + 1.0 - gap, pitch) for i, pitch in enumerate(midi)]
    return sing(notes, seconds=len(midi) * 1.0)


def on_pitch(clip: Clip, reference: Clip) -> float:
    """Share of the reference's sung frames that are within 50 cents in `clip`."""
    sung, f0 = track(reference.mono()), track(clip.mono()).f0
    away = 1200 * np.abs(np.log2(np.maximum(f0[sung.voiced], 1) / sung.f0[sung.voiced]))
    return float(np.mean(away < 50))


@pytest.mark.parametrize("level", [0, 10, 20])
@pytest.mark.parametrize("gap", [0.0, 0.4])
def test_a_noisy_hum_comes_out_cleaner_and_on_pitch(level, gap):
    voice = hum(gap=gap)
    before = noisy(voice, level)
    after = denoise(before)
    assert after.samples.shape == before.samples.shape
    assert si_sdr(after, voice) > si_sdr(before, voice) + 5
    assert on_pitch(after, voice) > 0.95


def test_a_clean_hum_is_left_as_it_is():
    """DeepFilterNet gave back 3 to minus 22 dB of these; that is why it is not used."""
    voice = hum()
    assert si_sdr(denoise(voice), voice) > 25


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_one_held_note_without_any_pause_is_not_taken_for_noise(seconds):
    rate = 44_100
    t = np.arange(round(seconds * rate)) / rate
    held = Clip(sum(0.3 / k * np.sin(2 * np.pi * 220 * k * t) for k in range(1, 8)), rate)
    assert si_sdr(denoise(held), held) > 20
    assert si_sdr(denoise(noisy(held, 5)), held) > 15


def test_what_is_left_of_pure_noise_is_quieter():
    noise = Clip(0.1 * np.random.default_rng(0).standard_normal(44_100), 44_100)
    after = denoise(noise)
    assert np.mean(after.samples**2) < 0.5 * np.mean(noise.samples**2)


def test_noise_in_the_pauses_goes_down_by_ten_decibels_at_least():
    voice = hum()
    after = denoise(noisy(voice, 10))
    pause = slice(round(0.75 * voice.rate), round(0.85 * voice.rate))
    before = noisy(voice, 10).samples[0, pause]
    assert np.mean(after.samples[0, pause] ** 2) < 0.1 * np.mean(before**2)


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(1, 30_000),
    rate=st.sampled_from([4000, 8000, 16_000, 22_050, 44_100, 48_000, 96_000]),
    channels=st.integers(1, 3),
    loudness=st.sampled_from([0.0, 1e-9, 1e-3, 1.0, 16.0]),
)
def test_length_rate_and_channels_are_kept_whatever_comes(length, rate, channels, loudness):
    samples = np.random.default_rng(length).standard_normal((channels, length)) * loudness
    clip = Clip(samples, rate)
    after = denoise(clip)
    assert (after.samples.shape, after.rate) == (clip.samples.shape, rate)
    assert after.peak <= 2 * clip.peak + 1e-12


def test_both_channels_are_treated_alike():
    voice = noisy(hum(), 10)
    both = Clip(np.concatenate([voice.samples, 0.5 * voice.samples]), voice.rate)
    after = denoise(both)
    assert np.allclose(after.samples[1], 0.5 * after.samples[0], atol=1e-6)


def test_it_stops_when_it_is_cancelled():
    with pytest.raises(Cancelled):
        denoise(hum(), cancelled=lambda: True)


@needs_recordings
def test_real_singing_in_real_rain_comes_out_cleaner():
    rain = read(SHARED / "derived" / "noisy_vocadito_1a_rain10.flac")
    voice = read(SHARED / "vocadito_1a_tagalog.flac")
    after = denoise(rain)
    assert si_sdr(after, voice) > si_sdr(rain, voice) + 5
    assert on_pitch(after, voice) > 0.97
