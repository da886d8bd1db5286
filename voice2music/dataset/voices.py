"""People who hum into microphones: how they sing, and what the recording makes of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import butter, lfilter, sosfilt

from voice2music.clip import Clip
from voice2music.notes import Note
from voice2music.singer import Singer, Timbre, humanised, sing

Chance = np.random.Generator
Array = NDArray[np.float64]

RATE = 16_000  # Hz; what a phone's call quality keeps, and what the pitch tracker hears
TUNING = 60.0  # cents off A4 = 440 Hz, at most
_TIMBRES = (0.4, 0.12, 0.1, 0.1, 0.06, 0.22)  # how often hum, ah, oh, oo, ee and words are sung
_LATE = 0.06  # s by which a whole take may be early or late
_EDGE = 0.02  # s kept free at both ends of a clip


@dataclass(frozen=True)
class Recording:
    """What lies between a mouth and a file.

    Args:
        reverb: seconds in which the room's echo falls by 60 dB; 0 is none.
        wet: level of the echo against the voice, dB.
        low, high: corners of the microphone, Hz.
        peak, peak_gain: centre, Hz, and height, dB, of its resonance.
        hiss: noise against the loudest voice, dB; `hiss_tilt`: its slope, 0 white to 1 brown.
        mains: level of 50 or 60 Hz hum and its harmonics, dB; None is none.
        mains_rate: Hz.
        drive: dB by which the loudest peak is over full scale; below 0 nothing is clipped.
    """

    reverb: float
    wet: float
    low: float
    high: float
    peak: float
    peak_gain: float
    hiss: float
    hiss_tilt: float
    mains: float | None
    mains_rate: float
    drive: float


@dataclass(frozen=True)
class Hummer:
    """A singer with a way to be late and a room.

    Args:
        jitter: standard deviation of each note's own error in time, seconds.
        late: by which all of it is late, seconds; negative is early.
        touch: share of its length that a note is held.
    """

    singer: Singer
    recording: Recording
    jitter: float
    late: float
    touch: float
    seed: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def hummer(chance: Chance) -> Hummer:
    """Somebody, good or not so good, somewhere."""
    timbre: Timbre = str(chance.choice(get_args(Timbre), p=_TIMBRES))  # type: ignore[assignment]
    skill = float(chance.random())  # 0 cannot sing, 1 can
    singer = Singer(
        timbre=timbre,
        tuning=round(float(chance.uniform(-TUNING, TUNING)), 1),
        intonation=round(4 + 24 * (1 - skill) ** 2, 1),
        drift=round(float(chance.uniform(3, 18)), 1),
        vibrato=round(float(chance.choice((0.0, 12.0, 30.0, 60.0)) * chance.uniform(0.6, 1.2)), 1),
        vibrato_rate=round(float(chance.uniform(4.6, 6.6)), 2),
        scoop=round(float(chance.uniform(0, 150) * (1 - 0.5 * skill)), 1),
        portamento=round(float(chance.uniform(0.025, 0.12)), 3),
        breath=round(float(chance.uniform(-42, -16)), 1),
        noise=-90.0,  # the room's noise is `Recording.hiss`
        level=-6.0,
    )
    return Hummer(
        singer=singer,
        recording=_recording(chance),
        jitter=round(0.006 + 0.026 * (1 - skill), 4),
        late=round(float(np.clip(chance.normal(0, 0.025), -_LATE, _LATE)), 4),
        touch=round(float(chance.uniform(0.78, 1.0)), 3),
        seed=int(chance.integers(2**31)),
    )


def _recording(chance: Chance) -> Recording:
    """A quiet studio now and then, mostly a phone in a room."""
    phone = chance.random() < 0.7
    return Recording(
        reverb=round(float(chance.uniform(0.15, 0.9)) if chance.random() < 0.7 else 0.0, 3),
        wet=round(float(chance.uniform(-26, -8)), 1),
        low=round(float(chance.uniform(60, 220) if phone else 30), 1),
        high=round(float(chance.uniform(3_300, 7_000) if phone else 7_800), 1),
        peak=round(float(chance.uniform(700, 3_200)), 1),
        peak_gain=round(float(chance.uniform(-6, 8) if phone else 0), 1),
        hiss=round(float(chance.uniform(-62, -24)), 1),
        hiss_tilt=round(float(chance.uniform(0, 1)), 2),
        mains=round(float(chance.uniform(-60, -38)), 1) if chance.random() < 0.12 else None,
        mains_rate=float(chance.choice((50.0, 60.0))),
        drive=round(float(chance.uniform(1, 7)), 1)
        if chance.random() < 0.06
        else round(float(chance.uniform(-26, -1)), 1),
    )


def hummed(notes: Sequence[Note], who: Hummer, seconds: float) -> tuple[Clip, tuple[Note, ...]]:
    """The recording at `RATE`, one channel, and the notes at the times at which they were sung."""
    sung = _as_sung(notes, who, seconds)
    dry = sing(sung, who.singer, rate=RATE, seed=who.seed, seconds=seconds)
    chance = np.random.default_rng([who.seed, 1])
    return Clip(_recorded(dry.samples[0], who.recording, chance), RATE), sung


def _as_sung(notes: Sequence[Note], who: Hummer, seconds: float) -> tuple[Note, ...]:
    """Notes early, late and cut short, inside the clip."""
    moved = [
        replace(
            note,
            onset=min(max(note.onset + who.late, _EDGE), seconds - 0.2),
            offset=min(note.onset + who.touch * note.seconds + who.late, seconds - _EDGE),
        )
        for note in notes
    ]
    return humanised(moved, seed=who.seed, jitter=who.jitter, rubato=0.0)


def _recorded(voice: NDArray[np.float32], way: Recording, chance: Chance) -> NDArray[np.float32]:
    """Echo, hiss and mains hum, then the microphone and the converter."""
    sound = voice.astype(np.float64)
    loud = float(np.abs(sound).max())
    if way.reverb:
        sound = sound + _echo(sound, way, chance)
    sound = sound + loud * _noise(len(sound), way, chance)
    sound = sosfilt(butter(2, (way.low, way.high), "bandpass", fs=RATE, output="sos"), sound)
    if way.peak_gain:
        sound = lfilter(*_peaking(way.peak, way.peak_gain), sound)
    sound *= 10 ** (way.drive / 20) / max(float(np.abs(sound).max()), 1e-9)
    return np.asarray(np.clip(sound, -1, 1), np.float32)


def _echo(sound: Array, way: Recording, chance: Chance) -> Array:
    """What the room gives back: dying noise, from the first wall 5 ms on."""
    length = round(1.2 * way.reverb * RATE)
    time = np.arange(length) / RATE
    response = chance.standard_normal(length) * 10 ** (-3 * time / way.reverb) * (time > 0.005)
    response *= 10 ** (way.wet / 20) / np.sqrt((response**2).sum())
    size = next_fast_len(len(sound) + length, real=True)
    echo: Array = irfft(rfft(sound, size) * rfft(response, size), size)[: len(sound)]
    return echo


def _noise(length: int, way: Recording, chance: Chance) -> Array:
    """Hiss and mains hum at their levels against a voice with peak 1."""
    white = chance.standard_normal(length)
    brown = lfilter([1.0], [1.0, -0.985], white)
    hiss = (1 - way.hiss_tilt) * white + way.hiss_tilt * brown / brown.std()
    out: Array = hiss * 10 ** (way.hiss / 20) / hiss.std()
    if way.mains is not None:
        phase = 2 * np.pi * way.mains_rate * np.arange(length) / RATE
        hum = sum(np.sin(k * phase + k) / k for k in (1, 2, 3, 5))
        out = out + 10 ** (way.mains / 20) * hum
    return out


def _peaking(hertz: float, gain: float) -> tuple[Array, Array]:
    """A resonance one octave wide. Source: R. Bristow-Johnson, *Audio EQ Cookbook*."""
    angle = 2 * np.pi * hertz / RATE
    amplitude, alpha = 10 ** (gain / 40), np.sin(angle) / 2.8
    b = np.array([1 + alpha * amplitude, -2 * np.cos(angle), 1 - alpha * amplitude])
    a = np.array([1 + alpha / amplitude, -2 * np.cos(angle), 1 - alpha / amplitude])
    return b / a[0], a / a[0]
