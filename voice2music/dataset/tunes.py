"""Tunes for the training pairs: where they come from, under which licence, and in which split.

Cleared lead sheets of OpenEWLD, in excerpts, and phrases of our own (see `phrases` beside this).
A tune is in one split for ever, by its name and not by chance, so that no chunk, key, tempo or
second data set brings a tune of the test into the training.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from voice2music.dataset.musicxml import LeadSheet, SheetChord
from voice2music.dataset.openewld import listed_works, open_archive, read_sheet
from voice2music.dataset.phrases import singable_tune

Split = Literal["train", "valid", "test"]
PUBLIC_DOMAIN, OWN = "public domain", "MIT"
PAUSE = 2.0  # quarters between two onsets that part phrases
_PERCENT = {"valid": 6, "test": 6}


@dataclass(frozen=True, eq=False)
class Tune:
    """A tune with what is known about it.

    Args:
        id: of the tune; every excerpt of it has the same.
        sheet: in quarters (dotted quarters in 6/8); no chords where none are written.
        scale: a name of `phrases.SCALES`, "major" or "minor" for written tunes.
        source, licence: where it comes from and under which terms.
    """

    id: str
    sheet: LeadSheet
    scale: str
    source: str
    licence: str

    @property
    def split(self) -> Split:
        """The split that this tune is in for ever."""
        return split_of(self.id)


def split_of(tune_id: str) -> Split:
    """88 % of all names are for training, 6 % for validation, 6 % for the test."""
    percent = int(hashlib.sha256(f"split {tune_id}".encode()).hexdigest(), 16) % 100
    if percent < _PERCENT["test"]:
        return "test"
    return "valid" if percent < _PERCENT["test"] + _PERCENT["valid"] else "train"


def cleared_tunes(archive: Path) -> tuple[Tune, ...]:
    """The cleared works of the archive, about a second.

    Raises:
        BadManifest: the archive is not there, or not OpenEWLD.
    """
    opened = open_archive(archive)
    return tuple(
        Tune(
            id=f"openewld:{work.path.removeprefix('dataset/').removesuffix('.mxl')}",
            sheet=(sheet := _in_quarters(read_sheet(opened, work))),
            scale=sheet.key.mode,
            source=f"OpenEWLD: {work.title} ({', '.join(work.authors)}, {work.year})",
            licence=PUBLIC_DOMAIN,
        )
        for work in listed_works()
    )


def own_tune(seed: int) -> Tune:
    """A tune of the generator."""
    sheet, scale = singable_tune(seed)
    return Tune(f"phrases:{seed}", sheet, scale, "voice2music.dataset.phrases", OWN)


def excerpt(tune: Tune, beats: float, chance: np.random.Generator) -> Tune:
    """Whole phrases of a tune, at most `beats` long where its phrases allow; beat 0 a bar line."""
    sheet = tune.sheet
    if sheet.beats <= beats:
        return tune
    starts = _phrase_starts(sheet)
    first = int(chance.choice(_worth(sheet, starts, beats)))
    anchor = _bar_line(sheet, sheet.notes[first].start)
    ends = [i for i in [*starts, len(sheet.notes)] if i > first + 3]
    fits = [i for i in ends if sheet.notes[i - 1].end - anchor <= beats]
    if fits:
        end = fits[-1]
    else:  # one phrase without a pause is longer than asked: cut where the time is over
        inside = [i for i, n in enumerate(sheet.notes) if n.end - anchor <= beats]
        end = max(inside[-1] + 1 if inside else 0, first + 4)
    return replace(tune, sheet=_part(sheet, first, min(end, len(sheet.notes)), anchor))


def _in_quarters(sheet: LeadSheet) -> LeadSheet:
    """Bars of two half notes read as bars of four quarters, as a band counts them."""
    if sheet.quarters_per_beat != 2.0:
        return sheet
    return replace(
        sheet,
        notes=tuple(replace(n, start=2 * n.start, end=2 * n.end) for n in sheet.notes),
        chords=tuple(replace(c, start=2 * c.start, end=2 * c.end) for c in sheet.chords),
        beats_per_bar=2 * sheet.beats_per_bar,
        quarters_per_beat=1.0,
        tempo=None if sheet.tempo is None else 2 * sheet.tempo,
        beats=2 * sheet.beats,
    )


def _phrase_starts(sheet: LeadSheet) -> list[int]:
    """Indices of notes before which the tune pauses, the first one included."""
    pause = PAUSE / sheet.quarters_per_beat
    late = [i + 1 for i, (a, b) in enumerate(pairwise(sheet.notes)) if b.start - a.start >= pause]
    return [0, *late]


def _worth(sheet: LeadSheet, starts: Sequence[int], beats: float) -> list[int]:
    """The starts after which at least half of the wished length is left."""
    left = [i for i in starts if sheet.notes[-1].end - sheet.notes[i].start >= beats / 2]
    return [i for i in left if len(sheet.notes) - i >= 4] or [0]


def _bar_line(sheet: LeadSheet, start: float) -> float:
    """The bar line that a phrase belongs to: the one before, or the next one for a pick-up."""
    size = sheet.beats_per_bar
    bar, within = divmod(start + 1e-6, size)
    return float(size * (bar + (within > size / 2)))


def _part(sheet: LeadSheet, first: int, end: int, anchor: float) -> LeadSheet:
    """Notes `first` to `end` with the chords under them; `anchor` becomes beat 0."""
    notes = sheet.notes[first:end]
    size = sheet.beats_per_bar
    beats = size * float(np.ceil((notes[-1].end - anchor) / size - 1e-6))
    chords = tuple(
        SheetChord(max(c.start - anchor, 0.0), min(c.end - anchor, beats), c.chord)
        for c in sheet.chords
        if c.end > anchor + 1e-6 and c.start < anchor + beats - 1e-6
    )
    return replace(
        sheet,
        notes=tuple(replace(n, start=n.start - anchor, end=n.end - anchor) for n in notes),
        chords=chords,
        beats=beats,
    )
