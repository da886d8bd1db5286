"""Reading MusicGen-Melody fine-tunes as audiocraft saves them, and writing them in our layout.

audiocraft exports a folder with two torch files: `state_dict.bin`, the language model with its
conditioners, and `compression_state_dict.bin`, the codec (or only the name of a published one).
Each holds `best_state` (name to tensor) and `xp.cfg` (the training configuration as YAML). The T5
text encoder is not in them, since it is not trained; it is taken from another checkpoint.

The files are read without running code in them; a raw training checkpoint, whose configuration is
a pickled object, needs its owner's trust.
"""

import json
import math
import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import yaml  # type: ignore[import-untyped]
from safetensors import safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    EncodecConfig,
    EncodecModel,
    MusicgenMelodyConfig,
    MusicgenMelodyForCausalLM,
    MusicgenMelodyForConditionalGeneration,
    PreTrainedModel,
    T5EncoderModel,
)
from transformers.models.musicgen_melody.configuration_musicgen_melody import (
    MusicgenMelodyDecoderConfig,
)

from voice2music.checkpoints import SUGGESTION, locate
from voice2music.errors import CorruptCheckpoint, MissingCheckpoint, MissingPackage

Weights = dict[str, Tensor]
Config = dict[str, Any]

LANGUAGE, CODEC = "state_dict.bin", "compression_state_dict.bin"
TOKENIZER_FILES: Final = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "spiece.model",
)  # fmt: skip

# audiocraft's name → ours; the first pattern that fits counts
LANGUAGE_NAMES: Final = (
    (r"emb\.(\d+)\.weight", r"decoder.model.decoder.embed_tokens.\1.weight"),
    (r"linears\.(\d+)\.weight", r"decoder.lm_heads.\1.weight"),
    (r"out_norm\.(weight|bias)", r"decoder.model.decoder.layer_norm.\1"),
    (r"transformer\.layers\.(\d+)\.norm1\.(\w+)", r"@\1.self_attn_layer_norm.\2"),
    (r"transformer\.layers\.(\d+)\.norm2\.(\w+)", r"@\1.final_layer_norm.\2"),
    (r"transformer\.layers\.(\d+)\.linear([12])\.weight", r"@\1.fc\2.weight"),
    (r"transformer\.layers\.(\d+)\.self_attn\.out_proj\.weight", r"@\1.self_attn.out_proj.weight"),
    (r"condition_provider\.conditioners\.description\.output_proj\.(\w+)", r"enc_to_dec_proj.\1"),
    (
        r"condition_provider\.conditioners\.self_wav\.output_proj\.(\w+)",
        r"audio_enc_to_dec_proj.\1",
    ),
)
QUERY_KEY_VALUE: Final = re.compile(r"transformer\.layers\.(\d+)\.self_attn\.in_proj_weight")
NOT_WEIGHTS: Final = re.compile(r"condition_provider\.conditioners\.self_wav\.chroma\.")
CODEC_NAMES: Final = (
    (r"quantizer\.vq\.layers\.(\d+)\._codebook\.(\w+)", r"quantizer.layers.\1.codebook.\2"),
    (r"(encoder|decoder)\.model\.(\d+)\.lstm\.(\w+)", r"\1.layers.\2.lstm.\3"),
    (r"(encoder|decoder)\.model\.([\w.]+?)\.(conv|convtr)\.\3\.bias", r"\1.layers.\2.conv.bias"),
    (
        r"(encoder|decoder)\.model\.([\w.]+?)\.(conv|convtr)\.\3\.weight_g",
        r"\1.layers.\2.conv.parametrizations.weight.original0",
    ),
    (
        r"(encoder|decoder)\.model\.([\w.]+?)\.(conv|convtr)\.\3\.weight_v",
        r"\1.layers.\2.conv.parametrizations.weight.original1",
    ),
)


@dataclass(frozen=True, eq=False)
class Package:
    """One of audiocraft's files: its tensors and its configuration."""

    name: str
    state: Weights
    config: Config

    def setting(self, path: str, default: Any = None) -> Any:  # noqa: ANN401
        """The setting at a dotted path, `${other.path}` references followed."""
        value: Any = self.config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        reference = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
        if reference:
            return self.setting(reference[1], default)
        return default if value is None else value

    def needed(self, path: str) -> Any:  # noqa: ANN401
        """`setting`, or the complaint that it is missing."""
        if (value := self.setting(path)) is None:
            raise CorruptCheckpoint(f"'{self.name}' does not state {path} in its configuration.")
        return value


