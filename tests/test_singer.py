import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.notes import Note
from voice2music.singer import EXACT, Singer, humanised, sing

TIMBRES = ("hum", "ah", "oh", "oo", "ee", "words")


def level(clip, start, end):
    """RMS of a stretch, dB."""
    part = clip.samples[0, round(start * clip.rate) : round(end * clip.rate)]
    return 20 * np.log10(np.sqrt(np.mean(part.astype(float) ** 2)) + 1e-12)


def spectrum(clip, start, end):
    """Power and frequencies of a stretch."""
    part = clip.samples[0, round(start * clip.rate) : round(end * clip.rate)]
    windowed = part * np.hanning(len(part))
    return np.abs(np.fft.rfft(windowed)) ** 2, np.fft.rfftfreq(len(part), 1 / clip.rate)


def fundamental(clip, start, end, near):
    """Frequency of the spectral peak within two semitones of `near`, Hz."""
    power, frequency = spectrum(clip, start, end)
    close = (frequency > near * 0.89) & (frequency < near * 1.12)
    return float(frequency[close][np.argmax(power[close])])


@pytest.mark.parametrize("timbre", TIMBRES)
@pytest.mark.parametrize(("midi", "hertz"), [(45, 110.0), (57, 220.0), (69, 440.0)])
def test_an_a_is_sung_at_its_standard_frequency(timbre, midi, hertz):
    clip = sing([Note(0.2, 3.2, midi)], Singer(**{**vars(EXACT), "timbre": timbre}))
    # 3 s of signal resolve a third of a hertz.
    assert fundamental(clip, 0.3, 3.1, hertz) == pytest.approx(hertz, abs=0.5)


def test_tuning_and_cents_move_the_pitch_by_as_much():
    singer = Singer(**{**vars(EXACT), "tuning": 40.0})
    clip = sing([Note(0.2, 3.2, 69, cents=20.0)], singer)
    expected = 440 * 2 ** (60 / 1200)
    assert fundamental(clip, 0.3, 3.1, expected) == pytest.approx(expected, abs=0.5)


def test_a_rest_is_silent_and_a_note_is_not():
    clip = sing([Note(0.5, 1.0, 60), Note(1.5, 2.0, 64)])
    assert level(clip, 0.6, 0.9) > -20
    assert level(clip, 1.2, 1.4) < -55
    assert level(clip, 0.0, 0.4) < -55


def test_a_repeated_note_begins_with_a_dip():
    clip = sing([Note(0.2, 0.8, 60), Note(0.8, 1.4, 60)])
    held = sing([Note(0.2, 1.4, 60)])
    assert level(clip, 0.78, 0.80) < level(clip, 0.5, 0.6) - 6
    assert level(held, 0.78, 0.80) > level(held, 0.5, 0.6) - 3


def test_the_peak_is_at_the_level_asked():
    clip = sing([Note(0.2, 1.2, 60)], Singer(level=-12.0))
    assert 20 * np.log10(clip.peak) == pytest.approx(-12.0, abs=0.1)


def test_a_closed_mouth_is_darker_than_an_open_one():
    def share_above(timbre):
        clip = sing([Note(0.2, 2.2, 48)], Singer(timbre=timbre))
        power, frequency = spectrum(clip, 0.3, 2.1)
        return power[frequency > 900].sum() / power.sum()

    assert share_above("hum") < 0.1 < share_above("ah")


def test_women_sing_with_shorter_tracts_than_men():
    # The first formant of "ah" lies at 730 Hz in a man (Peterson & Barney) and higher in a woman.
    def brightest(size):
        clip = sing([Note(0.2, 2.2, 41)], Singer(**{**vars(EXACT), "timbre": "ah", "size": size}))
        power, frequency = spectrum(clip, 0.3, 2.1)
        return float(frequency[np.argmax(power)])

    assert brightest(1.0) == pytest.approx(730, abs=90)
    assert brightest(0.8) == pytest.approx(730 / 0.8, abs=90)


