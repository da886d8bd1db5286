"""Voices and reference recordings for the tests of hearing."""

import csv
from pathlib import Path

import numpy as np
import pytest

from voice2music.clip import Clip
from voice2music.notes import Note
from voice2music.singer import Singer, sing

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
VOCALS = SHARED / "vocals"
MIXTURES = SHARED / "mixtures"
needs_vocals = pytest.mark.skipif(
    not VOCALS.is_dir(), reason="reference voices not on this machine"
)
needs_mixtures = pytest.mark.skipif(not MIXTURES.is_dir(), reason="reference songs not here")


def manifest():
    """Rows of the reference voices' manifest; none where they are absent."""
    if not VOCALS.is_dir():
        return []
    with (VOCALS / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


def columns(path: Path) -> np.ndarray:
    """The numbers of an annotation file, shape (rows, columns)."""
    lines = path.read_text().splitlines()
    return np.array([[float(x) for x in line.split(",")] for line in lines if line[:1].isdigit()])


def tune(*midi: float, seconds: float = 0.5, start: float = 0.3, gap: float = 0.03):
    """Equal notes in a row; fractions of a semitone go into `cents`."""
    notes = []
    for index, pitch in enumerate(midi):
        onset = start + index * seconds
        nearest = round(pitch)
        notes.append(Note(onset, onset + seconds - gap, nearest, 100 * (pitch - nearest)))
    return notes


def melody(seed: int, count: int = 20, low: int = 50, scale=(0, 2, 4, 5, 7, 9, 11)):
    """A random walk on a scale with repeated notes and rests."""
    rng = np.random.default_rng(seed)
    notes, time, degree = [], 0.4, int(rng.integers(0, 8))
    beat = 60 / rng.uniform(80, 140)
    for _ in range(count):
        length = rng.choice([0.5, 1, 1, 1.5, 2]) * beat
        if rng.random() > 0.25:
            degree = int(np.clip(degree + rng.choice([-3, -2, -1, -1, 1, 1, 2, 4]), -3, 11))
        pitch = low + 12 * (degree // 7) + scale[degree % 7]
        nearest = round(pitch)
        notes.append(Note(time, time + 0.93 * length, nearest, 100 * (pitch - nearest)))
        time += length
        if rng.random() < 0.15:
            time += beat
    return notes


def hum(notes, singer: Singer | None = None, seed: int = 0, rate: int = 32_000) -> Clip:
    return sing(notes, singer, rate=rate, seed=seed)


def hz(midi):
    return 440.0 * 2 ** ((np.asarray(midi, float) - 69) / 12)


def mixed(*parts: tuple[np.ndarray, float], rate: int = 32_000) -> Clip:
    """Signals mixed at levels in dB against the first one's, cut to its length."""
    first = parts[0][0]
    level = np.sqrt(np.mean(np.square(first)))
    out = np.zeros(len(first))
    for samples, decibel in parts:
        own = np.resize(samples, len(first))
        out += own / np.sqrt(np.mean(np.square(own))) * level * 10 ** (decibel / 20)
    return Clip((0.7 * out / np.abs(out).max()).astype(np.float32), rate)


def chords(seconds: float, rate: int = 32_000) -> np.ndarray:
    """C, F, G, Am in turn, two seconds each, as sums of decaying harmonics."""
    time = np.arange(int(2 * rate)) / rate
    bars = []
    for triad in ((48, 52, 55), (53, 57, 60), (55, 59, 62), (57, 60, 64)):
        tones = [
            (hz(midi) * h, 1 / h**1.3) for midi in (*triad, triad[0] - 12) for h in range(1, 7)
        ]
        bars.append(sum(a * np.sin(2 * np.pi * f * time + f) for f, a in tones))
    return np.resize(np.concatenate(bars), int(seconds * rate))


def drums(seconds: float, rate: int = 32_000, seed: int = 0) -> np.ndarray:
    """A kick and a snare in turn and hats, at 120 beats per minute."""
    rng = np.random.default_rng(seed)
    out = np.zeros(int(seconds * rate) + rate)
    time = np.arange(rate // 4) / rate
    for step in range(int(seconds * 4)):
        if step % 4 == 0:
            sweep = 50 * time + 80 / 30 * (1 - np.exp(-30 * time))
            hit = 2 * np.sin(2 * np.pi * sweep) * np.exp(-12 * time)
        else:
            decay, level = (25, 1.0) if step % 4 == 2 else (60, 0.5)
            hit = level * rng.standard_normal(len(time)) * np.exp(-decay * time)
        at = int(step * rate / 4)
        out[at : at + len(time)] += hit
    return out[: int(seconds * rate)]


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)
