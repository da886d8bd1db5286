import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.clip import Clip, silence
from voice2music.loudness import integrated_loudness, limited, normalised, true_peak


def tone(hz: float, level: float = 0.0, seconds: float = 3.0, rate: int = 48_000) -> Clip:
    t = np.arange(round(seconds * rate)) / rate
    return Clip((10 ** (level / 20) * np.sin(2 * np.pi * hz * t)).astype(np.float32), rate)


def test_a_full_scale_997_hz_sine_in_one_channel_is_minus_3_01_lkfs():
    # ITU-R BS.1770-4: "If a 0 dB FS, 997 Hz sine wave is applied ..., the indicated loudness will
    # equal -3.01 LKFS".
    assert integrated_loudness(tone(997)) == pytest.approx(-3.01, abs=0.02)


@given(gain=st.floats(-40, 0))
@settings(max_examples=10, deadline=None)
def test_a_gain_in_db_is_the_same_gain_in_lufs(gain):
    quiet = tone(997, gain - 6)
    assert integrated_loudness(quiet) == pytest.approx(-9.01 + gain, abs=0.02)


def test_silence_is_minus_infinity_and_stays_silence():
    quiet = silence(1, 44_100)
    assert integrated_loudness(quiet) == -np.inf
    assert true_peak(quiet) == -np.inf
    assert np.array_equal(normalised(quiet).samples, quiet.samples)


def test_a_clip_shorter_than_a_gating_block_is_measured():
    assert integrated_loudness(tone(997, -10, seconds=0.1)) == pytest.approx(-13.01, abs=0.3)


def test_true_peak_sees_between_samples():
    # A sine at a quarter of the rate with 45 degrees phase: samples at 0.707, true peak at 1.
    t = np.arange(48_000)
    clip = Clip(np.sin(2 * np.pi * t / 4 + np.pi / 4).astype(np.float32), 48_000)
    assert clip.peak == pytest.approx(0.7071, abs=1e-3)
    assert true_peak(clip) == pytest.approx(0.0, abs=0.3)


@given(seed=st.integers(0, 1000), crest=st.floats(1, 30))
@settings(max_examples=15, deadline=None)
def test_normalised_reaches_the_target_under_the_ceiling(seed, crest):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 44_100 * 2)) * 0.01
    x[:, rng.integers(0, x.shape[1], 30)] *= crest
    out = normalised(Clip(x.astype(np.float32), 44_100))
    assert true_peak(out) <= -1.0 + 1e-3
    assert integrated_loudness(out) == pytest.approx(-14, abs=0.5)


def test_the_limiter_leaves_quiet_sound_alone():
    quiet = tone(440, -6)
    assert limited(quiet) is quiet
