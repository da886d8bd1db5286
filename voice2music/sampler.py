"""Playing notes on the recorded instruments of a SoundFont.

A note is a recording, looped and resampled to its pitch (four-point, third-order interpolation),
through a low-pass and a volume course, both as the SoundFont asks. What is the same for every note
of one key (all but its length and loudness) is worked out once.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from voice2music.arrangement.score import PlayedNote
from voice2music.soundfont import Bank, Envelope, Zone

Array = NDArray[np.float32]

FLOOR = 0.001  # -60 dB: below this a dying note is ended
FASTEST_RELEASE = 0.015  # s; anything shorter clicks
CHOKE = 0.03  # s in which a closed hi-hat silences an open one
LONGEST_STROKE = 5.0  # s for which a drum may ring
VIBRATO_RATE, VIBRATO_DELAY, VIBRATO_RISE = 5.4, 0.25, 0.4  # Hz, s, s
FILTER_BLOCK = 512  # samples between two positions of a moving filter
OPEN = 13_400  # cents; a low-pass at or above this is left out
VELOCITY_TO_CUTOFF = -1200  # cents at velocity 0; half the specification's default, which is dull


@dataclass(frozen=True)
class _Voice:
    """One zone of one note: when (s), how loud (linear), and how soon it is let go (s)."""

    onset: float
    seconds: float
    gain: float
    release: float


class Sampler:
    """Plays notes with the instruments of `bank` at `rate` Hz."""

    def __init__(self, bank: Bank, rate: int) -> None:
        self._bank, self._rate = bank, rate

    def play(
        self,
        notes: Sequence[PlayedNote],
        program: int,
        *,
        drums: bool = False,
        seconds: float,
        pan: float = 0.0,
        vibrato: float = 0.0,
        gains: Mapping[int, float] | None = None,
    ) -> Array:
        """The notes as sound, shape (2, samples), `seconds` long; what rings past that is cut.

        Args:
            program: GM program from 0, or the drum kit's when `drums`.
            gains: linear gain by key, to balance the drums of a kit.
            pan: -1 left to 1 right, added to the instrument's own.
            vibrato: depth in cents; it sets in after a moment, as a player's does.
        """
        out = np.zeros((2, round(seconds * self._rate)), np.float32)
        grouped = self._voices(program, notes, drums, gains or {})
        for (zone, softness, bend), voices in grouped.items():
            longest = max(voice.seconds + 0.6 * voice.release for voice in voices)
            wave = self._sounding(zone, softness, bend, longest, vibrato)
            sides = np.array(_sides(zone.pan + pan), np.float32)
            for voice in voices:
                self._add(out, wave, voice, sides)
        return out

    def _voices(
        self,
        program: int,
        notes: Sequence[PlayedNote],
        drums: bool,
        gains: Mapping[int, float],
    ) -> dict[tuple[Zone, int, float], list[_Voice]]:
        """Every zone that sounds, with its filter step and bend, and when it does."""
        grouped: dict[tuple[Zone, int, float], list[_Voice]] = defaultdict(list)
        struck = [self._zones(program, drums, note) for note in notes]
        ends = _choked(notes, struck) if drums else {}
        for index, note in enumerate(notes):
            softness = 0 if drums else round((127 - note.velocity) / 16)
            for zone in struck[index]:
                held = note.offset - note.onset
                release = max(min(zone.volume.release, 2.5), FASTEST_RELEASE)
                if drums:
                    held = min(ends.get(index, LONGEST_STROKE), LONGEST_STROKE)
                    release = CHOKE
                gain = zone.gain * (note.velocity / 127) ** 2 * gains.get(note.midi, 1.0)
                voice = _Voice(note.onset, held, gain, release)
                grouped[zone, softness, note.bend].append(voice)
        return grouped

    def _zones(self, program: int, drums: bool, note: PlayedNote) -> tuple[Zone, ...]:
        """What sounds for a note; a drum that a kit lacks is taken from the standard kit."""
        preset = self._bank.preset(program, drums)
        zones = self._bank.zones(preset, note.midi, note.velocity)
        if not zones and drums:
            zones = self._bank.zones(self._bank.preset(0, True), note.midi, note.velocity)
        return zones

    def _add(self, out: Array, wave: Array, voice: _Voice, sides: Array) -> None:
        """One note: `wave` up to its end, then its release, into `out`."""
        start = round(voice.onset * self._rate)
        held = round(voice.seconds * self._rate)
        tail = round(0.6 * voice.release * self._rate)
        sound = wave[: held + tail] * np.float32(voice.gain)
        if len(sound) > held:
            falling = np.arange(len(sound) - held, dtype=np.float32) / np.float32(tail)
            sound[held:] *= np.exp(np.float32(np.log(FLOOR)) * falling) * (1 - falling)
        skipped = max(0, -start)
        sound = sound[skipped : skipped + max(0, out.shape[1] - max(start, 0))]
        first = max(start, 0)
        out[:, first : first + len(sound)] += sides[:, None] * sound

    def _sounding(
        self, zone: Zone, softness: int, bend: float, seconds: float, vibrato: float
    ) -> Array:
        """A zone's sound at full loudness for so many seconds, as if the key were held."""
        length = self._audible(zone, seconds)
        sweep = _course(zone.sweep, length, self._rate) if _moves(zone) else None
        wave = self._pitched(zone, length, bend, vibrato, sweep)
        cutoff = zone.cutoff + VELOCITY_TO_CUTOFF * softness * 16 / 127
        course = None if sweep is None else zone.sweep_cutoff * sweep[::FILTER_BLOCK]
        wave = self._filtered(wave, cutoff, course, zone.resonance)
        wave *= self._loudness(zone.volume, len(wave))
        edge = min(len(wave), round(0.003 * self._rate))
        if not zone.loop_end:
            wave[len(wave) - edge :] *= np.linspace(1, 0, edge, dtype=np.float32)
        return wave

    def _audible(self, zone: Zone, seconds: float) -> int:
        """Samples until the zone has died away by itself, `seconds` at most."""
        volume, most = zone.volume, seconds
        if volume.sustain >= 0.6 and volume.decay > 0:
            most = min(most, volume.attack + volume.hold + 0.6 * volume.decay)
        if not zone.loop_end:
            most = min(most, (zone.end - zone.start) / zone.ratio)
        return max(1, round(most * self._rate))

    def _pitched(
        self, zone: Zone, length: int, bend: float, vibrato: float, sweep: Array | None
    ) -> Array:
        """The recording at its pitch, `length` samples of output."""
        step = zone.ratio / self._rate * 2 ** (bend / 1200)
        phase: NDArray[np.float64] = np.arange(length, dtype=np.float64) * step
        if vibrato or (sweep is not None and zone.sweep_pitch):
            cents = np.zeros(length)
            if vibrato:
                cents += _vibrato(length, self._rate, vibrato)
            if sweep is not None:
                cents += zone.sweep_pitch * sweep
            steps = step * 2 ** (cents / 1200)
            phase = np.asarray(np.cumsum(steps) - steps, np.float64)
        source = _unrolled(self._bank.samples(zone.sample), zone, int(phase[-1]) + 4)
        return _interpolated(source, phase)

    def _filtered(
        self, wave: Array, cutoff: float, course: Array | None, resonance: float
    ) -> Array:
        """Through a two-pole low-pass whose cutoff (cents) may move along `course`."""
        if course is None or np.ptp(course) < 1:
            still = cutoff if course is None else cutoff + float(course[0])
            if still >= OPEN:
                return wave
            b, a = _low_pass(np.array([still]), resonance, self._rate)
            return np.asarray(lfilter(b[0], a[0], wave), np.float32)
        b, a = _low_pass(cutoff + course.astype(np.float64), resonance, self._rate)
        # From where the course stands still, one call does the rest.
        last = int(np.flatnonzero(np.abs(course - course[-1]) > 5).max(initial=-1)) + 1
        out, state = np.empty_like(wave), np.zeros(2)
        for index in range(last + 1):
            start = index * FILTER_BLOCK
            end = start + FILTER_BLOCK if index < last else len(wave)
            out[start:end], state = lfilter(b[index], a[index], wave[start:end], zi=state)
        return out

    def _loudness(self, volume: Envelope, length: int) -> Array:
        """The course of the loudness while the key is held, linear gain."""
        time = np.arange(length, dtype=np.float32) / np.float32(self._rate)
        rise: Array = np.clip(time / np.float32(max(volume.attack, 0.0005)), 0, 1)
        if volume.sustain == 0:
            return rise
        falling = np.maximum(time - np.float32(volume.attack + volume.hold), 0)
        share = np.minimum(falling / np.float32(max(volume.decay, 0.01)), volume.sustain)
        return np.asarray(rise * 10 ** (-5 * share), np.float32)


