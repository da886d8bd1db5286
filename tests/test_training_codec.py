"""The codec's training: losses against closed forms, codebooks that learn, an export that loads."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EncodecModel

from voice2music.dataset.shards import MANIFEST, Shard, as_pcm, write_rows, write_shard
from voice2music.errors import BadManifest
from voice2music.training.codec import (
    CodecConfig,
    codebook_use,
    new_codec,
    reconstructed,
    task,
)
from voice2music.training.quantiser import CodebookTraining, kmeans, perplexity
from voice2music.training.rivals import SpectrumRivals
from voice2music.training.spectral import (
    WINDOWS,
    SpectralLoss,
    log_spectral_distance,
    magnitude,
    mel_bands,
    si_sdr,
    spectrum,
)

RATE = 16_000
TINY = CodecConfig(
    ratios=(4, 4, 4),
    filters=8,
    width=16,
    books=2,
    entries=16,
    residual_layers=1,
    batch=4,
    seconds=0.2,
    windows=WINDOWS,
    wave=0.3,
    warm_up=4,
    pool=256,
    dropout=0.0,
    rival_channels=4,
    judged=2,
    judged_seconds=2.0,
)


def sine(frequency: float, seconds: float = 1.0, amplitude: float = 1.0) -> torch.Tensor:
    time = torch.arange(round(seconds * RATE)) / RATE
    return amplitude * torch.sin(2 * math.pi * frequency * time)[None]


def noise(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, count, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Six pieces of three seconds: a tune of two notes each, the voice on the same notes."""
    folder, rows, music, heard = tmp_path_factory.mktemp("pairs"), [], [], []
    count, frames = 3 * RATE, 300
    for number in range(6):
        midi = np.repeat([60 + number, 67 + number], count // 2)
        phase = np.cumsum(440 * 2 ** ((midi - 69) / 12)) / RATE
        music.append(0.3 * np.sign(np.sin(2 * np.pi * phase)))
        heard.append(np.repeat([60 + number, 67 + number], frames // 2) * 100)
        place = {"file": "shard-00000.music.wav", "start": number * count, "count": count}
        voice = {**place, "file": "shard-00000.voice.wav", "rate": RATE}
        tracked = {"file": "shard-00000.heard.npy", "start": number * frames, "count": frames}
        rows.append(
            {
                "id": f"p{number}",
                "split": "valid" if number > 3 else "train",
                "role": "tune",
                "music": {**place, "rate": RATE},
                "voice": voice,
                "heard_pitch": {**tracked, "rate": 100},
            }
        )
    pcm = as_pcm(np.concatenate(music).astype(np.float32))
    rates = {"music": RATE, "voice": RATE}
    shard = Shard(pcm, pcm, np.concatenate(heard).astype(np.int16), tuple(rows), rates)
    write_shard(folder, 0, shard)
    write_rows(folder / MANIFEST, tuple(rows))
    return folder


# --- spectra ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", WINDOWS)
def test_a_full_scale_sine_has_magnitude_one_at_every_window(size):
    # On a bin, away from the edges, where the window sees only sine.
    frequency = 16 * RATE / size
    got = magnitude(spectrum(sine(frequency), torch.hann_window(size)))[0, 16, 8:-8]
    assert torch.allclose(got, torch.ones_like(got), atol=1e-3)


@pytest.mark.parametrize("size", WINDOWS)
def test_every_mel_band_hears_something_and_weighs_one(size):
    bands = mel_bands(RATE, size)
    assert bands.shape == (size // 2 + 1, size // 16)
    assert torch.allclose(bands.sum(dim=0), torch.ones(size // 16), atol=1e-5)


def test_twice_as_loud_is_the_logarithm_of_two_apart():
    sound = noise(RATE)  # far above the floor everywhere
    apart = SpectralLoss(RATE)(sound, 2 * sound)
    assert float(apart["mel"]) == pytest.approx(math.log(2), rel=0.01)
    assert float(apart["log"]) == pytest.approx(math.log(2), rel=0.01)
    assert float(apart["convergence"]) == pytest.approx(1.0, rel=0.01)
    assert log_spectral_distance(sound, 2 * sound) == pytest.approx(6.02, abs=0.05)


def test_equal_sounds_are_no_distance_apart():
    sound = noise(RATE)
    apart = SpectralLoss(RATE)(sound, sound.clone())
    assert all(float(value) < 1e-6 for value in apart.values())


def test_a_wrong_pitch_is_further_away_than_a_wrong_phase():
    loss = SpectralLoss(RATE, (2048, 1024))  # shorter windows see single periods
    shifted = loss(sine(440), sine(440, 1.1)[:, 9 : 9 + RATE])["convergence"]
    semitone = loss(sine(440), sine(466.16))["convergence"]
    assert float(semitone) > 3 * float(shifted)


def test_si_sdr_is_the_ratio_of_powers_whatever_the_level():
    sound, other = sine(400), sine(1000, amplitude=0.1)  # orthogonal over whole periods
    assert si_sdr(sound, sound + other) == pytest.approx(20.0, abs=0.01)
    assert si_sdr(sound, 0.3 * (sound + other)) == pytest.approx(20.0, abs=0.01)


# --- rivals ----------------------------------------------------------------------------------


def test_rivals_learn_to_tell_noise_from_a_tone():
    torch.manual_seed(0)
    rivals = SpectrumRivals((512, 256), channels=4)
    optimiser = torch.optim.AdamW(rivals.parameters(), lr=3e-3)
    real, made = sine(440, 0.25, 0.3), 0.2 * noise(4000)
    before = float(rivals(real, made).detach())
    for _ in range(30):
        optimiser.zero_grad()
        rivals(real, made).backward()
        optimiser.step()
    assert float(rivals(real, made).detach()) < 0.3 * before
    # What is made is praised more when it is the real thing.
    with torch.no_grad():
        assert float(rivals.praise(real, real)) < float(rivals.praise(real, made)) - 0.5


def test_praise_has_a_gradient_for_what_was_made():
    made = (0.2 * noise(4000)).requires_grad_()
    SpectrumRivals((256,), channels=4).praise(sine(440, 0.25), made).backward()
    assert made.grad is not None
    assert float(made.grad.abs().sum()) > 0


# --- codebooks -------------------------------------------------------------------------------


def blobs(count: int, seed: int) -> torch.Tensor:
    """Latents (1, 16, count) in six tight heaps."""
    centres = 4 * noise(6 * 16, 1).reshape(6, 16)
    chance = torch.Generator().manual_seed(seed)
    picked = torch.randint(6, (count,), generator=chance)
    scatter = 0.05 * torch.randn(count, 16, generator=chance)
    return (centres[picked] + scatter).T[None]


def test_codebooks_find_the_heaps_that_latents_lie_in():
    books = new_codec(TINY).quantizer
    training = CodebookTraining(16, warm_up=3, pool=300, decay=0.9, dropout=0.0)
    for step in range(120):
        got = training(books, blobs(200, step), step)
    # The first book holds the heaps, and their scatter is 1.6e-4 of the power.
    assert float(got.commitment) < 1e-3
    chosen = books.layers[0].encode(blobs(2000, 999))
    assert float(perplexity(chosen, 16)) > 5.9


def test_before_the_codebooks_begin_latents_pass_unchanged():
    books = new_codec(TINY).quantizer
    training = CodebookTraining(16, warm_up=2, pool=300, decay=0.9, dropout=0.0)
    latents = blobs(50, 0)
    assert torch.equal(training(books, latents, 0).latents, latents)
    assert float(books.layers[0].codebook.embed.abs().sum()) == 0


def test_the_gradient_goes_straight_through_the_rounding():
    books = new_codec(TINY).quantizer
    training = CodebookTraining(16, warm_up=1, pool=300, decay=0.9, dropout=0.0)
    training(books, blobs(200, 0), 0)
    latents = blobs(50, 1).requires_grad_()
    weights = noise(16 * 50).reshape(1, 16, 50)
    (training(books, latents, 1).latents * weights).sum().backward()
    assert torch.allclose(latents.grad, weights)


def test_training_rounds_as_the_model_does_afterwards():
    books = new_codec(TINY).quantizer
    training = CodebookTraining(16, warm_up=1, pool=300, decay=0.9, dropout=0.0)
    training(books, blobs(200, 0), 0)
    training(books, blobs(200, 1), 1)
    latents = blobs(50, 2)
    expected = books.decode(books.encode(latents))
    assert torch.allclose(training(books, latents, 2).latents, expected, atol=1e-5)


def test_dead_entries_come_back_to_life():
    books = new_codec(TINY).quantizer
    book = books.layers[0].codebook
    training = CodebookTraining(16, warm_up=0, pool=0, decay=0.9, dropout=0.0)
    book.embed.fill_(1e3)  # nobody is near
    book.embed_avg.zero_()
    for step in range(40):
        training(books, blobs(200, step), step)
    assert float(perplexity(book.encode(blobs(2000, 999)[0].T), 16)) > 5


def test_kmeans_keeps_apart_what_begins_as_one():
    entries, counts = kmeans(blobs(400, 3)[0].T, 16, torch.Generator().manual_seed(0))
    assert int(counts.sum()) == 400
    assert len(torch.unique(entries.round(decimals=3), dim=0)) == 16


def test_perplexity_is_one_for_one_entry_and_all_for_even_use():
    assert float(perplexity(torch.zeros(64, dtype=torch.long), 16)) == pytest.approx(1)
    assert float(perplexity(torch.arange(64) % 16, 16)) == pytest.approx(16, rel=1e-5)


# --- the task --------------------------------------------------------------------------------


def drawn(made, seed: int) -> dict[str, torch.Tensor]:
    batch = made.batch(np.random.default_rng(seed))
    return {key: torch.as_tensor(value) for key, value in batch.items()}


def trained(made, steps: int) -> list[float]:
    """Losses of `steps` steps, each on a batch of its own."""
    optimiser = torch.optim.AdamW(made.network.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        out = made.network(batch=drawn(made, step))
        optimiser.zero_grad()
        out["loss"].backward()
        optimiser.step()
        losses.append(float(out["loss"].detach()))
    return losses


@pytest.fixture(scope="module")
def learnt(data):
    torch.manual_seed(0)
    made = task(TINY, data)
    return made, trained(made, 60)


@pytest.fixture(scope="module")
def exported(learnt, tmp_path_factory) -> Path:
    made, _ = learnt
    folder = tmp_path_factory.mktemp("codec")
    made.export(made.network, folder)
    return folder


def test_sixty_steps_bring_the_loss_down_by_a_third(learnt):
    _, losses = learnt
    assert np.mean(losses[-5:]) < 0.67 * np.mean(losses[:5])


def test_a_batch_is_drawn_from_its_chance_alone(data):
    made = task(TINY, data)
    one, same, other = (drawn(made, seed)["real"] for seed in (1, 1, 2))
    assert one.shape == (4, TINY.crop)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert float(one.square().mean().sqrt()) > 0.1


def test_the_exported_folder_is_an_encodec_model_of_half_the_size(learnt, exported):
    loaded = EncodecModel.from_pretrained(exported, dtype=torch.float32)
    assert loaded.config.num_quantizers == len(loaded.quantizer.layers) == TINY.books
    assert loaded.config.hop_length == TINY.hop
    sound = sine(300, 0.5, 0.3)[0].numpy()
    codes, made = reconstructed(learnt[0].network.codec.eval(), sound)
    # Half precision may tip a token over, seldom.
    loaded_codes, loaded_made = reconstructed(loaded, sound)
    assert codes.shape == (TINY.books, math.ceil(len(sound) / TINY.hop))
    assert np.mean(codes == loaded_codes) > 0.9
    assert len(loaded_made) == len(sound)
    assert np.std(made) > 0.02
    weights = sum(p.numel() for p in loaded.parameters())
    assert (exported / "model.safetensors").stat().st_size < 2.5 * weights


def test_a_run_goes_on_from_an_exported_folder_where_it_ended(learnt, exported, data):
    going_on = task(TINY, data, start=exported)
    before = float(learnt[0].network(batch=drawn(learnt[0], 999))["loss"].detach())
    after = float(going_on.network(batch=drawn(going_on, 999))["loss"].detach())
    assert after == pytest.approx(before, rel=0.1)


def test_validation_reports_distances_use_and_the_tune_and_writes_a_pair(learnt, tmp_path):
    made, _ = learnt
    found = made.validate(made.network.eval(), tmp_path)
    made.network.train()
    assert {"mel", "lsd", "si_sdr", "perplexity_0", "perplexity_1", "melody_coded"} <= set(found)
    assert found["melody_original"] > 0.9  # the music plays the two notes
    assert 1 < found["perplexity_0"] <= 16
    assert json.loads(json.dumps(found)) == found
    assert (tmp_path / "original.wav").stat().st_size > 2 * RATE
    assert (tmp_path / "coded.wav").stat().st_size > 2 * RATE


def test_codebook_use_counts_every_book_on_its_own():
    codes = np.stack([np.zeros(64, np.int64), np.arange(64) % 4])
    use = codebook_use(codes, 16)
    assert use["perplexity_0"] == pytest.approx(1)
    assert use["perplexity_1"] == pytest.approx(4, rel=1e-5)


def test_pairs_at_another_rate_are_refused_in_words(data):
    with pytest.raises(BadManifest, match="--rate 24000"):
        task(CodecConfig(rate=24_000), data)


@pytest.mark.parametrize("config", [CodecConfig(), CodecConfig(ratios=(5, 4, 4, 4), books=4)])
def test_the_class_counts_as_many_books_as_were_asked_for(config):
    codec = new_codec(config)
    assert len(codec.quantizer.layers) == config.books
    assert codec.config.frame_rate == config.rate / config.hop


def test_sound_passes_through_a_fresh_codec_at_its_level():
    torch.manual_seed(0)
    codec = new_codec(CodecConfig())
    with torch.inference_mode():
        made = codec.decoder(codec.encoder(0.15 * noise(RATE)[None]))
    assert 0.02 < float(made.std()) < 1.0