def convert_audiocraft(
    source: Path, out: Path, *, donor: Path | None = None, trust: bool = False
) -> Path:
    """Write an audiocraft fine-tune of MusicGen-Melody as a folder that `load` opens.

    Args:
        source: folder with `state_dict.bin` and `compression_state_dict.bin`.
        out: folder to make; it appears whole or not at all.
        donor: where the text encoder and its tokenizer (and, where the codec is only named, the
            codec) come from: a MusicGen-Melody folder, or the folder of a T5; `musicgen-melody`
            by default.
        trust: read pickles that may run code.
    Raises:
        MissingCheckpoint: a file, or the donor, is not there.
        CorruptCheckpoint: not this format, not a melody model, not safe without `trust`.
    """
    language = read_package(source / LANGUAGE, trust)
    codec = read_package(source / CODEC, trust)
    donor = donor or _usual_donor()
    weights = language_weights(language)
    model = _assembled(language, weights, _codec(codec, donor), _text_encoder(donor))
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    for name in TOKENIZER_FILES:
        if (donor / name).is_file():
            shutil.copyfile(donor / name, partial / name)
    (partial / "preprocessor_config.json").write_text(json.dumps(_extractor(language), indent=1))
    about = {"made_from": "an audiocraft fine-tune", "note": f"Converted from {source.name}."}
    (partial / "voice2music.json").write_text(json.dumps(about, indent=1))
    if out.is_dir():
        out.rmdir()
    return partial.rename(out)


