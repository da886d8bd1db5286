"""The sheet on a data set of songs: its numbers, strangers' texts, empty sets, whole files."""

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from voice2music.clip import Clip, silence, write
from voice2music.dataset.songs import charts
from voice2music.dataset.songs.datasheet import write_datasheet
from voice2music.dataset.songs.refusals import Refusal
from voice2music.dataset.songs.sheet import LONGEST, Section, Sheet, Table, html, markdown
from voice2music.dataset.songs.spectrograms import BANDS, HOP, RATE, log_mel, picture

MADE = {"program": "voice2music 1.0", "command": "voice2music dataset songs in out", "seed": "7"}
# Tags, attributes, comments, Markdown of all kinds, ends of cells and lines, directions turned, a
# name that is no UTF-8.
EVIL = (
    "<script>alert(1)</script>",
    "</td></table></style><img src=http://evil.example/x onerror=alert(1)>",
    '" onmouseover="alert(1)" \'',
    "--><svg onload=alert(1)>",
    "a | b \\| c \\",
    "one\ntwo\r\n\n# three\u2028four\x00\x1b[31m",
    "![x](http://evil.example/x) [y](javascript:alert(1)) `code` **bold** ~~gone~~ _so_ $x$",
    "&lt;b&gt; &amp; &#60;script>",
    "\u202egnp.exe",
    "caf\udce9.mp3",
    "x" * 5000,
)


def row(song, chunk=0, /, **other):
    model = other.get("model", "musicgen")
    known = {
        "id": f"{song}-{model}-{chunk}",
        "model": model,
        "split": "train",
        "voice": {"file": f"voice/{song}.flac", "sha256": ""},
        "music": {"file": f"music/{song}.flac", "sha256": ""},
        "start": 65.0,
        "end": 95.0,
        "seconds": 30.0,
        "song": f"Song {song}",
        "song_id": f"song-{song}",
        "artist": f"Artist {song}",
        "genre": "folk",
        "genre_from": "tag",
        "mood": "",
        "language": "French",
        "licence": "CC0-1.0",
        "consent": "written",
        "bpm": 100.0,
        "key": "C major",
        "tuning": 0.0,
        "range": [60, 67],
        "voiced": 0.5,
        "captions": ["", "Folk music"],
        "separation": "htdemucs",
    }
    return known | other


def several():
    """Song 1: an hour in 120 chunks; 2 and 3: by one artist; 4: little is known of it."""
    ldm = {"model": "audioldm", "seconds": 20.0}
    unknown = {"artist": "", "genre": "", "genre_from": "", "language": "", "licence": ""}
    unknown |= {"bpm": None, "key": "", "range": None, "consent": "", "separation": ""}
    both = {"artist": "Artist 2", "language": "Arabic", "genre": "tarab", "genre_from": "clap"}
    return [
        *(row(1, i) for i in range(120)),
        *(row(1, i, **ldm) for i in range(90)),
        row(2, **both, split="valid", bpm=59.4, key="D minor", range=[57, 63]),
        row(2, **both, **ldm, split="valid", bpm=59.6, key="D minor", range=[57.2, 64]),
        row(3, **both, split="valid", seconds=25.0000001, bpm=250.0, key="D minor"),
        row(4, **unknown, split="test", seconds=12.5),
    ]


@pytest.fixture
def folder(tmp_path):
    chance = np.random.default_rng(0)
    for part in ("voice", "music"):
        (tmp_path / part).mkdir()
        for song in range(5):
            samples = 0.1 * chance.standard_normal(RATE).astype(np.float32)
            write(Clip(samples, RATE), tmp_path / part / f"{song}.flac")
    return tmp_path


def sheets(folder, rows, refused=(), made_by=MADE):
    paths = write_datasheet(folder, rows, refused, made_by)
    assert [path.name for path in paths] == ["datasheet.md", "datasheet.html"]
    return [path.read_text("utf-8") for path in paths]


