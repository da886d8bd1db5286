"""The loop that all models are trained with, on a network of one line."""

import json
import signal
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from voice2music.errors import BadRequest, CorruptCheckpoint, TrainingFailed
from voice2music.training.loop import LOG, averaged, train
from voice2music.training.state import STATE
from voice2music.training.task import Settings

SLOPE, OFFSET = 3.0, -1.0


class Line(nn.Module):
    """y = a x + b, and how far it is off."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.line = nn.Linear(width, 1)

    def forward(self, batch):
        made = self.line(batch["x"])[:, 0]
        return {"loss": (made - batch["y"]).square().mean(), "real": batch["y"], "made": made}


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, real, made):
        return (self.scale * (made - real)).mean() + self.scale.square().mean()

    def praise(self, real, made):
        return -(self.scale * (made - real)).mean()


class LineTask:
    def __init__(self, width: int = 1, rival: bool = False) -> None:
        torch.manual_seed(0)
        self.network, self.rival = Line(width), Critic() if rival else None
        self.drawn, self.validated = [], []

    def batch(self, chance):
        x = chance.normal(size=(16, self.network.line.in_features)).astype(np.float32)
        self.drawn.append(float(x[0, 0]))
        return {"x": x, "y": SLOPE * x[:, 0] + OFFSET}

    def validate(self, network, folder):
        self.validated.append(folder.name)
        assert not network.training
        return {"slope": network.line.weight.item()}

    def export(self, network, folder):
        (folder / "slope").write_text(str(network.line.weight.item()))


def settings(**changes):
    given = {"steps": 300, "learning_rate": 0.1, "warm_up": 10, "average": 0.9, "precision": "no"}
    return Settings(**given | changes)


def rows(run):
    return [json.loads(line) for line in (run / LOG).read_text().splitlines()]


def test_it_finds_the_line(tmp_path):
    task = LineTask()
    train(task, settings(), tmp_path, {})
    line = averaged(LineTask(), tmp_path).line
    assert line.weight.item() == pytest.approx(SLOPE, abs=0.01)
    assert line.bias.item() == pytest.approx(OFFSET, abs=0.01)


def test_a_run_that_was_broken_off_ends_as_one_that_was_not(tmp_path):
    whole, broken = LineTask(rival=True), LineTask(rival=True)
    changes = {"steps": 60, "rival_from": 0.3, "validations": 3}
    train(whole, settings(**changes), tmp_path / "whole", {})

    def interrupt():
        while len(broken.drawn) < 25:
            time.sleep(0.001)
        signal.raise_signal(signal.SIGTERM)

    slow = broken.batch
    broken.batch = lambda chance: (time.sleep(0.01), slow(chance))[1]
    thread = threading.Thread(target=lambda: time.sleep(0.2) or interrupt())
    thread.start()
    first = train(broken, settings(**changes), tmp_path / "broken", {})
    thread.join()
    assert 20 < first.step < 60
    again = LineTask(rival=True)
    assert train(again, settings(**changes), tmp_path / "broken", {}).step == 60
    # The loader draws nothing ahead, so what both parts drew is what the whole run drew.
    assert broken.drawn[: first.step] + again.drawn == whole.drawn
    states = [torch.load(tmp_path / name / STATE) for name in ("whole", "broken")]
    for key in ("network", "average", "rival"):
        for mine, other in zip(*(state[key].values() for state in states), strict=True):
            assert torch.equal(mine, other)


def test_another_seed_sees_other_batches(tmp_path):
    one, two = LineTask(), LineTask()
    train(one, settings(steps=3), tmp_path / "1", {})
    train(two, settings(steps=3, seed=1), tmp_path / "2", {})
    assert not set(one.drawn) & set(two.drawn)
    assert len(set(one.drawn)) == 3


def test_it_is_judged_evenly_and_at_the_end(tmp_path):
    task = LineTask()
    train(task, settings(steps=40, validations=4), tmp_path, {})
    assert task.validated == ["0000010", "0000020", "0000030", "0000040"]
    assert [r["step"] for r in rows(tmp_path) if "valid" in r] == [10, 20, 30, 40]


def test_minutes_end_a_run(tmp_path):
    progress = train(LineTask(), settings(steps=None, minutes=0.01, validations=1), tmp_path, {})
    assert 0.6 <= progress.seconds < 2
    assert progress.validated == 1


def test_the_rival_is_heard_from_its_time_on(tmp_path):
    train(LineTask(rival=True), settings(steps=40, rival_from=0.5, log_steps=10), tmp_path, {})
    heard = ["praise" in r["train"] for r in rows(tmp_path) if "train" in r]
    assert heard == [False, False, True, True]


def test_a_finished_run_is_left_as_it_is(tmp_path):
    train(LineTask(), settings(steps=5), tmp_path, {})
    task = LineTask()
    assert train(task, settings(steps=5), tmp_path, {}).step == 5
    assert task.drawn == []


def test_losses_that_are_no_numbers_end_the_run(tmp_path):
    task = LineTask()
    task.batch = lambda chance: {"x": np.full((2, 1), np.nan, np.float32), "y": np.zeros(2)}
    with pytest.raises(TrainingFailed, match="lower learning rate"):
        train(task, settings(), tmp_path, {})


def test_a_state_of_another_model_is_refused(tmp_path):
    train(LineTask(), settings(steps=2), tmp_path, {})
    with pytest.raises(CorruptCheckpoint, match="not a state of this model"):
        train(LineTask(width=2), settings(steps=4), tmp_path, {})
    with pytest.raises(CorruptCheckpoint, match="Train first"):
        averaged(LineTask(), tmp_path / "empty")


@pytest.mark.parametrize("wrong", [{"steps": None}, {"precision": "fp8"}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadRequest):
        settings(**wrong)
