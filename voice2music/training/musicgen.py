"""Training of MusicGen-Melody: crops of pairs as tokens, words and a heard tune."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    EncodecModel,
    MusicgenMelodyConfig,
    MusicgenMelodyForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
)
from transformers.models.musicgen_melody.configuration_musicgen_melody import (
    MusicgenMelodyDecoderConfig,
)

from voice2music.dataset.shards import Pairs
from voice2music.engines.musicgen.engine import About, MusicGen
from voice2music.engines.musicgen.format import OWN_FILE, Format
from voice2music.engines.musicgen.rows import null_rows, plan_places
from voice2music.engines.musicgen.spectra import FOLDER as SPECTRA
from voice2music.engines.musicgen.spectra import load_spectra
from voice2music.training.musicgen_judge import judged_takes
from voice2music.training.musicgen_network import NOTHING, Batch, MusicgenNetwork, columns, fill
from voice2music.training.musicgen_start import Known, prepare
from voice2music.training.tokens import Piece, melody_of, pieces
from voice2music.training.vocabulary import shaken, tempo_tokens, word_tokenizer

Chance = np.random.Generator

ROWS: Final = ("chroma", "octave", "onset", "voicing", "beat", "chord", "bass")
SHARD: Final = "14MB"  # of exported weights


@dataclass(frozen=True)
class MusicgenConfig:
    """Sizes of the model, and what its batches are like.

    Args:
        width, layers, heads: of the decoder, whose inner layers are four times as wide.
        text_width, text_layers: of the text encoder.
        text_length: tokens that every text is padded to.
        window_seconds: of one pass.
        batch: crops per step.
        shortest: seconds of the shortest crops.
        whole: share of batches whose crops fill the window; the others are shorter.
        first, last: share of crops that begin with their piece, and that end with it.
        no_text_no_tune, no_text, no_tune: share of crops without; the first are given nothing.
        no_plan: share of the rest without beats and chords.
        lost, strange: share of words lost and unknown words thrown in, where a text is shaken.
        shaken: share of texts that are.
        noise: share of past tokens, and of past frames, that are exchanged for random ones.
        coarse: weight of the first codebook's loss against the last one's.
        dropout: of residual branches; slow on a processor.
        aligned: begin with heads that look at the melody (see `musicgen_start`).
        guidance, top_k, temperature: of sampling, written beside the weights.
        judged: pieces that are made at every validation; 0 for none.
    """

    width: int = 256
    layers: int = 6
    heads: int = 4
    text_width: int = 192
    text_layers: int = 2
    text_length: int = 48
    window_seconds: float = 10.0
    batch: int = 8
    shortest: float = 3.0
    whole: float = 0.75
    first: float = 0.3
    last: float = 0.15
    no_text_no_tune: float = 0.1
    no_text: float = 0.03
    no_tune: float = 0.05
    no_plan: float = 0.15
    shaken: float = 0.4
    lost: float = 0.15
    strange: float = 0.15
    noise: float = 0.03
    coarse: float = 2.0
    dropout: float = 0.0
    aligned: bool = True
    guidance: float = 3.0
    top_k: int = 512
    temperature: float = 1.2
    judged: int = 4


class MusicgenTask:
    """What MusicGen-Melody adds to the training loop; see `training.task.Task`.

    Args:
        config: sizes and batches; `start` keeps the sizes that its weights have.
        data: folder of pairs whose music has the codec's sample rate.
        codec: folder of a trained `EncodecModel`.
        start: exported weights to begin with, with their vocabulary.
    """

    network: nn.Module
    rival: nn.Module | None = None

    def __init__(
        self, config: MusicgenConfig, data: Path, codec: Path, start: Path | None = None
    ) -> None:
        self.config, self._codec_folder = config, codec
        self.codec = EncodecModel.from_pretrained(
            codec, local_files_only=True, dtype=torch.float32
        ).eval()
        self._train, self._valid = Pairs(data, "train"), Pairs(data, "valid")
        rate = self.codec.config.sampling_rate / self.codec.config.hop_length
        self.form = _format(config, rate)
        self.window = int(config.window_seconds * rate)
        self._pieces = pieces(self._train, self.form, self.window, codec)
        self._held_out = pieces(self._valid, self.form, self.window, codec)
        texts = (text for piece in self._pieces for text in piece.captions)
        self.tokenizer = _tokenizer(start) if start else word_tokenizer(texts)
        self._nothing = null_rows(self.form.row_format(self.window))
        self._plan = plan_places(self.form.rows)
        self.model_config = _model_config(
            config, self.codec, self.tokenizer, self.form, self.window
        )
        books = self.codec.config.num_quantizers
        self.network = MusicgenNetwork(
            self.model_config, emphasis(books, config.coarse), config.dropout
        )
        if start is None:
            tune_rows = self.form.row_format(1).size - len(self._plan)
            prepare(
                self.network,
                self.window,
                config.text_length,
                self._known(),
                tune_rows,
                config.aligned,
            )
        else:
            _load(self.network, start)

    def _known(self) -> Known:
        """What the first weights are made from."""
        layers = self.codec.quantizer.layers
        size = self.codec.config.codebook_size
        codes = np.concatenate([piece.codes for piece in self._pieces], axis=1)
        return Known(
            tempo_tokens(self.tokenizer),
            torch.stack([layer.codebook.embed.detach() for layer in layers]),
            torch.from_numpy(np.stack([np.bincount(book, minlength=size) for book in codes])),
        )

    def batch(self, chance: Chance) -> Mapping[str, Any]:
        """Crops of one length out of random pieces, with words and tune, or without."""
        config = self.config
        frames = self.window
        if chance.random() >= config.whole:
            shortest = min(self.window, round(config.shortest * self.form.melody_frame_rate))
            frames = int(chance.integers(shortest, self.window + 1))
        chosen = chance.integers(len(self._pieces), size=config.batch)
        crops = [self._crop(self._pieces[int(i)], frames, chance) for i in chosen]
        batch = {key: np.stack([crop[key] for crop in crops]) for key in crops[0]}
        return batch | {"past": self._noisy(batch["codes"], chance)}

    def _crop(self, piece: Piece, frames: int, chance: Chance) -> dict[str, NDArray[Any]]:
        config = self.config
        text = self._tokens(piece.captions[int(chance.integers(len(piece.captions)))])
        if chance.random() < config.shaken:
            unknown = int(self.tokenizer.unk_token_id)
            text = shaken(text, chance, unknown, config.lost, config.strange)
        start = _start(piece.frames - frames, config, chance)
        edges = np.cumsum([config.no_text_no_tune, config.no_text, config.no_tune])
        left_out = int(np.searchsorted(edges, chance.random(), side="right"))
        return self._example(
            piece,
            start,
            frames,
            text,
            has_text=left_out not in (0, 1),
            has_tune=left_out not in (0, 2),
            has_plan=left_out != 0 and chance.random() >= config.no_plan,
        )

    def _example(
        self,
        piece: Piece,
        start: int,
        frames: int,
        text: list[int],
        *,
        has_text: bool = True,
        has_tune: bool = True,
        has_plan: bool = True,
    ) -> dict[str, NDArray[Any]]:
        """One window, from codec frame `start` on; codes past the end are `NOTHING`."""
        codes = np.full((len(piece.codes), frames), NOTHING, np.int64)
        part = piece.codes[:, start : start + frames]
        codes[:, : part.shape[1]] = part
        length = self.config.text_length
        text = text[: length - 1] + text[-1:] if len(text) > length else text
        tokens = np.full(length, self.tokenizer.pad_token_id, np.int64)
        tokens[: len(text)] = text
        known = piece.rows_from(start, self.window)
        rows = known if has_tune else self._nothing.copy()
        rows[:, self._plan] = known[:, self._plan] if has_plan else 0.0
        return {
            "codes": codes,
            "rows": rows,
            "text": tokens,
            "text_mask": (np.arange(length) < len(text)).astype(np.float32),
            "has_text": np.array(has_text, np.float32),
        }

    def _noisy(self, codes: NDArray[np.int64], chance: Chance) -> NDArray[np.int64]:
        """What the model is told was before: now and then wrong, as its own tokens will be."""
        share = self.config.noise
        wrong = chance.random((len(codes), 1, codes.shape[2])) < share
        wrong = (wrong | (chance.random(codes.shape) < share)) & (codes != NOTHING)
        other = chance.integers(self.codec.config.codebook_size, size=codes.shape)
        return np.where(wrong, other, codes)

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text)["input_ids"]
        return tokens

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Cross-entropies on held-out windows, with what and without; takes by the real engine."""
        assert isinstance(network, MusicgenNetwork)
        scores = self._cross_entropies(network)
        if self.config.judged:
            scores |= self._takes(network, folder)
        return scores

    @torch.no_grad()
    def _cross_entropies(self, network: MusicgenNetwork, count: int = 32) -> dict[str, float]:
        """Of the same windows with all that is known, and without some of it."""
        batches = self._judged_batches(count)
        kinds = {"cross_entropy": (1.0, 0), "other_tune": (1.0, 1), "no_tune": (1.0, 2),
                 "no_plan": (1.0, 3), "no_text": (0.0, 0)}  # fmt: skip
        totals: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
        for batch in batches:
            _, targets = columns(batch["codes"], 0)
            inputs, _ = columns(batch["codes"], network.decoder.config.pad_token_id)
            nothing = torch.from_numpy(self._nothing).to(batch["rows"]).expand_as(batch["rows"])
            known = batch["rows"]
            tunes = (
                known,
                self._planned(known.roll(1, 0), known),
                self._planned(nothing, known),
                self._planned(known, nothing),
            )
            for kind, (words, tune) in kinds.items():
                given = batch | {"rows": tunes[tune], "has_text": words * batch["has_text"]}
                hidden = network.hidden(network.prefix(given), inputs)
                totals[kind].append(network.book_losses(hidden, targets))
        means = {kind: torch.stack(values).mean(dim=0) for kind, values in totals.items()}
        out = {kind: round(float(mean.mean()), 4) for kind, mean in means.items()}
        books = enumerate(means["cross_entropy"])
        return out | {f"book_{k}": round(float(loss), 4) for k, loss in books}

    def _planned(self, tune: Tensor, plan: Tensor) -> Tensor:
        """The tune's rows of one with the plan's of another."""
        rows = tune.clone()
        rows[..., self._plan] = plan[..., self._plan]
        return rows

    def _judged_batches(self, count: int) -> list[Batch]:
        """The same windows at every validation: from the middle of held-out pieces."""
        chosen = np.linspace(0, len(self._held_out) - 1, min(count, len(self._held_out)))
        examples = []
        for index in chosen.round().astype(int):
            piece = self._held_out[index]
            start = max(0, piece.frames - self.window) // 2
            text = self._tokens(piece.captions[0])
            examples.append(self._example(piece, start, self.window, text))
        device = next(self.network.parameters()).device
        size = max(2, self.config.batch)
        return [
            {
                key: torch.as_tensor(np.stack([e[key] for e in examples[at : at + size]])).to(
                    device
                )
                for key in examples[0]
            }
            for at in range(0, len(examples), size)
        ]

    def _takes(self, network: MusicgenNetwork, folder: Path) -> dict[str, float]:
        tune = [i for i, row in enumerate(self._valid.rows) if row["role"] == "tune"]
        tune = tune[:: max(1, len(tune) // self.config.judged)][: self.config.judged]
        melodies = [melody_of(self._valid, i) for i in tune]
        rows = [self._valid.rows[i] for i in tune]
        engine = MusicGen(
            self.whole(network),
            self.tokenizer,
            self.form,
            About("in training", "", "MIT", True),
            spectra=load_spectra(self._codec_folder),
        )
        return judged_takes(engine, rows, melodies, self.config.window_seconds, folder)

    def whole(self, network: nn.Module) -> MusicgenMelodyForConditionalGeneration:
        """The whole model, in evaluation mode on the processor, in single precision."""
        model = MusicgenMelodyForConditionalGeneration(self.model_config)
        model.audio_encoder.load_state_dict(self.codec.state_dict())
        return fill(model, network).eval()

    def export(self, network: nn.Module, folder: Path) -> None:
        """The folder that `engines.musicgen.load` opens: half-precision weights in small files."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("model*.safetensors*"):
            old.unlink()
        self.whole(network).half().save_pretrained(folder, max_shard_size=SHARD)
        self.tokenizer.save_pretrained(folder)
        if (self._codec_folder / SPECTRA).is_dir():
            shutil.copytree(self._codec_folder / SPECTRA, folder / SPECTRA, dirs_exist_ok=True)
        text = json.dumps(_own_file(self.form), indent=1)
        (folder / OWN_FILE).write_text(text + "\n", encoding="utf-8")
        text = json.dumps(asdict(self.config), indent=1)
        (folder / "training.json").write_text(text + "\n", encoding="utf-8")


def task(
    config: MusicgenConfig, data: Path, codec: Path, start: Path | None = None
) -> MusicgenTask:
    """See `MusicgenTask`."""
    return MusicgenTask(config, data, codec, start)


def emphasis(books: int, coarse: float) -> tuple[float, ...]:
    """Weights of the codebooks' losses, falling evenly, scaled to mean 1.

    Args:
        coarse: the first one's over the last one's.
    """
    weights = np.linspace(coarse, 1.0, books)
    return tuple(float(weight) for weight in weights / weights.mean())


def _start(room: int, config: MusicgenConfig, chance: Chance) -> int:
    """Where in a piece a crop begins, if there are `room` frames more than it takes."""
    if room <= 0:
        return 0
    kind = chance.random()
    if kind < config.first:
        return 0
    return room if kind < config.first + config.last else int(chance.integers(room + 1))


def _format(config: MusicgenConfig, rate: float) -> Format:
    return Format(
        rows=ROWS,
        melody_frame_rate=rate,
        melody_window=1 / rate,
        window_seconds=config.window_seconds,
        text_lengths=(config.text_length,),
        roles=("tune", "back"),
        guidance=config.guidance,
        top_k=config.top_k,
        temperature=config.temperature,
    )


def _own_file(form: Format) -> dict[str, Any]:
    """`voice2music.json`: what `Format` reads, and the terms."""
    plain = ("chroma_rate", "n_fft", "hop_length")  # of an extractor that is not used
    fields = {key: value for key, value in asdict(form).items() if key not in plain}
    made = "pairs made by voice2music.dataset"
    return {**fields, "licence": "MIT", "commercial": True, "made_from": made}


def _model_config(
    config: MusicgenConfig,
    codec: EncodecModel,
    tokenizer: PreTrainedTokenizerFast,
    form: Format,
    window: int,
) -> MusicgenMelodyConfig:
    size, books = codec.config.codebook_size, codec.config.num_quantizers
    text = T5Config(
        vocab_size=len(tokenizer),
        d_model=config.text_width,
        d_kv=48,
        d_ff=4 * config.text_width,
        num_layers=config.text_layers,
        num_heads=max(1, config.text_width // 48),
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=size,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        ffn_dim=4 * config.width,
        num_codebooks=books,
        dropout=0.0,
        layerdrop=0.0,
        pad_token_id=size,
        bos_token_id=size,
    )
    return MusicgenMelodyConfig(
        text_encoder=text.to_dict(),
        audio_encoder=_own_config(codec),
        decoder=decoder.to_dict(),
        num_chroma=form.row_format(1).size,
        chroma_length=window,
    )


def _own_config(codec: EncodecModel) -> dict[str, Any]:
    """The codec's configuration without the place that it was read from."""
    return {key: value for key, value in codec.config.to_dict().items() if key != "_name_or_path"}


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _load(network: nn.Module, folder: Path) -> None:
    """Exported weights, all but the codec's; rows that they do not know begin at zero."""
    model = MusicgenMelodyForConditionalGeneration.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32
    )
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("audio_encoder.")}
    name = "audio_enc_to_dec_proj.weight"
    missing = network.state_dict()[name].shape[1] - state[name].shape[1]
    state[name] = functional.pad(state[name], (0, missing))
    network.load_state_dict(state)
