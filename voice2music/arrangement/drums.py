"""The drummer: grooves by phrase, fills at their ends, a pick-up before and a stroke at the end."""

import numpy as np

from voice2music.arrangement.player import RUSH, Song
from voice2music.arrangement.score import PlayedNote
from voice2music.arrangement.timeline import Measure, Timeline
from voice2music.gm import DRUMS
from voice2music.styles import Drums, Groove

STROKE = 0.1  # s; drums ring by themselves
LOUDER = 14  # velocity per digit
NO_FILL_WITHIN = 2  # bars: the very first ones are left alone


def drummed(song: Song, drums: Drums) -> list[PlayedNote]:
    """All strokes of the part."""
    chance = song.chance("Drums")
    out: list[PlayedNote] = []
    fill_before = False
    for measure in song.time.measures:
        groove, is_fill = _groove(song, drums, measure, chance)
        if groove is not None:
            out += _bar(song, drums, groove, measure, chance)
        if fill_before and drums.crash and _plays(song.time, measure.start):
            out.append(_single(song.time.time(measure.start), "crash", 100))
        fill_before = is_fill
    if song.time.closing is not None:
        time = song.time.time(song.time.closing)
        out += [_single(time, drum, 112) for drum in drums.ending]
    return out


def _groove(
    song: Song, drums: Drums, measure: Measure, chance: np.random.Generator
) -> tuple[Groove | None, bool]:
    """What is played in a bar, and whether it is a fill."""
    style = song.time.style
    if measure.number == -1:
        return drums.pickup, True
    if measure.number < 0:
        whole = song.time.grid.time_at(measure.start) > -0.1
        return (drums.grooves[0] if whole and "Drums" in style.intro else None), False
    last = measure.number % style.fill_every == style.fill_every - 1
    before_end = song.time.closing == measure.start + len(measure.beats)
    if (last or before_end) and measure.number >= NO_FILL_WITHIN and drums.fills:
        return drums.fills[int(chance.integers(len(drums.fills)))], True
    phrase = measure.number // style.phrase
    return drums.grooves[phrase % len(drums.grooves)], False


def _bar(
    song: Song, drums: Drums, groove: Groove, measure: Measure, chance: np.random.Generator
) -> list[PlayedNote]:
    """A bar of a groove."""
    time, style = song.time, song.time.style
    out = []
    for drum, bars in groove.items():
        bar = bars[measure.number % style.phrase % len(bars)]
        for place, played in enumerate(measure.beats):
            for step in range(style.steps):
                mark = bar[played * style.steps + step]
                beat = measure.start + place + step / style.steps
                if mark == "." or not _plays(time, beat):
                    continue
                off = float(np.clip(chance.normal(), -RUSH, RUSH)) * style.loose
                onset = time.time(beat) + drums.late.get(drum, 0.0) + off
                loudness = LOUDER * int(mark) * song.dynamics(measure)
                loudness *= 1 + 0.05 * chance.normal()
                out.append(_single(onset, drum, loudness))
    return out


def _plays(time: Timeline, beat: float) -> bool:
    """Whether a beat lies before the last chord."""
    return time.closing is None or beat < time.closing - 1e-6


def _single(onset: float, drum: str, loudness: float) -> PlayedNote:
    velocity = int(np.clip(round(loudness), 1, 127))
    return PlayedNote(onset, onset + STROKE, DRUMS[drum], velocity)
