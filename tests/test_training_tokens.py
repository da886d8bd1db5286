"""From a teacher's tokens to sound: the teacher, the codec it teaches, spectra, the command."""

import json
from dataclasses import asdict, replace

import bandroom
import numpy as np
import pytest
import tiny_pairs
import torch
from safetensors.torch import load_file
from tiny_musicgen import build_tiny_musicgen
from transformers import EncodecModel
from typer.testing import CliRunner

from voice2music.cli import app
from voice2music.dataset.shards import Pairs
from voice2music.engines.base import Rendition, Settings
from voice2music.engines.musicgen import load
from voice2music.engines.musicgen.sounding import (
    AHEAD,
    BLOCK,
    CONTEXT,
    FIRST,
    PieceSounder,
)
from voice2music.engines.musicgen.spectra import (
    FOLDER,
    WEIGHTS,
    SpectraConfig,
    TokenSpectra,
    load_spectra,
    save_spectra,
)
from voice2music.errors import BadRequest, CorruptCheckpoint
from voice2music.training import codec, teacher, token_spectra
from voice2music.training.loop import averaged, train
from voice2music.training.models import TRAINABLE, trainable, with_values
from voice2music.training.task import Settings as RunSettings
from voice2music.training.tokens import encoded

CODEC = codec.CodecConfig(
    ratios=(4, 5, 4, 4), filters=4, width=16, books=2, entries=32, batch=2, seconds=0.64,
    warm_up=4, pool=512, dropout=0.0, rival_channels=0, judged=2, judged_seconds=1.0,
)  # fmt: skip
TEACHER = teacher.TeacherConfig(
    codec=CODEC, bins=40, channels=32, dilations=(1, 2), batch=4, seconds=0.64, judged=1,
    judged_seconds=1.28,
)  # fmt: skip
SPECTRA = token_spectra.TokenSpectraConfig(batch=4, seconds=0.96, judged=1, judged_seconds=1.28)


