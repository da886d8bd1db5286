"""Does a UNet follow tune and words? Losses by noise level, and takes made with the engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from voice2music.chords import parse_key
from voice2music.clip import Clip, write
from voice2music.dataset.shards import Pairs
from voice2music.engines.audioldm.engine import About, AudioLDM
from voice2music.engines.audioldm.inversion import load_inverter
from voice2music.engines.audioldm.layout import Layout
from voice2music.engines.audioldm.parts import Parts
from voice2music.engines.audioldm.reading import diffusers_model, transformers_model
from voice2music.engines.base import Conditioning, Melody, Rendition, Settings
from voice2music.engines.spectrogram import MelSettings
from voice2music.evaluation.melody import melody_accuracy, moved_to_key, prominent_pitch_classes
from voice2music.styles import styles
from voice2music.training.assembly import Sources
from voice2music.training.latents import heard_melody, towers
from voice2music.training.plans import music_chords, music_grid
from voice2music.training.sounding import griffin_lim

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.configuration_utils import FrozenDict

TIMES = (200, 500, 800)
Errors = Callable[[Mapping[str, Tensor]], Tensor]


@torch.no_grad()
def losses_by_noise(errors: Errors, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean errors at three noise levels with the right tune, another piece's, and none.

    Args:
        errors: of the rows of a batch, as `Denoiser.errors`.
        batch: a held-out one, nothing left out.
    """
    tunes = {
        "right": batch["tune"],
        "other": batch["tune"].roll(1, dims=0),
        "no": torch.zeros_like(batch["tune"]),
    }
    out = {}
    for name, tune in tunes.items():
        for time in TIMES:
            times = torch.full_like(batch["time"], time)
            part = {**batch, "tune": tune, "time": times}
            out[f"v at {time}, {name} tune"] = float(errors(part).mean())
    words = {**batch, "clap": batch["clap"].roll(1, dims=0)}
    out["v, right words"] = float(errors(batch).mean())
    out["v, other words"] = float(errors(words).mean())
    return {name: round(value, 4) for name, value in out.items()}


