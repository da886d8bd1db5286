"""How well `harmonise` finds the chords that people wrote over a tune.

    python benchmarks/harmony.py ../shared/data/symbolic > benchmarks/harmony.md

Reads the cleared OpenEWLD tunes (eight folds by tune: the counts never hold the tune they are
tried on) and, where it is there, Nottingham's folk tunes (GPL-3: only tried on, never counted).
Tunes are cut into pieces of eight bars at two seconds a bar, about what a person hums at once; the
key is given.

Columns: share of bars whose root (of the chord that holds longest) is the written one; shares of
the time by `mir_eval.chord` (root, thirds, majmin, triads); share of the sung time on a note of the
chord that sounds; changes of root per bar line; milliseconds per piece. What was written is one
good answer of several. A handful of weights was chosen on these very pieces (they are round
numbers), so the first table flatters the model a little.
"""

import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import mir_eval
import numpy as np

from voice2music.chord_model import ChordModel, chord_model
from voice2music.dataset.harmony_counts import counts_of
from voice2music.dataset.musicxml import LeadSheet, SheetChord, SheetNote, sheet_key
from voice2music.dataset.openewld import cleared_works, open_archive, read_sheet
from voice2music.harmony import (
    QUALITIES,
    Chord,
    ChordSpan,
    Key,
    bars,
    chord_pitch_classes,
    harmonise,
    spans_of_bars,
)
from voice2music.notes import Note
from voice2music.rhythm import Grid