def _choked(notes: Sequence[PlayedNote], struck: Sequence[tuple[Zone, ...]]) -> dict[int, float]:
    """For notes of an exclusive class: seconds until the next note of that class cuts them off."""
    last: dict[int, int] = {}
    ends: dict[int, float] = {}
    for index in sorted(range(len(notes)), key=lambda i: notes[i].onset):
        for group in {zone.exclusive for zone in struck[index]} - {0}:
            if group in last:
                ends[last[group]] = notes[index].onset - notes[last[group]].onset
            last[group] = index
    return ends


def _moves(zone: Zone) -> bool:
    """Whether the sweep is heard: in the pitch, or in a filter that is not open anyway."""
    return bool(zone.sweep_pitch) or bool(zone.sweep_cutoff and zone.cutoff < OPEN)


def _course(envelope: Envelope, length: int, rate: int) -> Array:
    """A sweep's course, 0 to 1, linear in each stretch."""
    times = np.cumsum([0, envelope.attack, envelope.hold, envelope.sustain * envelope.decay])
    values = [0.0 if envelope.attack > 0 else 1.0, 1.0, 1.0, 1.0 - envelope.sustain]
    return np.interp(np.arange(length) / rate, times, values).astype(np.float32)


def _vibrato(length: int, rate: int, depth: float) -> NDArray[np.float64]:
    """Cents over time."""
    time = np.arange(length) / rate
    onset = np.clip((time - VIBRATO_DELAY) / VIBRATO_RISE, 0, 1)
    return depth * onset * np.sin(2 * np.pi * VIBRATO_RATE * time)


