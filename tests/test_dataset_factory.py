"""The pair factory as a whole: same bytes whoever makes them, whole or not at all, no leaks."""

import json
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_soundfont
from typer.testing import CliRunner

from voice2music.analysis import analyse
from voice2music.cli import app
from voice2music.clip import Clip
from voice2music.conditioning import tuned_midi
from voice2music.dataset import factory
from voice2music.dataset.factory import Made, make
from voice2music.dataset.pairs import Recipe, recognised, voiced
from voice2music.dataset.shards import MANIFEST, Pairs, as_cents, as_pcm, read_rows, shard_name
from voice2music.dataset.tunes import cleared_tunes, split_of
from voice2music.dataset.voices import RATE as VOICE_RATE
from voice2music.errors import BadManifest, BadRequest, MissingPackage
from voice2music.request import Request
from voice2music.soundfont import SoundFont
from voice2music.styles import own_style, styles
from voice2music.training.plans import music_plan

ARCHIVE = Path(__file__).parents[1].parent / "shared/data/symbolic/OpenEWLD.tar.xz"
needs_archive = pytest.mark.skipif(not ARCHIVE.exists(), reason="needs ../shared/data")
HOURS, SHARD = 0.03, 40.0  # three shards


@pytest.fixture(scope="module")
def font(tmp_path_factory) -> SoundFont:
    path = tiny_soundfont.write(tmp_path_factory.mktemp("sounds") / "tiny.sf2")
    return SoundFont(path, "Tiny", "MIT")


@pytest.fixture(scope="module")
def recipe(font) -> Recipe:
    return Recipe(seed=5, fonts=(font,), longest=10.0)


