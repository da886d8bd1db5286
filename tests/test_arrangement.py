"""The arranger: in time with the voice, in its bars, out of its way, and closed at the end."""

import itertools

import numpy as np
import pytest
from bandroom import C_MAJOR, TUNE, drum, notes, places, played, track
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voice2music.arrangement import arrange, barred, pace
from voice2music.arrangement.lead import fitted_octave
from voice2music.arrangement.voicing import clear_of, coloured, movement, tones, voicing
from voice2music.chords import QUALITIES, Chord, ChordSpan, parse_key, parse_progression
from voice2music.notes import Note
from voice2music.rhythm import Grid, steady
from voice2music.styles import style, styles


def breathing(tempo, seconds, size=4, depth=0.15):
    """A grid that slows down and speeds up like a singer."""
    beats = [0.0]
    while beats[-1] < seconds:
        beats.append(beats[-1] + 60 / tempo * (1 + depth * np.sin(len(beats) / 3)))
    return Grid(tuple(beats), 0, size, tempo, 0.8)


def on_grid(grid, tune=TUNE):
    """The tune sung on a grid's beats."""
    return tuple(Note(grid.time_at(o), grid.time_at(o + 0.9 * d), m - 12) for o, d, m in tune)


@pytest.mark.parametrize("name", ["disco", "house", "rock"])
def test_the_drums_breathe_with_the_singer(name):
    seconds = 16.0
    grid = breathing(style(name).tempo, seconds)
    chords = parse_progression("C | F", grid, seconds)
    song = arrange(style(name), grid, chords, C_MAJOR, seconds, melody=on_grid(grid))
    strokes = [n.onset for n in drum(song, "snare") + drum(song, "kick") if n.onset > 0]
    steps = [grid.time_at(i / 4) for i in range(4 * len(grid.beats))]
    off = [min(abs(s - t) for t in steps) for s in strokes]
    assert len(strokes) > 25
    assert max(off) < 0.02
    # An even grid of the same tempo would be far off: the test can fail.
    even = [steady(grid.tempo, seconds).time_at(i / 4) for i in range(4 * len(grid.beats))]
    assert max(min(abs(s - t) for t in even) for s in strokes) > 0.04


def test_the_lead_plays_every_note_when_it_was_sung():
    song = played("pop")
    sung = notes(tempo=108)
    lead = track(song, "Lead")
    assert [n.onset for n in lead] == pytest.approx([n.onset for n in sung])
    assert len({(n.midi - s.midi) % 12 for n, s in zip(lead, sung, strict=True)}) == 1
    assert len({n.midi - s.midi for n, s in zip(lead, sung, strict=True)}) == 1  # one octave shift


def test_backing_up_leaves_the_tune_to_the_singer_and_plays_softer_under_it():
    tune, back = played("pop"), played("pop", role="back")
    assert "Lead" in {t.name for t in tune.tracks}
    assert "Lead" not in {t.name for t in back.tracks}
    assert {t.name for t in back.tracks} == {t.name for t in tune.tracks} - {"Lead"}
    loud, soft = (np.mean([n.velocity for n in track(s, "Piano")]) for s in (tune, back))
    assert soft < 0.93 * loud


@pytest.mark.parametrize("name", styles())
def test_the_same_seed_plays_the_same_and_another_seed_does_not(name):
    one, same, other = (played(name, seed=seed) for seed in (3, 3, 4))
    assert one == same
    assert one != other
    lead = style(name).lead.name
    assert [n.midi for n in track(one, lead)] == [n.midi for n in track(other, lead)]


def test_another_seed_changes_fills_patterns_and_touch_but_not_the_tune():
    songs = [played("rock", seed=seed) for seed in range(6)]
    fills = {
        tuple(n.midi for n in track(s, "Drums") if 12 <= s.grid.beat_at(n.onset) < 15.9)
        for s in songs
    }
    assert len(fills) > 1
    assert len({track(s, "Lead guitar") for s in songs}) == 1


