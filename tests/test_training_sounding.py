"""Log-mel, its VAE, and the two ways from log-mel to sound: training, export, sound."""

import json
import math

import numpy as np
import pytest
import tiny_pairs
import torch
from tiny_audioldm import build_tiny_audioldm
from torch.nn.functional import l1_loss

from voice2music.clip import Clip
from voice2music.engines.audioldm.engine import About, AudioLDM
from voice2music.engines.audioldm.inversion import FOLDER, MelInverter, inverted, load_inverter
from voice2music.engines.audioldm.parts import load_parts
from voice2music.engines.audioldm.reading import diffusers_model, transformers_model
from voice2music.engines.phases import phased
from voice2music.engines.spectrogram import (
    MelSettings,
    levelled,
    log_mel,
    log_mel_of,
    magnitudes_of,
    mel_filters_of,
)
from voice2music.errors import CorruptCheckpoint
from voice2music.training import inverter, vae, vocoder
from voice2music.training.crops import MINI_MEL, Crops
from voice2music.training.loop import averaged, train
from voice2music.training.sounding import griffin_lim
from voice2music.training.task import Settings

RATE = 16_000
TINY_VAE = vae.VaeConfig(
    channels=(8, 16, 16), groups=4, frames=(16, 32), batch_frames=64, judged=1, judged_frames=64
)
TINY_VOCODER = vocoder.VocoderConfig(
    channels=32,
    rates=(4, 8, 8),
    kernels=(8, 16, 16),
    batch=2,
    frames=12,
    windows=(512, 256),
    rival_channels=2,
    judged=1,
    judged_frames=64,
)
TINY_INVERTER = inverter.InverterConfig(
    channels=32, dilations=(1, 2), batch=2, frames=32, judged=1, judged_frames=64
)
TASKS = {
    "vae": lambda data: vae.task(TINY_VAE, data),
    "vocoder": lambda data: vocoder.task(TINY_VOCODER, data),
    "inverter": lambda data: inverter.task(TINY_INVERTER, data),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_pairs.write(tmp_path_factory.mktemp("pairs"))


def chord(seconds: float = 2.0) -> torch.Tensor:
    """Three tones with overtones, levelled."""
    time = torch.arange(round(seconds * RATE)) / RATE
    tones = [
        torch.sin(2 * math.pi * k * frequency * time) / k
        for frequency in (220.0, 277.18, 329.63)
        for k in range(1, 8)
    ]
    return levelled(torch.stack(tones).sum(dim=0), MINI_MEL)


def gone_by(task, steps: int) -> list[float]:
    """Losses of so many plain steps on one and the same batch."""
    batch = task.batch(np.random.default_rng(0))
    optimiser = torch.optim.Adam(task.network.parameters(), 2e-3)
    losses = []
    for _ in range(steps):
        loss = task.network(batch=batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


# --- log-mel ---------------------------------------------------------------------------------


def test_many_sounds_have_the_log_mels_that_each_has_alone():
    sounds = torch.stack([chord(), chord().flip(0)])
    together = log_mel_of(sounds, MINI_MEL)
    for sound, mel in zip(sounds, together, strict=True):
        torch.testing.assert_close(log_mel_of(sound, MINI_MEL), mel)
        engines = log_mel(Clip(sound.numpy(), RATE), MINI_MEL, len(mel))
        torch.testing.assert_close(engines, mel, atol=5e-3, rtol=1e-3)


def test_a_crops_log_mel_is_that_of_the_piece_around_it(data):
    """Were the crop's edges reflected, the first and last frames would be off."""
    crops = Crops(data, "train", MINI_MEL)
    sound, mel = crops.draw(np.random.default_rng(3), 4, 40)
    assert sound.shape == (4, 40 * MINI_MEL.hop)
    assert mel.shape == (4, 40, MINI_MEL.bins)
    alone = log_mel_of(sound, MINI_MEL)
    torch.testing.assert_close(alone[:, 2:-2], mel[:, 2:-2], atol=1e-3, rtol=1e-3)
    assert l1_loss(alone[:, :1], mel[:, :1]) > 0.05


def test_crops_are_levelled_like_what_the_engine_encodes(data):
    crops = Crops(data, "train", MINI_MEL)
    sounds, _ = crops.draw(np.random.default_rng(0), 16, 60)
    assert 0.4 < float(sounds.abs().max()) <= MINI_MEL.peak + 1e-4


# --- from magnitudes to sound ----------------------------------------------------------------


def test_a_sound_is_found_again_from_its_magnitudes():
    sound = chord()
    length = len(sound) // MINI_MEL.hop * MINI_MEL.hop
    padded = torch.nn.functional.pad(sound[:length], (0, MINI_MEL.hop))
    magnitudes = magnitudes_of(padded, MINI_MEL).T
    made = phased(magnitudes, MINI_MEL)
    assert len(made) == length
    again = magnitudes_of(made, MINI_MEL).T
    inside = slice(4, -6)
    wanted = magnitudes[:, :-1][:, inside]
    apart = torch.linalg.vector_norm(again[:, inside] - wanted) / torch.linalg.vector_norm(wanted)
    assert apart < 0.05
    rough = phased(magnitudes, MINI_MEL, rounds=0)
    assert torch.isfinite(rough).all()
    assert float(rough.abs().max()) > 0.1


def test_phases_of_a_steady_tone_need_no_rounds():
    """The first phases turn with the peak's frequency, also between two bins."""
    time = torch.arange(RATE) / RATE
    tone = 0.5 * torch.sin(2 * math.pi * 443.3 * time)
    made = phased(magnitudes_of(tone, MINI_MEL).T, MINI_MEL, rounds=0)
    spectrum = torch.fft.rfft(made[4096:12288] * torch.hann_window(8192)).abs()
    assert abs(int(spectrum.argmax()) * RATE / 8192 - 443.3) < 1.5
    assert made[4096:12288].abs().max() > 0.4


def test_an_untrained_inverter_gives_magnitudes_of_the_very_log_mel():
    mel = log_mel_of(chord(), MINI_MEL)
    magnitudes = inverter.new_inverter(TINY_INVERTER).magnitudes(mel[None])[0]
    again = (magnitudes @ mel_filters_of(MINI_MEL).T).clamp(min=MINI_MEL.floor).log()
    loud = mel > mel.max() - 5
    assert loud.float().mean() > 0.1
    assert (again - mel)[loud].abs().mean() < 0.15
    assert float(mel[loud].std()) > 0.5


def test_silence_stays_silent():
    mel = torch.full((64, MINI_MEL.bins), math.log(MINI_MEL.floor))
    assert inverted(inverter.new_inverter(TINY_INVERTER), mel).abs().max() < 1e-3


# --- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_a_few_steps_on_one_batch_lower_the_loss(name, data):
    torch.manual_seed(0)
    losses = gone_by(TASKS[name](data), 12)
    assert np.isfinite(losses).all()
    assert min(losses[-3:]) < 0.95 * losses[0]


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_depends_on_its_chance_alone(name, data):
    task = TASKS[name](data)
    one, again, other = (task.batch(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["mel"], other["mel"])


def test_the_vae_begins_at_the_log_mels_own_mean_and_spread(data):
    torch.manual_seed(0)
    task = vae.task(TINY_VAE, data)
    mel = task.batch(np.random.default_rng(0))["mel"]
    with torch.no_grad():
        made = vae.rebuilt(task.network.vae, mel)
    assert abs(float(made.mean() - mel.mean())) < float(mel.std())


def test_edges_tell_a_blurred_log_mel_from_one_that_is_as_far_off_as_a_whole():
    mel = log_mel_of(chord(), MINI_MEL)
    blurred = torch.nn.functional.avg_pool1d(mel[None], 3, 1, 1)[0]
    shifted = mel + l1_loss(blurred, mel)
    assert vae.edge_distance(shifted, mel) < 1e-5 < 0.1 < vae.edge_distance(blurred, mel)


def test_a_trained_vae_is_exported_with_latents_around_zero_of_unit_spread(data, tmp_path):
    torch.manual_seed(0)
    task = vae.task(TINY_VAE, data)
    train(task, Settings(steps=4, validations=1), tmp_path / "run", {"groups": 4})
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["valid"]
    network = averaged(task, tmp_path / "run")
    task.export(network, tmp_path / "vae")
    read = diffusers_model("AutoencoderKL", tmp_path / "vae", torch.float32)
    mel = task._crops.draw(np.random.default_rng(7), 16, 32)[1]
    with torch.no_grad():
        latents = read.encode(mel[:, None]).latent_dist.mode() * read.config.scaling_factor
        torch.testing.assert_close(
            vae.rebuilt(read, mel), vae.rebuilt(network.vae, mel), atol=0.05, rtol=0.05
        )
    assert 0.7 < float(latents.std(dim=(0, 2, 3)).square().mean().sqrt()) < 1.4
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.5


def test_a_vocoder_is_trained_with_a_rival_and_a_vae_and_loads_again(data, tmp_path):
    torch.manual_seed(0)
    made_vae = vae.task(TINY_VAE, data)
    made_vae.export(made_vae.network, tmp_path / "vae")
    task = vocoder.task(TINY_VOCODER, data, vae=tmp_path / "vae")
    progress = train(task, Settings(steps=3, rival_from=0.5, validations=1), tmp_path / "run", {})
    assert progress.step == 3
    network = averaged(task, tmp_path / "run")
    task.export(network, tmp_path / "vocoder")
    read = transformers_model("SpeechT5HifiGan", tmp_path / "vocoder")
    mel = log_mel_of(chord(), MINI_MEL)
    with torch.no_grad():
        sound, exact = read(mel), network.vocoder(mel)
    assert sound.shape == (len(mel) * MINI_MEL.hop,)
    assert l1_loss(sound, exact) < 0.1 * exact.abs().mean()
    without = vocoder.task(TINY_VOCODER, data)
    one, other = (each.batch(np.random.default_rng(0))["real"] for each in (task, without))
    assert torch.equal(one, other)


def test_rates_that_do_not_make_up_the_hop_are_refused():
    with pytest.raises(ValueError, match="256"):
        vocoder.new_vocoder(vocoder.VocoderConfig(rates=(4, 4), kernels=(8, 8)))


def test_an_inverter_learns_what_the_plain_answer_lacks(data):
    """How energy lies within a band: nearer than the plain answer, both brought to the log-mel."""
    torch.manual_seed(0)
    task = inverter.task(TINY_INVERTER, data)
    batch = task.batch(np.random.default_rng(0))

    def off() -> float:
        with torch.no_grad():
            made = task.network.inverter.magnitudes(batch["mel"])
        return float((made - batch["magnitudes"]).norm() / batch["magnitudes"].norm())

    before = off()
    gone_by(task, 60)
    assert off() < 0.8 * before


def test_the_engine_sounds_through_the_inverter_that_a_vocoder_brings(tmp_path):
    folder = build_tiny_audioldm(tmp_path / "tiny")
    plain = load_parts(folder)
    assert plain.inverter is None
    network = inverter.new_inverter(
        inverter.InverterConfig(mel=plain.mel, channels=16, dilations=(1,))
    )
    network.half().save_pretrained(folder / "vocoder" / FOLDER)
    parts = load_parts(folder)
    assert parts.inverter is not None
    assert parts.inverter.settings == parts.mel == MelSettings()
    engine = AudioLDM(parts, About("tiny"))
    sound = chord(3.0)
    mel = log_mel_of(sound, parts.mel)
    made = engine.sounded(mel)
    assert made.shape == sound.shape
    # An inverter that has learned nothing is about as good as least squares.
    learned_nothing = l1_loss(log_mel_of(made, parts.mel), mel)
    assert learned_nothing < 1.2 * l1_loss(log_mel_of(griffin_lim(mel, parts.mel), parts.mel), mel)
    assert learned_nothing < 0.2 * l1_loss(log_mel_of(0.01 * sound, parts.mel), mel)


def test_an_inverter_of_another_log_mel_is_refused(tmp_path):
    folder = build_tiny_audioldm(tmp_path / "tiny")
    inverter.new_inverter(TINY_INVERTER).save_pretrained(folder / "vocoder" / FOLDER)
    with pytest.raises(CorruptCheckpoint, match="log-mel"):
        load_parts(folder)


def test_a_damaged_inverter_is_refused(tmp_path):
    inverter.new_inverter(TINY_INVERTER).save_pretrained(tmp_path / FOLDER)
    weights = next((tmp_path / FOLDER).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(CorruptCheckpoint):
        load_inverter(tmp_path)
    assert load_inverter(tmp_path / FOLDER) is None


def test_an_exported_inverter_is_what_was_trained(data, tmp_path):
    torch.manual_seed(0)
    task = inverter.task(TINY_INVERTER, data)
    gone_by(task, 3)
    judged = task.validate(task.network.eval(), tmp_path)
    assert 0 <= judged["melody"] <= 1
    assert judged["mel of Griffin-Lim"] > 0
    assert len(list(tmp_path.glob("*.wav"))) == 1
    task.export(task.network, tmp_path / "vocoder" / FOLDER)
    read = load_inverter(tmp_path / "vocoder")
    assert isinstance(read, MelInverter)
    mel = log_mel_of(chord(), MINI_MEL)[None]
    with torch.no_grad():
        torch.testing.assert_close(read(mel), task.network.inverter(mel), atol=0.02, rtol=0.02)
    again = inverter.task(TINY_INVERTER, data, start=tmp_path / "vocoder" / FOLDER)
    with torch.no_grad():
        torch.testing.assert_close(again.network.inverter(mel), read(mel))
