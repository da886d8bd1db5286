"""Pictures as light SVG and HTML: the tune as a piano roll, a take beside the tune, waveforms.

Colours come from the page's style sheet, so that pictures follow light and dark.
"""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from voice2music.analysis import Analysis
from voice2music.chords import ChordSpan, Key, chord_symbol, pitch_name
from voice2music.clip import Clip
from voice2music.notes import Note
from voice2music.pitch import HOP, hz_to_midi

BARS = 140  # of a waveform
CURVE_STEP = 3  # frames of 10 ms per point of the drawn f0 curve
CELL = 0.125  # s per column of the picture of a take
Place = Callable[[float], float]
STRONG = 0.55  # share of the strongest pitch class from which another one is drawn as well


def peaks(clip: Clip, bars: int = BARS) -> list[float]:
    """The loudest sample of each of `bars` stretches, the loudest of all being 1."""
    mono = np.abs(clip.mono().samples[0])
    parts = np.array_split(mono, min(bars, len(mono)))
    tops = np.array([part.max() for part in parts])
    top = float(tops.max())
    return [round(float(t) / top, 3) if top > 0 else 0.0 for t in tops]


def piano_roll(heard: Analysis) -> str:
    """The tune: notes as bars, the sung curve as a line, bars of the beat, chords above."""
    low = min(note.midi for note in heard.notes) - 2
    high = max(note.midi for note in heard.notes) + 2
    rows = high - low + 1

    def x(seconds: float) -> float:
        return 100 * seconds / heard.seconds

    def y(midi: float) -> float:
        return 100 * (high + 0.5 - midi) / rows

    height = 100 / rows
    lines = [
        *(_line(x(b), "v-bar-line") for b in heard.grid.downbeats if 0 <= b <= heard.seconds),
        f'<path class="v-sung" d="{_curve(heard, x, y)}"/>',
    ]
    notes = [_block(n, x, y(n.midi + 0.5), height, "v-note") for n in heard.notes]
    names = [
        f'<span class="v-row-name" style="top:{y(midi + 0.5):.2f}%;height:{height:.2f}%">'
        f"{escape(pitch_name(midi % 12, heard.key))}{midi // 12 - 1}</span>"
        for midi in _labelled(low, high, heard.key)
    ]
    chords = [
        f'<span class="v-chord" style="left:{x(max(span.start, 0)):.2f}%">'
        f"{escape(chord_symbol(span.chord, heard.key))}</span>"
        for span in _spaced(heard)
    ]
    return (
        f'<div class="v-chords-row">{"".join(chords)}</div>'
        f'<div class="v-plot"><div class="v-area">{_svg(lines)}{"".join(notes)}</div>'
        f"{''.join(names)}</div>"
    )


def overlay(notes: Sequence[Note], chroma: NDArray[np.float32], seconds: float, key: Key) -> str:
    """The pitch classes heard in a take, with the voice's notes drawn over them.

    Args:
        notes: of the voice, on the take's time.
        chroma: of the take, shape (12, frames), every 10 ms.
        seconds: length of the take.
    """

    def x(time: float) -> float:
        return 100 * time / seconds

    height = 100 / 12
    heard = [
        f'<rect x="{x(start):.2f}" y="{height * (11 - row):.2f}" width="{x(end - start):.2f}" '
        f'height="{height:.2f}" class="v-heard-{level}"/>'
        for row, start, end, level in _cells(chroma, seconds)
    ]
    sung = [
        _block(n, x, height * (11 - n.midi % 12), height, "v-note")
        for n in notes
        if n.onset < seconds
    ]
    names = [
        f'<span class="v-row-name" style="top:{height * (11 - pc):.2f}%;height:{height:.2f}%">'
        f"{escape(pitch_name(pc, key))}</span>"
        for pc in sorted({n.midi % 12 for n in notes})
    ]
    return (
        f'<div class="v-plot"><div class="v-area">{_svg(heard)}{"".join(sung)}</div>'
        f"{''.join(names)}</div>"
    )


def _cells(chroma: NDArray[np.float32], seconds: float) -> Iterable[tuple[int, float, float, int]]:
    """Stretches in which a pitch class is strong: (pitch class, start, end, 1 or 2)."""
    frames = min(chroma.shape[1], round(seconds / HOP))
    width = round(CELL / HOP)
    columns = max(1, frames // width)
    blocks = chroma[:, : columns * width].reshape(12, columns, -1).mean(axis=2)
    top = blocks.max(axis=0)
    loud = top > 0.05 * max(float(top.max()), 1e-9)
    share = np.where(loud, blocks / np.maximum(top, 1e-9), 0)
    levels = np.where(share >= 1, 2, np.where(share >= STRONG, 1, 0))
    for row in range(12):
        edges = np.flatnonzero(np.diff(levels[row], prepend=-1, append=-1))
        for start, end in pairwise(edges):
            if level := int(levels[row, start]):
                yield row, start * CELL, end * CELL, level


def _curve(heard: Analysis, x: Place, y: Place) -> str:
    """The sung f0 on the singer's own tuning as one SVG path with gaps."""
    midi = hz_to_midi(heard.pitch.f0) - heard.tuning / 100
    parts: list[str] = []
    drawing = False
    for frame in range(0, len(midi), CURVE_STEP):
        if np.isnan(midi[frame]):
            drawing = False
            continue
        parts.append(f"{'L' if drawing else 'M'}{x(frame * HOP):.2f} {y(float(midi[frame])):.2f}")
        drawing = True
    return "".join(parts)


def _spaced(heard: Analysis) -> list[ChordSpan]:
    """The chords that have room to be named: changes only, and not too close."""
    out: list[ChordSpan] = []
    for span in heard.chords:
        changed = not out or span.chord != out[-1].chord
        if changed and (not out or span.start - out[-1].start > 0.07 * heard.seconds):
            out.append(span)
    return out


def _labelled(low: int, high: int, key: Key) -> list[int]:
    """The rows that are named: tonic and fifth, and the third where there is room."""
    third = 4 if key.mode == "major" else 3
    steps = (0, 7) if high - low > 12 else (0, third, 7)
    return [midi for midi in range(low, high + 1) if (midi - key.tonic) % 12 in steps]


def _block(note: Note, x: Place, top: float, height: float, name: str) -> str:
    width = max(x(note.offset) - x(note.onset), 0.4)
    return (
        f'<i class="{name}" style="left:{x(note.onset):.2f}%;width:{width:.2f}%;'
        f'top:{top:.2f}%;height:{height:.2f}%"></i>'
    )


def _line(x: float, name: str) -> str:
    return f'<line class="{name}" x1="{x:.2f}" x2="{x:.2f}" y1="0" y2="100"/>'


def _svg(shapes: Iterable[str]) -> str:
    return (
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(shapes)}</svg>"
    )