def _unrolled(samples: Array, zone: Zone, length: int) -> Array:
    """The recording from its start with its loop repeated, with one sample before and `length`."""
    if not zone.loop_end:
        source = samples[zone.start : zone.end]
    else:
        loop = samples[zone.loop_start : zone.loop_end]
        missing = max(0, length - (zone.loop_end - zone.start))
        rounds = -(-missing // len(loop))
        source = np.concatenate([samples[zone.start : zone.loop_end], np.tile(loop, rounds)])
    source = source[:length]
    return np.pad(source, (1, length - len(source) + 3))


def _interpolated(source: Array, phase: NDArray[np.float64]) -> Array:
    """`source` (one sample of lead-in) at fractional positions, Catmull-Rom."""
    whole = phase.astype(np.int64)
    x = (phase - whole).astype(np.float32)
    before, here, after, later = (source[whole + k] for k in range(4))
    a = 0.5 * (3 * (here - after) + later - before)
    b = before - 2.5 * here + 2 * after - 0.5 * later
    c = 0.5 * (after - before)
    out: Array = ((a * x + b) * x + c) * x + here
    return out


def _low_pass(
    cents: NDArray[np.float64], resonance: float, rate: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients b, a (positions, 3) of two-pole low-passes.

    Source: R. Bristow-Johnson, *Audio EQ Cookbook*. A resonance of 0 dB in a SoundFont is a
    Butterworth's, 3 dB down at the cutoff.
    """
    hertz = np.clip(8.176 * 2 ** (cents / 1200), 60, 0.45 * rate)
    angle = 2 * np.pi * hertz / rate
    alpha = np.sin(angle) / (2 * 10 ** ((resonance - 3.01) / 20))
    low = (1 - np.cos(angle)) / 2
    a0 = 1 + alpha
    b = np.stack([low, 2 * low, low], axis=1) / a0[:, None]
    a = np.stack([a0, -2 * np.cos(angle), 1 - alpha], axis=1) / a0[:, None]
    return b, a


def _sides(pan: float) -> tuple[float, float]:
    """Left and right gain at equal power; 1 at the centre."""
    angle = (min(max(pan, -1.0), 1.0) + 1) * np.pi / 4
    return float(np.sqrt(2) * np.cos(angle)), float(np.sqrt(2) * np.sin(angle))
