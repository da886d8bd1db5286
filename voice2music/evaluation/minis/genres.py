"""Are the words obeyed? Genre, lead instrument and tempo; and how far takes lie from renders."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.conditioning import conditioning, tune_of
from voice2music.engines.base import Settings
from voice2music.evaluation import report, rhythm
from voice2music.evaluation.frechet import frechet_distance
from voice2music.evaluation.intervals import Estimate
from voice2music.evaluation.minis.lines import Line, mean, share, single
from voice2music.evaluation.minis.listener import RATE, Listener
from voice2music.evaluation.minis.material import Job, Made, Studio
from voice2music.evaluation.minis.schooling import Lesson, through
from voice2music.request import Request
from voice2music.styles import styles

Matrix = NDArray[np.float64]

LEADS = {  # General MIDI name: how it is asked for
    "Flute": "flute", "Trumpet": "trumpet", "Distortion Guitar": "electric guitar",
    "Acoustic Grand Piano": "piano", "Violin": "violin", "Drawbar Organ": "organ",
    "Vibraphone": "vibraphone", "Square Lead": "square synth",
}  # fmt: skip
TEMPI = (75.0, 96.0, 118.0, 140.0)
LEAST = 6.0  # seconds; shorter takes are not compared with ten-second renders
FEW = 8  # of a genre; below it no distance is computed for a genre alone


def through_codec(renders: Sequence[Lesson], studio: Studio) -> list[Lesson]:
    """Renders as the model's codec gives them back."""
    return [through(one, studio.engine.reconstructed) for one in renders]


def listener_lines(
    listener: Listener, renders: Sequence[Lesson], rebuilt: Sequence[Lesson]
) -> list[Line]:
    """How well the listener hears held-out renders as a codec gave them back; ceiling: as made."""
    right, led = _told(listener, rebuilt)
    right_as_made, led_as_made = _told(listener, renders)
    names = [str(i) for i in range(len(rebuilt))]
    return [
        Line(
            "Listener: genre of held-out reconstructions",
            share(right, names),
            1 / len(listener.genres),
            mean([float(one) for one in right_as_made]),
            "≥ .90",
        ),
        Line(
            f"Listener: lead of {len(LEADS)}, of the same",
            share(led, names[: len(led)]),
            1 / len(LEADS),
            mean([float(one) for one in led_as_made]),
        ),
    ]


def _told(listener: Listener, sounds: Sequence[Lesson]) -> tuple[list[bool], list[bool]]:
    """Whether genres are told, and leads of those that have one of `LEADS`."""
    heard = listener.hear([Clip(one.samples, RATE) for one in sounds])
    right = [g == one.genre for g, one in zip(listener.told(heard), sounds, strict=True)]
    leads = listener.told_leads(heard, list(LEADS))
    pairs = zip(leads, sounds, strict=True)
    return right, [lead == one.lead for lead, one in pairs if one.lead in LEADS]


def genre_line(listener: Listener, made: Sequence[Made], studio: Studio) -> Line:
    """Share of takes whose genre is told from their sound."""
    heard = listener.hear([one.music for one in made])
    jobs = {one.job.name: one.job for one in made}
    band = [studio.ceiling(job) for job in jobs.values()]
    told = listener.told(listener.hear([one.music for one in band]))
    ceiling = mean([float(g == one.genre) for g, one in zip(told, band, strict=True)])
    obeyed = [g == one.genre for g, one in zip(listener.told(heard), made, strict=True)]
    return Line(
        "Genre is told",
        share(obeyed, [one.job.name for one in made]),
        1 / len(listener.genres),
        ceiling,
        "≥ .60",
    )


