"""Engines of a few lines that keep the contract, for tests of what stands around engines."""

import numpy as np

from voice2music.clip import Clip
from voice2music.engines.base import Description, Part, Rendition
from voice2music.errors import Cancelled, OutOfMemory

RATE = 16_000


class ToneEngine:
    """Plays the melody as sines; the seed shifts their phase."""

    def __init__(self, name="musicgen", steps=4, follows_voice=True):
        self.name, self.steps, self.follows_voice = name, steps, follows_voice
        self.asked = []

    def describe(self):
        return Description(
            self.name, self.name, "fake", "00", "MIT", True, RATE, 1, 120, self.follows_voice
        )

    def generate(self, conditioning, settings, progress, cancelled):
        self.asked.append((conditioning, settings))
        for step in range(self.steps):
            if cancelled():
                raise Cancelled("Stopped.")
            progress(step / self.steps, "playing")
        audio = tune(conditioning, settings.seed)
        yield Part(audio.cut(0, audio.seconds / 2))
        progress(1.0, "done")
        yield Rendition(audio)


class FailingEngine(ToneEngine):
    """Runs out of memory half way."""

    def generate(self, conditioning, settings, progress, cancelled):
        progress(0.5, "playing")
        raise OutOfMemory("The card has 1 GB, 8 GB are needed. Choose a smaller model.")
        yield


class BrokenEngine(ToneEngine):
    """Has a mistake of ours in it."""

    def generate(self, conditioning, settings, progress, cancelled):
        raise ZeroDivisionError("a mistake")
        yield


def tune(conditioning, seed):
    """The conditioning's melody (or its key's tonic) as sines with decaying notes."""
    length = round(conditioning.seconds * RATE)
    x = np.zeros(length)
    t = np.arange(length) / RATE
    notes = conditioning.melody.notes if conditioning.melody else ()
    for note in notes:
        on = (t >= note.onset) & (t < note.offset)
        hz = 440 * 2 ** ((note.midi - 69) / 12)
        x[on] += np.sin(2 * np.pi * hz * t[on] + seed) * np.exp(-3 * (t[on] - note.onset))
    if not notes:
        x = np.sin(2 * np.pi * 220 * t + seed)
    return Clip((0.3 * x).astype(np.float32), RATE)
