"""What a singer should know about a recording, in plain words."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.contour import midline, steady_stretches
from voice2music.notes import Note
from voice2music.pitch import HOP, Pitch
from voice2music.quality import Quality

Severity = Literal["info", "warning", "stop"]

SILENT = -70.0  # LUFS, the absolute gate of BS.1770: below it nothing is programme
QUIET = -45.0  # LUFS; home recordings at a low level (vocadito) lie near -35
SHORTEST = 1.0  # s
LEAST_SUNG = 0.3  # s; less is no tune
MOSTLY_SILENT = 0.2  # share of the recording that is sung
CLIPPED = 0.001  # share of samples: some 50 a second
NOISY = 15.0  # dB of voice over noise
MUSIC_BEHIND = 0.5
# Share of sung time in steady stretches of 150 (80) ms. Talking: up to .11 (.27), also when slow;
# the least steady real singing at hand, an alapana and a ballad: .20 (.23) and more. Quick tunes
# hold no note for 150 ms, but most for 80.
HELD, HELD_SECONDS = 0.15, 0.15
STEADY = 0.30
LOWEST, HIGHEST = 36, 84  # MIDI: C2 to C6; beyond, most instruments play it an octave nearer
MAQAM = 0.20  # share of the sung time that lies ...
BETWEEN = 35.0  # ... so many cents or more off the tuned grid (up to 50, where the next begins)
BESIDE = 20.0  # cents; singing false, one seldom ends beyond 35 and often between 20 and 35
ENOUGH_STEADY = 3.0  # s of steady singing that tell a scale from a few false notes
DRIFT_SPAN = 5.0  # s (standard deviation) over which a slow drift of the singer is taken out

MESSAGES: dict[str, tuple[Severity, str]] = {
    "silence": (
        "stop",
        "Nothing can be heard in this recording. Check that the right microphone is chosen and "
        "switched on, then record again.",
    ),
    "too_short": (
        "stop",
        "The recording is {seconds:.1f} s long; a tune needs at least 1 s. Record a little more.",
    ),
    "no_tune": (
        "stop",
        "No tune could be heard. Hum or sing with a clear tone, near the microphone, and record "
        "again.",
    ),
    "background_music": (
        "warning",
        "Music seems to play behind the voice. The voice can be taken out of it first; a "
        "recording without music follows better.",
    ),
    "two_voices": (
        "warning",
        "More than one voice seems to sing. One tune at a time can be followed: the louder one "
        "was taken.",
    ),
    "no_steady_pitch": (
        "warning",
        "This sounds more like talking than singing: hardly any note is held. The rhythm can be "
        "used, but for a tune hum or sing it and hold each note a little.",
    ),
    "noisy": (
        "warning",
        "The voice is only {snr:.0f} dB louder than the noise around it. Take the noise off, or "
        "record in a quieter place, nearer to the microphone.",
    ),
    "clipped": (
        "warning",
        "The recording is too loud and distorts ({percent:.1f} % of it is cut off). Move away "
        "from the microphone or turn its level down.",
    ),
    "too_quiet": (
        "warning",
        "The recording is very quiet ({loudness:.0f} LUFS). Sing nearer to the microphone or turn "
        "its level up.",
    ),
    "mostly_silence": (
        "warning",
        "Only {sung:.1f} s of the {seconds:.1f} s are sung. Cut the silence off, or sing longer.",
    ),
    "maqam": (
        "info",
        "{percent:.0f} % of the sung time lies between the notes of the piano, as in many Arabic "
        "maqamat. The models know twelve notes to the octave only and will play the nearest ones.",
    ),
    "out_of_range": (
        "info",
        "The tune lies very {where}. Most instruments will play it an octave {moved}.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """Something the singer should know, in plain words.

    Args:
        code: stable name, one of `MESSAGES` (the page translates by it).
        text: the English sentence: what was heard and what to do.
        severity: "stop" means that no music can be made from this clip.
        values: the numbers that stand in the text, for translations.
    """

    code: str
    text: str
    severity: Severity = "warning"
    values: tuple[tuple[str, float | str], ...] = ()


def findings(
    clip: Clip, pitch: Pitch, notes: tuple[Note, ...], quality: Quality, loudness: float
) -> tuple[Finding, ...]:
    """Everything worth saying about a recording, the gravest first.

    Args:
        loudness: integrated, LUFS.
    """
    sung = float(pitch.voiced.sum()) * HOP
    if loudness < SILENT:
        return (_finding("silence"),)
    if clip.seconds < SHORTEST:
        return (_finding("too_short", seconds=clip.seconds),)
    if sung < LEAST_SUNG or not notes:
        return (_finding("no_tune"),)
    found = []
    if quality.accompaniment >= MUSIC_BEHIND:
        found.append(_finding("background_music"))
    if quality.second_voice >= MUSIC_BEHIND:
        found.append(_finding("two_voices"))
    if _talks(pitch):
        found.append(_finding("no_steady_pitch"))
    if quality.snr < NOISY and quality.accompaniment < MUSIC_BEHIND:
        found.append(_finding("noisy", snr=quality.snr))
    if quality.clipping > CLIPPED:
        found.append(_finding("clipped", percent=100 * quality.clipping))
    if loudness < QUIET:
        found.append(_finding("too_quiet", loudness=loudness))
    if sung < MOSTLY_SILENT * clip.seconds:
        found.append(_finding("mostly_silence", sung=sung, seconds=clip.seconds))
    between = share_between(pitch)
    if between >= MAQAM and not _talks(pitch):
        found.append(_finding("maqam", percent=100 * between))
    middle = float(np.median([note.midi for note in notes]))
    if not LOWEST <= middle <= HIGHEST:
        where, moved = ("low", "higher") if middle < LOWEST else ("high", "lower")
        found.append(_finding("out_of_range", where=where, moved=moved))
    return tuple(found)


def share_between(pitch: Pitch) -> float:
    """Share of the steadily sung time that lies 35 to 65 cents off the singer's grid, in [0, 1].

    Judged by the median of each steady stretch, so that vibrato, glides and scoops do not count,
    against a grid that follows the singer's slow drift. 0 where too little is steady, and where
    the tones between are no group of their own but the tail of singing false.
    """
    line = midline(pitch)
    stretches = steady_stretches(line)
    if sum(b - a for a, b in stretches) * HOP < ENOUGH_STEADY:
        return 0.0
    middles = np.array([(a + b) / 2 * HOP for a, b in stretches])
    lengths = np.array([(b - a) * HOP for a, b in stretches])
    medians = np.array([np.median(line[a:b]) for a, b in stretches])
    off = np.abs(_off_grid(middles, lengths, medians))
    between = float(lengths[off >= BETWEEN].sum() / lengths.sum())
    false = float(lengths[(off >= BESIDE) & (off < BETWEEN)].sum() / lengths.sum())
    return between if between > false else 0.0


def _off_grid(
    times: NDArray[np.float64], lengths: NDArray[np.float64], midi: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cents, -50 to 50, between each stretch and the grid that most stretches near it share.

    The grid at each time is the circular mean of all stretches, weighted by length and nearness
    in time, then again by nearness in pitch, so that the tones between do not pull it.
    """
    phase = np.exp(2j * np.pi * midi)
    near = lengths * np.exp(-0.5 * ((times[:, None] - times) / DRIFT_SPAN) ** 2)
    near += 0.1 * lengths  # where little is sung around, the whole song tells the grid
    grid = np.angle(near @ phase)
    for _ in range(4):
        close = np.exp(4.0 * (np.cos(2 * np.pi * midi - grid[:, None]) - 1.0))
        grid = np.angle((near * close) @ phase)
    return np.asarray(np.angle(phase * np.exp(-1j * grid)) / (2 * np.pi) * 100, np.float64)


def _talks(pitch: Pitch) -> bool:
    """Whether hardly any note is held."""
    stretches = steady_stretches(midline(pitch))
    sung = max(int(pitch.voiced.sum()), 1)
    steady = sum(b - a for a, b in stretches) / sung
    held = sum(b - a for a, b in stretches if (b - a) * HOP >= HELD_SECONDS) / sung
    return held < HELD and steady < STEADY


def _finding(code: str, **values: float | str) -> Finding:
    severity, text = MESSAGES[code]
    return Finding(code, text.format(**values), severity, tuple(values.items()))
