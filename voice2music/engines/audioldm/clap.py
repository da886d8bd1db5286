"""CLAP's two towers: words and sounds as points in one space.

A CLAP sound embedding means something to an AudioLDM only if its audio tower was trained with the
very text tower that the AudioLDM knows. `AudioTower.captions` keeps what that text tower gave for
a few captions, so that `agreement` can tell.
"""

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from voice2music.clip import Clip
from voice2music.engines.audioldm.reading import damage_named, transformers_model
from voice2music.engines.spectrogram import mel_filters
from voice2music.engines.texts import tensor_bytes, texts_recalled
from voice2music.errors import CorruptCheckpoint, MissingCheckpoint
from voice2music.recall import Recall, key_of

if TYPE_CHECKING:
    from transformers import (
        ClapAudioModelWithProjection,
        ClapModel,
        ClapTextModelWithProjection,
        PreTrainedTokenizerBase,
    )

CAPTIONS = (
    "a disco song with a four on the floor beat",
    "a sad piano ballad",
    "a dog barks while rain falls",
    "a woman is singing without accompaniment",
)
TRUSTED = 0.99  # least cosine between the two text towers on every caption
LONGEST_VOICE = 60.0  # s; more of it adds nothing to a mean embedding


@dataclass(frozen=True)
class AudioFeatures:
    """The log-mel that an audio tower reads; the defaults are LAION's (their `HTSAT` configs).

    Args:
        rate: Hz.
        hop, n_fft: samples.
        bins: mel bands.
        fmin, fmax: Hz.
        seconds: length of the window; shorter sounds are repeated, then padded.
    """

    rate: int = 48_000
    hop: int = 480
    n_fft: int = 1024
    bins: int = 64
    fmin: float = 50.0
    fmax: float = 14_000.0
    seconds: float = 10.0

    @classmethod
    def read(cls, path: Path) -> "AudioFeatures":
        """From a `preprocessor_config.json` of transformers' ClapFeatureExtractor."""
        values = json.loads(path.read_text())
        return cls(
            rate=values["sampling_rate"],
            hop=values["hop_length"],
            n_fft=values["fft_window_size"],
            bins=values["feature_size"],
            fmin=values["frequency_min"],
            fmax=values["frequency_max"],
            seconds=values["max_length_s"],
        )

    def write(self, path: Path) -> None:
        """As a `preprocessor_config.json` that ClapFeatureExtractor reads too."""
        values = {
            "feature_extractor_type": "ClapFeatureExtractor",
            "sampling_rate": self.rate,
            "hop_length": self.hop,
            "fft_window_size": self.n_fft,
            "feature_size": self.bins,
            "frequency_min": self.fmin,
            "frequency_max": self.fmax,
            "max_length_s": self.seconds,
            "truncation": "rand_trunc",
            "padding": "repeatpad",
        }
        path.write_text(json.dumps(values, indent=2) + "\n")

    def __call__(self, clip: Clip) -> Tensor:
        """Log-mel in dB of consecutive windows, shape (windows, 1, frames, bins).

        Equals ClapFeatureExtractor on a clip of one window or less. Where that takes one window of
        a longer clip at random (from NumPy's global state), this takes all of them.
        """
        size = round(self.rate * self.seconds)
        samples = clip.mono().resampled(self.rate).samples[0]
        samples = samples[: round(self.rate * LONGEST_VOICE)]
        windows = [_filled(samples[at : at + size], size) for at in _starts(len(samples), size)]
        return torch.stack([self.decibels(window) for window in windows])[:, None]

    def decibels(self, samples: np.ndarray[Any, np.dtype[np.float32]]) -> Tensor:
        """Log-mel of samples at `rate` as they are, shape (frames, bins)."""
        power = (
            torch.stft(
                torch.from_numpy(samples),
                self.n_fft,
                self.hop,
                window=torch.hann_window(self.n_fft),
                return_complex=True,
            ).abs()
            ** 2
        )
        filters = mel_filters(self.n_fft, self.bins, self.rate, self.fmin, self.fmax)
        return 10 * (filters @ power).clamp(min=1e-10).log10().T


def _starts(length: int, size: int) -> list[int]:
    """Window starts: side by side, the last one flush with the end."""
    count = max(1, math.ceil(length / size))
    return [min(i * size, max(0, length - size)) for i in range(count)]


