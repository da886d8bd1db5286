"""The band in the factory: any lead, any balance, any room; one channel, no stems.

The players and their notes are the band's own (`voice2music.arrangement`). Only the mix is simpler
and quicker than the one that visitors hear (`voice2music.synth`): every player is set to a level
measured in a few of its loudest blocks, and one room serves all.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, sosfilt

from voice2music.arrangement import Arrangement, Track
from voice2music.gm import PROGRAMS
from voice2music.request import Role
from voice2music.sampler import Sampler
from voice2music.soundfont import Bank, SoundFont, bank
from voice2music.styles import Instrument, Layer, Style
from voice2music.synth import drum_gain

Array = NDArray[np.float32]
Chance = np.random.Generator

RATE = 32_000  # Hz
_OWN_LEAD = 0.4  # odds that the style's own instrument plays the tune
_SPREAD = 2.5  # dB, standard deviation of a player's level
_LEAD_OVER = (5.0, 9.0)  # dB by which the lead stands above its place in the style
_ROOM = (0.5, 1.6)  # factors of the style's reverberation time
_TREBLE = 2.0  # dB, standard deviation
_SPARSE = 0.12  # share of accompanying players left out anyway
_LOUDNESS = (-22.0, -14.0)  # dB of the mix's loud blocks against full scale
_CEILING = 0.95
_LOOK = 0.006  # s
_BLOCK, _BLOCKS = 2048, 24  # samples, and how many of the loudest third of them are measured
_WET = 0.45  # as in `voice2music.synth`
_ROOMS = 6  # different rooms of the same reverberation time
_ROOM_STEP = 0.2  # s between two reverberation times
_TREBLE_FROM = 2_500.0  # Hz


@dataclass(frozen=True)
class LeadSound:
    """An instrument that may play the tune, what people call it, and what it is doubled by."""

    instrument: Instrument
    words: tuple[str, ...]
    doubling: int = 0


@dataclass(frozen=True)
class Mood:
    """What a mood does to the music; see `sounds.toml`."""

    name: str
    words: tuple[str, ...]
    tempo: tuple[float, float] = (0.0, 999.0)
    modes: tuple[str, ...] = ("major", "minor")
    happy: float = 0.0
    jazzy: float = 0.0
    drums: float = 0.0
    treble: float = 0.0
    room: float = 1.0
    sparse: float = 0.0


NO_MOOD = Mood("", ())


@dataclass(frozen=True)
class Mix:
    """How a band is balanced.

    Args:
        levels: dB by player.
        room: seconds of reverberation; `number`: which of the rooms.
        wet: factor on every player's reverb.
        treble: dB above some 4 kHz.
        loudness: dB of the loud blocks of the whole against full scale.
    """

    levels: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    room: float = 1.0
    number: int = 0
    wet: float = 1.0
    treble: float = 0.0
    loudness: float = -18.0


@lru_cache(maxsize=1)
def lead_sounds() -> tuple[LeadSound, ...]:
    """The lead instruments of `sounds.toml`."""
    return tuple(
        LeadSound(
            Instrument(
                PROGRAMS.index(one["instrument"]),
                one["low"],
                one["high"],
                vibrato=one.get("vibrato", 0.0),
            ),
            tuple(one["words"]),
            one.get("doubling", 0),
        )
        for one in _data()["lead"]
    )


@lru_cache(maxsize=1)
def moods() -> tuple[Mood, ...]:
    """The moods of `sounds.toml`."""
    return tuple(_mood(name, values) for name, values in _data()["mood"].items())


def _mood(name: str, values: dict[str, Any]) -> Mood:
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Mood(name, **plain)


def drawn_mood(tempo: float, mode: str, chance: Chance, none: float = 0.3) -> Mood:
    """A mood that this tempo and mode allow, or none."""
    fitting = [m for m in moods() if m.tempo[0] <= tempo <= m.tempo[1] and mode in m.modes]
    if not fitting or chance.random() < none:
        return NO_MOOD
    return fitting[int(chance.integers(len(fitting)))]


def drawn_band(style: Style, mood: Mood, chance: Chance) -> Style:
    """The style with another lead now and then and some players left out; bass and drums stay."""
    lead = style.lead
    known = {sound.instrument.program: sound for sound in lead_sounds()}
    sound = known.get(lead.instrument.program)
    if chance.random() >= _OWN_LEAD:
        sound = lead_sounds()[int(chance.integers(len(lead_sounds())))]
    if sound is not None:
        own = lead.instrument
        played = replace(sound.instrument, level=own.level, room=own.room)
        lead = replace(lead, instrument=played, octave_doubling=sound.doubling, tremolo=0.0)
    missing = max(_SPARSE, mood.sparse)
    keep = [layer for layer in style.layers if _stays(layer) or chance.random() >= missing]
    return replace(style, lead=lead, layers=tuple(keep))


def drawn_mix(style: Style, mood: Mood, chance: Chance) -> Mix:
    """A balance around the style's own, bent by the mood."""
    levels = {layer.name: chance.normal(0, _SPREAD) for layer in style.layers}
    levels["Drums"] = chance.normal(0, _SPREAD) + mood.drums
    levels[style.lead.name] = chance.uniform(*_LEAD_OVER)
    room = style.room_seconds * chance.uniform(*_ROOM) * mood.room**0.5
    return Mix(
        levels=MappingProxyType({name: round(float(dB), 1) for name, dB in levels.items()}),
        room=round(float(np.clip(room, 0.2, 4.0)), 2),
        number=int(chance.integers(_ROOMS)),
        wet=round(float(chance.uniform(0.5, 1.4) * mood.room), 2),
        treble=round(float(style.treble + mood.treble + chance.normal(0, _TREBLE)), 1),
        loudness=round(float(chance.uniform(*_LOUDNESS)), 1),
    )


