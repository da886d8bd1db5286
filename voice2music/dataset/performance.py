"""A tune in somebody's range and time: which notes, beats and chords, at which second."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from voice2music.chords import Chord, ChordSpan, Key
from voice2music.dataset.musicxml import LeadSheet, SheetChord
from voice2music.dataset.tunes import Tune, excerpt
from voice2music.notes import Note
from voice2music.pitch import HOP
from voice2music.rhythm import Grid

Chance = np.random.Generator

SLOWEST, FASTEST = 60.0, 180.0  # beats per minute
# Comfortable ranges of untrained singers, MIDI, and how often each sings.
VOICES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"bass": (41, 60), "tenor": (47, 66), "alto": (54, 73), "soprano": (58, 77), "child": (60, 80)}
)
_WEIGHTS = (0.2, 0.22, 0.25, 0.18, 0.15)
_QUICKEST = 0.11  # s; of ten notes at most one is asked to be shorter
_LEAD_IN, _TAIL = (0.15, 1.3), (0.3, 1.5)  # s before the first and after the last note
_STEADY = 0.3  # share of singers who keep strict time, as to a guide beat
_RUBATO = (0.004, 0.03)  # standard deviation of the local tempo, as a share
_TREND = 0.03  # by which a singer gets faster or slower over the whole, as a share
_SWAY = 4  # beats over which the tempo turns


@dataclass(frozen=True, eq=False)
class Performance:
    """A tune as it is meant: on the singer's beats, in tune. Times in seconds.

    Args:
        tune: the excerpt that is sung.
        seconds: length of the clip.
        grid: the beats; they breathe, and reach from at or before 0 to the end or past it.
        notes: in order, exactly on `grid`.
        key: transposed.
        chords: as written in the sheet, tiling the clip; () where none are written.
        voice: a name of `VOICES`.
    """

    tune: Tune
    seconds: float
    grid: Grid
    notes: tuple[Note, ...]
    key: Key
    chords: tuple[ChordSpan, ...]
    voice: str


def performed(tune: Tune, tempo: float, longest: float, chance: Chance) -> Performance:
    """The tune, or whole phrases of it, sung by somebody at about `tempo`.

    Args:
        tempo: quarters per minute; brought down where people could not sing that fast.
        longest: seconds of the clip at most.
    """
    beat_tempo = _singable(tune.sheet, tempo / tune.sheet.quarters_per_beat)
    room = (longest - _LEAD_IN[1] - _TAIL[1]) * (1 - 3 * _RUBATO[1])
    part = excerpt(tune, room * beat_tempo / 60, chance)
    voice = str(chance.choice(list(VOICES), p=_WEIGHTS))
    shift = _transposition(part.sheet, VOICES[voice], chance)
    times = _beat_times(part.sheet, beat_tempo, chance)
    return _laid(part, shift, times, voice, longest, chance)


def transposed(performance: Performance, semitones: int) -> Performance:
    """The same in another key."""
    return replace(
        performance,
        notes=tuple(replace(n, midi=n.midi + semitones) for n in performance.notes),
        key=replace(performance.key, tonic=(performance.key.tonic + semitones) % 12),
        chords=tuple(replace(c, chord=_transposed(c.chord, semitones)) for c in performance.chords),
    )


def heard_off(performance: Performance, midi: NDArray[np.float32]) -> int:
    """Semitones, -1, 0 or 1, by which a voice was heard beside what was meant.

    A singer half a semitone flat may as well be half a semitone sharp of the next key: neither is
    wrong, and the music is to be in the key that is heard.

    Args:
        midi: as heard, tuned, one value per `HOP`, NaN where nothing is sung.
    """
    times = np.arange(len(midi)) * HOP
    meant = np.full(len(midi), np.nan)
    for note in performance.notes:
        meant[(times >= note.onset) & (times < note.offset)] = note.midi
    away = (midi - meant)[np.isfinite(midi - meant)]
    if not len(away):
        return 0
    off = (round(float(np.median(away))) + 6) % 12 - 6
    return off if abs(off) == 1 else 0


def _singable(sheet: LeadSheet, tempo: float) -> float:
    """`tempo`, or the slower one at which the tune's quick notes can still be sung."""
    quick = float(np.quantile([note.end - note.start for note in sheet.notes], 0.1))
    return max(SLOWEST / sheet.quarters_per_beat, min(tempo, 60 * quick / _QUICKEST))