def _filled(
    samples: np.ndarray[Any, np.dtype[np.float32]], size: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Repeated as often as it fits whole, then padded with silence ("repeatpad")."""
    repeated = np.tile(samples, max(1, size // len(samples)))
    return np.pad(repeated, (0, size - len(repeated)))


@dataclass(frozen=True, eq=False)
class TextTower:
    """Words to CLAP embeddings.

    Args:
        model: ClapTextModelWithProjection, or a whole ClapModel.
        tokenizer: its RoBERTa tokenizer.
    """

    model: "ClapTextModelWithProjection | ClapModel"
    tokenizer: "PreTrainedTokenizerBase"
    # It keeps the padding it was last asked for: two jobs at once would get each other's.
    one_reader: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    texts: Recall[Tensor] = field(default_factory=texts_recalled, init=False, repr=False)

    @property
    def longest(self) -> int:
        """Tokens that are read, start and end marks included; the rest is cut off."""
        config = getattr(self.model.config, "text_config", self.model.config)
        return int(min(self.tokenizer.model_max_length, config.max_position_embeddings - 2))

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors, shape (texts, size)."""
        with self.one_reader:
            tokens = self.tokenizer(
                list(texts),
                padding="longest",
                max_length=self.longest,
                truncation=True,
                return_tensors="pt",
            ).to(self.model.device)
        read = self.model.text_model(tokens.input_ids, attention_mask=tokens.attention_mask)
        vectors: Tensor = self.model.text_projection(read.pooler_output)
        return functional.normalize(vectors.float(), dim=-1)

    def recalled(self, texts: Sequence[str]) -> Tensor:
        """`embed`, which remembers the last texts: for a tower whose weights do not change."""
        return self.texts.get(key_of(*texts), lambda: self.embed(texts), tensor_bytes)

    def cuts(self, text: str) -> bool:
        """Whether `text` is longer than the tower reads."""
        with self.one_reader:
            return len(self.tokenizer(text).input_ids) > self.longest


@dataclass(frozen=True, eq=False)
class AudioTower:
    """Sounds to CLAP embeddings.

    Args:
        model: ClapAudioModelWithProjection.
        features: what it reads.
        captions: what the text tower that it was trained with gives for `CAPTIONS`,
            shape (captions, size), unit vectors.
    """

    model: "ClapAudioModelWithProjection"
    features: AudioFeatures
    captions: Tensor

    @torch.no_grad()
    def embed(self, clip: Clip) -> Tensor:
        """Unit vector, shape (size,): the mean over windows of `features.seconds`."""
        features = self.features(clip).to(self.model.device, self.model.dtype)
        vectors = self.model(input_features=features).audio_embeds.float()
        return functional.normalize(functional.normalize(vectors, dim=-1).mean(dim=0), dim=-1)

    def agreement(self, text: TextTower) -> float:
        """Least cosine over the captions between its own text tower and `text`, in [-1, 1].

        -1 where the two do not even have the same size.
        """
        other = text.embed(CAPTIONS).cpu()
        if other.shape != self.captions.shape:
            return -1.0
        return float((other * self.captions).sum(dim=-1).min())

    def save(self, folder: Path) -> None:
        """As `audio_tower/` of a checkpoint: model, preprocessor_config.json, captions.json."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        self.features.write(folder / "preprocessor_config.json")
        rows = [[round(x, 6) for x in row] for row in self.captions.tolist()]
        values = {"captions": CAPTIONS, "embeddings": rows}
        (folder / "captions.json").write_text(json.dumps(values) + "\n")


def whole(
    clap: "ClapModel", tokenizer: "PreTrainedTokenizerBase", features: AudioFeatures
) -> AudioTower:
    """The audio tower of a ClapModel, with its text tower's word for the captions.

    Raises:
        CorruptCheckpoint: a "fusion" CLAP, or one that reads other features.
    """
    from transformers import ClapAudioModelWithProjection

    config = clap.config.audio_config
    if config.enable_fusion:
        raise CorruptCheckpoint(
            "This CLAP audio tower is of the 'fusion' kind, which AudioLDM was not trained with. "
            "Use an unfused one, such as laion/clap-htsat-unfused."
        )
    tower = ClapAudioModelWithProjection(config).to(clap.device).eval()
    tower.audio_model, tower.audio_projection = clap.audio_model, clap.audio_projection
    captions = TextTower(clap, tokenizer).embed(CAPTIONS).cpu()
    return AudioTower(tower, features, captions)


def load_audio_tower(
    path: Path, tokenizer: "PreTrainedTokenizerBase", trust: bool = False
) -> AudioTower:
    """An audio tower from any of three places, on the CPU.

    Args:
        path: a folder that `AudioTower.save` wrote, a ClapModel folder of transformers, or a
            checkpoint file of laion_clap or of the original AudioLDM (.pt, .ckpt).
        tokenizer: of the checkpoint; for the captions, where the tower's own text tower is there.
        trust: read a file that holds more than plain tensors, which can run code.
    Raises:
        MissingCheckpoint, CorruptCheckpoint: as their names say.
    """
    from voice2music.engines.audioldm.laion import read_laion

    if path.is_file():
        clap = read_laion(path, trust)
        bins = clap.config.audio_config.num_mel_bins
        return whole(clap, tokenizer, AudioFeatures(bins=bins))
    if not (path / "config.json").is_file():
        raise MissingCheckpoint(
            f"'{path.name}' holds no CLAP audio tower (no config.json). Give a ClapModel folder "
            f"or a laion_clap .pt file."
        )
    with damage_named(path):
        features = AudioFeatures.read(path / "preprocessor_config.json")
        kind = json.loads((path / "config.json").read_text(encoding="utf-8"))["model_type"]
    if kind == "clap":
        return whole(transformers_model("ClapModel", path), tokenizer, features)
    with damage_named(path):
        values = json.loads((path / "captions.json").read_text(encoding="utf-8"))
        captions, embeddings = tuple(values["captions"]), torch.tensor(values["embeddings"])
    if captions != CAPTIONS:
        raise CorruptCheckpoint(
            f"'{path.name}' was saved with other test captions, so its text tower cannot be "
            f"compared. Convert the audio tower again."
        )
    model = transformers_model("ClapAudioModelWithProjection", path)
    return AudioTower(model, features, embeddings)
