"""AudioLDM on a tiny random checkpoint in the real layout."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_audioldm import build_tiny_audioldm, strip_to_text_only

from voice2music.clip import Clip
from voice2music.engines.audioldm import AudioLDM, load
from voice2music.engines.audioldm.parts import load_parts
from voice2music.engines.base import Conditioning, Melody, Part, Rendition, Settings
from voice2music.engines.spectrogram import log_mel
from voice2music.errors import (
    BadRequest,
    Cancelled,
    CorruptCheckpoint,
    MissingCheckpoint,
    OutOfMemory,
    TooLong,
)
from voice2music.harmony import Key
from voice2music.notes import Note
from voice2music.rhythm import Grid

RATE = 16_000
FEW = Settings(steps=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder of each kind."""
    root = tmp_path_factory.mktemp("audioldm")
    return {
        "plain": build_tiny_audioldm(root / "plain"),
        "windows": build_tiny_audioldm(root / "windows", window_seconds=2.56),
        "deaf": strip_to_text_only(build_tiny_audioldm(root / "deaf")),
        "mismatched": build_tiny_audioldm(root / "mismatched", audio_tower="mismatched"),
        "melody": build_tiny_audioldm(root / "melody", melody=True, clap="words"),
        "both": build_tiny_audioldm(root / "both", melody=True, clap="concatenated", film=True),
    }


@pytest.fixture(scope="module")
def engines(folders: dict[str, Path]) -> dict[str, AudioLDM]:
    return {name: load(folder, "cpu") for name, folder in folders.items()}


def tune(*notes: int, seconds: float = 4.0) -> Melody:
    """Notes of equal length without rests."""
    length = seconds / len(notes)
    midi = np.repeat(np.array(notes, np.float32), round(length * 100))
    starts = [i * length for i in range(len(notes))]
    return Melody(midi, tuple(Note(s, s + length, n) for s, n in zip(starts, notes, strict=True)))


def hum(*notes: int, seconds: float = 4.0) -> Clip:
    """Sawtooth-like tones, one after the other."""
    time = np.arange(round(seconds / len(notes) * RATE)) / RATE
    tones = [
        sum(np.sin(2 * np.pi * k * 440 * 2 ** ((n - 69) / 12) * time) / k for k in range(1, 6))
        for n in notes
    ]
    return Clip(0.3 * np.concatenate(tones).astype(np.float32), RATE)


