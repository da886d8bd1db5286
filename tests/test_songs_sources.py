"""Which songs there are and what is known of them: tables, tags, ready pairs."""

import json

import pytest

from voice2music.dataset.songs.about import About, from_tags, read_table
from voice2music.dataset.songs.limits import read_limits
from voice2music.dataset.songs.sources import Patterns, patterns_of, songs
from voice2music.errors import BadManifest, BadRequest


def folder(tmp_path, *names):
    for name in names:
        path = tmp_path / "songs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "songs").mkdir(exist_ok=True)
    return tmp_path / "songs"


def table(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_audio_file_is_a_song_in_the_order_of_paths(tmp_path):
    there = folder(tmp_path, "b.mp3", "a/c.FLAC", "notes.txt", ".hidden.wav", "a/d.m4a")
    found = songs(there)
    assert [song.files for song in found] == [("a/c.FLAC",), ("a/d.m4a",), ("b.mp3",)]
    assert len({song.id for song in found}) == 3
    assert songs(there) == found


def test_two_files_of_one_name_are_two_songs(tmp_path):
    found = songs(folder(tmp_path, "x/song.mp3", "y/song.mp3"))
    assert len({song.id for song in found}) == 2


@pytest.mark.parametrize(
    "make", [lambda p: p / "nowhere", lambda p: folder(p), lambda p: folder(p, "a.txt")]
)
def test_no_songs_is_said(tmp_path, make):
    with pytest.raises(BadRequest, match="no folder|no song"):
        songs(make(tmp_path))


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    there = folder(tmp_path, "a.wav")
    (tmp_path / "secret.wav").write_bytes(b"x")
    (there / "link.wav").symlink_to(tmp_path / "secret.wav")
    assert [song.files for song in songs(there)] == [("a.wav",)]


def test_a_table_says_what_is_known(tmp_path):
    there = folder(tmp_path, "a.wav", "b.wav")
    csv = 'file,artist,genre,license,title\na.wav,"Ann, Bo",Disco,CC0,  Long\tname \n'
    first, second = songs(there, table(tmp_path, csv))
    assert first.about == About("Ann, Bo", "Long name", "Disco", licence="CC0", genre_from="table")
    assert second.about == About()


def test_json_says_the_same_as_csv(tmp_path):
    rows = [{"file": "a.wav", "artist": "Ann", "licence": "CC0"}]
    as_json = read_table(table(tmp_path, json.dumps(rows), "t.json"))
    assert as_json == read_table(table(tmp_path, "file,artist,licence\na.wav,Ann,CC0\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,singer\na.wav,Ann\n", "singer"),
        ("artist\nAnn\n", "which file"),
        ("", "columns"),
        ("file\na.wav\na.wav\n", "twice"),
        ("file\n../../secret.wav\n", "leads out"),
        ("file\n/etc/passwd\n", "leads out"),
        ("file,artist\n,Ann\n", "no file"),
        ("file,artist\na.wav,Ann,more\n", "more values"),
        ("voice,artist\na.wav,Ann\n", "which file"),
    ],
)
def test_a_wrong_table_is_refused_with_its_fault(tmp_path, text, says):
    with pytest.raises(BadManifest, match=says):
        read_table(table(tmp_path, text))


@pytest.mark.parametrize("text", ["{", '{"file": "a.wav"}', '["a.wav"]'])
def test_wrong_json_is_refused(tmp_path, text):
    with pytest.raises(BadManifest):
        read_table(table(tmp_path, text, "t.json"))


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"file\n\xff\xfe\n")
    with pytest.raises(BadManifest, match="UTF-8"):
        read_table(path)


def test_a_file_that_the_table_names_and_nobody_has_is_refused_by_name(tmp_path):
    there = folder(tmp_path, "a.wav")
    found = songs(there, table(tmp_path, "file\ngone.wav\n"))
    assert {song.name: bool(song.why_not) for song in found} == {"a.wav": False, "gone.wav": True}


def test_pairs_by_pattern(tmp_path):
    there = folder(tmp_path, "x/one_vox.wav", "x/one_inst.wav", "two_vox.wav", "other.wav")
    found = songs(there, patterns=Patterns("{song}_vox", "{song}_inst"))
    whole = {song.files: song.why_not for song in found}
    assert whole.pop(("x/one_vox.wav", "x/one_inst.wav")) == ""
    assert whole == {("two_vox.wav",): "its other half is missing",
                     ("other.wav",): "its name fits neither pattern of the pairs"}  # fmt: skip


def test_pairs_by_table(tmp_path):
    there = folder(tmp_path, "v.wav", "b.wav")
    (pair,) = songs(there, table(tmp_path, "vocals,instrumental,artist\nv.wav,b.wav,Ann\n"))
    assert pair.ready
    assert pair.files == ("v.wav", "b.wav")
    assert pair.about.artist == "Ann"


@pytest.mark.parametrize("names", [("{song}_v", None), ("v", "b"), ("{song}", "{song}")])
def test_wrong_patterns_are_refused(names):
    with pytest.raises(BadRequest, match="patterns"):
        patterns_of(*names)


def test_the_table_goes_before_the_tags():
    tags = from_tags({"ARTIST": "Tag", "Genre": "rock", "license": "CC BY"})
    assert About(artist="Table").over(tags) == About(
        artist="Table", genre="rock", licence="CC BY", genre_from="tag"
    )
    assert About(genre="Disco", genre_from="table").over(tags).genre_from == "table"


@pytest.mark.parametrize(
    ("notice", "licence"),
    [
        ("(P) 2019 Some Records", ""),
        ("© 2020 Ccby Music", ""),
        ("2021 Ann, CC BY 4.0", "2021 Ann, CC BY 4.0"),
        ("Creative Commons Attribution", "Creative Commons Attribution"),
        ("CC0", "CC0"),
        ("Public Domain", "Public Domain"),
    ],
)
def test_a_copyright_notice_is_no_licence_unless_it_names_one(notice, licence):
    assert from_tags({"copyright": notice}).licence == licence


def test_a_name_that_is_not_utf8_is_refused_and_the_others_go_on(tmp_path):
    there = folder(tmp_path, "a.wav")
    try:
        (there / "caf\udce9.wav").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes no such names")
    found = {song.name: song.why_not for song in songs(there)}
    assert found.pop("a.wav") == ""
    assert list(found.values()) == ["its name is not UTF-8: rename it"]
    assert all(name.encode() for name in found)


def test_limits_of_ones_own_must_be_whole(tmp_path):
    own = read_limits()
    text = tmp_path / "l.toml"
    text.write_text("[song]\nmegabytes = 1\n")
    with pytest.raises(BadRequest, match="missing"):
        read_limits(text)
    assert own.chunk.musicgen == 30
    assert own.chunk.audioldm == 20
