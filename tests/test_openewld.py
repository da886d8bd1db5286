"""The cleared list, the lead sheet reader and the counts."""

import csv
import json
import sqlite3
import tarfile
import zipfile
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest

from voice2music.chord_model import FAMILIES, counts_to_json
from voice2music.chords import key_name, parse_chord
from voice2music.dataset.harmony_counts import COUNTS, counts_of, sheet_melody, sheet_states
from voice2music.dataset.musicxml import read_musicxml
from voice2music.dataset.openewld import (
    CLEARED,
    Archive,
    cleared_works,
    listed_works,
    open_archive,
    read_sheet,
    write_list,
)
from voice2music.errors import BadManifest

ARCHIVE = Path(__file__).parents[1].parent / "shared/data/symbolic/OpenEWLD.tar.xz"
needs_archive = pytest.mark.skipif(not ARCHIVE.exists(), reason="needs ../shared/data")


@pytest.fixture(scope="module")
def archive() -> Archive:
    return open_archive(ARCHIVE)


# --- the list --------------------------------------------------------------------------------


def test_every_listed_work_keeps_the_rule_by_its_own_columns():
    with CLEARED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 50
    for row in rows:
        authors, deaths = row["authors"].split("; "), row["deaths"].split("; ")
        assert len(authors) == len(deaths)
        assert int(row["year"]) <= 1930
        assert all(int(year) <= 1955 for year in deaths)
        # All authors stand in the folder's name, and nobody else does.
        folder = Path(row["path"]).parts[1].replace("_", " ")
        assert sorted("-".join(authors)) == sorted(folder)
    assert len({row["path"] for row in rows}) == len(rows)


def test_no_work_of_an_author_who_lived_on_is_listed():
    names = {name for work in listed_works() for name in work.authors}
    # Their works are in the archive under a co-author who died early.
    assert names.isdisjoint({"Ira Gershwin", "Richard Rodgers", "Irving Caesar", "Johnny Green"})


@needs_archive
def test_the_list_is_what_its_program_makes(archive, tmp_path):
    works = cleared_works(archive)
    assert works == tuple(listed_works())
    write_list(archive, works, tmp_path / "list.csv")
    assert (tmp_path / "list.csv").read_bytes() == CLEARED.read_bytes()


@needs_archive
def test_the_counts_are_what_their_program_makes(archive):
    sheets = [read_sheet(archive, work) for work in cleared_works(archive)]
    values = json.loads(COUNTS.read_text(encoding="utf-8"))
    assert counts_to_json(counts_of(sheets)) == {m: values[m] for m in ("major", "minor")}
    assert sum(values["works"].values()) == len(sheets)
    assert "public domain" in values["provenance"]


@needs_archive
def test_bars_of_every_cleared_sheet_lie_where_the_metre_says(archive):
    for work in cleared_works(archive):
        sheet = read_sheet(archive, work)
        assert all(a.end <= b.start for a, b in pairwise(sheet.notes))
        assert sheet.notes[0].start > -sheet.beats_per_bar
        assert sheet.chords[-1].end == pytest.approx(sheet.beats)
        on_beat = [round(c.start % sheet.beats_per_bar, 2) for c in sheet.chords]
        assert on_beat.count(0) == max(on_beat.count(beat) for beat in on_beat)


