"""How good and how quick are the training pairs? Writes benchmarks/factory.md.

    python benchmarks/factory.py [--hours 0.5] [--archive OpenEWLD.tar.xz] [--out factory.md]

Needs a SoundFont that is free for training (Debian: fluid-soundfont-gm). Makes the pairs in a
temporary folder with one process and measures what is in them.
"""

import argparse
import math
import os
import platform
import sys
import tempfile
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # CPU seconds are counted of one thread

import mir_eval
import numpy as np

from voice2music.clip import Clip
from voice2music.dataset.factory import make
from voice2music.dataset.pairs import Recipe, installed
from voice2music.dataset.phrase_counts import phrase_counts
from voice2music.dataset.shards import Pairs
from voice2music.dataset.tunes import cleared_tunes, own_tune
from voice2music.engines.base import Melody
from voice2music.evaluation.intervals import estimate
from voice2music.evaluation.melody import melody_accuracy, prominent_pitch_classes
from voice2music.styles import styles

ARCHIVE = Path(__file__).parents[2] / "shared/data/symbolic/OpenEWLD.tar.xz"
ONSET = 0.15  # s within which a heard note counts as the one meant; hummers are up to 0.06 s late


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("factory.md"))
    options = parser.parse_args()
    tunes = cleared_tunes(options.archive) if options.archive.is_file() else ()
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        make(
            Path(folder), Recipe(2026, installed()), tunes, options.hours,
            progress=lambda made, total: spent.append((made.seconds, made.cpu)),
        )  # fmt: skip
        pairs = Pairs(Path(folder))
        text = "\n".join(
            [
                *head(options.hours, len(pairs), spent, bool(tunes)),
                *hearing(pairs),
                *ceilings(pairs),
                *contents(pairs),
                *statistics(),
            ]
        )
    options.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def head(hours, count, spent, written):
    seconds, cpu = (sum(column) for column in zip(*spent, strict=True))
    return [
        "# The pair factory",
        "",
        f"`python benchmarks/factory.py --hours {hours:g}`, {count} pieces, "
        f"{'written and generated' if written else 'generated'} tunes, on {platform.machine()}, "
        f"Python {platform.python_version()}, one core of {os.cpu_count()}.",
        "",
        f"**Speed**: {seconds / 3600:.2f} h of music in {cpu:.0f} CPU seconds: "
        f"{seconds / cpu:.0f} × real time per core, singing, hearing, playing and writing together "
        f"(two pieces per hummed voice). Shards: "
        + ", ".join(f"{a / b:.0f} ×" for a, b in spent)
        + ".",
        "",
    ]


def hearing(pairs):
    """What the app's hearing code makes of the voices."""
    scores, tempo, key, agreed = [], [], [], []
    for index, row in one_per_voice(pairs):
        told, found = np.array(row["notes"]), np.array(row["heard"]["notes"])
        pitches = [440 * 2 ** ((notes[:, 2] - 69) / 12) for notes in (told, found)]
        scores.append(
            mir_eval.transcription.precision_recall_f1_overlap(
                told[:, :2], pitches[0], found[:, :2], pitches[1],
                onset_tolerance=ONSET, offset_ratio=None,
            )[2]
        )  # fmt: skip
        meant = 60 / float(np.mean(np.diff(row["beats"])))
        tempo.append(abs(math.log2(row["heard"]["tempo"] / meant)) < 0.06)
        key.append(row["heard"]["key"] == row["tune"]["key"])
        agreed.append(float(np.mean(round_heard(pairs, index) == meant_line(pairs, index))))
    rows = [
        ("notes heard as meant (F-measure)", scores),
        ("10 ms frames heard at the semitone meant", agreed),
        ("tempo within 4 %", tempo),
        ("key of the tune (modes count as the major or minor that shares their third)", key),
    ]
    lines = [f"| {name} | {interval(values)} | {len(values)} |" for name, values in rows]
    return [
        "## What is heard in the voices",
        "",
        "The hearing code's errors are part of the pairs; exact labels stand beside them.",
        "",
        "| | mean (95 %) | voices |",
        "|---|---|---|",
        *lines,
        "",
    ]