class PhaseRounds(nn.Module):
    """Griffin and Lim in a vocoder's place, while there is no vocoder.

    Args:
        mel: what it is given.
    """

    def __init__(self, mel: MelSettings) -> None:
        from transformers import SpeechT5HifiGanConfig

        super().__init__()
        self.mel = mel
        self.config = SpeechT5HifiGanConfig(
            model_in_dim=mel.bins,
            sampling_rate=mel.rate,
            upsample_rates=[mel.hop],
            upsample_kernel_sizes=[mel.hop],
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Samples, shape (frames * hop,), of a log-mel (frames, bins)."""
        return griffin_lim(mel.cpu(), self.mel)


@dataclass(frozen=True, eq=False)
class Piece:
    """A held-out piece: what it is asked for, and its music."""

    name: str
    asked: Conditioning
    melody: Melody
    music: Clip


class Judge:
    """Takes of held-out pieces, made as the app makes them.

    Args:
        pairs: the held-out split.
        sources: folders of the other networks.
        layout: of the checkpoint.
        mel: of the VAE.
        count: pieces whose tune is played; each of another voice.
    """

    def __init__(
        self, pairs: Pairs, sources: Sources, layout: Layout, mel: MelSettings, count: int
    ) -> None:
        self._pairs, self._sources, self._layout = pairs, sources, layout
        self._mel, self._count = mel, count

    def followed(
        self, unet: "UNet2DConditionModel", schedule: "FrozenDict", steps: int, folder: Path
    ) -> dict[str, float]:
        """How well takes follow voice and words; the sounds go into `folder`.

        Returns:
            "melody" of the takes with its floor (the other voices, moved to the same key) and
            ceiling (the music itself through VAE and vocoder), "genre" as CLAP hears it, and its
            ceiling.
        """
        engine = AudioLDM(replace(self._parts, unet=unet, schedule=schedule), About("training"))
        takes = [_take(engine, piece.asked, steps) for piece in self._pieces]
        for piece, take in zip(self._pieces, takes, strict=True):
            write(take, folder / f"{piece.name}.wav")
        melody, floor = self._melody(takes)
        rounded = {"melody": melody, "melody floor": floor, "genre": self._genre(takes)}
        return {name: round(value, 4) for name, value in rounded.items()} | self._ceilings

    @cached_property
    def _pieces(self) -> list[Piece]:
        chosen: dict[tuple[str, int], int] = {}
        for index, row in enumerate(self._pairs.rows):
            if row["role"] == "tune" and row["seconds"] >= self._layout.window_seconds:
                chosen.setdefault((row["voice"]["file"], row["voice"]["start"]), index)
        return [self._piece(index) for index in list(chosen.values())[: self._count]]

    def _piece(self, index: int) -> Piece:
        row, seconds = self._pairs.rows[index], self._layout.window_seconds
        melody = heard_melody(self._pairs, index, seconds)
        asked = Conditioning(
            genre=row["genre"],
            text=row["captions"][0],
            seconds=seconds,
            grid=music_grid(row),
            key=parse_key(row["heard"]["key"]),
            chords=music_chords(row),
            melody=melody,
            role=row["role"],
            voice=Clip(self._pairs.voice(index, 0.0, seconds), row["voice"]["rate"]),
        )
        music = Clip(self._pairs.music(index, 0.0, seconds), row["music"]["rate"])
        return Piece(row["id"], asked, melody, music)

    @cached_property
    def _parts(self) -> Parts:
        """Everything but the UNet, which is new each time; so is its place-holder."""
        from voice2music.training.audioldm import Config, network_of, scheduler_of

        text, audio = towers(self._sources.clap)
        vocoder: Any = PhaseRounds(self._mel)
        inverter = None
        if self._sources.vocoder is not None:
            vocoder = transformers_model("SpeechT5HifiGan", self._sources.vocoder)
            inverter = load_inverter(self._sources.vocoder)
        return Parts(
            vae=diffusers_model("AutoencoderKL", self._sources.vae, torch.float32),
            unet=network_of(Config(clap=text.model.config.projection_dim)),
            text=text,
            vocoder=vocoder,
            schedule=scheduler_of().config,
            layout=self._layout,
            audio=audio,
            inverter=inverter,
        )

    @cached_property
    def _ceilings(self) -> dict[str, float]:
        engine = AudioLDM(self._parts, About("training"))
        rebuilt = [engine.reconstructed(piece.music) for piece in self._pieces]
        values = {"melody ceiling": self._melody(rebuilt)[0], "genre ceiling": self._genre(rebuilt)}
        return {name: round(value, 4) for name, value in values.items()}

    def _melody(self, takes: list[Clip]) -> tuple[float, float]:
        """Mean melody accuracy against the own voices and against the others'."""
        own, others = [], []
        for index, (piece, take) in enumerate(zip(self._pieces, takes, strict=True)):
            played = prominent_pitch_classes(take)
            own.append(melody_accuracy(played, piece.melody).value)
            others += [
                melody_accuracy(played, _in_key(other, piece)).value
                for number, other in enumerate(self._pieces)
                if number != index
            ]
        return float(np.nanmean(own)), float(np.nanmean(others)) if others else float("nan")

    def _genre(self, takes: list[Clip]) -> float:
        """Share of takes that are nearest to the words of the genre asked for."""
        names = list(styles())
        words = self._parts.text.embed([style.prompt for style in styles().values()])
        audio = self._parts.audio
        assert audio is not None
        heard = [names[int((words @ audio.embed(take)).argmax())] for take in takes]
        asked = [piece.asked.genre for piece in self._pieces]
        return float(np.mean([a == b for a, b in zip(heard, asked, strict=True)]))


def _take(engine: AudioLDM, asked: Conditioning, steps: int) -> Clip:
    """Raw output, from noise."""
    settings = Settings(seed=1, steps=steps, start_from="noise")
    for part in engine.generate(asked, settings, lambda share, words: None, lambda: False):
        if isinstance(part, Rendition):
            return part.audio
    raise AssertionError("an engine always ends with a rendition")


def _in_key(other: Piece, piece: Piece) -> Melody:
    """Another voice, moved the short way to this one's key."""
    up = (piece.asked.key.tonic - other.asked.key.tonic + 6) % 12 - 6
    return moved_to_key(other.melody, up)