def test_an_author_without_a_death_year_keeps_a_work_out(tmp_path):
    path = made_archive(
        tmp_path,
        works=[
            ("One", "1900-01-01", "dataset/Ann_Lee/One/One.mxl"),
            ("Two", "1900-01-01", "dataset/Ann_Lee-Bo_Ek/Two/Two.mxl"),
            ("Three", "1931-01-01", "dataset/Ann_Lee/Three/Three.mxl"),
            ("Four", None, "dataset/Ann_Lee/Four/Four.mxl"),
            ("Five", "1930-12-31", "dataset/Ann_Lee-Jean-Luc_Roi/Five/Five.mxl"),
            ("Six", "1910-01-01", "dataset/Ann_Lee-Cy_Lo/Six/Six.mxl"),
            ("One again", "1900-01-01", "dataset/Ann_Lee/One/One.mxl"),
        ],
        authors=[
            ("Ann Lee", "1950-02-03"),
            ("Jean-Luc Roi", "1955-12-31"),
            ("Cy Lo", "1956-01-01"),
        ],
    )
    works = cleared_works(open_archive(path))
    assert [(work.title, work.deaths) for work in works] == [
        ("Five", (1950, 1955)),
        ("One", (1950,)),
    ]


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(BadManifest):
        open_archive(tmp_path / "absent.tar.xz")
    (tmp_path / "text.tar.xz").write_text("not an archive")
    with pytest.raises(BadManifest):
        open_archive(tmp_path / "text.tar.xz")


