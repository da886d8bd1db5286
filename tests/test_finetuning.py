"""A model learns new pairs: what learns, what is left out, how it goes on, what comes out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import songbook
import tiny_pairs
import torch
from tiny_musicgen import build_tiny_musicgen

from voice2music.checkpoints import list_checkpoints, locate
from voice2music.dataset.songs.build import build
from voice2music.dataset.songs.limits import read_limits
from voice2music.dataset.songs.sources import Patterns
from voice2music.dataset.songs.steps import Settings as SongSettings
from voice2music.engines.base import Rendition, Settings
from voice2music.engines.musicgen import load
from voice2music.errors import BadManifest, BadRequest, CorruptCheckpoint
from voice2music.finetuning.adapters import merged
from voice2music.finetuning.examples import Examples
from voice2music.finetuning.judging import asked_of
from voice2music.finetuning.musicgen import MusicgenFinetuning
from voice2music.finetuning.recipe import MusicgenRecipe
from voice2music.finetuning.run import BEST, finetune
from voice2music.training import loop
from voice2music.training.draws import StepChance
from voice2music.training.loop import averaged, train
from voice2music.training.musicgen_network import NOTHING
from voice2music.training.task import Settings as Training

RECIPE = MusicgenRecipe(seconds=2.0, batch=2, judged=0)
GO = Training(steps=4, learning_rate=1e-3, warm_up=1, average=0.9, precision="no", best=BEST,
              validations=2, log_steps=1)  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return locate(build_tiny_musicgen(tmp_path_factory.mktemp("start") / "tiny"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return tiny_pairs.write(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Three songs taken apart, so that every split has one."""
    folder = tmp_path_factory.mktemp("songs")
    for number, name in enumerate("abc"):
        songbook.pair(folder / "in", name, 6.0, seed=number)
    settings = SongSettings(read_limits(), "")
    pattern = Patterns("{song}_vox", "{song}_inst")
    build(folder / "in", folder / "out", settings, patterns=pattern, allow_unlicensed=True)
    return folder / "out"


def weights(network) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}


def changed(before, after) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


# ---- what is learned from


@pytest.mark.parametrize("kind", ["songs", "pairs"])
def test_both_kinds_of_data_sets_are_read(kind, request):
    examples = Examples(request.getfixturevalue(kind), "train")
    for index, example in enumerate(examples.all):
        assert examples.music(index).seconds == pytest.approx(example.seconds, abs=0.05)
        assert examples.voice(index).seconds == pytest.approx(example.seconds, abs=0.05)
        assert len(example.melody.midi) == pytest.approx(100 * example.seconds, abs=2)
        assert np.isfinite(example.melody.midi).any()
        assert example.families["none"] == ""
        assert example.families["refined"] == f"{example.families['genre']} for input vocals"


def test_what_is_no_data_set_is_said(tmp_path):
    with pytest.raises(BadManifest, match="no data set"):
        Examples(tmp_path, "train")


def test_the_builders_tokens_are_taken_where_the_same_codec_wrote_them(
    songs, start, tmp_path, monkeypatch
):
    from voice2music.finetuning import tokens

    with_tokens = SongSettings(read_limits(), "", musicgen=start.folder)
    pattern = Patterns("{song}_vox", "{song}_inst")
    data = tmp_path / "data"
    build(songs.parent / "in", data, with_tokens, patterns=pattern, allow_unlicensed=True)
    plain = MusicgenFinetuning(RECIPE, songs, start)
    monkeypatch.setattr(tokens, "encoded", lambda codec, sound: pytest.fail("made again"))
    task = MusicgenFinetuning(RECIPE, data, start)
    for ready, made in zip(task._codes["train"], plain._codes["train"], strict=True):
        np.testing.assert_array_equal(ready, made)
    monkeypatch.undo()
    other = locate(build_tiny_musicgen(tmp_path / "other", seed=5))
    codes = MusicgenFinetuning(RECIPE, data, other)._codes["train"][0]
    assert (codes != task._codes["train"][0]).any()


@pytest.mark.parametrize("wrong", [{"stage": 3}, {"prompts": "x"}, {"nothing": 1.5}, {"lora": -1}])
def test_an_impossible_recipe_is_refused(wrong):
    with pytest.raises(BadRequest):
        replace(RECIPE, **wrong)


