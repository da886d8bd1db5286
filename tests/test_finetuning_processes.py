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
from voice2music.training.draws import StepChance

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


@pytest.fixture(scope="module", params=MODELS)
def runs(request, pairs, tmp_path_factory):
    """The same run by one process with a batch of four and by two with batches of two."""
    folder = tmp_path_factory.mktemp(request.param)
    start = started(request.param, folder)
    for processes, batch in ((1, 4), (2, 2)):
        out = folder / str(processes)
        launched(processes, request.param, str(pairs), str(start), str(out), str(batch))
    return folder


def gradients(runs, processes):
    found = [torch.load(path, weights_only=True)
             for path in sorted((runs / str(processes)).glob("gradients-*.pt"))]  # fmt: skip
    assert len(found) == processes
    return found


def test_gradients_are_those_of_one_process_with_the_doubled_batch(runs):
    (alone,) = gradients(runs, 1)
    for one in gradients(runs, 2):
        whole = torch.cat([g.flatten() for g in alone["gradients"].values()])
        apart = torch.cat([one["gradients"][name].flatten() for name in alone["gradients"]])
        assert whole.norm() > 1e-3
        assert (apart - whole).norm() < 1e-5 * whole.norm()


def test_two_processes_see_the_halves_of_the_batch(runs):
    (alone,), (first, second) = gradients(runs, 1), gradients(runs, 2)
    for name, values in alone["batch"].items():
        both = torch.cat([first["batch"][name], second["batch"][name]])
        torch.testing.assert_close(both, values, rtol=0, atol=0)
    assert any(not torch.equal(first["batch"][n], second["batch"][n]) for n in first["batch"])


def test_a_run_of_two_ends_with_one_model_and_one_log(runs):
    for processes in (1, 2):
        place = runs / str(processes)
        assert locate(place / "model").engine == runs.name.rstrip("0123456789")
        rows = [json.loads(line) for line in (place / "run/log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if "train" in row] == [1, 2, 3, 4]
        assert [row["step"] for row in rows if "valid" in row] == [1, 2, 3, 4]
    losses = [
        [json.loads(line)["valid"]["loss"] for line in (runs / p / "run/log.jsonl").open()
         if "valid" in line]
        for p in ("1", "2")
    ]  # fmt: skip
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


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