def test_vibrato_is_as_deep_and_as_fast_as_asked():
    singer = Singer(**{**vars(EXACT), "vibrato": 60.0, "vibrato_rate": 5.0, "timbre": "oo"})
    clip = sing([Note(0.2, 4.2, 60)], singer, rate=16_000)
    expected = 440 * 2 ** ((60 - 69) / 12)
    analytic = np.fft.fft(clip.samples[0])
    frequency = np.fft.fftfreq(len(analytic), 1 / clip.rate)
    analytic[(frequency < expected * 0.7) | (frequency > expected * 1.4)] = 0
    phase = np.unwrap(np.angle(np.fft.ifft(analytic)))
    f0 = np.diff(phase) * clip.rate / (2 * np.pi)
    f0 = np.convolve(f0, np.full(320, 1 / 320), "same")  # over 20 ms
    cents = 1200 * np.log2(f0[16_000:64_000] / expected)
    assert (np.percentile(cents, 99) - np.percentile(cents, 1)) / 2 == pytest.approx(60, abs=12)
    crossings = np.sum(np.diff(np.sign(cents - np.median(cents))) > 0)
    assert crossings / 3.0 == pytest.approx(5.0, abs=1.0)


def test_the_same_seed_sings_the_same_samples_and_another_seed_others():
    notes = [Note(0.2, 0.7, 60), Note(0.7, 1.4, 64)]
    first, again, other = (sing(notes, seed=seed).samples for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-2)


def test_the_caller_s_random_state_is_left_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    sing([Note(0.2, 0.7, 60)])
    assert np.array_equal(before, np.random.get_state()[1])


def test_singing_is_many_times_faster_than_time():
    notes = [Note(0.3 + i * 0.5, 0.75 + i * 0.5, 60 + i % 5) for i in range(28)]
    sing(notes)
    start = time.process_time()  # a busy machine is no slower by this clock, or not much
    clip = sing(notes, Singer(timbre="words"))
    # Some 140 times when nothing else runs.
    assert clip.seconds / (time.process_time() - start) > 15


@pytest.mark.parametrize("notes", [[], [Note(0, 1, 10)], [Note(0, 1, 120)]])
def test_what_cannot_be_sung_is_refused(notes):
    with pytest.raises(ValueError, match=r"sing|sung"):
        sing(notes)


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.floats(0.02, 2), st.integers(36, 84), st.floats(-50, 50)),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(TIMBRES),
    st.sampled_from([16_000, 32_000, 44_100]),
)
@settings(max_examples=25, deadline=None)
def test_any_notes_give_a_clip_of_the_length_asked(rows, timbre, rate):
    notes = [Note(a, a + b, midi, cents) for a, b, midi, cents in rows]
    clip = sing(notes, Singer(timbre=timbre), rate=rate, seconds=2.5)
    assert clip.samples.shape == (1, round(2.5 * rate))
    assert np.isfinite(clip.samples).all()
    assert clip.peak <= 1


def test_nothing_human_changes_nothing():
    notes = (Note(0.2, 0.6, 60), Note(0.7, 1.1, 62), Note(1.2, 2.0, 64))
    moved = humanised(notes, jitter=0.0, rubato=0.0)
    for note, other in zip(notes, moved, strict=True):
        assert (other.onset, other.offset, other.midi) == pytest.approx(
            (note.onset, note.offset, note.midi), abs=1e-6
        )


def test_rubato_wanders_by_as_much_as_asked_and_evens_out():
    notes = [Note(0.3 + 0.5 * i, 0.7 + 0.5 * i, 60) for i in range(60)]
    moved = humanised(notes, seed=1, jitter=0.0, rubato=0.05)
    gaps = np.diff([note.onset for note in moved])
    assert 0.015 < np.std(gaps) / 0.5 < 0.1
    assert moved[-1].offset == pytest.approx(notes[-1].offset, abs=1e-6)


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0.05, 2)), max_size=30), st.integers(0, 1_000)
)
@settings(max_examples=50, deadline=None)
def test_human_time_keeps_the_order_and_never_overlaps(rows, seed):
    moved = humanised([Note(a, a + b, 60 + i) for i, (a, b) in enumerate(rows)], seed=seed)
    for before, after in pairwise(moved):
        assert 0 <= before.onset < before.offset <= after.onset + 1e-9
