"""The contract every engine keeps, and what it is given.

An engine says what it cannot do before it is asked (`Engine.describe`), is given the same
`Conditioning` as every other engine, and yields `Part`s (sound as soon as there is some) and, last,
one `Rendition`. Same seed and device, same samples; the caller's random state is untouched;
progress only grows; when `cancelled()` turns true it raises `Cancelled` within one step and stays
usable.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.harmony import ChordSpan, Key
from voice2music.notes import Note
from voice2music.remarks import Remark
from voice2music.request import Role, Start
from voice2music.rhythm import Grid

Progress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Melody:
    """The tune that conditions the engines: tracked, tuning-corrected, on the clip's time.

    Args:
        midi: fractional MIDI note per 10 ms frame, shape (frames,), NaN where nothing is sung.
        notes: the same tune as notes.
    """

    midi: NDArray[np.float32]
    notes: tuple[Note, ...]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What an engine follows; the same object for every engine.

    Args:
        genre: name of a style in `styles.toml`.
        text: the whole prompt in English (genre words, mood, user's words, tempo, key, role).
        negative: what the music should not be; may be empty.
        seconds: how long the music is to be.
        melody: None when there is no voice, only words.
        grid, key, chords: heard or chosen, covering `seconds`.
        role: play the tune, or back the singer up.
        voice: the cleaned voice itself, where there is one.
        sketch: the band's audio of the same job, for the cascade.
    """

    genre: str
    text: str
    seconds: float
    grid: Grid
    key: Key
    chords: tuple[ChordSpan, ...]
    melody: Melody | None = None
    negative: str = ""
    role: Role = "tune"
    voice: Clip | None = None
    sketch: Clip | None = None


@dataclass(frozen=True)
class Settings:
    """How an engine works; frozen for one call. See `Request` for the meanings.

    Args:
        alone: do not share a batch with other requests, where sharing might round differently.
    """

    seed: int = 0
    faithful: float = 0.7
    guidance: float | None = None
    steps: int | None = None
    start_from: Start = "auto"
    strength: float = 0.45
    alone: bool = False


@dataclass(frozen=True, eq=False)
class Part:
    """A stretch of finished sound that follows on the parts before it."""

    audio: Clip


@dataclass(frozen=True, eq=False)
class Rendition:
    """The whole result. `audio` is as long as asked, ± one codec frame.

    Args:
        audio: the music.
        stems: one clip per instrument, where the engine has them.
        midi: a standard MIDI file's bytes, where the engine has one.
        musicxml: a lead sheet, where the engine has one.
        chords: what was played, where the engine knows.
        grid: the beats that were played, where the engine knows.
        notes: what was done differently from what was asked; `Remark("...")` says what
            `remarks.MESSAGES` does not know.
    """

    audio: Clip
    stems: dict[str, Clip] = field(default_factory=dict)
    midi: bytes | None = None
    musicxml: str | None = None
    chords: tuple[ChordSpan, ...] = ()
    grid: Grid | None = None
    notes: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Sounds:
    """The SoundFont that music was played on: its name, and the sha256 of its file."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Description:
    """What an engine is and what it cannot do, before it is asked.

    Args:
        name: "musicgen", "audioldm" or "band".
        title: what the page calls it.
        checkpoint: name of the weights in use, "" for the band.
        sha256: of the weights, over their files in name order; "" for the band.
        licence: SPDX name or plain words, of the weights or of the sounds.
        commercial: whether its music may be used commercially.
        rate: Hz of its music.
        shortest, longest: seconds it can make.
        follows_voice: False when the checkpoint cannot follow a tune by itself; `limits` says why.
        limits: plain sentences.
        sounds: the SoundFont it plays on, None for a model.
        together: several calls at once share the work, so that they cost little more than one.
    """

    name: str
    title: str
    checkpoint: str
    sha256: str
    licence: str
    commercial: bool
    rate: int
    shortest: float
    longest: float
    follows_voice: bool = True
    limits: tuple[str, ...] = ()
    sounds: Sounds | None = None
    together: bool = False


class Engine(Protocol):
    """One way to make music. Built by `load()` of its module; parts are passed to constructors."""

    def describe(self) -> Description:
        """What it is and what it cannot do."""
        ...

    def generate(
        self,
        conditioning: Conditioning,
        settings: Settings,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> Iterator[Part | Rendition]:
        """Make music: any number of `Part`s, then exactly one `Rendition`.

        Args:
            progress: called with a share in [0, 1], never falling, 1 at the end, and a few words.
            cancelled: asked at least once per step.
        Raises:
            NoMelody, TooLong, BadRequest, Cancelled, OutOfMemory: as their names say.
        """
        ...