def asked(**changes: object) -> Conditioning:
    plain = Conditioning(
        genre="disco",
        text="disco with strings and an octave bass",
        seconds=4.0,
        grid=Grid((0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0), 0, 4, 120.0),
        key=Key(0, "major"),
        chords=(),
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def play(engine: AudioLDM, conditioning: Conditioning, settings: Settings = FEW) -> Rendition:
    *parts, last = engine.generate(conditioning, settings, lambda s, w: None, lambda: False)
    assert all(isinstance(part, Part) for part in parts)
    assert isinstance(last, Rendition)
    return last


def sound(
    engine: AudioLDM, conditioning: Conditioning, settings: Settings = FEW
) -> NDArray[np.float32]:
    return play(engine, conditioning, settings).audio.samples[0]


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """RMS of the difference over RMS of the first."""
    return float(np.sqrt(np.mean((a - b) ** 2) / np.mean(a**2)))


def test_it_sounds_and_keeps_what_it_promises(engines: dict[str, AudioLDM]) -> None:
    for engine in engines.values():
        clip = play(engine, asked(melody=tune(60, 64, 67, 72), voice=hum(60, 64))).audio
        assert clip.rate == engine.describe().rate == RATE
        assert clip.samples.shape == (1, 4 * RATE)
        assert np.isfinite(clip.samples).all()
        assert 0.05 < clip.peak <= 1
        assert np.sqrt(np.mean(clip.samples**2)) > 0.005


def test_ddim_equals_the_pipeline_of_diffusers(folders: dict[str, Path]) -> None:
    from diffusers import AudioLDMPipeline

    pipeline = AudioLDMPipeline.from_pretrained(folders["plain"])
    pipeline.set_progress_bar_config(disable=True)
    ours = load(folders["plain"], "cpu", sampler="ddim")
    given = asked(seconds=5.0, negative="noise, hiss")

    noise = ours._noise(7, ours.parts.frames(5.0))
    theirs = pipeline(
        given.text,
        audio_length_in_s=5.0,
        num_inference_steps=8,
        guidance_scale=3.0,
        negative_prompt=given.negative,
        latents=noise[None],
    ).audios[0]

    mine = sound(ours, given, Settings(seed=7, steps=8, guidance=3.0))
    assert theirs.shape == mine.shape
    assert np.abs(theirs).max() > 0.1
    assert np.abs(theirs - mine).max() < 1e-4


def test_seed_words_and_unwanted_words_change_the_music(engines: dict[str, AudioLDM]) -> None:
    engine = engines["plain"]
    first = sound(engine, asked())
    np.testing.assert_array_equal(first, sound(engine, asked()))
    assert difference(first, sound(engine, asked(), Settings(steps=4, seed=1))) > 0.3
    assert difference(first, sound(engine, asked(text="a lonely slow flute"))) > 0.02
    assert difference(first, sound(engine, asked(negative="drums"))) > 0.02


@pytest.mark.parametrize("kind", ["plain", "both"])
def test_another_voice_changes_the_music(engines: dict[str, AudioLDM], kind: str) -> None:
    first = sound(engines[kind], asked(voice=hum(60, 62, 64)))
    assert difference(first, sound(engines[kind], asked(voice=hum(72, 55, 70)))) > 1e-3
    assert difference(first, sound(engines[kind], asked())) > 0.02


def test_a_voice_alone_is_enough(engines: dict[str, AudioLDM]) -> None:
    alone = asked(text="", voice=hum(60, 62, 64))
    assert (
        difference(sound(engines["plain"], alone), sound(engines["plain"], asked(text=""))) > 0.02
    )


@pytest.mark.parametrize("kind", ["melody", "both"])
def test_another_melody_changes_the_music(engines: dict[str, AudioLDM], kind: str) -> None:
    first = sound(engines[kind], asked(melody=tune(60, 62, 64, 65)))
    assert difference(first, sound(engines[kind], asked(melody=tune(67, 62, 70, 65)))) > 0.02
    assert difference(first, sound(engines[kind], asked())) > 0.02


def test_the_melody_acts_where_it_is_sung(engines: dict[str, AudioLDM]) -> None:
    engine = engines["melody"]
    first = sound(engine, asked(melody=tune(60, 60, 60, 60, 60, 60, 60, 60)))
    second = sound(engine, asked(melody=tune(60, 60, 60, 60, 60, 60, 60, 67)))
    early, late = slice(0, RATE), slice(-RATE // 2, None)
    assert difference(first[late], second[late]) > 4 * difference(first[early], second[early])


def test_free_music_does_not_hear_the_melody(engines: dict[str, AudioLDM]) -> None:
    free = Settings(steps=4, faithful=0.0)
    first = sound(engines["melody"], asked(melody=tune(60, 62, 64, 65)), free)
    other = sound(engines["melody"], asked(melody=tune(67, 62, 70, 65)), free)
    np.testing.assert_array_equal(first, other)


def test_more_faithful_is_further_from_free(engines: dict[str, AudioLDM]) -> None:
    given = asked(melody=tune(60, 62, 64, 65))
    free, half, full = (
        sound(engines["melody"], given, Settings(steps=4, faithful=f)) for f in (0.0, 0.7, 1.0)
    )
    assert 0.01 < difference(free, half) < difference(free, full)


def test_nothing_remade_is_the_sketch_through_vae_and_vocoder(
    engines: dict[str, AudioLDM],
) -> None:
    engine, sketch = engines["plain"], hum(48, 55, 60, 64)
    kept = sound(engine, asked(sketch=sketch), Settings(steps=10, start_from="band", strength=0.0))
    parts = engine.parts
    with torch.no_grad():
        mel = log_mel(sketch, parts.mel, 400)
        latents = parts.vae.encode(mel[None, None]).latent_dist.mode()
        by_hand = parts.vocoder(parts.vae.decode(latents).sample[0, 0])[: 4 * RATE].numpy()
    assert difference(by_hand, kept) < 1e-4


def test_all_remade_is_music_from_noise(engines: dict[str, AudioLDM]) -> None:
    given = asked(sketch=hum(48, 55, 60, 64))
    remade = sound(engines["plain"], given, Settings(steps=6, start_from="band", strength=1.0))
    np.testing.assert_array_equal(remade, sound(engines["plain"], asked(), Settings(steps=6)))


def test_the_voice_itself_can_be_the_start(engines: dict[str, AudioLDM]) -> None:
    start = Settings(steps=10, start_from="voice", strength=0.0)
    voice = hum(60, 64, 67, 72)
    as_sketch = Settings(steps=10, start_from="band", strength=0.0)
    np.testing.assert_array_equal(
        sound(engines["plain"], asked(voice=voice), start),
        sound(engines["plain"], asked(sketch=voice), as_sketch),
    )


@pytest.mark.parametrize("kind", ["deaf", "mismatched"])
def test_a_checkpoint_that_hears_no_voice_says_so_and_takes_the_sketch(
    engines: dict[str, AudioLDM], kind: str
) -> None:
    engine, sketch = engines[kind], hum(48, 55, 60, 64)
    about = engine.describe()
    assert not about.follows_voice
    assert any("audio tower" in limit for limit in about.limits)

    sung = asked(voice=hum(60, 64), melody=tune(60, 64), sketch=sketch)
    made = play(engine, sung, FEW)
    assert [note.code for note in made.notes] == ["cascade"]
    by_wish = play(engine, sung, dataclasses.replace(FEW, start_from="band"))
    assert by_wish.notes == ()
    np.testing.assert_array_equal(made.audio.samples, by_wish.audio.samples)


def test_without_a_sketch_a_deaf_checkpoint_says_that_it_follows_words_only(
    engines: dict[str, AudioLDM],
) -> None:
    made = play(engines["deaf"], asked(voice=hum(60, 64), melody=tune(60, 64)))
    assert [note.code for note in made.notes] == ["words_only"]


def test_words_alone_are_no_cascade(engines: dict[str, AudioLDM]) -> None:
    made = play(engines["deaf"], asked(sketch=hum(48, 55)))
    assert made.notes == ()
    np.testing.assert_array_equal(made.audio.samples[0], sound(engines["deaf"], asked()))


def test_a_mismatched_audio_tower_is_refused_with_its_number(
    engines: dict[str, AudioLDM],
) -> None:
    assert engines["plain"].parts.audio is not None
    assert engines["mismatched"].parts.audio is None
    assert "0.99 is needed" in engines["mismatched"].parts.deaf


@pytest.mark.parametrize("seconds", [3.0, 3.71, 10.24, 12.3])
def test_the_length_is_exact(engines: dict[str, AudioLDM], seconds: float) -> None:
    made = play(engines["plain"], asked(seconds=seconds), Settings(steps=1))
    assert made.audio.samples.shape == (1, round(seconds * RATE))
    told = [note.text for note in made.notes if note.code == "longer_than_trained"]
    assert ["longer than the 10 s AudioLDM" in text for text in told] == [True] * (seconds > 10.24)


def test_windows_leave_no_seams(engines: dict[str, AudioLDM]) -> None:
    """The same weights and noise, drawn in four windows, are as even in level (fifths of seconds,
    without the ends) as in one, and near to it."""
    job, settings = asked(seconds=6.4), Settings(steps=3)
    one, four = sound(engines["plain"], job, settings), sound(engines["windows"], job, settings)

    def unevenness(wave: NDArray[np.float32]) -> float:
        level = np.sqrt(np.mean(wave.reshape(-1, RATE // 5) ** 2, axis=1))
        return float(np.ptp(20 * np.log10(level[1:-1])))

    assert 0 < difference(one, four) < 0.8
    assert unevenness(four) < unevenness(one) + 2.0


def test_impossible_wishes_are_named(engines: dict[str, AudioLDM]) -> None:
    engine = engines["plain"]
    with pytest.raises(BadRequest, match="3 s at least"):
        play(engine, asked(seconds=1.0))
    with pytest.raises(BadRequest, match="at least"):
        play(engine, asked(seconds=float("nan")))
    with pytest.raises(TooLong, match="120 s at most"):
        play(engine, asked(seconds=500.0))
    with pytest.raises(BadRequest, match="no voice"):
        play(engine, asked(), Settings(start_from="voice"))
    with pytest.raises(BadRequest, match="no sketch"):
        play(engine, asked(), Settings(start_from="band"))


def test_words_past_what_the_text_tower_reads_are_reported(engines: dict[str, AudioLDM]) -> None:
    long = "brass " * 100
    assert "pieces_cut" in [note.code for note in play(engines["plain"], asked(text=long)).notes]
    for text in ("موسيقى ديسكو", "迪斯科音乐🎷", "\x00"):
        assert play(engines["plain"], asked(text=text), Settings(steps=1)).audio.peak > 0.05


def test_progress_grows_to_one_and_cancelling_stops_within_a_step(
    engines: dict[str, AudioLDM],
) -> None:
    engine, shares = engines["plain"], list[float]()
    list(engine.generate(asked(), FEW, lambda s, w: shares.append(s), lambda: False))
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert len(shares) > 6

    calls = iter(range(100))

    def stop_after_three() -> bool:
        return next(calls) >= 3

    seen = list[float]()
    with pytest.raises(Cancelled):
        list(engine.generate(asked(), FEW, lambda s, w: seen.append(s), stop_after_three))
    assert len(seen) == 3
    assert sound(engine, asked()).any()


def test_the_callers_random_state_is_untouched(folders: dict[str, Path]) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1]
    sound(load(folders["plain"], "cpu"), asked(voice=hum(60, seconds=15.0)))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])
    assert torch.is_grad_enabled()


def test_half_precision_is_close(folders: dict[str, Path]) -> None:
    half = load(folders["plain"], "cpu", precision="bfloat16")
    whole = load(folders["plain"], "cpu")
    assert half.parts.unet.dtype == torch.bfloat16
    assert difference(sound(whole, asked()), sound(half, asked())) < 0.5


def test_loading_prints_nothing(
    folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    load(folders["both"], "cpu")
    out, err = capfd.readouterr()
    assert "Loading weights" not in out + err


@pytest.fixture
def damaged(folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["melody"], tmp_path / "damaged"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match="nowhere"):
        load(tmp_path / "nowhere", "cpu")


def test_missing_parts_are_named(damaged: Path) -> None:
    shutil.rmtree(damaged / "scheduler")
    with pytest.raises(CorruptCheckpoint, match="scheduler"):
        load(damaged, "cpu")


def test_settings_that_do_not_fit_the_weights_are_named(damaged: Path) -> None:
    (damaged / "voice2music.json").unlink()  # then no melody channels are expected
    with pytest.raises(CorruptCheckpoint, match="UNet input channels: 27"):
        load(damaged, "cpu")


@pytest.mark.parametrize(
    "settings", ['{"colour": 1}', "[1]", "{", '{"clap": "mixed"}', '{"melody": {"lowest": 37}}']
)
def test_settings_that_cannot_be_read_are_named(damaged: Path, settings: str) -> None:
    (damaged / "voice2music.json").write_text(settings)
    with pytest.raises(CorruptCheckpoint, match="voice2music.json"):
        load(damaged, "cpu")


def test_the_licence_in_the_settings_file_is_no_obstacle(damaged: Path) -> None:
    path = damaged / "voice2music.json"
    values = json.loads(path.read_text()) | {"licence": "MIT", "commercial": True}
    path.write_text(json.dumps(values))
    about = load(damaged, "cpu").describe()
    assert (about.licence, about.commercial, about.checkpoint) == ("MIT", True, "damaged")
    assert len(about.sha256) == 64


@pytest.mark.parametrize("part", ["unet", "vae", "vocoder", "text_encoder", "audio_tower"])
def test_a_part_that_lacks_weights_is_refused(
    folders: dict[str, Path], tmp_path: Path, part: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(folders["plain"], tmp_path / "lacking"))
    file = next((folder / part).glob("*.safetensors"))
    weights = load_file(file)
    weights.pop(sorted(weights)[0])
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(CorruptCheckpoint, match="lacks 1 of the model's weights"):
        load(folder, "cpu")


def test_files_of_older_libraries_load_the_same(folders: dict[str, Path], tmp_path: Path) -> None:
    """diffusers once called a VAE's attention weights query, key, value and proj_attn; older
    transformers did not save buffers that follow from the configuration."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(folders["plain"], tmp_path / "old"))
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    buffers = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
    renamed = dropped = 0
    for part in ("vae", "text_encoder", "audio_tower"):
        file = next((folder / part).glob("*.safetensors"))
        weights = {
            key: value for key, value in load_file(file).items() if not key.endswith(buffers)
        }
        dropped += len(load_file(file)) - len(weights)
        if part == "vae":
            for new, old in names.items():
                renamed += sum(new in key for key in weights)
                weights = {key.replace(new, old): value for key, value in weights.items()}
        save_file(weights, file, {"format": "pt"})
    assert renamed == 16
    assert dropped == 7
    given = asked(voice=hum(60, 64))
    start = Settings(steps=4, start_from="voice", strength=0.5)
    np.testing.assert_allclose(
        sound(load(folder, "cpu"), given, start),
        sound(load(folders["plain"], "cpu"), given, start),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors", "unet/config.json", "vae/config.json",
        "vocoder/model.safetensors", "text_encoder/config.json", "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json", "audio_tower/config.json", "audio_tower/captions.json",
        "audio_tower/model.safetensors", "audio_tower/preprocessor_config.json",
    ],
)  # fmt: skip
def test_a_damaged_file_is_a_named_error(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(folders["plain"], tmp_path / "damaged"))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptCheckpoint, match=name.split("/")[0]):
        load_parts(folder)


def test_weights_that_are_not_numbers_are_reported(folders: dict[str, Path]) -> None:
    engine = load(folders["deaf"], "cpu")
    with torch.no_grad():
        engine.parts.unet.conv_in.weight.fill_(float("nan"))
    with pytest.raises(CorruptCheckpoint, match="not numbers"):
        play(engine, asked())


def test_memory_that_does_not_suffice_is_reported(
    engines: dict[str, AudioLDM], monkeypatch: pytest.MonkeyPatch
) -> None:
    def huge(*args: object, **kwargs: object) -> torch.Tensor:
        return torch.empty(1 << 60)

    monkeypatch.setattr(engines["plain"].parts.vae, "decode", huge)
    with pytest.raises(OutOfMemory):
        play(engines["plain"], asked())