def read_package(file: Path, trust: bool) -> Package:
    """Open one of audiocraft's files; see `convert_audiocraft` for what can go wrong."""
    if not file.is_file():
        raise MissingCheckpoint(f"There is no '{file.parent.name}/{file.name}'.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust:
            raise CorruptCheckpoint(
                f"'{file.name}' holds more than tensors, so reading it could run code. Export it "
                f"with audiocraft's export_lm, or, if it is your own, convert it with --trust."
            ) from error
        content = _trusted(file)
    except (RuntimeError, EOFError, ValueError) as error:
        raise CorruptCheckpoint(f"'{file.name}' is damaged or no torch file: {error}") from error
    if not isinstance(content, dict) or not {"best_state", "pretrained"} & set(content):
        raise CorruptCheckpoint(
            f"'{file.name}' is not in audiocraft's format: it holds no best_state."
        )
    state = content.get("best_state", {})
    config = _plain(content.get("xp.cfg", {}), file)
    if "pretrained" in content:
        config = {"pretrained": content["pretrained"]}
    return Package(file.name, state.get("model", state), config)


def language_weights(package: Package) -> Weights:
    """The language model's and the conditioners' tensors under our names, in float32."""
    out: Weights = {}
    for name, value in package.state.items():
        if NOT_WEIGHTS.match(name):
            continue
        if packed := QUERY_KEY_VALUE.fullmatch(name):
            for part, third in zip("qkv", value.chunk(3), strict=True):
                out[f"@{packed[1]}.self_attn.{part}_proj.weight"] = third
        else:
            out[_renamed(name, LANGUAGE_NAMES, package.name)] = value
    if "audio_enc_to_dec_proj.weight" not in out:
        raise CorruptCheckpoint(
            f"'{package.name}' is a MusicGen without melody, which cannot follow a voice. Take a "
            f"fine-tune of musicgen-melody."
        )
    layers = "decoder.model.decoder.layers."
    return {name.replace("@", layers): value.float() for name, value in out.items()}


def codec_weights(package: Package) -> Weights:
    """The codec's tensors under our names, in float32."""
    return {
        _renamed(name, CODEC_NAMES, package.name): value.float()
        for name, value in package.state.items()
    }


def _renamed(name: str, table: tuple[tuple[str, str], ...], file: str) -> str:
    for pattern, replacement in table:
        if (match := re.fullmatch(pattern, name)) is not None:
            return match.expand(replacement)
    raise CorruptCheckpoint(
        f"'{file}' holds the weight {name!r}, which MusicGen-Melody does not have."
    )


def _trusted(file: Path) -> Any:  # noqa: ANN401
    try:
        return torch.load(file, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"'{file.name}' needs the package {error.name} to be read: pip install {error.name}"
        ) from error


def _plain(config: Any, file: Path) -> Config:  # noqa: ANN401
    """The configuration as plain values: YAML text, a dict, or a (trusted) omegaconf object."""
    if not isinstance(config, str | dict):
        from omegaconf import OmegaConf  # type: ignore[import-not-found]

        config = OmegaConf.to_yaml(config)
    try:
        plain = yaml.safe_load(config) if isinstance(config, str) else config
    except yaml.YAMLError as error:
        raise CorruptCheckpoint(f"The configuration in '{file.name}' is not YAML.") from error
    return plain if isinstance(plain, dict) else {}


def _usual_donor() -> Path:
    name = SUGGESTION["musicgen"]
    try:
        return locate(name).folder
    except MissingCheckpoint as error:
        raise MissingCheckpoint(
            f"audiocraft's files lack the T5 text encoder; it is taken from '{name}', which is not "
            f"on this machine: voice2music models fetch {name}"
        ) from error


def _assembled(
    package: Package, weights: Weights, codec: EncodecModel, text: T5EncoderModel
) -> MusicgenMelodyForConditionalGeneration:
    """The three parts as one model, every weight accounted for."""
    projection = weights["enc_to_dec_proj.weight"]
    if projection.shape[1] != text.config.d_model:
        raise CorruptCheckpoint(
            f"'{package.name}' was trained with a text encoder of width {projection.shape[1]}, "
            f"but the one at hand has {text.config.d_model}. Name the right one."
        )
    extractor = _extractor(package)
    samples = extractor["chunk_length"] * extractor["sampling_rate"]
    decoder_config = _decoder_config(package, weights)
    config = MusicgenMelodyConfig(
        text_encoder=text.config.to_dict(),
        audio_encoder=codec.config.to_dict(),
        decoder=decoder_config.to_dict(),
        num_chroma=weights["audio_enc_to_dec_proj.weight"].shape[1],
        chroma_length=1 + samples // extractor["hop_length"],
    )
    decoder = MusicgenMelodyForCausalLM(decoder_config)
    model = MusicgenMelodyForConditionalGeneration(config, text, codec, decoder).eval()
    rest = {k: v for k, v in model.state_dict().items() if k.startswith(("text_", "audio_encoder"))}
    _fill(model, rest | weights, package.name)
    return model


def _decoder_config(package: Package, weights: Weights) -> MusicgenMelodyDecoderConfig:
    """Sizes from the tensors; what they do not show from the configuration."""
    if package.setting("transformer_lm.positional_embedding", "sin") != "sin":
        raise CorruptCheckpoint(f"'{package.name}' uses other position embeddings than MusicGen's.")
    prepend = package.setting("fuser.prepend", ["self_wav", "description"])
    if list(prepend) != ["self_wav", "description"]:
        raise CorruptCheckpoint(f"'{package.name}' takes its conditions in another order.")
    tokens = "decoder.model.decoder.embed_tokens."
    layer = "decoder.model.decoder.layers.{}.fc1.weight"
    books = sum(name.startswith(tokens) for name in weights)
    rows, width = weights[f"{tokens}0.weight"].shape
    stereo = bool(package.setting("interleave_stereo_codebooks.use", False))
    return MusicgenMelodyDecoderConfig(
        vocab_size=rows - 1,
        hidden_size=width,
        ffn_dim=weights[layer.format(0)].shape[0],
        num_hidden_layers=sum(layer.format(i) in weights for i in range(len(weights))),
        num_attention_heads=package.needed("transformer_lm.num_heads"),
        num_codebooks=books,
        audio_channels=2 if stereo else 1,
        pad_token_id=rows - 1,
        bos_token_id=rows - 1,
    )


def _extractor(package: Package) -> Config:
    """The chroma extractor's settings, as the library's preprocessor_config.json has them."""
    chroma = "conditioners.self_wav.chroma_stem"
    n_fft = 2 ** int(package.setting(f"{chroma}.radix2_exp", 14))
    return {
        "feature_extractor_type": "MusicgenMelodyFeatureExtractor",
        "sampling_rate": int(package.setting(f"{chroma}.sample_rate", 32_000)),
        "n_fft": n_fft,
        "hop_length": n_fft // 4,
        "num_chroma": int(package.setting(f"{chroma}.n_chroma", 12)),
        "feature_size": int(package.setting(f"{chroma}.n_chroma", 12)),
        "chunk_length": int(package.setting("dataset.segment_duration", 30)),
    }


def _codec(package: Package, donor: Path) -> EncodecModel:
    """The codec in the file, or the donor's where the file only names one."""
    if (named := package.config.get("pretrained")) is not None:
        if "encodec" not in str(named) or not _is_musicgen(donor):
            raise CorruptCheckpoint(
                f"The codec {named!r} is only named, not included, and '{donor.name}' has none."
            )
        config = AutoConfig.from_pretrained(donor, local_files_only=True).audio_encoder
        codec = EncodecModel(config).eval()
        _fill(codec, _part(donor, "audio_encoder."), donor.name)
        return codec
    codec = EncodecModel(_codec_config(package)).eval()
    _fill(codec, codec_weights(package), package.name)
    return codec


def _codec_config(package: Package) -> EncodecConfig:
    if package.setting("seanet.decoder.final_activation") or package.setting(
        "encodec.renormalize", False
    ):
        raise CorruptCheckpoint(f"'{package.name}' holds a codec of another kind than MusicGen's.")
    ratios = [int(ratio) for ratio in package.needed("seanet.ratios")]
    rate, bins = int(package.needed("sample_rate")), int(package.needed("rvq.bins"))
    frame_rate = math.ceil(rate / math.prod(ratios))
    bits = int(package.needed("rvq.n_q")) * frame_rate * math.ceil(math.log2(bins))
    return EncodecConfig(
        sampling_rate=rate,
        audio_channels=int(package.setting("seanet.channels", 1)),
        target_bandwidths=[
            math.nextafter(bits / 1000, math.inf)
        ],  # kbit/s; the library rounds down
        upsampling_ratios=ratios,
        codebook_size=bins,
        hidden_size=package.needed("seanet.dimension"),
        num_filters=package.needed("seanet.n_filters"),
        num_residual_layers=package.setting("seanet.n_residual_layers", 1),
        kernel_size=package.setting("seanet.kernel_size", 7),
        last_kernel_size=package.setting("seanet.last_kernel_size", 7),
        residual_kernel_size=package.setting("seanet.residual_kernel_size", 3),
        dilation_growth_rate=package.setting("seanet.dilation_base", 2),
        compress=package.setting("seanet.compress", 2),
        num_lstm_layers=package.setting("seanet.lstm", 2),
        pad_mode=package.setting("seanet.pad_mode", "constant"),
        norm_type=package.setting("seanet.norm", "weight_norm"),
        use_causal_conv=package.setting("seanet.causal", False),
        use_conv_shortcut=not package.setting("seanet.true_skip", True),
        trim_right_ratio=package.setting("seanet.decoder.trim_right_ratio", 1.0),
        normalize=False,
    )


def _text_encoder(donor: Path) -> T5EncoderModel:
    """The T5 encoder of a MusicGen folder, or of a T5's own."""
    if not _is_musicgen(donor):
        return T5EncoderModel.from_pretrained(donor, local_files_only=True).eval()
    config = AutoConfig.from_pretrained(donor, local_files_only=True).text_encoder
    encoder = T5EncoderModel(config).eval()
    weights = _part(donor, "text_encoder.")
    shared, own = "shared.weight", "encoder.embed_tokens.weight"  # one tensor under two names
    kept = weights.get(shared, weights.get(own))
    _fill(encoder, weights | ({} if kept is None else {shared: kept, own: kept}), donor.name)
    return encoder


def _is_musicgen(folder: Path) -> bool:
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return bool(config.model_type == "musicgen_melody")


def _part(folder: Path, prefix: str) -> Weights:
    """The tensors of one part of a model, without reading the others."""
    found: Weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            names = [name for name in tensors.keys() if name.startswith(prefix)]  # noqa: SIM118
            found |= {name.removeprefix(prefix): tensors.get_tensor(name) for name in names}
    return found


def _fill(model: PreTrainedModel, weights: Weights, name: str) -> None:
    """Give the model its weights, each and every one."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CorruptCheckpoint(f"'{name}' does not fit the model: {error}") from error
