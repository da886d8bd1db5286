"""Chords under a tune: the hidden Markov model and what bends it."""

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.chord_model import (
    FAMILIES,
    STATES,
    HarmonyCounts,
    ModeCounts,
    chord_model,
    counts_from_json,
    counts_to_json,
    melody_weights,
    mixed,
    own_models,
    state,
    viterbi,
)
from voice2music.chords import parse_chord, parse_key, progression_text
from voice2music.harmony import QUALITIES, Chord, Key, chord_pitch_classes, harmonise
from voice2music.notes import Note
from voice2music.rhythm import Grid

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ODE = (
    "E4:1 E4:1 F4:1 G4:1 G4:1 F4:1 E4:1 D4:1 C4:1 C4:1 D4:1 E4:1 E4:1.5 D4:.5 D4:2 "
    "E4:1 E4:1 F4:1 G4:1 G4:1 F4:1 E4:1 D4:1 C4:1 C4:1 D4:1 E4:1 D4:1.5 C4:.5 C4:2"
)
BEAT = 0.5  # s


def sung(text: str) -> tuple[Note, ...]:
    """Notes out of "C4:1 D4:.5 ...", lengths in beats."""
    notes, now = [], 0.0
    for word in text.split():
        name, _, beats = word.partition(":")
        midi = 12 * (int(name[-1]) + 1) + LETTERS[name[0]] + name.count("#")
        notes.append(Note(now, now + float(beats) * BEAT, midi))
        now += float(beats) * BEAT
    return tuple(notes)


def steady(seconds: float, per_bar: int = 4, downbeat: int = 0) -> Grid:
    count = int(seconds / BEAT) + 2 + downbeat
    return Grid(tuple(i * BEAT for i in range(count)), downbeat, per_bar, 60 / BEAT)


@st.composite
def tunes(draw: st.DrawFn) -> tuple[Note, ...]:
    steps = draw(st.lists(st.tuples(st.integers(48, 72), st.integers(1, 8)), max_size=30))
    notes, now = [], draw(st.floats(0, 1))
    for midi, length in steps:
        notes.append(Note(now, now + length * BEAT / 2, midi))
        now += length * BEAT / 2
    return tuple(notes)


keys = st.builds(Key, st.integers(0, 11), st.sampled_from(("major", "minor")))
bends = st.floats(-1, 1)


# --- the best path ---------------------------------------------------------------------------


def test_the_best_path_is_the_one_found_by_hand():
    # Rainy or sunny days, and who walks, shops or cleans on them: a textbook example. The best path
    # is sunny, rainy, rainy with probability (.4 · .6) · (.4 · .4) · (.7 · .5) = .01344.
    first = np.log([0.6, 0.4])  # rainy, sunny
    transition = np.log([[0.7, 0.3], [0.4, 0.6]])
    emission = {"walk": (0.1, 0.6), "shop": (0.4, 0.3), "clean": (0.5, 0.1)}
    seen = np.log([emission[day] for day in ("walk", "shop", "clean")])
    path = viterbi(first, [transition, transition], seen, np.zeros(2))
    assert path.tolist() == [1, 0, 0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 4))
def test_the_best_path_is_that_of_trying_all(seed, steps, states):
    random = np.random.default_rng(seed)
    first, last = random.normal(size=(2, states))
    transitions = list(random.normal(size=(steps - 1, states, states)))
    emissions = random.normal(size=(steps, states))

    def total(path: tuple[int, ...]) -> float:
        moves = zip(transitions, path, path[1:], strict=False)
        return (
            first[path[0]]
            + last[path[-1]]
            + sum(t[a, b] for t, a, b in moves)
            + sum(emissions[i, s] for i, s in enumerate(path))
        )

    every = max(itertools.product(range(states), repeat=steps), key=total)
    found = tuple(viterbi(first, transitions, emissions, last).tolist())
    assert total(found) == pytest.approx(total(every))


# --- the model -------------------------------------------------------------------------------


def test_probabilities_sum_to_one():
    for model in own_models():
        assert np.exp(model.first).sum() == pytest.approx(1)
        assert np.exp(model.last).sum() == pytest.approx(1)
        assert np.exp(model.bar).sum(axis=1) == pytest.approx(np.ones(STATES))
        assert np.exp(model.change).sum(axis=1) == pytest.approx(np.ones(STATES))
        assert np.exp(model.melody).sum(axis=1) == pytest.approx(np.ones(STATES))
        assert 0.05 < model.mid_change < 0.6


def test_a_much_counted_transition_tends_to_its_frequency():
    tonic, fifth, fourth = (state(parse_chord(s), 0) for s in ("C", "G7", "F"))
    counts = HarmonyCounts(empty(), empty())
    counts.major.bar[tonic, fifth] = 30_000
    counts.major.bar[tonic, fourth] = 10_000
    model = chord_model(counts, "major")
    assert np.exp(model.bar[tonic, fifth]) == pytest.approx(0.75, abs=1e-3)
    assert np.exp(model.bar[tonic, fourth]) == pytest.approx(0.25, abs=1e-3)


