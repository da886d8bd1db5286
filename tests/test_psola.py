import numpy as np
import pytest
from fixtures_hearing import hum, melody, noise, tune

from voice2music.clip import Clip
from voice2music.pitch import HOP, track
from voice2music.psola import resung
from voice2music.singer import Singer


def envelope(clip: Clip, seconds: float = 3.0) -> np.ndarray:
    """Mean spectrum in dB up to 4 kHz, smoothed over some 400 Hz: the vowel without the pitch."""
    samples = clip.samples[0, : round(seconds * clip.rate)]
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::256] * np.hanning(1024)
    power = np.square(np.abs(np.fft.rfft(frames))).mean(axis=0)[: 1024 * 4_000 // clip.rate]
    return 10 * np.log10(np.convolve(power, np.ones(13) / 13, "valid") + 1e-12)


def shifted(clip: Clip, semitones: float, stretch: float = 1.0) -> Clip:
    f0 = track(clip).f0.astype(float)
    source = np.arange(round(len(f0) * stretch)) * HOP / stretch
    at = np.minimum((source / HOP).astype(int), len(f0) - 1)
    return resung(clip, f0, f0[at] * 2 ** (semitones / 12), source)


@pytest.mark.parametrize("semitones", [-4, -1, 0, 1, 4])
def test_the_pitch_moves_as_asked(semitones):
    clip = hum(melody(2, 8), Singer(timbre="ah"))
    before, after = track(clip), track(shifted(clip, semitones))
    frames = min(len(before.f0), len(after.f0))
    moved = after.midi[:frames] - before.midi[:frames]
    assert np.nanmedian(moved) == pytest.approx(semitones, abs=0.05)
    assert np.nanpercentile(np.abs(moved - semitones), 90) < 0.2
    assert after.voiced.mean() > 0.95 * before.voiced.mean()


def test_the_vowel_stays_where_it_is():
    """Playing four semitones faster would move every formant by a quarter."""
    clip = hum(tune(50, 52, 50, 48, 50, 52), Singer(timbre="ah"))
    kept = np.abs(envelope(shifted(clip, 4)) - envelope(clip)).mean()
    faster = Clip(clip.samples, round(clip.rate * 2 ** (4 / 12))).resampled(clip.rate)
    assert kept < 3.0
    assert np.abs(envelope(faster) - envelope(clip)).mean() > 1.5 * kept


@pytest.mark.parametrize("stretch", [0.8, 1.0, 1.3])
def test_the_length_changes_and_the_pitch_does_not(stretch):
    clip = hum(tune(57, 57, 57, 57, gap=0.0))
    out = shifted(clip, 0, stretch)
    assert out.seconds == pytest.approx(clip.seconds * stretch, abs=0.011)
    assert np.nanmedian(track(out).midi) == pytest.approx(57, abs=0.1)


def test_noise_passes_unchanged():
    samples = (0.1 * noise(32_000)).astype(np.float32)
    out = resung(Clip(samples, 32_000), np.zeros(100), np.zeros(100), np.arange(100) * HOP)
    assert out.samples[0, 500:-500] == pytest.approx(samples[500:-500], abs=1e-5)


def test_the_level_stays():
    clip = hum(tune(55, 57, 59, 60))
    for semitones in (-3, 3):
        out = shifted(clip, semitones)
        ratio = np.sqrt(np.mean(out.samples**2) / np.mean(clip.samples**2))
        assert 20 * np.log10(ratio) == pytest.approx(0, abs=2.0)
        assert out.peak < 1.5 * clip.peak
