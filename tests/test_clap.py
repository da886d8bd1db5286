"""CLAP's towers: features, embeddings, agreement, and reading laion_clap's own files."""

import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_audioldm import (
    FEATURES,
    build_tiny_audioldm,
    strip_to_text_only,
    tiny_clap,
    tiny_tokenizer,
)
from torch import Tensor
from transformers import ClapFeatureExtractor, ClapModel

from voice2music.clip import Clip
from voice2music.conversion import convert
from voice2music.engines.audioldm.clap import (
    CAPTIONS,
    TRUSTED,
    AudioFeatures,
    TextTower,
    load_audio_tower,
    whole,
)
from voice2music.engines.audioldm.laion import read_laion
from voice2music.engines.audioldm.parts import load_parts
from voice2music.errors import CorruptCheckpoint, MissingCheckpoint

RATE = 48_000


def noise(seconds: float, seed: int = 0) -> Clip:
    """Noise with a swell, so that no two windows are alike."""
    count = round(seconds * RATE)
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, count) * np.linspace(0.1, 1, count)
    return Clip(samples.astype(np.float32), RATE)


def seeded(seed: int) -> ClapModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = tiny_clap()
        # The running statistics are part of the weights, and their defaults would hide a loss.
        norm = model.audio_model.audio_encoder.batch_norm
        norm.running_mean.uniform_(-30, -20)
        norm.running_var.uniform_(50, 100)
    return model


@pytest.mark.parametrize("seconds", [0.7, 3.0, 9.99, 10.0])
def test_features_equal_those_of_transformers(seconds: float) -> None:
    clip = noise(seconds)
    extractor = ClapFeatureExtractor(
        frequency_min=50, frequency_max=14_000, truncation="rand_trunc"
    )
    theirs = extractor(clip.samples[0], sampling_rate=RATE, return_tensors="pt").input_features
    mine = AudioFeatures()(clip)
    assert mine.shape == theirs.shape == (1, 1, 1001, 64)
    assert theirs.std() > 5
    torch.testing.assert_close(mine, theirs.float(), atol=2e-3, rtol=0)


def test_a_long_clip_is_read_to_its_end_without_chance() -> None:
    clip = noise(23.0)
    features = FEATURES(clip)
    assert len(features) == 3
    torch.testing.assert_close(features[:1], FEATURES(clip.cut(0, 10)))
    torch.testing.assert_close(features[2:], FEATURES(clip.cut(13, 23)))
    torch.testing.assert_close(features, FEATURES(clip))


def test_settings_of_features_survive_the_disk_and_transformers_reads_them(tmp_path: Path) -> None:
    FEATURES.write(tmp_path / "preprocessor_config.json")
    assert AudioFeatures.read(tmp_path / "preprocessor_config.json") == FEATURES
    extractor = ClapFeatureExtractor.from_pretrained(tmp_path)
    assert (extractor.hop_length, extractor.frequency_min) == (1920, 50.0)


def test_embeddings_equal_those_of_transformers() -> None:
    model, clip = seeded(0), noise(10.0)
    tower = whole(model, tiny_tokenizer(), FEATURES)
    with torch.no_grad():
        theirs = model.get_audio_features(FEATURES(clip)).pooler_output[0]
        tokens = tiny_tokenizer()(["a flute", "drums"], padding=True, return_tensors="pt")
        words = model.get_text_features(**tokens).pooler_output
    torch.testing.assert_close(tower.embed(clip), theirs)
    torch.testing.assert_close(
        TextTower(model, tiny_tokenizer()).embed(["a flute", "drums"]), words
    )
    assert float(words[0] @ words[1]) < 0.99


def test_a_quiet_or_high_rate_stereo_clip_is_no_obstacle() -> None:
    tower = whole(seeded(0), tiny_tokenizer(), FEATURES)
    for clip in (
        Clip(np.zeros((1, 16_000), np.float32), 16_000),
        Clip(np.ones((2, 96_000), np.float32) * 1e-6, 96_000),
        Clip(np.ones((1, 10), np.float32), 8_000),
    ):
        assert torch.isfinite(tower.embed(clip)).all()


