"""What chords do in lead sheets: how they follow each other and what is sung over them.

The counts are facts about public-domain tunes; no tune can be put together from them.
"""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import voice2music
from voice2music.chord_model import (
    FAMILIES,
    ROOTS,
    STATES,
    HarmonyCounts,
    ModeCounts,
    counts_to_json,
    melody_weights,
    state,
)
from voice2music.chords import Mode
from voice2music.dataset.musicxml import LeadSheet

COUNTS = Path(voice2music.__file__).with_name("harmony_counts.json")
_PROVENANCE = (
    "Counted by `python -m voice2music.dataset.openewld` in the lead sheets listed in "
    "voice2music/dataset/openewld_cleared.csv: works of OpenEWLD (F. Simonetta, 2018) first "
    "performed by 1930 whose authors had all died by 1955, by its own database. The scores are in "
    "the public domain; these counts are under this project's licence. Tonic = C; families: maj, "
    "min, 7 and dim; 'bar': over a bar line, 'mid': in the middle of a bar; 'melody': half bars "
    "that each semitone above the root is sung for."
)


def half_bars(sheet: LeadSheet) -> int:
    """2 where bars can be halved on a beat, 1 where they cannot (3, 5, 7 beats)."""
    return 2 if sheet.beats_per_bar % 2 == 0 else 1


def sheet_melody(sheet: LeadSheet) -> NDArray[np.float64]:
    """`melody_weights` of each segment of a sheet, in half bars; pitch classes above the tonic."""
    parts = half_bars(sheet)
    onsets = np.array([note.start for note in sheet.notes])
    offsets = np.array([note.end for note in sheet.notes])
    pitch_classes = np.array([(note.midi - sheet.key.tonic) % 12 for note in sheet.notes])
    beats = sheet.beats_per_bar / parts
    weights = melody_weights(onsets, offsets, pitch_classes, _edges(sheet), beats)
    out: NDArray[np.float64] = weights * (2 / parts)
    return out


def sheet_states(sheet: LeadSheet) -> NDArray[np.int64]:
    """The state that holds longest in each segment (the earlier of equals), -1 where none does."""
    edges = _edges(sheet)
    held = np.zeros((len(edges) - 1, STATES))
    for span in sheet.chords:
        overlap = np.minimum(span.end, edges[1:]) - np.maximum(span.start, edges[:-1])
        # A hair more for the earlier of two chords that share the segment equally.
        held[:, state(span.chord, sheet.key.tonic)] += np.clip(overlap, 0, None) * (
            1 + 1e-6 * (span.start < edges[:-1] + 1e-6)
        )
    return np.where(held.any(axis=1), held.argmax(axis=1), -1)


def counts_of(sheets: Sequence[LeadSheet]) -> HarmonyCounts:
    """The counts of all sheets, repeats counted as they are played."""
    return HarmonyCounts(_mode_counts(sheets, "major"), _mode_counts(sheets, "minor"))


def write_counts(sheets: Sequence[LeadSheet], path: Path = COUNTS) -> None:
    """Counts with where they come from, as JSON."""
    values: dict[str, Any] = {
        "provenance": _PROVENANCE,
        "works": {m: sum(s.key.mode == m for s in sheets) for m in ("major", "minor")},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **counts_to_json(counts_of(sheets)),
    }
    path.write_text(_text(values), encoding="utf-8")


def _text(values: dict[str, Any]) -> str:
    """JSON with one line per row of a table, so that a change can be read."""
    lines = json.dumps(values, indent=1, ensure_ascii=False).splitlines()
    out: list[str] = []
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if depth > 3 or (depth == 3 and line.strip()[0] in "}]"):
            out[-1] += line.strip() if line.strip()[0] in "}]" else " " + line.strip()
        else:
            out.append(line)
    return "\n".join(out) + "\n"


def _edges(sheet: LeadSheet) -> NDArray[np.float64]:
    """Bounds of the segments (half bars, or bars that cannot be halved) in beats."""
    parts = half_bars(sheet)
    segments = parts * max(1, round(sheet.beats / sheet.beats_per_bar + 0.49))
    return np.arange(segments + 1, dtype=np.float64) * (sheet.beats_per_bar / parts)


def _mode_counts(sheets: Sequence[LeadSheet], mode: Mode) -> ModeCounts:
    first, last = np.zeros(STATES), np.zeros(STATES)
    bar, mid = np.zeros((STATES, STATES)), np.zeros((STATES, STATES))
    melody = np.zeros((len(FAMILIES), 12))
    for sheet in (sheet for sheet in sheets if sheet.key.mode == mode):
        states, parts = sheet_states(sheet), half_bars(sheet)
        known = np.flatnonzero(states >= 0)
        first[states[known[0]]] += 1
        last[states[known[-1]]] += 1
        sung = sheet_melody(sheet)
        for i in known:
            melody[states[i] % len(FAMILIES)] += np.roll(sung[i], -ROOTS[states[i]])
            if i + 1 < len(states) and states[i + 1] >= 0:
                table = bar if (i + 1) % parts == 0 else mid
                table[states[i], states[i + 1]] += 1
    return ModeCounts(first, last, bar, mid, melody)
