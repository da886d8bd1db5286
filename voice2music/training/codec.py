"""Training of the codec: an EnCodec model that writes music as few tokens.

The exported folder is `EncodecModel.save_pretrained`'s, and what a MusicGen-Melody checkpoint takes
as its `audio_encoder`. Not causal: music is decoded from tokens that lie whole or come in pieces,
never live.
"""

import copy
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import EncodecConfig, EncodecModel

from voice2music.clip import Clip, write
from voice2music.dataset.shards import Pairs
from voice2music.engines.base import Melody
from voice2music.errors import BadManifest, BadRequest
from voice2music.evaluation.melody import melody_accuracy, prominent_pitch_classes
from voice2music.training.quantiser import CodebookTraining, perplexity
from voice2music.training.rivals import SpectrumRivals
from voice2music.training.spectral import SpectralLoss, log_spectral_distance, si_sdr

if TYPE_CHECKING:
    from voice2music.training.teacher import Teacher

SHARD = "15MB"  # no weights file is larger
SILENCE = 1e-3  # rms below which a crop is drawn again, now and then
DRAWS = 4
USUAL_LEVEL = 0.15  # rms of mastered music
GAIN = 6.0  # dB; crops are made louder or softer by up to this


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of the codec and how it is trained.

    Args:
        rate: Hz, of the data too.
        ratios: strides of the decoder from the latents on; their product is the hop.
        filters: channels at the sample rate; doubled by every stride.
        width: of latents and codebooks.
        books, entries: codebooks, and entries of each (a power of 2).
        lstm_layers: on either side, at least 1; residual_layers: per stride.
        batch, seconds: crops per step, and their length (rounded to whole frames).
        warm_up: steps before the latents are quantised; pool: latents kept for the first codebooks.
        decay: of the codebooks' moving averages; dropout: share of crops with fewer books.
        windows: samples, of the spectral losses.
        commitment, log, convergence, wave: weights of the losses beside log-mel, which has 1; a
            waveform that follows a teacher's log-mel cannot know phases, so `wave` is not for it.
        taught: share of a batch on which the encoder learns from a teacher.
        only_encoder: the decoder stays as it is; a teacher is needed.
        rival_channels: of the discriminators' first layers, 0 is none; rival_batch: how many crops
            of a step they see, as they cost more than the codec itself.
        judged, judged_seconds: held-out pieces at a validation, and how much of each.
    """

    rate: int = 16_000
    ratios: tuple[int, ...] = (5, 8, 4, 4)
    filters: int = 24
    width: int = 64
    books: int = 8
    entries: int = 512
    lstm_layers: int = 1
    residual_layers: int = 2
    batch: int = 8
    seconds: float = 1.28
    warm_up: int = 200
    pool: int = 8192
    decay: float = 0.99
    dropout: float = 0.15
    windows: tuple[int, ...] = (4096, 2048, 1024, 512, 256)
    commitment: float = 0.25
    log: float = 0.3
    convergence: float = 0.5
    wave: float = 0.0
    taught: float = 0.25
    only_encoder: bool = False
    rival_channels: int = 16
    rival_batch: int = 4
    judged: int = 16
    judged_seconds: float = 6.0

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return math.prod(self.ratios)

    @property
    def crop(self) -> int:
        """Samples of a training crop."""
        return max(1, round(self.seconds * self.rate / self.hop)) * self.hop


class CodecNetwork(nn.Module):
    """The codec with its losses and the training of its codebooks.

    Args:
        codec: EncodecModel.
        trained: whether its codebooks are.
        teacher: whose tokens it learns to sound and to find; its codebooks are the codec's, and
            stay as they are. None: codec and codebooks learn from waveforms alone.
    """

    def __init__(
        self, config: CodecConfig, codec: EncodecModel, trained: bool, teacher: "Teacher | None"
    ) -> None:
        super().__init__()
        self.config, self.codec = config, codec
        self.teacher = teacher and teacher.requires_grad_(False)
        self.codebooks = CodebookTraining(
            config.width,
            warm_up=0 if trained else config.warm_up,
            pool=config.pool,
            decay=config.decay,
            dropout=config.dropout,
        )
        self.spectral = SpectralLoss(config.rate, config.windows)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of "real" (batch, samples); "made" is what was decoded, where anything was."""
        real = batch["real"]
        if self.config.only_encoder:
            _, own = self._taught(real)
            return {"loss": own["own"], **own}
        if self.teacher is None:
            latents, own = self._learnt(real, int(batch["seed"]))
        else:
            latents, own = self._taught(real)
        made = self.codec.decoder(latents)[:, 0].float()
        apart = self.spectral(real, made)
        wave = (real - made).abs().mean() / (real.square().mean().sqrt() + 1e-3)
        config = self.config
        loss = (
            apart["mel"]
            + config.log * apart["log"]
            + config.convergence * apart["convergence"]
            + config.wave * wave
            + own["own"]
        )
        return {"loss": loss, **apart, "wave": wave, **own, "real": real, "made": made}

    def _learnt(self, real: Tensor, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents of the codec's own encoder, the codebooks following them."""
        latents = self.codec.encoder(real[:, None])
        with torch.autocast(real.device.type, enabled=False):
            quantised = self.codebooks(self.codec.quantizer, latents.float(), seed)
        commitment = quantised.commitment
        own = {"own": self.config.commitment * commitment, "commitment": commitment}
        return quantised.latents, {**own, "perplexity": quantised.perplexity}

    def _taught(self, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The teacher's latents, quantised; and how far the encoder's are from them."""
        assert self.teacher is not None
        with torch.no_grad():
            latents = self.teacher.latents(real)
            with torch.autocast(real.device.type, enabled=False):
                quantizer = self.codec.quantizer
                quantised = quantizer.decode(quantizer.encode(latents))
        few = max(1, round(self.config.taught * len(real)))
        found = self.codec.encoder(real[:few, None]).float()
        missed = (found - latents[:few]).square().mean() / latents.square().mean()
        return quantised, {"own": missed}


class CodecTask:
    """What the loop needs to train a codec.

    Args:
        config: sizes.
        data: folder of pairs at the codec's rate.
        start: folder of an exported codec to go on from.
        teacher: folder of an exported teacher.
    Raises:
        BadManifest: no pairs there, or pairs at another rate.
        BadRequest: the encoder alone, without a teacher.
    """

    def __init__(
        self,
        config: CodecConfig,
        data: Path,
        start: Path | None = None,
        teacher: Path | None = None,
    ) -> None:
        if config.only_encoder and teacher is None:
            raise BadRequest("An encoder alone learns from a teacher: give its folder, --teacher.")
        self.config = config
        self._train, self._valid = (
            _pairs(data, split, config.rate) for split in ("train", "valid")
        )
        lengths = np.array([row["music"]["count"] for row in self._train.rows], np.float64)
        self._odds = lengths / lengths.sum()
        self._teacher = teacher
        codec, taught = new_codec(config, start), None
        if teacher is not None:
            from voice2music.training.teacher import load_teacher

            taught, books = load_teacher(teacher)
            codec.quantizer.load_state_dict(books.quantizer.state_dict())
        self.network: nn.Module = CodecNetwork(config, codec, start is not None, taught)
        channels = config.rival_channels
        self.rival: nn.Module | None = SpectrumRivals(channels=channels) if channels else None

    def batch(self, chance: np.random.Generator) -> dict[str, Any]:
        """Crops of the training pieces, (batch, samples)."""
        crops = [self._crop(chance) for _ in range(self.config.batch)]
        return {"real": np.stack(crops), "seed": np.int64(chance.integers(2**31))}

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Distances between held-out pieces and what their tokens decode to; writes one pair."""
        pieces = _spread(len(self._valid), self.config.judged)
        seconds = self.config.judged_seconds
        real = [self._valid.music(i, seconds=seconds) for i in pieces]
        codes, made = zip(*(reconstructed(network.codec, sound) for sound in real), strict=True)
        rate = self.config.rate
        for name, sound in (("original", real[0]), ("coded", made[0])):
            write(Clip(sound, rate), folder / f"{name}.wav")
        judged = [distances(a, b, rate) for a, b in zip(real, made, strict=True)]
        means = {key: float(np.mean([each[key] for each in judged])) for key in judged[0]}
        return {**means, **codebook_use(np.concatenate(codes, axis=1), self.config.entries),
                **self._melody_kept(pieces, real, made)}  # fmt: skip

    def export(self, network: nn.Module, folder: Path) -> None:
        """The codec alone, in half precision, as `EncodecModel.from_pretrained` reads it."""
        codec: Any = copy.deepcopy(network.codec)
        codec.half().eval().save_pretrained(folder, max_shard_size=SHARD)
        if self._teacher is not None:  # whoever makes tokens for training asks it
            shutil.copytree(self._teacher / "teacher", folder / "teacher", dirs_exist_ok=True)

    def _crop(self, chance: np.random.Generator) -> NDArray[np.float32]:
        """A stretch of a piece, drawn again a few times where it is silent."""
        size, rate = self.config.crop, self.config.rate
        for _ in range(DRAWS):
            index = int(chance.choice(len(self._odds), p=self._odds))
            latest = max(0, self._train.rows[index]["music"]["count"] - size)
            start = int(chance.integers(latest + 1))
            sound = self._train.music(index, start / rate, size / rate)
            if sound.size and float(np.sqrt(np.mean(sound**2))) > SILENCE:
                break
        sound = np.pad(sound, (0, size - len(sound))) * 10 ** (chance.uniform(-GAIN, GAIN) / 20)
        return np.clip(sound, -1, 1).astype(np.float32)

    def _melody_kept(
        self,
        pieces: list[int],
        real: list[NDArray[np.float32]],
        made: tuple[NDArray[np.float32], ...],
    ) -> dict[str, float]:
        """Melody accuracy of originals and decoded music, where the music has the tune."""
        kept: dict[str, list[float]] = {"melody_original": [], "melody_coded": []}
        for index, original, coded in zip(pieces, real, made, strict=True):
            if self._valid.rows[index]["role"] != "tune":
                continue
            asked = Melody(self._valid.heard(index, seconds=self.config.judged_seconds), ())
            for key, sound in zip(kept, (original, coded), strict=True):
                played = prominent_pitch_classes(Clip(sound, self.config.rate))
                kept[key].append(melody_accuracy(played, asked).value)
        return {key: float(np.nanmean(values)) for key, values in kept.items() if values}


def task(
    config: CodecConfig, data: Path, start: Path | None = None, teacher: Path | None = None
) -> CodecTask:
    """A codec to train on the pairs in `data`; see `CodecTask`."""
    return CodecTask(config, data, start, teacher)


def new_codec(config: CodecConfig, start: Path | None = None) -> EncodecModel:
    """A codec of random weights, or the one in the folder `start`, in single precision."""
    if start is not None:
        return EncodecModel.from_pretrained(start, dtype=torch.float32)
    frame_rate = math.ceil(config.rate / config.hop)
    bits = config.books * frame_rate * math.log2(config.entries)
    codec = EncodecModel(
        EncodecConfig(
            sampling_rate=config.rate,
            # The class counts its books by rounding down bandwidth over bits.
            target_bandwidths=[(bits + 1) / 1000],
            upsampling_ratios=list(config.ratios),
            num_filters=config.filters,
            hidden_size=config.width,
            codebook_size=config.entries,
            num_lstm_layers=config.lstm_layers,
            num_residual_layers=config.residual_layers,
            use_causal_conv=False,
            use_conv_shortcut=False,
            pad_mode="constant",  # reflection takes a fifth of a step on a CPU
        )
    )
    _enliven(codec)
    return codec


@torch.no_grad()
def _enliven(codec: EncodecModel) -> None:
    """Gains at which sound passes through the fresh networks at one level.

    torch's own initialisation shrinks it by 5 dB a layer, and more in transposed convolutions:
    hundreds of steps pass before anything is heard.
    """
    for module in codec.modules():
        if isinstance(module, nn.Conv1d):
            _set_gain(module, 1.0)
        elif isinstance(module, nn.ConvTranspose1d):
            # Every output sample sums kernel / stride taps of every input channel.
            level = math.sqrt(module.out_channels * module.stride[0] / module.in_channels)
            _set_gain(module, level)
    _set_gain(codec.encoder.layers[0].conv, 1 / USUAL_LEVEL)
    _set_gain(codec.decoder.layers[-1].conv, USUAL_LEVEL)


def _set_gain(convolution: Any, gain: float) -> None:  # noqa: ANN401
    """The norm that weight normalisation gives every filter."""
    convolution.parametrizations.weight.original0.fill_(gain)


@torch.inference_mode()
def reconstructed(
    codec: EncodecModel, sound: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Tokens (books, frames) of a sound (samples,), and the sound that they decode to."""
    parameter = next(codec.parameters())
    values = torch.tensor(sound, dtype=parameter.dtype, device=parameter.device)[None, None]
    codes = codec.encode(values).audio_codes
    made = codec.decode(codes, [None]).audio_values[0, 0, : len(sound)]
    return codes[0, 0].cpu().numpy(), made.float().cpu().numpy()


def distances(real: NDArray[np.float32], made: NDArray[np.float32], rate: int) -> dict[str, float]:
    """Multi-scale log-mel distance (nepers), log-spectral distance (dB), SI-SDR (dB)."""
    pair = torch.tensor(real)[None], torch.tensor(made)[None]
    return {
        "mel": float(SpectralLoss(rate)(*pair)["mel"]),
        "lsd": log_spectral_distance(*pair),
        "si_sdr": si_sdr(*pair),
    }


def codebook_use(codes: NDArray[np.int64], entries: int) -> dict[str, float]:
    """Perplexity of every book over tokens (books, frames)."""
    return {
        f"perplexity_{number}": float(perplexity(torch.as_tensor(book), entries))
        for number, book in enumerate(codes)
    }


def _pairs(data: Path, split: str, rate: int) -> Pairs:
    pairs = Pairs(data, split)
    if not len(pairs):
        raise BadManifest(f"'{data.name}' holds no {split} pieces. Make a larger data set.")
    if found := {row["music"]["rate"] for row in pairs.rows} - {rate}:
        raise BadManifest(
            f"'{data.name}' holds music at {found.pop()} Hz, the codec is for {rate} Hz. Make the "
            f"data set with --rate {rate}."
        )
    return pairs


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices, evenly over `count`."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, wanted)).round())]
