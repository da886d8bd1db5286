"""Fine-tunes as audiocraft exports them: written here in its format, from a tiny random model.

The names below are audiocraft 1.3's (LMModel, T5Conditioner, ChromaStemConditioner, SEANet,
ResidualVectorQuantization); the layout of the files is that of its `utils/export.py`.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from test_musicgen import asked, run, share_changed, sung, tokens
from tiny_musicgen import build_tiny_musicgen

from voice2music.checkpoints import locate
from voice2music.conversion import convert
from voice2music.engines.musicgen import MusicGen, load
from voice2music.engines.musicgen.audiocraft import Package, convert_audiocraft, language_weights
from voice2music.engines.musicgen.engine import About
from voice2music.engines.musicgen.format import read_format
from voice2music.engines.musicgen.loading import text_tokenizer, whole_model
from voice2music.errors import BadRequest, CorruptCheckpoint, MissingCheckpoint

Weights = dict[str, torch.Tensor]
SELF_WAV = "condition_provider.conditioners.self_wav"


def language_state(engine: MusicGen) -> Weights:
    """The engine's language model under audiocraft's names."""
    state = engine._model.state_dict()
    out: Weights = {f"{SELF_WAV}.chroma.spec.window": torch.hann_window(16_384)}
    out |= {f"{SELF_WAV}.output_proj.{k}": state[f"audio_enc_to_dec_proj.{k}"] for k in WB}
    text = "condition_provider.conditioners.description.output_proj"
    out |= {f"{text}.{k}": state[f"enc_to_dec_proj.{k}"] for k in WB}
    out |= {f"out_norm.{k}": state[f"decoder.model.decoder.layer_norm.{k}"] for k in WB}
    for book in range(engine._model.decoder.num_codebooks):
        out[f"emb.{book}.weight"] = state[f"decoder.model.decoder.embed_tokens.{book}.weight"]
        out[f"linears.{book}.weight"] = state[f"decoder.lm_heads.{book}.weight"]
    for layer in range(2):
        ours, theirs = f"decoder.model.decoder.layers.{layer}", f"transformer.layers.{layer}"
        packed = [state[f"{ours}.self_attn.{part}_proj.weight"] for part in "qkv"]
        out[f"{theirs}.self_attn.in_proj_weight"] = torch.cat(packed)
        out[f"{theirs}.self_attn.out_proj.weight"] = state[f"{ours}.self_attn.out_proj.weight"]
        for a, b in (("linear1", "fc1"), ("linear2", "fc2")):
            out[f"{theirs}.{a}.weight"] = state[f"{ours}.{b}.weight"]
        for a, b in (("norm1", "self_attn_layer_norm"), ("norm2", "final_layer_norm")):
            out |= {f"{theirs}.{a}.{k}": state[f"{ours}.{b}.{k}"] for k in WB}
    return out


WB = ("weight", "bias")


def codec_state(engine: MusicGen) -> Weights:
    """The engine's codec under audiocraft's names."""
    transposed = {3, 6, 9, 12}  # of the decoder's layers, with four strides
    out: Weights = {}
    for name, value in engine._model.audio_encoder.state_dict().items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        name = name.replace("quantizer.layers", "quantizer.vq.layers")
        name = name.replace(".codebook.", "._codebook.").replace("coder.layers.", "coder.model.")
        if ".conv." in name:
            layer = re.match(r"decoder\.model\.(\d+)\.conv", name)
            kind = "convtr" if layer and int(layer[1]) in transposed else "conv"
            name = name.replace(".conv.", f".{kind}.{kind}.")
        out[name] = value
    return out


LANGUAGE_CONFIG: dict[str, Any] = {
    "solver": "musicgen",
    "sample_rate": 32_000,
    "transformer_lm": {"dim": 24, "num_heads": 2, "num_layers": 2, "n_q": 4, "card": 32},
    "fuser": {"prepend": ["self_wav", "description"], "cross": [], "sum": []},
    "conditioners": {
        "self_wav": {
            "model": "chroma_stem",
            "chroma_stem": {"sample_rate": "${sample_rate}", "n_chroma": 12, "radix2_exp": 14},
        },
        "description": {"model": "t5", "t5": {"name": "t5-base"}},
    },
    "dataset": {"segment_duration": 2},
}
CODEC_CONFIG: dict[str, Any] = {
    "sample_rate": 16_000,
    "channels": 1,
    "encodec": {"causal": False, "renormalize": False, "channels": "${channels}"},
    "seanet": {
        "dimension": 8,
        "channels": "${channels}",
        "causal": "${encodec.causal}",
        "n_filters": 2,
        "ratios": [8, 5, 4, 4],
        "pad_mode": "reflect",
        "true_skip": True,
        "lstm": 2,
        "decoder": {"trim_right_ratio": 1.0, "final_activation": None},
    },
    "rvq": {"n_q": 4, "bins": 32},
}


def save(file: Path, state: Weights, config: object) -> None:
    content = {"best_state": state, "xp.cfg": config, "version": "1.3.0", "exported": True}
    torch.save(content, file)


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_musicgen(tmp_path_factory.mktemp("audiocraft") / "donor")


def whole(folder: Path) -> MusicGen:
    """An engine that keeps the library's weights beside its own."""
    model, about = whole_model(folder, torch.float32), About("whole", "", "MIT", True)
    return MusicGen(model, text_tokenizer(folder), read_format(folder), about)


