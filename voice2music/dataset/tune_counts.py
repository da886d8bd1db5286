"""Counts in sung tunes: where notes fall in the bar, how far apart, and which degrees they are.

For `voice2music.metre` and `voice2music.key`. Only from the *studied* part of the cleared lead
sheets: some two in five, chosen by their names. The others are left for the benchmark
(`benchmarks/hearing.py`), which so hears tunes that nothing was counted in.

`python -m voice2music.dataset.tune_counts ARCHIVE` writes `voice2music/tune_counts.json`.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from voice2music.dataset.musicxml import LeadSheet
from voice2music.dataset.openewld import Work, listed_works, open_archive, read_sheet
from voice2music.metre import COUNTS, TICKS

QUARTERS = {"4/4": "four", "2/2": "four", "3/4": "three"}  # metres counted in quarters
BEATS = {"four": 4, "three": 3}
PAUSE = 2 * TICKS  # from this length on a note ends a phrase
LONGEST = 2.0  # quarters


def studied(work: Work) -> bool:
    """Whether this work's sheet is for counting (true) or for the benchmark (false)."""
    return int(hashlib.sha256(work.path.encode()).hexdigest(), 16) % 5 < 2


def counts_of(sheets: Sequence[LeadSheet]) -> dict[str, Any]:
    """Per kind of bar: onsets per place, where tunes and phrases begin and end, and moves.

    Returns:
        For "four" and "three": "bars", a length in bars; "onset", "start" (of tunes), "first" and
        "last" (of phrases), place in ticks to count; "moves", place to length in ticks to count.
        For "degrees": share of the time sung on each degree from the tonic upwards, of tunes in
        major (there are too few in minor); a note longer than two quarters counts as two.
    """
    out: dict[str, Any] = {}
    for kind, beats in BEATS.items():
        bar = beats * TICKS
        places, start, first, last = (Counter[int]() for _ in range(4))
        moves: dict[int, Counter[int]] = {}
        length = 0
        for sheet in sheets:
            if QUARTERS.get(sheet.metre) != kind:
                continue
            ticks = _ticks(sheet)
            ends = [b - a >= PAUSE for a, b in pairwise(ticks)] + [True]
            start[ticks[0] % bar] += 1
            first.update(t % bar for t, new in zip(ticks, [True, *ends[:-1]], strict=True) if new)
            last.update(t % bar for t, end in zip(ticks, ends, strict=True) if end)
            for a, b in pairwise(ticks):
                moves.setdefault(a % bar, Counter())[b - a] += 1
                places[a % bar] += 1
                length += b - a
        out[kind] = {
            "bars": round(length / bar, 1),
            "onset": dict(sorted(places.items())),
            "start": dict(sorted(start.items())),
            "first": dict(sorted(first.items())),
            "last": dict(sorted(last.items())),
            "moves": {place: dict(sorted(moves[place].items())) for place in sorted(moves)},
        }
    out["degrees"] = [round(share, 4) for share in _degrees(sheets)]
    return out


def _degrees(sheets: Sequence[LeadSheet]) -> list[float]:
    quarters = [0.0] * 12
    for sheet in sheets:
        if sheet.key.mode == "major":
            for note in sheet.notes:
                length = (note.end - note.start) * sheet.quarters_per_beat
                quarters[(note.midi - sheet.key.tonic) % 12] += min(length, LONGEST)
    total = sum(quarters) or 1.0
    return [part / total for part in quarters]


def _ticks(sheet: LeadSheet) -> list[int]:
    """Onsets in twelfths of a quarter, each place once."""
    quarters = (note.start * sheet.quarters_per_beat for note in sheet.notes)
    return sorted({round(start * TICKS) for start in quarters})


def main(arguments: list[str]) -> int:
    """Count in the archive named on the command line."""
    if len(arguments) != 1:
        print("usage: python -m voice2music.dataset.tune_counts ARCHIVE", file=sys.stderr)
        return 2
    archive = open_archive(arguments[0])
    sheets = [read_sheet(archive, work) for work in listed_works() if studied(work)]
    COUNTS.write_text(json.dumps(counts_of(sheets), indent=1) + "\n", encoding="utf-8")
    print(f"counted {len(sheets)} sheets")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
