"""Training of MusicGen-Melody: vocabulary, tokens, the quick network, the first weights, export."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoTokenizer,
    EncodecConfig,
    EncodecModel,
    MusicgenMelodyForConditionalGeneration,
)

from voice2music.dataset.shards import (
    MANIFEST,
    Pairs,
    Shard,
    as_cents,
    as_pcm,
    sha256,
    write_rows,
    write_shard,
)
from voice2music.engines.base import Conditioning, Melody, Part, Rendition, Settings
from voice2music.engines.musicgen.loading import load
from voice2music.engines.musicgen.loop import codebook_delays, column_of
from voice2music.engines.musicgen.rows import melody_rows, null_rows, plan_places
from voice2music.harmony import Key
from voice2music.notes import Note
from voice2music.rhythm import steady
from voice2music.training.loop import averaged, train
from voice2music.training.musicgen import MusicgenConfig, MusicgenTask, emphasis
from voice2music.training.musicgen_network import (
    NOTHING,
    MusicgenNetwork,
    causal_attention,
    columns,
)
from voice2music.training.musicgen_start import LOOKS
from voice2music.training.plans import music_plan
from voice2music.training.task import Settings as Run
from voice2music.training.tokens import encoded, melody_of
from voice2music.training.vocabulary import shaken, tempo_tokens, word_tokenizer

RATE, HOP, BOOKS = 16_000, 640, 4
TINY = MusicgenConfig(
    width=96, layers=2, heads=2, text_width=48, text_layers=1, text_length=12,
    window_seconds=2.0, batch=2, shortest=1.0, judged=0,
)  # fmt: skip
WORDS = ("bright disco with flute, 120 BPM", "slow jazz for piano, 60 BPM")


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec")
    config = EncodecConfig(
        sampling_rate=RATE, hidden_size=8, num_filters=2, upsampling_ratios=[8, 5, 4, 4],
        codebook_size=32, target_bandwidths=[0.5], use_causal_conv=False,
        use_conv_shortcut=False, num_lstm_layers=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = EncodecModel(config)
        with torch.no_grad():
            latents = model.encoder(0.3 * torch.randn(1, 1, 32 * HOP))[0].T
        for depth, layer in enumerate(model.quantizer.layers):
            spread = latents.std(dim=0) / 2**depth
            layer.codebook.embed.copy_(latents if depth == 0 else torch.randn(32, 8) * spread)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six pieces of three seconds: a tone that goes up a semitone a second, and its hum."""
    folder = tmp_path_factory.mktemp("pairs")
    seconds, rows, music, heard = 3.0, [], [], []
    count = round(seconds * RATE)
    for index in range(6):
        midi = np.repeat(60.0 + index + np.arange(3), 100).astype(np.float32)
        phase = np.cumsum(2 * np.pi * 440 * 2 ** ((np.repeat(midi, 160) - 69) / 12) / RATE)
        pcm, cents = as_pcm(0.3 * np.sin(phase).astype(np.float32)), as_cents(midi)
        place = {"file": "shard-00000.music.wav", "rate": RATE, "start": index * count,
                 "count": count, "sha256": sha256(pcm)}  # fmt: skip
        rows.append({
            "id": f"piece-{index}", "split": "train" if index < 4 else "valid",
            "genre": "disco", "role": "tune", "tempo": 120.0, "seconds": seconds,
            "beats": np.arange(0, seconds + 0.5, 0.5).tolist(),
            "bars": {"beats": 4, "downbeat": 0},
            "chords": [[0.0, 2.0, "C"], [2.0, seconds, "G7"]],
            "captions": [f"{word}, piece {index}" for word in WORDS],
            "heard": {"notes": [[float(i), i + 0.9, 60 + index + i] for i in range(3)]},
            "music": place,
            "voice": place | {"file": "shard-00000.voice.wav"},
            "heard_pitch": {"file": "shard-00000.heard.npy", "rate": 100, "start": index * 300,
                            "count": 300, "sha256": sha256(cents)},
        })  # fmt: skip
        music.append(pcm)
        heard.append(cents)
    sound = np.concatenate(music)
    rates = {"music": RATE, "voice": RATE}
    write_shard(folder, 0, Shard(sound, sound, np.concatenate(heard), tuple(rows), rates))
    write_rows(folder / MANIFEST, tuple(rows))
    return folder


@pytest.fixture
def task(data, codec):
    torch.manual_seed(0)
    return MusicgenTask(TINY, data, codec)


def tensors(batch):
    return {key: torch.as_tensor(value) for key, value in batch.items()}


# --- vocabulary ------------------------------------------------------------------------------


