"""Two processes learn what one learns from batches of twice the size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_pairs
import torch
from tiny_audioldm import build_tiny_audioldm
from tiny_musicgen import build_tiny_musicgen

from voice2music.checkpoints import locate
from voice2music.errors import BadRequest
from voice2music.training.draws import StepChance
from voice2music.training.sharding import sharded
from voice2music.training.task import Settings

SCRIPT = Path(__file__).with_name("two_processes.py")
MODELS = ("musicgen", "audioldm")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return tiny_pairs.write(tmp_path_factory.mktemp("pairs"))


def started(model, folder):
    if model == "musicgen":
        return build_tiny_musicgen(folder / "tiny")
    build_tiny_audioldm(folder / "tiny", melody=True, clap="concatenated", film=True)
    return folder / "tiny"


def launched(processes: int, *words: str) -> None:
    """As `accelerate launch` does on graphics cards; on processors it wants MPI instead."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(SCRIPT), *words]
    surroundings = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=surroundings)
    assert done.returncode == 0, done.stderr[-3000:]


KINDS = {"alone": (1, 4), "two": (2, 2), "sharded": (2, 2)}  # processes, and crops of each


@pytest.fixture(scope="module", params=MODELS)
def runs(request, pairs, tmp_path_factory):
    """The same run by one process and by two, as copies of it and in parts."""
    folder = tmp_path_factory.mktemp(request.param)
    start = started(request.param, folder)
    for kind, (processes, batch) in KINDS.items():
        words = [request.param, str(pairs), str(start), str(folder / kind), str(batch)]
        launched(processes, *words, *(["sharded"] if kind == "sharded" else []))
    return folder


def gradients(runs, kind):
    found = [torch.load(path, weights_only=True)
             for path in sorted((runs / kind).glob("gradients-*.pt"))]  # fmt: skip
    assert len(found) == KINDS[kind][0]
    return found


@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_gradients_are_those_of_one_process_with_the_doubled_batch(runs, kind):
    (alone,) = gradients(runs, "alone")
    for one in gradients(runs, kind):
        whole = torch.cat([g.flatten() for g in alone["gradients"].values()])
        apart = torch.cat([one["gradients"][name].flatten() for name in alone["gradients"]])
        assert whole.norm() > 1e-3
        assert (apart - whole).norm() < 1e-5 * whole.norm()


def test_two_processes_see_the_halves_of_the_batch(runs):
    (alone,), (first, second) = gradients(runs, "alone"), gradients(runs, "two")
    for name, values in alone["batch"].items():
        both = torch.cat([first["batch"][name], second["batch"][name]])
        torch.testing.assert_close(both, values, rtol=0, atol=0)
    assert any(not torch.equal(first["batch"][n], second["batch"][n]) for n in first["batch"])


def test_a_run_of_two_ends_with_one_model_and_one_log(runs):
    losses = {}
    for kind in KINDS:
        assert locate(runs / kind / "model").engine in runs.name
        log = (runs / kind / "run/log.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in log]
        assert [row["step"] for row in rows if "train" in row] == [1, 2, 3, 4]
        losses[kind] = [row["valid"]["loss"] for row in rows if "valid" in row]
        assert len(losses[kind]) == 4
    for kind in ("two", "sharded"):
        np.testing.assert_allclose(losses[kind], losses["alone"], rtol=1e-3)
    assert abs(losses["alone"][-1] / losses["alone"][0] - 1) > 2e-3  # it learns more than that


def test_a_sharded_run_is_gone_on_with_as_it_was(runs):
    state = torch.load(runs / "sharded/run/state.pt", weights_only=True)
    again = torch.load(runs / "sharded/resumed.pt", weights_only=True)
    assert again["network"].keys() == state["network"].keys()
    for name, weight in state["network"].items():
        torch.testing.assert_close(again["network"][name], weight, rtol=0, atol=0)
    steps = 0
    for name, moments in state["optimiser"]["state"].items():
        for kind, value in moments.items():
            torch.testing.assert_close(again["optimiser"]["state"][name][kind], value)
            steps += kind == "step" and float(value) == 4
    assert steps


@pytest.mark.parametrize("wrong", [{"average": 0.9}, {"eight_bit": True}, {"rival_from": 0.5}])
def test_what_a_sharded_run_cannot_do_is_said(wrong):
    with pytest.raises(BadRequest, match="sharded"):
        Settings(steps=1, sharded=True, **{"average": 0.0, **wrong})


def test_one_process_cannot_be_sharded():
    with pytest.raises(BadRequest, match="several processes"):
        sharded(torch.nn.Linear(2, 2))


def test_a_sample_is_the_same_whoever_draws_it():
    alone = [s.chance.random() for s in StepChance(3, 7).samples(6)]
    apart = [s.chance.random() for p in range(3) for s in StepChance(3, 7, p, 3).samples(2)]
    assert alone == apart
    everybodys = StepChance(3, 7, 1, 3).samples(2, everybodys=True)
    assert [s.chance.random() for s in everybodys] == alone
    places = np.array([s.place for s in StepChance(3, 7).samples(6)])
    assert sorted((places * 6).astype(int)) == list(range(6))
    others = [s.chance.random() for s in StepChance(3, 8).samples(6)]
    assert not set(others) & set(alone)
