"""An AudioLDM folder on disk (the diffusers layout) as parts in memory."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from voice2music.engines.audioldm.clap import (
    TRUSTED,
    AudioFeatures,
    AudioTower,
    TextTower,
    load_audio_tower,
    whole,
)
from voice2music.engines.audioldm.film import load_film
from voice2music.engines.audioldm.layout import Layout
from voice2music.engines.audioldm.reading import (
    damage_named,
    diffusers_model,
    transformers_model,
)
from voice2music.engines.audioldm.sampling import downsampling
from voice2music.engines.spectrogram import MelSettings
from voice2music.errors import CorruptCheckpoint, MissingCheckpoint

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.configuration_utils import FrozenDict
    from transformers import SpeechT5HifiGan

    from voice2music.engines.audioldm.inversion import MelInverter

log = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]
SMALL = 5_000_000  # bytes of a UNet's weights below which half precision gains nothing
FOLDERS = ("vae", "unet", "text_encoder", "tokenizer", "vocoder", "scheduler")


@dataclass(frozen=True, eq=False)
class Parts:
    """The networks of an AudioLDM, in evaluation mode on one device.

    Args:
        vae: AutoencoderKL, log-mel (1, 1, T, bins) to latents and back.
        unet: UNet2DConditionModel with CLAP as class embedding.
        text: CLAP's text tower.
        vocoder: SpeechT5HifiGan.
        schedule: config of the noise schedule.
        layout: how it was trained.
        audio: a CLAP audio tower that agrees with `text`, or None.
        deaf: why there is no audio tower, a plain sentence; "" where there is one or none is
            wanted.
        inverter: log-mel to STFT magnitudes, to be used in the vocoder's place, or None.
    Raises:
        CorruptCheckpoint: sizes that do not fit together.
    """

    vae: "AutoencoderKL"
    unet: "UNet2DConditionModel"
    text: TextTower
    vocoder: "SpeechT5HifiGan"
    schedule: "FrozenDict"
    layout: Layout
    audio: AudioTower | None = None
    deaf: str = "This checkpoint brings no CLAP audio tower, so it cannot hear a voice."
    inverter: "MelInverter | None" = None

    def __post_init__(self) -> None:
        melody = self.layout.melody.channels if self.layout.melody else 0
        latent = self.vae.config.latent_channels
        size = self.text.model.config.projection_dim
        expected: dict[str, tuple[object, object]] = {
            "UNet input channels": (self.unet.config.in_channels, latent + melody),
            "CLAP embedding": (
                self.unet.config.projection_class_embeddings_input_dim,
                2 * size if self.layout.clap == "concatenated" else size,
            ),
            "mel bins": (self.vocoder.config.model_in_dim % self.shrink, 0),
        }
        if self.inverter is not None:
            expected["inverter's log-mel"] = (self.inverter.settings, self.mel)
        for name, (got, wanted) in expected.items():
            if got != wanted:
                raise CorruptCheckpoint(
                    f"The checkpoint's parts do not fit together ({name}: {got}, the other parts "
                    f"say {wanted}). Fetch it again, or check its voice2music.json."
                )

    @property
    def shrink(self) -> int:
        """How many mel frames (and bins) go into one latent frame (and bin)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def mel(self) -> MelSettings:
        """How the VAE and the vocoder see sound."""
        config = self.vocoder.config
        return MelSettings(
            rate=config.sampling_rate,
            hop=math.prod(config.upsample_rates),
            bins=config.model_in_dim,
            n_fft=self.layout.n_fft,
            fmin=self.layout.fmin,
            fmax=self.layout.fmax,
        )

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.mel.rate / self.mel.hop / self.shrink

    @property
    def window(self) -> int:
        """Latent frames of the trained window, a multiple of the UNet's downsampling."""
        unit = downsampling(self.unet)
        return max(1, round(self.layout.window_seconds * self.frame_rate / unit)) * unit

    def frames(self, seconds: float) -> int:
        """Latent frames that hold `seconds`, a multiple of the UNet's downsampling."""
        unit = downsampling(self.unet)
        return math.ceil(seconds * self.frame_rate / unit - 1e-9) * unit


