"""mini-CLAP: words, music and voices as points of one space, learnt from pairs.

Each step draws as many voices as fit. A piece should be nearest its own caption, and a voice
nearest the piece that was made for it, among all of the step's (InfoNCE; Radford et al., "CLIP",
2021; Wu et al., "CLAP", 2023). Few steps are affordable, so small linear readers of the shared
space help: from words and from sound alike they tell genre, role, mood, lead and tempo. They are
not part of what is written down.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voice2music.dataset.shards import Pairs, Row
from voice2music.engines.audioldm.clap import AudioFeatures, TextTower
from voice2music.engines.audioldm.reading import damage_named, transformers_model
from voice2music.styles import styles
from voice2music.training.clap_data import (
    Chance,
    Spectrograms,
    crop,
    spellings,
    tokenizer_of,
    varied,
    windows,
)

if TYPE_CHECKING:
    from transformers import ClapModel, PreTrainedTokenizerBase

CONFIG = "training.json"
ROLES = {
    "tune": "instrumental lead melody",
    "back": "instrumental accompaniment for a singer",
}


# HTSAT folds 256 frames of 64 bands into a square of 128.
EARS = AudioFeatures(
    rate=16_000, hop=320, n_fft=1024, bins=64, fmin=40.0, fmax=7_800.0, seconds=5.1
)


@dataclass(frozen=True)
class Config:
    """Sizes and habits of a CLAP.

    Args:
        features: what the audio tower hears; its frames must fit the square that HTSAT folds them
            into, `spec_size ** 2 / bins` of them.
        spec_size, patch: HTSAT's square and its patches.
        depths, width, heads, window: of the audio tower's stages; the first one's width.
        text_width, text_layers, text_inner: of the text tower; its heads are 64 wide.
        vocabulary, longest: tokens.
        size: of the shared space.
        batch: pieces a step, each made for another voice; voices: of so many of them the voice too.
        voice_weight, reader_weight: of the voices' and the readers' losses; words count 1.
        loud: standard deviation of random levels, dB.
    """

    features: AudioFeatures = field(default=EARS)
    spec_size: int = 128
    patch: int = 8
    depths: tuple[int, ...] = (2, 2, 2)
    width: int = 48
    heads: tuple[int, ...] = (2, 4, 8)
    window: int = 4
    text_width: int = 192
    text_layers: int = 3
    text_inner: int = 512
    vocabulary: int = 2_000
    longest: int = 96
    size: int = 128
    batch: int = 64
    voices: int = 32
    voice_weight: float = 0.3
    reader_weight: float = 0.5
    loud: float = 5.0

    @property
    def frames(self) -> int:
        """Log-mel frames of a window."""
        return 1 + round(self.features.rate * self.features.seconds) // self.features.hop


def network_of(config: Config, vocabulary: int) -> "ClapModel":
    """A ClapModel of random weights."""
    from transformers import ClapConfig, ClapModel

    model = ClapModel(
        ClapConfig(
            text_config={
                "vocab_size": vocabulary,
                "hidden_size": config.text_width,
                "num_hidden_layers": config.text_layers,
                "num_attention_heads": config.text_width // 64,
                "intermediate_size": config.text_inner,
                "max_position_embeddings": config.longest + 2,
                "attention_probs_dropout_prob": 0.0,
            },
            audio_config={
                "spec_size": config.spec_size,
                "num_mel_bins": config.features.bins,
                "window_size": config.window,
                "patch_size": config.patch,
                "patch_stride": [config.patch, config.patch],
                "patch_embeds_hidden_size": config.width,
                "depths": list(config.depths),
                "num_attention_heads": list(config.heads),
                "hidden_size": config.width * 2 ** (len(config.depths) - 1),
                "num_hidden_layers": len(config.depths),
                "hidden_dropout_prob": 0.0,
            },
            projection_dim=config.size,
        )
    )
    _spread(model)
    return model


def _spread(model: "ClapModel") -> None:
    """Initial weights that tell inputs apart: the library's make all sounds and texts alike."""
    for name, weight in model.named_parameters():
        if name.endswith("weight") and weight.dim() == 2 and "embeddings" not in name:
            small = 0.3 if name.endswith("output.dense.weight") else 1.0
            nn.init.normal_(weight, std=small * weight.shape[1] ** -0.5)