@pytest.fixture(scope="module")
def tuned(donor: Path) -> MusicGen:
    """The model that the fine-tune holds: the donor's text encoder, all else of its own."""
    other = whole(build_tiny_musicgen(donor.parent / "tuned", seed=9))
    own = load(donor, "cpu")
    other._model.text_encoder.load_state_dict(own._model.text_encoder.state_dict())
    return other


@pytest.fixture
def export(tuned: MusicGen, tmp_path: Path) -> Path:
    """A folder as audiocraft's export functions leave it (the language model in half precision
    in the published ones; in full here, so that equality can be asked for)."""
    folder = tmp_path / "my-fine-tune"
    folder.mkdir()
    save(folder / "state_dict.bin", language_state(tuned), yaml.safe_dump(LANGUAGE_CONFIG))
    codec = codec_state(tuned)
    save(folder / "compression_state_dict.bin", codec, yaml.safe_dump(CODEC_CONFIG))
    return folder


def test_the_test_writes_audiocrafts_own_names(tuned: MusicGen) -> None:
    """As its modules name them, one of each kind, so that the writer above cannot drift."""
    assert {
        "emb.0.weight",
        "transformer.layers.0.self_attn.in_proj_weight",
        "transformer.layers.0.linear1.weight",
        "transformer.layers.0.norm1.bias",
        "out_norm.weight",
        "linears.3.weight",
        "condition_provider.conditioners.description.output_proj.weight",
        "condition_provider.conditioners.self_wav.output_proj.bias",
    } <= set(language_state(tuned))
    assert {
        "encoder.model.0.conv.conv.weight_g",
        "encoder.model.1.block.3.conv.conv.weight_v",
        "encoder.model.13.lstm.weight_ih_l0",
        "decoder.model.3.convtr.convtr.weight_g",
        "decoder.model.15.conv.conv.bias",
        "quantizer.vq.layers.3._codebook.embed_avg",
    } <= set(codec_state(tuned))


def test_a_converted_fine_tune_plays_the_same_tokens_and_sound(
    tuned: MusicGen, export: Path, donor: Path, tmp_path: Path
) -> None:
    converted = load(convert_audiocraft(export, tmp_path / "out", donor=donor), "cpu")
    job = asked(sung(60, 64, 67, 72), negative="happy")
    assert share_changed(tokens(tuned, job), tokens(converted, job)) == 0
    expected, got = run(tuned, job).audio, run(converted, job).audio
    assert expected.samples.std() > 0.01
    np.testing.assert_allclose(got.samples, expected.samples, atol=1e-5)
    plain = load(donor, "cpu")
    assert share_changed(tokens(plain, job), tokens(converted, job)) > 0.3  # not the donor's


def test_the_converted_folder_is_a_checkpoint_like_any_other(
    export: Path, donor: Path, tmp_path: Path
) -> None:
    checkpoint = convert(export, tmp_path / "out", donor=donor)
    assert (checkpoint.name, checkpoint.engine) == ("out", "musicgen")
    assert not checkpoint.commercial
    assert locate(tmp_path / "out").sha256 == checkpoint.sha256
    files = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert "model.safetensors" in files
    assert not any(file.endswith(".bin") for file in files)
    extractor = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert (extractor["sampling_rate"], extractor["hop_length"]) == (32_000, 4_096)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["chroma_length"] == 16


def test_half_precision_exports_are_read(
    tuned: MusicGen, export: Path, donor: Path, tmp_path: Path
) -> None:
    half = {name: value.half() for name, value in language_state(tuned).items()}
    save(export / "state_dict.bin", half, yaml.safe_dump(LANGUAGE_CONFIG))
    engine = whole(convert_audiocraft(export, tmp_path / "out", donor=donor))
    ours, theirs = (e._model.decoder.lm_heads[0].weight for e in (engine, tuned))
    torch.testing.assert_close(ours, theirs, atol=2e-3 * theirs.abs().max().item(), rtol=1e-3)


def test_a_codec_that_is_only_named_comes_from_the_donor(
    export: Path, donor: Path, tmp_path: Path
) -> None:
    named = {"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1.3.0"}
    torch.save(named, export / "compression_state_dict.bin")
    engine = load(convert_audiocraft(export, tmp_path / "out", donor=donor), "cpu")
    own = load(donor, "cpu")._model.audio_encoder.state_dict()
    got = engine._model.audio_encoder.state_dict()
    assert all(torch.equal(own[name], got[name]) for name in own)


