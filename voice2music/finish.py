"""From an engine's raw sound to what a person hears: length, ends, place in time, loudness, mix."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.engines.base import Rendition
from voice2music.loudness import integrated_loudness, normalised
from voice2music.onsets import HOP, beat_f_measure, onset_strength, pulse
from voice2music.rhythm import Grid

RATE = 44_100  # Hz of every finished file
FADE_IN, FADE_OUT = 0.005, 0.060  # s; short enough not to be heard as a fade
REACH = 1.0  # beats by which a take may be moved
CLEAR_GAIN = 0.08  # F-measure by which a move must improve the fit to be made


@dataclass(frozen=True)
class Alignment:
    """How far the music must be moved to lie on the voice's beats.

    Args:
        shift: seconds; positive moves the music later. 0 where it stays.
        on_beat: False when no move within a beat brings the pulse onto the voice's beats.
    """

    shift: float
    on_beat: bool


def alignment(music: Clip, grid: Grid) -> Alignment:
    """The move, up to one beat either way, that best lays the music's pulse on the voice's beats.

    Music with no clear pulse (ambient) stays where it is and counts as on the beat. A move is
    made only when it clearly helps, as a wrong one would spoil a take that was right.
    """
    strength = onset_strength(music)
    found = pulse(strength, grid.tempo)
    beats = np.array([b for b in grid.beats if 0 <= b <= music.seconds])
    if len(found) < 4 or len(beats) < 4 or _pulse_clarity(strength, found) < 1.5:
        return Alignment(0.0, True)
    period = 60 / grid.tempo
    shifts = np.arange(-REACH * period, REACH * period + HOP / 2, HOP)
    # Of two equally good moves the smaller one is right.
    fits = [beat_f_measure(found + s, beats) - 0.02 * abs(s) / period for s in shifts]
    best, stay = int(np.argmax(fits)), beat_f_measure(found, beats)
    if fits[best] < stay + CLEAR_GAIN:
        return Alignment(0.0, stay >= 0.5)
    return Alignment(_centred(found, beats, float(shifts[best])), fits[best] >= 0.5)


def fitted(music: Clip, seconds: float, shift: float = 0.0) -> Clip:
    """Stereo at 44.1 kHz, moved by `shift`, exactly `seconds` long, with click-free ends.

    Where the move leaves silence before or after the music, the music's own ends are faded.
    """
    length, late = round(seconds * RATE), round(shift * RATE)
    wide = music.resampled(RATE).stereo().samples
    heard = _faded(wide[:, max(-late, 0) : max(length - late, 0)])
    out = np.zeros((2, length), np.float32)
    out[:, max(late, 0) : max(late, 0) + heard.shape[1]] = heard
    return Clip(out, RATE)


def finished(music: Clip, seconds: float, shift: float = 0.0) -> Clip:
    """`fitted` music at -14 LUFS with its true peak at or below -1 dBTP."""
    return normalised(fitted(music, seconds, shift))


def stems(rendition: Rendition, music: Clip, shift: float = 0.0) -> dict[str, Clip]:
    """The rendition's stems at the level and place that they have in the finished `music`."""
    whole = integrated_loudness(rendition.audio)
    gain = 10 ** ((integrated_loudness(music) - whole) / 20) if whole > -np.inf else 1.0
    return {
        name: fitted(stem, music.seconds, shift).scaled(gain)
        for name, stem in rendition.stems.items()
    }


def mixed(music: Clip, voice: Clip, music_level: float, voice_level: float) -> Clip:
    """Music and voice at equal loudness plus their levels in dB, brought to -14 LUFS together."""
    # Cut at the music's rate: at a lower one the voice could come out some samples off.
    sung = voice.resampled(music.rate).stereo().cut(0, music.seconds)
    parts = _at_unit_loudness(music, music_level), _at_unit_loudness(sung, voice_level)
    return normalised(Clip(parts[0].samples + parts[1].samples, music.rate))


def _faded(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(channels, n) with a short rise at its start and a longer fall at its end."""
    length = samples.shape[1]
    envelope = np.ones(length, np.float32)
    fade_in, fade_out = min(round(FADE_IN * RATE), length), min(round(FADE_OUT * RATE), length)
    envelope[:fade_in] *= _ramp(fade_in)
    envelope[length - fade_out :] *= _ramp(fade_out)[::-1]
    return samples * envelope


def _ramp(length: int) -> NDArray[np.float32]:
    """A raised-cosine rise from 0 to 1."""
    return (0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1))).astype(np.float32)


def _at_unit_loudness(clip: Clip, level: float) -> Clip:
    """`clip` at -23 LUFS (room for the sum) plus `level` dB; silence stays silence."""
    loudness = integrated_loudness(clip)
    return clip if loudness == -np.inf else clip.scaled(10 ** ((-23 + level - loudness) / 20))


def _pulse_clarity(strength: NDArray[Any], found: NDArray[Any]) -> float:
    """Mean onset strength around the pulse over the mean everywhere (which is 1)."""
    frames = np.clip(np.round(found / HOP).astype(int), 1, len(strength) - 2)
    near = np.maximum.reduce([strength[frames - 1], strength[frames], strength[frames + 1]])
    return float(near.mean())


def _centred(found: NDArray[Any], beats: NDArray[Any], shift: float) -> float:
    """`shift` refined so that the matched beats lie on each other on the median."""
    moved = found + shift
    nearest = beats[np.abs(beats[None, :] - moved[:, None]).argmin(axis=1)]
    close = np.abs(nearest - moved) < 0.1
    return shift + float(np.median((nearest - moved)[close])) if close.any() else shift
