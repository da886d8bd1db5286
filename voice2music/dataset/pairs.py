"""One training pair: a voice as the app hears it, music for it, words for the music, exact labels.

The voice sings a tune as people do; the music follows the tune as it was meant. What conditions a
model is what `analysis.analyse` made of the recording, errors included, as in use.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music.analysis import Analysis, analyse
from voice2music.arrangement import arrange, pace
from voice2music.chords import ChordSpan, Key, chord_symbol, key_name
from voice2music.conditioning import tuned_midi
from voice2music.dataset.captions import Facts, captions
from voice2music.dataset.music import (
    RATE,
    Mood,
    drawn_band,
    drawn_mix,
    drawn_mood,
    lead_of,
    players,
    rendered,
)
from voice2music.dataset.performance import (
    FASTEST,
    SLOWEST,
    Performance,
    heard_off,
    performed,
    transposed,
)
from voice2music.dataset.tunes import Split, Tune, own_tune
from voice2music.dataset.voices import Hummer, hummed, hummer
from voice2music.errors import BadRequest, MissingPackage
from voice2music.harmony import harmonise
from voice2music.request import Role
from voice2music.soundfont import STANDARD_PLACES, SoundFont
from voice2music.styles import Style, styles

Chance = np.random.Generator

CLEARED_SOUNDS = ("MIT", "CC0-1.0", "CC-BY-4.0", "public domain")
_OWN_CHORDS = 0.3  # odds that a written tune is played with chords of our own
_USUAL_TEMPO = 0.75  # odds that the tempo is one of a genre
_CHOICES = ("split", "own", "role")  # not told where nothing was chosen
_NEED_SOUNDS = (
    "Install a SoundFont that may be used for training: the Debian package fluid-soundfont-gm or "
    "fluidr3mono-gm-soundfont (both MIT)."
)
# Names that the files themselves carry (INFO, INAM), and their licence.
_KNOWN = {b"Fluid R3 GM": "MIT", b"FluidR3Mono_GM": "MIT"}


@dataclass(frozen=True)
class Recipe:
    """What a data set is made from; the same recipe gives the same bytes.

    Args:
        seed: of everything.
        fonts: whose instruments play.
        rate: Hz of the music.
        longest: seconds of a clip at most.
        written: share of voices that sing a written (cleared) tune; 0 where there are none.
        renders: pieces of music per voice, each in another genre.
        captions: per piece.
        split: only tunes of this split; None is all.
        own: styles of one's own; each is played for every voice, the rest are of the app's.
        role: of all music; None draws "tune" or "back" for each piece.
    Raises:
        MissingPackage: a SoundFont whose licence does not allow training, or none.
        BadRequest: a style of one's own is called as one of the app's, or there are more of them
            than pieces per voice.
    """

    seed: int
    fonts: tuple[SoundFont, ...]
    rate: int = RATE
    longest: float = 20.0
    written: float = 0.4
    renders: int = 2
    captions: int = 6
    split: Split | None = None
    own: tuple[Style, ...] = ()
    role: Role | None = None

    def __post_init__(self) -> None:
        _check_own(self.own, self.renders)
        if not self.fonts:
            raise MissingPackage(f"No SoundFont was given. {_NEED_SOUNDS}")
        for font in self.fonts:
            if font.licence not in CLEARED_SOUNDS:
                raise MissingPackage(
                    f"'{font.path.name}' ({font.licence}) is not used to make training music: its "
                    f"licence could bind the models. {_NEED_SOUNDS}"
                )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; a SoundFont is known by its contents, not by its place."""
        values = asdict(replace(self, own=()))
        values["fonts"] = [
            {"name": font.name, "licence": font.licence, "sha256": _file_sha256(font.path)}
            for font in self.fonts
        ]
        values["own"] = {
            style.name: hashlib.sha256(repr(style).encode()).hexdigest() for style in self.own
        }
        # Data sets made before these could be chosen are gone on with.
        return {k: v for k, v in values.items() if v or k not in _CHOICES}


