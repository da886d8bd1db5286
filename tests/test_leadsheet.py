"""Lead sheets: what a notation program reads back is what was sung."""

from fractions import Fraction
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.chords import QUALITIES, Chord, ChordSpan, Key, parse_key, parse_progression
from voice2music.dataset.musicxml import read_musicxml
from voice2music.leadsheet import chord_sheet, musicxml
from voice2music.notes import Note
from voice2music.rhythm import Grid

music21 = pytest.importorskip("music21")
BEAT = 0.5  # s


def steady(seconds: float, per_bar: int = 4, downbeat: int = 0) -> Grid:
    count = int(seconds / BEAT) + 2 + downbeat
    return Grid(tuple(i * BEAT for i in range(count)), downbeat, per_bar, 60 / BEAT)


def in_beats(*notes: tuple[float, float, int]) -> tuple[Note, ...]:
    """Notes out of start, end (beats) and MIDI note."""
    return tuple(Note(a * BEAT, b * BEAT, midi) for a, b, midi in notes)


def parsed(xml: str):
    return music21.converter.parseData(xml, format="musicxml").parts[0]


def measures(part) -> list:
    return list(part.getElementsByClass("Measure"))


def sounding(part) -> list[tuple[float, float, int]]:
    """Notes as they sound, ties joined: start, end in quarters, MIDI note."""
    joined = part.stripTies().flatten().notes
    return [
        (float(n.offset), float(n.offset + n.quarterLength), n.pitch.midi)
        for n in joined
        if not isinstance(n, music21.harmony.ChordSymbol)
    ]


