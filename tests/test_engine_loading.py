"""Engines in memory: built once, waited for, let go."""

import gc
import sys
import threading
import time
from pathlib import Path
from weakref import ref

import pytest
import torch
from fakes import ToneEngine
from tiny_audioldm import build_tiny_audioldm
from tiny_musicgen import build_tiny_musicgen

from voice2music import pipeline
from voice2music.engines import audioldm, loading, musicgen
from voice2music.engines.loading import Engines
from voice2music.errors import Cancelled, MissingCheckpoint
from voice2music.request import Request

PATIENCE = 20.0  # s that a busy machine may take for what needs milliseconds


class Gate:
    """Builds an engine once it is opened; counts how often it was asked to."""

    def __init__(self, error=None):
        self.open, self.begun = threading.Event(), threading.Event()
        self.built, self.error = 0, error

    def __call__(self):
        self.built += 1
        self.begun.set()
        assert self.open.wait(PATIENCE)
        if self.error:
            raise self.error
        return ToneEngine()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


def in_thread(work):
    out = []
    thread = threading.Thread(target=lambda: out.append(work()))
    thread.start()
    return thread, out


def soon(true):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_who_want_it_at_once_get_one_engine_built_once(gate):
    engines = Engines()
    threads = [in_thread(lambda: engines.get("a", gate)) for _ in range(2)]
    assert gate.begun.wait(PATIENCE)
    assert not engines.there("a")
    gate.open.set()
    for thread, _ in threads:
        thread.join()
    first, second = (out[0] for _, out in threads)
    assert first is second is engines.get("a", gate)
    assert gate.built == 1
    assert engines.there("a")


def test_another_engine_need_not_wait_for_the_one_that_is_built(gate):
    engines = Engines()
    thread, _ = in_thread(lambda: engines.get("slow", gate))
    assert gate.begun.wait(PATIENCE)
    assert engines.get("quick", ToneEngine).name == "musicgen"
    engines.release()  # nor does this wait
    assert thread.is_alive()
    gate.open.set()
    thread.join()


def test_who_waits_can_stop_and_the_next_one_finds_it_built(gate):
    engines = Engines()
    with pytest.raises(Cancelled):
        engines.get("a", gate, lambda: gate.begun.is_set())
    gate.open.set()
    engines.get("a", gate)
    assert gate.built == 1


def test_what_went_wrong_is_told_to_all_who_wait_and_tried_again():
    engines, gate = Engines(), Gate(MissingCheckpoint("not here"))
    heard = []

    def ask():
        with pytest.raises(MissingCheckpoint, match="not here"):
            engines.get("a", gate)
        heard.append(True)

    threads = [in_thread(ask)[0] for _ in range(2)]
    gate.open.set()
    for thread in threads:
        thread.join()
    assert heard == [True, True]
    assert engines.get("a", ToneEngine).name == "musicgen"


def test_the_one_not_used_for_longest_goes():
    engines = Engines(kept=2)
    for name in "aba":
        engines.get(name, ToneEngine)
    engines.get("c", ToneEngine)
    gc.collect()
    assert [engines.there(name) for name in "abc"] == [True, False, True]


def test_a_released_engine_is_gone_from_memory():
    engines = Engines()
    engine = engines.get("a", ToneEngine)
    engine.itself = engine  # as networks hold on to themselves
    gone = ref(engine)
    del engine
    engines.release()
    assert gone() is None
    assert not engines.there("a")


def test_an_engine_that_still_works_is_not_loaded_a_second_time():
    engines, gate = Engines(), Gate()
    gate.open.set()
    working = engines.get("a", gate)
    engines.release()
    assert engines.get("a", gate) is working
    assert gate.built == 1
    del working
    assert engines.there("a")  # held again, not only by the job


def test_while_one_is_built_nobody_is_idle(gate):
    engines = Engines()
    thread, _ = in_thread(lambda: engines.get("a", gate))
    assert gate.begun.wait(PATIENCE)
    time.sleep(0.05)
    assert engines.idle() == 0.0
    gate.open.set()
    thread.join()
    time.sleep(0.05)
    assert engines.idle() >= 0.05


def test_idle_engines_leave_memory_and_come_back_when_they_are_wanted(monkeypatch):
    engines = Engines()
    monkeypatch.setattr(loading, "_engines", engines)
    loading.release_when_idle(0.2)
    for _ in range(2):
        engines.get("a", ToneEngine)
        assert engines.there("a")
        soon(lambda: not engines.there("a"))


def test_a_job_that_waits_for_its_model_can_be_stopped(monkeypatch, tmp_path, gate):
    monkeypatch.setattr(loading, "_engines", Engines())
    monkeypatch.setattr(loading, "_built", lambda checkpoint: gate())
    request = Request(engines=("band",), words="calm", seconds=5)
    events = pipeline.takes(request, None, tmp_path, cancelled=gate.begun.is_set)
    assert isinstance(next(events), pipeline.Working)
    with pytest.raises(Cancelled):
        next(events)
    assert not gate.open.is_set()  # it was still being loaded


def test_it_is_known_which_engine_is_there(monkeypatch):
    monkeypatch.setattr(loading, "_engines", Engines())
    monkeypatch.setattr(loading, "_built", lambda checkpoint: ToneEngine())
    request = Request(checkpoints={"musicgen": "mini-audioldm"})  # one model in both columns
    assert not loading.is_loaded("musicgen", request)
    loading.load_engine("audioldm", Request(checkpoints={"audioldm": "mini-audioldm"}))
    assert loading.is_loaded("musicgen", request)
    assert not loading.is_loaded("band", request)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's list of mapped files")
@pytest.mark.parametrize("kind", ["musicgen", "audioldm"])
def test_weights_in_the_files_own_precision_are_mapped_and_not_copied(tmp_path, kind):
    """So that they take no memory twice, and several processes share them."""
    if kind == "musicgen":
        engine = musicgen.load(build_tiny_musicgen(tmp_path / "tiny"), "cpu", precision="float32")
        networks = [engine._model.text_encoder]
    else:
        engine = audioldm.load(build_tiny_audioldm(tmp_path / "tiny"), "cpu", precision="float32")
        networks = [engine.parts.text.model]  # maps' weights lie in another order, to be faster
    mapped = mapped_files(tmp_path)
    weights = [weight for network in networks for weight in network.parameters()]
    inside = [w for w in weights if any(a <= w.data_ptr() < b for a, b in mapped)]
    assert sum(map(torch.numel, inside)) > 0.95 * sum(map(torch.numel, weights))


def mapped_files(folder):
    """Where files of `folder` lie in this process's memory."""
    out = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        if name.startswith(str(folder)):
            out.append(tuple(int(end, 16) for end in span.split("-")))
    return out