def test_a_pick_up_is_sung_alone_but_for_the_drummer():
    tempo, seconds = 120.0, 16.0
    grid = steady(tempo, seconds, 4, first_downbeat=1.0)
    sung = (Note(0.0, 0.45, 55), Note(0.5, 0.95, 57), *notes(start=1.0)[:20])
    chords = parse_progression("C | F | G | C", grid, seconds)
    song = arrange(style("pop"), grid, chords, C_MAJOR, seconds, melody=sung)
    for name in ("Bass", "Piano"):
        assert min(n.onset for n in track(song, name)) == pytest.approx(1.0, abs=0.03)
    before = [n for n in track(song, "Drums") if n.onset < 0.95]
    assert 1 <= len(before) <= 8
    assert not [n for n in drum(song, "kick") if n.onset < 0.95]
    assert track(song, "Lead")[0].onset == 0.0


def test_bars_before_the_singer_are_an_intro():
    tempo, seconds = 120.0, 20.0
    grid = steady(tempo, seconds)
    sung = notes(start=4.0)[:25]
    chords = parse_progression("C | F | G | C", grid, seconds)
    song = arrange(style("pop"), grid, chords, C_MAJOR, seconds, melody=sung)
    assert min(n.onset for n in track(song, "Piano")) < 0.1
    assert min(n.onset for n in drum(song, "kick")) < 0.1
    assert min(n.onset for n in track(song, "Bass")) == pytest.approx(4.0, abs=0.03)


@pytest.mark.parametrize("name", [n for n in styles() if n != "waltz"])
def test_every_style_closes_on_the_last_downbeat_and_rings_out(name):
    song = played(name)
    assert song.closing == pytest.approx(song.grid.time_at(32), abs=1e-6)
    for t in song.tracks:
        answers = {layer.name for layer in style(name).layers if layer.kind == "answer"}
        if t.drums or t.name == style(name).lead.name or t.name in answers:
            continue
        assert t.notes[-1].onset >= song.closing - 0.02, t.name
    low = next(la.name for la in style(name).layers if la.kind in ("bass", "walk"))
    assert track(song, low)[-1].midi % 12 == 0  # the last chord is C
    if style(name).drums:
        assert max(n.onset for n in track(song, "Drums")) <= song.closing + 0.02
    assert max(n.offset for t in song.tracks for n in t.notes) == pytest.approx(song.seconds)


def test_a_tune_in_four_is_put_into_bars_of_three_for_a_waltz():
    seconds = 16.0
    grid = steady(120, seconds)
    chords = parse_progression("C | F", grid, seconds)
    song = arrange(style("waltz"), grid, chords, C_MAJOR, seconds, melody=on_grid(grid))
    assert song.grid.beats == grid.beats
    assert song.grid.beats_per_bar == 3
    assert "in_three" in [remark.code for remark in song.remarks]
    chords_at = places(track(song, "Pizzicato"), song.grid, size=3, bars=range(5), steps=2)
    assert chords_at >= {1.0, 2.0}


def test_a_tune_in_three_keeps_its_bars_in_a_style_in_four():
    seconds = 18.0
    grid = steady(120, seconds, 3)
    chords = parse_progression("C | F", grid, seconds)
    song = arrange(style("rock"), grid, chords, C_MAJOR, seconds, melody=on_grid(grid))
    assert places(drum(song, "snare"), grid, size=3, bars=[1, 2], steps=4) == {2.0}
    assert 0.0 in places(drum(song, "kick"), grid, size=3, bars=[1, 2], steps=4)
    roots = [n.midi % 12 for n in track(song, "Bass") if abs(n.onset - 1.5) < 0.03]
    assert roots == [5]  # the second bar's chord is F, a bar being three beats long


@pytest.mark.parametrize(
    ("name", "tempo", "factor"),
    [("house", 62, 2), ("reggae", 152, 0.5), ("pop", 108, 1), ("disco", 104, 1), ("metal", 70, 2)],
)
def test_a_tempo_far_outside_a_style_is_played_in_double_or_half_time(name, tempo, factor):
    seconds = 24.0
    grid = steady(tempo, seconds)
    assert pace(grid, style(name)) == factor
    chords = parse_progression("C | F", grid, seconds)
    song = arrange(style(name), grid, chords, C_MAJOR, seconds, melody=on_grid(grid))
    assert song.grid == grid  # the voice's own time stays
    said = " ".join(map(str, song.remarks))
    assert ("double" in said, "half" in said) == (factor == 2, factor == 0.5)