def test_a_plain_t5_can_be_the_donor(export: Path, donor: Path, tmp_path: Path) -> None:
    t5 = tmp_path / "t5"
    own = load(donor, "cpu")
    own._model.text_encoder.save_pretrained(t5)
    own._tokenizer.save_pretrained(t5)
    engine = load(convert_audiocraft(export, tmp_path / "out", donor=t5), "cpu")
    job = asked(sung(60, 64))
    one, other = engine._words(job).asked, load(donor, "cpu")
    hidden = [e._model.text_encoder.state_dict() for e in (engine, other)]
    assert all(torch.equal(hidden[0][name], hidden[1][name]) for name in hidden[1])
    assert one.abs().max() > 0


class Runs:
    """A pickle that creates a file when it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    export: Path, donor: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    save(export / "state_dict.bin", {}, Runs(mark))
    with pytest.raises(CorruptCheckpoint, match="--trust"):
        convert(export, tmp_path / "out", donor=donor)
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_ones_own_training_checkpoint_is_read_when_trusted(
    tuned: MusicGen, export: Path, donor: Path, tmp_path: Path
) -> None:
    """Its state lies one level deeper, and it may hold objects such as paths."""
    content = {
        "best_state": {"model": language_state(tuned)},
        "xp.cfg": LANGUAGE_CONFIG,
        "fsdp_best_state": {},
        "xp.folder": tmp_path,
    }
    torch.save(content, export / "state_dict.bin")
    with pytest.raises(CorruptCheckpoint, match="more than tensors"):
        convert(export, tmp_path / "out", donor=donor)
    converted = convert(export, tmp_path / "out", donor=donor, trust=True)
    job = asked(sung(60, 64))
    assert share_changed(tokens(tuned, job), tokens(load(converted, "cpu"), job)) == 0


def test_a_model_without_melody_is_named(tuned: MusicGen, export: Path, donor: Path) -> None:
    state = {k: v for k, v in language_state(tuned).items() if "self_wav" not in k}
    save(export / "state_dict.bin", state, yaml.safe_dump(LANGUAGE_CONFIG))
    with pytest.raises(CorruptCheckpoint, match="without melody"):
        convert(export, export.parent / "out", donor=donor)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("fuser", "prepend"), ["description", "self_wav"], "another order"),
        (("transformer_lm", "positional_embedding"), "rope", "position embeddings"),
        (("transformer_lm", "num_heads"), None, "num_heads"),
    ],
)
def test_a_model_of_another_build_is_named(
    tuned: MusicGen, export: Path, donor: Path, path: tuple[str, str], value: object, complaint: str
) -> None:
    config = json.loads(json.dumps(LANGUAGE_CONFIG))
    config[path[0]][path[1]] = value
    save(export / "state_dict.bin", language_state(tuned), yaml.safe_dump(config))
    with pytest.raises(CorruptCheckpoint, match=complaint):
        convert(export, export.parent / "out", donor=donor)


def test_unknown_and_missing_weights_are_named(tuned: MusicGen, export: Path, donor: Path) -> None:
    state = language_state(tuned)
    with pytest.raises(CorruptCheckpoint, match="cross_attention"):
        language_weights(
            Package("x", state | {"transformer.layers.0.cross_attention.w": torch.ones(1)}, {})
        )
    state.pop("transformer.layers.1.norm1.weight")
    save(export / "state_dict.bin", state, yaml.safe_dump(LANGUAGE_CONFIG))
    with pytest.raises(CorruptCheckpoint, match="self_attn_layer_norm"):
        convert(export, export.parent / "out", donor=donor)


def test_a_donor_of_another_width_is_named(export: Path, tmp_path: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    wide = T5Config(vocab_size=10, d_model=20, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(wide).save_pretrained(tmp_path / "wide")
    with pytest.raises(CorruptCheckpoint, match="width 16"):
        convert(export, tmp_path / "out", donor=tmp_path / "wide")


def test_files_of_other_kinds_are_named(export: Path, donor: Path, tmp_path: Path) -> None:
    (export / "state_dict.bin").write_bytes(b"not a torch file at all")
    with pytest.raises(CorruptCheckpoint):
        convert(export, tmp_path / "out", donor=donor)
    torch.save({"weights": {}}, export / "state_dict.bin")
    with pytest.raises(CorruptCheckpoint, match="best_state"):
        convert(export, tmp_path / "out", donor=donor)
    (export / "compression_state_dict.bin").unlink()
    torch.save({"best_state": {}}, export / "state_dict.bin")
    with pytest.raises(MissingCheckpoint, match=r"compression_state_dict\.bin"):
        convert(export, tmp_path / "out", donor=donor)
    with pytest.raises(CorruptCheckpoint, match="cannot|format"):
        convert(donor, tmp_path / "out")


def test_nothing_is_overwritten(export: Path, donor: Path) -> None:
    with pytest.raises(BadRequest, match="exists already"):
        convert(export, donor, donor=donor)


def test_without_a_text_encoder_it_says_where_to_get_one(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE2MUSIC_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingCheckpoint, match="models fetch musicgen-melody"):
        convert(export, tmp_path / "out")
