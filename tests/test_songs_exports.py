"""Exports are read back by the programs that they are made for, or by what their formats say."""

import json
import shutil
import sys
import tarfile
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import songbook
import soundfile
from typer.testing import CliRunner

from voice2music.cli import app
from voice2music.clip import OWN, read
from voice2music.dataset.songs import exports
from voice2music.dataset.songs.build import build
from voice2music.dataset.songs.exports import FORMATS, export
from voice2music.dataset.songs.limits import read_limits
from voice2music.dataset.songs.manifest import alone, read_chunks
from voice2music.dataset.songs.sources import Patterns
from voice2music.dataset.songs.steps import Settings
from voice2music.errors import BadManifest, BadRequest, CannotSave

PATTERNS = Patterns("{song}_vox", "{song}_inst")
TABLE = """file,artist,title,genre,mood,language,licence,consent
a_vox.wav,Añna,River,disco,calm,English,CC BY 4.0,yes
b_vox.wav,Bo,Stone,folk,,English,CC BY 4.0,yes
c_vox.wav,Cy,Sand,,,,CC0-1.0,yes
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    for number, name in enumerate("abc"):
        songbook.pair(folder / "in", name, 6.0, seed=number)
    (folder / "songs.csv").write_text(TABLE, encoding="utf-8")
    build(folder / "in", folder / "data", Settings(read_limits(), ""), patterns=PATTERNS,
          table=folder / "songs.csv")  # fmt: skip
    return folder / "data"


@pytest.fixture(scope="module")
def rows(data):
    return {row["id"]: row for row in read_chunks(data) if row["model"] == "musicgen"}


def same_sound(sound, file) -> bool:
    return np.array_equal(sound.samples, read(file, OWN).samples)


def test_audiocrafts_manifests_name_the_sounds_and_what_is_known_of_them(data, rows, tmp_path):
    out = export(data, tmp_path / "out", "audiocraft").folder
    seen = set()
    for split in ("train", "valid", "test"):
        for line in (out / "egs" / split / "data.jsonl").read_text("utf-8").splitlines():
            meta = json.loads(line)
            path = out / meta["path"]
            info = json.loads(path.with_suffix(".json").read_text("utf-8"))
            row = rows[info["name"]]
            seen.add(info["name"])
            assert row["split"] == split
            # `AudioMeta` of audiocraft takes these and no more.
            assert set(meta) == {"path", "duration", "sample_rate", "amplitude", "weight",
                                 "info_path"}  # fmt: skip
            found = soundfile.info(path)
            assert meta["duration"] == pytest.approx(found.duration, abs=1e-6)
            assert meta["sample_rate"] == found.samplerate
            # `MusicInfo.from_dict(fields_required=True)` breaks where one of these is missing.
            assert {"title", "artist", "key", "bpm", "genre", "moods", "keywords", "description",
                    "name", "instrument"} <= set(info)  # fmt: skip
            assert info["description"] == row["captions"][2]
            assert (info["artist"], info["licence"]) == (row["artist"], row["licence"])
            assert float(info["bpm"]) == row["bpm"]
            assert same_sound(read(path, OWN), data / row["music"]["file"])
            assert same_sound(read(path.parent / info["voice"], OWN), data / row["voice"]["file"])
    assert seen == set(rows)
    lines = [line.strip() for line in (out / "dset.yaml").read_text().splitlines()]
    assert {line.split(":")[0] for line in lines if "egs/" in line} == {
        "train", "valid", "evaluate", "generate"  # the splits that audiocraft has
    }  # fmt: skip


def test_hugging_face_reads_the_folder(data, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    # It imports torchcodec, which wants FFmpeg's libraries, even where it only keeps paths.
    encoders = SimpleNamespace(AudioEncoder=None)
    monkeypatch.setitem(sys.modules, "torchcodec", SimpleNamespace(encoders=encoders))
    monkeypatch.setitem(sys.modules, "torchcodec.encoders", encoders)
    out = export(data, tmp_path / "out", "audiofolder").folder
    found = datasets.load_dataset(
        "audiofolder", data_dir=str(out), cache_dir=str(tmp_path / "cache")
    )
    assert set(found) == {"train", "validation", "test"}
    seen = set()
    for name, split in found.items():
        plain = split.cast_column("audio", datasets.Audio(decode=False))
        for row in plain.cast_column("voice", datasets.Audio(decode=False)):
            known = rows[row["id"]]
            seen.add(row["id"])
            assert name.startswith(known["split"])
            assert row["captions"] == known["captions"]
            assert (row["artist"], row["licence"]) == (known["artist"], known["licence"])
            for column, kind in (("audio", "music"), ("voice", "voice")):
                assert same_sound(read(row[column]["path"], OWN), data / known[kind]["file"])
    assert seen == set(rows)
    assert "CC BY 4.0; CC0-1.0" in (out / "README.md").read_text("utf-8")


def test_webdataset_reads_the_shards(data, rows, tmp_path, monkeypatch):
    wds = pytest.importorskip("webdataset")
    size = sum((data / row[k]["file"]).stat().st_size for row in rows.values()
               for k in ("music", "voice"))  # fmt: skip
    monkeypatch.setattr(exports, "SHARD_BYTES", size // 4)
    out = export(data, tmp_path / "out", "webdataset").folder
    seen = set()
    for path in sorted(out.glob("*.tar")):
        for sample in wds.WebDataset(str(path), shardshuffle=False):
            known = rows[sample["__key__"]]
            seen.add(sample["__key__"])
            assert path.name.startswith(known["split"])
            assert json.loads(sample["json"])["captions"] == known["captions"]
            for kind in ("music", "voice"):
                assert sample[f"{kind}.flac"] == (data / known[kind]["file"]).read_bytes()
    assert seen == set(rows)


def test_shards_are_cut_where_they_are_full(data, rows, tmp_path, monkeypatch):
    sized = [({"id": str(number)}, size) for number, size in enumerate((4, 4, 4, 12, 1))]
    monkeypatch.setattr(exports, "SHARD_BYTES", 10)
    shards = exports._cut(sized)
    assert [[row["id"] for row in shard] for shard in shards] == [["0", "1"], ["2"], ["3"], ["4"]]


def test_the_same_data_gives_the_same_tar_and_it_names_nobody(data, tmp_path):
    one, other = (export(data, tmp_path / name, "webdataset").folder for name in ("a", "b"))
    for path in one.glob("*.tar"):
        assert path.read_bytes() == (other / path.name).read_bytes()
        with tarfile.open(path) as tar:
            assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_is_whole_or_not_at_all(form, data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export(data, out, form)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    calls = defaultdict(int)

    def full(*given):
        calls["write"] += 1
        if calls["write"] == 2:
            raise OSError(28, "No space left on device")
        return None

    monkeypatch.setattr(exports.shutil, "copyfile", full)
    monkeypatch.setattr(exports, "_add", full)
    with pytest.raises(CannotSave, match="No space left"):
        export(data, out, form)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_folders_are_left_alone(data, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadRequest, match="other files"):
        export(data, tmp_path, "webdataset")
    with pytest.raises(BadRequest, match="cannot lie"):
        export(data, data / "out", "webdataset")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_what_is_no_finished_data_set_or_lost_its_sound_is_said(data, tmp_path):
    with pytest.raises(BadManifest, match="no data set"):
        export(tmp_path, tmp_path / "out", "audiofolder")
    gone = next(iter(read_chunks(data)))["voice"]["file"]
    (data / gone).rename(tmp_path / "kept")
    try:
        with pytest.raises(BadManifest, match="is gone"):
            export(data, tmp_path / "out", "audiofolder")
        assert not (tmp_path / "out").exists()
    finally:
        (tmp_path / "kept").rename(data / gone)


def test_the_command_says_what_it_wrote(data, tmp_path):
    words = ["dataset", "export", str(data), "--out", str(tmp_path / "out"), "--format"]
    said = CliRunner().invoke(app, [*words, "webdataset", "--model", "audioldm"])
    assert said.exit_code == 0, said.output
    assert "chunks, 0.0" in said.output
    wrong = CliRunner().invoke(app, [*words, "zip"])
    assert wrong.exit_code == 1
    assert "audiocraft, audiofolder, webdataset" in wrong.output


@pytest.mark.parametrize(
    ("key", "value"), [("id", "../../evil"), ("music", {"file": "../secret.wav"})]
)
def test_a_strangers_data_set_cannot_reach_outside_of_itself(data, tmp_path, key, value):
    copied = shutil.copytree(data, tmp_path / "data")
    (tmp_path / "secret.wav").write_bytes(b"secret")
    rows = [json.loads(line) for line in (copied / "train.jsonl").read_text("utf-8").splitlines()]
    rows[0][key] = value
    (copied / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadManifest, match="outside"):
        export(copied, tmp_path / "out", "webdataset")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "secret.wav"}


def test_what_was_there_stays_until_the_new_export_is(data, tmp_path, monkeypatch):
    out = export(data, tmp_path / "out", "webdataset").folder
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    real = type(out).replace

    def stuck(self, target):
        if self.name == ".out.part":
            raise OSError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(type(out), "replace", stuck)
    with pytest.raises(CannotSave, match="Permission denied"):
        export(data, out, "webdataset")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_no_export_is_made_while_the_set_is_changed(data, tmp_path):
    with alone(data), pytest.raises(BadRequest, match="Another build"):
        export(data, tmp_path / "out", "webdataset")