def test_double_time_house_puts_a_kick_on_every_half_beat_of_the_voice():
    seconds = 24.0
    grid = steady(62, seconds)
    chords = parse_progression("C | F", grid, seconds)
    song = arrange(style("house"), grid, chords, C_MAJOR, seconds, melody=on_grid(grid))
    places_of_kick = places(drum(song, "kick"), grid, bars=[1], steps=4)
    assert places_of_kick == {i / 2 for i in range(8)}


def test_bars_of_two_are_played_as_halves_of_bars_of_four():
    assert barred(steady(100, 10, 2), style("pop")).beats_per_bar == 4
    assert barred(steady(100, 10, 5), style("pop")).beats_per_bar == 5


def test_the_bass_takes_a_chord_that_changes_in_mid_bar():
    song = played("orchestral")  # one long note per bar, but bar 2 is F then C
    bass = track(song, "Low strings")
    second = [n.midi % 12 for n in bass if 3.9 < song.grid.beat_at(n.onset) < 7.9]
    assert second[0] == 5
    assert 0 in second[1:]


@pytest.mark.parametrize("name", styles())
def test_chords_do_not_rub_against_long_notes_of_the_tune(name):
    song = played(name, seed=5)
    sung = track(song, style(name).lead.name)
    chordal = {la.name for la in style(name).layers if la.kind in ("comp", "pad")}
    rubs = struck = 0
    for t in song.tracks:
        for n in t.notes if t.name in chordal else ():
            together = [
                s
                for s in sung
                if min(s.offset, n.offset) - max(s.onset, n.onset)
                > max(0.15, 0.6 * (n.offset - n.onset))
            ]
            struck += 1
            rubs += any((s.midi - n.midi) % 12 in (1, 11) for s in together)
    assert rubs <= 0.02 * max(struck, 100)


def test_a_note_between_two_keys_is_played_between_them_in_arabic_music_only():
    sung = tuple(
        Note(n.onset, n.offset, n.midi, 45.0 if i == 3 else 12.0)
        for i, n in enumerate(notes(tempo=100))
    )
    seconds = 20.0
    grid = steady(100, seconds)
    chords = parse_progression("C", grid, seconds)
    for name, lead in (("arabic", "Oud"), ("pop", "Lead")):
        song = arrange(style(name), grid, chords, C_MAJOR, seconds, melody=sung)
        bent = {round(n.onset, 2) for n in track(song, lead) if n.bend}
        if name == "pop":
            assert not bent
        else:
            assert min(bent) == pytest.approx(sung[3].onset, abs=0.01)
            assert max(bent) < sung[4].onset


def test_words_alone_still_get_a_tune_of_chord_tones_on_strong_beats():
    song = played("pop", melody=False)
    lead = track(song, "Lead")
    assert len(lead) >= 16
    steps = np.abs(np.diff([n.midi for n in lead]))
    assert np.median(steps) <= 4
    strong = [n for n in lead if song.grid.beat_at(n.onset) % 4 < 0.05]
    for n in strong:
        span = next(s for s in reversed(song.chords) if s.start <= n.onset + 0.05)
        steps_up = {(n.midi - span.chord.root) % 12}
        assert steps_up <= set(QUALITIES[span.chord.quality])
    assert lead != track(played("pop", melody=False, seed=1), "Lead")


