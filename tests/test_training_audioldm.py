"""mini-audioldm's training: what it is given, its loss, and a checkpoint that the engine plays."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_pairs
import torch

from voice2music.clip import Clip
from voice2music.dataset.shards import Pairs
from voice2music.engines import audioldm as engine
from voice2music.engines.audioldm.clap import AudioFeatures
from voice2music.engines.audioldm.melody import melody_channels
from voice2music.engines.base import Conditioning, Rendition, Settings
from voice2music.errors import MissingCheckpoint
from voice2music.harmony import Key
from voice2music.rhythm import steady
from voice2music.training import audioldm, clap
from voice2music.training.assembly import Sources
from voice2music.training.latents import Cached, heard_melody, towers
from voice2music.training.loop import averaged, train
from voice2music.training.plans import music_plan
from voice2music.training.task import Settings as Run
from voice2music.training.vae import VaeConfig, new_vae
from voice2music.training.vocoder import VocoderConfig, new_vocoder

TINY_CLAP = clap.Config(
    features=AudioFeatures(
        rate=16_000, hop=640, bins=16, fmin=40.0, fmax=7_800.0, seconds=2.5
    ),
    spec_size=32, patch=4, depths=(1, 1), width=16, heads=(2, 4), window=4,
    text_width=64, text_layers=1, text_inner=64, vocabulary=400, longest=48, size=16,
)  # fmt: skip
TINY = audioldm.Config(
    channels=(16, 16, 32), groups=4, heads=8, clap=16, frames=(32,), batch_frames=128,
    window_seconds=3.84, judged=1, steps=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_pairs.write(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def sources(data, tmp_path_factory):
    """The other networks, of random weights, as their trainings write them."""
    folder = tmp_path_factory.mktemp("networks")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        hearing = clap.task(TINY_CLAP, data, cache=data / "cache")
        hearing.export(hearing.network, folder / "clap")
        vae = new_vae(VaeConfig(channels=(8, 8, 16), groups=4))
        vae.register_to_config(scaling_factor=2.0)
        vae.half().save_pretrained(folder / "vae")
        new_vocoder(VocoderConfig(channels=32)).half().save_pretrained(folder / "vocoder")
    return Sources(folder / "vae", folder / "clap", folder / "vocoder")


@pytest.fixture(scope="module")
def cached(data, sources):
    return Cached(data, "train", sources.vae, sources.clap, TINY.mel, TINY.rows, data / "cache")


@pytest.fixture
def task(data, sources):
    torch.manual_seed(0)
    return audioldm.task(TINY, data, sources, cache=data / "cache")


def tensors(task, seed=0):
    batch = task.batch(np.random.default_rng(seed))
    return {key: torch.as_tensor(value) for key, value in batch.items()}


# --- what is kept ------------------------------------------------------------------------------


def test_a_piece_has_as_many_latent_frames_as_the_engine_gives_it(cached):
    assert cached.frames(0) == 64  # 4 s of 15.6 frames, and on to a multiple of 4
    assert cached.latent(0, 8, 32).shape == (8, 32, 24)


def test_kept_latents_are_what_the_engine_encodes(cached, data, checkpoint):
    # In windows as long as the piece; the engine's own tests show what windows change.
    playing = engine.load(checkpoint)
    wide = replace(playing.parts, layout=replace(playing.parts.layout, window_seconds=5.0))
    sound = Clip(Pairs(data, "train").music(2), 16_000)
    expected = engine.AudioLDM(wide, playing.about).encoded(sound, 64).detach().numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(cached.latent(2, 0, 64), expected, atol=2e-3 * abs(expected).max())


def test_kept_tunes_are_the_engines_rows_of_what_was_heard(cached, data):
    pairs = Pairs(data, "train")
    melody, plan = heard_melody(pairs, 4), music_plan(pairs.rows[4])
    expected = melody_channels(melody, 64, 15.625, 24, TINY.rows, plan)[:, 16:48]
    assert expected[:12].sum() > 20
    assert expected[TINY.rows.tune :].any()
    np.testing.assert_allclose(cached.tune(4, 16, 32), expected, atol=1e-3)


def test_kept_words_are_the_text_towers(cached, data, sources):
    text, audio = towers(sources.clap)
    pairs = Pairs(data, "train")
    asked = text.embed(pairs.rows[3]["captions"]).numpy()
    got = np.stack([cached.words(3, np.random.default_rng(i)) for i in range(12)])
    nearest = np.abs(got[:, None] - asked).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-3
    assert len({tuple(row) for row in got.tolist()}) == 2  # both captions are drawn
    voice = audio.embed(Clip(pairs.voice(3), 16_000)).numpy()
    np.testing.assert_allclose(cached.voice(3), voice, atol=1e-3)


# --- batches and loss --------------------------------------------------------------------------


def test_conditions_are_left_out_as_often_as_it_says(cached):
    config = replace(TINY, nothing=0.2, words_only=0.2, tune_only=0.1, no_voice=0.5)
    batch = audioldm.drawn(cached, config, 32, 2000, np.random.default_rng(0))
    words, voice = (
        np.abs(batch["clap"][:, :16]).sum(1) > 0,
        np.abs(batch["clap"][:, 16:]).sum(1) > 0,
    )
    own = TINY.rows.tune
    tune = np.abs(batch["tune"][:, :own]).sum((1, 2, 3)) > 0
    plan = np.abs(batch["tune"][:, own:]).sum((1, 2, 3)) > 0
    share = {
        "nothing": (~words & ~voice & ~tune).mean(),
        "words only": (words & ~voice & ~tune).mean(),
        "tune only": (~words & ~voice & tune).mean(),
        "no voice": (words & ~voice & tune).mean(),
        "all": (words & voice & tune).mean(),
    }
    expected = {"nothing": 0.2, "words only": 0.2, "tune only": 0.1, "no voice": 0.25, "all": 0.25}
    assert share == pytest.approx(expected, abs=0.03)
    assert not plan[~words & ~voice & ~tune].any()
    assert plan.mean() == pytest.approx(0.8 * (1 - config.no_plan), abs=0.03)


def test_every_step_sees_all_noise_levels(task):
    for seed in range(5):
        times = np.sort(task.batch(np.random.default_rng(seed))["time"])
        even = ((times + 0.5) / 1000) ** (1 / TINY.noisier)  # more of them at high noise
        assert (even * 4).astype(int).tolist() == [0, 1, 2, 3]


def test_a_network_that_says_nothing_is_wrong_by_the_spread_of_v(task):
    # v has the spread of a unit Gaussian where latents have it, whatever the noise level.
    batch = tensors(task)
    batch["latent"] = torch.randn(4, 8, 32, 24, generator=torch.Generator().manual_seed(0))
    out = task.network.eval()(batch=batch)
    assert float(out["loss"].detach()) == pytest.approx(1.0, abs=0.05)


def test_the_true_v_takes_the_engines_sampler_to_the_latent(task):
    """The closed form of v, stepped by the engine's own scheduler, ends at the clean latent."""
    from voice2music.engines.audioldm.sampling import scheduler_for, times

    generator = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 1, 8, 32, 24, generator=generator)
    scheduler = scheduler_for(audioldm.scheduler_of().config, "dpm++")
    signal, latents = scheduler.alphas_cumprod, noise
    for time in times(scheduler, 20, 1.0):
        share = signal[time]
        told = (latents - share.sqrt() * clean) / (1 - share).sqrt()
        v = share.sqrt() * told - (1 - share).sqrt() * clean
        latents = scheduler.step(v, time, latents).prev_sample
    assert float((latents - clean).abs().max()) < 0.05


