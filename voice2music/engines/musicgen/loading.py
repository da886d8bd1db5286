"""From a checkpoint's folder to a `MusicGen` engine."""

import logging
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    MusicgenMelodyForCausalLM,
    MusicgenMelodyForConditionalGeneration,
    PreTrainedTokenizerBase,
)

from voice2music.checkpoints import Checkpoint, locate
from voice2music.engines.devices import chosen
from voice2music.engines.memory import memory_errors_named
from voice2music.engines.musicgen.card import CardDecoder
from voice2music.engines.musicgen.codec import near_processor
from voice2music.engines.musicgen.decoder import Decoder
from voice2music.engines.musicgen.engine import About, ChromaSource, MusicGen
from voice2music.engines.musicgen.format import Format, read_format
from voice2music.engines.musicgen.linears import WHOLE, Precision, int8_fits, int8_pays
from voice2music.engines.musicgen.loop import Decoding
from voice2music.engines.musicgen.spectra import load_spectra
from voice2music.engines.quiet import quiet_transformers
from voice2music.errors import BadRequest, CorruptCheckpoint

log = logging.getLogger(__name__)

Wish = Literal["auto", "float32", "bfloat16", "int8"]
UNREADABLE = (  # what the libraries raise on files that are not what they should be
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    StrictDataclassError,
    SafetensorError,
)
LARGE = 600_000_000  # bytes of weights from which half precision is worth its rounding


class _Model(MusicgenMelodyForConditionalGeneration):  # type: ignore[misc]
    """The library's model, whose codec stays exact where the rest is rounded."""

    _keep_in_fp32_modules_strict = frozenset({"audio_encoder"})


def load(
    checkpoint: Checkpoint | Path | str,
    device: str | None = None,
    *,
    precision: Wish = "auto",
    chroma: ChromaSource = "tracked",
) -> MusicGen:
    """The engine of a checkpoint. Nothing is downloaded.

    Args:
        checkpoint: what `checkpoints.locate` gave, or a name or folder for it.
        device: as torch names them; None takes a graphics card where there is one.
        precision: of the decoder's weights; the codec stays in float32. "auto" takes int8 on a
            processor with AVX2 (`benchmarks/speed.md` has times and agreement), bfloat16 on a card
            that computes in it, else float32. int8 is for processors only.
        chroma: see `MusicGen`.
    Raises:
        BadRequest: int8 on a graphics card, or for widths it cannot take.
        MissingCheckpoint: not here; the text says how to get it.
        CorruptCheckpoint: not whole, not MusicGen-Melody, or not safe to read.
        OutOfMemory: it does not fit.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = locate(checkpoint)
    device = chosen(device)
    with memory_errors_named(), quiet_transformers():
        model = whole_model(checkpoint.folder, _dtype(checkpoint.folder, device, precision))
        _check_codec(model, checkpoint.folder)
        near_processor(model.audio_encoder)
        model.to(device)
    form = read_format(checkpoint.folder)
    _check_rows(model, form, checkpoint.folder)
    with memory_errors_named():
        decoder = _decoder(model.decoder, _precision(model.decoder, precision))
    about = About(checkpoint.name, checkpoint.sha256, checkpoint.licence, checkpoint.commercial)
    log.info("loaded %s on %s in %s", checkpoint.name, device, decoder.precision)
    spectra = load_spectra(checkpoint.folder)
    if spectra is not None:
        spectra.to(device)
    return MusicGen(model, text_tokenizer(checkpoint.folder), form, about, chroma, spectra, decoder)


def whole_model(folder: Path, dtype: torch.dtype) -> MusicgenMelodyForConditionalGeneration:
    """Weights and all, refusing what the library would fill with random numbers.

    Raises:
        CorruptCheckpoint: not whole, or not MusicGen-Melody.
    """
    try:
        model, found = _Model.from_pretrained(
            folder, local_files_only=True, dtype=dtype, output_loading_info=True
        )
    except UNREADABLE as error:
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            raise  # for `memory_errors_named`
        raise CorruptCheckpoint(
            f"'{folder.name}' cannot be opened as a MusicGen-Melody model: {_first_line(error)}. "
            f"Fetch or convert it again."
        ) from error
    lacking = sorted(found["missing_keys"]) + sorted(map(str, found["mismatched_keys"]))
    if lacking:
        raise CorruptCheckpoint(
            f"'{folder.name}' lacks {len(lacking)} of the model's weights, such as "
            f"{lacking[0]}. Fetch or convert it again."
        )
    return model


def text_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The text encoder's.

    Raises:
        CorruptCheckpoint: there is none that can be read.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except UNREADABLE as error:
        raise CorruptCheckpoint(
            f"'{folder.name}' holds no text tokenizer that can be read ({_first_line(error)}). "
            f"Fetch or convert it again."
        ) from error


def _dtype(folder: Path, device: str, wish: Wish) -> torch.dtype:
    """In which the weights are read: half precision where it suffices, and saves memory."""
    if wish in ("float32", "bfloat16"):
        return torch.bfloat16 if wish == "bfloat16" else torch.float32
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    fast = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if device.startswith("cuda")
        else torch.cpu._is_avx512_bf16_supported()
    )
    return torch.bfloat16 if size >= LARGE and fast else torch.float32


def _precision(network: MusicgenMelodyForCausalLM, wish: Wish) -> Precision:
    """Of the decoder's weights."""
    on_cpu, takes = network.device.type == "cpu", int8_fits(network)
    if wish == "int8" and not (on_cpu and takes):
        raise BadRequest(
            "int8 is for processors and for widths that are multiples of "
            f"{WHOLE}; choose 'float32' or 'bfloat16' for this model and device."
        )
    if wish == "int8" or (wish == "auto" and on_cpu and takes and int8_pays()):
        return "int8"
    return "bfloat16" if network.dtype == torch.bfloat16 else "float32"


def _decoder(network: MusicgenMelodyForCausalLM, precision: Precision) -> Decoding:
    """Laid out for the device that the network is on, and instead of it."""
    if network.device.type == "cuda":
        return CardDecoder(network, precision, graph=True, spend=True)
    return Decoder(network, precision, spend=True)


def _check_codec(model: MusicgenMelodyForConditionalGeneration, folder: Path) -> None:
    codec = model.audio_encoder.config
    if codec.model_type != "encodec" or codec.norm_type != "weight_norm" or codec.normalize:
        raise CorruptCheckpoint(
            f"'{folder.name}' uses a sound codec ({codec.model_type}) that this program cannot "
            f"play; it knows EnCodec as in the MusicGen models."
        )


def _check_rows(model: MusicgenMelodyForConditionalGeneration, form: Format, folder: Path) -> None:
    if model.config.chroma_length < 1:
        raise CorruptCheckpoint(f"'{folder.name}' has no room for a melody (chroma_length).")
    size = form.row_format(1).size
    if size != model.config.num_chroma:
        raise CorruptCheckpoint(
            f"'{folder.name}' takes {model.config.num_chroma} melody rows, but its settings name "
            f"{size} ({', '.join(form.rows)})."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".:")