class Joint(nn.Module):
    """CLAP with its loss.

    Args:
        clap: both towers.
        kinds: how many classes each reader tells apart; one more reader tells the tempo.
        voice_weight, reader_weight: see `Config`.
    """

    def __init__(
        self, clap: "ClapModel", kinds: dict[str, int], voice_weight: float, reader_weight: float
    ) -> None:
        super().__init__()
        self.clap = clap
        self.voice_weight, self.reader_weight = voice_weight, reader_weight
        size = clap.config.projection_dim
        self.readers = nn.ModuleDict({name: nn.Linear(size, n) for name, n in kinds.items()})
        self.tempo = nn.Linear(size, 1)

    def train(self, mode: bool = True) -> "Joint":
        """The audio tower's batch norm is a fixed scaling, set from the data."""
        super().train(mode)
        self.clap.audio_model.audio_encoder.batch_norm.eval()
        return self

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: tokens, mask (B, L); music (B, frames, bins); labels (B,).

        "voice" has the voices of the first pieces.
        """
        words = self.words(batch["tokens"], batch["mask"])
        count = len(batch["music"])
        heard = self.sounds(torch.cat([batch["music"], batch["voice"]]))
        music, voice = heard[:count], heard[count:]
        captions = _contrast(words, music, self.clap.logit_scale_t)
        voices = _contrast(voice, music, self.clap.logit_scale_a)
        readers = (self._read(words, batch) + self._read(music, batch)) / 2
        loss = captions + self.voice_weight * voices + self.reader_weight * readers
        return {"loss": loss, "captions": captions, "voices": voices, "readers": readers}

    def words(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors, shape (B, size)."""
        read = self.clap.text_model(tokens, attention_mask=mask)
        return _unit(self.clap.text_projection(read.pooler_output))

    def sounds(self, mel: Tensor) -> Tensor:
        """Unit vectors, shape (B, size), of log-mels (B, frames, bins)."""
        heard = self.clap.audio_model(input_features=mel[:, None])
        return _unit(self.clap.audio_projection(heard.pooler_output))

    def _read(self, vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """What the readers get wrong; vectors are brought to a length that lets them be sure."""
        scaled = vectors * vectors.shape[-1] ** 0.5
        wrong = [
            functional.cross_entropy(reader(scaled).float(), batch[name])
            for name, reader in self.readers.items()
        ]
        tempo: Tensor = (self.tempo(scaled)[:, 0].float() - batch["tempo"]).square().mean()
        return torch.stack(wrong).mean() + tempo


def _contrast(one: Tensor, other: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of finding each row's partner, both ways.

    `other` may have more rows than `one`; they are looked among, too.
    """
    logits = scale.clamp(max=math.log(100)).exp() * one @ other.T
    partners = torch.arange(len(one), device=logits.device)
    there = functional.cross_entropy(logits, partners)
    back = functional.cross_entropy(logits.T[: len(one)], partners)
    return (there + back) / 2


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors.float(), dim=-1)


class ClapTask:
    """Contrastive training on a data set of pairs. See `training.loop.Task`.

    Args:
        config: sizes.
        network: to be trained.
        tokenizer: its own.
        train, valid: the two splits.
        mels: of both.
    """

    rival = None

    def __init__(
        self,
        config: Config,
        network: Joint,
        tokenizer: "PreTrainedTokenizerBase",
        train: Pairs,
        valid: Pairs,
        mels: Spectrograms,
    ) -> None:
        self.config, self.network, self.tokenizer = config, network, tokenizer
        self._train, self._valid, self._mels = train, valid, mels

    def batch(self, chance: Chance) -> dict[str, Any]:
        """Pieces for as many different voices, a window of each, a caption of each."""
        voices = self._by_voice
        count = min(self.config.batch, len(voices))
        chosen = [voices[i] for i in chance.choice(len(voices), count, replace=False)]
        rows = [versions[int(chance.integers(len(versions)))] for versions in chosen]
        sounds = [self._sounds(row, chance) for row in rows]
        texts = [_caption(row, chance) for row in rows]
        return {
            **_tokens(self.tokenizer, texts, self.config.longest),
            "music": np.stack([music for music, _ in sounds]),
            "voice": np.stack([voice for _, voice in sounds[: self.config.voices]]),
            **_labels(rows, self.kinds),
        }

    @cached_property
    def kinds(self) -> dict[str, list[str]]:
        """What each reader tells apart."""
        return kinds_of(self._train.rows)

    @cached_property
    def _by_voice(self) -> list[list[Row]]:
        voices: dict[tuple[str, int], list[Row]] = {}
        for row in self._train.rows:
            voices.setdefault((row["voice"]["file"], row["voice"]["start"]), []).append(row)
        return list(voices.values())

    def _sounds(self, row: Row, chance: Chance) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same window of music and voice, at levels of chance, partly covered."""
        music, voice = self._mels.of(row, "music"), self._mels.of(row, "voice")
        first = int(chance.integers(max(1, len(music) - self.config.frames + 1)))
        return (
            self._disguised(crop(music, first, self.config.frames), chance),
            self._disguised(crop(voice, first, self.config.frames), chance),
        )

    def _disguised(self, mel: NDArray[np.float32], chance: Chance) -> NDArray[np.float32]:
        """Louder or softer; a stretch of time and a band of it hidden (SpecAugment)."""
        mel = mel + np.float32(chance.normal(0, self.config.loud))
        mean = mel.mean()
        for axis, most in ((0, len(mel) // 6), (1, mel.shape[1] // 8)):
            length = int(chance.integers(most + 1))
            first = int(chance.integers(mel.shape[axis] - length + 1))
            np.moveaxis(mel, axis, 0)[first : first + length] = mean
        return np.maximum(mel, np.float32(-100))

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """How often the right one is found, see `judged`."""
        assert isinstance(network, Joint)
        return judged(network, self.tokenizer, self._valid.rows, self._mels, self.config)

    def export(self, network: nn.Module, folder: Path) -> None:
        """A ClapModel folder in half precision with its tokenizer, front end and configuration."""
        assert isinstance(network, Joint)
        folder.mkdir(parents=True, exist_ok=True)
        network.clap.half().save_pretrained(folder, max_shard_size="14MB")
        network.clap.float()
        self.tokenizer.save_pretrained(folder)
        self.config.features.write(folder / "preprocessor_config.json")
        (folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n")


def task(
    config: Config, data: Path, start: Path | None = None, cache: Path | None = None
) -> ClapTask:
    """CLAP's task.

    Args:
        config: sizes; with `start` they must be that model's.
        data: folder of pairs.
        start: an exported folder to go on from.
        cache: folder for log-mels; None is `cache` inside `data`.
    """
    pairs, train = Pairs(data), Pairs(data, "train")
    mels = Spectrograms(pairs, config.features, cache or data / "cache")
    kinds = {name: len(values) for name, values in kinds_of(train.rows).items()}
    if start is not None:
        clap, tokenizer = load(start)
    else:
        captions = [text for row in train.rows for text in row["captions"]]
        tokenizer = tokenizer_of(spellings(captions), config.vocabulary, config.longest)
        clap = network_of(config, len(tokenizer))
        _set_scaling(clap, [mels.of(row, "music") for row in train.rows[::20]])
    network = Joint(clap, kinds, config.voice_weight, config.reader_weight)
    return ClapTask(config, network, tokenizer, train, Pairs(data, "valid"), mels)


def load(folder: Path) -> "tuple[ClapModel, PreTrainedTokenizerBase]":
    """An exported CLAP, in single precision and evaluation mode.

    Raises:
        CorruptCheckpoint: not whole.
    """
    from transformers import AutoTokenizer

    with damage_named(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return transformers_model("ClapModel", folder), tokenizer


def kinds_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Labels that readers tell apart, and their values."""
    return {
        name: sorted({str(row[name]) for row in rows}) for name in ("genre", "role", "mood", "lead")
    }


def _set_scaling(clap: "ClapModel", mels: Sequence[NDArray[np.float16]]) -> None:
    """Scale log-mels to about unit size, and let every band carry a mark of its own.

    HTSAT has no positions: all it knows of a band's frequency is what its batch norm adds.
    """
    values = np.concatenate([np.asarray(mel[::8], np.float32) for mel in mels])
    norm = clap.audio_model.audio_encoder.batch_norm
    norm.running_mean.fill_(float(values.mean()))
    norm.running_var.fill_(float(values.var()))
    with torch.no_grad():
        norm.bias.copy_(torch.linspace(-0.7, 0.7, len(norm.bias)))


def _caption(row: Row, chance: Chance) -> str:
    captions = row["captions"]
    return varied(captions[int(chance.integers(len(captions)))], chance)


def _tokens(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], longest: int
) -> dict[str, Tensor]:
    read = tokenizer(
        list(texts), padding="longest", truncation=True, max_length=longest, return_tensors="pt"
    )
    return {"tokens": read.input_ids, "mask": read.attention_mask}


def _labels(rows: Sequence[Row], kinds: dict[str, list[str]]) -> dict[str, NDArray[Any]]:
    labels: dict[str, NDArray[Any]] = {
        name: np.array([values.index(str(row[name])) for row in rows], np.int64)
        for name, values in kinds.items()
    }
    labels["tempo"] = np.array([math.log2(row["tempo"] / 100) for row in rows], np.float32)
    return labels


@torch.no_grad()
def embedded(network: Joint, mel: NDArray[np.float16], frames: int) -> Tensor:
    """Unit vector of a whole sound as `AudioTower.embed` makes it: the mean over its windows."""
    device = network.tempo.weight.device
    vectors = network.sounds(torch.from_numpy(windows(mel, frames)).to(device))
    return functional.normalize(vectors.mean(dim=0), dim=-1)


def judged(
    network: Joint,
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[Row],
    mels: Spectrograms,
    config: Config,
) -> dict[str, float]:
    """How well words find music, words name it, and voices find what was made for them.

    Returns:
        Each with its chance level: "recall@1", "recall@8" (the caption as the app words it finds
        its piece among all), "genre", "role" (words alone, zero-shot), "voice recall@1" and "@8"
        (a voice finds its piece among one piece per voice).
    """
    text = TextTower(network.clap, tokenizer)
    music = torch.stack([embedded(network, mels.of(row, "music"), config.frames) for row in rows])
    first = _one_per_voice(rows)
    voice = torch.stack(
        [embedded(network, mels.of(rows[i], "voice"), config.frames) for i in first]
    )
    out = _recalls("", text.embed([row["captions"][0] for row in rows]) @ music.T)
    out |= _recalls("voice ", voice @ music[first].T)
    out["genre"] = _named(text, music, rows, "genre", {n: s.prompt for n, s in styles().items()})
    out["genre by its name"] = _named(
        text, music, rows, "genre", {n: f"{s.title} music" for n, s in styles().items()}
    )
    out["role"] = _named(text, music, rows, "role", ROLES)
    out |= {"genre chance": 1 / len(styles()), "role chance": 1 / len(ROLES)}
    return {name: round(value, 4) for name, value in out.items()}


def _one_per_voice(rows: Sequence[Row]) -> list[int]:
    first: dict[tuple[str, int], int] = {}
    for index, row in enumerate(rows):
        first.setdefault((row["voice"]["file"], row["voice"]["start"]), index)
    return list(first.values())


def _recalls(name: str, likeness: Tensor) -> dict[str, float]:
    """Share of rows whose partner is among the nearest 1 and 8, and what chance gives."""
    count = len(likeness)
    rank = (likeness > likeness.diagonal()[:, None]).sum(dim=1)
    out = {f"{name}recall@{n}": float((rank < n).float().mean()) for n in (1, 8)}
    return out | {f"{name}recall@{n} chance": min(1.0, n / count) for n in (1, 8)}


def _named(
    text: TextTower, music: Tensor, rows: Sequence[Row], label: str, words: dict[str, str]
) -> float:
    """Share of pieces whose nearest words are those of their own label."""
    names = list(words)
    nearest = (music @ text.embed(list(words.values())).T).argmax(dim=1).tolist()
    return float(np.mean([names[i] == row[label] for i, row in zip(nearest, rows, strict=True)]))
