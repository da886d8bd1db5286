import json
from pathlib import Path

import numpy as np
import pytest

from voice2music.chords import Key
from voice2music.dataset.musicxml import LeadSheet, SheetNote
from voice2music.dataset.openewld import listed_works, open_archive, read_sheet
from voice2music.dataset.tune_counts import counts_of, studied
from voice2music.metre import COUNTS, TICKS, metres

ARCHIVE = Path(__file__).parents[1].parent / "shared/data/symbolic/OpenEWLD.tar.xz"


def sheet(*rows, metre="4/4", quarters=1.0, tonic=0):
    notes = tuple(SheetNote(start, end, midi) for start, end, midi in rows)
    beats = {"4/4": 4, "2/2": 2, "3/4": 3, "6/8": 2}[metre]
    return LeadSheet("t", notes, (), Key(tonic, "major"), metre, beats, quarters, None, 8.0)


def test_a_bar_of_four_is_counted_note_by_note():
    counts = counts_of([sheet((0, 1, 60), (1, 1.5, 62), (1.5, 2, 64), (2, 4, 65), (4, 8, 60))])
    four = counts["four"]
    assert four["bars"] == 1.0
    assert four["onset"] == {0: 1, 12: 1, 18: 1, 24: 1}
    assert four["start"] == {0: 1}
    assert four["first"] == {0: 2}  # the tune, and the phrase after the half note
    assert four["last"] == {24: 1, 0: 1}
    assert four["moves"] == {0: {12: 1}, 12: {6: 1}, 18: {6: 1}, 24: {24: 1}}


def test_halves_of_two_two_are_counted_as_quarters_of_four_four():
    written = [(0, 1, 60), (1, 2, 62), (2, 4, 64)]
    halved = [(a / 2, b / 2, midi) for a, b, midi in written]
    four = counts_of([sheet(*written)])
    two = counts_of([sheet(*halved, metre="2/2", quarters=2.0)])
    assert two == four


def test_other_metres_are_left_out_of_the_bars_but_not_of_the_degrees():
    counts = counts_of([sheet((0, 1, 62), (1, 2, 66), metre="6/8", quarters=1.5, tonic=2)])
    assert counts["four"]["onset"] == {}
    assert counts["degrees"] == [0.5, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0]


def test_some_sheets_are_studied_and_more_are_left_for_the_benchmark():
    works = list(listed_works())
    assert 20 <= sum(studied(work) for work in works) <= len(works) / 2


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="OpenEWLD is not on this machine")
def test_the_committed_counts_are_those_of_the_archive():
    archive = open_archive(ARCHIVE)
    sheets = [read_sheet(archive, work) for work in listed_works() if studied(work)]
    assert json.loads(json.dumps(counts_of(sheets))) == json.loads(COUNTS.read_text())


def test_the_tables_are_probabilities_and_downbeats_the_busiest_place():
    for metre in metres():
        assert ((metre.onset > 0) & (metre.onset < 1)).all()
        assert int(np.argmax(metre.onset)) == 0
        for table in (metre.start, metre.first, metre.last):
            assert np.exp(table).sum() == pytest.approx(1)
        assert metre.ticks == metre.beats * TICKS
