"""What a take costs, counted and not timed; that speed changes nothing; that memory is bounded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from test_engines_contract import asked
from tiny_audioldm import build_tiny_audioldm, tiny_vocoder
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from voice2music.engines.audioldm import AudioLDM, load, parts
from voice2music.engines.audioldm.conditions import branches
from voice2music.engines.audioldm.engine import guided_of, steps_of
from voice2music.engines.audioldm.inversion import MelInverter, inverted
from voice2music.engines.audioldm.layout import Layout
from voice2music.engines.audioldm.sampling import (
    ALWAYS,
    Branch,
    Interval,
    denoised,
    downsampling,
    scheduler_for,
    times,
)
from voice2music.engines.audioldm.vocoding import CHUNK, waveform
from voice2music.engines.audioldm.windows import windows
from voice2music.engines.base import Settings
from voice2music.engines.phases import CHUNK as PHASES_CHUNK

STEPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that follows a tune, trained on 2.56 s."""
    return build_tiny_audioldm(
        tmp_path_factory.mktemp("tiny"), melody=True, clap="words", window_seconds=2.56
    )


@pytest.fixture(scope="module")
def engine(folder: Path) -> AudioLDM:
    return load(folder, "cpu", precision="float32")


@contextmanager
def watched(model: torch.nn.Module) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of what a model is called with."""
    shapes: list[tuple[int, ...]] = []
    hook = model.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    yield shapes
    hook.remove()


def made(engine: AudioLDM, settings: Settings, **job: object) -> dict[str, list[tuple[int, ...]]]:
    """Shapes that each network is called with in a take."""
    models = engine.parts
    with (
        watched(models.unet) as unet,
        watched(models.vae.encoder) as encoder,
        watched(models.vae.decoder) as decoder,
        watched(models.vocoder) as vocoder,
    ):
        given = asked(**job)
        list(engine.generate(given, settings, lambda share, words: None, lambda: False))
    return {"unet": unet, "encoder": encoder, "decoder": decoder, "vocoder": vocoder}


def windows_of(engine: AudioLDM, seconds: float) -> int:
    models = engine.parts
    return len(windows(models.frames(seconds), models.window, downsampling(models.unet)))


@pytest.mark.parametrize(
    ("settings", "guided", "unguided"),
    [
        (Settings(steps=STEPS), 2, 1),  # words and tune are guided together
        (Settings(steps=STEPS, faithful=0.5), 3, 2),
        (Settings(steps=STEPS, guidance=1.0), 1, 1),
        (Settings(steps=STEPS, faithful=0.0), 2, 1),
    ],
)
def test_a_take_costs_a_call_for_each_step_and_window(
    engine: AudioLDM, settings: Settings, guided: int, unguided: int
) -> None:
    """Batches are as large as there are conditions at the step's time."""
    calls = made(engine, settings, seconds=4.0)
    count = windows_of(engine, 4.0)
    walk = times(scheduler_for(engine.parts.schedule, "dpm++"), STEPS, 1.0).tolist()
    assert [count, len(walk)] == [3, STEPS]
    low, high = (1000 * share for share in guided_of(engine.parts.layout))
    batches = [guided if low <= when <= high else unguided for when in walk for _ in range(count)]
    assert [shape[0] for shape in calls["unet"]] == batches
    assert {shape[2] for shape in calls["unet"]} == {engine.parts.window}
    assert len(calls["decoder"]) == count
    assert len(calls["vocoder"]) == 1
    assert not calls["encoder"]


def test_a_usual_take_costs_as_much_as_was_measured(engine: AudioLDM) -> None:
    """Eight steps, three of them guided: eleven runs of the UNet for a window."""
    assert steps_of(engine.parts.layout) == 8
    calls = made(engine, Settings(), seconds=3.0)
    assert len(calls["unet"]) == 8 * windows_of(engine, 3.0)
    assert sum(shape[0] for shape in calls["unet"]) == 11 * windows_of(engine, 3.0)


def test_a_checkpoint_that_was_not_measured_walks_further_and_is_guided_always() -> None:
    assert steps_of(Layout()) == 20
    assert guided_of(Layout()) == ALWAYS


def test_a_start_from_a_sound_costs_its_share_of_the_steps(engine: AudioLDM) -> None:
    settings = Settings(steps=8, start_from="voice", strength=0.5)
    calls = made(engine, settings, seconds=4.0)
    count = windows_of(engine, 4.0)
    walk = times(scheduler_for(engine.parts.schedule, "dpm++"), 8, 0.5)
    assert 2 <= len(walk) <= 6
    assert len(calls["unet"]) == len(walk) * count
    assert len(calls["encoder"]) == len(calls["decoder"]) == count


def drawn(
    engine: AudioLDM, given: tuple[Branch, ...], noise: Tensor, guided: Interval = ALWAYS
) -> Tensor:
    return denoised(
        engine.parts.unet, scheduler_for(engine.parts.schedule, "dpm++"), noise, given,
        window=10_000, steps=6, start=None, strength=1.0, go_on=lambda share: None, guided=guided,
    )  # fmt: skip


def given_to(engine: AudioLDM) -> tuple[tuple[Branch, ...], Tensor]:
    """Conditions and noise of a take of four seconds."""
    frames = engine.parts.frames(4.0)
    conditions = branches(engine.parts, asked(), Settings(faithful=0.5), frames)
    return conditions, torch.randn(8, frames, 16, generator=torch.Generator().manual_seed(1))


