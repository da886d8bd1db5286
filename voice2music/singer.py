"""A synthetic singer: notes in, a hum or a sung vowel out, free of anyone's licence.

A source-filter voice (Fant 1960): a glottal pulse whose f0 glides, scoops, drifts and shakes as
a human's does, a little breath, and the formants of a vowel or of a closed mouth. It sings the
built-in examples, the tests, the benchmarks and the training pairs, some hundred times faster than
real time. It is no imitation of a person and speaks no words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfilt

from voice2music.clip import Clip
from voice2music.notes import Note

Timbre = Literal["hum", "ah", "oh", "oo", "ee", "words"]
Array = NDArray[np.float64]

CONTROL_RATE = 1_000  # Hz at which f0 and loudness are drawn before they are interpolated
LEGATO = 0.06  # s; notes closer than this are sung without letting go
TABLE = 2_048  # samples of one glottal period

# Formant frequency, bandwidth (Hz) and level (dB) of a man's voice; the frequencies are the field's
# (Peterson & Barney 1952 for the vowels; Dang, Honda & Suzuki 1994 for the closed mouth).
FORMANTS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "ah": ((730, 90, 0), (1090, 110, -4), (2440, 150, -16), (3400, 200, -22)),
    "oh": ((570, 80, 0), (840, 100, -6), (2410, 150, -26), (3300, 200, -30)),
    "oo": ((300, 70, 0), (870, 100, -12), (2240, 150, -32), (3300, 200, -36)),
    "ee": ((270, 60, 0), (2290, 130, -14), (3010, 170, -18), (3700, 250, -24)),
    "hum": ((260, 90, 0), (1000, 260, -26), (2100, 350, -36)),
}
VOWELS = ("ah", "oh", "oo", "ee")


@dataclass(frozen=True)
class Singer:
    """How someone sings.

    Args:
        timbre: closed-mouth "hum", one vowel, or "words" (another vowel for every note).
        tuning: how far the whole song lies off A4 = 440 Hz, cents.
        intonation: standard deviation of each note's own error, cents.
        drift: how far the pitch wanders within some seconds, cents (standard deviation).
        vibrato: half of the peak-to-peak depth, cents; it sets in after a quarter second.
        vibrato_rate: Hz.
        scoop: how far below the note a phrase is begun, cents.
        portamento: how long a glide between two notes takes, seconds.
        breath: breath noise below the voice, dB.
        noise: noise of the room, dB below full scale (rms).
        level: peak, dB below full scale.
        size: length of the vocal tract against a man's, 0.6 to 1.1; None goes by the range sung,
            so that high tunes are sung by women and children.
    """

    timbre: Timbre = "hum"
    tuning: float = 0.0
    intonation: float = 8.0
    drift: float = 8.0
    vibrato: float = 20.0
    vibrato_rate: float = 5.4
    scoop: float = 60.0
    portamento: float = 0.06
    breath: float = -30.0
    noise: float = -66.0
    level: float = -6.0
    size: float | None = None


EXACT = Singer(intonation=0, drift=0, vibrato=0, scoop=0, portamento=0.02)


def sing(
    notes: Sequence[Note],
    singer: Singer | None = None,
    *,
    rate: int = 32_000,
    seed: int = 0,
    seconds: float | None = None,
) -> Clip:
    """Sing `notes`, each at its own time and at `midi` plus `cents`.

    Args:
        notes: in any order; where two overlap, the later one cuts the earlier one short.
        singer: how; the defaults of `Singer` where none is given.
        rate: Hz of the clip, 16,000 to 48,000.
        seed: of everything that chance decides; same seed, same samples.
        seconds: length of the clip; None is half a second past the last note.
    Returns:
        One channel.
    Raises:
        ValueError: no notes, none over 10 ms, or one outside MIDI 22 to 95 (30 Hz to 2 kHz).
    """
    singer = singer or Singer()
    sung = _one_at_a_time(notes)
    length = max(1, round((sung[-1].offset + 0.5 if seconds is None else seconds) * rate))
    rng = np.random.default_rng(seed)

    ticks = np.arange(0, length / rate + 2 / CONTROL_RATE, 1 / CONTROL_RATE)
    pitch = _pitch(sung, singer, ticks, rng)
    loudness = _loudness(sung, ticks, rng)

    times = np.arange(length) / rate
    f0 = 440 * 2 ** ((np.interp(times, ticks, pitch) - 69) / 12)
    source = _glottis(f0, rate)
    source += 10 ** (singer.breath / 20) * _breath(f0, rate, rng)
    source *= np.interp(times, ticks, loudness)

    voice = _mouth(source, sung, singer, times, rate, rng)
    voice *= 10 ** (singer.level / 20) / max(float(np.abs(voice).max()), 1e-9)
    voice += 10 ** (singer.noise / 20) * rng.standard_normal(length)
    return Clip(np.clip(voice, -1, 1).astype(np.float32), rate)


def humanised(
    notes: Sequence[Note], *, seed: int = 0, jitter: float = 0.015, rubato: float = 0.03
) -> tuple[Note, ...]:
    """The same notes in a human's time.

    Args:
        jitter: standard deviation of each onset's and offset's own error, seconds.
        rubato: how far the local tempo wanders from the mean, as a share (standard deviation);
            it moves over some five seconds, and over the whole song it evens out.
        seed: of both.
    Returns:
        Notes in order; none shorter than 50 ms or before 0 because of this.
    """
    rng = np.random.default_rng(seed)
    ordered = sorted(notes, key=lambda note: note.onset)
    if not ordered:
        return ()
    start, end = ordered[0].onset, max(note.offset for note in ordered)
    knots = np.linspace(start, end, max(4, round((end - start) / 2.5) + 1))
    wander = rng.standard_normal(len(knots)) * rubato
    pace = np.interp(ticks := np.linspace(start, end, 1_000), knots, 1 + wander - wander.mean())
    warped = start + np.concatenate(([0], np.cumsum(np.maximum(pace[:-1], 0.2))))
    warped = start + (warped - start) * (end - start) / (warped[-1] - start)
    moved: list[Note] = []
    for note in ordered:
        onset, offset = np.interp((note.onset, note.offset), ticks, warped)
        onset = max(0.0, onset + rng.normal(0, jitter), moved[-1].onset + 0.05 if moved else 0.0)
        offset = max(offset + rng.normal(0, jitter), onset + 0.05)
        moved.append(replace(note, onset=float(onset), offset=float(offset)))
    return _one_at_a_time(moved)


def _one_at_a_time(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Notes in order, each ending where the next begins, those that vanish left out."""
    ordered = sorted(notes, key=lambda note: note.onset)
    if not ordered:
        raise ValueError("There is no note to sing.")
    for note in ordered:
        if not 22 <= note.midi + note.cents / 100 <= 95:
            raise ValueError(f"MIDI note {note.midi} cannot be sung; 22 to 95 can.")
    ends = [note.onset for note in ordered[1:]] + [ordered[-1].offset]
    cut = [
        replace(note, offset=min(note.offset, end)) for note, end in zip(ordered, ends, strict=True)
    ]
    long = tuple(note for note in cut if note.offset - note.onset > 0.01)
    if not long:
        raise ValueError("Every note to sing is shorter than 10 ms.")
    return long


