"""Where songs are cut and into which split they go: properties on any song and any set."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.dataset.songs.cutting import cuts, share
from voice2music.dataset.songs.splits import (
    SPLITS,
    Songs,
    artists,
    check_splits,
    plain_name,
    splits,
)
from voice2music.dataset.songs.wording import COUNT, Known, captions
from voice2music.errors import BadManifest

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def sung(*stretches, seconds):
    voiced = np.zeros(round(seconds * 100), bool)
    for start, end in stretches:
        voiced[round(start * 100) : round(end * 100)] = True
    return voiced


def test_a_short_song_is_one_chunk_of_its_own_length():
    (only,) = cuts(sung((1, 9), seconds=12.5), 12.5, 30, 3, 0.15, [0, 2, 4])
    assert (only.start, only.end) == (0, 12.5)
    assert only.voiced == pytest.approx(8 / 12.5)


def test_chunks_lie_on_bar_lines():
    bars = list(np.arange(0.5, 100, 2.0))
    found = cuts(sung((0, 100), seconds=100), 100, 30, 3, 0.15, bars)
    assert [chunk.start for chunk in found[1:]] == [28.5, 58.5, 88.5]
    assert all(chunk.end in bars or chunk.end == 100 for chunk in found)


def test_only_where_there_is_voice():
    found = cuts(sung((70, 80), seconds=200), 200, 30, 3, 0.15, list(np.arange(0.0, 200, 2.0)))
    assert len(found) == 1
    assert found[0].start == 70
    assert found[0].end == 100


def test_a_song_without_voice_has_no_chunks():
    assert cuts(sung(seconds=100), 100, 30, 3, 0.15) == ()
    assert cuts(sung(seconds=10), 10, 30, 3, 0.15) == ()


@settings(max_examples=200, deadline=None)
@given(
    seconds=st.floats(1, 400),
    seed=st.integers(0, 1000),
    bar=st.one_of(st.none(), st.floats(0.8, 8)),
    longest=st.sampled_from([20.0, 30.0]),
)
def test_chunks_never_overlap_and_keep_the_limits(seconds, seed, bar, longest):
    rng = np.random.default_rng(seed)
    voiced = np.repeat(rng.random(round(seconds) + 1) < 0.5, 100)[: round(seconds * 100)]
    lines = list(np.arange(rng.random(), seconds, bar)) if bar else []
    found = cuts(voiced, seconds, longest, 3, 0.15, lines)
    for chunk in found:
        assert 0 <= chunk.start < chunk.end <= seconds
        assert 3 <= chunk.seconds <= longest + 1e-6
        assert chunk.voiced == share(voiced, chunk.start, chunk.end) >= 0.15
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(found))


songs_drawn = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 30), st.integers(0, 3), st.floats(10, 300)),
    min_size=1,
    max_size=60,
)


def as_songs(drawn):
    return [
        Songs(f"s{i}", f"artist {a}" if a else "", f"title {t}" if t else "", (f"g{g}", ""), s)
        for i, (a, t, g, s) in enumerate(drawn)
    ]


@settings(max_examples=150, deadline=None)
@given(songs_drawn)
def test_no_artist_and_no_title_is_in_two_splits(drawn):
    found = as_songs(drawn)
    dealt = splits(found, SHARES, 0)
    assert set(dealt) == {song.id for song in found}
    for name in ("artist", "title"):
        for value in {getattr(song, name) for song in found} - {""}:
            assert len({dealt[song.id] for song in found if getattr(song, name) == value}) == 1


@settings(max_examples=50, deadline=None)
@given(songs_drawn, st.randoms())
def test_the_order_of_songs_does_not_matter(drawn, random):
    found = as_songs(drawn)
    other = list(found)
    random.shuffle(other)
    assert splits(found, SHARES, 3) == splits(other, SHARES, 3)


@pytest.mark.parametrize("count", [3, 5, 9, 10, 20, 100, 400])
def test_shares_are_kept_and_every_genre_is_trained_on(count):
    found = [Songs(f"s{i}", f"a{i}", f"t{i}", (f"g{i % 4}", ""), 100) for i in range(count)]
    dealt = splits(found, SHARES, 0)
    counts = {split: sum(one == split for one in dealt.values()) for split in SPLITS}
    assert counts["valid"] >= 1
    assert counts["test"] >= 1
    assert counts["train"] >= 0.6 * count or count < 5
    if count >= 20:
        assert counts["valid"] == pytest.approx(0.1 * count, abs=0.04 * count)
        assert counts["test"] == pytest.approx(0.1 * count, abs=0.04 * count)
        trained = {song.kind for song in found if dealt[song.id] == "train"}
        assert len(trained) == 4


def test_large_sets_test_on_every_genre():
    found = [Songs(f"s{i}", f"a{i}", "", (f"g{i % 5}", ""), 100 + i) for i in range(200)]
    dealt = splits(found, SHARES, 0)
    for split in SPLITS:
        assert len({song.kind for song in found if dealt[song.id] == split}) == 5


@pytest.mark.parametrize("count", [3, 4, 10, 12, 30, 50])
def test_songs_that_are_all_of_another_kind_still_fill_every_split(count):
    found = [Songs(f"s{i}", f"a{i}", "", (f"g{i}", ""), 100) for i in range(count)]
    dealt = splits(found, SHARES, 0)
    counts = {split: sum(one == split for one in dealt.values()) for split in SPLITS}
    assert min(counts.values()) >= 1
    assert counts["train"] >= count / 3
    if count >= 10:
        assert counts["train"] == pytest.approx(0.8 * count, abs=0.1 * count)


def test_those_who_share_a_song_stay_together():
    shared = ["Anna feat. Ben", "Ben", "Anna & Cora", "Dora", "Emil; Fay", "Gus"]
    found = [Songs(f"s{i}", name, "", ("", ""), 100) for i, name in enumerate(shared)]
    for seed in range(5):
        dealt = splits(found, SHARES, seed)
        assert dealt["s0"] == dealt["s1"] == dealt["s2"]


def test_names_are_the_same_whatever_case_accents_and_marks():
    assert (
        plain_name("Beyoncé ") == plain_name("BEYONCE") == plain_name("be-yoncé".replace("-", ""))
    )
    assert plain_name("أم كلثوم") != plain_name("فيروز") != ""
    assert plain_name("!!!") == "!!!"
    assert artists("Anna feat. Ben & Cora") >= {"anna", "ben", "cora"}
    assert artists("Simon and the Sandpaper") == {"simon and the sandpaper"}


def test_a_leak_is_found():
    rows = [
        {"artist": "Ann", "song_id": "a", "song": "A", "source": {"sha256": "1"}, "split": "train"},
        {"artist": "ANN", "song_id": "b", "song": "B", "source": {"sha256": "2"}, "split": "test"},
    ]
    with pytest.raises(BadManifest, match="artist"):
        check_splits(rows)
    rows[1]["artist"] = "Bo"
    check_splits(rows)
    rows[1]["source"] = {"sha256": "1"}
    with pytest.raises(BadManifest, match="source"):
        check_splits(rows)


def test_captions_have_the_three_families_first_and_no_twins():
    said = captions(Known("disco", "happy", 120.0, "C major"), "song-m000")
    assert said[:3] == ("", "Disco music", "Disco music for input vocals")
    assert len(said) == len(set(said)) == COUNT
    assert said == captions(Known("disco", "happy", 120.0, "C major"), "song-m000")
    assert said != captions(Known("disco", "happy", 120.0, "C major"), "song-m001")


def test_captions_of_a_song_of_which_nothing_is_known():
    said = captions(Known("", "", None, ""), "x")
    assert said[:3] == ("", "Music", "Music for input vocals")
    assert len(set(said)) == len(said)
    assert not any("{" in text or "None" in text or "  " in text for text in said)
