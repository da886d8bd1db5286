"""The builder on Ray, started for real with two workers; one is killed in the middle."""

import json
import os
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import psutil
import pytest
import songbook

from voice2music import errors
from voice2music.dataset.songs.build import Job, Outcome, build
from voice2music.dataset.songs.cluster import _heard, _said, on_ray
from voice2music.dataset.songs.limits import read_limits
from voice2music.dataset.songs.sources import Patterns
from voice2music.dataset.songs.steps import Settings
from voice2music.errors import BadRequest, CannotSave, MissingCheckpoint

PATTERNS = Patterns("{song}_vox", "{song}_inst")
GIVEN = {"patterns": PATTERNS, "allow_unlicensed": True, "workers": 2}
SONGS = 6


@pytest.fixture(scope="module")
def ray():
    """Two workers for all tests; starting it takes seconds."""
    pytest.importorskip("ray.data")
    with on_ray("", 2) as runner:
        yield runner


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    for number in range(SONGS - 1):
        songbook.pair(folder, f"song{number}", 8.0, seed=number)
    (folder / "broken_vox.wav").write_bytes(b"RIFF")
    (folder / "broken_inst.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture(scope="module")
def expected(songs, tmp_path_factory):
    """What one process makes."""
    return contents(build_with(songs, tmp_path_factory.mktemp("alone") / "data"))


def build_with(songs, data, **more):
    build(songs, data, Settings(read_limits(), ""), **{**GIVEN, "workers": 1, **more})
    return data


def contents(data):
    """Rows of all chunks, with the refused; sound by its hash."""
    names = ("train.jsonl", "valid.jsonl", "test.jsonl", "refused.jsonl")
    lines = [line for name in names for line in (data / name).read_text("utf-8").splitlines()]
    return sorted(json.dumps(json.loads(line), sort_keys=True) for line in lines)


def killed_in_the_middle(data, out: list[int]) -> None:
    """Kill a worker that has begun to take a song apart and is not done with it."""
    until = time.monotonic() + 120
    while time.monotonic() < until and not out:
        begun = {path.parent for path in data.glob("songs/*/apart.json")}
        done = {path.parent for path in data.glob("songs/*/chunks.json")}
        if begun - done:
            mine = psutil.Process().children(recursive=True)  # not another run's workers
            with suppress(psutil.NoSuchProcess):
                busy = [p for p in mine if " ".join(p.cmdline()).startswith("ray::Map")]
                if busy:
                    busy[0].kill()
                    out.append(busy[0].pid)
        time.sleep(0.02)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere"])
def test_a_cluster_that_is_not_there_is_said(address):
    pytest.importorskip("ray.data")
    with pytest.raises(BadRequest, match=f"no Ray at '{address}'"), on_ray(address, 1):
        raise AssertionError


def test_ray_makes_what_one_process_makes(ray, songs, expected, tmp_path):
    made = build_with(songs, tmp_path / "data", workers=2, runner=ray)
    assert contents(made) == expected
    assert any("broken" in line for line in expected)


def test_a_killed_worker_loses_nothing(ray, songs, expected, tmp_path):
    killed: list[int] = []
    killer = threading.Thread(target=killed_in_the_middle, args=(tmp_path / "data", killed))
    killer.start()
    made = build_with(songs, tmp_path / "data", workers=2, runner=ray)
    killer.join()
    assert killed
    assert contents(made) == expected


def test_what_is_done_is_not_done_again(ray, songs, expected, tmp_path):
    data = build_with(songs, tmp_path / "data", workers=2, runner=ray)
    before = {path: path.stat().st_mtime_ns for path in data.glob("*/*/*.*")}
    build_with(songs, data, workers=2, runner=ray)
    assert {path: path.stat().st_mtime_ns for path in data.glob("*/*/*.*")} == before
    assert contents(data) == expected


def dies(job: Job) -> Outcome:
    os.kill(os.getpid(), 9)
    raise AssertionError


def breaks(job: Job) -> Outcome:
    raise ZeroDivisionError("a mistake")


def test_a_song_that_kills_every_worker_ends_the_build(ray, songs, tmp_path):
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers know no tests
    job = Job(None, songs, tmp_path, None)  # type: ignore[arg-type]
    with pytest.raises(CannotSave, match="killed again and again"):
        list(ray([job], dies, 2))
    with pytest.raises(Exception, match="a mistake"):
        list(ray([job], breaks, 2))


def test_no_jobs_are_no_work(ray):
    assert list(ray([], dies, 2)) == []


def lacks(job: Job) -> Outcome:
    raise MissingCheckpoint("There is none. Fetch it.")


def full(job: Job) -> Outcome:
    raise OSError(28, "No space left on device")


def test_errors_come_home_as_they_were():
    job = Job(None, None, None, None)  # type: ignore[arg-type]
    with pytest.raises(MissingCheckpoint, match="Fetch it"):
        _heard(_said(job, lacks))
    with pytest.raises(OSError, match="No space"):
        _heard(json.loads(json.dumps(_said(job, full))))
    for name in dir(errors):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, errors.VoiceToMusicError):
            assert str(kind("said")) == "said"


def test_rows_survive_the_way():
    row = {"id": "a", "beats": [], "chords": [[0.0, 1.0, "C"]], "bpm": None, "range": [50.0, 60.5]}
    said = json.loads(json.dumps(_said(None, lambda job: Outcome("a", (row,)))))  # type: ignore[arg-type]
    assert _heard(said) == Outcome("a", (row,))
    assert np.isfinite(row["range"]).all()
