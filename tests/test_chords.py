"""Chord and key notation: reading, printing, spelling, laying on bars."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice2music.chords import (
    QUALITIES,
    Chord,
    ChordSpan,
    Key,
    bars,
    chord_pitch_classes,
    chord_symbol,
    key_name,
    parse_chord,
    parse_key,
    parse_progression,
    pitch_name,
    progression_text,
)
from voice2music.errors import BadChords, BadRequest
from voice2music.rhythm import Grid

NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
keys = st.builds(Key, st.integers(0, 11), st.sampled_from(("major", "minor")))
chords = st.builds(
    Chord,
    st.integers(0, 11),
    st.sampled_from(sorted(QUALITIES)),
    st.none() | st.integers(0, 11),
)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Beats that breathe, with or without a pick-up."""
    per_bar = draw(st.integers(2, 7))
    gaps = draw(st.lists(st.floats(0.25, 1.2), min_size=2, max_size=40))
    first = draw(st.floats(-1.0, 1.0))
    beats = [first]
    for gap in gaps:
        beats.append(beats[-1] + gap)
    return Grid(tuple(beats), draw(st.integers(0, per_bar - 1)), per_bar, 100.0)


def steady(seconds: float, tempo: float = 120.0, per_bar: int = 4, downbeat: int = 0) -> Grid:
    beat = 60 / tempo
    count = int(seconds / beat) + 2 + downbeat
    return Grid(tuple(i * beat for i in range(count)), downbeat, per_bar, tempo)


@pytest.mark.parametrize(
    ("text", "root", "quality", "bass"),
    [
        ("C", "C", "maj", None),
        ("Am", "A", "min", None),
        ("F#m7", "F#", "m7", None),
        ("Bbmaj7", "Bb", "maj7", None),
        ("G/B", "G", "maj", "B"),
        ("C-7", "C", "m7", None),
        ("CΔ", "C", "maj7", None),
        ("B°", "B", "dim", None),
        ("Eø", "E", "m7b5", None),
        ("E♭m", "Eb", "min", None),
        ("bb", "Bb", "maj", None),
        ("am", "A", "min", None),
        ("C6/9", "C", "69", None),
        ("D7sus4/A", "D", "7sus4", "A"),
        ("E7#5", "E", "aug7", None),
        ("Gsus", "G", "sus4", None),
        ("C/C", "C", "maj", None),
    ],
)
def test_a_chord_is_read_as_musicians_write_it(text, root, quality, bass):
    low = None if bass is None else NAMES.index(bass)
    assert parse_chord(text) == Chord(NAMES.index(root), quality, low)


@pytest.mark.parametrize(
    "text", ["", "H", "Do", "Sol", "Cfoo", "C/", "C//E", "C/H", "/", "1", "C#b", "Ñ", "C" * 500]
)
def test_what_is_no_chord_is_refused_in_a_sentence_that_says_what_is_one(text):
    with pytest.raises(BadChords, match="cannot be read") as caught:
        parse_chord(text)
    assert "for example C, F#m7" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_pitch_classes_are_those_of_the_textbook():
    assert chord_pitch_classes(parse_chord("C")) == {0, 4, 7}
    assert chord_pitch_classes(parse_chord("F#m7b5")) == {6, 9, 0, 4}
    assert chord_pitch_classes(parse_chord("Bb9")) == {10, 2, 5, 8, 0}
    assert chord_pitch_classes(parse_chord("C/D")) == {0, 2, 4, 7}


@given(chords)
def test_every_chord_is_read_back_from_its_symbol(chord):
    assert parse_chord(chord.symbol) == chord


@given(chords, keys)
def test_every_chord_is_read_back_however_a_key_spells_it(chord, key):
    assert parse_chord(chord_symbol(chord, key)) == chord


@given(chords, st.integers(-30, 30))
def test_transposing_moves_every_tone(chord, by):
    moved = {(pc + by) % 12 for pc in chord_pitch_classes(chord)}
    assert chord_pitch_classes(chord.transposed(by)) == moved


@given(keys)
def test_every_key_is_read_back_from_its_name(key):
    assert parse_key(key_name(key)) == key


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Am", "A minor"),
        ("a minor", "A minor"),
        ("Bb", "Bb major"),
        ("B flat minor", "Bb minor"),
        ("F# major", "F# major"),
        ("F♯m", "F# minor"),
        ("Gb", "F# major"),
        ("C MAJOR", "C major"),
        ("CM", "C major"),
    ],
)
def test_a_key_is_read_as_people_write_it(text, name):
    assert key_name(parse_key(text)) == name