def swap_lines(listener: Listener, studio: Studio, made: Sequence[Made]) -> list[Line]:
    """The same voice and seed, with another genre's word only.

    Args:
        made: takes of seed 0 with the role "tune"; a second one of each is made.
    """
    names = list(styles())
    swapped = [
        studio.made(one.job, genre=names[(names.index(one.genre) + len(names) // 2) % len(names)])
        for one in made
    ]
    before = listener.told(listener.hear([one.music for one in made]))
    after = listener.told(listener.hear([one.music for one in swapped]))
    voices = [one.job.name for one in made]
    obeyed = [g == one.genre for g, one in zip(after, swapped, strict=True)]
    return [
        Line("Genre word swapped: told as the new one", share(obeyed, voices),
             1 / len(listener.genres)),
        Line("Genre word swapped: told as another than before",
             share([a != b for a, b in zip(before, after, strict=True)], voices), 0.0, 1.0),
    ]  # fmt: skip


def lead_line(listener: Listener, studio: Studio, jobs: Sequence[Job]) -> Line:
    """The lead instrument asked for in words, told among eight."""
    asked = [list(LEADS)[i % len(LEADS)] for i in range(len(jobs))]
    made = [
        studio.made(job, words=f"{LEADS[lead]} lead") for job, lead in zip(jobs, asked, strict=True)
    ]
    told = listener.told_leads(listener.hear([one.music for one in made]), list(LEADS))
    right = [a == b for a, b in zip(asked, told, strict=True)]
    return Line("Lead instrument is told", share(right, [j.name for j in jobs]), 1 / len(LEADS))


def tempo_line(studio: Studio, count: int) -> Line:
    """The tempo asked for in words, with no voice to take it from."""
    genres = list(styles())
    value, floor, ceiling = [], [], []
    for index in range(count):
        tempo = TEMPI[index % len(TEMPI)]
        request = Request(genre=genres[index % len(genres)], tempo=tempo, seconds=10.0)
        asked = conditioning(request, studio.column, tune_of(request, None), None, None)
        heard = rhythm.heard_beats(studio.raw(asked, index))[0]
        value.append(rhythm.same_tempo(heard, tempo))
        floor += [float(rhythm.same_tempo(heard, t)) for t in TEMPI if t != tempo]
        band = report.played(studio.bandstand.band, asked, Settings(index))
        ceiling.append(float(rhythm.same_tempo(rhythm.heard_beats(band)[0], tempo)))
    return Line("Tempo word without a voice", share(value, [str(i) for i in range(count)]),
                mean(floor), mean(ceiling))  # fmt: skip


def frechet_lines(
    listener: Listener,
    made: Sequence[Made],
    renders: Sequence[Lesson],
    rebuilt: Sequence[Lesson],
) -> list[Line]:
    """Distances to renders of the asked genres in the listener's penultimate layer.

    Args:
        renders: held-out ones of all genres; `rebuilt`: the first of them through the codec.
    """
    heard = listener.hear([one.music for one in made])
    kept = [i for i, one in enumerate(made) if one.music.seconds >= LEAST]
    takes = heard.embeddings[kept]
    asked = [made[i].genre for i in kept]
    real = listener.hear([Clip(one.samples, RATE) for one in renders]).embeddings
    genres = [one.genre for one in renders]
    matched = real[_matched(asked, genres)]
    if len(matched) < 2:  # few renders, and none of the asked genres among them
        return []
    some = np.random.default_rng(1).permutation(len(real))
    half = max(2, min(len(takes), len(real) // 2))
    between = _between(real, genres)
    n = len(takes)
    back = listener.hear([Clip(one.samples, RATE) for one in rebuilt]).embeddings
    lines = [
        Line("Fréchet: takes to renders of the asked genre",
             single(frechet_distance(takes, matched), n), frechet_distance(_noise(listener, n),
             matched), frechet_distance(back, real[: len(back)]),
             f"≤ {between / 2:.2f} (half of the median between genres)"),
        Line("Fréchet: renders to as many other renders",
             single(frechet_distance(real[some[:half]], real[some[half : 2 * half]]), half)),
    ]  # fmt: skip
    alone = _by_genre(takes, asked, real, genres)
    if alone.n:
        lines.append(Line("Fréchet: the same genre by genre, mean", alone))
    return lines


def _matched(asked: Sequence[str], genres: Sequence[str]) -> list[int]:
    """Places of renders, as many of each genre as were asked for, over again where few."""
    places = {genre: [i for i, g in enumerate(genres) if g == genre] for genre in set(asked)}
    return [
        i for genre in sorted(places) for i in np.resize(places[genre], list(asked).count(genre))
        if places[genre]
    ]  # fmt: skip


def _between(real: Matrix, genres: Sequence[str]) -> float:
    """The median distance between two genres."""
    groups = {genre: real[[g == genre for g in genres]] for genre in sorted(set(genres))}
    large = [group for group in groups.values() if len(group) >= FEW]
    distances = [frechet_distance(a, b) for a, b in combinations(large, 2)]
    return float(np.median(distances)) if distances else float("nan")


def _by_genre(takes: Matrix, asked: Sequence[str], real: Matrix, genres: Sequence[str]) -> Estimate:
    found = []
    for genre in sorted(set(asked)):
        one = takes[[g == genre for g in asked]]
        other = real[[g == genre for g in genres]]
        if min(len(one), len(other)) >= FEW:
            found.append(frechet_distance(one, other))
    return replace(single(mean(found)), n=len(found), groups=len(found))


def _noise(listener: Listener, count: int) -> Matrix:
    chance = np.random.default_rng(0)
    samples = 0.1 * chance.standard_normal((max(count, 2), 10 * RATE)).astype(np.float32)
    return listener.hear([Clip(one, RATE) for one in samples]).embeddings
