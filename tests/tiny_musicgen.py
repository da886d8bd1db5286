"""A tiny random MusicGen-Melody checkpoint in the real on-disk layout, for tests.

EnCodec (16 kHz, 25 frames/s, 4 codebooks of 32), a T5 encoder, a decoder of two layers and a
tokenizer made in code; saved by the libraries' own `save_pretrained`. Random weights are near
silent and nearly deaf to their input, so both are scaled up.
"""

import json
from pathlib import Path

import torch
from transformers import (
    EncodecConfig,
    MusicgenMelodyConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
    T5Tokenizer,
)
from transformers.models.musicgen_melody.configuration_musicgen_melody import (
    MusicgenMelodyDecoderConfig,
)

WORDS = (
    "disco",
    "jazz",
    "rock",
    "slow",
    "fast",
    "piano",
    "guitar",
    "drums",
    "happy",
    "sad",
    "music",
)
RATE, HOP = 16_000, 640
EXTRACTOR = {  # the original's, at 2 s a window instead of 30
    "chunk_length": 2,
    "feature_extractor_type": "MusicgenMelodyFeatureExtractor",
    "feature_size": 12,
    "hop_length": 4096,
    "n_fft": 16384,
    "num_chroma": 12,
    "sampling_rate": 32000,
}
CHROMA_LENGTH = 16  # 1 + 2 s * 32,000 / 4,096


def build_tiny_musicgen(
    folder: Path,
    *,
    seed: int = 0,
    channels: int = 1,
    own: dict | None = None,
    rows: int = 12,
    sizes: dict[str, int] | None = None,
) -> Path:
    """Write the checkpoint into `folder`; `own` is the content of voice2music.json.

    `sizes` are fields of the decoder's configuration to have otherwise.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MusicgenMelodyForConditionalGeneration(_config(channels, rows, sizes or {})).eval()
        _make_lively(model)
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR))
    if own is not None:
        (folder / "voice2music.json").write_text(json.dumps(own))
    return folder


def _config(channels: int, rows: int, sizes: dict[str, int]) -> MusicgenMelodyConfig:
    text = T5Config(
        vocab_size=len(_vocabulary()), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    codec = EncodecConfig(
        sampling_rate=RATE,
        hidden_size=8,
        num_filters=2,
        upsampling_ratios=[8, 5, 4, 4],
        codebook_size=32,
        target_bandwidths=[0.5],
        use_causal_conv=False,
        use_conv_shortcut=False,
        num_lstm_layers=2,
    )
    tiny = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32}
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=32,
        num_codebooks=4 * channels,
        audio_channels=channels,
        pad_token_id=32,
        bos_token_id=32,
        **(tiny | sizes),
    )
    return MusicgenMelodyConfig(
        text_encoder=text.to_dict(),
        audio_encoder=codec.to_dict(),
        decoder=decoder.to_dict(),
        num_chroma=rows,
        chroma_length=CHROMA_LENGTH,
    )


@torch.no_grad()
def _make_lively(model: MusicgenMelodyForConditionalGeneration) -> None:
    """Codebooks are zero and heads near zero in a fresh model: loud, decided, conditioned."""
    for layer in model.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_()
    for layer in model.audio_encoder.decoder.layers:
        for name, weight in layer.named_parameters():
            if name.endswith("original0"):  # the length of weight-normalised filters
                weight.mul_(1.5)
            elif name.endswith("conv.bias"):  # would drown the sound in a constant
                weight.zero_()
    for head in model.decoder.lm_heads:
        head.weight.mul_(20.0)
    for projection in (model.enc_to_dec_proj, model.audio_enc_to_dec_proj):
        projection.weight.mul_(400.0)
    for weight in model.decoder.model.parameters():
        if weight.dim() == 2:
            weight.mul_(8.0)


def _vocabulary() -> list[tuple[str, float]]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,."
    return [
        *(("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)),
        *((f"▁{word}", -1.0) for word in WORDS),
        *((letter, -5.0) for letter in letters),
    ]


def _tokenizer() -> T5Tokenizer:
    return T5Tokenizer(vocab=_vocabulary(), extra_ids=0)