def made_archive(folder: Path, works: list, authors: list) -> Path:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE works (id, title, first_performance_date, path_leadsheet)")
    database.execute("CREATE TABLE authors (common_name, death)")
    for i, work in enumerate(works):
        database.execute("INSERT INTO works VALUES (?, ?, ?, ?)", (i, *work))
    database.executemany("INSERT INTO authors VALUES (?, ?)", authors)
    database.commit()
    files = {"OpenEWLD/OpenEWLD.db": database.serialize()}
    files |= {f"OpenEWLD/{path}": b"sheet" for _, _, path in works}
    with tarfile.open(folder / "made.tar.xz", "w:xz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    return folder / "made.tar.xz"


# --- the reader ------------------------------------------------------------------------------


def bar(content: str, attributes: str = "", barline: str = "") -> str:
    return f"<measure>{attributes}{content}{barline}</measure>"


def note(name: str, length: int, tie: str = "") -> str:
    if name == "r":
        return f"<note><rest/><duration>{length}</duration></note>"
    alter = f"<alter>{name.count('#') - name.count('b')}</alter>"
    pitch = f"<pitch><step>{name[0]}</step>{alter}<octave>{name[-1]}</octave></pitch>"
    ties = "".join(f'<tie type="{kind}"/>' for kind in tie.split())
    return f"<note>{pitch}<duration>{length}</duration>{ties}</note>"


def harmony(step: str, kind: str, extra: str = "") -> str:
    return (
        f"<harmony><root><root-step>{step}</root-step></root><kind>{kind}</kind>{extra}</harmony>"
    )


def sheet_of(*bars: str):
    text = f"<score-partwise><part>{''.join(bars)}</part></score-partwise>"
    return read_musicxml(text.encode(), "test")


def attributes(beats: int = 4, beat_type: int = 4, fifths: int = 0, divisions: int = 2) -> str:
    return (
        f"<attributes><divisions>{divisions}</divisions><key><fifths>{fifths}</fifths></key>"
        f"<time><beats>{beats}</beats><beat-type>{beat_type}</beat-type></time></attributes>"
    )


def test_ties_rests_pick_up_and_chords_are_read():
    sheet = sheet_of(
        bar(note("G4", 2), attributes()),
        bar(harmony("C", "major") + note("C5", 4) + note("r", 2) + note("E5", 2, "start")),
        bar(
            note("E5", 4, "stop")
            + harmony("G", "dominant", "<bass><bass-step>B</bass-step></bass>")
            + note("D5", 4)
        ),
    )
    assert [(n.start, n.end, n.midi) for n in sheet.notes] == [
        (-1, 0, 67),
        (0, 2, 72),
        (3, 6, 76),
        (6, 8, 74),
    ]
    assert [(c.start, c.end, c.chord.symbol) for c in sheet.chords] == [(0, 6, "C"), (6, 8, "G7/B")]
    assert (sheet.metre, sheet.beats_per_bar, sheet.beats) == ("4/4", 4, 8)


def test_repeats_are_played_with_their_endings():
    def ending(number: int, repeat: str = "") -> str:
        return (
            f'<barline location="left"><ending number="{number}" type="start"/></barline>'
            f'<barline location="right"><ending number="{number}" type="stop"/>{repeat}</barline>'
        )

    back = '<repeat direction="backward"/>'
    forward = '<barline location="left"><repeat direction="forward"/></barline>'
    sheet = sheet_of(
        bar(note("C4", 8), attributes()),
        bar(note("D4", 8), barline=forward),
        bar(note("E4", 8), barline=ending(1, back)),
        bar(note("F4", 8), barline=ending(2)),
        bar(note("G4", 8)),
    )
    assert [n.midi for n in sheet.notes] == [60, 62, 64, 62, 65, 67]
    assert sheet.beats == 24


def test_a_repeat_to_the_beginning_takes_the_pick_up_only_where_there_is_room():
    back = '<barline><repeat direction="backward"/></barline>'
    short_end = sheet_of(
        bar(note("G4", 2), attributes()), bar(note("C5", 8)), bar(note("E5", 6), barline=back)
    )
    assert [n.start for n in short_end.notes] == [-1, 0, 4, 7, 8, 12]
    full_end = sheet_of(
        bar(note("G4", 2), attributes()), bar(note("C5", 8)), bar(note("E5", 8), barline=back)
    )
    assert [n.midi for n in full_end.notes] == [67, 72, 76, 72, 76]
    assert [n.start for n in full_end.notes] == [-1, 0, 4, 8, 12]


def test_the_beat_is_the_metres_own():
    cut = sheet_of(bar(note("C4", 8), attributes(2, 2)))
    assert (cut.beats_per_bar, cut.quarters_per_beat, cut.beats) == (2, 2, 2)
    jig = sheet_of(bar(note("C4", 6), attributes(6, 8)))
    assert (jig.beats_per_bar, jig.quarters_per_beat, jig.beats) == (2, 1.5, 2)
    unsaid = sheet_of(bar(note("C4", 6), "<attributes><divisions>2</divisions></attributes>"))
    assert (unsaid.metre, unsaid.beats_per_bar) == ("3/4", 3)


def test_the_key_is_heard_even_where_the_signature_is_wrong():
    scale = "".join(note(name, 2) for name in ("G4", "A4", "B4", "C5", "D5", "E5", "F#5", "G5"))
    end = harmony("G", "major") + note("B4", 4) + note("G4", 4)
    sheet = sheet_of(
        bar(harmony("G", "major") + scale[: len(scale) // 2], attributes(fifths=0)),
        bar(scale[len(scale) // 2 :]),
        bar(end),
    )
    assert key_name(sheet.key) == "G major"


def test_packed_files_are_read_and_bombs_and_rubbish_are_not():
    plain = f"<score-partwise><part>{bar(note('C4', 8), attributes())}</part></score-partwise>"
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
        archive.writestr("tune.xml", plain)
    assert read_musicxml(packed.getvalue(), "tune").notes[0].midi == 60
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaa">]>' + plain
    for bad in (b"", b"MThd", b"<score", bomb.encode(), b"PK\x03\x04rubbish", b"<a/>"):
        with pytest.raises(BadManifest):
            read_musicxml(bad, "bad")


def test_segments_hold_the_chord_that_lasts_longest_and_what_is_sung():
    sheet = sheet_of(
        bar(
            harmony("C", "major")
            + note("C4", 4)
            + harmony("F", "major")
            + note("A4", 1)
            + harmony("G", "dominant")
            + note("B4", 3),
            attributes(),
        ),
        bar(harmony("C", "major") + note("C5", 8)),
    )
    tonic, dominant = 0, parse_chord("G").root * len(FAMILIES) + FAMILIES.index("7")
    assert sheet_states(sheet).tolist() == [tonic, dominant, tonic, tonic]
    sung = sheet_melody(sheet)
    assert sung[0, 0] == pytest.approx(1.5)  # the whole half bar, struck on its beginning
    assert sung[1, 11] == pytest.approx(0.75)  # three eighths of four
    assert sung[3, 0] == pytest.approx(1.0)  # held over, not struck
