"""The accompaniment's plan as rows: beats and chords where they sound, and in both networks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice2music.chords import parse_chord, parse_progression
from voice2music.engines.audioldm.melody import MelodyRows, melody_channels
from voice2music.engines.base import Conditioning
from voice2music.engines.musicgen.rows import RowFormat, melody_rows, null_rows, plan_places
from voice2music.engines.plan import Plan, beat_rows, chord_rows, plan_of
from voice2music.harmony import Key
from voice2music.rhythm import steady
from voice2music.training.plans import music_plan

ROWS = ("chroma", "octave", "onset", "voicing", "beat", "chord", "bass")


def planned(chords: str = "C | G/B", seconds: float = 8.0) -> Plan:
    grid = steady(120, seconds)
    return Plan(grid, parse_progression(chords, grid, seconds), seconds)


def test_a_beat_is_a_pulse_where_it_is_struck() -> None:
    times = np.arange(500) / 50
    rows = beat_rows(planned(), times)
    assert rows.shape == (500, 4)
    assert np.flatnonzero(rows[:400, 0] > 0.5).tolist() == list(range(0, 400, 25))
    assert np.flatnonzero(rows[:400, 1] > 0.5).tolist() == list(range(0, 400, 100))
    on_the_beat, off_the_beat = rows[0:400:25], rows[37:400:50]
    assert (on_the_beat[:, 2] > 0.99).all()
    assert (off_the_beat[:, 2] < 0.01).all()
    assert not rows[400:].any()  # the music is over


@given(st.floats(0.0, 0.499), st.floats(40, 200))
def test_a_beat_between_two_frames_is_shared_by_them(late: float, tempo: float) -> None:
    grid = steady(tempo, 10.0, first_downbeat=late)
    times = np.arange(250) / 25
    pulses = beat_rows(Plan(grid, (), 10.0), times)[:, 0]
    place = late * 25
    first = int(place)
    assert pulses[first] == pytest.approx(1 - (place - first), abs=1e-5)
    assert pulses[first + 1] == pytest.approx(place - first, abs=1e-5)
    # Inside, every beat weighs one in all.
    inside = [beat for beat in grid.beats if 0 <= beat <= times[-1]]
    assert abs(pulses.sum() - len(inside)) <= 2


def test_chords_sound_in_their_bars() -> None:
    chord, bass = chord_rows(planned(), np.arange(0, 10, 0.1))
    assert set(np.flatnonzero(chord[5])) == {0, 4, 7}
    assert set(np.flatnonzero(chord[25])) == {7, 11, 2}
    assert bass[5].argmax() == 0
    assert bass[25].argmax() == 11  # G over B
    assert set(np.flatnonzero(chord[45])) == {0, 4, 7}
    assert not chord[80:].any()
    assert not bass[80:].any()


def asked(genre: str, tempo: float) -> Conditioning:
    grid = steady(tempo, 8.0)
    chords = parse_progression("C", grid, 8.0)
    return Conditioning(genre, "", 8.0, grid, Key(0, "major"), chords)


def test_the_plan_keeps_the_pace_and_bars_of_the_style() -> None:
    assert plan_of(asked("waltz", 120)).grid.beats_per_bar == 3
    slow = plan_of(asked("house", 62)).grid
    assert slow.tempo == pytest.approx(124)
    assert np.diff(slow.beats) == pytest.approx(60 / 124)


def test_musicgens_rows_hold_the_plan_beside_the_tune() -> None:
    form = RowFormat(25.0, 250, 0.04, ROWS)
    plan = planned()
    rows = melody_rows(None, form, 2.0, plan)
    assert rows.shape == (250, 48)
    places = plan_places(ROWS)
    assert places == list(range(20, 48))
    np.testing.assert_array_equal(rows[:, :20], null_rows(form)[:, :20])
    times = 2.0 + np.arange(250) / 25
    np.testing.assert_array_equal(rows[:, 20:24], beat_rows(plan, times))
    assert rows[5, 24 + 11] == 1  # 2.2 s: G/B
    assert rows[5, 36 + 11] == 1
    np.testing.assert_array_equal(melody_rows(None, form), null_rows(form))
    small = replace(form, rows=ROWS[:4])
    np.testing.assert_array_equal(melody_rows(None, small, plan=plan), null_rows(small))


def test_audioldms_channels_draw_the_chord_where_it_sounds() -> None:
    rows = MelodyRows(lines=4, plan=True)
    assert rows.channels == 19 + 8 + 4 + 8
    bins = 24
    out = melody_channels(None, 100, 15.625, bins, rows, planned("A5", 6.4))
    assert not out[: rows.tune].any()
    centre = _centres(4 * bins)
    chord = out[rows.tune + 4 : rows.tune + 8, 10].T.ravel()  # mel bands of one frame
    bass = out[rows.tune + 8 :, 10].T.ravel()
    marked = centre[chord > 0.4]
    assert min(abs(12 * np.log2(marked / 440))) < 1
    tones = [440.0 * 2**octave for octave in range(-1, 5)]
    tones += [tone * 2 ** (7 / 12) for tone in tones]
    far = [f for f in marked if f > 300 and min(abs(12 * np.log2(f / np.array(tones)))) > 1]
    assert not far
    assert bass[np.abs(centre - 110).argmin()] > 0.3  # A2, the first note of the line's octave
    assert not melody_channels(None, 100, 15.625, bins, rows).any()
    with pytest.raises(ValueError, match="drawn as lines"):
        MelodyRows(plan=True)


def _centres(bands: int) -> np.ndarray:
    from transformers.audio_utils import hertz_to_mel, mel_to_hertz

    top = hertz_to_mel(8_000.0, mel_scale="slaney")
    return np.asarray(mel_to_hertz(np.linspace(0, top, bands + 2), mel_scale="slaney"))[1:-1]


def test_the_plan_of_a_pair_is_the_one_its_music_was_played_by() -> None:
    row = {
        "genre": "pop",
        "seconds": 4.0,
        "beats": [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0],
        "bars": {"beats": 4, "downbeat": 0},
        "chords": [[0.0, 2.0, "Am"], [2.0, 4.0, "F"]],
    }
    plan = music_plan(row)
    assert plan.grid.tempo == pytest.approx(120)
    assert plan.grid.downbeats == (0.0, 2.0, 4.0)
    assert [span.chord for span in plan.chords] == [parse_chord("Am"), parse_chord("F")]
    assert plan.seconds == 4.0