@pytest.mark.parametrize("text", ["", "H", "A maj7", "sad", "A minor please", "1"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(BadRequest, match="for example C major"):
        parse_key(text)


def test_key_signatures_are_those_of_the_circle_of_fifths():
    sharps = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F#": 6}
    flats = {"F": -1, "Bb": -2, "Eb": -3, "Ab": -4, "Db": -5}
    for name, fifths in (sharps | flats).items():
        assert parse_key(name).fifths == fifths
    minors = {"Am": 0, "Em": 1, "F#m": 3, "C#m": 4, "G#m": 5, "Dm": -1, "Cm": -3, "Ebm": -6}
    for name, fifths in minors.items():
        assert parse_key(name).fifths == fifths


@given(keys)
def test_a_scale_in_its_key_has_each_letter_once(key):
    steps = (0, 2, 4, 5, 7, 9, 11) if key.mode == "major" else (0, 2, 3, 5, 7, 8, 10)
    letters = [pitch_name((key.tonic + step) % 12, key)[0] for step in steps]
    assert sorted(letters) == list("ABCDEFG")


def test_spelling_follows_the_key():
    assert chord_symbol(Chord(6, "maj"), parse_key("Db")) == "Gb"
    assert chord_symbol(Chord(6, "maj"), parse_key("D")) == "F#"
    assert chord_symbol(Chord(4, "7", 8), parse_key("Am")) == "E7/G#"
    assert chord_symbol(Chord(8, "maj"), parse_key("C")) == "Ab"
    assert chord_symbol(Chord(8, "dim7"), parse_key("C")) == "G#dim7"
    assert pitch_name(8, parse_key("Am")) == "G#"


def test_the_users_text_shares_bars_equally_and_goes_round():
    spans = parse_progression("C | Am | F G | G7", steady(10.0), 10.0)
    assert [(s.start, s.end, s.chord.symbol) for s in spans] == [
        (0, 2, "C"),
        (2, 4, "Am"),
        (4, 5, "F"),
        (5, 6, "G"),
        (6, 8, "G7"),
        (8, 10, "C"),
    ]


def test_three_chords_share_a_bar_of_four_in_thirds():
    spans = parse_progression("C F G |", steady(2.0), 2.0)
    assert [s.start for s in spans] == pytest.approx([0, 2 / 3, 4 / 3])


def test_a_percent_sign_repeats_the_bar_and_lines_part_bars():
    spans = parse_progression("C G\n%\n|: F :|", steady(6.0), 6.0)
    assert [s.chord.symbol for s in spans] == ["C", "G", "C", "G", "F"]


def test_without_bar_lines_each_chord_has_its_bar():
    spans = parse_progression("C, Am F", steady(6.0), 6.0)
    assert [(s.start, s.chord.symbol) for s in spans] == [(0, "C"), (2, "Am"), (4, "F")]


def test_a_pick_up_has_the_first_chord():
    spans = parse_progression("C | G", steady(6.0, downbeat=1), 4.5)
    assert [(s.start, s.end, s.chord.symbol) for s in spans] == [(0, 2.5, "C"), (2.5, 4.5, "G")]


@pytest.mark.parametrize(
    "text", ["", "  ", "|", "| |", "%", "C | x | G", "C |" * 2000, "C " * 9 + "|"]
)
def test_a_progression_that_cannot_be_read_is_refused(text):
    with pytest.raises(BadChords):
        parse_progression(text, steady(4.0), 4.0)


@given(grids(), st.floats(0.5, 30.0))
def test_bars_follow_each_other_and_reach_the_end(grid, seconds):
    found = bars(grid, seconds)
    assert all(len(bar) == grid.beats_per_bar + 1 for bar in found)
    assert all(a[-1] == b[0] for a, b in pairwise(found))
    step = grid.beats[-1] - grid.beats[-2]
    assert found[-1][-1] >= seconds - step / 2 - 1e-9


@given(
    grids(),
    st.floats(0.5, 30.0),
    st.lists(st.lists(chords, min_size=1, max_size=4), min_size=1, max_size=6),
)
def test_a_progression_tiles_the_time_and_is_read_back_from_its_text(grid, seconds, written):
    text = " | ".join(" ".join(c.symbol for c in bar) for bar in written) + " |"
    spans = parse_progression(text, grid, seconds)
    assert spans[0].start == 0
    assert spans[-1].end == seconds
    assert all(a.end == b.start for a, b in pairwise(spans))
    assert all(s.end > s.start for s in spans)
    again = parse_progression(progression_text(spans, grid), grid, seconds)
    assert [s.chord for s in again] == [s.chord for s in spans]
    assert [s.start for s in again] == pytest.approx([s.start for s in spans], abs=1e-6)


def test_spans_from_elsewhere_are_printed_by_what_sounds_on_each_beat():
    spans = (ChordSpan(0, 1.23, Chord(0, "maj")), ChordSpan(1.23, 2.0, Chord(7, "7")))
    assert progression_text(spans, steady(2.0)) == "C C G7 G7 |"


def test_a_chord_knows_its_limits():
    with pytest.raises(BadChords):
        Chord(0, "blue")
    with pytest.raises(BadChords):
        Chord(12, "maj")
    assert Chord(0, "maj", 0) == Chord(0, "maj")
    assert Chord(7, "maj", 11).lowest == 11
