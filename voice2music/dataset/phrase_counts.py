"""Counts how cleared tunes move and where their bars are struck, for `voice2music.dataset.phrases`.

A bar's rhythm, and how often a step follows a step, are facts about many tunes; no tune can be put
together from them. Rhythms that stand in one bar only are left out.

`python -m voice2music.dataset.phrase_counts ARCHIVE` writes `phrase_counts.json`.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music.dataset.musicxml import LeadSheet, SheetNote
from voice2music.dataset.openewld import listed_works, open_archive, read_sheet

COUNTS = Path(__file__).with_name("phrase_counts.json")
TICKS = 12  # per quarter
PAUSE = 2 * TICKS  # from this length on a note ends a phrase
WIDEST = 9  # scale steps of the widest interval counted
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
MOTIONS = 5  # see `motion`
KINDS = {"four": 4, "three": 3}  # quarters in a bar
_METRES = {"4/4": "four", "2/2": "four", "3/4": "three"}
_BAR = {kind: quarters * TICKS for kind, quarters in KINDS.items()}

Rhythm = tuple[tuple[int, int], ...]
"""Start within the bar and length of each note that begins in a bar, ticks."""


@dataclass(frozen=True, eq=False)
class PhraseCounts:
    """What was counted.

    Args:
        steps: next interval by the motion before and the degree left, in scale steps, shape
            (MOTIONS, 7, 2 * WIDEST + 1); column WIDEST is the same note again.
        ends: degrees on which phrases end, shape (7,).
        inner, closing: by kind of bar, rhythm to count, of bars within and at the end of phrases.
        intervals: semitones to count, of all tunes.
        lengths: ticks to count, of all tunes.
    """

    steps: NDArray[np.float64]
    ends: NDArray[np.float64]
    inner: dict[str, dict[Rhythm, int]]
    closing: dict[str, dict[Rhythm, int]]
    intervals: dict[int, int]
    lengths: dict[int, int]


def motion(interval: int) -> int:
    """Kind of an interval in scale steps: 0 leaps down, 1 steps down, 2 stays, 3, 4 the same up."""
    return 2 + (interval > 0) - (interval < 0) + (interval > 1) - (interval < -1)


def counts_of(sheets: Iterable[LeadSheet]) -> dict[str, Any]:
    """The counts as JSON values; `phrase_counts` reads them."""
    steps = np.zeros((MOTIONS, 7, 2 * WIDEST + 1), np.int64)
    ends = np.zeros(7, np.int64)
    inner, closing = ({kind: Counter[str]() for kind in KINDS} for _ in range(2))
    intervals, lengths = Counter[int](), Counter[int]()
    for sheet in sheets:
        notes = sheet.notes
        intervals.update(b.midi - a.midi for a, b in pairwise(notes))
        lengths.update(_ticks(sheet, note.end - note.start) for note in notes)
        _count_steps(sheet, steps, ends)
        if kind := _METRES.get(sheet.metre):
            for rhythm in _bars(sheet):
                start, length = rhythm[-1]
                ends_here = max(length, _BAR[kind] - start) >= PAUSE
                (closing if ends_here else inner)[kind][_text(rhythm)] += 1
    return {
        "steps": steps.tolist(),
        "ends": ends.tolist(),
        "inner": {kind: _often(count) for kind, count in inner.items()},
        "closing": {kind: _often(count) for kind, count in closing.items()},
        "intervals": dict(sorted(intervals.items())),
        "lengths": dict(sorted(lengths.items())),
    }


@lru_cache(maxsize=1)
def phrase_counts(path: Path = COUNTS) -> PhraseCounts:
    """The committed counts."""
    values = json.loads(path.read_text(encoding="utf-8"))

    def rhythms(table: dict[str, dict[str, int]]) -> dict[str, dict[Rhythm, int]]:
        return {kind: {_rhythm(k): v for k, v in bars.items()} for kind, bars in table.items()}

    return PhraseCounts(
        steps=np.array(values["steps"], np.float64),
        ends=np.array(values["ends"], np.float64),
        inner=rhythms(values["inner"]),
        closing=rhythms(values["closing"]),
        intervals={int(k): v for k, v in values["intervals"].items()},
        lengths={int(k): v for k, v in values["lengths"].items()},
    )


def _count_steps(sheet: LeadSheet, steps: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
    """Intervals within phrases, and the degrees that phrases end on; chromatic notes left out."""
    places = [_place(note.midi, sheet) for note in sheet.notes]
    pauses = _pauses(sheet, sheet.notes)
    before = 2
    for index, (here, after) in enumerate(pairwise(places)):
        if here is None or after is None:
            before = 2
        else:
            step = after - here
            if abs(step) <= WIDEST:
                steps[before, here % 7, step + WIDEST] += 1
            before = motion(step)
        if here is not None and pauses[index]:
            ends[here % 7] += 1


def _place(midi: int, sheet: LeadSheet) -> int | None:
    """Scale steps above the lowest tonic; None for a note outside the scale."""
    octave, tone = divmod(midi - sheet.key.tonic, 12)
    scale = MAJOR if sheet.key.mode == "major" else MINOR
    return 7 * octave + scale.index(tone) if tone in scale else None


def _pauses(sheet: LeadSheet, notes: tuple[SheetNote, ...]) -> list[bool]:
    """For every note: whether a phrase ends with it."""
    waits = [_ticks(sheet, b.start - a.start) for a, b in pairwise(notes)]
    return [wait >= PAUSE for wait in waits] + [True]


def _bars(sheet: LeadSheet) -> Iterator[Rhythm]:
    """The rhythm of every bar in which notes begin."""
    bar = _BAR[_METRES[sheet.metre]]
    by_bar: dict[int, list[tuple[int, int]]] = {}
    for note in sheet.notes:
        number, start = divmod(_ticks(sheet, note.start), bar)
        by_bar.setdefault(number, []).append((start, max(1, _ticks(sheet, note.end - note.start))))
    for number in sorted(by_bar):
        yield tuple(by_bar[number])


def _ticks(sheet: LeadSheet, beats: float) -> int:
    return round(beats * sheet.quarters_per_beat * TICKS)


def _often(count: Counter[str]) -> dict[str, int]:
    """Those that stand in two bars or more, the most frequent first."""
    return {text: n for text, n in sorted(count.items(), key=lambda x: (-x[1], x[0])) if n > 1}


def _text(rhythm: Rhythm) -> str:
    return " ".join(f"{start}:{length}" for start, length in rhythm)


def _rhythm(text: str) -> Rhythm:
    pairs = (note.split(":") for note in text.split())
    return tuple((int(start), int(length)) for start, length in pairs)


def main(arguments: list[str]) -> int:
    """Count in the archive named on the command line."""
    if len(arguments) != 1:
        print("usage: python -m voice2music.dataset.phrase_counts ARCHIVE", file=sys.stderr)
        return 2
    archive = open_archive(arguments[0])
    sheets = [read_sheet(archive, work) for work in listed_works()]
    COUNTS.write_text(json.dumps(counts_of(sheets), indent=None) + "\n", encoding="utf-8")
    print(f"counted {len(sheets)} sheets")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