def test_what_was_counted_in_one_place_is_expected_at_the_same_interval_elsewhere():
    counts = HarmonyCounts(empty(), empty())
    counts.major.bar[state(parse_chord("G7"), 0), state(parse_chord("C"), 0)] = 500
    model = chord_model(counts, "major")
    row = model.bar[state(parse_chord("E7"), 0)]
    down_a_fifth, elsewhere = state(parse_chord("A"), 0), state(parse_chord("Bb"), 0)
    assert row[down_a_fifth] > row[elsewhere] + np.log(5)


def test_the_own_model_knows_a_cadence():
    major, minor = own_models()
    c, g7, am, e7 = (state(parse_chord(s), 0) for s in ("C", "G7", "Am", "E7"))
    assert major.bar[g7].argmax() == c
    assert major.first.argmax() == c
    assert major.last.argmax() == c
    seen_from_a = [(s - 9 * len(FAMILIES)) % STATES for s in (am, e7)]
    assert minor.last.argmax() == seen_from_a[0]
    assert minor.bar[seen_from_a[1]].argmax() in seen_from_a


def test_counts_survive_json():
    path = Path(__file__).parents[1] / "voice2music/harmony_counts.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    again = counts_to_json(counts_from_json(values))
    assert again == {mode: values[mode] for mode in ("major", "minor")}


def test_relative_keys_mix_on_the_same_notes():
    major, minor = own_models()
    assert mixed(major, minor, 1).bar == pytest.approx(major.bar)
    only_minor = mixed(major, minor, 0)
    assert only_minor.last.argmax() == state(parse_chord("Am"), 0)


def test_melody_weights_are_shares_of_the_segment_and_accents_count_half_more():
    weights = melody_weights(
        np.array([0.0, 1.5]), np.array([1.0, 2.5]), np.array([0, 7]), np.array([0.0, 2.0, 4.0]), 2
    )
    assert weights[0, 0] == pytest.approx(1.5 * 0.5)  # half of the segment, on its beginning
    assert weights[0, 7] == pytest.approx(0.25)  # a quarter of it, off the beginning
    assert weights[1, 7] == pytest.approx(0.25)  # held over: not struck again
    assert weights.sum() == pytest.approx(1.25)


def empty() -> ModeCounts:
    return ModeCounts(
        np.zeros(STATES),
        np.zeros(STATES),
        np.zeros((STATES, STATES)),
        np.zeros((STATES, STATES)),
        np.zeros((len(FAMILIES), 12)),
    )


# --- harmonising -----------------------------------------------------------------------------


def test_an_ode_gets_tonic_and_dominant():
    notes = sung(ODE)
    seconds = notes[-1].offset
    spans = harmonise(notes, steady(seconds), parse_key("C"), seconds)
    assert {span.chord.symbol for span in spans} == {"C", "G7"}
    assert spans[0].chord.symbol == spans[-1].chord.symbol == "C"


def test_arpeggios_are_recognised():
    notes = sung("C4:1 E4:1 G4:1 C5:1 A3:1 C4:1 F4:1 A4:1 B3:1 D4:1 F4:1 G4:1 C4:1 E4:1 G4:2")
    spans = harmonise(notes, steady(8.0), parse_key("C"), 8.0)
    assert progression_text(spans, steady(8.0)) == "C | F | G7 | C"


def test_a_minor_tune_ends_in_minor_over_its_dominant():
    notes = sung("A4:1 C5:1 E5:2 D5:1 F5:1 D5:2 B4:1 G#4:1 E4:1 B4:1 A4:4")
    spans = harmonise(notes, steady(8.0), parse_key("Am"), 8.0)
    assert progression_text(spans, steady(8.0)) == "Am | Dm | E7 | Am"


def test_a_bar_whose_halves_need_different_chords_has_two():
    notes = sung("C4:.5 E4:.5 G4:.5 C5:.5 B4:.5 G4:.5 F4:.5 D4:.5 C4:1 E4:1 C4:2")
    chords = harmonise(notes, steady(4.0), parse_key("C"), 4.0)
    assert progression_text(chords, steady(4.0)) == "C G7 | C"
    one = harmonise(notes, steady(4.0), parse_key("C"), 4.0, per_bar=1)
    assert len(one) == 2


@settings(deadline=None)
@given(tunes(), keys, bends, bends, st.integers(2, 7), st.integers(0, 1), st.floats(1, 20))
def test_chords_tile_the_time_bar_by_bar(notes, key, happy, jazzy, per_bar, downbeat, seconds):
    grid = steady(seconds, per_bar, downbeat)
    spans = harmonise(notes, grid, key, seconds, happy, jazzy)
    assert spans[0].start == 0
    assert spans[-1].end == seconds
    assert all(a.end == b.start for a, b in itertools.pairwise(spans))
    assert all(s.end > s.start for s in spans)
    starts = {s.start for s in spans}
    inside = [t for t in grid.downbeats[1:] if t < seconds - BEAT / 2]
    assert all(min(abs(t - s) for s in starts) < 1e-9 for t in inside)
    assert harmonise(notes, grid, key, seconds, happy, jazzy) == spans


