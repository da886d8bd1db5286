"""MusicGen-Melody learns new pairs: what the training loop is given.

Any checkpoint in transformers' layout will do, ours or the 1.5 B one: its own codec, tokenizer and
melody rows are used, so what comes out is loaded as what went in.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.checkpoint
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import MusicgenMelodyForConditionalGeneration

from voice2music.checkpoints import Checkpoint
from voice2music.dataset.songs.splits import Split
from voice2music.engines.musicgen.engine import About, MusicGen
from voice2music.engines.musicgen.format import OWN_FILE, read_format
from voice2music.engines.musicgen.loading import text_tokenizer, whole_model
from voice2music.engines.musicgen.rows import melody_rows, null_rows
from voice2music.engines.musicgen.spectra import FOLDER as SPECTRA
from voice2music.engines.musicgen.spectra import load_spectra
from voice2music.engines.quiet import quiet_transformers
from voice2music.errors import BadRequest
from voice2music.finetuning.adapters import PROJECTIONS, adapted, merged
from voice2music.finetuning.examples import Example, Examples
from voice2music.finetuning.judging import judged, wording
from voice2music.finetuning.recipe import MusicgenRecipe
from voice2music.finetuning.tokens import tokens_of
from voice2music.training.draws import StepChance
from voice2music.training.musicgen_network import NOTHING, MusicgenNetwork, columns
from voice2music.training.processes import first_alone

Chance = np.random.Generator
SHARD = "2GB"


class FinetunedMusicgen(MusicgenNetwork):
    """The network out of a whole model, sharing its weights; every codebook's loss is told."""

    def __init__(
        self, model: MusicgenMelodyForConditionalGeneration, checkpointing: bool = False
    ) -> None:
        nn.Module.__init__(self)
        self.text_encoder, self.decoder = model.text_encoder, model.decoder
        for name in PROJECTIONS:  # a checkpoint whose sizes fit has none
            setattr(self, name, getattr(model, name, None) or nn.Identity())
        self.dropout, self.checkpointing = 0.0, checkpointing
        books = model.decoder.num_codebooks
        self.register_buffer("emphasis", torch.ones(books), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch as of `MusicgenNetwork`, without noise in the past.

        Returns:
            "loss", the mean over the codebooks, and "book_0" and so on. Frames that are not there
            count as known in the former: so a batch's gradient is the mean of its parts',
            whichever process has them.
        """
        losses, codes = self.losses(batch), batch["codes"]
        books = {f"book_{k}": loss.detach() for k, loss in enumerate(losses)}
        there = (codes != NOTHING).float().mean(dim=(0, 2))
        return {"loss": (losses * there).mean(), **books}

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of each codebook, (codebooks,)."""
        inputs, targets = columns(batch["codes"], self.decoder.config.pad_token_id)
        return self.book_losses(self.hidden(self.prefix(batch), inputs), targets)

    def _layer(self, layer: Any, x: Tensor, first: int) -> Tensor:  # noqa: ANN401
        if not (self.checkpointing and torch.is_grad_enabled()):
            return super()._layer(layer, x, first)
        made: Tensor = torch.utils.checkpoint.checkpoint(
            super()._layer, layer, x, first, use_reentrant=False
        )
        return made


class MusicgenFinetuning:
    """See `voice2music.training.task.Task`.

    Args:
        recipe: what is trained and left out.
        data: a data set of songs or of made pairs.
        start: the checkpoint to begin with.
    Raises:
        BadRequest: a stereo checkpoint; nothing to train on.
    """

    model = "musicgen"
    rival: None = None

    def __init__(self, recipe: MusicgenRecipe, data: Path, start: Checkpoint) -> None:
        self.recipe, self.start = recipe, start
        self.form = known = read_format(start.folder)
        with quiet_transformers():
            self._model = whole_model(start.folder, torch.float32)
            self.tokenizer = text_tokenizer(start.folder)
        if self._model.decoder.config.audio_channels != 1:
            raise BadRequest(f"'{start.name}' is stereo; only mono checkpoints are fine-tuned.")
        codec = self._model.audio_encoder
        self._rate = codec.config.sampling_rate / codec.config.hop_length
        longest = min(recipe.seconds, self.form.window_seconds)
        self._window = max(8, int(longest * self._rate))
        splits: tuple[Split, ...] = ("train", "valid")
        self.examples = {split: Examples(data, split) for split in splits}
        with first_alone():
            self._codes: dict[Split, list[NDArray[np.int16]]] = {
                split: tokens_of(examples, codec, data) for split, examples in self.examples.items()
            }
        learnt = {example.role for example in self.examples["train"].all}
        self.form = replace(known, roles=_roles(known.roles, learnt))
        # In evaluation mode throughout: no dropout in the text encoder, which does not learn.
        network = FinetunedMusicgen(self._model, recipe.checkpointing).eval()
        self.network: nn.Module = adapted(network, recipe)

    def batch(self, chance: StepChance) -> Mapping[str, Any]:
        """Crops of random examples; what is left out is drawn for each by itself."""
        count = self.recipe.batch * self.recipe.gathered
        crops = [self._drawn(sample.chance) for sample in chance.samples(count)]
        everybodys = chance.samples(count, everybodys=True)
        # Texts are as long as the longest of all processes': their length moves the music along.
        texts = [self._chosen(sample.chance)[1] for sample in everybodys]
        return self._collated(crops, self._length(texts))

    def _chosen(self, chance: Chance) -> tuple[int, str]:
        """An example and its words."""
        index = int(chance.integers(len(self.examples["train"])))
        return index, self.examples["train"].all[index].words(self.recipe.words, chance)

    def _drawn(self, chance: Chance) -> dict[str, Any]:
        """A crop of an example."""
        index, text = self._chosen(chance)
        example, codes = self.examples["train"].all[index], self._codes["train"][index]
        start = int(chance.integers(max(0, codes.shape[1] - self._window) + 1))
        return self._crop(example, codes, start, text, *self._given(chance))

    def _given(self, chance: Chance) -> tuple[bool, bool, bool]:
        """Whether a crop has its voice, its words, and (with a voice) its beats and chords."""
        recipe, draws = self.recipe, chance.random(4)
        if draws[0] < recipe.nothing:
            return False, False, False
        shares = (recipe.no_voice, recipe.no_words, recipe.no_plan)
        voice, words, plan = (bool(d >= s) for d, s in zip(draws[1:], shares, strict=True))
        return voice, words, plan

    def _crop(
        self,
        example: Example,
        codes: NDArray[np.int16],
        start: int,
        text: str,
        has_voice: bool = True,
        has_words: bool = True,
        has_plan: bool = True,
    ) -> dict[str, Any]:
        """A window from codec frame `start` on, as the engine would be given it."""
        part = codes[:, start : start + self._window]
        whole = np.full((len(codes), self._window), NOTHING, np.int64)
        whole[:, : part.shape[1]] = part
        form = self.form.row_format(self._model.config.chroma_length)
        rows = (
            melody_rows(
                example.melody, form, start / self._rate, example.plan if has_plan else None
            )
            if has_voice
            else null_rows(form)
        )
        return {"codes": whole, "rows": rows, "words": text, "has_text": has_words and bool(text)}

    def _length(self, texts: Sequence[str]) -> int:
        """The first of the lengths that the engine pads to in which all texts have room."""
        longest = max(len(self.tokenizer(text)["input_ids"]) for text in texts)
        lengths = sorted(self.form.text_lengths)
        return next((size for size in lengths if size >= longest), lengths[-1])

    def _collated(self, crops: list[dict[str, Any]], length: int) -> dict[str, Any]:
        """Stacked; texts as so many tokens."""
        texts = [crop["words"] for crop in crops]
        tokens = self.tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="np"
        )
        return {
            "codes": np.stack([crop["codes"] for crop in crops]),
            "rows": np.stack([crop["rows"] for crop in crops]).astype(np.float32),
            "text": tokens["input_ids"].astype(np.int64),
            "text_mask": tokens["attention_mask"].astype(np.float32),
            "has_text": np.array([crop["has_text"] for crop in crops], np.float32),
        }

    @torch.no_grad()
    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Losses on held-out windows, with and without voice and words; takes with scores."""
        assert isinstance(network, FinetunedMusicgen)
        scores = self._held_out(network)
        if self.recipe.judged:
            engine = self.engine(network)
            scores |= judged(engine, self.examples["valid"], self.recipe, folder)
        return scores

    def engine(self, network: nn.Module) -> MusicGen:
        """The app's own engine on the weights in training."""
        about = About(self.start.name, "", self.start.licence, self.start.commercial)
        spectra = load_spectra(self.start.folder)
        return MusicGen(self._shell(network), self.tokenizer, self.form, about, spectra=spectra)

    def export(self, network: nn.Module, folder: Path) -> None:
        """A folder in the checkpoint's own layout, adapters merged into the weights."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("model*.safetensors*"):
            old.unlink()
        model = self._shell(merged(network))
        with quiet_transformers():
            model.half().save_pretrained(folder, max_shard_size=SHARD)
            self.tokenizer.save_pretrained(folder)
        for name in ("preprocessor_config.json", OWN_FILE):
            if (self.start.folder / name).is_file():
                shutil.copyfile(self.start.folder / name, folder / name)
        if (self.start.folder / SPECTRA).is_dir():
            shutil.copytree(self.start.folder / SPECTRA, folder / SPECTRA, dirs_exist_ok=True)
        self._mark(folder / OWN_FILE)

    def _mark(self, path: Path) -> None:
        """What it was trained to do with a tune, and the terms."""
        known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        terms = {"licence": self.start.licence, "commercial": self.start.commercial}
        made_from = f"{self.start.name}, fine-tuned"
        values = {**known, **terms, "roles": self.form.roles, "made_from": made_from}
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    def _held_out(self, network: FinetunedMusicgen, count: int = 32) -> dict[str, float]:
        """Mean cross-entropy of the same windows every time."""
        examples, codes = self.examples["valid"].all, self._codes["valid"]
        chosen = np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
        kinds = {"loss": (True, True), "loss without voice": (False, True)}
        if self.recipe.words != "none":
            kinds["loss without words"] = (True, False)
        device = next(network.parameters()).device
        out: dict[str, float] = {}
        for kind, given in kinds.items():
            parts = []
            for at in range(0, len(chosen), self.recipe.batch):
                crops = [
                    self._crop(examples[i], codes[i], max(0, codes[i].shape[1] - self._window) // 2,
                               wording(examples[i], self.recipe.words), *given)
                    for i in chosen[at : at + self.recipe.batch]
                ]  # fmt: skip
                made = self._collated(crops, self._length([crop["words"] for crop in crops]))
                batch = {k: torch.as_tensor(v).to(device) for k, v in made.items()}
                parts.append(network.losses(batch) * len(crops))
            means = torch.stack(parts).sum(dim=0) / len(chosen)
            out[kind] = round(float(means.mean()), 4)
            if kind == "loss":
                out |= {f"book_{k}": round(float(mean), 4) for k, mean in enumerate(means)}
        return out

    def _shell(self, network: nn.Module) -> MusicgenMelodyForConditionalGeneration:
        """The whole model around a network's own parts; nothing is copied."""
        shell = MusicgenMelodyForConditionalGeneration.__new__(
            MusicgenMelodyForConditionalGeneration
        )
        shell.__dict__ = {**self._model.__dict__, "_modules": dict(self._model._modules)}
        for name in ("text_encoder", "decoder", *PROJECTIONS):
            if name in shell._modules:
                shell._modules[name] = getattr(network, name)
        return shell


def _roles(known: tuple[str, ...], learnt: set[str]) -> tuple[str, ...]:
    """What it does with a tune: what it learnt; where both are taught, or known and told apart by
    words, both.
    """
    if len(known) > 1 or len(learnt) > 1:
        return ("tune", "back")
    return tuple(sorted(learnt, reverse=True))