BARS, BAR_SECONDS, FOLDS, NOTTINGHAM_TUNES = 8, 2.0, 8, 240
Models = tuple[ChordModel, ChordModel]
_HARTE = {
    "min": "min", "maj": "maj", "dim": "dim", "aug": "aug", "7": "7", "m7": "min7", "m6": "min6",
    "6": "maj6", "maj7": "maj7", "m7b5": "hdim7", "dim7": "dim7", "mmaj7": "minmaj7",
    "sus4": "sus4", "sus2": "sus2", "aug7": "aug", "7sus4": "sus4(b7)", "7b9": "7", "add9": "maj",
    "69": "maj6", "9": "9", "maj9": "maj9", "m9": "min9", "13": "7", "5": "5",
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """Eight bars of a tune as if they had been sung, with the chords that were written."""

    notes: tuple[Note, ...]
    grid: Grid
    key: Key
    seconds: float
    written: tuple[ChordSpan, ...]


@dataclass(frozen=True)
class Result:
    """Shares in [0, 1], averaged over pieces by their length."""

    bar_roots: float
    root: float
    thirds: float
    majmin: float
    triads: float
    in_chord: float
    changes: float


def pieces(sheet: LeadSheet) -> Iterator[Piece]:
    """A sheet in pieces that have notes and chords throughout."""
    per_bar, beat = sheet.beats_per_bar, BAR_SECONDS / sheet.beats_per_bar
    length = BARS * per_bar
    for start in range(0, int(sheet.beats) - length // 2, length):
        end = min(start + length, sheet.beats)

        def seconds(beats: float, start: float = start, end: float = end) -> float:
            return (min(max(beats, start), end) - start) * beat

        notes = tuple(
            Note(seconds(n.start), seconds(n.end), n.midi)
            for n in sheet.notes
            if n.end > start and start <= n.start < end
        )
        chords = [c for c in sheet.chords if c.end > start + 1e-6 and c.start < end - 1e-6]
        if not notes or not chords or chords[0].start > start:
            continue
        written = tuple(ChordSpan(seconds(c.start), seconds(c.end), c.chord) for c in chords)
        grid = Grid(tuple(i * beat for i in range(length + 1)), 0, per_bar, 60 / beat)
        yield Piece(notes, grid, sheet.key, seconds(end), written)


def sounding(spans: Sequence[ChordSpan], start: float, end: float) -> Chord:
    """The chord that holds longest between two times."""
    held: dict[Chord, float] = {}
    for span in spans:
        overlap = min(span.end, end) - max(span.start, start)
        held[span.chord] = held.get(span.chord, 0.0) + max(overlap, 0.0)
    return max(held, key=lambda chord: held[chord])


def harte(chord: Chord) -> str:
    """The chord in mir_eval's notation, without its bass."""
    return f"{Chord(chord.root, 'maj').symbol}:{_HARTE[chord.quality]}"


def score(piece: Piece, guessed: Sequence[ChordSpan]) -> Result:
    """One piece against what was written over it."""
    whole = [bar for bar in bars(piece.grid, piece.seconds) if bar[-1] <= piece.seconds + 1e-6]
    same = [
        sounding(guessed, bar[0], bar[-1]).root == sounding(piece.written, bar[0], bar[-1]).root
        for bar in whole
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about chords that a comparison leaves out
        close = mir_eval.chord.evaluate(*_labelled(piece.written), *_labelled(guessed))
    inside = sum(
        max(0.0, min(note.offset, span.end) - max(note.onset, span.start))
        for note in piece.notes
        for span in guessed
        if note.midi % 12 in chord_pitch_classes(span.chord)
    )
    return Result(
        bar_roots=float(np.mean(same)),
        root=close["root"],
        thirds=close["thirds"],
        majmin=close["majmin"],
        triads=close["triads"],
        in_chord=inside / sum(note.seconds for note in piece.notes),
        changes=sum(a.chord.root != b.chord.root for a, b in pairwise(guessed))
        / max(1, len(whole) - 1),
    )


def _labelled(spans: Sequence[ChordSpan]) -> tuple[np.ndarray, list[str]]:
    return np.array([(s.start, s.end) for s in spans]), [harte(s.chord) for s in spans]


def mean(results: Sequence[Result], weights: Sequence[float]) -> Result:
    values = np.array([list(vars(result).values()) for result in results])
    return Result(*(float(x) for x in np.average(values, axis=0, weights=weights)))


# --- ways to find chords -------------------------------------------------------------------

Way = Callable[[Piece, Models, np.random.Generator], Sequence[ChordSpan]]


def as_written(piece: Piece, models: Models, random: np.random.Generator) -> Sequence[ChordSpan]:
    return piece.written


def by_model(piece: Piece, models: Models, random: np.random.Generator) -> Sequence[ChordSpan]:
    return harmonise(piece.notes, piece.grid, piece.key, piece.seconds, models=models)


def one_per_bar(piece: Piece, models: Models, random: np.random.Generator) -> Sequence[ChordSpan]:
    return harmonise(piece.notes, piece.grid, piece.key, piece.seconds, per_bar=1, models=models)


def bent(happy: float, jazzy: float) -> Way:
    def way(piece: Piece, models: Models, random: np.random.Generator) -> Sequence[ChordSpan]:
        notes, grid = piece.notes, piece.grid
        return harmonise(notes, grid, piece.key, piece.seconds, happy, jazzy, models=models)

    return way


def shuffled(piece: Piece, models: Models, random: np.random.Generator) -> Sequence[ChordSpan]:
    """The model, given the same notes in another order."""
    order = random.permutation(len(piece.notes))
    moved = tuple(
        replace(n, midi=piece.notes[i].midi) for n, i in zip(piece.notes, order, strict=True)
    )
    return by_model(replace(piece, notes=moved), models, random)


def no_melody(piece: Piece, models: Models, random: np.random.Generator) -> Sequence[ChordSpan]:
    return by_model(replace(piece, notes=()), models, random)


def tonic(piece: Piece, models: Models, random: np.random.Generator) -> Sequence[ChordSpan]:
    return (ChordSpan(0, piece.seconds, triads(piece.key)[0]),)


def random_triads(piece: Piece, models: Models, random: np.random.Generator) -> Sequence[ChordSpan]:
    count = len(bars(piece.grid, piece.seconds))
    chosen = [(triads(piece.key)[random.integers(7)],) for _ in range(count)]
    return spans_of_bars(chosen, piece.grid, piece.seconds)


def best_triads(piece: Piece, models: Models, random: np.random.Generator) -> Sequence[ChordSpan]:
    """Per bar the triad of the key that holds most of what is sung, no model."""
    chosen = []
    for bar in bars(piece.grid, piece.seconds):
        held = [
            sum(
                max(0.0, min(n.offset, bar[-1]) - max(n.onset, bar[0]))
                for n in piece.notes
                if n.midi % 12 in chord_pitch_classes(chord)
            )
            for chord in triads(piece.key)
        ]
        chosen.append((triads(piece.key)[int(np.argmax(held))],))
    return spans_of_bars(chosen, piece.grid, piece.seconds)


def triads(key: Key) -> list[Chord]:
    """The triads of a key, minor with its leading note."""
    qualities = {
        "major": ("maj", "min", "min", "maj", "maj", "min", "dim"),
        "minor": ("min", "dim", "maj", "min", "maj", "maj", "dim"),
    }[key.mode]
    steps = (0, 2, 4, 5, 7, 9, 11) if key.mode == "major" else (0, 2, 3, 5, 7, 8, 11)
    return [
        Chord((key.tonic + step) % 12, quality)
        for step, quality in zip(steps, qualities, strict=True)
    ]


WAYS: dict[str, Way] = {
    "as written": as_written,
    "`harmonise`": by_model,
    "`harmonise(per_bar=1)`": one_per_bar,
    "`harmonise(jazzy=-1)`": bent(0, -1),
    "`harmonise(jazzy=1)`": bent(0, 1),
    "`harmonise(happy=-1)`": bent(-1, 0),
    "best triad of the key, bar by bar": best_triads,
    "floor: notes shuffled": shuffled,
    "floor: no melody": no_melody,
    "floor: always the tonic": tonic,
    "floor: random triads of the key": random_triads,
}


# --- data ------------------------------------------------------------------------------------


def nottingham(archive: Path) -> Iterator[LeadSheet]:
    """Tunes of the Nottingham set out of its MIDI files: track one sings, track two has chords."""
    import tarfile

    import symusic

    with tarfile.open(archive) as tar, tempfile.TemporaryDirectory() as folder:
        names = sorted(
            m.name for m in tar if m.name.endswith(".mid") and Path(m.name).parent.name == "MIDI"
        )
        for name in names[:: max(1, len(names) // NOTTINGHAM_TUNES)]:
            path = Path(folder) / "tune.mid"
            file = tar.extractfile(name)
            assert file is not None
            path.write_bytes(file.read())
            tune = symusic.Score(path)
            metres = {(t.numerator, t.denominator) for t in tune.time_signatures}
            if len(tune.tracks) == 2 and len(metres) == 1:
                yield _from_midi(name, tune, *metres.pop())


def _from_midi(name: str, tune, beats: int, beat_type: int) -> LeadSheet:
    compound = beat_type == 8 and beats % 3 == 0
    beat = tune.ticks_per_quarter * (1.5 if compound else 4 / beat_type)
    notes = [SheetNote(n.time / beat, n.end / beat, n.pitch) for n in tune.tracks[0].notes]
    notes = [replace(a, end=min(a.end, b.start)) for a, b in pairwise(notes)]
    notes = [n for n in notes if n.end > n.start]
    struck: dict[int, list] = {}
    for note in tune.tracks[1].notes:
        struck.setdefault(note.time, []).append(note)
    starts = [(t, chord) for t in sorted(struck) if (chord := _named(struck[t])) is not None]
    end = max(note.end for note in tune.tracks[0].notes)
    chords = [
        SheetChord(t / beat, until / beat, chord)
        for (t, chord), until in zip(starts, [t for t, _ in starts[1:]] + [end], strict=True)
    ]
    spans = [(Fraction(c.start), Fraction(c.end), c.chord) for c in chords]
    sung = [(Fraction(n.start), Fraction(n.end), n.midi) for n in notes]
    per_bar = beats // 3 if compound else beats
    key = sheet_key(None, sung, spans)
    return LeadSheet(
        name, tuple(notes), tuple(chords), key, f"{beats}/{beat_type}", per_bar, 1, None, end / beat
    )


def _named(struck: list) -> Chord | None:
    """The chord whose root is the lowest note struck."""
    root = min(note.pitch for note in struck) % 12
    steps = {(note.pitch - root) % 12 for note in struck}
    fitting = [name for name, known in QUALITIES.items() if set(known) == steps]
    return Chord(root, fitting[0]) if fitting else None


def trained(sheets: Sequence[LeadSheet]) -> Models:
    counts = counts_of(sheets)
    return chord_model(counts, "major"), chord_model(counts, "minor")


def folds(sheets: Sequence[LeadSheet]) -> Iterator[tuple[Models, list[Piece]]]:
    """Models of the other folds and the pieces of each fold."""
    order = np.random.default_rng(0).permutation(len(sheets))
    for k in range(FOLDS):
        held_out = set(order[k::FOLDS].tolist())
        models = trained([s for i, s in enumerate(sheets) if i not in held_out])
        yield models, [piece for i in sorted(held_out) for piece in pieces(sheets[i])]


def table(title: str, sets: list[tuple[Models, list[Piece]]]) -> None:
    count = sum(len(chosen) for _, chosen in sets)
    print(f"\n## {title}\n\n{count} pieces of up to {BARS} bars.\n")
    print("| | root of the bar | root | thirds | majmin | triads | tune in chord | changes | ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, way in WAYS.items():
        random = np.random.default_rng(0)
        begun = time.perf_counter()
        found = [(p, way(p, models, random)) for models, chosen in sets for p in chosen]
        took = (time.perf_counter() - begun) / count * 1000
        scored = [(score(piece, spans), piece.seconds) for piece, spans in found]
        result = mean([r for r, _ in scored], [seconds for _, seconds in scored])
        cells = " | ".join(f"{value:.3f}" for value in vars(result).values())
        print(f"| {name} | {cells} | {took:.1f} |", flush=True)


def main(folder: Path) -> None:
    archive = open_archive(folder / "OpenEWLD.tar.xz")
    sheets = [read_sheet(archive, work) for work in cleared_works(archive)]
    print(f"# {__doc__.strip()}")
    table("Held-out cleared tunes of OpenEWLD", list(folds(sheets)))
    models = trained(sheets)
    folk = list(nottingham(folder / "nottingham.tar.xz"))
    for mode in ("major", "minor"):
        chosen = [piece for s in folk if s.key.mode == mode for piece in pieces(s)]
        table(f"Folk tunes (Nottingham), {mode}", [(models, chosen)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
