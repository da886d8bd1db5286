"""AudioLDM: words, a voice and a tune to latents, latents to log-mel, log-mel to sound."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from voice2music.clip import Clip
from voice2music.engines.audioldm.conditions import branches, hears_tune, hears_voice
from voice2music.engines.audioldm.inversion import inverted
from voice2music.engines.audioldm.layout import Layout
from voice2music.engines.audioldm.parts import Parts
from voice2music.engines.audioldm.replaying import Replayed
from voice2music.engines.audioldm.sampling import (
    ALWAYS,
    Interval,
    Sampler,
    denoised,
    downsampling,
    scheduler_for,
)
from voice2music.engines.audioldm.vocoding import waveform
from voice2music.engines.audioldm.windows import over_windows
from voice2music.engines.base import (
    Conditioning,
    Description,
    Part,
    Progress,
    Rendition,
    Settings,
)
from voice2music.engines.memory import memory_errors_named
from voice2music.engines.spectrogram import log_mel
from voice2music.errors import BadRequest, Cancelled, CorruptCheckpoint, TooLong
from voice2music.remarks import Remark, remark
from voice2music.request import LONGEST, SHORTEST

STEPS = 20  # of a checkpoint for which no curve was measured
# Of our own: the fewest steps and the least guidance that lose nothing, as was measured by
# `benchmarks/audioldm_steps.py`.
OWN_STEPS = 8
OWN_GUIDED: Interval = (0.2, 0.8)
SILENT = 1e-3  # peak below which a take is as good as silent, -60 dBFS

Cancel = Callable[[], bool]
GoOn = Callable[[float], None]


@dataclass(frozen=True)
class About:
    """Name and terms of a checkpoint. See `Description`."""

    name: str
    sha256: str = ""
    licence: str = "unknown"
    commercial: bool = False


@dataclass(frozen=True, eq=False)
class Start:
    """The sound that the latents are made of (None: noise), and notes on why not as asked."""

    sound: Clip | None
    notes: tuple[Remark, ...] = ()


class AudioLDM:
    """The engine. See `voice2music.engines.base.Engine` for the contract.

    Args:
        parts: the networks.
        about: name, licence and hash of the weights.
        sampler: "dpm++" or "ddim".
    """

    def __init__(self, parts: Parts, about: About, sampler: Sampler = "dpm++") -> None:
        self.parts, self.about, self.sampler = parts, about, sampler
        on_card = parts.unet.device.type == "cuda"
        self._unet = Replayed(parts.unet, graph=True) if on_card else parts.unet

    def describe(self) -> Description:
        """What it is and what it cannot do."""
        return Description(
            name="audioldm",
            title="AudioLDM",
            checkpoint=self.about.name,
            sha256=self.about.sha256,
            licence=self.about.licence,
            commercial=self.about.commercial,
            rate=self.parts.mel.rate,
            shortest=SHORTEST,
            longest=LONGEST,
            follows_voice=self.parts.layout.melody is not None,
            limits=self._limits(),
        )

    def generate(
        self,
        conditioning: Conditioning,
        settings: Settings,
        progress: Progress,
        cancelled: Cancel,
    ) -> Iterator[Part | Rendition]:
        """Make music. The sound exists at the very end: one part, then the rendition.

        Raises:
            BadRequest: shorter than 3 s, or to start from a voice or sketch that is not there.
            TooLong: longer than 120 s.
            Cancelled, OutOfMemory: as their names say.
        """
        _check_length(conditioning.seconds)
        start = self._start(conditioning, settings)
        with memory_errors_named():
            audio = self._sound(conditioning, settings, start.sound, progress, cancelled)
        progress(1.0, "done")
        yield Part(audio)
        yield Rendition(audio, notes=(*start.notes, *self._notes(conditioning, audio)))

    def encoded(self, sound: Clip, frames: int, go_on: GoOn = lambda share: None) -> Tensor:
        """Latents of a sound, shape (channels, frames, bins): the VAE's mean, scaled.

        Args:
            sound: any rate; cut or padded with silence.
            frames: latent frames, a multiple of the UNet's downsampling.
            go_on: called with the share done; may raise `Cancelled`.
        """
        vae, shrink = self.parts.vae, self.parts.shrink
        mel = log_mel(sound, self.parts.mel, frames * shrink).to(vae.device)

        def encode(part: Tensor) -> Tensor:
            go_on(0.0)
            mean: Tensor = vae.encode(part[None]).latent_dist.mode()[0]
            return mean * float(vae.config.scaling_factor)

        unit = shrink * downsampling(self.parts.unet)
        return over_windows(encode, mel[None], self.parts.window * shrink, unit)

    def decoded(self, latents: Tensor, go_on: GoOn = lambda share: None) -> Tensor:
        """Log-mel of latents, shape (frames, bins); window by window, cross-faded.

        In bfloat16 where the UNet is: that moves log-mels by .02 nepers, see
        `benchmarks/speed_audioldm.py`.
        """
        vae, half = self.parts.vae, self.parts.unet.dtype == torch.bfloat16

        def decode(part: Tensor) -> Tensor:
            go_on(0.0)
            with torch.autocast(vae.device.type, torch.bfloat16, enabled=half):
                mel: Tensor = vae.decode(part[None] / float(vae.config.scaling_factor)).sample[0]
            return mel.float()

        return over_windows(decode, latents, self.parts.window, downsampling(self.parts.unet))[0]

    def sounded(self, mel: Tensor, go_on: GoOn = lambda share: None) -> Tensor:
        """Samples of a log-mel, shape (frames * hop,)."""
        if self.parts.inverter is not None:
            return inverted(self.parts.inverter, mel, go_on)
        return waveform(self.parts.vocoder, mel, go_on)

    @torch.inference_mode()
    def reconstructed(self, sound: Clip) -> Clip:
        """A sound through VAE and vocoder alone: as well as this checkpoint can sound at all."""
        latents = self.encoded(sound, self.parts.frames(sound.seconds))
        return self._clip(self.sounded(self.decoded(latents)), sound.seconds)

    @torch.inference_mode()
    def _sound(
        self,
        conditioning: Conditioning,
        settings: Settings,
        start: Clip | None,
        progress: Progress,
        cancelled: Cancel,
    ) -> Clip:
        def stage(low: float, high: float, words: str) -> GoOn:
            def go_on(share: float) -> None:
                if cancelled():
                    raise Cancelled("Stopped.")
                progress(low + (high - low) * share, words)

            return go_on

        listening = stage(0.0, 0.02, "listening")
        listening(0.0)
        frames = self.parts.frames(conditioning.seconds)
        conditions = branches(self.parts, conditioning, settings, frames)
        latents = denoised(
            self._unet,
            scheduler_for(self.parts.schedule, self.sampler),
            self._noise(settings.seed, frames),
            conditions,
            window=self.parts.window,
            steps=settings.steps or steps_of(self.parts.layout),
            start=None if start is None else self.encoded(start, frames, listening),
            strength=settings.strength,
            go_on=stage(0.02, 0.85, "drawing"),
            guided=guided_of(self.parts.layout),
        )
        mel = self.decoded(latents, stage(0.85, 0.92, "sounding"))
        samples = self.sounded(mel, stage(0.92, 0.99, "sounding"))
        return self._clip(samples, conditioning.seconds)

    def _noise(self, seed: int, frames: int) -> Tensor:
        """Unit Gaussian latents; drawn on the CPU, so that a seed means the same everywhere."""
        parts = self.parts
        shape = (parts.vae.config.latent_channels, frames, parts.mel.bins // parts.shrink)
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=generator).to(parts.vae.device)

    def _clip(self, samples: Tensor, seconds: float) -> Clip:
        if not torch.isfinite(samples).all():
            raise CorruptCheckpoint(
                f"'{self.about.name}' gave values that are not numbers. Fetch it again; on a "
                f"graphics card, try the CPU."
            )
        wave = samples[: round(seconds * self.parts.mel.rate)].float().cpu().numpy()
        return Clip(wave, self.parts.mel.rate)

    def _start(self, given: Conditioning, settings: Settings) -> Start:
        """The sound to start from: as asked; by itself the sketch where no tune can be followed."""
        if settings.start_from == "voice":
            if given.voice is None:
                raise BadRequest("There is no voice to start from. Record one, or choose 'noise'.")
            return Start(given.voice)
        if settings.start_from == "band":
            if given.sketch is None:
                raise BadRequest("There is no sketch of the band to start from. Choose 'noise'.")
            return Start(given.sketch)
        nothing = given.melody is None and given.voice is None
        if nothing or hears_tune(self.parts, given):
            return Start(None)
        if settings.start_from == "auto" and given.sketch is not None:
            return Start(given.sketch, (remark("cascade"),))
        return Start(None, () if hears_voice(self.parts, given) else (remark("words_only"),))

    def _limits(self) -> tuple[str, ...]:
        parts = self.parts
        limits = [
            f"Its sound is mono and reaches up to {parts.mel.rate / 2000:g} kHz.",
            f"It was trained on {parts.layout.window_seconds:.0f} s of sound; longer music is "
            f"made in overlapping windows.",
        ]
        if parts.layout.melody is None:
            limits.append(
                "It was not trained to follow a tune. Start from the band's sketch, and it plays "
                "your tune by re-rendering what the band plays."
            )
        if parts.deaf:
            limits.append(parts.deaf)
        return tuple(limits)

    def _notes(self, conditioning: Conditioning, audio: Clip) -> Iterator[Remark]:
        trained = self.parts.layout.window_seconds
        if conditioning.seconds > trained:
            yield remark("longer_than_trained", seconds=trained)
        if self.parts.text.cuts(conditioning.text):
            yield remark("pieces_cut", pieces=self.parts.text.longest)
        if audio.peak < SILENT:
            yield remark("almost_silent")


def steps_of(layout: Layout) -> int:
    """Steps where none are asked for.

    A checkpoint that follows a tune frame by frame is ours, or was fine-tuned with our rows.
    """
    return STEPS if layout.melody is None else OWN_STEPS


def guided_of(layout: Layout) -> Interval:
    """Shares of diffusion time between which there is guidance, see `denoised`."""
    return ALWAYS if layout.melody is None else OWN_GUIDED


def _check_length(seconds: float) -> None:
    if not seconds >= SHORTEST:
        raise BadRequest(f"AudioLDM makes {SHORTEST:g} s at least; {seconds:g} s were asked for.")
    if seconds > LONGEST:
        raise TooLong(f"AudioLDM makes {LONGEST:g} s at most; {seconds:g} s were asked for.")
