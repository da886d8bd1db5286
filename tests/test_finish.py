import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.clip import Clip, silence
from voice2music.finish import FADE_OUT, alignment, finished, fitted, mixed
from voice2music.loudness import integrated_loudness, true_peak
from voice2music.rhythm import steady

RATE = 44_100


def drums(tempo, first, seconds=12.0):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(round(seconds * RATE)).astype(np.float32) * 0.001
    hit = rng.standard_normal(2000) * np.exp(-np.arange(2000) / 400)
    for time in np.arange(first, seconds - 0.1, 60 / tempo):
        start = round(time * RATE)
        if start >= 0:
            x[start : start + 2000] += hit * 0.3
    return Clip(x, RATE)


def tone(seconds=3.0, rate=RATE, level=0.5):
    t = np.arange(round(seconds * rate)) / rate
    return Clip((level * np.sin(2 * np.pi * 440 * t)).astype(np.float32), rate)


@pytest.mark.parametrize("late", [-0.2, -0.11, 0.0, 0.13, 0.24])
def test_music_that_is_late_is_moved_back_onto_the_beat(late):
    grid = steady(110, 12.0)
    found = alignment(drums(110, 60 / 110 + late), grid)
    assert found.on_beat
    assert found.shift == pytest.approx(-late, abs=0.03)


def test_music_at_another_tempo_stays_and_is_reported():
    found = alignment(drums(83, 0.3), steady(120, 12.0))
    assert found.shift == 0
    assert not found.on_beat


def test_music_without_a_pulse_is_left_alone():
    assert alignment(tone(12), steady(120, 12.0)).shift == 0
    assert alignment(silence(12, RATE), steady(120, 12.0)).shift == 0


@given(seconds=st.floats(0.5, 5), shift=st.floats(-1, 1), rate=st.sampled_from([16000, 32000]))
@settings(max_examples=20, deadline=None)
def test_a_fitted_take_has_exactly_the_length_asked_and_starts_and_ends_at_zero(
    seconds, shift, rate
):
    out = fitted(tone(3, rate), seconds, shift)
    assert out.samples.shape == (2, round(seconds * RATE))
    assert np.abs(out.samples[:, [0, -1]]).max() < 1e-3


def test_moving_music_later_starts_it_with_silence():
    out = fitted(tone(3), 3.0, 0.5)
    assert np.abs(out.samples[:, : round(0.49 * RATE)]).max() == 0
    assert np.abs(out.samples[:, round(0.6 * RATE) : round(2.9 * RATE)]).max() > 0.4


def test_the_ends_are_click_free():
    # A cut sine's step would put energy far above 440 Hz; the fade keeps it below -60 dB.
    out = fitted(tone(3), 1.2345)
    tail = out.samples[0, -round((FADE_OUT + 0.05) * RATE) :]
    spectrum = np.abs(np.fft.rfft(tail * np.hanning(len(tail))))
    bins = np.fft.rfftfreq(len(tail), 1 / RATE)
    assert 20 * np.log10(spectrum[bins > 5000].max() / spectrum.max()) < -60


@pytest.mark.parametrize("shift", [-0.3, 0.3])
def test_music_that_was_moved_has_no_click_where_its_silence_begins(shift):
    # The tone is cut at its crests; unfaded it would jump by 0.5, faded not beyond its slope.
    quarter = 0.25 / 440
    out = fitted(tone(3.5).cut(quarter, 3 - quarter), 3 - 2 * quarter, shift).samples[0]
    slope = 0.5 * 2 * np.pi * 440 / RATE
    assert np.abs(np.diff(out)).max() < 1.2 * slope
    assert np.abs(out).max() > 0.4


@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 32_000, 48_000]),
    seconds=st.floats(3.0, 4.0),
)
@settings(max_examples=25, deadline=None)
def test_a_voice_at_any_rate_mixes_with_music_of_any_length(rate, seconds):
    music = fitted(tone(5), seconds)
    assert mixed(music, tone(3.5, rate), 0, 0).samples.shape == music.samples.shape


def test_a_finished_take_is_at_minus_14_lufs_below_minus_1_dbtp():
    band = drums(120, 0.1)
    out = finished(Clip(band.samples + tone(12, level=0.1).samples, RATE), 8.0)
    assert integrated_loudness(out) == pytest.approx(-14, abs=0.3)
    assert true_peak(out) <= -1 + 1e-3


def test_the_mix_obeys_its_levels():
    music, voice = fitted(tone(4, level=0.1), 4.0), drums(120, 0.1, 4.0)
    only_music = mixed(music, voice, 0, -80)
    balanced = mixed(music, voice, 0, 0)
    assert integrated_loudness(only_music) == pytest.approx(-14, abs=0.3)

    def share(clip):
        spectrum = np.abs(np.fft.rfft(clip.samples[0])) ** 2
        bins = np.fft.rfftfreq(clip.samples.shape[1], 1 / RATE)
        return spectrum[(bins > 430) & (bins < 450)].sum() / spectrum.sum()

    assert share(only_music) > 0.99
    assert 0.05 < share(balanced) < 0.95


def test_a_silent_voice_leaves_the_music():
    music = fitted(tone(4), 4.0)
    out = mixed(music, silence(4, 16_000), 0, 0)
    assert integrated_loudness(out) == pytest.approx(-14, abs=0.3)
