"""The band's arranger: chords, beats and a tune in; every player's notes out.

Everything is on the voice's own time: a note at t seconds sounds with what was sung at t. The
patterns are data (`voice2music.styles`); the players here read them. All chance is the seed's.
"""

from collections.abc import Iterator, Sequence

from voice2music.arrangement.bass import Bassist
from voice2music.arrangement.comping import Comper
from voice2music.arrangement.drums import drummed
from voice2music.arrangement.lead import answers, invented_tune, played_tune
from voice2music.arrangement.player import Song, measures_of, ordered
from voice2music.arrangement.score import Arrangement, PlayedNote, Track
from voice2music.arrangement.timeline import Timeline, at_pace, barred, pace, played_grid, timeline
from voice2music.chords import ChordSpan, Key
from voice2music.notes import Note
from voice2music.remarks import Remark, remark
from voice2music.request import Role
from voice2music.rhythm import Grid
from voice2music.styles import Layer, Lead, Style

__all__ = [
    "Arrangement",
    "PlayedNote",
    "Track",
    "arrange",
    "at_pace",
    "barred",
    "pace",
    "played_grid",
]

LAST_STROKE = 0.4  # s for which a last chord that is cut short is held
LAST_VELOCITY = {"bass": 102, "walk": 102, "comp": 92, "arpeggio": 88, "pad": 76, "power": 100}
RINGING = ("pad", "arpeggio")  # kinds that ring even then


def arrange(
    style: Style,
    grid: Grid,
    chords: Sequence[ChordSpan],
    key: Key,
    seconds: float,
    *,
    melody: Sequence[Note] | None = None,
    role: Role = "tune",
    seed: int = 0,
) -> Arrangement:
    """Have the band of a style play.

    Args:
        grid: the voice's beats.
        chords: cover the piece; at least one.
        seconds: length of the piece.
        melody: the tune as sung, or None when there is no voice; then one is made up.
        role: "tune" plays it on the style's lead instrument, "back" leaves it to the singer.
        seed: of fills, choices between patterns, timing and touch.
    """
    bars = barred(grid, style)
    time = timeline(style, bars, chords, melody or (), seconds)
    tune = tuple(melody) if melody is not None else invented_tune(time, key, seed)
    song = Song(time, key, tune, role if melody is not None else "tune", seed)
    tracks = [Track(style.lead.name, style.lead.instrument, _lead(song))] if _leads(song) else []
    tracks += [Track(la.name, la.instrument, _layer(song, la)) for la in style.layers]
    if style.drums is not None:
        strokes = ordered(drummed(song, style.drums), seconds)
        tracks.append(Track("Drums", style.drums.instrument, strokes, drums=True))
    closing = None if time.closing is None else time.time(time.closing)
    heard = tuple(track for track in tracks if track.notes)
    remarks = tuple(_remarks(style, grid))
    return Arrangement(heard, seconds, bars, tuple(chords), tune, closing, remarks)


def _leads(song: Song) -> bool:
    """Whether the lead plays: always, but for a singer who wants to be backed up."""
    return song.role == "tune" and bool(song.tune)


def _lead(song: Song) -> tuple[PlayedNote, ...]:
    return ordered(played_tune(song, song.time.style.lead), song.time.seconds)


def _layer(song: Song, layer: Layer) -> tuple[PlayedNote, ...]:
    """One player's part with its last chord."""
    if layer.kind == "answer":
        notes = answers(song, layer)
    elif layer.kind == "unison":
        notes = _unison(song, layer)
    else:
        low = layer.kind in ("bass", "walk")
        player: Bassist | Comper = Bassist(song, layer) if low else Comper(song, layer)
        notes = player.play()
        notes += _last_chord(song, layer, player.final())
    return ordered(notes, song.time.seconds)


def _unison(song: Song, layer: Layer) -> list[PlayedNote]:
    """The tune again on another instrument, from the layer's entry on."""
    if not _leads(song):
        return []
    entries = [song.time.time(m.start) for m in measures_of(song, layer)]
    doubled = Lead(layer.name, layer.instrument, quarter_tones=song.time.style.lead.quarter_tones)
    tune = played_tune(song, doubled)
    return [n for n in tune if entries and n.onset >= entries[0] - 0.1]


def _last_chord(song: Song, layer: Layer, midi: Sequence[int]) -> list[PlayedNote]:
    """The last chord, struck together or rolled, left to ring or cut short."""
    time: Timeline = song.time
    if time.closing is None:
        return []
    onset = time.time(time.closing)
    cut = time.style.ending == "stab" and layer.kind not in RINGING
    offset = onset + LAST_STROKE if cut else time.seconds
    spread = 0.03 if layer.kind == "arpeggio" else layer.strum
    return [
        PlayedNote(onset + spread * place, offset, note, LAST_VELOCITY[layer.kind])
        for place, note in enumerate(midi)
    ]


def _remarks(style: Style, grid: Grid) -> Iterator[Remark]:
    """What a listener may wonder about."""
    factor = pace(grid, style)
    if factor != 1:
        code = "slow_tune" if factor == 2 else "fast_tune"
        yield remark(code, tempo=grid.tempo, genre=style.name, title=style.title)
    if barred(grid, style).beats_per_bar != grid.beats_per_bar and grid.beats_per_bar != 2:
        yield remark("in_three", genre=style.name, title=style.title)
