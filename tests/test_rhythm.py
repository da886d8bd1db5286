import math

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.notes import Note
from voice2music.request import Guide
from voice2music.rhythm import Grid, estimate_grid, known_grid, rebarred, steady
from voice2music.singer import humanised

# Beats from a bar line and degrees; first place, then lengths.
ODE = (0, [1] * 12 + [1.5, 0.5, 2] + [1] * 12 + [1.5, 0.5, 2],
       [64, 64, 65, 67, 67, 65, 64, 62, 60, 60, 62, 64, 64, 62, 62,
        64, 64, 65, 67, 67, 65, 64, 62, 60, 60, 62, 64, 62, 60, 60])  # fmt: skip
GRACE = (2, [1, 2, 0.5, 0.5, 2, 1, 2, 1, 2, 1, 2, 0.5, 0.5, 2, 1, 5, 1,
             2, 0.5, 0.5, 2, 1, 2, 1, 2, 1, 2, 0.5, 0.5, 2, 1, 5],
         [62, 67, 71, 67, 71, 69, 67, 64, 62, 62, 67, 71, 67, 71, 69, 74, 71,
          74, 71, 67, 71, 69, 67, 64, 62, 62, 67, 71, 67, 71, 69, 67])  # fmt: skip


def sung(tune, tempo, lead=0.4):
    """Notes of a tune at an even tempo, and the times of its beats and bar lines."""
    first, lengths, midi = tune
    places = first + np.concatenate(([0], np.cumsum(lengths)))
    period = 60 / tempo
    time = lambda place: lead + (place - first) * period  # noqa: E731
    notes = [
        Note(time(a), time(a + 0.95 * length), pitch)
        for a, length, pitch in zip(places, lengths, midi, strict=False)
    ]
    beats = np.array([time(beat) for beat in range(math.ceil(first), math.floor(places[-1]) + 1)])
    return notes, beats


def inside(grid: Grid, start, end):
    return np.array([beat for beat in grid.beats if start - 0.07 <= beat <= end + 0.07])


@pytest.mark.parametrize("tempo", [76, 90, 104, 120])
def test_a_metronomic_tune_in_four_is_heard_in_time(tempo):
    notes, beats = sung(ODE, tempo)
    grid = estimate_grid(notes, notes[-1].offset + 0.5)
    assert grid.tempo == pytest.approx(tempo, rel=0.01)
    assert grid.beats_per_bar == 4
    assert grid.confidence > 0.8
    assert not grid.known
    assert mir_eval.beat.f_measure(beats, inside(grid, beats[0], notes[-1].onset + 1)) > 0.95
    assert min(abs(down - 0.4) for down in grid.downbeats) < 0.05


@pytest.mark.parametrize("tempo", [90, 112, 140])
def test_a_metronomic_waltz_is_heard_in_three_with_its_upbeat(tempo):
    notes, _ = sung(GRACE, tempo)
    grid = estimate_grid(notes, notes[-1].offset + 0.5)
    assert grid.tempo == pytest.approx(tempo, rel=0.01)
    assert grid.beats_per_bar == 3
    assert min(abs(down - notes[1].onset) for down in grid.downbeats) < 0.05


def test_beats_breathe_with_a_singer_who_speeds_up():
    notes, beats = sung(ODE, 90)

    def hurried(t):
        return 22 * math.log1p(t / 22)

    moved = [Note(hurried(n.onset), hurried(n.offset), n.midi) for n in notes]
    true = np.array([hurried(beat) for beat in beats])
    grid = estimate_grid(moved, moved[-1].offset + 0.5)
    found = inside(grid, true[0], moved[-1].onset)
    even = np.linspace(true[0], true[-1], len(true))
    assert mir_eval.beat.f_measure(true, found) > 0.95
    assert mir_eval.beat.f_measure(true, even) < 0.5  # an even grid would not do
    periods = np.diff(found)
    assert periods[-3:].mean() < 0.75 * periods[:3].mean()


@pytest.mark.parametrize("seed", range(4))
def test_human_timing_is_followed(seed):
    notes, beats = sung(ODE, 100)
    human = humanised(notes, seed=seed, jitter=0.02, rubato=0.03)
    truth = np.interp(beats, [n.onset for n in notes], [n.onset for n in human])
    grid = estimate_grid(human, human[-1].offset + 0.5)
    assert grid.tempo == pytest.approx(100, rel=0.04)
    assert mir_eval.beat.f_measure(truth, inside(grid, truth[0], truth[-1])) > 0.9


def test_even_notes_twice_as_fast_or_slow_are_flagged_and_middling_ones_are_not():
    notes, _ = sung(ODE, 170)
    fast = estimate_grid(notes, 30.0)
    notes, _ = sung(ODE, 52)
    slow = estimate_grid(notes, 60.0)
    notes, _ = sung(GRACE, 100)
    middling = estimate_grid(notes, 40.0)
    assert fast.ambiguous or fast.tempo < 120
    assert slow.ambiguous or slow.tempo > 80
    assert middling.tempo == pytest.approx(100, rel=0.01)
    assert not middling.ambiguous


def test_an_expected_tempo_decides_between_octaves():
    notes = [Note(0.4 + 0.5 * i, 0.8 + 0.5 * i, 60) for i in range(24)]
    assert estimate_grid(notes, 13.0, prior=120).tempo == pytest.approx(120, rel=0.01)
    assert estimate_grid(notes, 13.0, prior=60).tempo == pytest.approx(60, rel=0.01)


