"""Takes for held-out voices by a model in training, made by the app's engine, and their scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voice2music.chords import Key
from voice2music.clip import Clip, write
from voice2music.engines.base import Conditioning, Engine, Melody, Rendition, Settings
from voice2music.engines.plan import Plan
from voice2music.evaluation.harmony import chord_fit, heard_chords, tonal_chroma
from voice2music.evaluation.melody import melody_accuracy, prominent_pitch_classes
from voice2music.evaluation.sound import sound_of
from voice2music.finetuning.examples import Example, Examples
from voice2music.finetuning.recipe import MusicgenRecipe, Prompts
from voice2music.pitch import HOP
from voice2music.rhythm import steady

STYLE = "pop"  # whose pace the plan is read at: the example's genre need not be one of ours
TEMPO = 100.0  # beats a minute where none is known
PLAIN = Key(0, "major", 0.0)
LONGEST = 10.0  # s of a take


def judged(
    engine: Engine, examples: Examples, recipe: MusicgenRecipe, folder: Path
) -> dict[str, float]:
    """One take for each of a few fixed voices, written as sound, and what they score.

    Returns:
        "melody": mean accuracy against its own voice; "melody of others": against other voices;
        "chord fit": see `evaluation.harmony.chord_fit`; "sound": share with nothing plainly wrong.
    """
    chosen = fixed(examples, recipe.judged)
    takes = [take(engine, example, recipe.words, seed) for seed, example in enumerate(chosen)]
    for number, (example, music) in enumerate(zip(chosen, takes, strict=True)):
        write(music, folder / f"{number}-{example.role}.wav")
    return scores(takes, [example.melody for example in chosen])


def fixed(examples: Examples, count: int) -> list[Example]:
    """The same few of a split every time, spread over it."""
    places = np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
    return [examples.all[place] for place in places]


def take(engine: Engine, example: Example, prompts: Prompts, seed: int) -> Clip:
    """Music for an example's voice and words, raw."""
    asked = asked_of(example, example.families["refined" if prompts == "all" else prompts])
    *_, last = engine.generate(
        asked, Settings(seed, start_from="noise"), lambda share, words: None, lambda: False
    )
    assert isinstance(last, Rendition)
    return last.audio


def asked_of(example: Example, text: str) -> Conditioning:
    """What the app would give an engine for an example."""
    seconds = min(example.seconds, LONGEST)
    plan = example.plan or Plan(steady(TEMPO, seconds, known=False), (), seconds)
    frames = round(seconds / HOP)
    return Conditioning(
        genre=STYLE,
        text=text,
        seconds=seconds,
        grid=plan.grid,
        key=PLAIN,
        chords=plan.chords,
        melody=Melody(
            example.melody.midi[:frames],
            tuple(note for note in example.melody.notes if note.onset < seconds),
        ),
        role="back" if example.role == "back" else "tune",
    )


def scores(takes: Sequence[Clip], melodies: Sequence[Melody]) -> dict[str, float]:
    """Means over takes; see `judged`."""
    own, others, fits = [], [], []
    for music, melody in zip(takes, melodies, strict=True):
        played = prominent_pitch_classes(music)
        own.append(melody_accuracy(played, melody).value)
        others += [melody_accuracy(played, m).value for m in melodies if m is not melody]
        fits.append(chord_fit(heard_chords(tonal_chroma(music), music.seconds), melody))
    sound = [float(sound_of(music).sound) for music in takes]
    found = {"melody": own, "melody of others": others, "chord fit": fits, "sound": sound}
    return {name: _mean(values) for name, values in found.items()}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return round(float(np.mean(known)), 4) if known else float("nan")
