"""Takes by a model in training, made by the app's own engine, and how well they play the tune."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voice2music.clip import Clip, write
from voice2music.engines.base import Conditioning, Melody, Rendition, Settings
from voice2music.engines.musicgen.engine import MusicGen
from voice2music.evaluation.melody import melody_accuracy, prominent_pitch_classes
from voice2music.harmony import Key
from voice2music.training.plans import music_chords, music_grid

PLAIN = Key(0, "major", 0.0)  # the engine reads the key out of the words


def judged_takes(
    engine: MusicGen,
    rows: Sequence[dict[str, Any]],
    melodies: Sequence[Melody],
    seconds: float,
    folder: Path,
) -> dict[str, float]:
    """One take for each row, as words and as heard, written as sound.

    Args:
        rows: of pieces that play the tune; melodies: what was heard in their voices.
        seconds: of the takes at most.
    Returns:
        "melody": mean accuracy; "melody_floor": against every other tune; "loudness": mean dB.
    """
    own, other, level = [], [], []
    for index, (row, melody) in enumerate(zip(rows, melodies, strict=True)):
        music = take(engine, row, melody, min(seconds, row["seconds"]), seed=index)
        write(music, folder / f"{index}-{row['genre']}.wav")
        played = prominent_pitch_classes(music)
        own.append(melody_accuracy(played, melody).value)
        other += [melody_accuracy(played, m).value for m in melodies if m is not melody]
        level.append(20 * np.log10(np.sqrt(np.mean(music.samples**2)) + 1e-6))
    return {
        "melody": round(float(np.nanmean(own)), 4),
        "melody_floor": round(float(np.nanmean(other)), 4) if other else float("nan"),
        "loudness": round(float(np.mean(level)), 2),
    }


def take(engine: MusicGen, row: dict[str, Any], melody: Melody, seconds: float, seed: int) -> Clip:
    """Music for a row's first caption (worded as the app words a request) and a tune."""
    asked = Conditioning(
        genre=row["genre"],
        text=row["captions"][0],
        seconds=seconds,
        grid=music_grid(row),
        key=PLAIN,
        chords=music_chords(row),
        melody=melody,
        role=row["role"],
    )
    parts = engine.generate(asked, Settings(seed=seed), lambda share, words: None, lambda: False)
    *_, last = parts
    assert isinstance(last, Rendition)
    return last.audio
