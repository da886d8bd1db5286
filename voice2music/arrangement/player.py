"""What every player of the band shares: the song at hand, chance, feel and dynamics."""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from voice2music.arrangement.score import PlayedNote
from voice2music.arrangement.timeline import Measure, Stroke, Timeline
from voice2music.chords import Key
from voice2music.notes import Note
from voice2music.request import Role
from voice2music.styles import Bar, Layer

MAIN_PATTERN = 0.6  # odds that a phrase after the first is played with the main pattern
BUILD_UP_FROM = 6  # bars; in shorter pieces everybody plays from the start
RUSH = 2.0  # standard deviations that a stroke may be off at most


@dataclass(frozen=True, eq=False)
class Song:
    """What the players know.

    Args:
        time: beats, bars and chords.
        key: of the piece.
        tune: what is sung or, when there is no voice, played by the lead.
        role: "back" means that a human sings the tune.
        seed: of all chance.
    """

    time: Timeline
    key: Key
    tune: tuple[Note, ...]
    role: Role
    seed: int

    def chance(self, player: str) -> np.random.Generator:
        """A player's own source of chance; one player's choices do not disturb another's."""
        return np.random.default_rng([self.seed, zlib.crc32(player.encode())])

    def sung(self, start: float, end: float) -> tuple[Note, ...]:
        """Notes of the tune that sound between two times, seconds."""
        return tuple(n for n in self.tune if n.onset < end and n.offset > start)

    def dynamics(self, measure: Measure) -> float:
        """Loudness of a bar against the average: phrases swell, and the piece grows a little."""
        style = self.time.style
        if measure.number < 0:
            return 0.88
        within = (measure.number % style.phrase) / max(style.phrase - 1, 1)
        last = max(self.time.measures[-1].number, 1)
        return 0.92 + 0.05 * within + 0.07 * min(measure.number / last, 1.0)


def measures_of(song: Song, layer: Layer) -> list[Measure]:
    """The bars in which a player plays: from the entry, or before where the intro has it."""
    measures = song.time.measures
    last = measures[-1].number
    first = layer.enters * song.time.style.phrase if last >= BUILD_UP_FROM else 0
    if layer.name in song.time.style.intro:
        return [m for m in measures if m.number >= first or song.time.grid.time_at(m.start) > -0.1]
    return [m for m in measures if m.number >= first]


def chosen_patterns(song: Song, layer: Layer, measures: Sequence[Measure]) -> list[tuple[Bar, ...]]:
    """The pattern that each bar plays from; it changes with the phrase only."""
    chance = song.chance(f"{layer.name} patterns")
    phrase = song.time.style.phrase
    by_phrase: dict[int, tuple[Bar, ...]] = {}
    for number in range(measures[-1].number // phrase + 1 if measures else 0):
        main = number == 0 or len(layer.patterns) == 1 or chance.random() < MAIN_PATTERN
        other = 0 if main else int(chance.integers(1, len(layer.patterns)))
        by_phrase[number] = layer.patterns[other]
    return [by_phrase.get(m.number // phrase, layer.patterns[0]) for m in measures]


def strokes_of(song: Song, layer: Layer) -> list[Stroke]:
    """All strokes of a player, as written, split where a held one meets a chord change."""
    measures = measures_of(song, layer)
    written = song.time.strokes(measures, chosen_patterns(song, layer, measures))
    strokes = [part for stroke in written for part in _split(stroke, song.time.changes)]
    nexts = [*(stroke.beat for stroke in strokes), math.inf][1:]
    return [replace(s, following=n) for s, n in zip(strokes, nexts, strict=True)]


def _split(stroke: Stroke, changes: Sequence[float]) -> Iterator[Stroke]:
    """`stroke`, struck again at each chord change that it is held over for long."""
    start = stroke.beat
    for change in changes:
        if start + 0.55 < change < stroke.end - 0.2:
            yield Stroke(stroke.mark, start, change, stroke.measure, stroke.written)
            start = change
    yield Stroke(stroke.mark, start, stroke.end, stroke.measure, stroke.written)


@dataclass(frozen=True, eq=False)
class Feel:
    """How one player places notes: a little early or late, a little louder or softer."""

    song: Song
    layer: Layer
    chance: np.random.Generator

    def onset(self, stroke: Stroke) -> float:
        """When a stroke is played, seconds."""
        loose = self.song.time.style.loose
        off = float(np.clip(self.chance.normal(), -RUSH, RUSH)) * loose
        return self.song.time.time(stroke.beat) + self.layer.late + off

    def offset(self, stroke: Stroke, onset: float) -> float:
        """When it ends, seconds: its written length times the player's touch."""
        length = self.song.time.time(stroke.end) - self.song.time.time(stroke.beat)
        return onset + max(0.04, length * self.layer.short)

    def velocity(self, base: float, stroke: Stroke) -> int:
        """`base` with the bar's dynamics and a little chance; softer under a singer."""
        loudness = base * self.song.dynamics(stroke.measure) * (1 + 0.04 * self.chance.normal())
        if self.layer.ghost and self.song.role == "back":
            start = self.song.time.grid.time_at(stroke.beat)
            loudness *= 0.85 if self.song.sung(start, start + 0.1) else 1.0
        return int(np.clip(round(loudness), 1, 127))


def ordered(notes: Sequence[PlayedNote], seconds: float) -> tuple[PlayedNote, ...]:
    """Notes by onset, those outside the piece left out, the same key never held twice."""
    inside = sorted(
        (n for n in notes if -0.02 <= n.onset < seconds), key=lambda n: (n.onset, n.midi)
    )
    later: dict[int, float] = {}
    out = []
    for note in reversed(inside):
        offset = min(note.offset, later.get(note.midi, seconds))
        later[note.midi] = max(note.onset, 0.0)
        if offset - note.onset > 0.01:
            onset = max(note.onset, 0.0)
            out.append(PlayedNote(onset, offset, note.midi, note.velocity, note.bend))
    return tuple(reversed(out))
