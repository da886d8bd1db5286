import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from voice2music import cli
from voice2music.cli import app
from voice2music.clip import read

ROOT = Path(__file__).parents[1]
HUM = ROOT / "examples" / "ode-to-joy.flac"


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_a_hum_becomes_a_take_that_follows_it(tmp_path):
    done = run("make", HUM, "--genre", "disco", "--engine", "band", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    path, score = re.search(r"(\S+\.wav) .* follows ([\d.]+)", done.stdout).groups()
    assert Path(path).parent == tmp_path
    assert read(path).seconds == pytest.approx(read(HUM).seconds, abs=0.01)
    assert float(score) > 0.35
    assert json.loads(Path(path).with_suffix(".json").read_text())["engine"] == "band"


def test_a_take_is_made_again_to_the_bit(tmp_path):
    run("make", HUM, "--engine", "band", "--seed", 5, "--seconds", 6, "--out", tmp_path)
    record = next(tmp_path.glob("*.json"))
    done = run("again", record, "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    assert done.stdout.rstrip().endswith("identical")


def test_a_folder_is_worked_through_and_a_bad_file_in_it_is_named(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(HUM, folder / "good.flac")
    (folder / "bad.wav").write_bytes(b"\xff\xd8\xff\xe0 not audio")
    done = run("make", folder, "--engine", "band", "--seconds", 4, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "bad.wav" in done.stderr
    assert "good" in done.stdout
    assert "Traceback" not in done.output


def with_bad_ones(folder):
    """A good file between two that are no audio."""
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"\xff\xd8\xff\xe0 not audio")
    shutil.copy(HUM, folder / "b.flac")
    (folder / "c.mp3").touch()
    return folder


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_analyse_goes_on_after_a_bad_file_and_names_each(tmp_path, as_json):
    done = run("analyse", with_bad_ones(tmp_path / "in"), tmp_path / "none.wav", *as_json)
    assert done.exit_code == 1
    assert "b.flac" in done.stdout
    said = done.stderr.splitlines()
    assert [line.split(":")[0] for line in said] == ["a.wav", "c.mp3", "none.wav"]
    assert all(line.endswith((".", "!")) for line in said)


def test_separate_goes_on_after_a_bad_file_and_names_each(tmp_path, monkeypatch):
    from voice2music import separation
    from voice2music.remarks import Remark
    from voice2music.separation import Separated

    halves = lambda clip, model: Separated(clip, clip, "spleeter", Remark("Split."))  # noqa: E731
    monkeypatch.setattr(separation, "separate", halves)
    done = run("separate", with_bad_ones(tmp_path / "in"), "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "b.voice.wav",
        "b.accompaniment.wav",
    }
    bad = [line.split(":")[0] for line in done.stderr.splitlines() if ":" in line]
    assert bad == ["a.wav", "c.mp3"]


def test_what_is_no_files_fault_is_said_once(tmp_path, monkeypatch):
    from voice2music import separation
    from voice2music.errors import MissingCheckpoint

    def missing(clip, model):
        raise MissingCheckpoint("No model can take the voice out.")

    monkeypatch.setattr(separation, "separate", missing)
    done = run("separate", HUM, HUM, "--out", tmp_path)
    assert done.exit_code == 1
    assert done.stderr.splitlines() == ["No model can take the voice out."]


def test_only_the_best_of_several_are_kept(tmp_path):
    args = ["--engine", "band", "--seconds", 4, "--variations", 3, "--best", 1]
    done = run("make", HUM, *args, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert "kept" in done.stdout


def test_none_can_be_the_best_is_a_usage_error(tmp_path):
    done = run("make", HUM, "--engine", "band", "--variations", 2, "--best", 0, "--out", tmp_path)
    assert done.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_hidden_files_of_a_folder_are_left_alone(tmp_path):
    shutil.copy(HUM, tmp_path / "hum.flac")
    (tmp_path / "._hum.flac").write_bytes(b"\0\5\x16\7 of another system")
    assert [path.name for path in cli._audio_files([tmp_path])] == ["hum.flac"]


def test_names_that_differ_behind_a_dot_stay_apart(tmp_path):
    for name in ("hum.1.flac", "hum.2.flac"):
        shutil.copy(HUM, tmp_path / name)
    out = tmp_path / "out"
    run("make", tmp_path, "--engine", "band", "--seconds", 3, "--out", out)
    assert {path.name for path in out.glob("*.json")} == {
        f"hum-{i}-pop-band-1.json" for i in (1, 2)
    }


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run("separate", HUM, "--out", tmp_path / "file" / "out", "--model", "spleeter")
    assert done.exit_code == 1
    assert "file" in done.stderr
    assert "Traceback" not in done.output


def test_ctrl_c_ends_with_130_and_leaves_no_half_take(tmp_path):
    command = [sys.executable, "-c", "from voice2music.cli import app; app()"]
    args = ["make", HUM, "--engine", "band", "--variations", "8", "--out", tmp_path]
    # Tests that are run in the background of a shell are started deaf to Ctrl-C, and so their
    # children.
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*command, *map(str, args)], **pipes, text=True, preexec_fn=hearing)
    process.stdout.readline()  # the first take is there, the second is being made
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    music = {p.stem for p in tmp_path.glob("*.wav") if len(p.suffixes) == 1}
    assert music == {p.stem for p in tmp_path.glob("*.json")}
    assert not list(tmp_path.glob(".*"))


def test_a_file_name_that_is_not_utf_8_is_read_and_printed(tmp_path):
    name = tmp_path / os.fsdecode(b"b\xff d.flac")
    try:
        shutil.copy(HUM, name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    command = [sys.executable, "-c", "from voice2music.cli import app; app()", "analyse", name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "D major" in done.stdout


@pytest.mark.parametrize("kind", ["flac", "mp3"])
def test_music_and_mix_come_in_another_format_too(tmp_path, kind):
    args = ["--engine", "band", "--seconds", 4, "--format", kind]
    done = run("make", HUM, *args, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    converted = sorted(tmp_path.glob(f"*.{kind}"))
    assert len(converted) == 2
    for path in converted:
        wav, other = read(path.with_suffix(".wav")), read(path)
        assert other.seconds == pytest.approx(wav.seconds, abs=0.06)
        length = min(wav.samples.shape[1], other.samples.shape[1])
        difference = other.samples[:, :length] - wav.samples[:, :length]
        assert np.std(difference) < 0.15 * np.std(wav.samples)


def test_words_alone_make_music(tmp_path):
    done = run("make", "--genre", "waltz", "--engine", "band", "--seconds", 5, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "no voice" in done.stdout


@pytest.mark.parametrize(
    "args",
    [
        ("make", HUM, "--engine", "accordion"),
        ("make", HUM, "--engine", "band", "--genre", "polka9"),
        ("make", HUM, "--engine", "band", "--tempo", "0"),
        ("make", HUM, "--engine", "band", "--chords", "C | H&"),
        ("make", "not-there.wav", "--engine", "band"),
        ("again", "not-there.json"),
        ("analyse", "not-there.wav"),
        ("models", "check", "no-such-model"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_exits_1(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*args)
    assert done.exit_code == 1
    *heard, error = done.stderr.strip().splitlines()
    assert re.search(r"[.!?]$", error), error
    assert len(heard) <= 6, "nothing but what was heard stands before the error"
    assert "Traceback" not in done.output


def test_a_wrong_option_is_a_usage_error():
    assert run("make", HUM, "--no-such-option").exit_code == 2


def test_analyse_says_key_tempo_and_range():
    done = run("analyse", HUM)
    assert done.exit_code == 0, done.output
    assert "D major" in done.stdout
    tempo = float(re.search(r"([\d.]+) BPM", done.stdout)[1])
    assert any(tempo * factor == pytest.approx(116, rel=0.04) for factor in (0.5, 1, 2))


def test_analyse_as_json_holds_the_notes():
    heard = json.loads(run("analyse", HUM, "--json").stdout)
    assert heard["file"] == HUM.name
    assert len(heard["notes"]) == pytest.approx(30, abs=2)


def test_styles_lists_the_genres():
    listed = run("styles").stdout
    for name in ("pop", "disco", "rock", "waltz", "bossa", "house"):
        assert name in listed


def test_models_list_says_what_is_here_and_under_what_licence():
    listed = run("models", "list").stdout
    assert "musicgen-melody" in listed
    assert "CC-BY-NC" in listed


def test_the_default_engines_are_those_whose_weights_are_here(monkeypatch, capsys):
    assert "band" in cli._engines(None)
