"""AudioLDM learns new pairs: what the training loop is given.

Any checkpoint in diffusers' layout will do. It is grown first (see `growth`): to hear a voice, to
follow a tune, to be scaled and shifted by both. Only the UNet learns; latents and CLAP's vectors
are made once and kept beside the data.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voice2music.checkpoints import Checkpoint
from voice2music.dataset.songs.records import key_of
from voice2music.dataset.songs.splits import Split
from voice2music.engines.audioldm.engine import About, AudioLDM
from voice2music.engines.audioldm.film import save_film, without_film
from voice2music.engines.audioldm.layout import FILE, Layout
from voice2music.engines.audioldm.marks import ears_mark
from voice2music.engines.audioldm.melody import MelodyRows, melody_channels
from voice2music.engines.audioldm.parts import load_parts
from voice2music.engines.audioldm.sampling import downsampling
from voice2music.engines.quiet import quiet_transformers
from voice2music.errors import BadRequest
from voice2music.finetuning.examples import Examples
from voice2music.finetuning.growth import Growth, grown, without_tune
from voice2music.finetuning.judging import judged, wording
from voice2music.finetuning.recipe import AudioldmRecipe
from voice2music.finetuning.tokens import KEPT
from voice2music.training.draws import StepChance
from voice2music.training.processes import first_alone

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

Chance = np.random.Generator
Array = NDArray[np.float32]
LINES = 4  # mel bands in a latent bin, with rows of lines; see `MelodyRows`
LARGEST = "2GB"


class GrownUnet(nn.Module):
    """The UNet with its loss.

    Args:
        unet: to be trained.
        schedule: config of the checkpoint's own scheduler: its noise, and what is predicted.
    """

    signal: Tensor

    def __init__(self, unet: "UNet2DConditionModel", schedule: Mapping[str, Any]) -> None:
        super().__init__()
        from diffusers import DDIMScheduler

        self.unet = unet
        self.predicts = schedule.get("prediction_type", "epsilon")
        if self.predicts not in ("epsilon", "v_prediction"):
            raise BadRequest(
                f"The checkpoint predicts '{self.predicts}'; only epsilon and v_prediction are "
                f"trained here."
            )
        signal = DDIMScheduler.from_config(schedule).alphas_cumprod
        self.register_buffer("signal", signal.clone(), persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared error of what is predicted.

        Args:
            batch: "latent" and unit Gaussian "noise" (B, C, T, F), "time" (B,), "clap" (B, size),
                "tune" (B, rows, T, F).
        """
        errors = self.errors(batch)
        return {"loss": errors.mean()}

    def errors(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error of each row, (B,)."""
        share = self.signal[batch["time"]][:, None, None, None]
        clean, noise = batch["latent"], batch["noise"]
        noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
        wanted = noise
        if self.predicts == "v_prediction":
            wanted = share.sqrt() * noise - (1 - share).sqrt() * clean
        made: Tensor = self.unet(
            torch.cat([noisy, batch["tune"]], dim=1),
            batch["time"],
            encoder_hidden_states=None,
            class_labels=batch["clap"],
        ).sample
        return (made.float() - wanted).square().mean(dim=(1, 2, 3))


class AudioldmFinetuning:
    """See `voice2music.training.task.Task`.

    Args:
        recipe: what it is given, what is left out.
        data: a data set of songs or of made pairs.
        start: the checkpoint to begin with.
    Raises:
        BadRequest: it cannot hear voices, or cannot be grown; nothing to train on.
    """

    model = "audioldm"
    rival: None = None

    def __init__(self, recipe: AudioldmRecipe, data: Path, start: Checkpoint) -> None:
        self.recipe, self.start = recipe, start
        with quiet_transformers():
            parts = load_parts(start.folder, "cpu", "float32")
        if parts.audio is None:
            raise BadRequest(f"'{start.name}' cannot be given voices. {parts.deaf}")
        clap = parts.text.model.config.projection_dim
        if parts.layout.clap != "concatenated" and not recipe.projections:
            raise BadRequest(
                f"'{start.name}' has no input for a voice, and an added one has to learn. Train "
                f"the projections, too."
            )
        unet, layout = grown(parts.unet, parts.layout, clap, self._growth(parts.layout))
        if not self._hears_tune:
            unet, layout = without_tune(unet, layout)
        self.parts = replace(parts, unet=unet, layout=layout)
        if not recipe.projections:
            unet.class_embedding.requires_grad_(False)
        self.network: nn.Module = GrownUnet(unet, parts.schedule)
        unit = downsampling(unet)
        longest = min(recipe.seconds, layout.window_seconds)
        self._frames = max(1, int(longest * parts.frame_rate / unit)) * unit
        splits: tuple[Split, ...] = ("train", "valid")
        self.examples = {split: Examples(data, split, "audioldm") for split in splits}
        with first_alone():
            self._known = {split: self._cached(split, data) for split in splits}
        self._texts: dict[str, Array] = {}

    def _growth(self, layout: Layout) -> Growth:
        rows = layout.melody or MelodyRows(lines=LINES, plan=True)
        return Growth(film=self.recipe.film, melody=rows if self._hears_tune else None)

    @property
    def _hears_tune(self) -> bool:
        return self.recipe.variant == "melody"

    def batch(self, chance: StepChance) -> Mapping[str, Any]:
        """Crops of random examples, noised; what is left out is drawn for each by itself."""
        samples = chance.samples(self.recipe.batch * self.recipe.gathered)
        crops = [self._drawn(sample.chance) for sample in samples]
        # One time from every equal part of the schedule: every step sees all noise levels.
        times = np.array([sample.place for sample in samples])
        return self._noised(crops, times, [sample.chance for sample in samples])

    def _drawn(self, chance: Chance) -> dict[str, Array]:
        """A crop of an example."""
        index = int(chance.integers(len(self.examples["train"])))
        text = self.examples["train"].all[index].words(self.recipe.words, chance)
        return self._crop("train", index, text, chance, *self._given(chance))

    def _given(self, chance: Chance) -> tuple[bool, bool, bool]:
        """Whether a crop has its voice, its words and its tune."""
        recipe, draws = self.recipe, chance.random(4)
        if draws[0] < recipe.nothing:
            return False, False, False
        shares = (recipe.no_voice, recipe.no_words, recipe.no_tune)
        voice, words, tune = (bool(d >= s) for d, s in zip(draws[1:], shares, strict=True))
        return voice, words, tune

    def _crop(
        self,
        split: Split,
        index: int,
        text: str,
        chance: Chance,
        has_voice: bool = True,
        has_words: bool = True,
        has_tune: bool = True,
    ) -> dict[str, Array]:
        """A window of latents with what is known of it, as the engine would be given it."""
        latents, voice = self._known[split][0][index], self._known[split][1][index]
        start = int(chance.integers(max(0, latents.shape[1] - self._frames) + 1))
        part = latents[:, start : start + self._frames]
        part = np.pad(part, ((0, 0), (0, self._frames - part.shape[1]), (0, 0)))
        words = self._words(text if has_words else "")
        clap = np.concatenate([words, voice if has_voice else 0 * voice])
        tune = self._tune(split, index, start) if has_tune else None
        rows = self.parts.layout.melody
        shape = (rows.channels if rows else 0, self._frames, part.shape[2])
        return {
            "latent": part.astype(np.float32),
            "clap": clap.astype(np.float32),
            "tune": np.zeros(shape, np.float32) if tune is None else tune,
        }

    def _words(self, text: str) -> Array:
        """CLAP of a text; what stands for none where there is none."""
        if not text and self.parts.layout.empty == "zeros":
            return np.zeros(self.parts.text.model.config.projection_dim, np.float32)
        if text not in self._texts:
            self._texts[text] = self.parts.text.embed([text])[0].float().numpy()
        return self._texts[text]

    def _tune(self, split: Split, index: int, start: int) -> Array | None:
        """Rows of the tune and plan of a window; None where the UNet has none or is not told."""
        rows = self.parts.layout.melody
        if rows is None:
            return None
        example = self.examples[split].all[index]
        bins = self.parts.mel.bins // self.parts.shrink
        count = start + self._frames
        whole = melody_channels(
            example.melody, count, self.parts.frame_rate, bins, rows, example.plan
        )
        return whole[:, start:]

    def _noised(
        self, crops: list[dict[str, Array]], times: NDArray[np.float64], chances: Sequence[Chance]
    ) -> dict[str, Any]:
        latents = np.stack([crop["latent"] for crop in crops])
        noise = [each.standard_normal(latents.shape[1:], np.float32) for each in chances]
        length = len(self.network.get_buffer("signal"))
        return {
            "latent": latents,
            "noise": np.stack(noise),
            "time": np.minimum((times * length).astype(np.int64), length - 1),
            "clap": np.stack([crop["clap"] for crop in crops]),
            "tune": np.stack([crop["tune"] for crop in crops]),
        }

    @torch.no_grad()
    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Losses on held-out windows, with and without voice, words and tune; takes with scores."""
        assert isinstance(network, GrownUnet)
        kinds = {"loss": (True, True, True), "loss without voice": (False, True, True)}
        if self.recipe.words != "none":
            kinds["loss without words"] = (True, False, True)
        if self._hears_tune:
            kinds["loss without tune"] = (True, True, False)
        found = {kind: self._held_out(network, given) for kind, given in kinds.items()}
        if self.recipe.judged:
            engine = self.engine(network)
            found |= judged(engine, self.examples["valid"], self.recipe, folder)
        return found

    def engine(self, network: nn.Module) -> AudioLDM:
        """The app's own engine on the weights in training."""
        unet: Any = network.get_submodule("unet")
        about = About(self.start.name, "", self.start.licence, self.start.commercial)
        return AudioLDM(replace(self.parts, unet=unet), about)

    def export(self, network: nn.Module, folder: Path) -> None:
        """The checkpoint's folder again, with the UNet as it is now."""
        unet: Any = network.get_submodule("unet")
        skipped = shutil.ignore_patterns("unet", FILE, "README.md")
        shutil.copytree(self.start.folder, folder, dirs_exist_ok=True, ignore=skipped)
        for old in (folder / "unet").glob("*.safetensors*"):
            old.unlink()
        half = {key: value.half() for key, value in without_film(unet).items()}
        unet.save_pretrained(folder / "unet", max_shard_size=LARGEST, state_dict=half)
        if self.parts.layout.film:
            save_film(unet, folder / "unet")
        self.parts.layout.write(folder)
        self._write_terms(folder / FILE)

    def _write_terms(self, path: Path) -> None:
        known = json.loads(path.read_text("utf-8"))
        terms = {"licence": self.start.licence, "commercial": self.start.commercial}
        values = {**known, **terms, "made_from": f"{self.start.name}, fine-tuned"}
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def _held_out(
        self, network: GrownUnet, given: tuple[bool, bool, bool], count: int = 32
    ) -> float:
        """Mean error on the same windows with the same noise every time."""
        examples, chance = self.examples["valid"].all, np.random.default_rng(0)
        chosen = np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
        crops = [
            self._crop("valid", int(i), wording(examples[i], self.recipe.words), chance, *given)
            for i in chosen
        ]
        times = (np.arange(len(crops)) + 0.5) / len(crops)
        batch = self._noised(crops, times, [chance] * len(crops))
        device = next(network.parameters()).device
        errors = []
        for at in range(0, len(crops), self.recipe.batch):
            part = {
                k: torch.as_tensor(v[at : at + self.recipe.batch]).to(device)
                for k, v in batch.items()
            }
            errors.append(network.errors(part))
        return round(float(torch.cat(errors).mean()), 5)

    def _cached(self, split: Split, data: Path) -> tuple[list[Array], list[Array]]:
        """Latents (channels, frames, bins) and CLAP of the voice (size,) of every example."""
        examples, ears = self.examples[split], ears_mark(self.start.folder)
        if (ready := examples.latents(ears)) is not None:
            return ready
        mark = key_of([ears, examples.marks("music", "voice")])
        path = data / KEPT / f"latents-{mark}.npz"
        if not path.is_file():
            self._encode(examples, path)
        with np.load(path, allow_pickle=False) as kept:
            count = range(len(examples))
            return [kept[f"latent-{i}"] for i in count], [kept[f"voice-{i}"] for i in count]

    @torch.inference_mode()
    def _encode(self, examples: Examples, path: Path) -> None:
        engine, audio = self.engine(self.network), self.parts.audio
        assert audio is not None
        out: dict[str, Array] = {}
        for index in range(len(examples)):
            music = examples.music(index)
            latents = engine.encoded(music, self.parts.frames(music.seconds))
            out[f"latent-{index}"] = latents.numpy().astype(np.float16)
            out[f"voice-{index}"] = audio.embed(examples.voice(index)).float().numpy()
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as file:
            np.savez(file, **out)  # type: ignore[arg-type]
        part.replace(path)