def test_thirty_steps_lower_the_loss_and_the_run_can_be_resumed(task, tmp_path, data, sources):
    before = float(task.network(batch=tensors(task, 9))["loss"].detach())
    settings = Run(steps=30, learning_rate=3e-3, warm_up=5, average=0.8, precision="no",
                   validations=0)  # fmt: skip
    train(task, settings, tmp_path, {})
    after = float(averaged(task, tmp_path)(batch=tensors(task, 9))["loss"].detach())
    assert after < before - 0.02


# --- the checkpoint ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(data, sources, tmp_path_factory):
    torch.manual_seed(0)
    made = audioldm.task(TINY, data, sources, cache=data / "cache")
    folder = tmp_path_factory.mktemp("checkpoint") / "mini-audioldm"
    made.export(made.network, folder)
    return folder


def test_the_checkpoint_is_played_by_the_engine(checkpoint, data):
    playing = engine.load(checkpoint)
    about = playing.describe()
    assert about.follows_voice
    assert playing.parts.audio is not None  # the two towers agree
    pairs = Pairs(data, "valid")
    asked = Conditioning(
        genre="jazz", text="jazz, instrumental lead melody", seconds=3.5,
        grid=steady(100.0, 3.5), key=Key(0, "major"), chords=(), melody=heard_melody(pairs, 0),
        voice=Clip(pairs.voice(0), 16_000),
    )  # fmt: skip
    *_, take = playing.generate(asked, Settings(steps=2), lambda *a: None, lambda: False)
    assert isinstance(take, Rendition)
    assert take.audio.seconds == pytest.approx(3.5)
    assert take.audio.peak > 1e-4
    assert take.notes == ()


def test_the_checkpoint_is_in_half_precision_and_names_its_parts(checkpoint):
    from safetensors import safe_open

    index = json.loads((checkpoint / "model_index.json").read_text())
    for name in ("vae", "unet", "text_encoder", "tokenizer", "vocoder", "scheduler"):
        assert (checkpoint / name).is_dir()
        assert index[name][1]
    for path in checkpoint.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert {str(file.get_tensor(key).dtype) for key in file.keys()} <= {  # noqa: SIM118
                "torch.float16", "torch.int64",
            }  # fmt: skip


def test_without_a_vocoder_there_is_no_checkpoint(task, sources, tmp_path, data):
    lacking = audioldm.task(TINY, data, replace(sources, vocoder=None), cache=data / "cache")
    with pytest.raises(MissingCheckpoint, match="vocoder"):
        lacking.export(lacking.network, tmp_path / "x")


def test_validation_makes_takes_and_says_floor_and_ceiling(task, data, tmp_path):
    judged = task.validate(task.network.eval(), tmp_path)
    assert {"melody", "melody floor", "melody ceiling", "genre", "v at 500, no tune"} <= set(judged)
    assert len(list(tmp_path.glob("*.wav"))) == 1
    assert 0 <= judged["melody"] <= 1
