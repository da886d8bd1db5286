"""The band's sound: every player on the SoundFont's instruments, in one room, balanced.

Each track is played dry, set to the loudness that its style asks for, and put into a room; all of
that is linear, and the bus gain at the end is the same for every track, so the stems sum to the
mix, sample by sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, sosfilt

from voice2music.arrangement.score import Arrangement, PlayedNote, Track
from voice2music.clip import Clip
from voice2music.gm import DRUMS
from voice2music.sampler import Sampler
from voice2music.soundfont import Bank, SoundFont, bank, soundfont
from voice2music.styles import Style

Array = NDArray[np.float32]
DRUM_NAMES = {key: name for name, key in DRUMS.items()}

RATE = 44_100  # Hz

# How loud one stroke of each drum is against the snare's, dB. SoundFonts differ by 20 dB.
DRUM_LEVELS = MappingProxyType(
    {"kick": 1, "rim": -6, "snare": 0, "snare2": 0, "clap": -2, "hat": -6, "pedal": -9, "open": -4}
    | {"ride": -6, "bell": -5, "crash": -2, "china": -3, "splash": -6}
    | {"low_tom": -1, "mid_tom": -1, "high_tom": -1, "floor_tom": 0}
    | {"tambourine": -7, "cowbell": -7, "maracas": -8, "cabasa": -8, "claves": -7, "woodblock": -7}
    | {"bongo_high": -4, "bongo_low": -3, "conga_mute": -6, "conga_high": -4, "conga_low": -2}
    | {"timbale_high": -5, "timbale_low": -4, "agogo_high": -9, "agogo_low": -9}
    | {"guiro_short": -9, "guiro_long": -9, "triangle_mute": -12, "triangle": -10}
)
SNARE = -12.0  # LUFS of the loudest tenth of a second of a snare at velocity 100
ACTIVE = -30.0  # dB below a track's loudest tenth of a second, above which it counts as playing
WET = 0.45  # reverb's amplitude against the dry sound where an instrument's `room` is 1
PREDELAY = 0.014  # s
BANDS = ((150.0, 700.0, 1.0), (700.0, 4_000.0, 0.9), (4_000.0, 12_000.0, 0.5))
RUMBLE = 30.0  # Hz, below which nothing is played
TREBLE_FROM = 2_500.0  # Hz, where the treble shelf is half way up
MASTER = -15.0  # LUFS, before finishing
CEILING = 0.89  # -1 dBFS
LOOK_AHEAD = 0.006  # s
FADE_IN, FADE_OUT = 0.002, 0.4  # s


@dataclass(frozen=True, eq=False)
class Performance:
    """A piece as sound: stereo at `RATE`; the stems sum to the mix."""

    mix: Clip
    stems: Mapping[str, Clip]


def played(track: Track, seconds: float, font: SoundFont | None = None) -> Array:
    """One player alone and dry, shape (2, samples)."""
    opened = bank((font or soundfont()).path)
    instrument = track.instrument
    keys = {note.midi for note in track.notes} if track.drums else set()
    return Sampler(opened, RATE).play(
        track.notes,
        instrument.program,
        drums=track.drums,
        seconds=seconds,
        pan=instrument.pan,
        vibrato=instrument.vibrato,
        gains={key: drum_gain(opened, instrument.program, key) for key in keys},
    )


def performed(arrangement: Arrangement, style: Style, dry: Mapping[str, Array]) -> Performance:
    """The players together.

    Args:
        style: for its room and its treble.
        dry: every track as `played`.
    """
    mixer = Mixer(style, arrangement.seconds)
    for track in arrangement.tracks:
        mixer.add(track, dry[track.name])
    return mixer.performance()


class Mixer:
    """Brings players together one after the other, so that no dry sound need be kept.

    Args:
        style: for its room and its treble.
        seconds: length of the piece.
    """

    def __init__(self, style: Style, seconds: float) -> None:
        length = round(seconds * RATE)
        size = next_fast_len(length + round(1.2 * style.room_seconds * RATE), real=True)
        self._place = _Place(
            size,
            _room_response(style.room_seconds, size),
            _spread_response(size),
            _tone(style.treble, size),
        )
        self._mix = np.zeros((2, length), np.float32)
        self._stems: dict[str, Array] = {}

    def add(self, track: Track, dry: Array) -> None:
        """Put a player at its level and in the room."""
        self._stems[track.name] = _placed(dry, track, self._place)
        self._mix += self._stems[track.name]

    def performance(self) -> Performance:
        """Everybody added so far, under one bus gain; the mixer is used up."""
        gain = _bus_gain(self._mix)
        for stem in (self._mix, *self._stems.values()):
            stem *= gain
        stems = {name: Clip(self._stems.pop(name), RATE) for name in list(self._stems)}
        return Performance(Clip(self._mix, RATE), stems)


@lru_cache(maxsize=512)
def drum_gain(opened: Bank, kit: int, key: int) -> float:
    """The gain that gives one drum of a kit its place among the others."""
    stroke = PlayedNote(0.0, 1.0, key, 100)
    sound = Sampler(opened, RATE).play([stroke], kit, drums=True, seconds=1.0)
    size = sound.shape[1]
    weighted = irfft(rfft(sound, axis=1) * np.sqrt(_k_weighting(size)), size, axis=1)
    power = uniform_filter1d((weighted**2).sum(axis=0), RATE // 10).max()
    loudness = -0.691 + 10 * np.log10(power + 1e-12)
    level = DRUM_LEVELS[DRUM_NAMES[key]]
    return float(10 ** (np.clip(SNARE + level - loudness, -24, 24) / 20))


@dataclass(frozen=True, eq=False)
class _Place:
    """Where the band plays: FFT size; responses of room, spread and tone at its bins."""

    size: int
    room: NDArray[np.complex64]
    spread: NDArray[np.complex64]
    tone: Array


def _placed(dry: Array, track: Track, place: _Place) -> Array:
    """A track at its level and in the room."""
    spectrum = rfft(dry, place.size, axis=1)
    gain = _gain_to_level(dry, spectrum, track.instrument.level, place.size)
    wet = np.float32(WET * track.instrument.room)
    middle = spectrum.mean(axis=0)
    aside = np.float32(track.instrument.width) * place.spread * middle
    spectrum += wet * place.room * middle
    spectrum[0] += aside
    spectrum[1] -= aside
    spectrum *= np.float32(gain) * place.tone
    # A copy, so that the padding is not kept with it.
    return np.array(irfft(spectrum, place.size, axis=1)[:, : dry.shape[1]], np.float32)


def _gain_to_level(dry: Array, spectrum: NDArray[np.complex64], level: float, size: int) -> float:
    """The gain that brings a track, while it plays, to `level` LUFS."""
    block = RATE // 10
    usable = dry.shape[1] // block * block
    power = (dry[:, :usable] ** 2).reshape(2, -1, block).mean(axis=(0, 2))
    if usable == 0 or power.max() <= 0:
        return 0.0
    active = max(1, int((power > power.max() * 10 ** (ACTIVE / 10)).sum())) * block
    weighted = np.abs(spectrum) ** 2 * _k_weighting(size)
    energy = 2 * float(weighted.sum(dtype=np.float64)) / size  # Parseval; bin 0 is negligible
    loudness = -0.691 + 10 * np.log10(energy / active + 1e-20)
    return float(10 ** ((level - loudness) / 20))


@lru_cache(maxsize=2)
def _k_weighting(size: int) -> Array:
    """Power response of BS.1770's two filters at the bins of an FFT.

    The high shelf and the high-pass in their analogue form, as ITU-R BS.1770-4's tables give them
    at 48 kHz (shelf +4 dB around 1.68 kHz, Q .71; high-pass at 38 Hz, Q .5).
    """
    s = 1j * np.fft.rfftfreq(size, 1 / RATE).astype(np.float32)
    shelf_at, q, boost = 1681.97, 0.7072, 10 ** (3.99984 / 20)
    v = s / shelf_at
    shelf = (boost * v**2 + boost**0.4996667 / q * v + 1) / (v**2 + v / q + 1)
    w = s / 38.1355
    high_pass = w**2 / (w**2 + w / 0.50033 + 1)
    return np.asarray(np.abs(shelf * high_pass) ** 2, np.float32)


@lru_cache(maxsize=2)
def _room_response(seconds: float, size: int) -> NDArray[np.complex64]:
    """Frequency response (2, bins) of a room: noise that dies away, the highs first.

    Left and right are drawn apart, which makes it wide; below 150 Hz there is no reverb, which
    keeps the bass clear. Unit energy.
    """
    length = min(round(1.2 * seconds * RATE), size)
    time = np.arange(length) / RATE
    noise = np.random.default_rng(1729).normal(size=(2, length))
    out = np.zeros((2, length))
    for low, high, share in BANDS:
        band = butter(2, (low, high), "bandpass", fs=RATE, output="sos")
        out += sosfilt(band, noise, axis=1) * 10 ** (-3 * time / (share * seconds))
    out *= np.clip(time / 0.02, 0, 1)  # the first reflections come one by one
    delayed = np.pad(out, ((0, 0), (round(PREDELAY * RATE), 0)))[:, :length]
    delayed /= np.sqrt((delayed**2).sum(axis=1, keepdims=True))
    return np.asarray(rfft(delayed.astype(np.float32), size, axis=1), np.complex64)


@lru_cache(maxsize=2)
def _spread_response(size: int) -> NDArray[np.complex64]:
    """What is added on the left and taken away on the right to make a point-like sound wide.

    A short burst of noise above the bass, of unit energy; in mono it cancels.
    """
    time = np.arange(round(0.03 * RATE)) / RATE
    noise = np.random.default_rng(4104).normal(size=len(time)) * np.exp(-time / 0.008)
    band = butter(1, (300.0, 9_000.0), "bandpass", fs=RATE, output="sos")
    burst = sosfilt(band, noise)
    burst /= np.sqrt((burst**2).sum())
    return np.asarray(rfft(burst.astype(np.float32), size), np.complex64)


@lru_cache(maxsize=2)
def _tone(treble: float, size: int) -> Array:
    """Gain at the bins of an FFT: no rumble, and a shelf of `treble` dB above some 4 kHz.

    Loops that beat against themselves bring rumble that no loudspeaker plays but that eats the
    room for what is heard; it is taken away as by a Butterworth high-pass of eighth order.
    """
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    share = hertz**2 / (hertz**2 + TREBLE_FROM**2)
    rumble_free = 1 / np.sqrt(1 + (RUMBLE / np.maximum(hertz, 1e-3)) ** 16)
    return np.asarray(10 ** (treble / 20 * share) * rumble_free, np.float32)


def _bus_gain(mix: Array) -> Array:
    """One gain per sample: to `MASTER` LUFS, peaks held under the ceiling, ends faded."""
    length = mix.shape[1]
    spectrum = rfft(mix, axis=1)
    to_level = _gain_to_level(mix, spectrum, MASTER, length)
    peaks = np.abs(mix).max(axis=0) * np.float32(to_level)
    needed = np.minimum(1, np.float32(CEILING) / np.maximum(peaks, np.float32(1e-6)))
    half = round(LOOK_AHEAD * RATE)
    lowest = minimum_filter1d(needed, 4 * half + 1)
    gain = uniform_filter1d(uniform_filter1d(lowest, 2 * half + 1), 2 * half + 1)
    gain = np.float32(to_level) * np.minimum(gain, 1)
    fade_in, fade_out = (min(round(s * RATE), length) for s in (FADE_IN, FADE_OUT))
    gain[:fade_in] *= _ramp(fade_in)
    gain[length - fade_out :] *= _ramp(fade_out)[::-1]
    return np.asarray(gain, np.float32)


def _ramp(length: int) -> Array:
    """A raised cosine from 0 to 1."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1)), np.float32)
