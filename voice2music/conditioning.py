"""From what was heard and what was asked to what the engines follow."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voice2music.analysis import Analysis
from voice2music.arrangement import barred
from voice2music.clip import Clip
from voice2music.engines.base import Conditioning, Melody
from voice2music.harmony import Key, harmonise, key_name, parse_key, parse_progression
from voice2music.notes import Note
from voice2music.pitch import HOP, Pitch, hz_to_midi
from voice2music.request import LONGEST, SHORTEST, Request
from voice2music.rhythm import Grid, estimate_grid, steady
from voice2music.styles import Style, style

SAME_TEMPO = 0.08  # a heard grid within this share of the wished tempo is taken
REPEAT_BEYOND = 1.0  # s; music longer than the tune by more than this plays the tune again
PLAIN_KEY = Key(0, "major", 0.0)


@dataclass(frozen=True, eq=False)
class Tune:
    """The tune and its time, as every engine of a job is given them."""

    seconds: float
    grid: Grid
    key: Key
    melody: Melody | None


def tune_of(request: Request, heard: Analysis | None) -> Tune:
    """The tune that a job follows: heard or absent, at the tempo and in the key asked for.

    Raises:
        BadRequest: a key that cannot be read.
    """
    key = parse_key(request.key) if request.key else None
    if heard is None:
        seconds = request.seconds or 15.0
        tempo = request.tempo or style(request.genre).tempo
        grid = steady(tempo, seconds, style(request.genre).beats_per_bar)
        return Tune(seconds, grid, key or PLAIN_KEY, None)
    seconds = request.seconds or min(max(heard.seconds, SHORTEST), LONGEST)
    grid = _asked_grid(heard, request.tempo)
    midi, notes, grid = _over(seconds, heard, grid)
    return Tune(seconds, grid, key or heard.key, Melody(midi, notes))


def as_asked(request: Request, heard: Analysis) -> Analysis:
    """What was heard, with the key and the beats that were asked for: what a hum is corrected to.

    Raises:
        BadRequest: a key that cannot be read.
    """
    key = parse_key(request.key) if request.key else heard.key
    return replace(heard, key=key, grid=_asked_grid(heard, request.tempo))


def conditioning(
    request: Request, engine: str, tune: Tune, voice: Clip | None, sketch: Clip | None
) -> Conditioning:
    """What `engine` follows in this job.

    Raises:
        BadRequest, BadChords: an unknown genre, chords that cannot be read.
    """
    genre = request.genre_of(engine)
    notes = tune.melody.notes if tune.melody else ()
    if request.chords:
        chords = parse_progression(request.chords, tune.grid, tune.seconds)
    else:
        # The band puts a tune in four into bars of three for a waltz: its chords follow those bars.
        grid = barred(tune.grid, style(genre)) if engine == "band" else tune.grid
        chords = harmonise(
            notes, grid, tune.key, tune.seconds, happy=request.happy, jazzy=request.jazzy
        )
    return Conditioning(
        genre=genre,
        text=prompt(request, style(genre), tune.grid.tempo, tune.key),
        negative=request.negative,
        seconds=tune.seconds,
        grid=tune.grid,
        key=tune.key,
        chords=chords,
        melody=tune.melody,
        role=request.role,
        voice=voice,
        sketch=sketch,
    )


def prompt(request: Request, genre: Style, tempo: float, key: Key) -> str:
    """The words a model is given: genre, mood, the user's own, role, tempo and key."""
    role = {"tune": "instrumental lead melody", "back": "instrumental accompaniment for a singer"}
    parts = [
        genre.prompt,
        request.mood,
        request.words,
        role[request.role],
        f"{round(tempo)} BPM",
        key_name(key),
    ]
    return ", ".join(part for part in parts if part)


def tuned_midi(pitch: Pitch, tuning: float) -> NDArray[np.float32]:
    """The sung curve in fractional MIDI notes on the tuned grid, NaN where nothing is sung.

    Args:
        tuning: the singer's offset in cents.
    """
    return hz_to_midi(pitch.f0) - np.float32(tuning / 100)


