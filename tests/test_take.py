import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice2music.clip import Clip, read, silence
from voice2music.engines.base import Description, Rendition
from voice2music.errors import CannotSave
from voice2music.remarks import Remark, remark
from voice2music.request import Request
from voice2music.take import Made, remove, safe_name, save, save_input, sha256


def made(tone: Clip, **changes) -> Made:
    values = {
        "engine": "band",
        "variation": 0,
        "request": Request(engines=("band",)),
        "description": Description("band", "The band", "", "", "MIT", True, 44100, 1, 120),
        "rendition": Rendition(tone, midi=b"MThd", musicxml="<score-partwise/>"),
        "music": tone,
        "voice": tone,
        "mix": tone,
        "stems": {"bass": tone, "../drums": tone},
        "follow": None,
        "input_file": None,
        "took": 1.0,
    }
    return Made(**(values | changes))


@pytest.fixture
def beep() -> Clip:
    return silence(0.1, 44100, 2)


@given(st.text(max_size=300))
def test_any_name_becomes_a_safe_one(text):
    name = safe_name(text)
    assert 0 < len(name) <= 60
    assert not set("/\\:\0.") & set(name)


def test_long_names_of_any_script_fit_the_file_system(tmp_path, beep):
    for letter in ("ü", "猫", "\U00020000"):
        take = save(made(beep), tmp_path, f"{letter * 200}.wav")
        assert take.music.name.startswith(letter * 30)
        assert save_input(beep, tmp_path, letter * 200).is_file()


def test_an_accent_written_as_a_letter_of_its_own_stays_one():
    assert safe_name("cafe\u0301 noir.wav") == "caf\u00e9-noir"


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_take_that_cannot_be_saved_whole_leaves_nothing(tmp_path, beep, monkeypatch, stop):
    def until_full(path, text, encoding):
        raise stop

    monkeypatch.setattr("pathlib.Path.write_text", until_full)  # the score and the JSON come last
    with pytest.raises((CannotSave, KeyboardInterrupt)):
        save(made(beep), tmp_path, "hum")
    assert not list(tmp_path.rglob("*"))


WITH_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from voice2music.clip import silence
from voice2music.errors import CannotSave
from voice2music.take import save_input
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    save_input(silence(5, 44_100), Path(sys.argv[1]), "hum")
except CannotSave as error:
    print(error)
"""


def test_a_full_disk_is_said_in_one_sentence_and_leaves_no_half_file(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_ROOM, tmp_path], capture_output=True, text=True
    )
    assert done.stdout.startswith("The take could not be saved")
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "C:\\x", ""])
def test_path_tricks_stay_in_the_folder(tmp_path, beep, name):
    take = save(made(beep), tmp_path / "out", name)
    for path in (take.music, take.json, take.mix, *take.stems.values()):
        assert path.is_file()
        assert path.resolve().is_relative_to((tmp_path / "out").resolve())


def test_nothing_is_overwritten(tmp_path, beep):
    first, second = (save(made(beep), tmp_path, "hum") for _ in range(2))
    assert first.music != second.music
    assert first.music.is_file()
    assert second.music.is_file()


SAVING = """
import sys
from pathlib import Path
from test_take import made
from voice2music.clip import silence
from voice2music.take import save, save_input
folder, beep = Path(sys.argv[1]), silence(0.1, 44_100, 2)
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    save_input(silence(0.1 + number / 100, 8_000), folder, "hum")
    print(save(made(beep, stems={}), folder, "hum").json.name)
"""


def test_processes_that_save_under_one_name_take_different_ones(tmp_path):
    command = [sys.executable, "-c", SAVING, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [
        subprocess.Popen(command, cwd=Path(__file__).parent, text=True, **pipes) for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in both]
    assert [error for _, error in said] == ["", ""]
    names = [name for output, _ in said for name in output.split()]
    assert len(names) == len(set(names)) == 40
    for name in names:
        record = json.loads((tmp_path / name).read_text())
        assert record["music"]["sha256"] == sha256(tmp_path / record["music"]["file"])
    assert not list(tmp_path.glob(".*"))


def test_a_name_is_not_used_again_while_its_json_is_there(tmp_path, beep):
    first = save(made(beep), tmp_path, "hum")
    first.music.unlink()
    second = save(made(beep), tmp_path, "hum")
    assert second.json != first.json
    assert not first.music.exists()


def test_the_json_says_what_the_files_are(tmp_path, beep):
    take = save(made(beep), tmp_path, "hum")
    record = json.loads(take.json.read_text())
    assert record["music"]["sha256"] == sha256(take.music)
    assert Request.from_json(record["request"]) == Request(engines=("band",))
    assert record["versions"]["voice2music"]


def test_the_json_tells_the_remarks_in_english(tmp_path, beep):
    told = (remark("off_beat"), Remark("Plays the triangle only."))
    take = save(made(beep, rendition=Rendition(beep, notes=told)), tmp_path, "hum")
    assert take.notes == told
    assert json.loads(take.json.read_text())["notes"] == [
        "This take keeps its own beat: it is not on yours. Try another one.",
        "Plays the triangle only.",
    ]


def test_the_input_is_kept_sample_for_sample(tmp_path):
    voice = Clip([[0.1234567, -1.5, 3e-9]], 22050)
    path = save_input(voice, tmp_path, "hum")
    assert (read(path).samples == voice.samples).all()


def test_removing_a_take_leaves_nothing_of_it(tmp_path, beep):
    take = save(made(beep), tmp_path, "hum")
    remove(take)
    assert not list(tmp_path.rglob("*"))


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path, beep):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotSave, match="could not be saved"):
        save(made(beep), tmp_path / "file", "hum")
    with pytest.raises(CannotSave):
        save_input(beep, tmp_path / "file", "hum")
