import numpy as np
import pytest

from voice2music.analysis import Analysis
from voice2music.chords import Key
from voice2music.conditioning import as_asked, tune_of
from voice2music.notes import Note
from voice2music.pitch import HOP, Pitch
from voice2music.request import Guide, Request
from voice2music.rhythm import Grid, known_grid, steady


def heard(beats, first=0, tempo=100.0, known=False, tune=range(14)):
    """A scale sung on the beats of a grid, from beat `first` on, one note a beat."""
    grid = Grid(tuple(beats), 0, 4, tempo, 1.0, known)
    notes = tuple(
        Note(grid.time_at(first + i), grid.time_at(first + i + 0.8), 60 + i % 7) for i in tune
    )
    seconds = grid.beats[-1]
    f0 = np.zeros(round(seconds / HOP), np.float32)
    for note in notes:
        f0[round(note.onset / HOP) : round(note.offset / HOP)] = 440 * 2 ** ((note.midi - 69) / 12)
    pitch = Pitch(f0, (f0 > 0).astype(np.float32))
    return Analysis(seconds, pitch, 0.0, notes, Key(0, "major"), grid, (), 0.8, -20, 0, 40, 0)


def slowing(count, by):
    """Beats that each last `by` of the beat before."""
    return np.cumsum(0.5 * by ** np.arange(count))


@pytest.mark.parametrize("first", [0, 3, 8])
@pytest.mark.parametrize("by", [1.0, 1.02, 0.98])
def test_a_tune_that_is_played_again_stays_on_its_beats_however_the_singer_breathes(first, by):
    sung = heard(slowing(first + 17, by), first)
    tune = tune_of(Request(seconds=40.0), sung)
    onsets = np.array([note.onset for note in tune.melody.notes])
    beats = np.array(tune.grid.beats)
    assert len(onsets) > 2 * len(sung.notes)
    assert np.abs(onsets[:, None] - beats).min(axis=1).max() < 0.001
    assert np.all(np.diff(beats) > 0)
    # A round begins on the same beat of the bar as the one before.
    begins = [tune.grid.beat_at(note.onset) for note in tune.melody.notes if note.midi == 60]
    assert np.allclose(np.mod(np.diff(begins)[1::2], 1), 0, atol=1e-6)
    assert (begins[2] - begins[0]) % 4 == pytest.approx(0, abs=1e-6)


def test_the_curve_and_the_notes_of_the_last_round_are_at_the_same_place():
    sung = heard(0.5037 * np.arange(7), tune=range(4))  # a bar's length is no whole frame
    melody = tune_of(Request(seconds=60.0), sung).melody
    assert len(melody.midi) == 6000
    for note in (melody.notes[1], melody.notes[-2]):
        frame = int(np.ceil(note.onset / HOP + 0.5))
        assert round(float(melody.midi[frame])) == note.midi
        assert np.isnan(melody.midi[frame - 3])


@pytest.mark.parametrize("seconds", [3.0, 7.77, 120.0])
def test_the_beats_reach_the_end_of_the_music_and_not_far_beyond(seconds):
    tune = tune_of(Request(seconds=seconds), heard(slowing(20, 1.01), 2))
    assert tune.grid.beats[-1] >= seconds
    assert tune.grid.beats[-2] < seconds
    assert len(tune.melody.midi) == round(seconds / HOP)
    assert all(note.offset <= seconds for note in tune.melody.notes)


def test_the_tempo_and_key_that_were_asked_for_are_those_of_the_tune():
    sung = heard(0.6 * np.arange(17))
    tune = tune_of(Request(tempo=150.0, key="A minor"), sung)
    assert tune.grid.tempo == pytest.approx(150, rel=0.08)
    assert np.median(np.diff(tune.grid.beats)) == pytest.approx(0.4, rel=0.08)
    assert (tune.key.tonic, tune.key.mode) == (9, "minor")


def test_a_guide_beat_is_believed_more_than_a_tempo():
    sung = heard(0.5 * np.arange(17), tempo=120.0, known=True)
    assert tune_of(Request(tempo=90.0, guide=Guide(120.0)), sung).grid.tempo == 120
    assert known_grid(Guide(120.0, 4, 0.0, 0.175), 8.0).downbeats[1] == pytest.approx(2.175)


def test_a_hum_is_corrected_to_the_key_and_the_beats_that_were_asked_for():
    sung = heard(0.6 * np.arange(17))
    asked = as_asked(Request(key="Eb major", tempo=150.0), sung)
    assert asked.key.tonic == 3
    assert asked.grid.tempo == pytest.approx(150, rel=0.08)
    assert as_asked(Request(), sung).key == sung.key
    assert as_asked(Request(), sung).grid == sung.grid


def test_words_alone_have_the_beats_of_their_genre_or_those_asked_for():
    assert tune_of(Request(genre="waltz", seconds=9.0), None).grid.beats_per_bar == 3
    tune = tune_of(Request(tempo=77.0, key="F# minor", seconds=9.0), None)
    assert tune.grid == steady(77.0, 9.0)
    assert (tune.key.tonic, tune.key.mode) == (6, "minor")
    assert tune.melody is None
