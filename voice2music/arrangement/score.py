"""What the band plays: notes in seconds, by player."""

from dataclasses import dataclass

from voice2music.chords import ChordSpan
from voice2music.notes import Note
from voice2music.remarks import Remark
from voice2music.rhythm import Grid
from voice2music.styles import Instrument


@dataclass(frozen=True)
class PlayedNote:
    """One note or stroke.

    Args:
        onset, offset: seconds; what began before 0 is not struck again.
        midi: key, 0 to 127; on drums the drum's key.
        velocity: 1 to 127.
        bend: cents off the key, for quarter tones.
    """

    onset: float
    offset: float
    midi: int
    velocity: int
    bend: float = 0.0


@dataclass(frozen=True)
class Track:
    """One player's notes, in the order of their onsets.

    Args:
        name: of the player, "Bass"; unique within an arrangement.
        drums: the notes are drum strokes and `instrument.program` is a kit.
    """

    name: str
    instrument: Instrument
    notes: tuple[PlayedNote, ...]
    drums: bool = False


@dataclass(frozen=True)
class Arrangement:
    """A piece for the band.

    Args:
        tracks: one per player; the lead, where there is one, first.
        seconds: length.
        grid: the beats that are played, in the bars that are played.
        chords: what is played.
        tune: what the lead plays or the singer sings; made up where nobody sang.
        closing: seconds at which the last chord is struck, None where there is no room for it.
        remarks: what was done differently from what was sung.
    """

    tracks: tuple[Track, ...]
    seconds: float
    grid: Grid
    chords: tuple[ChordSpan, ...]
    tune: tuple[Note, ...]
    closing: float | None
    remarks: tuple[Remark, ...] = ()