def lead_of(style: Style, role: Role) -> str | None:
    """The General MIDI name of who plays the tune, None where the singer does."""
    return style.lead.instrument.name if role == "tune" else None


def rendered(piece: Arrangement, mix: Mix, font: SoundFont, rate: int = RATE) -> Array:
    """The piece as sound, shape (samples,), full scale ±1.

    It is played at `RATE` and brought to `rate` afterwards: a sampler at a low rate would fold
    the treble of its samples (recorded at 44.1 kHz) down into the music.
    """
    length = round(piece.seconds * RATE)
    dry, sent = np.zeros(length, np.float32), np.zeros(length, np.float32)
    for track in piece.tracks:
        sound = _played(track, piece.seconds, bank(font.path), RATE)
        level = track.instrument.level + mix.levels.get(track.name, 0.0)
        sound *= np.float32(10 ** (level / 20) / max(_loudness(sound, RATE), 1e-6))
        dry += sound
        sent += np.float32(track.instrument.room) * sound
    sound = _in_room(dry, sent, mix, RATE)
    if rate != RATE:
        sound = np.asarray(soxr.resample(sound, RATE, rate), np.float32)
    return _finished(sound, mix.loudness, rate)


def _stays(layer: Layer) -> bool:
    return layer.kind in ("bass", "walk")


def _played(track: Track, seconds: float, opened: Bank, rate: int) -> Array:
    instrument = track.instrument
    keys = {note.midi for note in track.notes} if track.drums else set()
    stereo = Sampler(opened, rate).play(
        track.notes,
        instrument.program,
        drums=track.drums,
        seconds=seconds,
        vibrato=instrument.vibrato,
        gains={key: drum_gain(opened, instrument.program, key) for key in keys},
    )
    return np.asarray(stereo.mean(axis=0), np.float32)