def test_a_tower_agrees_with_its_own_text_tower_and_no_other() -> None:
    tower = whole(seeded(0), tiny_tokenizer(), FEATURES)
    own, other = (TextTower(seeded(seed), tiny_tokenizer()) for seed in (0, 1))
    assert tower.agreement(own) == pytest.approx(1.0, abs=1e-5)
    assert tower.agreement(other) < 0.9 < TRUSTED


def test_a_saved_tower_sounds_the_same_and_remembers_its_text_tower(tmp_path: Path) -> None:
    tower, clip = whole(seeded(0), tiny_tokenizer(), FEATURES), noise(4.0)
    tower.save(tmp_path / "audio_tower")
    again = load_audio_tower(tmp_path / "audio_tower", tiny_tokenizer())
    torch.testing.assert_close(again.embed(clip), tower.embed(clip))
    assert again.agreement(TextTower(seeded(0), tiny_tokenizer())) == pytest.approx(1, abs=1e-4)
    assert again.agreement(TextTower(seeded(1), tiny_tokenizer())) < TRUSTED


def test_a_whole_clap_folder_serves_as_audio_tower(tmp_path: Path) -> None:
    model, clip = seeded(2), noise(4.0)
    model.save_pretrained(tmp_path)
    FEATURES.write(tmp_path / "preprocessor_config.json")
    tower = load_audio_tower(tmp_path, tiny_tokenizer())
    torch.testing.assert_close(
        tower.embed(clip), whole(model, tiny_tokenizer(), FEATURES).embed(clip)
    )
    assert tower.captions.shape == (len(CAPTIONS), 32)


def test_a_tower_saved_with_other_captions_is_not_compared(tmp_path: Path) -> None:
    whole(seeded(0), tiny_tokenizer(), FEATURES).save(tmp_path)
    values = json.loads((tmp_path / "captions.json").read_text())
    values["captions"][0] = "another one"
    (tmp_path / "captions.json").write_text(json.dumps(values))
    with pytest.raises(CorruptCheckpoint, match="other test captions"):
        load_audio_tower(tmp_path, tiny_tokenizer())


# laion_clap's naming, written out as its modules are built: HTSAT is `audio_branch`, RoBERTa is
# `text_branch`, and both projections are a Sequential of linear, ReLU, linear.
BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.self.relative_position_bias_table": "attn.relative_position_bias_table",
    "attention.self.relative_position_index": "attn.relative_position_index",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def in_laion_naming(model: ClapModel) -> dict[str, Tensor]:
    """The weights of `model` as laion_clap saves them, with all that it saves besides."""
    weights = model.state_dict()
    out = {
        "logit_scale_a": weights["logit_scale_a"],
        "logit_scale_t": weights["logit_scale_t"],
        "audio_branch.spectrogram_extractor.stft.conv_real.weight": torch.zeros(513, 1, 1024),
        "audio_branch.logmel_extractor.melW": torch.zeros(513, 16),
        "audio_branch.tscam_conv.weight": torch.zeros(527, 32, 2, 3),
        "audio_branch.head.weight": torch.zeros(527, 527),
        "text_transform.sequential.0.weight": torch.zeros(32, 32),
        "audio_transform.sequential.3.bias": torch.zeros(32),
        "text_branch.embeddings.position_ids": torch.arange(514)[None],
    }
    for tower in ("text", "audio"):
        for kind in ("weight", "bias"):
            for layer, place in (("linear1", 0), ("linear2", 2)):
                out[f"{tower}_projection.{place}.{kind}"] = weights[
                    f"{tower}_projection.{layer}.{kind}"
                ]
    for name, value in weights.items():
        if name.startswith("text_model.") and "_ids" not in name:
            out["text_branch." + name.removeprefix("text_model.")] = value
        if name.startswith("audio_model.audio_encoder."):
            out |= audio_in_laion_naming(
                name.removeprefix("audio_model.audio_encoder."), value, weights
            )
    encoder = model.audio_model.audio_encoder
    block = encoder.layers[0].blocks[1]
    mask = block.get_attn_mask(*encoder.input_resolutions[0], torch.float32, "cpu")
    assert mask is not None
    out["audio_branch.layers.0.blocks.1.attn_mask"] = mask
    return out


