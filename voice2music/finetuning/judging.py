"""Takes for held-out voices by a model in training, made by the app's engine, and their scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voice2music.arrangement import played_grid
from voice2music.chords import Key
from voice2music.clip import Clip, write
from voice2music.engines.base import Conditioning, Engine, Melody, Rendition, Settings
from voice2music.engines.plan import Plan
from voice2music.evaluation.harmony import chord_fit, heard_chords, tonal_chroma
from voice2music.evaluation.melody import melody_accuracy, prominent_pitch_classes
from voice2music.evaluation.sound import sound_of
from voice2music.finetuning.examples import Example, Examples
from voice2music.finetuning.recipe import AudioldmRecipe, MusicgenRecipe, Prompts
from voice2music.pitch import HOP
from voice2music.rhythm import steady
from voice2music.styles import styles

USUAL = "pop"  # the style of what is asked, where none leaves the beats as they are
TEMPO = 100.0  # beats a minute where none is known
PLAIN = Key(0, "major", 0.0)
LONGEST = 10.0  # s of a take


def judged(
    engine: Engine,
    examples: Examples,
    recipe: MusicgenRecipe | AudioldmRecipe,
    folder: Path,
) -> dict[str, float]:
    """One take for each of a few fixed voices, written as sound, and what they score.

    Returns:
        "melody": mean accuracy against its own voice; "melody of others": against other voices;
        "chord fit": see `evaluation.harmony.chord_fit`; "sound": share with nothing plainly wrong.
    """
    chosen = fixed(examples, recipe.judged)
    takes = []
    for number, place in enumerate(chosen):
        example = examples.all[place]
        asked = asked_of(example, wording(example, recipe.words), examples.voice(place))
        takes.append(take(engine, asked, number))
        write(takes[-1], folder / f"{number}-{example.role}.wav")
    return scores(takes, [examples.all[place].melody for place in chosen])


def fixed(examples: Examples, count: int) -> list[int]:
    """The same few of a split every time, spread over it."""
    places = np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
    return [int(place) for place in places]


def wording(example: Example, prompts: Prompts) -> str:
    """The words by which a model that was given `prompts` is judged."""
    return example.families["refined" if prompts == "all" else prompts]


def take(engine: Engine, asked: Conditioning, seed: int) -> Clip:
    """Music for what is asked, raw."""
    *_, last = engine.generate(
        asked, Settings(seed, start_from="noise"), lambda share, words: None, lambda: False
    )
    assert isinstance(last, Rendition)
    return last.audio


def asked_of(example: Example, text: str, voice: Clip | None = None) -> Conditioning:
    """What the app would give an engine for an example."""
    seconds = min(example.seconds, LONGEST)
    plan = example.plan or Plan(steady(TEMPO, seconds, known=False), (), seconds)
    frames = round(seconds / HOP)
    return Conditioning(
        genre=_style_of(plan),
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
        voice=voice and voice.cut(0, seconds),
    )


def _style_of(plan: Plan) -> str:
    """A style that plays by the plan's own beats: its genre need not be one of ours."""
    fitting = (
        name for name, style in styles().items() if played_grid(plan.grid, style) == plan.grid
    )
    return next(fitting, USUAL)


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