def _transposition(sheet: LeadSheet, comfortable: tuple[int, int], chance: Chance) -> int:
    """Semitones, drawn from those that bring the tune into the range, or else its middle there."""
    low, high = comfortable
    lowest = min(note.midi for note in sheet.notes)
    highest = max(note.midi for note in sheet.notes)
    if highest - lowest <= high - low:
        return int(chance.integers(low - lowest, high - highest + 1))
    return round((low + high - lowest - highest) / 2) + int(chance.integers(-2, 3))


@dataclass(frozen=True, eq=False)
class _Times:
    """Seconds of whole beats; `first` is the number of the first one."""

    first: int
    seconds: NDArray[np.float64]

    def at(self, beat: float) -> float:
        return float(np.interp(beat, np.arange(len(self.seconds)) + self.first, self.seconds))


def _beat_times(sheet: LeadSheet, tempo: float, chance: Chance) -> _Times:
    """When each beat falls, beat 0 at 0 s: from some before the tune to some after its end."""
    spare = 4 * sheet.beats_per_bar
    first = math.floor(sheet.notes[0].start) - spare
    count = math.ceil(max(sheet.beats, sheet.notes[-1].end)) + spare - first
    sway = 0.0 if chance.random() < _STEADY else float(chance.uniform(*_RUBATO))
    knots = chance.normal(0, sway, count // _SWAY + 2)
    pace = np.interp(np.arange(count) / _SWAY, np.arange(len(knots)), knots)
    pace += np.clip(chance.normal(0, sway), -_TREND, _TREND) * np.linspace(-1, 1, count)
    times = np.concatenate(([0.0], np.cumsum(60 / tempo / np.exp(pace))))
    return _Times(first, times - times[-first])


def _laid(
    tune: Tune, shift: int, times: _Times, voice: str, longest: float, chance: Chance
) -> Performance:
    """Notes and chords on their seconds, the clip beginning a little before the first note."""
    sheet = tune.sheet
    start = times.at(sheet.notes[0].start) - float(chance.uniform(*_LEAD_IN))
    end = times.at(sheet.notes[-1].end) + float(chance.uniform(*_TAIL))
    seconds = min(longest, round(end - start, 2))
    times = replace(times, seconds=times.seconds - start)
    notes = [
        Note(times.at(n.start), times.at(n.end), n.midi + shift)
        for n in sheet.notes
        if times.at(n.end) <= seconds
    ]
    return Performance(
        tune=tune,
        seconds=seconds,
        grid=_grid(sheet, times, seconds),
        notes=tuple(notes),
        key=Key((sheet.key.tonic + shift) % 12, sheet.key.mode),
        chords=_chords(sheet.chords, shift, times, seconds),
        voice=voice,
    )


def _grid(sheet: LeadSheet, times: _Times, seconds: float) -> Grid:
    """Beats from the last one at or before 0 to the first one at or after the end."""
    first = int(np.searchsorted(times.seconds, 0.0, side="right")) - 1
    last = int(np.searchsorted(times.seconds, seconds, side="left"))
    beats = times.seconds[first : last + 1]
    tempo = 60 * (len(beats) - 1) / float(beats[-1] - beats[0])
    downbeat = -(times.first + first) % sheet.beats_per_bar
    return Grid(tuple(float(beat) for beat in beats), downbeat, sheet.beats_per_bar, tempo)


def _chords(
    written: tuple[SheetChord, ...], shift: int, times: _Times, seconds: float
) -> tuple[ChordSpan, ...]:
    """The sheet's chords, the first from 0 on, each up to the next, the last to the end."""
    starts = [
        (max(times.at(c.start), 0.0), _transposed(c.chord, shift))
        for c in written
        if times.at(c.start) < seconds - 0.05
    ]
    if not starts:
        return ()
    starts[0] = (0.0, starts[0][1])
    ends = [t for t, _ in starts[1:]] + [seconds]
    return tuple(
        ChordSpan(t, end, chord)
        for (t, chord), end in zip(starts, ends, strict=True)
        if end - t > 1e-6
    )


def _transposed(chord: Chord, shift: int) -> Chord:
    bass = None if chord.bass is None else (chord.bass + shift) % 12
    return replace(chord, root=(chord.root + shift) % 12, bass=bass)
