"""Beats and chords of the music in the pairs, as the engines are given them."""

from voice2music.arrangement import at_pace, pace
from voice2music.chords import ChordSpan, parse_chord
from voice2music.dataset.shards import Row
from voice2music.engines.plan import Plan
from voice2music.rhythm import Grid
from voice2music.styles import style


def music_grid(row: Row) -> Grid:
    """The beats that a piece's music keeps, in the tune's own pace."""
    bars = row["bars"]
    beats = tuple(row["beats"])
    tempo = 60 * (len(beats) - 1) / (beats[-1] - beats[0])
    return Grid(beats, bars["downbeat"] % bars["beats"], bars["beats"], tempo)


def music_chords(row: Row) -> tuple[ChordSpan, ...]:
    """The chords that a piece's music plays."""
    return tuple(ChordSpan(start, end, parse_chord(name)) for start, end, name in row["chords"])


def music_plan(row: Row) -> Plan:
    """The plan by which a piece's music was played."""
    grid = music_grid(row)
    # Data sets made before styles of one's own do not say the pace.
    factor = row["bars"]["pace"] if "pace" in row["bars"] else pace(grid, style(row["genre"]))
    return Plan(at_pace(grid, factor), music_chords(row), row["seconds"])