def test_stage_one_never_has_words_and_stage_two_has(pairs, start):
    alone = MusicgenFinetuning(replace(RECIPE, stage=1), pairs, start)
    assert not any(alone.batch(StepChance(0, i))["has_text"].any() for i in range(20))
    worded = MusicgenFinetuning(replace(RECIPE, stage=2), pairs, start)
    assert any(worded.batch(StepChance(0, i))["has_text"].any() for i in range(20))


def test_as_much_is_left_out_as_the_recipe_says(pairs, start):
    recipe = replace(RECIPE, batch=64, no_voice=0.5, no_words=0.25, nothing=0.2, prompts="genre")
    task = MusicgenFinetuning(recipe, pairs, start)
    words, voices = [], []
    for step in range(12):
        batch = task.batch(StepChance(1, step))
        words.append(batch["has_text"].mean())
        voices.append(np.mean([(rows.argmax(axis=1) != 0).any() for rows in batch["rows"]]))
    assert np.mean(words) == pytest.approx(0.8 * 0.75, abs=0.06)
    assert np.mean(voices) == pytest.approx(0.8 * 0.5, abs=0.06)


def test_a_crop_is_what_the_engine_would_be_given(pairs, start):
    """Codes and rows of a window that begins later are those of the whole, moved."""
    task = MusicgenFinetuning(RECIPE, pairs, start)
    example, codes = task.examples["train"].all[0], task._codes["train"][0]
    whole, later = (task._crop(example, codes, at, "x") for at in (0, 25))
    np.testing.assert_array_equal(whole["codes"][:, 25:], later["codes"][:, :-25])
    engine = load(start)
    branch = engine._branches(
        asked_of(example, ""), Settings(0), engine._words(asked_of(example, "")), 1.0
    )
    rows = torch.from_numpy(later["rows"])
    expected = branch[0].prefix[: len(rows)]
    torch.testing.assert_close(engine._projected(rows), expected)


# ---- what learns


def test_the_text_encoder_never_learns_and_the_projections_always_do(pairs, start, tmp_path):
    for number, recipe in enumerate((RECIPE, replace(RECIPE, lora=2))):
        task = MusicgenFinetuning(recipe, pairs, start)
        before = weights(task.network)
        train(task, GO, tmp_path / str(number), {})
        moved = changed(before, weights(task.network))
        assert not any(name.startswith("text_encoder") for name in moved)
        assert "audio_enc_to_dec_proj.weight" in moved
        own = {name for name in moved if name.startswith("decoder.")}
        assert own
        assert all("lora_" in name for name in own) == bool(recipe.lora)


def test_adapters_change_nothing_at_first_and_are_merged_exactly(pairs, start, tmp_path):
    plain = MusicgenFinetuning(RECIPE, pairs, start)
    low = MusicgenFinetuning(replace(RECIPE, lora=4), pairs, start)
    batch = {k: torch.as_tensor(v) for k, v in plain.batch(StepChance(0, 0)).items()}
    with torch.no_grad():
        torch.testing.assert_close(low.network.losses(batch), plain.network.losses(batch))
    train(low, GO, tmp_path, {})
    with torch.no_grad():
        learnt = low.network.losses(batch)
        assert (learnt - plain.network.losses(batch)).abs().max() > 1e-3
        whole = merged(low.network)
        torch.testing.assert_close(whole.losses(batch), learnt, rtol=1e-5, atol=1e-5)
    assert set(whole.state_dict()) == set(plain.network.state_dict())


def test_the_losses_are_those_of_the_library(pairs, start):
    """transformers' own forward on delayed tokens, codebook by codebook."""
    task = MusicgenFinetuning(RECIPE, pairs, start)
    batch = {k: torch.as_tensor(v) for k, v in task.batch(StepChance(3, 0)).items()}
    from voice2music.training.musicgen_network import NOTHING, columns

    inputs, targets = columns(batch["codes"], task.network.decoder.config.pad_token_id)
    prefix = task.network.prefix(batch)
    with torch.no_grad():
        logits = task.network.decoder(
            inputs.flatten(0, 1), encoder_hidden_states=prefix
        ).logits  # (batch * books, columns, entries)
        books = logits.unflatten(0, inputs.shape[:2])[:, :, -inputs.shape[2] :]
        expected = [
            torch.nn.functional.cross_entropy(
                books[:, k].flatten(0, 1), targets[:, k].flatten(), ignore_index=NOTHING
            )
            for k in range(inputs.shape[1])
        ]
        torch.testing.assert_close(task.network.losses(batch), torch.stack(expected))


