"""Beats, bars and chords on the voice's time, as the players of a style count them."""

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from voice2music.chords import Chord, ChordSpan
from voice2music.notes import Note
from voice2music.rhythm import Grid, rebarred
from voice2music.styles import Bar, Style

NEAR = 0.03  # s by which a stroke may precede a chord change and still take the new chord
ENOUGH = 0.15  # natural log of a tempo ratio that half or double time must gain to be played
PICKUP_FROM = 0.4  # share of a bar after which a first note counts as a pick-up to the next bar
RING = (1.2, 2.4)  # s, least and most that a last chord is given to ring
LEAST_RING = 0.6  # s
END = 0.1  # s; a chord that starts so near the end is none

# Which beats of a pattern in four are played in a bar of another metre: the backbeat stays.
FOLDED = {3: (0, 2, 3), 5: (0, 2, 3, 2, 3), 6: (0, 2, 3, 0, 2, 3)}
FOLDED[7] = (0, 1, 2, 3, *FOLDED[3])


@dataclass(frozen=True)
class Measure:
    """A bar as it is played.

    Args:
        number: counted from the first bar of the tune; negative before it.
        start: position of its downbeat in beats of the timeline's grid.
        beats: which beat of the pattern each of its beats plays.
    """

    number: int
    start: int
    beats: tuple[int, ...]


@dataclass(frozen=True)
class Stroke:
    """A character of a pattern, with the steps that it is held.

    Args:
        mark: the character.
        beat, end: positions in beats, swing not yet applied.
        measure: the bar it starts in.
        written: position within the pattern's bar, beats.
        following: beat of the player's next stroke.
    """

    mark: str
    beat: float
    end: float
    measure: Measure
    written: float
    following: float = math.inf


@dataclass(frozen=True, eq=False)
class Timeline:
    """Beats, bars and chords of a piece in a style.

    Args:
        style: whose bars these are.
        grid: the style's beats: the voice's, or half or twice as many.
        measures: all bars that reach into the piece.
        spans: chords.
        seconds: length of the piece.
        closing: beat at which the last chord is struck, None where there is no room for it.
    """

    style: Style
    grid: Grid
    measures: tuple[Measure, ...]
    spans: tuple[ChordSpan, ...]
    seconds: float
    closing: int | None

    @cached_property
    def changes(self) -> tuple[float, ...]:
        """Beats at which the chord changes."""
        pairs = zip(self.spans, self.spans[1:], strict=False)
        return tuple(self.grid.beat_at(b.start) for a, b in pairs if a.chord != b.chord)

    @cached_property
    def _starts(self) -> list[float]:
        return [span.start for span in self.spans]

    def time(self, beat: float) -> float:
        """Seconds of a position in beats, with the style's swing."""
        steps = self.style.steps
        if self.style.swing != 0.5 and steps % 2 == 0:
            pairs = beat * steps / 2
            whole, within = math.floor(pairs), pairs - math.floor(pairs)
            swing = self.style.swing
            late = within * 2 * swing if within < 0.5 else swing + (within - 0.5) * 2 * (1 - swing)
            beat = (whole + late) * 2 / steps
        return self.grid.time_at(beat)

    def chord(self, beat: float) -> Chord:
        """The chord at a position in beats."""
        time = self.grid.time_at(beat) + NEAR
        return self.spans[max(0, bisect.bisect_right(self._starts, time) - 1)].chord

    @cached_property
    def last_chord(self) -> Chord:
        """What the last stroke plays: the piece's last chord, even if it is due a little later."""
        if self.closing is None or self.spans[-1].start < self.seconds - END:
            return self.spans[-1].chord
        return self.chord(self.closing)

    def sounding_chord(self, stroke: Stroke) -> Chord:
        """The chord a stroke plays: the next one when it stands for it, struck just before."""
        for change in self.changes:
            soon = stroke.beat + 0.05 < change <= stroke.beat + 0.55
            if soon and stroke.end > change - 0.05 and stroke.following > change + 0.05:
                return self.chord(change)
        return self.chord(stroke.beat)

    def strokes(
        self, measures: Sequence[Measure], chosen: Sequence[Sequence[Bar]]
    ) -> Iterator[Stroke]:
        """Every stroke of a part: `chosen[i]` is the pattern that bar `measures[i]` plays from."""
        current: Stroke | None = None
        for measure, pattern in zip(measures, chosen, strict=True):
            for mark, beat, end, written in self._steps(measure, pattern):
                if self.closing is not None and beat > self.closing - 1e-6:
                    continue
                if mark == "-" and current is not None and current.end >= beat - 1e-6:
                    current = replace(current, end=end)
                    continue
                if current is not None:
                    yield current
                struck = mark not in ".-"
                current = Stroke(mark, beat, end, measure, written) if struck else None
        if current is not None:
            yield current

    def _steps(
        self, measure: Measure, pattern: Sequence[Bar]
    ) -> Iterator[tuple[str, float, float, float]]:
        """Character, start and end (beats) and place in the pattern's bar of every step."""
        steps = self.style.steps
        bar = pattern[measure.number % self.style.phrase % len(pattern)]
        for place, played in enumerate(measure.beats):
            for step in range(steps):
                beat = measure.start + place + step / steps
                yield bar[played * steps + step], beat, beat + 1 / steps, played + step / steps