def load_parts(
    folder: Path,
    device: str = "cpu",
    precision: Precision = "auto",
    audio_tower: Path | None = None,
    trust: bool = False,
) -> Parts:
    """Read a checkpoint. Nothing is downloaded, and the caller's random state stays as it is.

    Args:
        folder: with `vae/`, `unet/`, `text_encoder/`, `tokenizer/`, `vocoder/`, `scheduler/`, and
            optionally `audio_tower/`, `vocoder/inverter/` and `voice2music.json`.
        device: as torch names them.
        precision: of the UNet, which is most of the work, and with bfloat16 of the VAE's decoder;
            the rest is in float32. "auto" is half precision on a graphics card, and bfloat16 on a
            processor that computes in it (avx512_bf16), but for a UNet that is too small to gain.
        audio_tower: a CLAP from elsewhere (see `load_audio_tower`) instead of the folder's own.
        trust: see `load_audio_tower`.
    Raises:
        MissingCheckpoint: no such folder.
        CorruptCheckpoint: parts are missing, damaged, or do not fit together.
    """
    _check_folders(folder)
    with torch.random.fork_rng(devices=[]):
        layout = Layout.read(folder)
        text = _text_tower(folder)
        tower = _audio_tower(folder, text, audio_tower, trust) if layout.clap != "words" else None
        vae = diffusers_model("AutoencoderKL", folder / "vae", torch.float32)
        dtype = _dtype(folder / "unet", device, precision)
        unet = diffusers_model("UNet2DConditionModel", folder / "unet", dtype)
        if layout.film:
            load_film(unet, folder / "unet")
        vocoder = transformers_model("SpeechT5HifiGan", folder / "vocoder")
        inverter = _inverter(folder / "vocoder")
    deaf = "" if layout.clap == "words" else _why_deaf(tower, text)
    if tower and deaf:
        log.warning("%s: %s", folder.name, deaf)
    trusted = None if deaf else tower
    spare = [model for model in (trusted and trusted.model, inverter) if model is not None]
    for model in (vae, unet, vocoder, text.model, *spare):
        model.to(device)
    return Parts(
        vae=vae,
        unet=unet,
        text=text,
        vocoder=vocoder,
        schedule=_schedule(folder / "scheduler"),
        layout=layout,
        audio=trusted,
        deaf=deaf,
        inverter=inverter,
    )


def add_audio_tower(source: Path, folder: Path, *, trust: bool = False) -> Path:
    """Give an AudioLDM folder ears: write the audio tower of a CLAP as its `audio_tower/`.

    Args:
        source, trust: see `load_audio_tower`.
        folder: of the AudioLDM.
    Returns:
        The folder.
    Raises:
        CorruptCheckpoint: the CLAP is damaged, or its text tower is not the AudioLDM's.
    """
    _check_folders(folder)
    with torch.random.fork_rng(devices=[]):
        text = _text_tower(folder)
        tower = load_audio_tower(source, text.tokenizer, trust)
    if deaf := _why_deaf(tower, text):
        raise CorruptCheckpoint(f"'{source.name}' does not fit '{folder.name}'. {deaf}")
    tower.save(folder / "audio_tower")
    return folder


def _dtype(unet: Path, device: str, precision: Precision) -> torch.dtype:
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if not device.startswith("cuda"):
        size = sum(file.stat().st_size for file in unet.glob("*.safetensors"))
        fast = size >= SMALL and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    exact = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if exact else torch.float16


def _why_deaf(tower: AudioTower | None, text: TextTower) -> str:
    """Why the voice cannot be heard through CLAP, "" where it can."""
    if tower is None:
        return Parts.deaf
    agreement = tower.agreement(text)
    if agreement >= TRUSTED:
        return ""
    return (
        f"The CLAP audio tower was trained with another text tower than this checkpoint's "
        f"(they agree to {agreement:.2f}; {TRUSTED} is needed), so it cannot hear a voice for it."
    )


def _check_folders(folder: Path) -> None:
    if not folder.is_dir():
        raise MissingCheckpoint(
            f"There is no AudioLDM folder '{folder.name}'. Fetch it with 'voice2music models "
            f"fetch', or give the path of a folder in the diffusers layout."
        )
    lacking = [name for name in FOLDERS if not (folder / name).is_dir()]
    if lacking:
        raise CorruptCheckpoint(
            f"'{folder.name}' is not a whole AudioLDM in the diffusers layout: "
            f"{', '.join(lacking)} missing."
        )


def _text_tower(folder: Path) -> TextTower:
    from transformers import AutoConfig, AutoTokenizer

    place = folder / "text_encoder"
    with damage_named(place):
        kind = AutoConfig.from_pretrained(place, local_files_only=True).model_type
    with damage_named(folder / "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    name = "ClapModel" if kind == "clap" else "ClapTextModelWithProjection"
    return TextTower(transformers_model(name, place), tokenizer)


def _audio_tower(
    folder: Path, text: TextTower, elsewhere: Path | None, trust: bool
) -> AudioTower | None:
    """From the first place that has one: where the user says, the folder, the text encoder."""
    own = folder / "audio_tower"
    if elsewhere is not None or own.is_dir():
        return load_audio_tower(elsewhere or own, text.tokenizer, trust)
    if text.model.config.model_type == "clap":
        return whole(text.model, text.tokenizer, AudioFeatures())
    return None


def _inverter(vocoder: Path) -> "MelInverter | None":
    from voice2music.engines.audioldm.inversion import load_inverter

    return load_inverter(vocoder)


def _schedule(place: Path) -> "FrozenDict":
    from diffusers import DDIMScheduler

    with damage_named(place):
        return DDIMScheduler.from_pretrained(place, local_files_only=True).config