def run(task, folder, steps, rate=3e-3):
    settings = RunSettings(steps=steps, learning_rate=rate, warm_up=5, average=0.9, validations=0,
                           log_steps=10)  # fmt: skip
    train(task, settings, folder, {})
    rows = [json.loads(line)["train"] for line in (folder / "log.jsonl").read_text().splitlines()]
    return rows[0]["loss"], rows[-1]["loss"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return tiny_pairs.write(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def taught(pairs, tmp_path_factory):
    """An exported teacher, and its first and last losses."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    task = teacher.task(TEACHER, pairs)
    losses = run(task, folder / "run", 60)
    task.export(averaged(task, folder / "run"), folder / "out")
    return folder / "out", losses


def test_a_teacher_learns_log_mels_and_its_books_fill(taught, pairs, tmp_path):
    folder, (first, last) = taught
    assert last < 0.7 * first
    codes = np.concatenate(encoded(Pairs(pairs), folder), axis=1)
    assert codes.shape == (2, 16 * tiny_pairs.SECONDS * 50)
    assert len(np.unique(codes[0])) > 4
    task = teacher.task(TEACHER, pairs)
    found = task.validate(task.network.eval(), tmp_path)
    assert 0 <= found["melody of the tokens"] <= 1
    assert found["melody of the music"] > 0.8


def test_tokens_of_a_teacher_are_those_of_its_latents(taught, pairs):
    folder, _ = taught
    listener, books = teacher.load_teacher(folder)
    with torch.inference_mode():
        latents = listener.latents(torch.from_numpy(Pairs(pairs).music(3))[None])
        wanted = books.quantizer.encode(latents)[:, 0].numpy()
    assert (encoded(Pairs(pairs), folder)[3] == wanted).all()


def test_a_codec_learns_from_a_teacher_and_keeps_its_books(taught, pairs, tmp_path):
    folder, _ = taught
    task = codec.task(CODEC, pairs, teacher=folder)
    first, last = run(task, tmp_path / "run", 30)
    assert last < 0.9 * first
    task.export(averaged(task, tmp_path / "run"), tmp_path / "out")
    mine = EncodecModel.from_pretrained(tmp_path / "out", dtype=torch.float32)
    books = EncodecModel.from_pretrained(folder)
    for one, other in zip(mine.quantizer.layers, books.quantizer.layers, strict=True):
        assert torch.allclose(one.codebook.embed, other.codebook.embed, atol=2e-2)
    # Whoever makes tokens with the exported codec gets the teacher's.
    mine, theirs = (encoded(Pairs(pairs), out)[0] for out in (tmp_path / "out", folder))
    assert (mine == theirs).mean() > 0.95  # the books are rounded to half precision


def test_an_encoder_learns_alone_and_leaves_the_rest_as_it_was(taught, pairs, tmp_path):
    folder, _ = taught
    begun = codec.task(CODEC, pairs, teacher=folder)
    begun.export(begun.network, tmp_path / "codec")
    alone = replace(CODEC, only_encoder=True, taught=1.0)
    task = codec.task(alone, pairs, tmp_path / "codec", folder)
    before = {key: value.clone() for key, value in task.network.codec.state_dict().items()}
    first, last = run(task, tmp_path / "run", 40)
    assert last < 0.8 * first
    for key, value in task.network.codec.state_dict().items():
        moved = not torch.equal(value, before[key])
        assert moved == key.startswith("encoder."), key
    with pytest.raises(BadRequest, match="--teacher"):
        codec.task(alone, pairs, tmp_path / "codec")


@pytest.fixture(scope="module")
def spectra(taught, pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spectra")
    torch.manual_seed(0)
    task = token_spectra.task(SPECTRA, pairs, taught[0])
    losses = run(task, folder / "run", 60)
    task.export(averaged(task, folder / "run"), folder / "out" / FOLDER)
    return folder / "out", losses, task


def test_spectra_learn_what_tokens_sound_like(spectra, tmp_path):
    folder, (first, last), task = spectra
    assert last < 0.7 * first
    kept = load_spectra(folder)
    latents = torch.randn(1, 16, 20)
    with torch.inference_mode():
        wanted = averaged(task, folder.parent / "run").spectra(latents)
        assert torch.allclose(kept(latents), wanted, atol=0.05)
        assert kept(latents).shape == (1, 80, 513)
    assert set(task.validate(task.network.eval(), tmp_path)) == {"melody", "melody of the music"}


@pytest.mark.parametrize("ends", [(20, 80, 140, 200), tuple(range(1, 201)), (199, 200)])
def test_streamed_sound_is_the_whole_sound(taught, spectra, pairs, ends):
    _, books = teacher.load_teacher(taught[0])
    codes = torch.from_numpy(encoded(Pairs(pairs), taught[0])[0].astype(np.int64))
    at_once = PieceSounder(load_spectra(spectra[0]), books)
    whole = at_once.push(codes, final=True)[0]
    sounder = PieceSounder(load_spectra(spectra[0]), books)
    pieces = [sounder.push(codes[:, :end], final=end == 200) for end in ends]
    assert {piece.shape[1] % 320 for piece in pieces} == {0}
    joined = np.concatenate(pieces, axis=1)[0]
    assert len(joined) == len(whole) == 64_000
    assert np.array_equal(joined, sounder.whole()[0])
    assert np.abs(whole).max() > 1e-3
    assert np.square(joined - whole).sum() < 1e-6 * np.square(whole).sum()  # -60 dB
    # No click where blocks meet: steps there are no larger than elsewhere.
    steps = np.abs(np.diff(whole))
    seams = 320 * np.arange(FIRST, 200, BLOCK)
    assert steps[seams - 1].max() < 1.5 * np.quantile(steps, 0.999)


def test_the_first_sound_needs_less_than_a_second_of_tokens(taught, spectra, pairs):
    _, books = teacher.load_teacher(taught[0])
    codes = torch.from_numpy(encoded(Pairs(pairs), taught[0])[0].astype(np.int64))
    sounder = PieceSounder(load_spectra(spectra[0]), books)
    first = next(n for n in range(1, 200) if sounder.push(codes[:, :n]).shape[1])
    assert first == FIRST + AHEAD + CONTEXT < 25  # the bundled model has 25 frames a second


def test_an_engine_sounds_through_the_spectra_of_its_checkpoint(tmp_path):
    folder = build_tiny_musicgen(tmp_path / "m")
    job = bandroom.conditioning("disco", 3.0)

    def made():
        out = list(load(folder).generate(job, Settings(seed=1), lambda *_: None, lambda: False))
        assert isinstance(out[-1], Rendition)
        return out[-1].audio

    plain = made()
    torch.manual_seed(0)
    own = TokenSpectra(SpectraConfig(width=8, channels=16, bins=513, level=0.0))
    save_spectra(own, folder / FOLDER)
    through = made()
    assert through.seconds == plain.seconds == 3.0
    assert np.abs(through.samples).max() > 1e-3
    assert not np.allclose(through.samples, plain.samples, atol=1e-3)


def test_damaged_spectra_are_refused(tmp_path):
    save_spectra(TokenSpectra(SpectraConfig(width=8, channels=16)), tmp_path / FOLDER)
    file = tmp_path / FOLDER / WEIGHTS
    assert load_file(file)["layers.0.weight"].dtype == torch.float16
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CorruptCheckpoint, match="Fetch the model again"):
        load_spectra(tmp_path)
    assert load_spectra(tmp_path / "elsewhere") is None


def test_the_command_trains_goes_on_and_exports(pairs, tmp_path):
    sizes = tmp_path / "sizes.json"
    sizes.write_text(json.dumps({"about": asdict(TEACHER) | {"codec": None}}))
    words = ["train", "teacher", str(pairs), "--run", str(tmp_path / "r"),
             "--out", str(tmp_path / "o"), "--steps", "6"]  # fmt: skip
    refused = CliRunner().invoke(app, [*words, "--codec", str(tmp_path)])
    assert refused.exit_code == 1
    assert "does not use a codec" in refused.output
    small = {"about": asdict(replace(SPECTRA, judged=1)), "settings": {"validations": 0}}
    sizes.write_text(json.dumps(small))
    missing = CliRunner().invoke(app, [*words[:1], "spectra", *words[2:], "--config", str(sizes)])
    assert missing.exit_code == 1
    assert "--teacher" in missing.output


def test_the_command_writes_what_an_engine_reads(pairs, taught, tmp_path):
    sizes = tmp_path / "sizes.json"
    sizes.write_text(json.dumps({"about": asdict(SPECTRA), "settings": {"validations": 0}}))
    words = ["train", "spectra", str(pairs), "--run", str(tmp_path / "r"), "--steps", "3",
             "--out", str(tmp_path / "o" / FOLDER), "--teacher", str(taught[0]),
             "--config", str(sizes)]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert load_spectra(tmp_path / "o") is not None
    kept = json.loads((tmp_path / "r" / "training.json").read_text())
    assert kept["settings"]["steps"] == 3
    assert kept["about"]["batch"] == 4


def test_every_model_has_a_name_and_unknown_ones_are_refused():
    with pytest.raises(BadRequest, match="not a model that is trained here"):
        trainable("drums", {})
    assert {need for model in TRAINABLE.values() for need in model.needs} <= set(TRAINABLE)


@pytest.mark.parametrize("name", TRAINABLE)
def test_sizes_come_back_from_the_json_that_a_run_keeps(name, tmp_path):
    model = TRAINABLE[name]
    kept = {"about": asdict(model.config), "settings": asdict(model.settings)}
    (tmp_path / "training.json").write_text(json.dumps(kept))
    again = with_values(model, tmp_path / "training.json", {})
    assert (again.config, again.settings) == (model.config, model.settings)


@pytest.mark.parametrize("text", ["[]", "{", '{"about": {"size": 3}}', '{"settings": 5}'])
def test_sizes_that_cannot_be_used_are_named(text, tmp_path):
    (tmp_path / "sizes.json").write_text(text)
    with pytest.raises(BadRequest, match=r"sizes\.json"):
        with_values(TRAINABLE["vae"], tmp_path / "sizes.json", {})
