"""The bass player: patterns on the chord's tones, and walking lines."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from voice2music.arrangement.player import Feel, Song, strokes_of
from voice2music.arrangement.score import PlayedNote
from voice2music.arrangement.timeline import Stroke
from voice2music.arrangement.voicing import coloured, scale
from voice2music.chords import QUALITIES, Chord
from voice2music.styles import Layer

ON_BAR, ON_BEAT, OFF_BEAT = 104, 96, 90  # velocities
DEGREES = {"3": 1, "5": 2, "7": 3}  # place of a tone in a quality's list of steps


@dataclass
class Bassist:
    """Remembers where on the neck the last root was, to move little."""

    song: Song
    layer: Layer
    root: int | None = field(default=None)

    def play(self) -> list[PlayedNote]:
        """All notes of the part."""
        strokes = strokes_of(self.song, self.layer)
        feel = Feel(self.song, self.layer, self.song.chance(self.layer.name))
        walking = self.layer.kind == "walk"
        pitches = self._walked(strokes, feel.chance) if walking else self._written(strokes, feel)
        out = []
        for stroke, midi in zip(strokes, pitches, strict=True):
            onset = feel.onset(stroke)
            velocity = feel.velocity(_accent(stroke), stroke)
            out.append(PlayedNote(onset, feel.offset(stroke, onset), midi, velocity))
        return out

    def final(self) -> tuple[int, ...]:
        """The root under the last chord."""
        return (self._root(self.song.time.last_chord),)

    def _written(self, strokes: Sequence[Stroke], feel: Feel) -> list[int]:
        """MIDI notes of a written pattern."""
        out: list[int] = []
        for index, stroke in enumerate(strokes):
            chord = self.song.time.sounding_chord(stroke)
            root = self._root(chord)
            following = strokes[index + 1] if index + 1 < len(strokes) else stroke
            goal = self.song.time.sounding_chord(following)
            if stroke.mark == "a":
                out.append(self._approach(chord, goal, feel.chance, out[-1] if out else root))
            else:
                out.append(self._tone(stroke.mark, chord, root))
        return out

    def _tone(self, mark: str, chord: Chord, root: int) -> int:
        """A written degree of the chord above (or, for 4, below) the root."""
        if mark == "1":
            return root
        bare = Chord(chord.root, chord.quality)
        base = root - (root - chord.root) % 12 if chord.bass is not None else root
        if mark == "8":
            return self._inside(root + 12)
        if mark == "4":
            fifth = base + _fifth(bare) - 12
            return fifth if fifth >= self.layer.instrument.low else fifth + 12
        if mark == "6":
            sixth = 9 if (chord.root + 9) % 12 in scale(self.song.key) else 8
            return self._inside(base + sixth)
        rich = coloured(bare, self.song.key, self.song.time.style.colour)
        steps = QUALITIES[rich.quality]
        place = DEGREES[mark]
        if mark == "5":
            return self._inside(base + _fifth(rich))
        if place >= len(steps) or len(steps) < 3:
            return self._inside(base + (10 if mark == "7" else _fifth(rich)))
        return self._inside(base + steps[place])

    def _root(self, chord: Chord) -> int:
        """The chord's bass note: low, and near the last one."""
        low = self.layer.instrument.low
        options = [n for n in self._low_notes() if n % 12 == chord.lowest]
        last = self.root if self.root is not None else low + 5
        self.root = min(options, key=lambda n: abs(n - last) + 0.15 * (n - low))
        return self.root

    def _low_notes(self) -> range:
        """Where roots lie: an octave or more, with room for the octave above where there is any."""
        low, high = self.layer.instrument.low, self.layer.instrument.high
        return range(low, max(low + 12, min(low + 17, high - 11)))

    def _approach(self, chord: Chord, goal: Chord, chance: np.random.Generator, last: int) -> int:
        """A note that leads into the next chord's bass, or the fifth where the chord stays."""
        here = self.root if self.root is not None else self._root(chord)
        if goal.lowest == chord.lowest:
            return self._inside(here + _fifth(chord))
        low = self.layer.instrument.low
        target = min(
            (n for n in self._low_notes() if n % 12 == goal.lowest),
            key=lambda n: abs(n - here),
        )
        in_key = [target + s for s in (-2, -1, 1, 2) if (target + s) % 12 in scale(self.song.key)]
        below = target - 1
        toward = [n for n in in_key if (n - target) * (here - target) >= 0] or in_key
        options = [below, *toward] if below >= low else toward
        options = [n for n in options if n != last] or options
        return int(options[int(chance.integers(len(options)))])

    def _walked(self, strokes: Sequence[Stroke], chance: np.random.Generator) -> list[int]:
        """A walking line: roots on new chords, steps between, a leading note before the next."""
        out: list[int] = []
        last_chord: Chord | None = None
        for index, stroke in enumerate(strokes):
            chord = self.song.time.sounding_chord(stroke)
            following = strokes[index + 1] if index + 1 < len(strokes) else stroke
            goal = self.song.time.sounding_chord(following)
            if chord != last_chord or stroke.written == 0:
                out.append(
                    self._root(chord)
                    if chord != last_chord or not out
                    else self._step(out[-1], chord, chance, chord_tones=True)
                )
            elif goal != chord or following.written == 0:
                out.append(self._approach(chord, goal, chance, out[-1]))
            elif stroke.end - stroke.beat < 0.5:
                out.append(out[-1])  # a skipped note repeats its neighbour
            else:
                out.append(self._step(out[-1], chord, chance, chord_tones=chance.random() < 0.6))
            last_chord = chord
        return out

    def _step(
        self, last: int, chord: Chord, chance: np.random.Generator, *, chord_tones: bool
    ) -> int:
        """The next note of a line: near the last one, of the chord or the scale."""
        rich = coloured(chord, self.song.key, self.song.time.style.colour)
        tones = {(chord.root + step) % 12 for step in QUALITIES[rich.quality]}
        allowed = tones if chord_tones else tones | scale(self.song.key)
        instrument = self.layer.instrument
        options = [
            n
            for n in range(max(last - 5, instrument.low), min(last + 5, instrument.high) + 1)
            if n % 12 in allowed and n != last
        ]
        if not options:
            return self._root(chord)
        return int(options[int(chance.integers(len(options)))])

    def _inside(self, midi: int) -> int:
        """`midi` brought into the instrument's range by octaves."""
        while midi > self.layer.instrument.high:
            midi -= 12
        while midi < self.layer.instrument.low:
            midi += 12
        return midi


def _fifth(chord: Chord) -> int:
    """Semitones from root to fifth: perfect, or the chord's own."""
    altered = {"dim": 6, "m7b5": 6, "dim7": 6, "aug": 8, "aug7": 8}
    return altered.get(chord.quality, 7)


def _accent(stroke: Stroke) -> int:
    """Velocity by place in the bar."""
    if abs(stroke.beat - stroke.measure.start) < 0.01:
        return ON_BAR
    return ON_BEAT if abs(stroke.written - round(stroke.written)) < 0.01 else OFF_BEAT