def _pitch(
    notes: tuple[Note, ...], singer: Singer, ticks: Array, rng: np.random.Generator
) -> Array:
    """Fractional MIDI note at `ticks`; between phrases the last note is kept."""
    onsets = np.array([note.onset for note in notes])
    wanted = np.array([note.midi + note.cents / 100 for note in notes])
    wanted = wanted + rng.standard_normal(len(notes)) * singer.intonation / 100
    which = np.clip(np.searchsorted(onsets, ticks, side="right") - 1, 0, None)

    # A glide is a step seen through a Gaussian: 10 to 90 % takes 2.56 standard deviations.
    pitch = _smoothed(wanted[which], singer.portamento / 2.56)
    since = ticks - onsets[which]
    begins = np.array([True] + [b.onset - a.offset > LEGATO for a, b in _pairs(notes)])
    scoop = singer.scoop * rng.uniform(0.3, 1.0, len(notes)) * begins
    pitch = pitch - scoop[which] / 100 * np.exp(-np.maximum(since, 0) / 0.05)

    phase = 2 * np.pi * np.cumsum(singer.vibrato_rate * (1 + 0.1 * _wander(ticks, 1.0, rng)))
    depth = singer.vibrato / 100 * np.clip((since - 0.25) / 0.3, 0, 1)
    pitch = pitch + depth * np.sin(phase / CONTROL_RATE)
    return np.asarray(
        pitch + singer.drift / 100 * _wander(ticks, 2.0, rng) + singer.tuning / 100, np.float64
    )


def _loudness(notes: tuple[Note, ...], ticks: Array, rng: np.random.Generator) -> Array:
    """Linear gain at `ticks`: phrases swell and die away, notes begin with a dip between them."""
    gain = np.zeros(len(ticks))
    ends = [note.offset for note in notes]
    for index, (before, after) in enumerate(_pairs(notes)):
        if after.onset - before.offset <= LEGATO:
            ends[index] = after.onset
    for note, end in zip(notes, ends, strict=True):
        gain[(ticks >= note.onset) & (ticks < end)] = 10 ** (rng.normal(0, 1.5) / 20)
    for (before, after), end in zip(_pairs(notes), ends, strict=False):
        if end == after.onset:
            depth = 0.85 if before.midi == after.midi else 0.35
            gain *= 1 - depth * np.exp(-(((ticks - after.onset + 0.01) / 0.022) ** 2))
    swell = 10 ** (1.5 * _wander(ticks, 1.5, rng) / 20)
    return np.asarray(_smoothed(gain, 0.015) * swell, np.float64)


