"""The memory a model takes: measured in a process of its own, told in bytes."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_audioldm import build_tiny_audioldm
from torch import nn
from typer.testing import CliRunner

from voice2music import footprint as measuring
from voice2music.cli import app
from voice2music.errors import CorruptCheckpoint, OutOfMemory
from voice2music.footprint import SECONDS, Footprint, footprint, weight_bytes


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny_audioldm(tmp_path_factory.mktemp("checkpoints") / "tiny")


def test_weights_are_counted_once_wherever_they_lie():
    shared = nn.Linear(10, 20, bias=False)  # 800 bytes
    norm = nn.BatchNorm1d(4)  # 2 parameters and 2 buffers of 4 floats, and a counter: 72 bytes

    class Part:
        __module__ = "voice2music.tests"

        def __init__(self) -> None:
            self.packed = [torch.zeros(100, dtype=torch.int8)]
            self.network = nn.Sequential(shared, norm)
            self.lent = {"again": shared.weight, "nowhere": torch.empty(9, device="meta")}
            self.other = SimpleNamespace(hidden=torch.zeros(1000))  # not ours: a library's own

    assert weight_bytes(Part()) == 800 + 72 + 100


def test_the_peak_rises_with_what_is_held_and_stays():
    ask = """
import numpy as np
from voice2music.footprint import peak_bytes
before = peak_bytes()
held = np.ones(200_000_000, np.uint8)
risen = peak_bytes()
del held
print(before, risen, peak_bytes())
"""
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, timeout=60)
    before, risen, after = map(int, done.stdout.split())
    assert risen - before == pytest.approx(200e6, rel=0.02)
    assert after == pytest.approx(risen, rel=0.02)


def test_a_model_is_measured_in_a_process_of_its_own(tiny):
    found = footprint(tiny)
    own = sum(file.stat().st_size for file in tiny.rglob("*.safetensors"))
    assert 0.8 * own < found.weights < 3 * own  # 16 bits on disk may be 32 in memory
    assert found.peak > 100e6 + found.weights  # torch alone is more
    assert found.seconds > 0


def test_an_error_of_the_other_process_is_told_as_it_stands(tmp_path, monkeypatch, capsys):
    folder = build_tiny_audioldm(tmp_path / "damaged")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensors[name] for name in list(tensors)[1:]}, weights)
    measuring._main(folder)  # what that process does
    ended = subprocess.CompletedProcess([], 0, capsys.readouterr().out.encode())
    monkeypatch.setattr(measuring.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(CorruptCheckpoint, match="lacks 1 of the model's weights"):
        footprint(folder)


def test_a_process_that_the_system_stopped_had_too_little_memory(tiny, monkeypatch):
    ended = subprocess.CompletedProcess([], measuring.KILLED, b"")
    monkeypatch.setattr(measuring.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(OutOfMemory, match="Choose a smaller model"):
        footprint(tiny)


def test_the_command_shows_what_a_model_takes(tiny, monkeypatch):
    found = Footprint(weights=65_432_100, peak=1_234_567_890, seconds=2.4)
    monkeypatch.setattr(measuring, "footprint", lambda folder: found)
    shown = CliRunner().invoke(app, ["models", "check", str(tiny)])
    assert shown.exit_code == 0
    assert "weights in memory: 65 MB\n" in shown.stdout
    assert f"1,235 MB, loading it and making {SECONDS:.0f} s of music" in shown.stdout


def test_the_command_can_leave_the_memory_out(tiny, monkeypatch):
    monkeypatch.setattr(measuring, "footprint", lambda folder: 1 / 0)
    shown = CliRunner().invoke(app, ["models", "check", str(tiny), "--no-memory"])
    assert shown.exit_code == 0
    assert len(shown.stdout.split()) == 1  # the hash
