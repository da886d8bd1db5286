"""How good a recording of a voice is: clipping, noise, and what else sounds in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from voice2music.clip import Clip
from voice2music.pitch import HOP, Pitch, frame_level
from voice2music.spectrum import RATE, STRIDE, WINDOW, Peaks, Spectra, lasting, peaks, spectra

CLEANEST = 60.0  # dB; a better signal-to-noise ratio is not told apart
RUMBLE = 80.0  # Hz; what lies below is felt more than heard and is no noise to a listener
AFTER_SINGING = 0.16  # s around singing that do not count as a pause: echoes, breaths
ENOUGH_PAUSE = 0.3  # s from which pauses tell the noise

TONE_STANDS_OUT = 3.0  # times its surroundings: white noise passes once in 1,200 bins
TONE_LASTS = 3  # rows (60 ms) on either side
TONE_HIGHEST = 2_500.0  # Hz; above, vibrato smears a voice's own harmonics
HUMS_ON = 0.5  # share of the whole clip in which one and the same tone is a machine's, not music
OWN = 60.0  # cents from a harmonic of the voice that are still the voice
ENOUGH_ROWS = 25  # 0.5 s of steady singing, or else of pauses, tell what else sounds

# Logistic middles and slopes. Tones that are not the voice's, per row: real voices .0 to .9, a
# hum over loud mains hum up to 2.4, a hum over a band at -24 dB 3.6, real songs 6.6 to 9.7. Their
# share of the energy of all tones: real voices under -20 dB, a band at -18 dB -20, songs -8.
FOREIGN_TONES, TONES_SLOPE = 2.7, 0.35
FOREIGN_LEVEL, LEVEL_SLOPE = -21.0, 1.5  # dB
# Share of the foreign tones' energy that one harmonic series holds: two voices .97 to 1, chords
# and songs .5 to .87 at the levels where they are heard.
ONE_SERIES, SERIES_SLOPE = 0.93, 0.01
SECOND_TONES, SECOND_LEVEL = 1.5, -17.0  # as above: a voice has fewer tones than a band
PLAYS_ON = -30.0  # dB under the voice's tones at which tones in its pauses are music
LOWEST_VOICE, HIGHEST_VOICE = 75.0, 1_100.0  # Hz

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """What was measured.

    Args:
        clipping: share of samples at full scale, in [0, 1].
        snr: voice over noise, dB, at most 60; 0 where nothing is sung.
        accompaniment: how surely music plays behind the voice, in [0, 1].
        second_voice: how surely one other voice sings along, in [0, 1].
    """

    clipping: float
    snr: float
    accompaniment: float
    second_voice: float


def quality(clip: Clip, pitch: Pitch) -> Quality:
    """Measure a recording of a voice tracked as `pitch`."""
    spectrum = spectra(clip)
    music, voice = _others(spectrum, pitch)
    return Quality(clipping(clip), signal_to_noise(clip, pitch, spectrum), music, voice)


def clipping(clip: Clip) -> float:
    """Share of samples that were cut off, in [0, 1].

    Cut off are three or more equal samples in a row next to the peak, and samples above full
    scale, which only the decoder of a lossy file makes out of samples that were.
    """
    samples = np.abs(clip.samples)
    apart = max(1, round(clip.rate / 48_000))
    step = 1.01 / 32768  # of 16 bits; within it two samples are equal
    equal = np.abs(samples[:, apart:] - samples[:, :-apart]) <= step
    flat = np.zeros(samples.shape, np.bool_)
    flat[:, apart:-apart] = equal[:, apart:] & equal[:, :-apart]
    flat &= samples >= max(0.98 * clip.peak, 0.1)
    return float(np.mean(flat | (samples > 1.0)))


def signal_to_noise(clip: Clip, pitch: Pitch, spectrum: Spectra) -> float:
    """Level of the voice over that of the noise, dB, in [-20, 60]; 0 where nothing is sung.

    The noise is heard in the pauses; where there are none, half way between the harmonics.
    """
    from scipy.signal import butter, sosfilt  # here: see `onsets.onset_strength`

    if not pitch.voiced.any():
        return 0.0
    filtered = sosfilt(
        butter(2, RUMBLE, "highpass", fs=clip.rate, output="sos"), clip.mono().samples
    )
    power = 10 ** (frame_level(Clip(filtered, clip.rate), len(pitch.f0)) / 10)
    sung = float(np.mean(power[pitch.voiced]))
    pause = ~_near(pitch.voiced, AFTER_SINGING)
    if pause.sum() * HOP >= ENOUGH_PAUSE:
        noise = float(np.median(power[pause]))
        ratio = max(sung - noise, 1e-3 * noise) / max(noise, 1e-12)
    else:
        ratio = _over_valleys(spectrum, pitch)
    return float(np.clip(10 * np.log10(max(ratio, 1e-12)), -20.0, CLEANEST))


def _near(mask: NDArray[np.bool_], seconds: float) -> NDArray[np.bool_]:
    """Frames within `seconds` of a True one."""
    width = 2 * round(seconds / HOP) + 1
    return np.asarray(maximum_filter1d(mask, width, mode="constant", cval=False), np.bool_)


def _over_valleys(spectrum: Spectra, pitch: Pitch) -> float:
    """Power of steady singing over the power half way between its harmonics, all bands."""
    f0 = _row_f0(pitch, len(spectrum.magnitude))
    rows = np.flatnonzero(_steady(f0))
    if len(rows) == 0:
        return float(10 ** (CLEANEST / 10))
    power = np.square(spectrum.magnitude[rows].astype(np.float64))
    position = np.arange(power.shape[1]) * RATE / WINDOW / f0[rows, None]
    between = np.abs(position - np.floor(position) - 0.5) < 0.15
    between &= position > 0.3
    noise = float(np.median(power[between]) / np.log(2))  # of an exponential distribution
    total = float(power.sum(axis=1).mean())
    return float(max(total / max(noise * power.shape[1], 1e-20) - 1, 1e-3))


def _row_f0(pitch: Pitch, rows: int) -> Array:
    """f0 in Hz at each spectrum; 0 where nothing is sung."""
    f0 = pitch.f0[::STRIDE].astype(np.float64)
    return np.pad(f0, (0, max(0, rows - len(f0))))[:rows]


def _steady(f0: Array) -> NDArray[np.bool_]:
    """Rows within whose 160 ms the voice keeps its pitch within a semitone."""
    sung = f0 > 0
    midi = 12 * np.log2(np.where(sung, f0, 1.0))
    reach = 9  # rows
    spread = maximum_filter1d(midi, reach) - minimum_filter1d(midi, reach)
    return np.asarray((spread < 1.0) & minimum_filter1d(sung, reach), np.bool_)


def _others(spectrum: Spectra, pitch: Pitch) -> tuple[float, float]:
    """How surely music, and how surely a second voice, sounds beside the voice."""
    rows = len(spectrum.magnitude)
    tones = peaks(spectrum, TONE_STANDS_OUT)
    tones = tones.where(lasting(tones, rows, TONE_LASTS) & (tones.frequency < TONE_HIGHEST))
    tones = tones.where(~_humming(tones, rows))
    f0 = _row_f0(pitch, rows)
    heard = _steady(f0)
    pause = _pauses(f0)
    playing_on = _in_pauses(tones, pause, heard) > PLAYS_ON
    if heard.sum() < ENOUGH_ROWS:
        heard = pause
    if heard.sum() < ENOUGH_ROWS:
        return 0.0, 0.0
    tones = tones.where(heard[tones.row])
    foreign = tones.where(~_own(tones.frequency, f0[tones.row]))
    if len(foreign.row) == 0:
        return 0.0, 0.0
    count = len(foreign.row) / int(heard.sum())
    level = 10 * np.log10(_mean_share(foreign, tones, heard) + 1e-9)
    music = _logistic((count - FOREIGN_TONES) / TONES_SLOPE)
    music *= _logistic((level - FOREIGN_LEVEL) / LEVEL_SLOPE)
    voice = _logistic((count - SECOND_TONES) / TONES_SLOPE)
    voice *= _logistic((level - SECOND_LEVEL) / LEVEL_SLOPE)
    voice *= 0.0 if playing_on else _logistic((_one_series(foreign) - ONE_SERIES) / SERIES_SLOPE)
    return music * (1 - voice), voice


def _pauses(f0: Array) -> NDArray[np.bool_]:
    """Rows at some distance from any singing."""
    width = 2 * round(AFTER_SINGING / HOP / STRIDE) + 1
    return np.asarray(maximum_filter1d(f0, width, mode="constant") == 0, np.bool_)


def _in_pauses(tones: Peaks, pause: NDArray[np.bool_], steady: NDArray[np.bool_]) -> float:
    """Energy of the tones in pauses against that in steady singing, dB; -inf without either."""
    energy = np.bincount(tones.row, np.square(tones.magnitude), minlength=len(pause))
    if not pause.any() or not steady.any() or energy[pause].sum() == 0:
        return -np.inf
    return float(10 * np.log10(energy[pause].mean() / max(energy[steady].mean(), 1e-20)))


def _humming(tones: Peaks, rows: int) -> NDArray[np.bool_]:
    """Which tones keep their frequency, within a bin, most of the time: mains, fans, drones."""
    at = np.round(tones.frequency * WINDOW / RATE).astype(np.int64)
    count = np.bincount(at, minlength=1)
    around = np.convolve(count, np.ones(3), "same")
    return np.asarray(around[at] > HUMS_ON * rows, np.bool_)


def _own(frequency: Array, f0: Array) -> NDArray[np.bool_]:
    """Which tones are harmonics of the voice."""
    sung = f0 > 0
    order = np.maximum(np.round(frequency / np.where(sung, f0, 1.0)), 1)
    away = 1200 * np.abs(np.log2(frequency / (order * np.where(sung, f0, 1.0))))
    return np.asarray(sung & (away < OWN), np.bool_)


def _mean_share(foreign: Peaks, tones: Peaks, heard: NDArray[np.bool_]) -> float:
    """Energy of the foreign tones over that of all tones, averaged over the rows heard."""
    energy = [
        np.bincount(some.row, np.square(some.magnitude), minlength=len(heard))[heard]
        for some in (foreign, tones)
    ]
    return float(np.mean(energy[0] / np.maximum(energy[1], 1e-20)))


def _one_series(foreign: Peaks) -> float:
    """Share of the foreign energy that one harmonic series per row can hold, in [0, 1].

    High for a second voice, low for chords. The candidates are each row's strongest tones and
    their halves and thirds.
    """
    held = total = 0.0
    starts = np.flatnonzero(np.diff(foreign.row, prepend=-1))
    for first, last in zip(starts, np.append(starts[1:], len(foreign.row)), strict=True):
        frequency = foreign.frequency[first:last]
        energy = np.square(foreign.magnitude[first:last])
        if last - first < 2:
            continue
        strongest = frequency[np.argsort(-energy)[:4]]
        candidates = (strongest[:, None] / np.arange(1, 4)).ravel()
        candidates = candidates[(candidates > LOWEST_VOICE) & (candidates < HIGHEST_VOICE)]
        if len(candidates) == 0:
            continue
        own = _own(frequency[None, :], candidates[:, None])
        held += float((own * energy).sum(axis=1).max())
        total += float(energy.sum())
    return held / total if total > 0 else 0.0


def _logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -50, 50))))