def _glottis(f0: Array, rate: int) -> Array:
    """A voiced source of unit rms with as many harmonics as fit below half the rate."""
    phase = np.cumsum(f0 / rate) % 1.0
    fitting = np.floor(0.48 * rate / f0).clip(1, 200)
    band = np.floor(np.log2(fitting) * 2).astype(np.int64)  # two tables per octave of f0
    position = phase * TABLE
    left = position.astype(np.int64) % TABLE
    share = position - np.floor(position)
    tables = _glottal_tables()
    return np.asarray(
        tables[band, left] * (1 - share) + tables[band, (left + 1) % TABLE] * share, np.float64
    )


@lru_cache(maxsize=1)
def _glottal_tables() -> Array:
    """One period of the derivative of Rosenberg's pulse (1971), with 2**(k/2) harmonics in row k.

    The derivative stands for the lips, which radiate high frequencies better.
    """
    time = np.arange(TABLE) / TABLE
    opening, closing = 0.4, 0.16  # shares of the period
    flow = np.where(time < opening, 0.5 * (1 - np.cos(np.pi * time / opening)), 0.0)
    falls = (time >= opening) & (time < opening + closing)
    flow[falls] = np.cos(0.5 * np.pi * (time[falls] - opening) / closing)
    spectrum = np.fft.rfft(np.diff(flow, append=flow[0]))
    rows = []
    for harmonics in 2 ** (np.arange(16) / 2):
        cut = spectrum.copy()
        cut[int(harmonics) + 1 :] = 0
        cut[0] = 0
        row = np.fft.irfft(cut, TABLE)
        rows.append(row / np.sqrt(np.mean(row**2)))
    return np.stack(rows)


def _breath(f0: Array, rate: int, rng: np.random.Generator) -> Array:
    """Noise that comes in puffs, one for each opening of the glottis."""
    puffs = 0.6 + 0.4 * np.sin(2 * np.pi * np.cumsum(f0 / rate))
    noise = sosfilt(butter(1, 500, "highpass", fs=rate, output="sos"), rng.standard_normal(len(f0)))
    return np.asarray(3 * puffs * noise, np.float64)


def _mouth(
    source: Array,
    notes: tuple[Note, ...],
    singer: Singer,
    times: Array,
    rate: int,
    rng: np.random.Generator,
) -> Array:
    """The source through the formants; for "words", a vowel per note, each gliding on."""
    middle = float(np.median([note.midi for note in notes]))
    # A woman's tract is some 15 % shorter than a man's, a child's 30 % (Fant 1973).
    size = singer.size or float(np.interp(middle, (50, 62, 74), (1.0, 0.87, 0.75)))
    if singer.timbre != "words":
        return _through(source, FORMANTS[singer.timbre], size, rate)
    choice = rng.integers(len(VOWELS), size=len(notes))
    onsets = [note.onset for note in notes]
    ticks = np.arange(0, times[-1] + 0.02, 0.01)
    which = np.clip(np.searchsorted(onsets, ticks, side="right") - 1, 0, None)
    voice = np.zeros(len(source))
    for index, vowel in enumerate(VOWELS):
        share = gaussian_filter1d((choice[which] == index).astype(np.float64), 2.0)
        voice += _through(source, FORMANTS[vowel], size, rate) * np.interp(times, ticks, share)
    return voice


def _through(
    source: Array, formants: tuple[tuple[float, float, float], ...], size: float, rate: int
) -> Array:
    """A parallel formant synthesiser (Klatt 1980): resonators side by side, alternating in sign.

    Neighbours of the same sign would cancel each other between their peaks.
    """
    out = np.zeros(len(source))
    for index, (frequency, bandwidth, level) in enumerate(formants):
        radius = np.exp(-np.pi * bandwidth / rate)
        angle = 2 * np.pi * frequency / size / rate
        poles = np.array([1.0, -2 * radius * np.cos(angle), radius**2])
        z = np.exp(1j * angle)
        peak = abs((1 - z**-2) / (poles[0] + poles[1] / z + poles[2] / z**2))
        section = np.concatenate(([1.0, 0.0, -1.0], poles))[None, :]
        out += (-1) ** index * 10 ** (level / 20) / peak * sosfilt(section, source)
    return out


def _wander(ticks: Array, pace: float, rng: np.random.Generator) -> Array:
    """A smooth random curve of about unit variance that turns about every `pace` seconds."""
    knots = np.arange(-pace, ticks[-1] + 3 * pace, pace)
    return np.asarray(CubicSpline(knots, rng.standard_normal(len(knots)))(ticks), np.float64)


def _smoothed(curve: Array, seconds: float) -> Array:
    return np.asarray(gaussian_filter1d(curve, seconds * CONTROL_RATE, mode="nearest"), np.float64)


def _pairs(notes: tuple[Note, ...]) -> list[tuple[Note, Note]]:
    return list(pairwise(notes))