def test_latents_are_those_of_a_plain_loop_of_diffusers(engine: AudioLDM, folder: Path) -> None:
    """One condition after the other, weights as they come from the folder."""
    from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    given, noise = given_to(engine)
    scheduler = DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
    walk = times(scheduler_for(engine.parts.schedule, "dpm++"), 6, 1.0)
    scheduler.set_timesteps(timesteps=walk.tolist())
    latents = noise[None]
    with torch.no_grad():
        for when in walk:
            guided = sum(
                branch.weight
                * unet(
                    torch.cat([latents[0], branch.melody])[None], when, encoder_hidden_states=None,
                    class_labels=branch.clap[None],
                ).sample
                for branch in given
            )  # fmt: skip
            latents = scheduler.step(guided, when, latents).prev_sample
        ours = drawn(engine, given, noise)
    assert ours.std() > 0.1
    assert (ours - latents[0]).norm() < 1e-5 * latents.norm()


def test_half_precision_is_near_and_only_where_it_is_wanted(
    engine: AudioLDM, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, noise = given_to(engine)
    half = load(folder, "cpu", precision="bfloat16")
    exact, near = drawn(engine, given, noise), drawn(half, given, noise)
    assert near.dtype == torch.float32
    assert 0 < float((exact - near).norm()) < 0.05 * float(exact.norm())

    with torch.no_grad():
        mel, rough = engine.decoded(exact), half.decoded(exact)
    assert rough.dtype == torch.float32
    assert 0 < float((mel - rough).norm()) < 0.05 * float(mel.norm())

    def chosen(fast: bool, small: int) -> torch.dtype:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
        monkeypatch.setattr(parts, "SMALL", small)
        dtype: torch.dtype = load(folder, "cpu").parts.unet.dtype
        return dtype

    assert chosen(fast=True, small=0) == torch.bfloat16
    assert chosen(fast=False, small=0) == torch.float32
    assert chosen(fast=True, small=100_000_000) == torch.float32


def test_outside_the_interval_it_is_as_with_no_guidance(engine: AudioLDM) -> None:
    """Also where the tune is followed by half: guidance 1 and no guidance are the same."""
    frames = engine.parts.frames(4.0)
    given, noise = given_to(engine)
    plain = branches(engine.parts, asked(), Settings(faithful=0.5, guidance=1.0), frames)
    nowhere = drawn(engine, given, noise, (2.0, 2.0))
    torch.testing.assert_close(nowhere, drawn(engine, plain, noise))
    assert not torch.allclose(nowhere, drawn(engine, given, noise), atol=1e-3)
    assert not torch.allclose(nowhere, drawn(engine, given, noise, (0.2, 0.8)), atol=1e-3)


class Sizes(TorchDispatchMode):
    """Bytes of every tensor that an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = function(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, Tensor):
                self.seen.add(one.untyped_storage().nbytes())
        return out


def largest(work: Callable[[Tensor], Tensor], given: Tensor) -> int:
    """Bytes of the largest tensor on the way, those as large as what is given or made aside.

    What is given is let grow by a frame, which is how an edge is padded.
    """
    with Sizes() as sizes, torch.no_grad():
        out = work(given)
    frame = given.nbytes // max(given.shape)
    aside = {out.nbytes, given.nbytes, given.nbytes + frame}
    return max(size for size in sizes.seen if size not in aside)


@pytest.fixture(scope="module")
def inverter() -> MelInverter:
    torch.manual_seed(0)
    return MelInverter(bins=64, channels=16, dilations=(1, 2)).eval()


def test_memory_does_not_grow_with_length(engine: AudioLDM, inverter: MelInverter) -> None:
    vocoder = tiny_vocoder()
    stages: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[int], Tensor]]] = {
        "VAE": (engine.decoded, lambda seconds: torch.randn(8, engine.parts.frames(seconds), 16)),
        "HiFi-GAN": (lambda mel: waveform(vocoder, mel), lambda s: torch.randn(s * 100, 64)),
        "inverter": (
            lambda mel: inverted(inverter, mel, rounds=2, chunk=1024),
            lambda s: torch.randn(s * 100, 64),
        ),
    }
    for name, (stage, given) in stages.items():
        short, long = (largest(stage, given(seconds)) for seconds in (30, 120))
        assert short > 100_000, name
        assert long <= short, name


def test_the_inverter_in_chunks_is_the_same_as_the_whole(inverter: MelInverter) -> None:
    mel = torch.randn(900, 64, generator=torch.Generator().manual_seed(0))
    whole = inverted(inverter, mel, rounds=4, chunk=10_000)
    assert whole.abs().max() > 0.1
    for chunk in (100, 333, 899):
        joined = inverted(inverter, mel, rounds=4, chunk=chunk)
        assert (joined - whole).square().sum() < 1e-6 * whole.square().sum()  # -60 dB


def test_the_inverters_reach_is_what_a_change_of_one_frame_touches(inverter: MelInverter) -> None:
    inverter = MelInverter(bins=64, channels=16, dilations=(1, 2, 4)).eval()
    torch.nn.init.normal_(inverter.out.weight)
    mel = torch.zeros(1, 100, 64)
    other = mel.clone()
    other[0, 50] = 1.0
    with torch.no_grad():
        apart = (inverter(mel) != inverter(other))[0].any(dim=1).nonzero().flatten()
    assert [int(apart.min()), int(apart.max())] == [50 - inverter.reach, 50 + inverter.reach]


def test_chunks_are_long_enough_for_a_usual_take() -> None:
    """Ten seconds at AudioLDM's 100 frames a second go through in one piece."""
    assert CHUNK >= 1000
    assert PHASES_CHUNK >= 1000
