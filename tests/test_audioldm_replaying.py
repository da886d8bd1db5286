"""The card's way to run AudioLDM's UNet: the UNet's own numbers, on tensors that stay in place."""

import threading
from pathlib import Path

import pytest
import torch
from test_engines_contract import asked
from tiny_audioldm import build_tiny_audioldm, tiny_unet
from torch import Tensor
from watching import ASKING, Listed

from voice2music.engines.audioldm import AudioLDM, load
from voice2music.engines.audioldm.conditions import branches
from voice2music.engines.audioldm.engine import OWN_GUIDED
from voice2music.engines.audioldm.melody import MelodyRows
from voice2music.engines.audioldm.replaying import SHAPES, Replayed
from voice2music.engines.audioldm.sampling import denoised, scheduler_for
from voice2music.engines.base import Settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that follows a tune, with FiLM."""
    folder = tmp_path_factory.mktemp("tiny")
    return build_tiny_audioldm(folder, melody=True, clap="words", film=True, window_seconds=2.56)


@pytest.fixture(scope="module")
def engine(folder: Path) -> AudioLDM:
    return load(folder, "cpu", precision="float32")


def drawn(engine: AudioLDM, unet: object, seconds: float = 4.0, device: str = "cpu") -> Tensor:
    """Latents, guided by three branches for a part of the way and by two before and after."""
    frames = engine.parts.frames(seconds)
    noise = torch.randn(8, frames, 16, generator=torch.Generator().manual_seed(1))
    return denoised(
        unet, scheduler_for(engine.parts.schedule, "dpm++"), noise.to(device),
        branches(engine.parts, asked(), Settings(faithful=0.5), frames),
        window=engine.parts.window, steps=6, start=None, strength=1.0,
        go_on=lambda share: None, guided=OWN_GUIDED,
    )  # fmt: skip


def question(seed: int, count: int = 2, frames: int = 32) -> tuple[Tensor, Tensor, None, Tensor]:
    """What a UNet without melody channels is called with."""
    generator = torch.Generator().manual_seed(seed)
    batch = torch.randn(count, 8, frames, 16, generator=generator)
    clap = torch.randn(count, 32, generator=generator)
    return batch, torch.tensor(37 * seed + 5), None, clap


def test_latents_are_those_of_the_unet_itself(engine: AudioLDM) -> None:
    replayed = Replayed(engine.parts.unet, graph=False)
    for seconds in (4.0, 3.0, 4.0):
        expected = drawn(engine, engine.parts.unet, seconds)
        assert float(expected.std()) > 0.1
        assert torch.equal(drawn(engine, replayed, seconds), expected)


@torch.inference_mode()
def test_an_answer_stays_when_others_are_asked() -> None:
    unet = tiny_unet(None, "weighted", film=False)
    replayed = Replayed(unet, graph=False)
    answers = [replayed(*question(seed)).sample for seed in range(3)]
    for seed, answer in enumerate(answers):
        assert torch.equal(answer, unet(*question(seed)[:3], question(seed)[3]).sample)
    assert not torch.equal(answers[0], answers[1])


def test_shapes_that_were_longest_not_asked_for_make_room() -> None:
    unet = tiny_unet(None, "weighted", film=False)
    replayed = Replayed(unet, graph=False)
    lengths = [16 * (1 + i) for i in range(SHAPES + 1)]
    for frames in (*lengths[:-1], lengths[0], lengths[-1]):
        replayed(*question(1, frames=frames))
    kept = [batch[2] for batch, _ in replayed._fixed]
    assert kept == [*lengths[2:-1], lengths[0], lengths[-1]]


def test_threads_get_their_own_answers() -> None:
    unet = tiny_unet(None, "weighted", film=False)
    replayed, found = Replayed(unet, graph=False), dict[int, list[Tensor]]()

    def ask(seed: int) -> None:
        found[seed] = [replayed(*question(seed)).sample for _ in range(20)]

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, answers in found.items():
        batch, when, _, clap = question(seed)
        with torch.inference_mode():
            expected = unet(batch, when, None, class_labels=clap).sample
        assert all(torch.equal(answer, expected) for answer in answers)


def test_what_is_captured_asks_nothing_and_needs_nothing_from_elsewhere() -> None:
    """On a device that holds no numbers: any that were asked for, or lay elsewhere, would show."""
    unet = tiny_unet(MelodyRows(), "weighted", film=True).to("meta")
    replayed = Replayed(unet, graph=False)
    batch = torch.empty(3, unet.config.in_channels, 32, 16)
    fixed = replayed._at_hand(batch, torch.empty(3, 32))
    lists = []
    for _ in range(2):
        with Listed() as listed, torch.inference_mode():
            replayed._work(fixed)
        assert listed.homes == {"meta"}
        lists.append(listed.names)
    assert "conv2d" in lists[0]  # it does list
    assert lists[0] == lists[1]
    assert not ASKING & set(lists[0])


needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA graphics card")


@pytest.mark.gpu
@needs_card
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graphs_replay_what_runs_without_them(folder: Path, precision: str) -> None:
    """The same kernels on the same shapes, hence the same latents, new lengths between."""
    engine = load(folder, "cuda", precision=precision)
    assert isinstance(engine._unet, Replayed)
    for seconds in (4.0, 3.0, 4.0):
        expected = drawn(engine, engine.parts.unet, seconds, "cuda")
        torch.testing.assert_close(drawn(engine, engine._unet, seconds, "cuda"), expected)
    assert len(engine._unet._graphs._graphs) == 4  # two lengths, two counts: no capture failed