# --- readers of what was written -----------------------------------------------------------------


class Page(HTMLParser):
    """Tags, attributes, texts and tables of an HTML file."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.tables, self.words = [], [], {}, []
        self._open, self._caption, self._rows = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._open.append(tag)
        if tag == "table":
            self.tables[self._caption] = []
        elif tag == "tr":
            self.tables[self._caption].append([])
        elif tag in ("td", "th"):
            self.tables[self._caption][-1].append("")
        elif tag == "h3":
            self._caption = ""

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        self.words.append(data)
        if "h3" in self._open:
            self._caption += data
        elif {"td", "th"} & set(self._open):
            self.tables[self._caption][-1][-1] += data


def marked_tables(text):
    """Tables of a Markdown file by the heading above, as GitHub's rules read them."""
    found, heading, tokens = {}, "", MarkdownIt("commonmark").enable("table").parse(text)
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            heading = token.content
        elif token.type == "table_open":
            found[heading] = []
        elif token.type == "tr_open":
            found[heading].append([])
        elif before.type in ("th_open", "td_open"):
            assert {child.type for child in token.children} <= {"text", "text_special"}
            found[heading][-1].append("".join(child.content for child in token.children))
    return found


def as_shown(text):
    """How a text must come out: one line, nothing unseen, not endless."""
    plain = re.sub(r"[\x00-\x1f\u2028\u202e]", " ", text.replace("\udce9", "?"))
    line = " ".join(plain.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


# --- numbers -------------------------------------------------------------------------------------


def test_songs_artists_chunks_and_hours_are_counted_by_model_and_split(folder):
    marked, page = sheets(folder, several())
    musicgen = [
        ["split", "songs", "artists", "chunks", "hours"],
        ["train", "1", "1", "120", "1.00"],
        ["valid", "2", "1", "2", "0.02"],
        ["test", "1", "0", "1", "<0.01"],
        ["all", "4", "2", "123", "1.02"],
    ]
    audioldm = [
        ["split", "songs", "artists", "chunks", "hours"],
        ["train", "1", "1", "90", "0.50"],
        ["valid", "1", "1", "1", "0.01"],
        ["test", "0", "0", "0", "0.00"],
        ["all", "2", "2", "91", "0.51"],
    ]
    for tables in (Page(page).tables, marked_tables(marked)):
        assert tables["For MusicGen: chunks of up to 30 s"] == musicgen
        assert tables["For AudioLDM: chunks of up to 20 s"] == audioldm
    lead = (
        "4 songs by 2 known artists: 1.02 hours in 123 chunks for MusicGen and 0.51 hours in 91 "
        "chunks for AudioLDM."
    )
    assert lead in marked
    assert lead in page


def test_shares_are_of_songs_the_unknown_last(folder):
    marked, page = sheets(folder, several())
    languages = [
        ["language", "songs", "share", "hours, MusicGen", "hours, AudioLDM"],
        ["Arabic", "2", "50 %", "0.02", "0.01"],
        ["French", "1", "25 %", "1.00", "0.50"],
        ["not known", "1", "25 %", "<0.01", "0.00"],
    ]
    for tables in (Page(page).tables, marked_tables(marked)):
        assert tables["Languages"] == languages
        assert [r[:3] for r in tables["How the genre is known"][1:]] == [
            ["guessed from the sound by CLAP", "2", "50 %"],
            ["the files' tags", "1", "25 %"],
            ["not known", "1", "25 %"],
        ]
        assert [r[:2] for r in tables["How voice and music were parted"][1:]] == [
            ["htdemucs", "3"],
            ["none: they came as two files", "1"],
        ]


def test_histograms_count_every_chunk_and_keep_the_gaps(folder):
    page = Page(sheets(folder, several())[1]).tables
    tempos = dict(r[:2] for r in page["Tempo"][1:])
    assert tempos.pop("under 60") == "1"
    assert (tempos.pop("60–69"), tempos.pop("100–109")) == ("1", "210")
    assert (tempos.pop("200 and more"), tempos.pop("not known")) == ("1", "1")
    assert set(tempos.values()) == {"0"}
    assert [r[:2] for r in page["Key"][1:]] == [
        ["C major", "210"],
        ["D minor", "3"],
        ["not known", "1"],
    ]
    # 60 to 67 is C4 to G4; 57 is A3, 63 D#4 and 64 E4.
    assert [r[:2] for r in page["Vocal range"][1:]] == [
        ["G#3–B3", "2"],
        ["C4–D#4", "213"],
        ["E4–G4", "212"],
        ["not known", "1"],
    ]
    assert [r[:2] for r in page["Length"][1:]] == [
        ["10–15", "1"],
        ["15–20", "91"],
        ["20–25", "1"],
        ["25–30", "121"],
    ]


def test_no_number_makes_a_histogram_endless():
    rows = [row(1, seconds=s, bpm=b) for s, b in ((0.0, 0.0), (60.004, 1e300), (1e12, -5.0))]
    lengths, tempos = charts.lengths(rows).rows, charts.tempos(rows).rows
    assert (len(lengths), lengths[0], lengths[-1]) == (13, ("0–5", "1"), ("over 60", "1"))
    assert lengths[-2] == ("55–60", "1")
    assert (tempos[0], tempos[-1]) == (("under 60", "2"), ("200 and more", "1"))
    ranges = charts.vocal_ranges([row(1, range=[-50.0, 1e9])]).rows
    assert (ranges[0], ranges[-1]) == (("C-1–D#-1", "1"), ("E9–G9", "1"))


def test_bars_are_as_long_as_the_numbers_say_and_not_read_out(folder):
    marked, page = sheets(folder, [row(1), row(1, 1), row(2, key="D minor")])
    assert re.findall(r'aria-hidden="true"><i style="width:([\d.]+)%', page)[1:3] == [
        "100.0",
        "50.0",
    ]
    keys = marked_tables(marked)["Key"][1:]
    assert [len(r[2]) for r in keys] == [20, 10]


def test_rare_values_are_added_up():
    rows = [row(i, genre=f"genre {i:02d}") for i in range(25)] + [row(25, genre="")]
    table = charts.shares(rows, "genre", "Genres")
    assert len(table.rows) == charts.MOST + 1
    assert [cells[:2] for cells in table.rows[-3:]] == [
        ("genre 18", "1"),
        ("6 others", "6"),
        ("not known", "1"),
    ]


def test_large_numbers_have_separators_and_small_ones_are_not_nothing():
    rows = [row(i, seconds=3600.0, genre="rare" if i == 0 else "folk") for i in range(1500)]
    folk, rare = charts.shares(rows, "genre", "Genres").rows
    assert folk == ("folk", "1,499", "100 %", "1,499.00")
    assert rare == ("rare", "1", "<1 %", "1.00")


def test_a_leak_between_splits_is_said(folder):
    rows = [row(1), row(1, 1, split="test"), row(2, artist="")]
    marked, _ = sheets(folder, rows)
    assert "In more than one split: 1 song and 1 known artist." in marked
    assert "Songs without a known artist: 1." in marked
    assert "No song and no known artist stands in two splits." in sheets(folder, several())[0]


def test_a_model_of_another_name_is_counted_too(folder):
    marked, _ = sheets(folder, [row(1), row(1, model="mine", seconds=7.25)])
    assert "For mine: chunks of up to 7.25 s" in marked


def test_refused_files_are_grouped_by_reason_and_each_is_named(folder):
    refused = [
        Refusal("b.mp3", "voice", "Sung in 2.5 % of it; 3 % are needed."),
        Refusal("a.mp3", "voice", "Sung in 0 % of it; 3 % are needed."),
        Refusal("c.wav", "read", "'c.wav' is empty (0 bytes)."),
        Refusal("d.wav", "read", "It doesn't hold audio."),
        Refusal("e.wav", "read", "It doesn't hold audio."),
    ]
    for rows in (several(), []):
        marked, page = sheets(folder, rows, refused)
        for tables in (Page(page).tables, marked_tables(marked)):
            assert tables["By reason"][1:] == [
                ["read", "It doesn't hold audio.", "2"],
                ["voice", "Sung in … % of it; … % are needed.", "2"],
                ["read", "'c.wav' is empty (0 bytes).", "1"],
            ]
            assert [r[0] for r in tables["Every refused file"][1:]] == [
                "c.wav",
                "d.wav",
                "e.wav",
                "a.mp3",
                "b.mp3",
            ]
        assert "Not taken: 5 files." in marked


# --- empty sets ----------------------------------------------------------------------------------


def test_an_empty_set_has_a_readable_sheet(tmp_path):
    for refused, why in (
        ((), "there were no songs"),
        ((Refusal("a.mp3", "read", "Empty."),), "every file was refused"),
    ):
        for text in sheets(tmp_path, [], refused, MADE if refused else {}):
            assert f"This data set is empty: {why}." in text
            assert "Languages" not in text
    assert "No file was refused." in sheets(tmp_path, [], (), {})[0]


# --- strangers' texts ----------------------------------------------------------------------------


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_strangers_texts_stay_texts(folder, evil):
    fields = ("song", "song_id", "artist", "genre", "mood", "language", "licence", "consent")
    rows = [row(1, **dict.fromkeys(fields, evil), captions=[evil], key=evil, separation=evil)]
    refused = [Refusal(evil, evil, evil)]
    plain = Page(sheets(folder, [row(1)], [Refusal("x", "y", "z")], {"a": "b"})[1])
    marked, text = sheets(folder, rows, refused, {evil: evil})
    page = Page(text)
    # Tags and attributes are those of a harmless set; only their texts differ.
    assert page.tags == plain.tags
    assert [name for name, _ in page.attributes] == [name for name, _ in plain.attributes]
    loaded = [value for name, value in page.attributes if name in ("src", "href")]
    assert all(value.startswith("data:image/png;base64,") for value in loaded)
    for tables in (page.tables, marked_tables(marked)):
        assert tables["Genres"][1][0] == as_shown(evil)
        assert tables["Every refused file"][1][0] == as_shown(evil)
        assert tables["Made with"][1] == [as_shown(evil)] * 2
        assert {len(cells) for cells in tables["Genres"]} == {4}
    assert "<" not in marked
    for lost in ("\x00", "\x1b", "\u2028", "\u202e", "\udce9"):
        assert lost not in marked + text


# --- the files -----------------------------------------------------------------------------------


def test_two_runs_give_the_same_bytes(folder):
    first = [text.encode() for text in sheets(folder, several())]
    assert [text.encode() for text in sheets(folder, several())] == first


def test_a_failing_write_leaves_no_half_file(folder, monkeypatch):
    def full(self, text, encoding):
        self.write_bytes(text.encode(encoding)[:100])
        raise OSError(28, "No space left on device")

    before = sheets(folder, several())
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(Path, "write_text", full)
        write_datasheet(folder, [], [], MADE)
    after = [(folder / name).read_text("utf-8") for name in ("datasheet.md", "datasheet.html")]
    assert after == before


def test_an_example_without_its_sound_is_said(tmp_path):
    for path in write_datasheet(tmp_path, [row(1)], [], MADE):
        assert "1 example could not be read" in path.read_text("utf-8")


# --- HTML ----------------------------------------------------------------------------------------


def test_the_page_stands_alone_and_is_in_order(folder):
    text = sheets(folder, several(), [Refusal("a", "read", "Empty.")])[1]
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "a"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert ("lang", "en") in page.attributes
    assert ("name", "viewport") in page.attributes
    assert "title" in page.tags
    assert "default-src 'none'" in text
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[:2] == [1, 2]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = [value for name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))
    assert {v for name, v in page.attributes if name == "aria-labelledby"} == set(names)