def timeline(
    style: Style,
    grid: Grid,
    chords: Sequence[ChordSpan],
    melody: Sequence[Note],
    seconds: float,
) -> Timeline:
    """The piece's bars in `style`, on the voice's time.

    Args:
        grid: the voice's beats, in the bars in which they are to be played (see `barred`).
        chords: cover the piece.
        melody: the tune, to know where it begins and ends; may be empty.
    """
    paced = _extended(at_pace(grid, pace(grid, style)), seconds)
    first = _first_downbeat(paced, melody)
    measures = _measures(paced, first, style, seconds)
    closing = _closing(paced, first, measures, melody, seconds)
    return Timeline(style, paced, measures, tuple(chords), seconds, closing)


def barred(grid: Grid, style: Style) -> Grid:
    """The voice's beats in bars that the style can play.

    A style in three turns any beats into bars of three; the others follow the voice's own bars,
    their patterns folded, but for bars of two, which are played as halves of bars of four.
    """
    if style.beats_per_bar == 3:
        return grid if grid.beats_per_bar == 3 else rebarred(grid, 3)
    return rebarred(grid, 4) if grid.beats_per_bar == 2 else grid


def played_grid(grid: Grid, style: Style) -> Grid:
    """The beats and bars that the style plays for a voice's."""
    bars = barred(grid, style)
    return at_pace(bars, pace(bars, style))


def pace(grid: Grid, style: Style) -> float:
    """Beats of the style per beat of the voice: 1, or 2 or 1/2 where the tempo is far outside."""
    low, high = style.tempo_range

    def distance(factor: float) -> float:
        tempo = grid.tempo * factor
        return max(math.log(low / tempo), math.log(tempo / high), 0.0)

    best = min((1.0, 2.0, 0.5), key=distance)
    return best if distance(1.0) - distance(best) > ENOUGH else 1.0


def at_pace(grid: Grid, factor: float) -> Grid:
    """`grid` with half or twice the beats where `pace` said so; downbeats stay downbeats."""
    beats = grid.beats
    if factor == 2:
        between = [(a + b) / 2 for a, b in pairwise(beats)]
        doubled = [t for pair in zip(beats, between, strict=False) for t in pair]
        return replace(
            grid,
            beats=(*doubled, beats[-1]),
            downbeat=2 * grid.downbeat % grid.beats_per_bar,
            tempo=2 * grid.tempo,
        )
    if factor == 0.5 and len(beats) >= 4:
        parity = grid.downbeat % 2
        downbeat = (grid.downbeat - parity) // 2 % grid.beats_per_bar
        return replace(grid, beats=beats[parity::2], downbeat=downbeat, tempo=grid.tempo / 2)
    return grid


def _extended(grid: Grid, seconds: float) -> Grid:
    """`grid` with beats from a bar before 0 to two bars after the end, at the pace of its ends."""
    steps = np.diff(grid.beats)
    before, after = float(np.median(steps[:4])), float(np.median(steps[-4:]))
    bar = grid.beats_per_bar
    missing = max(0, math.ceil(grid.beats[0] / before)) + bar
    missing = -(-missing // bar) * bar  # whole bars, so that the downbeat's index stays
    beyond = max(0, math.ceil((seconds - grid.beats[-1]) / after)) + 2 * bar
    head = [grid.beats[0] - before * k for k in range(missing, 0, -1)]
    tail = [grid.beats[-1] + after * k for k in range(1, beyond + 1)]
    return replace(grid, beats=(*head, *grid.beats, *tail))


def _first_downbeat(grid: Grid, melody: Sequence[Note]) -> int:
    """Index of the beat on which the tune's first whole bar starts."""
    start = melody[0].onset if melody else 0.0
    position = grid.beat_at(start) - grid.downbeat
    bars, within = divmod(position + 0.3, grid.beats_per_bar)
    later = within > PICKUP_FROM * grid.beats_per_bar if melody else within > 0.4
    return grid.downbeat + grid.beats_per_bar * (int(bars) + later)


def _measures(grid: Grid, first: int, style: Style, seconds: float) -> tuple[Measure, ...]:
    """Bars from the one that holds second 0 to the one that holds the end."""
    size = grid.beats_per_bar
    pattern = style.beats_per_bar
    beats = tuple(range(size)) if size == pattern else FOLDED[size]
    out = []
    for number in range(-(first // size), (len(grid.beats) - first) // size):
        start = first + number * size
        if grid.time_at(start + size) > 0.02 and grid.time_at(start) < seconds:
            out.append(Measure(number, start, beats))
    return tuple(out)


def _closing(
    grid: Grid,
    first: int,
    measures: Sequence[Measure],
    melody: Sequence[Note],
    seconds: float,
) -> int | None:
    """The beat of the last chord: a downbeat with time to ring, not before the last note."""
    bar = grid.beats_per_bar
    ring = min(max(0.8 * bar * 60 / grid.tempo, RING[0]), RING[1])
    sung = grid.beat_at(melody[-1].onset) - 0.3 if melody else 0.0
    beats = range(first + 2, len(grid.beats))
    downbeats = [m.start for m in measures if m.start in beats]

    def last(candidates: Sequence[int], from_beat: float, left: float) -> int | None:
        fit = [b for b in candidates if b >= from_beat and grid.time_at(b) <= seconds - left]
        return fit[-1] if fit else None

    for candidates, from_beat, left in (
        (downbeats, sung, ring),
        (downbeats, sung - 2, RING[0]),  # the tune's last two beats over the last chord
        (beats, sung, LEAST_RING),
        (beats, 0.0, LEAST_RING),
    ):
        if (closing := last(candidates, from_beat, left)) is not None:
            return closing
    return None
