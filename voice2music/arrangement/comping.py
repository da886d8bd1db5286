"""The players of chords: comping, pads, power chords, arpeggios."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from voice2music.arrangement.player import Feel, Song, strokes_of
from voice2music.arrangement.score import PlayedNote
from voice2music.arrangement.timeline import Stroke
from voice2music.arrangement.voicing import clear_of, coloured, tones, voicing
from voice2music.chords import Chord
from voice2music.styles import Layer

UP_STROKE, MUTED = 58, 76  # velocities
LONG_NOTE = 0.12  # s of a sung note from which a chord gets out of its way,
LONG_SHARE = 0.4  # if that is also so much of the chord's length: a held chord bears passing notes
LOUDER = 14  # velocity per digit


@dataclass
class Comper:
    """Remembers the last chord's notes, to move little."""

    song: Song
    layer: Layer
    last: tuple[int, ...] = field(default=())

    def play(self) -> list[PlayedNote]:
        """All notes of the part."""
        feel = Feel(self.song, self.layer, self.song.chance(self.layer.name))
        out: list[PlayedNote] = []
        for stroke in strokes_of(self.song, self.layer):
            chord = self.song.time.sounding_chord(stroke)
            out += self._struck(stroke, self._notes(chord, stroke), feel)
        return out

    def final(self) -> tuple[int, ...]:
        """The notes of the last chord."""
        chord = self.song.time.last_chord
        return self._power(chord) if self.layer.kind == "power" else self._voiced(chord)

    def _notes(self, chord: Chord, stroke: Stroke) -> tuple[int, ...]:
        """What a stroke sounds, low to high."""
        if self.layer.kind == "power":
            notes = self._power(chord)
            return notes[:2] if stroke.mark == "m" else notes
        notes = clear_of(self._voiced(chord), self._in_the_way(stroke))
        if self.layer.kind == "arpeggio":
            return (self._arpeggio(notes, int(stroke.mark)),)
        return notes

    def _voiced(self, chord: Chord) -> tuple[int, ...]:
        """The chord in the player's register, near the last one."""
        style, instrument = self.song.time.style, self.layer.instrument
        rich = coloured(chord, self.song.key, style.colour)
        wanted = tones(rich, self.layer.voices)
        self.last = voicing(wanted, instrument.low, instrument.high, self.layer.voices, self.last)
        return self.last

    def _power(self, chord: Chord) -> tuple[int, ...]:
        """Root, fifth and octave, as low as the instrument goes."""
        low = self.layer.instrument.low
        root = low + (chord.root - low) % 12
        fifth = root + {"dim": 6, "m7b5": 6, "dim7": 6, "aug": 8}.get(chord.quality, 7)
        return (root, fifth, root + 12)[: self.layer.voices]

    def _arpeggio(self, notes: Sequence[int], number: int) -> int:
        """The chord's `number`-th note, counted on through the octaves."""
        octave, index = divmod(number - 1, len(notes))
        return min(notes[index] + 12 * octave, 120)

    def _in_the_way(self, stroke: Stroke) -> set[int]:
        """Pitch classes of the tune that sound long enough with this stroke to rub."""
        start, end = self.song.time.time(stroke.beat), self.song.time.time(stroke.end)
        enough = max(LONG_NOTE, LONG_SHARE * (end - start))
        return {
            note.midi % 12
            for note in self.song.sung(start, end)
            if min(note.offset, end) - max(note.onset, start) >= enough
        }

    def _struck(self, stroke: Stroke, notes: tuple[int, ...], feel: Feel) -> list[PlayedNote]:
        """The notes of one stroke, strummed where the instrument is."""
        onset = feel.onset(stroke)
        offset = feel.offset(stroke, onset)
        base = self._loudness(stroke)
        if stroke.mark == "m":
            offset = onset + 0.45 * (offset - onset)
        upward = stroke.mark == "u" or self._between_beats(stroke)
        strings = tuple(reversed(notes)) if upward and self.layer.strum else notes
        return [
            PlayedNote(
                onset + self.layer.strum * place,
                offset,
                midi,
                feel.velocity(base * (1 - 0.03 * place), stroke),
            )
            for place, midi in enumerate(strings)
        ]

    def _loudness(self, stroke: Stroke) -> float:
        if stroke.mark == "u":
            return UP_STROKE
        if stroke.mark == "m":
            return MUTED
        if self.layer.kind == "arpeggio":
            return 96 if abs(stroke.written - round(stroke.written)) < 0.01 else 84
        return LOUDER * int(stroke.mark)

    def _between_beats(self, stroke: Stroke) -> bool:
        """Whether the strumming hand is on its way up."""
        return abs(stroke.written - round(stroke.written)) > 0.01