def test_a_text_is_its_words_in_lower_case_without_punctuation_or_accents():
    tokenizer = word_tokenizer(["Bossa nova, 120 BPM in F# minor"] * 2)
    words = tokenizer.convert_ids_to_tokens(tokenizer("BÓSSA-nova; f# minor!")["input_ids"])
    assert words == ["bossa", "nova", "f#", "minor", "</s>"]


def test_every_tempo_is_one_token_and_rare_words_are_unknown():
    tokenizer = word_tokenizer(["jazz jazz zyzzyva 97"])
    tempos = tempo_tokens(tokenizer)
    assert len(set(tempos.values())) == len(tempos) == 201
    assert tokenizer("97 zyzzyva blah")["input_ids"] == [tempos[97], 2, 2, 1]


def test_the_same_captions_in_another_order_give_the_same_tokenizer():
    texts = ["slow jazz", "fast jazz", "slow blues", "fast blues"]
    assert word_tokenizer(texts).get_vocab() == word_tokenizer(texts[::-1]).get_vocab()


@given(st.lists(st.integers(3, 99), max_size=20), st.integers(0, 999))
@settings(max_examples=50, deadline=None)
def test_a_shaken_text_keeps_its_order_and_its_end_and_gains_only_unknown_words(words, seed):
    out = shaken([*words, 1], np.random.default_rng(seed), 2, 0.3, 0.3)
    assert out[-1] == 1
    left = iter(words)
    assert all(token in left for token in out[:-1] if token != 2)


# --- tokens ----------------------------------------------------------------------------------


def test_tokens_are_the_codecs_own_and_are_made_once(data, codec):
    pairs = Pairs(data, "valid")
    codes = encoded(pairs, codec)[0]
    model = EncodecModel.from_pretrained(codec).eval()
    with torch.no_grad():
        own = model.encode(torch.from_numpy(pairs.music(0))[None, None], bandwidth=0.5)
    assert codes.shape == (BOOKS, 75)
    assert np.array_equal(codes, own.audio_codes[0, 0].numpy())
    assert len(np.unique(codes)) > 5
    made = next(data.glob("tokens-*.npy")).stat().st_mtime_ns
    encoded(Pairs(data, "train"), codec)
    assert next(data.glob("tokens-*.npy")).stat().st_mtime_ns == made


def test_tokens_are_made_again_when_pairs_were_added(data, codec, tmp_path):
    folder = shutil.copytree(data, tmp_path / "pairs", ignore=shutil.ignore_patterns("tokens-*"))
    rows = Pairs(folder).rows
    write_rows(folder / MANIFEST, rows[:3])
    first = encoded(Pairs(folder), codec)
    write_rows(folder / MANIFEST, rows)
    more = encoded(Pairs(folder), codec)
    assert (len(first), len(more)) == (3, 6)
    assert all(np.array_equal(a, b) for a, b in zip(first, more, strict=False))
    assert not np.array_equal(more[0], more[5])


def test_the_rows_of_a_window_are_those_that_the_engine_makes(task, data):
    pairs = Pairs(data, "train")
    form = task.form.row_format(task.window)
    for start in (0, 13, 60):
        at = start / task.form.melody_frame_rate
        engine = melody_rows(melody_of(pairs, 1), form, at, music_plan(pairs.rows[1]))
        assert engine[:, plan_places(form.rows)].any()
        assert np.abs(engine - task._pieces[1].rows_from(start, task.window)).max() < 0.003
    assert np.array_equal(task._nothing, null_rows(form))


# --- batches ---------------------------------------------------------------------------------


def test_a_batch_is_drawn_from_its_chance_alone_and_leaves_out_as_often_as_asked(task):
    one, two = (task.batch(np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(one[key], two[key]) for key in one)
    batches = [task.batch(np.random.default_rng(i)) for i in range(300)]
    no_text = np.concatenate([batch["has_text"] == 0 for batch in batches])
    rows = np.concatenate([batch["rows"] for batch in batches])
    no_tune = (rows[..., :20] == task._nothing[:, :20]).all(axis=(1, 2))
    no_plan = (rows[..., 20:] == 0).all(axis=(1, 2))
    assert no_text.mean() == pytest.approx(0.13, abs=0.04)
    assert no_tune.mean() == pytest.approx(0.15, abs=0.04)
    assert no_plan.mean() == pytest.approx(0.1 + 0.9 * 0.15, abs=0.045)
    assert (no_text & no_tune & no_plan).mean() == pytest.approx(0.1, abs=0.035)


def test_past_the_end_of_a_piece_there_is_nothing_to_learn(task):
    example = task._example(task._pieces[0], 50, 50, [5, 1])
    assert (example["codes"][:, :25] >= 0).all()
    assert (example["codes"][:, 25:] == NOTHING).all()


def test_columns_are_those_of_the_engines_loop():
    codes = torch.randint(0, 32, (2, BOOKS, 9))
    inputs, targets = columns(codes, 32)
    for one, given_ in zip(codes, inputs, strict=True):
        delays = codebook_delays(BOOKS, 1)
        own = [column_of(one.numpy(), delays, step, 32) for step in range(9 + BOOKS - 1)]
        assert torch.equal(given_, torch.tensor(own).T)
    assert targets[0, 2, 2:11].tolist() == codes[0, 2].tolist()
    assert (targets[0, 2, :2] == NOTHING).all()


# --- the network -----------------------------------------------------------------------------


@pytest.mark.parametrize(("queries", "positions"), [(37, 37), (20, 37), (3, 4)])
def test_attention_in_blocks_is_attention(queries, positions):
    shapes = [(2, 3, n, 8) for n in (queries, positions, positions)]
    parts = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    seen = torch.ones(queries, positions, dtype=torch.bool).tril(positions - queries)
    own = causal_attention(*parts)
    right = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=seen)
    assert torch.allclose(own, right, atol=1e-12)
    pull = torch.randn_like(own)
    for a, b in zip(
        torch.autograd.grad(own, parts, pull), torch.autograd.grad(right, parts, pull), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-12)