def test_a_long_pause_holds_whole_bars_and_the_tempo():
    notes, _ = sung(ODE, 96)
    later = [Note(n.onset + 45.0, n.offset + 45.0, n.midi) for n in notes]  # 18 bars of 2.5 s
    grid = estimate_grid([*notes, *later], later[-1].offset + 0.5)
    assert grid.tempo == pytest.approx(96, rel=0.02)
    assert np.diff(grid.beats) == pytest.approx(60 / 96, rel=0.06)


def test_nothing_sung_leaves_an_even_grid_without_confidence():
    grid = estimate_grid([], 8.0)
    assert (grid.confidence, grid.known, grid.beats_per_bar) == (0.0, False, 4)
    assert grid.beats[0] <= 0
    assert grid.beats[-1] >= 8.0


def test_one_note_and_notes_at_once_begin_a_bar():
    for notes in ([Note(1.3, 2, 60)], [Note(1.3, 2, 60 + i) for i in range(9)]):
        grid = estimate_grid(notes, 8.0)
        assert grid.confidence == 0.0
        assert min(abs(down - 1.3) for down in grid.downbeats) < 1e-9


def test_irregular_onsets_are_less_sure_than_a_tune():
    sure = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        times = np.cumsum(np.exp(rng.normal(-1, 0.6, 24)))
        notes = [Note(t, t + 0.2, 60 + int(rng.integers(12))) for t in times]
        sure.append(estimate_grid(notes, times[-1] + 1).confidence)
    notes, _ = sung(ODE, 100)
    assert np.mean(sure) < 0.75
    assert estimate_grid(notes, 20.0).confidence > 0.95


@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(0.06, 10), st.integers(30, 90)), max_size=40),
    st.floats(0.1, 60),
)
@settings(max_examples=60, deadline=None)
def test_any_notes_give_a_grid_that_keeps_its_promises(rows, seconds):
    notes = [Note(a, a + b, midi) for a, b, midi in rows]
    grid = estimate_grid(notes, seconds)
    assert len(grid.beats) >= 2
    assert all(a < b for a, b in zip(grid.beats, grid.beats[1:], strict=False))
    assert grid.beats[0] <= 1e-6
    assert grid.beats[-1] >= seconds - 1e-6
    assert 0 <= grid.downbeat < grid.beats_per_bar
    assert 2 <= grid.beats_per_bar <= 7
    assert 20 < grid.tempo < 400
    assert 0 <= grid.confidence <= 1


@pytest.mark.parametrize("gap", [0.05, 0.09, 3.0, 12.0])
def test_very_fast_and_very_slow_notes_give_a_grid(gap):
    notes = [Note(0.3 + gap * i, 0.3 + gap * (i + 0.8), 60) for i in range(12)]
    grid = estimate_grid(notes, notes[-1].offset)
    assert 30 < grid.tempo < 300


def test_a_guide_beat_is_known_and_late_by_the_latency():
    grid = known_grid(Guide(tempo=100, beats_per_bar=3, first_downbeat=1.2, latency=0.175), 10.0)
    assert grid.known
    assert (grid.tempo, grid.confidence, grid.ambiguous) == (100, 1.0, False)
    assert min(abs(down - 1.375) for down in grid.downbeats) < 1e-9
    assert np.diff(grid.beats) == pytest.approx(0.6)
    assert np.diff(grid.downbeats) == pytest.approx(1.8)


@given(
    st.floats(30, 300), st.floats(0.1, 120), st.integers(2, 7), st.floats(-60, 60),
)  # fmt: skip
def test_an_even_grid_covers_its_clip_and_has_the_downbeat_asked(tempo, seconds, bar, downbeat):
    grid = steady(tempo, seconds, bar, downbeat)
    period = 60 / tempo
    assert grid.beats[0] <= 1e-6
    assert grid.beats[0] > -period - 1e-6
    assert grid.beats[-1] >= seconds - 1e-6
    assert 0 <= grid.downbeat < bar
    places = (np.array(grid.downbeats) - downbeat) / (period * bar)
    assert places == pytest.approx(np.round(places), abs=1e-6)


@given(st.lists(st.floats(0.2, 2), min_size=1, max_size=30), st.floats(-5, 5), st.floats(-20, 60))
def test_time_and_beat_are_each_other_s_inverse_even_outside_the_grid(periods, start, beat):
    beats = tuple(start + np.concatenate(([0], np.cumsum(periods))))
    grid = Grid(beats, 0, 4, 100.0)
    assert grid.beat_at(grid.time_at(beat)) == pytest.approx(beat, abs=1e-6)
    assert [grid.time_at(i) for i in range(len(beats))] == pytest.approx(list(beats))


def test_outside_the_grid_the_nearest_pace_goes_on():
    grid = Grid((0.0, 1.0, 1.5), 0, 2, 80.0)
    assert grid.time_at(-1) == -1.0
    assert grid.time_at(4) == 2.5
    assert grid.beat_at(0.5) == 0.5
    assert grid.beat_at(1.25) == 1.5


def test_rebarring_keeps_the_beats_and_one_downbeat():
    grid = steady(100, 12, 4, 0.9)
    three = rebarred(grid, 3)
    assert three.beats == grid.beats
    assert three.beats_per_bar == 3
    assert set(three.downbeats) & set(grid.downbeats)
    assert 0 <= three.downbeat < 3