def test_colours_are_apart_enough_in_light_and_dark():
    style = html(Sheet("", "", ()))
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in style.split("@media", 1)]
    assert [len(theme) for theme in themes] == [6, 6]
    for theme in themes:
        for ground in ("page", "card"):
            assert contrast(theme["text"], theme[ground]) >= 7
            assert contrast(theme["soft"], theme[ground]) >= 4.5
            assert contrast(theme["bar"], theme[ground]) >= 3


def contrast(one, other):
    """WCAG's ratio."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.browser
def test_nothing_is_wider_than_a_phone(folder):
    pytest.importorskip("selenium", reason="selenium is not installed (requirements-test.txt)")
    from browser import CHROMIUM, DRIVER, NARROW, WIDE, visiting

    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with chromedriver here")
    long = "Donaudampfschifffahrtsgesellschaft" * 8
    fields = ("song", "artist", "genre", "language", "licence", "consent", "separation")
    rows = [row(1, seconds=3.6e10, **dict.fromkeys(fields, long), captions=[long])]
    refused = [Refusal(f"{long}/{long}.mp3", long, long), Refusal("موسيقى/تجربة.ogg", "read", "x")]
    _, page = write_datasheet(folder, rows, refused, {long: long})
    with visiting(folder, folder / "voice" / "1.flac") as visitor:
        for size in (WIDE, NARROW):
            visitor.window(*size)
            visitor.driver.get(page.as_uri())
            assert visitor.overflow() == 0
            assert visitor.find("img")[0].rect["height"] > 50
        assert visitor.complaints() == []


# --- tables and spectrograms ---------------------------------------------------------------------


def test_a_table_of_markdown_sets_numbers_right():
    table = Table("T", ("name", "a", "b"), (("x", "1", "2"),))
    text = markdown(Sheet("S", "L", (Section("P", (table, "Text.")),)))
    assert text == (
        "# S\n\nL\n\n## P\n\n### T\n\n| name | a | b |\n| --- | ---: | ---: |\n| x | 1 | 2 |\n\n"
        "Text.\n"
    )


def test_a_tone_is_bright_where_it_sounds():
    time = np.arange(RATE) / RATE
    level = log_mel(Clip((0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32), RATE))
    assert level.shape == (BANDS, RATE // HOP + 1)
    # 1,000 Hz is 1,000 mel, of 2,840 mel in 81 steps.
    assert np.median(level.argmax(axis=0)) == round(1000 / (2840 / (BANDS + 1))) - 1


def test_silence_is_black_and_noise_fills_the_picture():
    noise = Clip(np.random.default_rng(0).standard_normal(RATE).astype(np.float32), RATE)
    pictures = [Image.open(BytesIO(picture(clip))) for clip in (silence(1.0, RATE), noise)]
    black, bright = (np.asarray(image.convert("L")) for image in pictures)
    assert black.shape == bright.shape == (BANDS, RATE // HOP + 1)
    assert black.max() < 5
    assert bright.mean() > 100
    assert len(picture(silence(0.01, RATE))) > 0


def test_examples_are_of_different_songs_and_whole_pictures(folder):
    text = sheets(folder, several())[1]
    assert [word for word in Page(text).words if re.fullmatch(r"Song \d", word)] == [
        "Song 1",
        "Song 2",
        "Song 3",
    ]
    pictures = re.findall(r'<img alt="([^"]+)" src="data:image/png;base64,([^"]+)"', text)
    assert [alt for alt, _ in pictures][:2] == [
        "Voice of Song 1: spectrogram of 30 s",
        "Music of Song 1: spectrogram of 30 s",
    ]
    assert len(pictures) == 6
    assert "1:05 to 1:35 of the song" in text
    for _, data in pictures:
        Image.open(BytesIO(base64.b64decode(data))).load()