def ceilings(pairs):
    """Melody accuracy of the true renders: what a perfect model would reach."""
    tune, back, by_genre = [], [], defaultdict(list)
    for index, row in enumerate(pairs.rows):
        played = prominent_pitch_classes(Clip(pairs.music(index), row["music"]["rate"]))
        value = melody_accuracy(played, Melody(pairs.heard(index), ())).value
        (tune if row["role"] == "tune" else back).append(value)
        if row["role"] == "tune":
            by_genre[row["genre"]].append(value)
    genres = ", ".join(
        f"{name} {np.mean(by_genre[name]):.2f}" for name in styles() if by_genre[name]
    )
    return [
        "## Melody accuracy of the renders",
        "",
        "By the measure of `voice2music.evaluation.melody`, against the voice *as heard*.",
        "",
        "| role | mean (95 %) | 10th, 50th, 90th percentile | pieces | wanted |",
        "|---|---|---|---|---|",
        f"| play my tune | {interval(tune)} | {percentiles(tune)} | {len(tune)} | at least .80 |",
        f"| back me up | {interval(back)} | {percentiles(back)} | {len(back)} | under .35 |",
        "",
        f"By genre, play my tune: {genres}.",
        "",
    ]


def contents(pairs):
    """How varied the pairs are, and how they are parted."""
    splits = Counter(row["split"] for row in pairs.rows)
    tunes = defaultdict(set)
    for row in pairs.rows:
        tunes[row["tune"]["id"]].add(row["split"])
    leaked = sum(len(found) > 1 for found in tunes.values())
    said = [text for row in pairs.rows for text in row["captions"]]
    leads = {row["lead"] for row in pairs.rows if row["lead"]}
    tempos = [row["tempo"] for row in pairs.rows]
    return [
        "## What is in it",
        "",
        f"- {len(pairs)} pieces, {len(tunes)} tunes "
        f"({sum(name.startswith('openewld') for name in tunes)} written); splits "
        + ", ".join(f"{name} {splits[name]}" for name in ("train", "valid", "test"))
        + f"; tunes in two splits: {leaked}.",
        f"- {len({row['genre'] for row in pairs.rows})} genres, {len(leads)} lead instruments, "
        f"{len({row['mood'] for row in pairs.rows} - {''})} moods, "
        f"{len({row['tune']['scale'] for row in pairs.rows})} scales, "
        f"{len({row['key'] for row in pairs.rows})} of 24 keys; tempo "
        f"{min(tempos):.0f} to {max(tempos):.0f} BPM, median {np.median(tempos):.0f}.",
        f"- {len(said)} captions, {len(set(said))} of them different.",
        "",
    ]


def statistics():
    """Generated tunes beside the cleared ones."""
    counts = phrase_counts()
    steps, lengths = Counter(), Counter()
    for seed in range(2_000):
        notes = own_tune(seed).sheet.notes
        steps.update(b.midi - a.midi for a, b in pairwise(notes))
        lengths.update(round((n.end - n.start) * 12) for n in notes)
    return [
        "## Generated tunes beside the cleared ones",
        "",
        "Total variation distance (0 alike, 1 nothing in common) over 2,000 generated tunes.",
        "",
        f"- intervals, semitones: {distance(steps, counts.intervals):.3f}",
        f"- lengths, twelfths of a quarter: {distance(lengths, counts.lengths):.3f}",
    ]


def one_per_voice(pairs):
    """Index and row of the first piece of every voice."""
    seen = set()
    for index, row in enumerate(pairs.rows):
        if row["voice"]["sha256"] not in seen:
            seen.add(row["voice"]["sha256"])
            yield index, row


def round_heard(pairs, index):
    midi = pairs.heard(index)
    return np.round(midi[~np.isnan(midi)]).astype(int) % 12


def meant_line(pairs, index):
    """The pitch class meant at every frame that was heard as sung; -1 where a rest was meant."""
    midi = pairs.heard(index)
    times, meant = np.arange(len(midi)) * 0.01, np.full(len(midi), -1)
    for onset, offset, note in pairs.rows[index]["notes"]:
        meant[(times >= onset) & (times < offset)] = int(note) % 12
    return meant[~np.isnan(midi)]


def distance(a, b):
    size_a, size_b = sum(a.values()), sum(b.values())
    return sum(abs(a.get(k, 0) / size_a - b.get(k, 0) / size_b) for k in {*a, *b}) / 2


def percentiles(values):
    return ", ".join(f"{value:.2f}" for value in np.percentile(values, (10, 50, 90)))


def interval(values):
    found = estimate([float(value) for value in values], [str(i) for i in range(len(values))])
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
