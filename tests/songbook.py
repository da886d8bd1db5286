"""Songs for the tests of the builder: a sung tune over chords and a beat, as files."""

import numpy as np

from voice2music.clip import Clip, write
from voice2music.notes import Note
from voice2music.singer import Singer, sing

RATE, BEAT = 22_050, 0.5
CHORDS = ((48, 52, 55), (45, 48, 52), (41, 45, 48), (43, 47, 50))  # C, Am, F, G


def voice(seconds: float, seed: int = 0, rests: bool = True) -> Clip:
    """A tune of its own for every seed, a note a beat, resting every fourth bar."""
    rng = np.random.default_rng(seed)
    notes, key = [], 60
    for beat in range(int(seconds / BEAT)):
        key = int(np.clip(key + rng.choice([-4, -2, -1, 1, 2, 3, 5]), 52, 70))
        if not (rests and beat % 16 >= 12):
            notes.append(Note(beat * BEAT, (beat + 0.9) * BEAT, key))
    return sing(notes, Singer(), rate=RATE, seed=seed, seconds=seconds)


def back(seconds: float, seed: int = 0) -> Clip:
    """Four chords in turn from a chord of its own, a bar each, with bass and drums at 120 BPM."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    shift = seed % 12
    bar = (t / (4 * BEAT)).astype(int)
    out = np.zeros(len(t))
    for place in range(3):
        keys = np.array([CHORDS[(b + seed) % 4][place] + shift for b in range(bar.max() + 1)])[bar]
        tone = 2 * np.pi * np.cumsum(440 * 2 ** ((keys - 69) / 12)) / RATE
        out += 0.08 * (np.sin(tone) + 0.4 * np.sin(2 * tone) + 0.2 * np.sin(3 * tone))
        if place == 0:
            out += 0.2 * np.sin(tone / 2) * np.exp(-4 * (t % (4 * BEAT)))
    out += 0.15 * rng.standard_normal(len(t)) * np.exp(-40 * (t % BEAT))
    return Clip(out.astype(np.float32), RATE)


def pair(folder, name, seconds=12.0, seed=0):
    """NAME_vox.wav and NAME_inst.wav."""
    folder.mkdir(parents=True, exist_ok=True)
    write(voice(seconds, seed), folder / f"{name}_vox.wav")
    write(back(seconds, seed), folder / f"{name}_inst.wav")


def mixture(folder, name, seconds=12.0, seed=0):
    """One file with both."""
    folder.mkdir(parents=True, exist_ok=True)
    both = 0.7 * voice(seconds, seed).samples + 0.5 * back(seconds, seed).samples
    return write(Clip(both, RATE), folder / name)