@pytest.fixture(scope="module")
def made(recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "set"
    make(folder, recipe, (), HOURS, shard_seconds=SHARD)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- determinism and resuming ----------------------------------------------------------------


def test_three_processes_make_the_same_bytes_as_two(recipe, tmp_path):
    # Fresh processes on both sides: in one in which hundreds of other tests ran before, what the
    # hearing code hears has differed in its last digits (see the log).
    for workers in (2, 3):
        make(tmp_path / str(workers), recipe, (), HOURS, workers=workers, shard_seconds=SHARD)
    assert contents(tmp_path / "2") == contents(tmp_path / "3")


def test_another_seed_makes_other_pairs(made, recipe):
    first = made / f"{shard_name(0)}.jsonl"
    other = factory.made_shard(replace(recipe, seed=6), (), 0, 1.0)
    assert other.rows[0]["tune"]["id"] != read_rows(first)[0]["tune"]["id"]


def test_a_stopped_run_goes_on_where_it_was(made, recipe, tmp_path):
    folder = tmp_path / "set"
    make(folder, recipe, (), HOURS, shard_seconds=SHARD)
    (folder / MANIFEST).unlink()
    (folder / f"{shard_name(1)}.jsonl").unlink()  # stopped before the shard was whole
    (folder / f".{shard_name(1)}.music.wav.part").write_bytes(b"half")
    short = folder / f"{shard_name(2)}.music.wav"
    short.write_bytes(short.read_bytes()[:-10])  # a disk that lost the end
    told: list[Made] = []
    make(folder, recipe, (), HOURS, shard_seconds=SHARD, progress=lambda m, n: told.append(m))
    assert [m.index for m in told if m.cpu > 0] == [1, 2]
    assert contents(folder) == contents(made)


def test_more_hours_are_added_to_those_that_are_there(made, recipe, tmp_path):
    folder = tmp_path / "set"
    make(folder, recipe, (), HOURS / 3, shard_seconds=SHARD)
    assert len(read_rows(folder / MANIFEST)) < len(read_rows(made / MANIFEST))
    make(folder, recipe, (), HOURS, shard_seconds=SHARD)
    assert contents(folder) == contents(made)


def test_a_folder_of_another_recipe_is_refused(made, recipe):
    with pytest.raises(BadManifest, match=r"other: seed.*another folder"):
        make(made, replace(recipe, seed=6), (), HOURS, shard_seconds=SHARD)


@pytest.mark.parametrize(("hours", "workers"), [(0, 1), (-1, 1), (float("nan"), 1), (1, 0)])
def test_no_hours_or_workers_are_refused(recipe, tmp_path, hours, workers):
    with pytest.raises(BadRequest):
        make(tmp_path / "set", recipe, (), hours, workers=workers)


# --- what is in it ---------------------------------------------------------------------------


def test_every_row_has_its_labels_and_its_sound(made):
    pairs = Pairs(made)
    assert sum(row["seconds"] for row in pairs.rows) >= HOURS * 3600
    assert len({row["id"] for row in pairs.rows}) == len(pairs)
    for index, row in enumerate(pairs.rows):
        music, voice, heard = pairs.music(index), pairs.voice(index), pairs.heard(index)
        assert len(music) == pytest.approx(row["seconds"] * row["music"]["rate"], abs=2)
        assert len(voice) == pytest.approx(row["seconds"] * row["voice"]["rate"], abs=2)
        assert len(heard) == pytest.approx(row["seconds"] * 100, abs=2)
        assert music.std() > 0.01
        assert 0 < abs(voice).max() <= 1
        assert row["genre"] in styles()
        assert row["role"] in ("tune", "back")
        assert (row["lead"] is None) == (row["role"] == "back")
        assert len(row["captions"]) == 6
        assert row["split"] == split_of(row["tune"]["id"])
        assert row["licence"] == "tune: MIT; sounds: MIT"
        assert row["chords"][0][0] == 0
        assert row["chords"][-1][1] == pytest.approx(row["seconds"], abs=0.01)
        sung = np.nanmedian(heard)
        meant = np.median([midi for _, _, midi in row["notes"]])
        assert abs(sung - meant) < 13


def test_the_two_pieces_of_a_voice_are_of_two_genres(made):
    by_voice = defaultdict(list)
    for row in Pairs(made).rows:
        by_voice[row["voice"]["sha256"]].append(row)
    for rows in by_voice.values():
        assert len(rows) == 2
        assert rows[0]["genre"] != rows[1]["genre"]
        assert rows[0]["music"]["sha256"] != rows[1]["music"]["sha256"]


def test_the_conditioning_is_what_the_app_hears_in_the_stored_voice(made):
    """No clean-label shortcut: hearing the file again gives the stored curve."""
    pairs = Pairs(made)
    heard = analyse(Clip(pairs.voice(0), VOICE_RATE))
    stored, again = pairs.heard(0), tuned_midi(heard.pitch, heard.tuning)
    both = ~np.isnan(stored) & ~np.isnan(again)
    assert both.sum() > 0.95 * (~np.isnan(stored)).sum() > 100
    assert np.median(abs(stored[both] - again[both])) < 0.02  # 16 bits against floats


def test_crops_are_the_middle_of_the_whole(made):
    pairs = Pairs(made)
    rate = pairs.rows[1]["music"]["rate"]
    np.testing.assert_array_equal(
        pairs.music(1, 2.0, 1.5), pairs.music(1)[2 * rate : round(3.5 * rate)]
    )
    assert len(pairs.music(1, 2.0, 1e6)) == pairs.rows[1]["music"]["count"] - 2 * rate
    assert len(pairs.music(1, 1e6)) == 0


def test_the_shards_are_plain_sound_files(made):
    pairs = Pairs(made)
    sound, rate = soundfile.read(made / pairs.rows[0]["music"]["file"], dtype="int16")
    count = pairs.rows[0]["music"]["count"]
    assert rate == 32_000
    np.testing.assert_array_equal(sound[:count], as_pcm(pairs.music(0)))


def test_sixteen_bits_and_hundredths_round_trip():
    sound = np.array([0.0, 1.0, -1.0, 0.5], np.float32)
    np.testing.assert_allclose(as_pcm(sound) / 32767, sound, atol=2e-5)
    midi = np.array([60.126, np.nan, 83.0], np.float32)
    assert as_cents(midi).tolist() == [6013, -1, 8300]


def test_damage_is_found(made, recipe, tmp_path):
    folder = tmp_path / "set"
    make(folder, recipe, (), HOURS / 3, shard_seconds=SHARD)
    assert list(Pairs(folder).damaged()) == []
    path = folder / f"{shard_name(0)}.music.wav"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    assert [text.split(":")[0] for text in Pairs(folder).damaged()] == ["5-00000-000-0"]
    result = CliRunner().invoke(app, ["dataset", "check", str(folder)])
    assert result.exit_code == 1
    assert "5-00000-000-0: the music" in result.output


@pytest.mark.parametrize("text", ["{", "[1]\n", "\xff"])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(BadManifest, match="manifest"):
        Pairs(tmp_path)


# --- no leaks --------------------------------------------------------------------------------


@needs_archive
def test_no_tune_voice_or_piece_is_in_two_splits(recipe, tmp_path):
    """Over two data sets of other seeds, written tunes among them: parted by tune, not by chunk."""
    tunes = cleared_tunes(ARCHIVE)
    splits: dict[str, set[str]] = defaultdict(set)
    melodies: dict[tuple[int, ...], set[str]] = defaultdict(set)
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        mixed = replace(recipe, seed=seed, written=0.8, renders=1, rate=16_000)
        for row in read_rows(make(folder, mixed, tunes, 0.06, shard_seconds=110)):
            for name in (row["tune"]["id"], row["voice"]["sha256"], row["music"]["sha256"]):
                splits[name].add(row["split"])
            melodies[tuple(np.diff([midi for _, _, midi in row["notes"]]))].add(row["split"])
    assert max(len(found) for found in splits.values()) == 1
    assert max(len(found) for found in melodies.values()) == 1
    assert {split for found in splits.values() for split in found} >= {"train", "test"}
    assert sum(name.startswith("openewld:") for name in splits) > 10


# --- sounds ----------------------------------------------------------------------------------


def test_a_soundfont_under_the_gpl_is_refused_and_what_to_install_is_said(tmp_path):
    gpl = SoundFont(tmp_path / "TimGM6mb.sf2", "TimGM6mb", "GPL-2.0")
    with pytest.raises(MissingPackage, match="fluid-soundfont-gm") as refused:
        Recipe(1, (gpl,))
    assert "fluidr3mono-gm-soundfont" in str(refused.value)
    assert "GPL-2.0" in str(refused.value)


def test_an_unknown_file_is_refused_and_a_known_one_recognised_by_what_it_says(tmp_path):
    stranger = tiny_soundfont.write(tmp_path / "FluidR3_GM.sf2", "TimGM6mb")  # a borrowed name
    with pytest.raises(MissingPackage, match="not known to be free"):
        recognised(stranger)
    fluid = tiny_soundfont.write(tmp_path / "any.sf2", "Fluid R3 GM")
    assert recognised(fluid).licence == "MIT"
    with pytest.raises(MissingPackage, match="There is no SoundFont"):
        recognised(tmp_path / "none.sf2")


def test_the_command_makes_pairs_and_says_how_fast(tmp_path, monkeypatch):
    monkeypatch.setattr(factory, "make", partial(make, shard_seconds=20.0))
    fluid = tiny_soundfont.write(tmp_path / "any.sf2", "Fluid R3 GM")
    out = tmp_path / "set"
    arguments = ["dataset", "make", str(out), "--hours", "0.001", "--seed", "3"]
    result = CliRunner().invoke(app, [*arguments, "--soundfont", str(fluid)])
    assert result.exit_code == 0, result.output
    assert "real time per core" in result.output
    assert json.loads((out / MANIFEST).read_text("utf-8").splitlines()[0])["sounds"]["name"] == (
        "any"
    )
    again = CliRunner().invoke(app, [*arguments, "--soundfont", str(fluid)])
    assert "was there" in again.output
    refused = CliRunner().invoke(
        app, [*arguments, "--soundfont", str(tiny_soundfont.write(tmp_path / "x.sf2"))]
    )
    assert refused.exit_code == 1
    assert "fluid-soundfont-gm" in refused.output


def test_a_recording_the_app_would_refuse_is_left_out(recipe, monkeypatch):
    from voice2music.dataset import pairs

    real = pairs.hummed

    def silent(notes, who, seconds):
        clip, as_sung = real(notes, who, seconds)
        return Clip(np.zeros_like(clip.samples), clip.rate), as_sung

    monkeypatch.setattr(pairs, "hummed", silent)
    assert voiced(recipe, (), (1, 2, 3)) is None
    monkeypatch.setattr(pairs, "hummed", real)
    assert voiced(recipe, (), (1, 2, 3)) is not None


def test_captions_fit_into_a_request(made):
    for row in Pairs(made).rows:
        for text in row["captions"]:
            assert Request(words=text).words == text


# --- a style of one's own --------------------------------------------------------------------

OWN = """
title = "Clockwork"
prompt = "clockwork music, music box over plucked bass"
moods = ["tidy"]
tempo_range = [60, 70]
tempo = 64
beats_per_bar = 4
steps = 2
swing = 0.5
loose = 0.0
colour = "triads"
room_seconds = 0.5
treble = 0
phrase = 4
fill_every = 8
ending = "ring"
intro = []
lead = { name = "Box", instrument = "Music Box", low = "C4", high = "C6" }

[[layer]]
name = "Bass"
kind = "bass"
instrument = "Acoustic Bass"
low = "E1"
high = "D3"
patterns = ["1. 5. 1. 5."]

[[layer]]
name = "Celesta"
kind = "comp"
instrument = "Celesta"
low = "C4"
high = "C6"
patterns = ["5. 5. 5. 5."]
"""


@pytest.fixture(scope="module")
def clockwork(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("styles") / "clockwork.toml"
    path.write_text(OWN)
    return path


def test_every_voice_is_given_a_style_of_ones_own_and_its_plan(recipe, clockwork, tmp_path):
    own = replace(recipe, own=(own_style(clockwork),), role="back")
    make(tmp_path / "set", own, (), HOURS / 2, shard_seconds=SHARD)
    by_voice = defaultdict(list)
    for row in Pairs(tmp_path / "set").rows:
        by_voice[row["voice"]["sha256"]].append(row)
        assert row["role"] == "back"
        plan = music_plan(row)
        if row["genre"] == "clockwork":
            # 5 %: the beats breathe with the singer.
            assert plan.grid.tempo == pytest.approx(row["tempo"], rel=0.05)
            assert row["lead"] is None
            assert any("lockwork" in caption for caption in row["captions"])
    for rows in by_voice.values():
        assert [row["genre"] == "clockwork" for row in rows] == [True, False]
    assert any(row["bars"]["pace"] != 1 for rows in by_voice.values() for row in rows)
    with pytest.raises(BadManifest, match="own"):
        make(tmp_path / "set", replace(own, own=()), (), HOURS / 2, shard_seconds=SHARD)


def test_rows_without_a_pace_are_read_by_their_genre(made):
    for row in Pairs(made).rows:
        older = {key: row["bars"][key] for key in ("beats", "downbeat")}
        assert music_plan({**row, "bars": older}) == music_plan(row)


def test_styles_that_cannot_be_are_refused(recipe, clockwork, tmp_path):
    taken = tmp_path / "disco.toml"
    taken.write_text(OWN)
    with pytest.raises(BadRequest, match="already"):
        replace(recipe, own=(own_style(taken),))
    with pytest.raises(BadRequest, match="do not fit"):
        replace(recipe, own=(own_style(clockwork),) * 3)
    (tmp_path / "torn.toml").write_text("title = ")
    for name in ("torn", "absent"):
        with pytest.raises(BadRequest, match="cannot be read as a style"):
            own_style(tmp_path / f"{name}.toml")


def test_the_command_takes_a_style_of_ones_own(clockwork, tmp_path, monkeypatch):
    monkeypatch.setattr(factory, "make", partial(make, shard_seconds=20.0))
    fluid = tiny_soundfont.write(tmp_path / "any.sf2", "Fluid R3 GM")
    given = ["--soundfont", str(fluid), "--style", str(clockwork), "--renders", "1"]
    out = tmp_path / "set"
    arguments = ["dataset", "make", str(out), "--hours", "0.001", *given]
    result = CliRunner().invoke(app, [*arguments, "--role", "tune", "--split", "test"])
    assert result.exit_code == 0, result.output
    rows = Pairs(out).rows
    assert {(r["genre"], r["role"], r["split"]) for r in rows} == {("clockwork", "tune", "test")}
    wrong = CliRunner().invoke(app, [*arguments, "--role", "solo"])
    assert wrong.exit_code == 1
    assert "tune, back" in wrong.output
