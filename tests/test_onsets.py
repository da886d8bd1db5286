import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.clip import Clip, silence
from voice2music.onsets import beat_f_measure, onset_strength, pulse

RATE = 22_050


def clicks(times, seconds=10.0):
    x = np.zeros(round(seconds * RATE), np.float32)
    burst = np.random.default_rng(0).standard_normal(400) * np.exp(-np.arange(400) / 60)
    for time in times:
        start = round(time * RATE)
        x[start : start + 400] += burst[: len(x) - start]
    return Clip(x * 0.3, RATE)


@pytest.mark.parametrize("tempo", [70, 100, 133])
def test_the_pulse_of_a_metronome_is_its_clicks(tempo):
    times = np.arange(0.37, 9.8, 60 / tempo)
    found = pulse(onset_strength(clicks(times)), tempo)
    assert mir_eval.beat.f_measure(times, found, 0.03) > 0.9


def test_the_strongest_frames_are_the_attacks():
    strength = onset_strength(clicks([1.0, 6.5]))
    assert strength[:500].argmax() * 0.01 == pytest.approx(1.0, abs=0.02)
    assert (500 + strength[500:].argmax()) * 0.01 == pytest.approx(6.5, abs=0.02)


def test_the_pulse_follows_a_slowly_drifting_drummer():
    times = np.cumsum(np.linspace(0.48, 0.54, 18)) + 0.2
    found = pulse(onset_strength(clicks(times)), 60 / 0.51)
    assert mir_eval.beat.f_measure(times, found, 0.05) > 0.85


def test_silence_has_no_pulse():
    assert not len(pulse(onset_strength(silence(5, RATE)), 120))


times = st.lists(st.floats(0, 20), min_size=1, max_size=20, unique=True).map(sorted)


@given(beats=times, reference=times)
@settings(max_examples=100, deadline=None)
def test_the_f_measure_agrees_with_mir_eval(beats, reference):
    ours = beat_f_measure(np.array(beats), np.array(reference))
    theirs = mir_eval.beat.f_measure(np.array(reference), np.array(beats))
    assert ours == pytest.approx(theirs, abs=1e-9)