@settings(deadline=None)
@given(tunes(), keys, bends, bends, st.integers(1, 11))
def test_a_transposed_tune_gets_the_same_chords_transposed(notes, key, happy, jazzy, by):
    grid = steady(16.0)
    moved = tuple(Note(n.onset, n.offset, n.midi + by) for n in notes)
    there = Key((key.tonic + by) % 12, key.mode)
    here = [s.chord.transposed(by) for s in harmonise(notes, grid, key, 16.0, happy, jazzy)]
    assert [s.chord for s in harmonise(moved, grid, there, 16.0, happy, jazzy)] == here


@settings(deadline=None)
@given(tunes(), keys, bends)
def test_plain_chords_are_triads_and_neutral_ones_have_at_most_a_seventh(notes, key, happy):
    grid = steady(16.0)
    plain = harmonise(notes, grid, key, 16.0, happy, jazzy=-0.5)
    assert all(len(QUALITIES[s.chord.quality]) == 3 for s in plain)
    neutral = harmonise(notes, grid, key, 16.0, happy)
    assert {s.chord.quality for s in neutral} <= set(FAMILIES)


def test_jazzier_is_richer_and_moves_more():
    notes = sung(ODE)
    seconds = notes[-1].offset
    grid = steady(seconds)

    def tones(jazzy: float) -> float:
        spans = harmonise(notes, grid, parse_key("C"), seconds, jazzy=jazzy)
        return float(np.mean([len(QUALITIES[s.chord.quality]) for s in spans]))

    assert tones(-1) < tones(0) < tones(0.5) < tones(1)

    def moving_bar_lines(jazzy: float) -> int:
        spans = harmonise(notes, grid, parse_key("C"), seconds, jazzy=jazzy)
        pairs = [(a, b) for a, b in itertools.pairwise(spans) if b.start in grid.downbeats]
        return sum(a.chord.root != b.chord.root for a, b in pairs)

    assert moving_bar_lines(0) < moving_bar_lines(1) <= 7


def test_sadder_is_more_minor_and_happier_less():
    def minor_share(text: str, key: str, happy: float) -> float:
        notes = sung(text)
        seconds = notes[-1].offset
        spans = harmonise(notes, steady(seconds), parse_key(key), seconds, happy)
        return sum((s.end - s.start) * (3 in QUALITIES[s.chord.quality]) for s in spans) / seconds

    sad = "A4:1 C5:1 E5:2 D5:1 F5:1 D5:2 C5:1 E5:1 C5:2 A4:4"
    for text, key in ((ODE, "C"), (sad, "Am")):
        shares = [minor_share(text, key, happy) for happy in (-1.0, 0.0, 1.0)]
        assert shares[0] >= shares[1] >= shares[2]
        assert shares[0] > shares[2] + 0.25


def test_a_ninth_does_not_rub_against_a_held_note():
    notes = sung("C5:4 C5:4")
    spans = harmonise(notes, steady(4.0), parse_key("C"), 4.0, jazzy=1.0)
    for span in spans:
        assert 11 not in chord_pitch_classes(span.chord)  # no major seventh under a held C


@pytest.mark.parametrize("name", ["C", "Am", "F#", "Ebm"])
def test_without_a_tune_there_is_a_round_of_four_in_the_key(name):
    key = parse_key(name)
    spans = harmonise((), steady(18.0), key, 18.0)
    roots = [span.chord.root for span in spans]
    assert len(roots) == 9
    assert roots[0] == roots[4] == roots[8] == key.tonic
    assert roots[:4] == roots[4:8]
    assert len(set(roots[:4])) == 4
    assert (roots[3] - key.tonic) % 12 in (5, 7)  # it leads home


def test_a_clip_shorter_than_a_bar_has_one_chord():
    spans = harmonise(sung("A4:1"), steady(0.5), parse_key("F"), 0.5)
    assert len(spans) == 1
    assert 9 in chord_pitch_classes(spans[0].chord)


def test_thirty_seconds_take_at_most_fifty_milliseconds():
    notes = sung(" ".join([ODE] * 2))[:64]
    grid = steady(30.0)
    harmonise(notes, grid, parse_key("C"), 30.0)  # reads the counts
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        harmonise(notes, grid, parse_key("C"), 30.0)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.05


def test_chords_outside_the_vocabulary_are_our_own_mistake():
    assert set(FAMILIES) <= set(QUALITIES)
    assert Chord(0, "maj").transposed(7) == Chord(7, "maj")
