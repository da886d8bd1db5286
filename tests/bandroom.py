"""A tune in the public domain and what the band makes of it, for the tests of the band."""

import numpy as np

from voice2music.arrangement import arrange
from voice2music.chords import parse_key, parse_progression
from voice2music.engines.base import Conditioning, Melody
from voice2music.gm import DRUMS
from voice2music.notes import Note
from voice2music.pitch import HOP
from voice2music.rhythm import steady
from voice2music.styles import style

C_MAJOR = parse_key("C")

# Ah vous dirai-je, maman: beat, length in beats, MIDI note.
TUNE = (
    *((0, 1, 60), (1, 1, 60), (2, 1, 67), (3, 1, 67), (4, 1, 69), (5, 1, 69), (6, 2, 67)),
    *((8, 1, 65), (9, 1, 65), (10, 1, 64), (11, 1, 64), (12, 1, 62), (13, 1, 62), (14, 2, 60)),
    *((16, 1, 67), (17, 1, 67), (18, 1, 65), (19, 1, 65), (20, 1, 64), (21, 1, 64), (22, 2, 62)),
    *((24, 1, 60), (25, 1, 60), (26, 1, 67), (27, 1, 67), (28, 1, 69), (29, 1, 69), (30, 2, 67)),
    *((32, 4, 60),),
)
CHORDS = "C | F C | F C | G C | C F | C G | C | F C | C"
IN_THREE = (
    *((0, 2, 67), (2, 1, 64), (3, 2, 60), (5, 1, 62), (6, 2, 64), (8, 1, 65), (9, 3, 67)),
    *((12, 2, 69), (14, 1, 67), (15, 2, 65), (17, 1, 64), (18, 3, 62), (21, 3, 60)),
)
CHORDS_IN_THREE = "C | C | C | C | F | F | G | C"


def notes(tune=TUNE, tempo=120.0, start=0.0, held=0.92):
    """The tune as sung notes, a man's octave."""
    beat = 60 / tempo
    return tuple(Note(start + o * beat, start + (o + held * d) * beat, m - 12) for o, d, m in tune)


def played(name, *, bars=9, tempo=None, melody=True, **wishes):
    """The arrangement of the tune in a style, at the style's own tempo."""
    chosen = style(name)
    tempo = tempo or chosen.tempo
    three = chosen.beats_per_bar == 3
    size = 3 if three else 4
    bars = min(bars, 8) if three else bars
    seconds = bars * size * 60 / tempo
    grid = steady(tempo, seconds, size)
    chords = parse_progression(CHORDS_IN_THREE if three else CHORDS, grid, seconds)
    sung = [n for n in notes(IN_THREE if three else TUNE, tempo) if n.onset < seconds - 0.2]
    return arrange(
        chosen, grid, chords, C_MAJOR, seconds, melody=sung if melody else None, **wishes
    )


def track(arrangement, name):
    """A player's notes."""
    return next(t.notes for t in arrangement.tracks if t.name == name)


def places(struck, grid, size=4, bars=range(1, 3), steps=12):
    """Where in the bar notes are struck, in beats, over the given bars (the second and third)."""
    found = set()
    for note in struck:
        beat = grid.beat_at(note.onset) - grid.downbeat
        place = round(beat * steps) / steps
        if int(place // size) in bars:
            found.add(round(place % size, 2))
    return found


def drum(arrangement, name):
    """The strokes of one drum."""
    return [n for n in track(arrangement, "Drums") if n.midi == DRUMS[name]]


def conditioning(name="pop", seconds=15.0, role="tune", sung=None, **changes):
    """A job for the band: the tune at the style's tempo."""
    chosen = style(name)
    tempo = chosen.tempo
    size = chosen.beats_per_bar
    grid = steady(tempo, seconds, size)
    tune = sung or [n for n in notes(IN_THREE if size == 3 else TUNE, tempo) if n.offset < seconds]
    midi = np.full(round(seconds / HOP), np.nan, np.float32)
    for note in tune:
        midi[round(note.onset / HOP) : round(note.offset / HOP)] = note.midi
    values = {
        "genre": name,
        "text": "",
        "seconds": seconds,
        "grid": grid,
        "key": C_MAJOR,
        "chords": parse_progression(CHORDS_IN_THREE if size == 3 else CHORDS, grid, seconds),
        "melody": Melody(midi, tuple(tune)),
        "role": role,
    }
    return Conditioning(**values | changes)