def test_answers_come_in_the_rests_of_the_tune_only():
    grid = steady(104, 20.0)
    sung = tuple(n for n in on_grid(grid) if (n.onset // grid.time_at(4)) % 2 == 0)
    chords = parse_progression("C | F | G | C", grid, 20.0)
    song = arrange(style("funk"), grid, chords, C_MAJOR, 20.0, melody=sung, seed=2)
    horns = track(song, "Horns")
    assert len(horns) >= 3
    for n in horns:
        assert not [s for s in sung if s.onset < n.onset < s.offset]


def test_a_tune_is_moved_by_octaves_into_its_instrument():
    assert fitted_octave([48, 52, 55], 60, 84) == 24
    assert fitted_octave([60, 64, 67], 55, 79) == 0
    assert fitted_octave([84, 88, 91], 48, 72) == -24


chords = st.builds(
    Chord, st.integers(0, 11), st.sampled_from(["maj", "min", "7", "maj7", "m7", "dim", "m7b5"])
)


@given(st.lists(chords, min_size=2, max_size=6), st.integers(45, 62), st.integers(3, 5))
@settings(max_examples=60, deadline=None)
def test_voicings_hold_the_chord_in_register_and_move_little(sequence, low, voices):
    last = ()
    for chord in sequence:
        wanted = tones(chord, voices)
        found = voicing(wanted, low, low + 19, voices, last)
        assert {n % 12 for n in found} == set(wanted[: max(voices, 3)])
        assert all(low <= n <= low + 19 for n in found)
        assert list(found) == sorted(set(found))
        if last:
            assert movement(last, found) <= 12
        last = found


def test_a_cadence_is_led_smoothly():
    last = ()
    moved = []
    for text in ("C", "F", "G", "C", "Am", "F", "G", "C"):
        chord = parse_progression(text, steady(60, 4), 4)[0].chord
        now = voicing(tones(chord, 4), 57, 72, 4, last)
        if last:
            moved.append(movement(last, now) / 2)
        last = now
    assert np.mean(moved) < 2.2  # root-position blocks move 4 semitones on average
    assert max(moved) < 4


@given(
    st.lists(st.integers(40, 80), min_size=2, max_size=5, unique=True),
    st.sets(st.integers(0, 11), max_size=3),
)
def test_what_is_left_clear_of_the_tune_does_not_rub_unless_too_little_would_stay(played, sung):
    left = clear_of(sorted(played), sung)
    assert len(left) >= 2
    if len(left) < len(played):
        assert not any((n - s) % 12 in (1, 11) for n in left for s in sung)


def test_colours_follow_the_key():
    key = parse_key("C")
    assert coloured(Chord(7, "maj"), key, "sevenths").quality == "7"
    assert coloured(Chord(0, "maj"), key, "sevenths").quality == "maj7"
    assert coloured(Chord(2, "min"), key, "sevenths").quality == "m7"
    assert coloured(Chord(5, "maj"), key, "dominant").quality == "7"
    assert coloured(Chord(5, "maj"), key, "triads").quality == "maj"
    assert coloured(Chord(5, "sus4"), key, "sevenths").quality == "sus4"


@given(
    name=st.sampled_from(tuple(styles())),
    tempo=st.floats(40, 240),
    size=st.integers(2, 7),
    seconds=st.floats(1.0, 25.0),
    start=st.floats(-2.0, 6.0),
    seed=st.integers(0, 2**31 - 1),
    role=st.sampled_from(["tune", "back"]),
    sung=st.lists(
        st.tuples(st.floats(0, 24), st.floats(0.05, 2), st.integers(30, 90)), max_size=12
    ),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_asked_the_notes_are_playable(
    name, tempo, size, seconds, start, seed, role, sung
):
    grid = steady(tempo, seconds, size, start)
    ends = [*sorted({o for o, _, _ in sung}), seconds]
    tune = tuple(
        Note(o, min(o + d, end), m)
        for (o, d, m), end in zip(sorted(sung), [*ends[1:], seconds], strict=False)
        if o < min(end, seconds) - 0.05
    )
    spans = (
        ChordSpan(0.0, seconds / 2, Chord(9, "min")),
        ChordSpan(seconds / 2, seconds, Chord(2, "7")),
    )
    song = arrange(
        style(name), grid, spans, parse_key("Am"), seconds, melody=tune, role=role, seed=seed
    )
    assert len({t.name for t in song.tracks}) == len(song.tracks)
    for t in song.tracks:
        assert list(t.notes) == sorted(t.notes, key=lambda n: n.onset)
        for n in t.notes:
            assert 0 <= n.onset < n.offset <= seconds + 1e-9
            assert 0 <= n.midi <= 127
            assert 1 <= n.velocity <= 127
        by_key = itertools.groupby(
            sorted(t.notes, key=lambda n: (n.midi, n.onset)), lambda n: n.midi
        )
        for _, same in by_key:
            for a, b in itertools.pairwise(same):
                assert a.offset <= b.onset + 1e-9
