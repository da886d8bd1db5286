"""mini-CLAP's training: its tokenizer, its crops, its losses, what it writes down."""

import math

import numpy as np
import pytest
import tiny_pairs
import torch

from voice2music.clip import Clip
from voice2music.dataset.shards import Pairs
from voice2music.engines.audioldm.clap import AudioFeatures, TextTower, whole
from voice2music.training import clap
from voice2music.training.clap_data import Spectrograms, crop, tokenizer_of, varied, windows
from voice2music.training.loop import averaged, train
from voice2music.training.task import Settings

TINY = clap.Config(
    features=AudioFeatures(rate=16_000, hop=640, bins=16, fmin=40.0, fmax=7_800.0, seconds=2.5),
    spec_size=32, patch=4, depths=(1, 1), width=16, heads=(2, 4), window=4,
    text_width=64, text_layers=1, text_inner=64, vocabulary=400, longest=48, size=16,
    batch=6, voices=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_pairs.write(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def task(data, tmp_path_factory):
    torch.manual_seed(0)
    return clap.task(TINY, data, cache=data / "cache")


def tensors(task, seed=0):
    batch = task.batch(np.random.default_rng(seed))
    return {key: torch.as_tensor(value) for key, value in batch.items()}


# --- sounds ------------------------------------------------------------------------------------


def test_kept_log_mels_are_what_the_audio_tower_hears_away_from_the_edges(data):
    pairs = Pairs(data)
    kept = Spectrograms(pairs, TINY.features, data / "cache").of(pairs.rows[3], "music")
    heard = TINY.features(Clip(pairs.music(3)[: round(2.5 * 16_000)], 16_000))[0, 0].numpy()
    assert heard.std() > 10
    np.testing.assert_allclose(np.float32(kept[:60]), heard[:60], atol=0.05)


def test_a_crop_never_reaches_past_the_end():
    mel = np.arange(10, dtype=np.float16)[:, None] * np.ones((1, 3), np.float16)
    assert crop(mel, 8, 4)[:, 0].tolist() == [6, 7, 8, 9]
    assert crop(mel[:3], 0, 5)[:, 0].tolist() == [0, 1, 2, 0, 1]


def test_windows_cover_all_of_a_sound_and_end_with_it():
    mel = np.arange(10, dtype=np.float16)[:, None]
    assert windows(mel, 4)[:, :, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]


# --- words -------------------------------------------------------------------------------------


def test_the_tokenizer_knows_its_captions_words_and_takes_any_others_apart():
    tokenizer = tokenizer_of(["smooth jazz, 97 BPM"] * 9 + ["waltz with harp"] * 9, 400, 32)
    assert tokenizer.tokenize("smooth jazz") == ["smooth", "Ġjazz"]
    for text in ("zyxomma 華 ñandú", "JAZZ!", ""):
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    assert tokenizer.unk_token_id not in tokenizer("zyxomma 華").input_ids


def test_a_varied_caption_begins_with_its_genre_nearly_always():
    chance = np.random.default_rng(1)
    texts = [varied("waltz, harp, sad, 90 BPM, C major", chance) for _ in range(200)]
    assert sum("waltz" in text.lower() for text in texts) == 200
    assert len(set(texts)) > 40
    assert any("harp" not in text.lower() for text in texts)


# --- losses ------------------------------------------------------------------------------------


def test_the_contrast_of_vectors_that_are_all_alike_is_the_logarithm_of_their_number():
    same = torch.nn.functional.normalize(torch.ones(5, 8), dim=-1)
    assert float(clap._contrast(same, same, torch.tensor(2.0))) == pytest.approx(math.log(5))


def test_the_contrast_of_partners_that_stand_apart_is_that_of_the_softmax():
    one = torch.eye(4)
    expected = math.log(math.e**3 + 3) - 3  # one logit of 3, three of 0
    assert float(clap._contrast(one, one, torch.tensor(math.log(3.0)))) == pytest.approx(expected)


def test_a_batch_has_no_voice_twice(task):
    batch = tensors(task)
    assert batch["music"].shape == (6, TINY.frames, 16)
    assert batch["voice"].shape == (3, TINY.frames, 16)
    assert len({tuple(mel.flatten().tolist()) for mel in batch["music"]}) == 6
    again = tensors(task)
    assert all(torch.equal(batch[key], again[key]) for key in batch)


def test_every_part_of_both_towers_learns(task):
    task.network.train()
    task.network(batch=tensors(task))["loss"].backward()
    still = [name for name, p in task.network.named_parameters() if not p.grad.abs().any()]
    # One text per position: some positions and words are not in this batch, but all tables are.
    assert still == []


def test_the_front_normalisation_stays_as_it_was_set(task):
    norm = task.network.clap.audio_model.audio_encoder.batch_norm
    before = norm.running_mean.clone()
    task.network.train()
    task.network(batch=tensors(task))
    assert torch.equal(norm.running_mean, before)
    assert len(set(before.tolist())) == 1
    assert float(before.mean()) < -5


# --- the run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    torch.manual_seed(0)
    task = clap.task(TINY, data, cache=data / "cache")
    run = tmp_path_factory.mktemp("run")
    before = float(task.network(batch=tensors(task, 5))["loss"].detach())
    train(task, Settings(steps=40, learning_rate=5e-3, warm_up=5, average=0.8,
                         precision="no", validations=1), run, {})  # fmt: skip
    after = float(task.network(batch=tensors(task, 5))["loss"].detach())
    folder = tmp_path_factory.mktemp("clap")
    task.export(averaged(task, run), folder)
    return task, before, after, folder


def test_forty_steps_lower_the_loss(trained):
    _, before, after, _ = trained
    assert after < before - 0.5


def test_what_is_written_down_is_whole_and_is_what_was_trained(trained):
    *_, folder = trained
    model, tokenizer = clap.load(folder)
    words = ["jazz, 140 BPM", "metal music", "qqq"]
    saved = TextTower(model, tokenizer).embed(words)
    assert saved.shape == (3, 16)
    assert torch.allclose(saved.norm(dim=-1), torch.ones(3), atol=1e-5)
    features = AudioFeatures.read(folder / "preprocessor_config.json")
    assert features == TINY.features
    tower = whole(model, tokenizer, features)
    assert tower.agreement(TextTower(model, tokenizer)) > 0.9999
    tone = Clip(np.sin(np.arange(48_000) / 9).astype(np.float32), 16_000)
    assert float(tower.embed(tone).norm()) == pytest.approx(1, abs=1e-5)


def test_training_goes_on_from_what_was_written_down(trained, data):
    task, _, _, folder = trained
    again = clap.task(TINY, data, start=folder, cache=data / "cache")
    assert len(again.tokenizer) == len(task.tokenizer)
    batch = tensors(again)
    assert torch.isfinite(again.network.eval()(batch=batch)["loss"])


def test_validation_says_what_chance_would_give(trained, tmp_path):
    task = trained[0]
    judged = task.validate(task.network.eval(), tmp_path)
    assert judged["recall@1 chance"] == 1 / 4  # four held-out pieces
    assert judged["voice recall@1 chance"] == 1 / 2  # for two voices
    assert judged["recall@8"] == 1.0
    assert 0 <= judged["genre"] <= 1