def audio_in_laion_naming(
    name: str, value: Tensor, weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    if ".attention.self.query." in name:
        full = "audio_model.audio_encoder." + name
        parts = [weights[full.replace("query", part)] for part in ("query", "key", "value")]
        return {
            "audio_branch." + name.replace("attention.self.query", "attn.qkv"): torch.cat(parts)
        }
    if ".attention.self.key." in name or ".attention.self.value." in name:
        return {}
    head, _, rest = name.partition(".blocks.")
    if rest:
        number, _, inner = rest.partition(".")
        for new, old in BLOCK.items():
            if inner.startswith(new):
                return {f"audio_branch.{head}.blocks.{number}.{old}{inner[len(new) :]}": value}
    return {"audio_branch." + name.replace("batch_norm", "bn0"): value}


def write(
    path: Path,
    prefix: str,
    change: Callable[[dict[str, Tensor]], None] | None = None,
    model: ClapModel | None = None,
) -> Path:
    weights = in_laion_naming(model or seeded(4))
    if change:
        change(weights)
    content = {"epoch": 15, "state_dict": {prefix + name: value for name, value in weights.items()}}
    if not prefix:
        content = content["state_dict"]
    torch.save(content, path)
    return path


@pytest.mark.parametrize("prefix", ["module.", "cond_stage_model.model.", ""])
def test_a_laion_file_gives_the_same_embeddings(tmp_path: Path, prefix: str) -> None:
    model = read_laion(write(tmp_path / "clap.pt", prefix))
    mine, theirs = (whole(clap, tiny_tokenizer(), FEATURES) for clap in (model, seeded(4)))
    torch.testing.assert_close(mine.embed(noise(7.0)), theirs.embed(noise(7.0)))
    # RoBERTa's layer norms add 1e-5, transformers' CLAP 1e-12: the embeddings differ by that much.
    torch.testing.assert_close(mine.captions, theirs.captions, atol=1e-4, rtol=0)
    assert theirs.captions.abs().mean() > 0.05
    assert mine.agreement(TextTower(seeded(4), tiny_tokenizer())) > 0.9999


def test_every_size_is_read_from_the_weights(tmp_path: Path) -> None:
    read = read_laion(write(tmp_path / "clap.pt", "module.")).config
    wanted = seeded(4).config
    for name in (
        "spec_size", "window_size", "depths", "num_attention_heads", "patch_embeds_hidden_size",
        "hidden_size", "num_mel_bins",
    ):  # fmt: skip
        assert getattr(read.audio_config, name) == getattr(wanted.audio_config, name), name
    for name in ("vocab_size", "num_hidden_layers", "intermediate_size", "num_attention_heads"):
        assert getattr(read.text_config, name) == getattr(wanted.text_config, name), name


def test_a_laion_file_gives_ears_to_the_audioldm_that_knows_its_words(tmp_path: Path) -> None:
    folder = strip_to_text_only(build_tiny_audioldm(tmp_path / "deaf"))
    assert load_parts(folder).audio is None
    clap = ClapModel(tiny_clap().config)
    text = load_parts(folder).text.model
    clap.text_model, clap.text_projection = text.text_model, text.text_projection
    fitting = write(tmp_path / "fits.pt", "module.", model=clap)
    other = write(tmp_path / "other.pt", "module.")

    with pytest.raises(CorruptCheckpoint, match="another text tower"):
        convert(other, folder)
    assert load_parts(folder).audio is None
    assert convert(fitting, folder).folder == folder
    heard = load_parts(folder)
    assert heard.deaf == ""
    assert heard.audio is not None
    assert heard.audio.features == AudioFeatures(bins=16)


def test_numbers_of_numpy_beside_the_weights_are_safe(tmp_path: Path) -> None:
    content = {"best_loss": np.float64(0.5), "step": np.int64(3), "state_dict": {
        "module." + name: value for name, value in in_laion_naming(seeded(4)).items()
    }}  # fmt: skip
    torch.save(content, tmp_path / "new.pt")
    old = (tmp_path / "new.pt").read_bytes()
    assert read_laion(tmp_path / "new.pt").config.projection_dim == 32
    assert b"numpy" in old


class Runs:
    """Unpickling it runs code."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


def test_a_file_that_could_run_code_is_refused_unless_trusted(tmp_path: Path) -> None:
    weights = {"module." + name: value for name, value in in_laion_naming(seeded(4)).items()}
    torch.save({"state_dict": weights, "extra": Runs(tmp_path / "ran")}, tmp_path / "bad.pt")
    with pytest.raises(CorruptCheckpoint, match="--trust"):
        read_laion(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()
    read_laion(tmp_path / "bad.pt", trust=True)
    assert (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_bytes_changed_at_random_never_escape_as_other_errors(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"module.audio_branch.bn0.weight": torch.zeros(3)}}, tmp_path / "a.pt"
    )
    with zipfile.ZipFile(tmp_path / "a.pt") as file:
        entries = {name: file.read(name) for name in file.namelist()}
    program = next(name for name in entries if name.endswith("data.pkl"))
    chance = random.Random(0)
    for _ in range(300):
        changed = bytearray(entries[program])
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        with zipfile.ZipFile(tmp_path / "b.pt", "w") as out:
            for name, content in (entries | {program: bytes(changed)}).items():
                out.writestr(name, content)
        with pytest.raises(CorruptCheckpoint):
            read_laion(tmp_path / "b.pt")


def drop(name: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda weights: weights.__delitem__(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("audio_branch.norm.weight"), "lacks"),
        (drop("text_branch.pooler.dense.bias"), "lacks"),
        (drop("audio_branch.patch_embed.proj.weight"), "not a whole"),
        (drop("audio_branch.bn0.weight"), "no CLAP audio tower"),
        (lambda w: w.update({"audio_branch.colour": torch.zeros(1)}), "unknown"),
        (
            lambda w: w.update({"audio_branch.patch_embed.mel_conv2d.bias": torch.zeros(1)}),
            "fusion",
        ),
        (lambda w: w.update({"audio_branch.norm.weight": torch.zeros(5)}), "not a whole"),
    ],
)
def test_files_that_do_not_fit_are_named(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], None], words: str
) -> None:
    with pytest.raises(CorruptCheckpoint, match=words):
        read_laion(write(tmp_path / "clap.pt", "module.", change))


def test_things_that_are_no_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match=r"no file 'gone.pt'"):
        read_laion(tmp_path / "gone.pt")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "list.pt").write_bytes(pickle.dumps([1, 2]))
    torch.save([torch.zeros(2)], tmp_path / "tensors.pt")
    for name in ("text.pt", "empty.pt", "list.pt", "tensors.pt"):
        with pytest.raises(CorruptCheckpoint, match=name):
            read_laion(tmp_path / name)
    torch.save({"state_dict": 5, 3: "three"}, tmp_path / "odd.pt")
    with pytest.raises(CorruptCheckpoint, match=r"odd\.pt"):
        read_laion(tmp_path / "odd.pt")
    whole_file = write(tmp_path / "clap.pt", "module.").read_bytes()
    for kept in (100, len(whole_file) // 2, len(whole_file) - 10):
        (tmp_path / "cut.pt").write_bytes(whole_file[:kept])
        with pytest.raises(CorruptCheckpoint, match=r"cut\.pt"):
            read_laion(tmp_path / "cut.pt")
    with pytest.raises(MissingCheckpoint, match=r"no config\.json"):
        load_audio_tower(tmp_path, tiny_tokenizer())