def installed() -> tuple[SoundFont, ...]:
    """The SoundFonts on this machine that may be used for training.

    Raises:
        MissingPackage: none; its text names what to install.
    """
    found = {
        place.stem: recognised(place) for place in map(Path, STANDARD_PLACES) if place.is_file()
    }
    if not found:
        raise MissingPackage(f"No SoundFont for training is installed. {_NEED_SOUNDS}")
    return tuple(found.values())


def recognised(path: Path) -> SoundFont:
    """A SoundFont file with the licence that is known of it, by the name inside the file.

    Raises:
        MissingPackage: not there, or none of the known ones; its text names those that are.
    """
    if not path.is_file():
        raise MissingPackage(f"There is no SoundFont '{path}'. {_NEED_SOUNDS}")
    with path.open("rb") as file:
        _, _, named = file.read(4096).partition(b"INAM")
    for name, licence in _KNOWN.items():
        if named[4:].startswith(name):  # after the chunk's length
            return SoundFont(path, path.stem.replace("_", " "), licence)
    raise MissingPackage(
        f"'{path.name}' is not known to be free for making training music. {_NEED_SOUNDS}"
    )


@dataclass(frozen=True, eq=False)
class Voiced:
    """A recorded voice and what was heard in it.

    Args:
        performance: what was meant, in the key that is heard.
        sound: at `voices.RATE`, shape (samples,).
        heard: by the app's own hearing code.
        midi: as heard, tuned, per 10 ms, NaN where nothing is sung.
    """

    performance: Performance
    who: Hummer
    sound: NDArray[np.float32]
    heard: Analysis
    midi: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Piece:
    """Music for a voice, shape (samples,), with the labels of its row."""

    sound: NDArray[np.float32]
    labels: dict[str, Any]


def voiced(recipe: Recipe, tunes: Sequence[Tune], seed: Sequence[int]) -> Voiced | None:
    """Somebody hums something; None where the app would refuse the recording."""
    chance = np.random.default_rng([*seed, 0])
    tune = _drawn_tune(recipe, tunes, chance)
    meant = performed(tune, _tempo(_style(recipe, chance), chance), recipe.longest, chance)
    who = hummer(chance)
    clip, _ = hummed(meant.notes, who, meant.seconds)
    heard = analyse(clip)
    if not heard.notes or any(finding.severity == "stop" for finding in heard.findings):
        return None
    midi = tuned_midi(heard.pitch, heard.tuning)
    return Voiced(transposed(meant, heard_off(meant, midi)), who, clip.samples[0], heard, midi)


def pieces(recipe: Recipe, voice: Voiced, seed: Sequence[int]) -> list[Piece]:
    """Music for a voice, in as many genres as the recipe asks for, one's own first."""
    chance = np.random.default_rng([*seed, 1])
    known = list(styles().values())
    order = chance.permutation(len(known))[: recipe.renders - len(recipe.own)]
    return [
        _piece(recipe, voice, style, np.random.default_rng([*seed, 2 + index]))
        for index, style in enumerate([*recipe.own, *(known[number] for number in order)])
    ]


def voice_labels(voice: Voiced) -> dict[str, Any]:
    """What is known of a voice: what was meant, who hummed it, what was heard."""
    meant, heard = voice.performance, voice.heard
    tune = meant.tune
    return {
        "seconds": meant.seconds,
        "split": tune.split,
        "tune": {
            "id": tune.id,
            "source": tune.source,
            "licence": tune.licence,
            "scale": tune.scale,
            "key": key_name(meant.key),
        },
        "range": meant.voice,
        "notes": [[_ms(n.onset), _ms(n.offset), n.midi] for n in meant.notes],
        "beats": [_ms(beat) for beat in meant.grid.beats],
        "downbeat": meant.grid.downbeat,
        "beats_per_bar": meant.grid.beats_per_bar,
        "singer": voice.who.to_json(),
        "heard": {
            "tuning": round(heard.tuning, 1),
            "key": key_name(heard.key),
            "tempo": round(heard.grid.tempo, 2),
            "beats": [_ms(beat) for beat in heard.grid.beats],
            "downbeat": heard.grid.downbeat,
            "beats_per_bar": heard.grid.beats_per_bar,
            "notes": [[_ms(n.onset), _ms(n.offset), n.midi] for n in heard.notes],
        },
    }


