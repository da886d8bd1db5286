"""What it costs to build a data set from songs, and how that grows with their number.

    python benchmarks/builder.py [--counts 10 100 1000] [--seconds 10] > benchmarks/builder.md

Songs are synthetic pairs of voice and accompaniment; one mixture of three minutes is taken apart as
well. Everything is made in a temporary folder; a build is run twice, the second time with nothing
left to do.
"""

import argparse
import os
import platform
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from voice2music import __version__
from voice2music.checkpoints import locate
from voice2music.clip import Clip, write
from voice2music.dataset.songs.build import build
from voice2music.dataset.songs.limits import read_limits
from voice2music.dataset.songs.sources import Patterns
from voice2music.dataset.songs.steps import Settings
from voice2music.notes import Note
from voice2music.separation import available
from voice2music.singer import Singer, sing

RATE = 22_050
PAIRS = Patterns("{song}_vox", "{song}_inst")
MIXTURE = 180.0  # s


@dataclass
class Times:
    """Seconds of one build: reading and looking for copies, then the rest; and again."""

    reading: float
    preparing: float
    again: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--counts", type=int, nargs="*", default=[10, 100, 1000])
    options.add_argument("--seconds", type=float, default=10.0)
    given = options.parse_args()
    print("# What the data-set builder costs\n")
    print(
        f"voice2music {__version__}, Python {platform.python_version()}, {os.cpu_count()} CPU "
        f"cores, one worker process. Written by `python benchmarks/builder.py`.\n"
    )
    print("| songs | of | refused | reading, s | preparing, s | s per song | again, s |")
    print("|---|---|---|---|---|---|---|")
    for count in given.counts:
        print(row(count, given.seconds), flush=True)
    print("\n| one song of 3 minutes | seconds | x real time |\n|---|---|---|")
    for name, seconds in whole_song().items():
        print(f"| {name} | {seconds:.1f} | {MIXTURE / seconds:.1f} |", flush=True)


def row(count: int, seconds: float) -> str:
    with tempfile.TemporaryDirectory() as place:
        songs = Path(place) / "songs"
        songs.mkdir()
        for number in range(count):
            pair(songs, number, seconds)
        times, chunks = timed(songs, Path(place) / "data", Settings(read_limits(), ""), PAIRS)
        refused = 1 - chunks / (2 * count)  # a chunk for either model
    each = (times.reading + times.preparing) / count
    return (
        f"| {count:,} | {seconds:g} s | {refused:.1%} | {times.reading:.1f} "
        f"| {times.preparing:.1f} | {each:.2f} | {times.again:.1f} |"
    )


def whole_song() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        songs = Path(place) / "songs"
        songs.mkdir()
        mixture = Clip(0.7 * voice(1, MIXTURE).samples + 0.5 * back(1, MIXTURE).samples, RATE)
        write(mixture, songs / "song.flac")
        limits = read_limits()  # Spleeter leaves some of a voice that it never heard the like of
        plain = Settings(replace(limits, back=replace(limits.back, voice=20.0)), available()[0])
        cached = replace(
            plain,
            musicgen=locate("mini-musicgen").folder,
            audioldm=locate("mini-audioldm").folder,
        )
        without, _ = timed(songs, Path(place) / "data", plain, None)
        started = time.perf_counter()
        assert build(songs, Path(place) / "data", cached, allow_unlicensed=True).chunks
        return {
            f"read, apart ({plain.separation}), judged, heard, cut": (
                without.reading + without.preparing
            ),
            "caches of both bundled models besides": time.perf_counter() - started,
        }


def timed(
    songs: Path, data: Path, settings: Settings, patterns: Patterns | None
) -> tuple[Times, int]:
    """A build and a second one; and how many chunks there are."""
    marks: dict[str, float] = {}
    started = time.perf_counter()

    finished = build(
        songs, data, settings, patterns=patterns, allow_unlicensed=True,
        progress=lambda done: marks.update({done.step: time.perf_counter()}),
    )  # fmt: skip
    ended = time.perf_counter()
    build(songs, data, settings, patterns=patterns, allow_unlicensed=True)
    reading = marks["reading"] - started
    return Times(reading, ended - started - reading, time.perf_counter() - ended), finished.chunks


def pair(folder: Path, number: int, seconds: float) -> None:
    write(voice(number, seconds), folder / f"{number:04d}_vox.wav")
    write(back(number, seconds), folder / f"{number:04d}_inst.wav")


def voice(seed: int, seconds: float) -> Clip:
    """A random walk of notes, half a second each, resting every fourth bar."""
    rng = np.random.default_rng(seed)
    steps = np.clip(60 + np.cumsum(rng.integers(-3, 4, round(seconds * 2))), 50, 72)
    notes = [
        Note(i / 2, i / 2 + 0.45, int(key)) for i, key in enumerate(steps) if i % 16 < 12
    ]  # fmt: skip
    return sing(notes, Singer(), rate=RATE, seed=seed, seconds=seconds)


def back(seed: int, seconds: float) -> Clip:
    """A chord a bar, drawn at random, with noise for a drum on every beat."""
    rng = np.random.default_rng([seed, 1])
    t = np.arange(round(seconds * RATE)) / RATE
    bars = (t / 2).astype(int)
    roots = rng.integers(41, 53, bars.max() + 1)[bars]
    out = 0.15 * rng.standard_normal(len(t)) * np.exp(-40 * (t % 0.5))
    for step in (0, 4, 7):
        tone = 2 * np.pi * np.cumsum(440 * 2 ** ((roots + step - 69) / 12)) / RATE
        out += 0.08 * (np.sin(tone) + 0.4 * np.sin(2 * tone))
    return Clip(out.astype(np.float32), RATE)


if __name__ == "__main__":
    main()