def test_checkpointing_gives_the_same_gradients(pairs, start):
    grads = []
    for checkpointing in (False, True):
        task = MusicgenFinetuning(replace(RECIPE, checkpointing=checkpointing), pairs, start)
        batch = {k: torch.as_tensor(v) for k, v in task.batch(StepChance(0, 0)).items()}
        task.network(batch=batch)["loss"].backward()
        grads.append(task.network.audio_enc_to_dec_proj.weight.grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_it_learns_what_it_is_shown(pairs, start, tmp_path):
    task = MusicgenFinetuning(replace(RECIPE, batch=8), pairs, start)
    before = task.validate(task.network, tmp_path)["loss"]
    go = replace(GO, steps=60, learning_rate=3e-3, best="", validations=1)
    train(task, go, tmp_path / "run", {})
    after = task.validate(averaged(task, tmp_path / "run"), tmp_path)["loss"]
    assert after < before - 0.2


# ---- the run


def test_parts_of_a_batch_add_up_to_the_whole(pairs, start, tmp_path):
    ends = []
    for parts in (1, 2):
        task = MusicgenFinetuning(replace(RECIPE, batch=4 // parts, gathered=parts), pairs, start)
        settings = replace(GO, parts=parts, steps=1, average=0, best="", validations=0)
        train(task, settings, tmp_path / str(parts), {})
        ends.append(weights(task.network)["audio_enc_to_dec_proj.weight"])
    # Not the same sums: the crops of a part are weighed by their own number of tokens.
    np.testing.assert_allclose(ends[0], ends[1], atol=2e-4)


@pytest.mark.parametrize("average", [0.9, 0.0])
def test_a_stopped_run_goes_on_to_the_same_weights(pairs, start, tmp_path, monkeypatch, average):
    go = replace(GO, average=average, steps=6)
    whole = MusicgenFinetuning(replace(RECIPE, lora=2), pairs, start)
    train(whole, go, tmp_path / "whole", {})
    broken = MusicgenFinetuning(replace(RECIPE, lora=2), pairs, start)
    real, steps = loop._Loop._step, []

    def dies(self, batch):
        if len(steps) == 3:
            self.save()
            raise KeyboardInterrupt
        steps.append(1)
        return real(self, batch)

    monkeypatch.setattr(loop._Loop, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        train(broken, go, tmp_path / "broken", {})
    monkeypatch.undo()
    again = MusicgenFinetuning(replace(RECIPE, lora=2), pairs, start)
    train(again, go, tmp_path / "broken", {})
    ends = [weights(averaged(t, tmp_path / f)) for t, f in ((whole, "whole"), (again, "broken"))]
    assert changed(*ends) == set()


def test_the_best_weights_are_kept_and_a_run_that_gets_worse_is_ended(pairs, start, tmp_path):
    task = MusicgenFinetuning(RECIPE, pairs, start)
    losses, seen = iter([3.0, 1.0, 2.0, 2.5, 0.5]), []

    def validate(network, folder):
        seen.append(weights(network))
        return {"loss": next(losses)}

    task.validate = validate
    go = replace(GO, steps=10, validations=5, patience=2, keep=2)
    progress = train(task, go, tmp_path, {})
    assert progress.step == 8
    kept = sorted(int(path.stem) for path in (tmp_path / "best").glob("*.pt"))
    assert kept == [4, 6]
    best = weights(averaged(task, tmp_path, "loss"))
    assert changed(best, seen[1]) == set()
    assert changed(best, seen[2])


def test_a_finished_run_is_a_model_that_the_app_lists_and_plays(
    songs, start, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    out, run = tmp_path / "checkpoints" / "mine", tmp_path / "run"
    recipe = replace(RECIPE, lora=2, judged=1)
    task = MusicgenFinetuning(recipe, songs, start)
    progress = finetune(task, replace(GO, board=True), songs, run, out)
    assert progress.step == 4
    assert "mine" in {listed.name for listed in list_checkpoints()}
    engine = load(locate("mine"))
    assert engine._form.roles == ("back",)
    assert "back a singer up" in engine.describe().limits[-1]
    with pytest.raises(BadRequest, match="checkpoint to begin with"):
        finetune(task, GO, songs, run, start.folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(BadRequest, match="other files"):
        finetune(task, GO, songs, run, tmp_path / "full")
    asked = asked_of(Examples(songs, "test").all[0], "disco music")
    *_, last = engine.generate(asked, Settings(0), lambda share, words: None, lambda: False)
    assert isinstance(last, Rendition)
    card = (out / "README.md").read_text()
    assert "LoRA of rank 2" in card
    assert "| melody |" in card
    about = json.loads((run / "run.json").read_text())
    assert about["data"]["examples"] == {"train": 1, "valid": 1}
    assert about["start"]["sha256"] == start.sha256
    assert list((run / "board").iterdir())
    assert list((run / "valid" / "before").glob("*.wav"))
    again = finetune(MusicgenFinetuning(recipe, songs, start), GO, songs, run, out)
    assert again.step == 4
    with pytest.raises(BadRequest, match="another run"):
        other = MusicgenFinetuning(replace(recipe, stage=1), songs, start)
        finetune(other, GO, songs, run, out)
    with pytest.raises(BadRequest, match="another run"):
        finetune(task, replace(GO, seed=9), songs, run, out)


@pytest.mark.parametrize(
    ("known", "learnt", "roles"),
    [
        (("tune",), {"back"}, ("back",)),
        (("tune",), {"tune"}, ("tune",)),
        (("tune",), {"tune", "back"}, ("tune", "back")),
        (("tune", "back"), {"back"}, ("tune", "back")),
    ],
)
def test_a_model_says_what_it_was_taught_to_do_with_a_tune(known, learnt, roles):
    from voice2music.finetuning.musicgen import _roles

    assert _roles(known, learnt) == roles


def test_no_words_are_the_same_in_training_and_in_the_engine(pairs, start):
    task = MusicgenFinetuning(replace(RECIPE, stage=1), pairs, start)
    crop = task._crop(task.examples["train"].all[0], task._codes["train"][0], 0, "")
    batch = {k: torch.as_tensor(v) for k, v in task._collated([crop], task._length([""])).items()}
    engine = task.engine(task.network)
    asked = asked_of(replace(task.examples["train"].all[0], plan=None), "")
    branch = engine._branches(asked, Settings(0), engine._words(asked), 0.0)[0]
    torch.testing.assert_close(task.network.prefix(batch)[0], branch.prefix)


def test_a_damaged_list_of_the_best_is_named(pairs, start, tmp_path):
    task = MusicgenFinetuning(RECIPE, pairs, start)
    train(task, GO, tmp_path, {})
    (tmp_path / "best" / "best.json").write_text("[[4, 3.")
    with pytest.raises(CorruptCheckpoint, match="damaged"):
        train(MusicgenFinetuning(RECIPE, pairs, start), GO, tmp_path, {})


def test_the_command_fine_tunes(pairs, start, tmp_path):
    from typer.testing import CliRunner

    from voice2music.cli import app

    words = ["finetune", "musicgen", "--data", pairs, "--run", tmp_path / "run", "--out",
             tmp_path / "out", "--start", start.folder, "--steps", 1, "--judged", 0,
             "--seconds", 1, "--batch", 1, "--validations", 1]  # fmt: skip
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert Path(done.output.strip().splitlines()[-1]) == tmp_path / "out"
    assert load(locate(tmp_path / "out"))


def test_a_batch_weighs_its_parts_alike_however_much_music_is_in_them(pairs, start):
    """Of processes and of gathered batches: the mean of their losses is that of the whole."""
    task = MusicgenFinetuning(RECIPE, pairs, start)
    whole = {k: torch.as_tensor(v) for k, v in task.batch(StepChance(0, 0)).items()}
    whole["codes"][1, :, 20:] = NOTHING  # a piece that ends within its crop
    with torch.no_grad():
        loss = task.network(whole)["loss"]
        parts = [task.network({k: v[i : i + 1] for k, v in whole.items()}) for i in range(2)]
        plain = [float(sum(part[f"book_{k}"] for k in range(4))) / 4 for part in parts]
    torch.testing.assert_close((parts[0]["loss"] + parts[1]["loss"]) / 2, loss)
    assert abs(sum(plain) / 2 - float(loss)) > 1e-3  # means over what is there would not do