def _loudness(sound: Array, rate: int) -> float:
    """K-weighted rms of a player while playing: the mean over some of the loudest third of blocks.

    `voice2music.synth` measures all of it, which takes twenty times as long.
    """
    count = len(sound) // _BLOCK
    if count == 0:
        return float(np.sqrt(np.mean(np.square(sound)))) if len(sound) else 0.0
    blocks = sound[: count * _BLOCK].reshape(count, _BLOCK)
    power = np.einsum("ij,ij->i", blocks, blocks)
    loudest = np.argsort(power)[-max(1, count // 3) :]
    chosen = blocks[loudest[:: max(1, len(loudest) // _BLOCKS)]]
    spectrum = np.abs(rfft(chosen, axis=1)) ** 2 * _weights(rate)
    return float(np.sqrt(2 * spectrum.sum(axis=1).mean()) / _BLOCK)


@lru_cache(maxsize=2)
def _weights(rate: int) -> Array:
    """Power response of a K-like weighting: bass taken off below 60 Hz, +4 dB above 1.7 kHz."""
    hertz = np.fft.rfftfreq(_BLOCK, 1 / rate)
    shelf = 1 + (10**0.4 - 1) * hertz**2 / (hertz**2 + 1_700.0**2)
    return np.asarray(shelf * hertz**4 / (hertz**4 + 60.0**4), np.float32)


def _in_room(dry: Array, sent: Array, mix: Mix, rate: int) -> Array:
    """Dry sound and reverb together, through the treble shelf."""
    length = len(dry)
    seconds = max(_ROOM_STEP, round(mix.room / _ROOM_STEP) * _ROOM_STEP)
    response = _room(round(seconds, 1), mix.number, rate)
    size = next_fast_len(length + len(response), real=True)
    spectrum = rfft(dry, size)
    spectrum += np.float32(_WET * mix.wet) * rfft(sent, size) * rfft(response, size)
    hertz = np.fft.rfftfreq(size, 1 / rate)
    share = hertz**2 / (hertz**2 + _TREBLE_FROM**2)
    spectrum *= (10 ** (mix.treble / 20 * share)).astype(np.float32)
    return np.asarray(irfft(spectrum, size)[:length], np.float32)


@lru_cache(maxsize=64)
def _room(seconds: float, number: int, rate: int) -> Array:
    """Impulse response of unit energy: noise that dies away, the highs first, without bass.

    Rooms of one reverberation time differ in their first reflections and in their noise.
    """
    chance = np.random.default_rng([round(10 * seconds), number, 1729])
    delay = 0.006 + 0.006 * number
    time = np.arange(round(1.1 * seconds * rate)) / rate
    out = np.zeros(len(time))
    for low, high, share in ((150, 800, 1.0), (800, 4_000, 0.85), (4_000, 0.45 * rate, 0.45)):
        band = butter(2, (low, high), "bandpass", fs=rate, output="sos")
        noise = chance.standard_normal(len(time))
        out += sosfilt(band, noise) * 10 ** (-3 * time / (share * seconds))
    for reflection in chance.uniform(delay, delay + 0.05, 5):
        out[min(round(reflection * rate), len(out) - 1)] += chance.normal(0, 3)
    out *= np.clip((time - delay) / 0.01, 0, 1)
    return np.asarray(out / np.sqrt((out**2).sum()), np.float32)


def _finished(sound: Array, loudness: float, rate: int) -> Array:
    """At its loudness, peaks held under the ceiling by look-ahead, ends faded."""
    level = max(_loudness(sound, rate), 1e-6)
    sound = sound * np.float32(10 ** (loudness / 20) / level)
    half = max(1, round(_LOOK * rate))
    needed = np.minimum(1, np.float32(_CEILING) / np.maximum(np.abs(sound), np.float32(1e-6)))
    if needed.min() < 1:
        lowest = minimum_filter1d(needed, 4 * half + 1)
        sound = sound * uniform_filter1d(uniform_filter1d(lowest, 2 * half + 1), 2 * half + 1)
    fade = min(len(sound), round(0.01 * rate))
    sound[len(sound) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return np.asarray(np.clip(sound, -1, 1), np.float32)


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    text = (files(__package__) / "sounds.toml").read_text("utf-8")
    return tomllib.loads(text)


def players(piece: Arrangement) -> Sequence[str]:
    """General MIDI names of all who play, drums as "drums", each once."""
    names = ("drums" if track.drums else track.instrument.name for track in piece.tracks)
    return list(dict.fromkeys(names))
