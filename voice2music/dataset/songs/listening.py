"""What is heard in a song: its beats, key and chords in the music, its tune in the voice."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from voice2music.chords import Chord, Key, chord_symbol, key_name
from voice2music.clip import Clip
from voice2music.conditioning import tuned_midi
from voice2music.evaluation.harmony import heard_chords, heard_key, tonal_chroma
from voice2music.evaluation.rhythm import HOP_LENGTH, RATE, heard_beats
from voice2music.notes import Note, segment, tuning_offset
from voice2music.pitch import HOP, Pitch

PIECE = 60.0  # s of music at a time, so that memory does not grow with the song
STEADY = 0.12  # share by which half of the beats may be longer or shorter than the middle one
FEWEST = 8  # beats from which there is a beat at all
BAR = 4  # beats: the only metre that is assumed
LOW = 150.0  # Hz; below, bass and bass drum mark the bar
PLAIN = Key(0, "major", 0.0)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Heard:
    """Times in seconds from the song's start.

    Args:
        bpm: None where no steady beat was heard; then there are no beats.
        beats: rising; `downbeat`: index of the first that begins a bar of four.
        key: of the music, None in silence.
        chords: (start, end, name), side by side; nothing where nothing was heard.
        tuning: of the voice, cents.
        midi: what is sung, tuned fractional MIDI notes per 10 ms, NaN in rests.
        notes: of the voice.
    """

    bpm: float | None
    beats: tuple[float, ...]
    downbeat: int
    key: str | None
    chords: tuple[tuple[float, float, str], ...]
    tuning: float
    midi: NDArray[np.float32]
    notes: tuple[Note, ...]

    @property
    def bar_lines(self) -> tuple[float, ...]:
        """Where bars begin."""
        return self.beats[self.downbeat :: BAR]

    @property
    def range(self) -> tuple[float, float] | None:
        """MIDI notes between which nine tenths of the singing lie; None where nobody sings."""
        sung = self.midi[~np.isnan(self.midi)]
        if not len(sung):
            return None
        low, high = np.percentile(sung, [5, 95])
        return round(float(low), 1), round(float(high), 1)


def listen(voice: Clip, back: Clip, pitch: Pitch) -> Heard:
    """Hear a song taken apart.

    Args:
        voice, back: of one length.
        pitch: of the voice, as sung.
    """
    tuning = tuning_offset(pitch)
    chroma = _chroma(back)
    key = heard_key(chroma)
    bpm, beats = _steady(*heard_beats(back))
    return Heard(
        bpm=bpm,
        beats=tuple(round(float(beat), 3) for beat in beats),
        downbeat=_downbeat(beats, back, chroma) if bpm else 0,
        key=key_name(key) if key else None,
        chords=_spans(heard_chords(chroma, back.seconds), key or PLAIN),
        tuning=round(float(tuning), 1),
        midi=tuned_midi(pitch, tuning),
        notes=segment(pitch, tuning, voice),
    )


def _chroma(back: Clip) -> Array:
    """Chroma of all of it, shape (12, frames)."""
    count = max(1, round(back.seconds / PIECE))
    edges = np.linspace(0, back.seconds, count + 1)
    pieces = [back.cut(a, b) for a, b in pairwise(edges)]
    return np.concatenate([tonal_chroma(piece) for piece in pieces], axis=1)


def _steady(bpm: float, beats: Array) -> tuple[float | None, Array]:
    """The beats and their own tempo, or none where they are few or do not keep time."""
    if len(beats) < FEWEST:
        return None, np.zeros(0)
    steps = np.diff(beats)
    middle = float(np.median(steps))
    if float(np.median(np.abs(steps - middle))) > STEADY * middle:
        return None, np.zeros(0)
    return round(60 / middle, 2), beats


def _downbeat(beats: Array, back: Clip, chroma: Array) -> int:
    """The beat, 0 to 3, from which on every fourth has most bass and most changes of harmony."""
    marks = _standing_out(_bass(beats, back)) + _standing_out(_changes(beats, back, chroma))
    return int(np.argmax([marks[first::BAR].mean() for first in range(BAR)]))


def _bass(beats: Array, back: Clip) -> Array:
    """How strongly low notes begin at each beat."""
    from librosa.onset import onset_strength

    samples = back.mono().resampled(RATE).samples[0]
    low: Array = onset_strength(
        y=samples, sr=RATE, hop_length=HOP_LENGTH, n_mels=8, fmax=LOW, center=True
    )
    at = np.round(beats * RATE / HOP_LENGTH).astype(int)
    return np.array([low[max(0, i - 2) : i + 3].max(initial=0.0) for i in at])


def _changes(beats: Array, back: Clip, chroma: Array) -> Array:
    """How much the harmony after each beat differs from that before, 1 - cosine."""
    per_second = chroma.shape[1] / back.seconds
    edges = np.round(np.array([*beats, back.seconds]) * per_second).astype(int)
    means = [chroma[:, a : max(b, a + 1)].sum(axis=1) for a, b in pairwise(edges)]
    unit = [mean / max(float(np.linalg.norm(mean)), 1e-9) for mean in means]
    return np.array([0.0] + [1 - float(a @ b) for a, b in pairwise(unit)])


def _standing_out(values: Array) -> Array:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))


def _spans(path: NDArray[np.int64], key: Key) -> tuple[tuple[float, float, str], ...]:
    """Stretches of one chord; silence is left out."""
    edges = np.flatnonzero(np.diff(path, prepend=-2, append=-2))
    spans = []
    for first, last in pairwise(edges):
        if path[first] >= 0:
            root, minor = divmod(int(path[first]), 2)
            name = chord_symbol(Chord(root, "min" if minor else "maj"), key)
            spans.append((round(first * HOP, 2), round(last * HOP, 2), name))
    return tuple(spans)
