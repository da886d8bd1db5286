"""Reading CLAP weights in laion_clap's own naming (.pt), as transformers' ClapModel.

Also reads the CLAP inside an original AudioLDM file (.ckpt), which holds both towers. Sizes are
inferred from the weights, so HTSAT-tiny, -base and -large all work.
"""

import math
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from voice2music.engines.audioldm.reading import COMPUTED
from voice2music.errors import CorruptCheckpoint, MissingCheckpoint

if TYPE_CHECKING:
    from transformers import ClapConfig, ClapModel

# What torch's safe unpickler raises on damaged files (found by changing bytes at random).
DAMAGE = (
    RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError,
    AssertionError, struct.error,
)  # fmt: skip
Weights = dict[str, Tensor]

# laion_clap's name (after the tower's prefix) → transformers' name
AUDIO_NAMES = (
    (r"^bn0\.", "batch_norm."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
# Parts of laion_clap's model that take no part in the embeddings: the spectrogram (a fixed
# transform, done by `AudioFeatures`), class heads, masks that are computed, and a second pair of
# projections ("transform") used in its training only.
UNUSED = re.compile(
    r"^audio_branch\.(spectrogram_extractor|logmel_extractor|head|tscam_conv)\."
    r"|\.attn_mask$|position_ids$|token_type_ids$|^(text|audio)_transform\."
)


def read_laion(path: Path, trust: bool = False) -> "ClapModel":
    """A ClapModel out of a laion_clap .pt or an original AudioLDM .ckpt file, on the CPU.

    Args:
        path: the file.
        trust: allow a file that holds more than tensors and plain values; such a file can run
            any code while it is read.
    Raises:
        MissingCheckpoint: no such file.
        CorruptCheckpoint: unsafe without `trust`, not CLAP, of the fusion kind, or not whole.
    """
    from transformers import ClapModel

    if not path.is_file():
        raise MissingCheckpoint(f"There is no file '{path.name}'. Check its name and place.")
    weights = _clap_weights(path, trust)
    if any("mel_conv2d" in key for key in weights):
        raise CorruptCheckpoint(
            f"'{path.name}' is a CLAP of the 'fusion' kind, which AudioLDM was not trained with. "
            f"Use an unfused one, such as music_speech_epoch_15_esc_89.25.pt."
        )
    try:
        model = ClapModel(_config(weights)).eval()
        missing, unexpected = model.load_state_dict(renamed(weights), strict=False)
    except (KeyError, RuntimeError) as error:
        raise CorruptCheckpoint(f"'{path.name}' is not a whole laion_clap: {error}") from error
    lacking = [key for key in missing if not key.endswith(COMPUTED)]
    if lacking or unexpected:
        raise CorruptCheckpoint(
            f"'{path.name}' does not fit laion_clap's layout: lacks {lacking[:3]}, "
            f"has unknown {unexpected[:3]}."
        )
    return model


def renamed(weights: Weights) -> Weights:
    """laion_clap's weights under the names of transformers' ClapModel; unused ones left out."""
    out: Weights = {}
    for key, value in weights.items():
        if not UNUSED.search(key):
            out.update(_renamed(key, value))
    return out


def _renamed(key: str, value: Tensor) -> Weights:
    branch, _, rest = key.partition(".")
    if branch == "text_branch":
        return {f"text_model.{rest}": value}
    if branch in ("text_projection", "audio_projection"):
        # a Sequential of linear, activation, linear
        layer, _, kind = rest.partition(".")
        return {f"{branch}.linear{1 if layer == '0' else 2}.{kind}": value}
    if branch != "audio_branch":
        return {key: value}
    for old, new in AUDIO_NAMES:
        rest = re.sub(old, new, rest)
    name = f"audio_model.audio_encoder.{rest}"
    if ".qkv." not in name:
        return {name: value}
    parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
    return {name.replace("qkv", part): chunk for part, chunk in parts}


def _clap_weights(path: Path, trust: bool) -> Weights:
    """The file's CLAP weights, prefixes stripped: "audio_branch.…", "text_branch.…"."""
    content = _unpickled(path, trust)
    nested = content.get("state_dict")
    weights = nested if isinstance(nested, dict) else content
    for prefix in ("module.", "cond_stage_model.model.", "model.", ""):
        if f"{prefix}audio_branch.bn0.weight" in weights:
            return {
                key.removeprefix(prefix): value
                for key, value in weights.items()
                if str(key).startswith(prefix) and isinstance(value, Tensor)
            }
    raise CorruptCheckpoint(
        f"'{path.name}' holds no CLAP audio tower of the HTSAT kind. Give a laion_clap .pt file "
        f"or an original AudioLDM .ckpt file."
    )


def _unpickled(path: Path, trust: bool) -> dict[str, Any]:
    # NumPy numbers, such as a best loss, lie beside the weights in training checkpoints; these
    # types carry data only. Files of before NumPy 2 name the first by its old module.
    scalar: Any = np.float64(0).__reduce__()[0]
    numpy_data: list[Any] = [
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
    ]
    if not zipfile.is_zipfile(path):
        raise CorruptCheckpoint(
            f"'{path.name}' is not a whole file of torch weights. Fetch or copy it again."
        )
    try:
        with torch.serialization.safe_globals(numpy_data):
            content = torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        raise CorruptCheckpoint(
            f"'{path.name}' holds more than numbers, and reading it could run code. Convert it "
            f"with --trust only if you know where it comes from."
        ) from error
    except DAMAGE as error:
        raise CorruptCheckpoint(f"'{path.name}' cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CorruptCheckpoint(f"'{path.name}' holds no weights.")
    return content


def _config(weights: Weights) -> "ClapConfig":
    """Sizes out of the weights."""
    from transformers import ClapConfig

    return ClapConfig(
        text_config=_text_sizes(weights),
        audio_config=_audio_sizes(weights),
        projection_dim=weights["audio_projection.2.weight"].shape[0],
    )


def _text_sizes(weights: Weights) -> dict[str, int | float]:
    vocabulary, hidden = weights["text_branch.embeddings.word_embeddings.weight"].shape
    layers = _count(weights, r"^text_branch\.encoder\.layer\.(\d+)\.")
    first = "text_branch.encoder.layer.0.intermediate.dense.weight"
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,  # RoBERTa's heads are 64 wide at every size
        "intermediate_size": weights[first].shape[0],
        "max_position_embeddings": weights[
            "text_branch.embeddings.position_embeddings.weight"
        ].shape[0],
        "layer_norm_eps": 1e-5,
    }


def _audio_sizes(weights: Weights) -> dict[str, Any]:
    patch = weights["audio_branch.patch_embed.proj.weight"]
    stages = _count(weights, r"^audio_branch\.layers\.(\d+)\.")
    biases = [
        weights[f"audio_branch.layers.{i}.blocks.0.attn.relative_position_bias_table"]
        for i in range(stages)
    ]
    window = (math.isqrt(biases[0].shape[0]) + 1) // 2
    return {
        "patch_embeds_hidden_size": patch.shape[0],
        "patch_size": patch.shape[2],
        "patch_stride": [patch.shape[2], patch.shape[3]],
        "depths": [
            _count(weights, rf"^audio_branch\.layers\.{i}\.blocks\.(\d+)\.") for i in range(stages)
        ],
        "num_attention_heads": [bias.shape[1] for bias in biases],
        "num_hidden_layers": stages,
        "window_size": window,
        "hidden_size": patch.shape[0] * 2 ** (stages - 1),
        "num_mel_bins": weights["audio_branch.bn0.weight"].shape[0],
        "spec_size": _spectrogram_size(weights, window, patch.shape[2]),
    }


def _spectrogram_size(weights: Weights, window: int, stride: int) -> int:
    """Side of the square that the spectrogram is folded into.

    The first shifted block's mask has one entry per window, and the windows tile the square.
    """
    mask = weights.get("audio_branch.layers.0.blocks.1.attn_mask")
    return 256 if mask is None else math.isqrt(mask.shape[0]) * window * stride


def _count(weights: Weights, pattern: str) -> int:
    found = (re.match(pattern, key) for key in weights)
    return 1 + max(int(match.group(1)) for match in found if match)
