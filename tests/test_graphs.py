"""Captured work: what happens where it cannot be captured, and what a card is told."""

import copy
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_musicgen import build_tiny_musicgen

from voice2music.engines import graphs
from voice2music.engines.devices import beside, chosen
from voice2music.engines.musicgen.codec import near_processor
from voice2music.engines.musicgen.loading import whole_model


class Stream:
    def wait_stream(self, other: "Stream") -> None: ...


class FakeGraph:
    def replay(self) -> None: ...

    def pool(self) -> int:
        return 1


@pytest.fixture
def fake_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of torch.cuda as capturing calls."""
    for name in ("device", "stream"):
        monkeypatch.setattr(torch.cuda, name, lambda given: nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda *given, **more: nullcontext())
    monkeypatch.setattr(graphs, "BROKEN", type(graphs.BROKEN)())


def refuse(error: Exception) -> Any:
    def graph(*given: object, **more: object) -> Any:
        raise error

    return graph


@pytest.mark.usefixtures("fake_card")
def test_work_that_is_captured_for_the_first_time_is_done_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trying it out and capturing it leave no trace; replaying is what counts."""
    state, calls = torch.zeros(1), list[str]()

    def work() -> None:
        calls.append("work")
        state.add_(1)

    def replay(graph: FakeGraph) -> None:
        calls.append("replay")
        state.add_(1)

    monkeypatch.setattr(FakeGraph, "replay", replay)
    some = graphs.Graphs(torch.device("cpu"))
    capture = some._capture

    def undone(*given: Any) -> None:  # a real capture computes nothing
        before = state.clone()
        capture(*given)
        assert float(state) == float(before) + 1  # by the work inside the capture alone
        state.copy_(before)

    monkeypatch.setattr(some, "_capture", undone)
    for count in (1, 2, 3):
        some.run("key", work, (state,))
        assert float(state) == count
    assert calls == ["work"] * 3 + ["replay"] * 3


@pytest.mark.usefixtures("fake_card")
def test_where_nothing_can_be_captured_work_is_done_without_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "graph", refuse(RuntimeError("not permitted")))
    state, some = torch.zeros(1), graphs.Graphs(torch.device("cpu"))
    with caplog.at_level(logging.WARNING):
        for count in (1, 2, 3):
            some.run("key", lambda: state.add_(1), (state,))
            assert float(state) == count
    assert [record.getMessage() for record in caplog.records] == [
        "This card's work cannot be captured, so it is slower: not permitted"
    ]


@pytest.mark.usefixtures("fake_card")
def test_a_full_card_is_said_and_not_worked_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "graph", refuse(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        graphs.Graphs(torch.device("cpu")).run("key", lambda: None)


def test_a_processor_is_told_nothing() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.cudnn_sdp_enabled()
    assert chosen("cpu") == "cpu"
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.cudnn_sdp_enabled())
    with beside(torch.device("cpu"))():
        pass


@pytest.mark.usefixtures("fake_card")
def test_a_card_is_not_touched_before_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: made.append(device))
    device = torch.device("cuda")
    block = beside(device)
    assert not made
    for _ in range(2):
        with block():
            pass
    assert made == [device]


def test_the_codec_asks_a_card_nothing_about_sizes(tmp_path: Path) -> None:
    """On a device that holds no numbers, whatever it asked for would be an error."""
    folder = build_tiny_musicgen(tmp_path / "tiny")
    codec = whole_model(folder, torch.float32).audio_encoder
    usual = copy.deepcopy(codec).to("meta")
    near_processor(codec)
    latents = torch.empty(1, codec.config.hidden_size, 20, device="meta")
    with torch.inference_mode():
        with pytest.raises((RuntimeError, NotImplementedError)):
            usual.decoder(latents)
        made = codec.to("meta").decoder(latents)
    assert made.shape[-1] == 20 * codec.config.hop_length