def _drawn_tune(recipe: Recipe, tunes: Sequence[Tune], chance: Chance) -> Tune:
    """A tune of the recipe's split: written, where there are any, or our own."""
    wanted = [tune for tune in tunes if recipe.split in (None, tune.split)]
    if wanted and chance.random() < recipe.written:
        return wanted[int(chance.integers(len(wanted)))]
    while True:
        tune = own_tune(_number(chance))
        if recipe.split in (None, tune.split):
            return tune


def _piece(recipe: Recipe, voice: Voiced, style: Style, chance: Chance) -> Piece:
    """One genre for a voice."""
    meant = voice.performance
    drawn: Role = "tune" if chance.random() < 0.5 else "back"
    role = recipe.role or drawn
    tempo = meant.grid.tempo * pace(meant.grid, style)
    mood = drawn_mood(tempo, meant.key.mode, chance)
    band = drawn_band(style, mood, chance)
    mix = drawn_mix(band, mood, chance)
    font = recipe.fonts[int(chance.integers(len(recipe.fonts)))]
    chords, key = _harmony(voice, mood, chance)
    number = int(chance.integers(2**31))
    played = arrange(
        band, meant.grid, chords, key, meant.seconds,
        melody=meant.notes, role=role, seed=number,
    )  # fmt: skip
    lead = lead_of(band, role)
    facts = Facts(
        style=style,
        mood=mood,
        role=role,
        lead=lead,
        players=[name for name in players(played) if name != lead],
        tempo=tempo,
        key=key,
        heard_tempo=voice.heard.grid.tempo,
        heard_key=voice.heard.key,
    )
    labels = {
        "genre": style.name,
        "role": role,
        "mood": mood.name,
        "tempo": round(tempo, 2),
        "key": key_name(key),
        "lead": lead,
        "instruments": list(players(played)),
        "bars": {
            "beats": played.grid.beats_per_bar,
            "downbeat": played.grid.downbeat,
            "pace": pace(meant.grid, style),
        },
        "chords": [
            [_ms(span.start), _ms(span.end), chord_symbol(span.chord, key)] for span in chords
        ],
        "captions": list(captions(facts, recipe.captions, chance)),
        "sounds": {"name": font.name, "licence": font.licence},
        "licence": f"tune: {meant.tune.licence}; sounds: {font.licence}",
        "mix": {"levels": dict(mix.levels), "room": mix.room, "treble": mix.treble},
    }
    return Piece(rendered(played, mix, font, recipe.rate), labels)


def _harmony(voice: Voiced, mood: Mood, chance: Chance) -> tuple[tuple[ChordSpan, ...], Key]:
    """The written chords in their key; where there are none, and now and then anyway, our own.

    Ours are in the key that was heard, as in use: modes are heard as one key or another.
    """
    meant = voice.performance
    if meant.chords and chance.random() >= _OWN_CHORDS:
        return meant.chords, meant.key
    key = voice.heard.key
    happy, jazzy = mood.happy, mood.jazzy
    return harmonise(meant.notes, meant.grid, key, meant.seconds, happy, jazzy), key


def _style(recipe: Recipe, chance: Chance) -> Style:
    """One that a voice is sung at the tempo of."""
    known = recipe.own or tuple(styles().values())
    return known[int(chance.integers(len(known)))]


def _check_own(own: Sequence[Style], renders: int) -> None:
    if taken := sorted({style.name for style in own} & set(styles())):
        raise BadRequest(f"The app has a genre {taken[0]!r} already. Call yours something else.")
    if len(own) > renders:
        raise BadRequest(f"{len(own)} styles of one's own do not fit into {renders} per voice.")


def _tempo(style: Style, chance: Chance) -> float:
    """Mostly as some genre is played, else anything that people sing."""
    low, high = style.tempo_range if chance.random() < _USUAL_TEMPO else (SLOWEST, FASTEST)
    return float(np.clip(chance.uniform(low, high), SLOWEST, FASTEST))


def _number(chance: Chance) -> int:
    return int(chance.integers(2**53))


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