def test_the_losses_of_all_codebooks_at_once_are_cross_entropies(task):
    network = task.network
    hidden = torch.randn(2, 11, 96, requires_grad=True)
    targets = torch.randint(-1, 32, (2, BOOKS, 11))
    weights = torch.tensor([3.0, 0.0, 1.0, 2.0])
    heads = [head.weight for head in network.decoder.lm_heads]
    own = network.book_losses(hidden, targets)
    right = torch.stack([
        torch.nn.functional.cross_entropy(
            (hidden @ head.T).flatten(0, 1), targets[:, k].flatten(), ignore_index=NOTHING
        )
        for k, head in enumerate(heads)
    ])  # fmt: skip
    assert torch.allclose(own, right, atol=1e-5)
    inputs = [hidden, *heads]
    ours = torch.autograd.grad((own * weights).sum(), inputs)
    theirs = torch.autograd.grad((right * weights).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_logits_equal_those_of_the_librarys_model(task):
    batch = tensors(task.batch(np.random.default_rng(0)))
    batch["has_text"] = torch.ones(2)
    network, model = task.network.eval(), task.whole(task.network)
    inputs, _ = columns(batch["codes"], 32)
    with torch.no_grad():
        hidden = network.hidden(network.prefix(batch), inputs)
        own = torch.stack([head(hidden) for head in network.decoder.lm_heads], dim=1)
        right = model(
            input_ids=batch["text"],
            attention_mask=batch["text_mask"],
            input_features=batch["rows"],
            decoder_input_ids=inputs.flatten(0, 1),
        ).logits[:, -inputs.shape[2] :]
    assert own.std() > 0.1
    assert torch.allclose(own.flatten(0, 1), right, atol=2e-4)


# --- first weights ---------------------------------------------------------------------------


def test_heads_begin_by_looking_at_the_melody_of_the_same_time(data, codec):
    wide = replace(TINY, width=256, heads=4, window_seconds=10.0, text_length=48)
    torch.manual_seed(0)
    made = MusicgenTask(wide, data, codec)
    weights = looked(made)
    start = made.window + wide.text_length
    for head, look in enumerate(LOOKS[0]):
        first = 0 if look.at == "tune" else start
        for frame in (10, 100, 200):
            seen = weights[:, head, start + frame]
            places = torch.arange(seen.shape[-1]) - first - frame
            near = (places - look.shift).abs() <= 3 * look.spread
            assert seen[:, near].sum(dim=-1).min() > 0.8
            assert (places[seen.argmax(dim=-1)] - look.shift).abs().max() <= 1


def looked(task: MusicgenTask) -> torch.Tensor:
    """Attention weights of the first layer on random tokens, (batch, heads, queries, keys)."""
    chance = np.random.default_rng(0)
    rows = np.zeros((2, task.window, 48), np.float32)
    rows[:, np.arange(task.window), chance.integers(12, size=task.window)] = 1
    example = task._example(task._pieces[0], 0, task.window, [5, 6, 1])
    batch = tensors({key: np.stack([value] * 2) for key, value in example.items()})
    batch |= {"rows": torch.from_numpy(rows)}
    codes = torch.from_numpy(chance.integers(32, size=(2, BOOKS, task.window)))
    model = task.whole(task.network)
    model.decoder.set_attn_implementation("eager")
    inputs, _ = columns(codes, 32)
    with torch.no_grad():
        out = model.decoder(
            input_ids=inputs.flatten(0, 1),
            encoder_hidden_states=task.network.prefix(batch),
            output_attentions=True,
        )
    return out.attentions[0]


def test_predictions_begin_at_how_often_each_token_is_said(task):
    batch = tensors(task.batch(np.random.default_rng(1)))
    with torch.no_grad():
        losses = task.network(batch)
    counts = torch.stack(
        [torch.bincount(torch.from_numpy(book), minlength=32) for book in all_codes(task)]
    )
    chances = (counts + 1) / (counts + 1).sum(dim=1, keepdim=True)
    entropy = -(chances * chances.log()).sum(dim=1).mean()
    assert float(entropy) < 3.2  # nats; of 32 equal ones 3.47
    assert float(losses["cross_entropy"]) == pytest.approx(float(entropy), abs=0.5)


def all_codes(task):
    return np.concatenate([piece.codes for piece in task._pieces], axis=1).astype(np.int64)


def test_tokens_that_sound_alike_begin_alike(task):
    vectors = task.codec.quantizer.layers[0].codebook.embed
    begun = task.network.decoder.model.decoder.embed_tokens[0].weight[:32].detach()
    apart, embedded = (torch.pdist(table) for table in (vectors, begun))
    assert float(torch.corrcoef(torch.stack([apart, embedded]))[0, 1]) > 0.7


def test_a_decoder_too_narrow_for_the_melody_is_refused(data, codec):
    with pytest.raises(ValueError, match="wider decoder than 48"):
        MusicgenTask(replace(TINY, width=48), data, codec)


def test_coarse_codebooks_weigh_more_and_all_of_them_one_on_average():
    weights = emphasis(8, 2.0)
    assert weights[0] == pytest.approx(2 * weights[-1])
    assert sum(weights) == pytest.approx(8)


# --- training and what comes out -------------------------------------------------------------


def test_thirty_steps_on_one_batch_lower_the_loss_in_half_precision(task):
    batch = tensors(task.batch(np.random.default_rng(0)))
    optimiser = torch.optim.AdamW(task.network.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        with torch.autocast("cpu", torch.bfloat16):
            loss = task.network(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert 1.0 < losses[0] < np.log(32) + 0.5
    assert losses[-1] < 0.7 * losses[0]


@pytest.fixture(scope="module")
def exported(data, codec, tmp_path_factory):
    torch.manual_seed(0)
    task = MusicgenTask(replace(TINY, judged=1), data, codec)
    run = tmp_path_factory.mktemp("run")
    train(task, Run(steps=4, warm_up=1, validations=1, log_steps=2), run, {})
    task.export(averaged(task, run), run / "final")
    return run


def test_a_validation_tells_losses_with_and_without_tune_and_writes_takes(exported):
    rows = [json.loads(line) for line in (exported / "log.jsonl").read_text().splitlines()]
    judged = next(row["valid"] for row in rows if "valid" in row)
    assert {"cross_entropy", "other_tune", "no_tune", "no_text", "book_3", "melody"} <= set(judged)
    assert 0.5 < judged["cross_entropy"] < 5
    assert len(list(exported.rglob("*.wav"))) == 1


def test_an_exported_folder_is_small_and_makes_sound_with_the_apps_own_engine(exported, codec):
    final = exported / "final"
    assert max(file.stat().st_size for file in final.iterdir()) < 15e6
    texts = [file.read_text() for file in final.glob("*.json")]
    assert not any(str(place) in text for text in texts for place in (exported, codec))
    engine = load(final)
    melody = Melody(np.full(200, 60.0, np.float32), (Note(0.0, 2.0, 60),))
    asked = Conditioning(
        genre="disco", text="disco with an unheard-of word", seconds=3.0,
        grid=steady(120, 3.0), key=Key(0, "major", 0.0), chords=(), melody=melody,
    )  # fmt: skip
    made = list(engine.generate(asked, Settings(seed=1), lambda s, w: None, lambda: False))
    assert isinstance(made[0], Part)
    assert isinstance(made[-1], Rendition)
    assert made[-1].audio.seconds == pytest.approx(3.0, abs=0.04)
    assert made[-1].audio.samples.std() > 1e-6
    assert AutoTokenizer.from_pretrained(final)("disco")["input_ids"][-1] == 1


def test_exported_weights_can_be_trained_further(exported, data, codec):
    begun = MusicgenTask(TINY, data, codec, start=exported / "final")
    model = MusicgenMelodyForConditionalGeneration.from_pretrained(
        exported / "final", dtype=torch.float32
    )
    network = begun.network
    assert isinstance(network, MusicgenNetwork)
    assert torch.equal(network.decoder.lm_heads[0].weight, model.decoder.lm_heads[0].weight)
    assert (
        begun.tokenizer.get_vocab() == AutoTokenizer.from_pretrained(exported / "final").get_vocab()
    )