@st.composite
def placed_tunes(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Start, end in sixteenths from the first beat, MIDI note."""
    steps = draw(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(1, 24), st.integers(45, 80)),
            min_size=1,
            max_size=20,
        )
    )
    notes, now = [], 0
    for gap, length, midi in steps:
        now += 0 if gap == 1 else gap  # one sixteenth is taken for a breath and filled
        notes.append((now, now + length, midi))
        now += length
    return notes


@settings(deadline=None, max_examples=40)
@given(placed_tunes(), st.integers(2, 7), st.integers(0, 2), st.integers(0, 11))
def test_every_note_comes_back_at_its_place_and_every_bar_is_full(tune, per_bar, pick_up, tonic):
    downbeat = min(pick_up, per_bar - 1)
    notes = in_beats(*((a / 4, b / 4, midi) for a, b, midi in tune))
    seconds = notes[-1].offset
    grid = steady(seconds, per_bar, downbeat)
    chords = parse_progression("C | F G", grid, seconds)
    part = parsed(musicxml(notes, chords, grid, Key(tonic, "major"), "Tune"))
    first, *rest = measures(part)
    begins = notes[0].onset < downbeat * BEAT
    shift = downbeat * 4 - (-(-(downbeat * 4 - tune[0][0]) // 4) * 4 if begins else 0)
    assert sounding(part) == [((a - shift) / 4, (b - shift) / 4, midi) for a, b, midi in tune]
    for measure in rest if begins else [first, *rest]:
        written = sum(Fraction(n.quarterLength) for n in measure.notesAndRests if not chord_of(n))
        assert written == per_bar


def chord_of(element) -> bool:
    return isinstance(element, music21.harmony.ChordSymbol)


def test_a_pick_up_is_a_short_first_bar():
    notes = in_beats((1, 2, 67), (2, 4, 72), (4, 6, 76))
    grid = steady(3.0, downbeat=2)
    part = parsed(musicxml(notes, (), grid, parse_key("C"), "Tune"))
    first, second = measures(part)
    assert first.number == 0
    assert first.duration.quarterLength == 1
    assert [n.pitch.midi for n in second.notes] == [72, 76]


def test_a_note_over_the_bar_line_is_tied():
    notes = in_beats((3, 6, 60))
    part = parsed(musicxml(notes, (), steady(4.0), parse_key("C"), "Tune"))
    tied = list(part.flatten().notes)
    assert [n.tie.type for n in tied] == ["start", "stop"]
    assert [n.quarterLength for n in tied] == [1, 2]


@pytest.mark.parametrize(
    ("start", "end", "lengths"),
    [
        (0.5, 1.5, [1.0]),  # a syncopation every musician knows
        (0.75, 2.0, [0.25, 1.0]),  # off the eighths, so the next beat is shown
        (0.0, 2.5, [2.0, 0.5]),
        (1.0, 4.0, [3.0]),
        (0.5, 3.0, [1.5, 1.0]),
    ],
)
def test_long_notes_are_cut_where_a_reader_expects_it(start, end, lengths):
    part = parsed(musicxml(in_beats((start, end, 60)), (), steady(2.0), parse_key("C"), ""))
    assert [n.quarterLength for n in part.flatten().notes] == lengths


def test_elements_come_in_the_order_that_the_schema_asks_for():
    order = {
        "note": ["pitch", "rest", "duration", "tie", "voice", "type", "dot", "notations"],
        "harmony": ["root", "kind", "bass", "degree", "offset"],
        "attributes": ["divisions", "key", "time", "clef"],
        "score-partwise": ["work", "part-list", "part"],
        "direction": ["direction-type", "sound"],
    }
    grid = steady(8.0, downbeat=1)
    spans = parse_progression("C7b9/E F | G", grid, 8.0)
    notes = in_beats((0, 3, 60), (3.5, 7, 62), (9, 9.75, 64))
    root = ElementTree.fromstring(musicxml(notes, spans, grid, parse_key("F"), "Tune"))
    for name, children in order.items():
        found = list(root.iter(name))
        assert found
        for element in found:
            places = [children.index(child.tag) for child in element]
            assert places == sorted(places)


def test_key_metre_tempo_and_title_are_written():
    grid = steady(6.0, 3)
    notes = in_beats((0, 3, 70), (3, 6, 74))
    xml = musicxml(notes, (), grid, parse_key("Gm"), 'Hum & "strum" <1>\x00')
    score = music21.converter.parseData(xml, format="musicxml")
    part = score.parts[0]
    assert score.metadata.title == 'Hum & "strum" <1>'
    assert part.flatten().getElementsByClass("KeySignature")[0].sharps == -2
    assert part.flatten().getElementsByClass("TimeSignature")[0].ratioString == "3/4"
    assert part.flatten().getElementsByClass("MetronomeMark")[0].number == 120
    assert [n.pitch.name for n in part.flatten().notes] == ["B-", "D"]


def test_notes_are_spelled_by_the_key_in_the_right_octave():
    notes = in_beats((0, 1, 66), (1, 2, 71), (2, 3, 72))
    part = parsed(musicxml(notes, (), steady(2.0), parse_key("Gb"), "Tune"))
    assert [(n.pitch.name, n.pitch.midi) for n in part.flatten().notes][:2] == [
        ("F#", 66),
        ("B", 71),
    ]
    part = parsed(musicxml(notes, (), steady(2.0), parse_key("Ebm"), "Tune"))
    assert [(n.pitch.name, n.pitch.midi) for n in part.flatten().notes] == [
        ("G-", 66),
        ("C-", 71),
        ("C", 72),
    ]


@pytest.mark.parametrize("quality", sorted(QUALITIES))
def test_every_chord_quality_comes_back_with_its_tones(quality):
    chord = Chord(9, quality)
    spans = (ChordSpan(0, 2, chord),)
    part = parsed(musicxml(in_beats((0, 4, 69)), spans, steady(2.0), parse_key("A"), "Tune"))
    (symbol,) = part.flatten().getElementsByClass("ChordSymbol")
    assert symbol.root().name == "A"
    tones = {p.pitchClass for p in symbol.pitches}
    ours = {(9 + step) % 12 for step in QUALITIES[quality]}
    # Players leave the ninth and the eleventh out of a thirteenth, music21 does not.
    assert tones == ours if quality != "13" else tones > ours


def test_chord_symbols_stand_where_they_change_even_inside_a_note():
    grid = steady(4.0)
    spans = parse_progression("C | F G/B", grid, 4.0)
    part = parsed(musicxml(in_beats((0, 8, 67)), spans, grid, parse_key("C"), "Tune"))
    symbols = part.flatten().getElementsByClass("ChordSymbol")
    assert [(s.offset, s.figure) for s in symbols] == [(0, "C"), (4, "F"), (6, "G/B")]


def test_a_short_last_bar_is_filled_and_a_hair_past_the_line_adds_none():
    spans = parse_progression("C", steady(4.0), 4.1)
    part = parsed(musicxml(in_beats((0, 5, 60)), spans, steady(4.0), parse_key("C"), "Tune"))
    assert len(measures(part)) == 2


def test_crowded_notes_are_all_kept():
    notes = tuple(Note(0.02 * i, 0.02 * i + 0.02, 60 + i) for i in range(6))
    part = parsed(musicxml(notes, (), steady(4.0), parse_key("C"), "Tune"))
    found = sounding(part)
    assert [midi for _, _, midi in found] == [60, 61, 62, 63, 64, 65]
    assert all(a[1] <= b[0] for a, b in pairwise(found))


def test_no_notes_give_rests_under_the_chords():
    grid = steady(4.0)
    spans = parse_progression("C | G7", grid, 4.0)
    part = parsed(musicxml((), spans, grid, parse_key("C"), "Chords only"))
    assert [r.quarterLength for r in part.flatten().getElementsByClass("Rest")] == [4, 4]
    assert len(part.flatten().getElementsByClass("ChordSymbol")) == 2
    assert not sounding(part)


def test_low_voices_get_a_low_clef():
    part = parsed(musicxml(in_beats((0, 4, 48)), (), steady(2.0), parse_key("C"), "Tune"))
    assert part.flatten().getElementsByClass("Clef")[0].octaveChange == -1
    assert part.flatten().notes[0].pitch.midi == 48


def test_our_own_reader_reads_what_we_write():
    grid = steady(4.0)
    spans = parse_progression("C | Am F", grid, 4.0)
    notes = in_beats((0, 2, 64), (2, 3, 67), (3, 5, 69), (5, 8, 65))
    sheet = read_musicxml(musicxml(notes, spans, grid, parse_key("C"), "Tune").encode(), "Tune")
    assert [(n.start, n.end, n.midi) for n in sheet.notes] == [
        (0, 2, 64),
        (2, 3, 67),
        (3, 5, 69),
        (5, 8, 65),
    ]
    assert [(c.start, c.chord.symbol) for c in sheet.chords] == [(0, "C"), (4, "Am"), (6, "F")]


def test_the_chord_sheet_has_four_bars_to_a_line():
    grid = steady(10.0)
    spans = parse_progression("Bb | Gm7 | Eb F | F7", grid, 10.0)
    assert chord_sheet(spans, grid, parse_key("Bb")) == (
        "Bb major, 120 beats per minute, 4 to the bar\n| Bb   | Gm7  | Eb F | F7   |\n| Bb   |\n"
    )