def _asked_grid(heard: Analysis, tempo: float | None) -> Grid:
    """The heard grid, or the one that a user who says the tempo means."""
    if tempo is None or heard.grid.known or _near(heard.grid.tempo, tempo):
        return heard.grid
    again = estimate_grid(heard.notes, heard.seconds, prior=tempo)
    if _near(again.tempo, tempo):
        return again
    start = heard.grid.downbeats[0] if heard.grid.downbeats else 0.0
    return steady(tempo, heard.seconds, heard.grid.beats_per_bar, start)


def _near(heard: float, wished: float) -> bool:
    """Whether a tempo is the wished one, as a singer breathes."""
    return abs(math.log(heard / wished)) <= SAME_TEMPO


def _over(
    seconds: float, heard: Analysis, grid: Grid
) -> tuple[NDArray[np.float32], tuple[Note, ...], Grid]:
    """The tune stretched over `seconds`: cut, or played again from bar one as often as it fits."""
    midi = tuned_midi(heard.pitch, heard.tuning)
    frames = round(seconds / HOP)
    if seconds <= heard.seconds + REPEAT_BEYOND or not heard.notes:
        kept = tuple(
            replace(n, offset=min(n.offset, seconds)) for n in heard.notes if n.onset < seconds
        )
        padded = np.pad(midi, (0, max(0, frames - len(midi))), constant_values=np.nan)[:frames]
        return padded, kept, _reaching(grid, seconds)
    start, beats = _loop(heard.notes, grid)
    period = grid.time_at(start + beats) - grid.time_at(start)
    return (
        _tiled(midi, period, seconds),
        _repeated(heard.notes, period, seconds),
        _repeated_grid(grid, start, beats, seconds),
    )


def _loop(notes: tuple[Note, ...], grid: Grid) -> tuple[int, int]:
    """The beat with which the tune starts, and the beats after which it starts again.

    Those are the whole bars that hold all of it.
    """
    first = grid.beat_at(min(note.onset for note in notes))
    last = grid.beat_at(max(note.onset for note in notes))
    bars = max(1, math.ceil((last - first) / grid.beats_per_bar + 1e-6))
    return max(0, math.floor(first + 0.25)), bars * grid.beats_per_bar


def _tiled(midi: NDArray[np.float32], period: float, seconds: float) -> NDArray[np.float32]:
    """The curve, again every `period` seconds; where two rounds overlap the later one wins."""
    frames = round(seconds / HOP)
    out = np.full(frames, np.nan, np.float32)
    for index in range(math.ceil(seconds / period)):
        start = round(index * period / HOP)  # from the first round, so that no error adds up
        part = midi[: frames - start]
        sung = ~np.isnan(part)
        out[start : start + len(part)][sung] = part[sung]
    return out


def _repeated(notes: tuple[Note, ...], period: float, seconds: float) -> tuple[Note, ...]:
    """The notes of all rounds that start before `seconds`, none reaching into the next."""
    rounds = range(math.ceil(seconds / period))
    all_notes = [
        replace(n, onset=n.onset + r * period, offset=n.offset + r * period)
        for r in rounds
        for n in notes
        if n.onset + r * period < seconds
    ]
    all_notes.sort(key=lambda n: n.onset)
    ends = [n.onset for n in all_notes[1:]] + [seconds]
    return tuple(
        replace(n, offset=min(n.offset, end)) for n, end in zip(all_notes, ends, strict=True)
    )


def _repeated_grid(grid: Grid, start: int, beats: int, seconds: float) -> Grid:
    """The beats up to `start`, then the `beats` beats of the tune again and again."""
    once = [grid.time_at(start + i) for i in range(beats)]
    period = grid.time_at(start + beats) - once[0]
    rounds = range(math.ceil(max(seconds - once[0], 0.0) / period) + 1)
    again = [b + r * period for r in rounds for b in once]
    return _reaching(replace(grid, beats=(*grid.beats[:start], *again)), seconds)


def _reaching(grid: Grid, seconds: float) -> Grid:
    """`grid` with beats as far as `seconds` and not further than one beat past it."""
    beats = [b for i, b in enumerate(grid.beats) if i < 2 or grid.beats[i - 1] < seconds]
    period = 60 / grid.tempo
    while beats[-1] < seconds:
        beats.append(beats[-1] + period)
    return replace(grid, beats=tuple(beats))
