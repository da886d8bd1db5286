"""AudioLDM is grown without a change, learns, and comes out as a checkpoint that the app plays."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import songbook
import tiny_pairs
import torch
from tiny_audioldm import CLAP_SIZE, build_tiny_audioldm, strip_to_text_only, tiny_unet

from voice2music.checkpoints import locate
from voice2music.dataset.songs.build import build
from voice2music.dataset.songs.limits import read_limits
from voice2music.dataset.songs.sources import Patterns
from voice2music.dataset.songs.steps import Settings as SongSettings
from voice2music.engines.audioldm import load
from voice2music.engines.audioldm.film import attach
from voice2music.engines.audioldm.layout import Layout
from voice2music.engines.audioldm.melody import MelodyRows
from voice2music.engines.audioldm.parts import load_parts
from voice2music.engines.base import Settings
from voice2music.errors import BadRequest, CorruptCheckpoint
from voice2music.finetuning.audioldm import AudioldmFinetuning, GrownUnet
from voice2music.finetuning.growth import Growth, grown, without_tune
from voice2music.finetuning.judging import asked_of, take
from voice2music.finetuning.recipe import VARIANTS, AudioldmRecipe
from voice2music.finetuning.run import BEST, finetune
from voice2music.training.draws import StepChance
from voice2music.training.loop import averaged, train
from voice2music.training.task import Settings as Training

RECIPE = AudioldmRecipe(seconds=2.0, batch=2, judged=0, steps=2)
GO = Training(steps=4, learning_rate=1e-3, warm_up=1, average=0.9, precision="no", best=BEST,
              validations=2, log_steps=1)  # fmt: skip
ROWS = MelodyRows(lines=4, plan=True)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return tiny_pairs.write(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """As a pretrained AudioLDM is: words only in its one class embedding, no tune."""
    return locate(build_tiny_audioldm(tmp_path_factory.mktemp("plain") / "tiny"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """As mini-audioldm is: all inputs are there."""
    folder = tmp_path_factory.mktemp("ours") / "tiny"
    return locate(build_tiny_audioldm(folder, melody=True, clap="concatenated", film=True))


def asked(seed: int = 0):
    """Latents, CLAP of words, CLAP of a voice, rows."""
    chance = torch.Generator().manual_seed(seed)
    return (
        torch.randn(2, 8, 16, 16, generator=chance),
        torch.randn(2, CLAP_SIZE, generator=chance),
        torch.randn(2, CLAP_SIZE, generator=chance),
        torch.rand(2, ROWS.channels, 16, 16, generator=chance),
    )


def said(unet, latents, clap) -> torch.Tensor:
    with torch.no_grad():
        return unet(latents, 500, encoder_hidden_states=None, class_labels=clap).sample


# ---- growth


@pytest.mark.parametrize("film", [False, True])
@pytest.mark.parametrize("melody", [None, ROWS])
def test_what_is_grown_says_the_same_whatever_it_hears_besides(film, melody):
    unet = tiny_unet(None, "weighted", film=False)
    latents, words, voice, rows = asked()
    before = said(unet, latents, words)
    more, layout = grown(unet, Layout(), CLAP_SIZE, Growth(film=film, melody=melody))
    given = torch.cat([latents, rows], dim=1) if melody else latents
    for heard in (voice, torch.zeros_like(voice)):
        after = said(more, given, torch.cat([words, heard], dim=1))
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert (layout.clap, layout.empty, layout.film) == ("concatenated", "text", film)
    assert layout.melody == melody


def test_what_is_there_already_is_not_grown_again():
    unet = tiny_unet(ROWS, "concatenated", film=True)
    layout = Layout(clap="concatenated", melody=ROWS)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    again, same = grown(unet, layout, CLAP_SIZE, Growth(film=True, melody=ROWS))
    assert same == layout
    assert again.state_dict().keys() == before.keys()


def test_other_rows_cannot_be_added_to_those_that_are_there():
    unet = tiny_unet(ROWS, "concatenated", film=True)
    layout = Layout(clap="concatenated", melody=ROWS)
    with pytest.raises(BadRequest, match="other melody rows"):
        grown(unet, layout, CLAP_SIZE, Growth(melody=MelodyRows()))


def test_without_its_tune_a_unet_says_what_it_said_to_silence():
    unet = tiny_unet(ROWS, "concatenated", film=False)
    latents, words, voice, rows = asked()
    clap = torch.cat([words, voice], dim=1)
    before = said(unet, torch.cat([latents, torch.zeros_like(rows)], dim=1), clap)
    told = said(unet, torch.cat([latents, rows], dim=1), clap)
    assert (told - before).abs().max() > 1e-3
    less, layout = without_tune(unet, Layout(clap="concatenated", melody=ROWS))
    torch.testing.assert_close(said(less, latents, clap), before, rtol=0, atol=1e-6)
    assert layout.melody is None
    assert less.config.in_channels == latents.shape[1]


def test_a_variant_without_the_tune_is_exported_deaf_to_it(pairs, ours, tmp_path):
    """`ours` hears one; what comes out must not be given what it was not trained with."""
    task = AudioldmFinetuning(replace(RECIPE, variant="words"), pairs, ours)
    task.export(task.network, tmp_path / "out")
    engine = load(tmp_path / "out")
    assert not engine.describe().follows_voice


def test_a_copy_of_a_unet_with_film_uses_its_own(monkeypatch):
    """The average of the weights is such a copy."""
    unet = tiny_unet(None, "weighted", film=False)
    attach(unet)
    other = copy.deepcopy(unet)
    latents, words, _, _ = asked()
    before = said(unet, latents, words)
    with torch.no_grad():
        for weight in other.film.parameters():
            weight.add_(0.1)
    torch.testing.assert_close(said(unet, latents, words), before, rtol=0, atol=0)
    assert (said(other, latents, words) - before).abs().max() > 1e-3


# ---- what it is given


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_hears_what_its_name_says(variant, pairs, plain):
    task = AudioldmFinetuning(replace(RECIPE, variant=variant, batch=32), pairs, plain)
    batch = task.batch(StepChance(0, 0))
    empty = task._words("")
    words, voices = batch["clap"][:, :CLAP_SIZE], batch["clap"][:, CLAP_SIZE:]
    assert (np.abs(voices).sum(axis=1) > 0).mean() > 0.5
    assert bool((words != empty).any()) == (variant != "voice")
    assert bool(batch["tune"].size and batch["tune"].any()) == (variant == "melody")
    assert batch["time"].min() < 100 < 900 < batch["time"].max()


def test_as_much_is_left_out_as_the_recipe_says(pairs, ours):
    recipe = replace(RECIPE, batch=64, no_voice=0.5, no_words=0.25, no_tune=0.4, nothing=0.2)
    task = AudioldmFinetuning(recipe, pairs, ours)
    found = []
    for step in range(12):
        batch = task.batch(StepChance(1, step))
        words, voices = batch["clap"][:, :CLAP_SIZE], batch["clap"][:, CLAP_SIZE:]
        tune = batch["tune"].reshape(len(words), -1)
        found.append([np.abs(part).sum(axis=1) > 0 for part in (words, voices, tune)])
    shares = np.concatenate(found, axis=1).mean(axis=1)
    np.testing.assert_allclose(shares, [0.8 * 0.75, 0.8 * 0.5, 0.8 * 0.6], atol=0.06)


def test_the_unet_learns_with_or_without_the_projection(pairs, ours, plain, tmp_path):
    for projections in (True, False):
        recipe = replace(RECIPE, projections=projections)
        task = AudioldmFinetuning(recipe, pairs, ours)
        before = {name: value.clone() for name, value in task.network.named_parameters()}
        run = tmp_path / f"{projections}"
        finetune(task, GO, pairs, run, run / "mine")
        made = dict(averaged(task, run, BEST).named_parameters())
        changed = {name for name in before if not torch.equal(before[name], made[name])}
        assert any("class_embedding" in name for name in changed) == projections
        assert any("mid_block" in name for name in changed)
    with pytest.raises(BadRequest, match="no input for a voice"):
        AudioldmFinetuning(recipe, pairs, plain)


def test_the_builders_latents_are_taken_where_the_same_networks_made_them(
    ours, tmp_path, monkeypatch
):
    for number, name in enumerate("abc"):
        songbook.pair(tmp_path / "in", name, 6.0, seed=number)
    pattern, tasks = Patterns("{song}_vox", "{song}_inst"), []
    for kept in (None, ours.folder):
        data = tmp_path / f"{bool(kept)}"
        settings = SongSettings(read_limits(), "", audioldm=kept)
        build(tmp_path / "in", data, settings, patterns=pattern, allow_unlicensed=True)
        if kept:
            monkeypatch.setattr(AudioldmFinetuning, "_encode", lambda *given: pytest.fail("again"))
        tasks.append(AudioldmFinetuning(RECIPE, data, ours))
    made, ready = (task._known["train"] for task in tasks)
    for one, other in zip(made, ready, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
    monkeypatch.undo()
    folder = build_tiny_audioldm(tmp_path / "other", seed=5, clap="concatenated", melody=True)
    again = AudioldmFinetuning(RECIPE, tmp_path / "True", locate(folder))
    assert (again._known["train"][0][0] != ready[0][0]).any()


def test_a_crop_holds_the_latents_and_rows_of_its_own_time(pairs, ours):
    from voice2music.engines.audioldm.melody import melody_channels

    task = AudioldmFinetuning(replace(RECIPE, seconds=1.5), pairs, ours)
    whole = task._known["train"][0][0]
    for seed in range(3):
        crop = task._crop("train", 0, "", np.random.default_rng(seed))
        frames = crop["latent"].shape[1]
        room = range(whole.shape[1] - frames + 1)
        starts = [s for s in room if np.allclose(whole[:, s : s + frames], crop["latent"])]
        example, parts = task.examples["train"].all[0], task.parts
        bins, layout = crop["tune"].shape[2], parts.layout.melody
        rows = melody_channels(
            example.melody, whole.shape[1], parts.frame_rate, bins, layout, example.plan
        )
        assert any(np.array_equal(rows[:, s : s + frames], crop["tune"]) for s in starts)


# ---- learning


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_loss_is_zero_for_what_the_checkpoint_predicts(kind):
    """A network that knows the answer: closed form of both kinds of prediction."""
    network = GrownUnet(tiny_unet(None, "weighted", False), {"prediction_type": kind})
    chance = torch.Generator().manual_seed(0)
    latent, noise = torch.randn(2, 2, 8, 4, 4, generator=chance)
    time = torch.tensor([10, 900])
    share = network.signal[time][:, None, None, None]
    v = share.sqrt() * noise - (1 - share).sqrt() * latent
    answer = noise if kind == "epsilon" else v

    class Knows(torch.nn.Module):
        def forward(self, *args, **kwargs):
            return type("Out", (), {"sample": answer})

    network.unet = Knows()
    batch = {"latent": latent, "noise": noise, "time": time, "tune": latent[:, :0], "clap": None}
    assert float(network.errors(batch).max()) == 0.0


def test_what_cannot_be_trained_is_refused(pairs, tmp_path):
    with pytest.raises(BadRequest, match="predicts"):
        GrownUnet(tiny_unet(None, "weighted", False), {"prediction_type": "sample"})
    deaf = strip_to_text_only(build_tiny_audioldm(tmp_path / "deaf"))
    with pytest.raises(BadRequest, match="cannot be given voices"):
        AudioldmFinetuning(RECIPE, pairs, locate(deaf))
    with pytest.raises(BadRequest):
        replace(RECIPE, variant="x")


def test_it_learns_what_it_is_shown(pairs, ours, tmp_path):
    task = AudioldmFinetuning(replace(RECIPE, batch=8), pairs, ours)
    before = task.validate(task.network, tmp_path)["loss"]
    go = replace(GO, steps=40, learning_rate=3e-3, best="", validations=1)
    train(task, go, tmp_path / "run", {})
    after = task.validate(averaged(task, tmp_path / "run"), tmp_path)["loss"]
    assert after < 0.9 * before


def test_a_stopped_run_goes_on_to_the_same_weights(pairs, plain, tmp_path):
    recipe, ends = replace(RECIPE, film=True), []
    for name, stops in (("whole", (6,)), ("broken", (3, 6))):
        for steps in stops:
            task = AudioldmFinetuning(recipe, pairs, plain)
            settings = replace(GO, steps=6, validations=0)
            if steps < 6:
                _stop_after(task, steps)
            train(task, settings, tmp_path / name, {})
        ends.append(averaged(task, tmp_path / name).state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=0, atol=0)


def _stop_after(task, steps: int) -> None:
    """As Ctrl-C would: the loop ends after the step in hand."""
    import os
    import signal

    real, seen = task.batch, []

    def batch(chance):
        seen.append(1)
        if len(seen) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return real(chance)

    task.batch = batch


# ---- what comes out


@pytest.mark.parametrize("film", [False, True])
def test_a_finished_run_is_a_model_that_plays_as_it_did_in_training(pairs, plain, tmp_path, film):
    recipe = replace(RECIPE, film=film, judged=1)
    task = AudioldmFinetuning(recipe, pairs, plain)
    finetune(task, GO, pairs, tmp_path / "run", tmp_path / "mine")
    parts = load_parts(tmp_path / "mine")
    assert parts.layout == task.parts.layout
    network = averaged(task, tmp_path / "run", BEST)
    latents, words, voice, rows = asked()
    given, clap = torch.cat([latents, rows], dim=1), torch.cat([words, voice], dim=1)
    kept, trained = said(parts.unet, given, clap), said(network.unet, given, clap)
    assert (kept - trained).abs().max() < 0.01 * trained.abs().max()  # half precision
    example = task.examples["valid"].all[0]
    music = take(load(locate(tmp_path / "mine"), "cpu"), replace(
        asked_of(example, "disco", task.examples["valid"].voice(0))), 0)  # fmt: skip
    assert music.peak > 0
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "voice, words and melody" in card
    assert "| loss without tune |" in card


def test_film_that_is_lost_is_named(pairs, plain, tmp_path):
    task = AudioldmFinetuning(replace(RECIPE, film=True), pairs, plain)
    task.export(task.network, tmp_path / "mine")
    (tmp_path / "mine" / "unet" / "film.safetensors").unlink()
    with pytest.raises(CorruptCheckpoint, match="film"):
        load_parts(tmp_path / "mine")


def test_without_words_a_grown_model_hears_the_empty_text(pairs, plain, tmp_path):
    """As before it was grown: with no training, the take is the same."""
    task = AudioldmFinetuning(replace(RECIPE, variant="voice"), pairs, plain)
    task.export(task.network, tmp_path / "mine")
    example = task.examples["valid"].all[0]
    given = replace(asked_of(example, ""), melody=None)
    settings = Settings(0, steps=2, start_from="noise")
    old, new = (load(locate(folder), "cpu") for folder in (plain.folder, tmp_path / "mine"))
    takes = [[*engine.generate(given, settings, lambda s, w: None, lambda: False)][-1].audio
             for engine in (old, new)]  # fmt: skip
    assert np.abs(takes[0].samples - takes[1].samples).max() < 0.02 * takes[0].peak


def test_the_command_fine_tunes(pairs, plain, tmp_path):
    from typer.testing import CliRunner

    from voice2music.cli import app

    words = ["finetune", "audioldm", "--data", pairs, "--run", tmp_path / "run", "--out",
             tmp_path / "out", "--start", plain.folder, "--steps", 1, "--judged", 0,
             "--seconds", 1, "--batch", 1, "--validations", 1, "--variant", "refined"]  # fmt: skip
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert Path(done.output.strip().splitlines()[-1]) == tmp_path / "out"
    assert load(locate(tmp_path / "out"), "cpu")
