"""Does the model follow the voice? Tune, chords, key and tempo, against floor and band."""

from collections.abc import Sequence

from voice2music.engines.base import Conditioning
from voice2music.evaluation import report
from voice2music.evaluation.intervals import Estimate, estimate, share_of_way
from voice2music.evaluation.melody import melody_accuracy, moved_to_key
from voice2music.evaluation.minis.lines import Line, mean
from voice2music.evaluation.minis.material import Made, Studio

OTHERS = 8  # voices that the floors are taken over
OF_THE_BAND = {"tempo": "tempo", "key": "key", "chords": "chord accuracy"}


def tune_lines(
    title: str, made: Sequence[Made], studio: Studio, pool: Sequence[Made], target: str
) -> list[Line]:
    """How well "play my tune" plays it: accuracy, and its share of the way to the band.

    Args:
        title: of the voices.
        made: takes with the role "tune".
        pool: takes whose voices are the others of the floor.
        target: for the score, in words.
    """
    accuracy = [one.accuracy for one in made]
    floor = [floor_of(one, pool) for one in made]
    ceiling = [studio.ceiling(one.job).accuracy for one in made]
    voices = [one.job.name for one in made]
    score = share_of_way(accuracy, floor, ceiling, voices)
    return [
        Line(
            f"Play my tune, {title}: melody accuracy",
            estimate(accuracy, voices),
            mean(floor),
            mean(ceiling),
        ),
        Line(f"Play my tune, {title}: score (a−f)/(c−f)", score, 0.0, 1.0, target),
        Line(f"The band's own render, {title}: melody accuracy", _by_the_band(made, studio)),
    ]


def back_lines(made: Sequence[Made], studio: Studio, pool: Sequence[Made]) -> list[Line]:
    """How well "back me up" fits the tune without playing it."""
    bandstand = studio.bandstand
    voices = [one.job.name for one in made]
    band = [bandstand.made(one.job, "back") for one in made]
    fit = [one.measures["chord fit"] for one in made]
    ceiling = [one.measures["chord fit"] for one in band]
    floor = [0.0] * len(made)
    doubled = share_of_way(
        [one.accuracy for one in made],
        [floor_of(one, pool) for one in made],
        [studio.ceiling(one.job).accuracy for one in made],
        voices,
    )
    return [
        Line("Back me up: chord fit", estimate(fit, voices), 0.0, mean(ceiling)),
        Line(
            "Back me up: chord fit, share of the band's",
            share_of_way(fit, floor, ceiling, voices),
            0.0,
            1.0,
            "≥ .50",
        ),
        Line(
            "Back me up: the tune is not doubled (score)",
            doubled,
            0.0,
            _band_doubles(band, studio, pool),
            "< .35",
        ),
    ]


def time_and_key_lines(made: Sequence[Made], studio: Studio, pool: Sequence[Made]) -> list[Line]:
    """Tempo, key and chords, as shares of what the band gets from the same estimators.

    The same of the band's renders through the model's codec says how much of a gap is the codec's.
    """
    voices = [one.job.name for one in made]
    band = [studio.bandstand.made(one.job) for one in made]
    coded = [studio.ceiling(one.job) for one in made]
    floors = [report.floors(one.heard, one.asked, others(one, pool)) for one in made]
    lines = []
    for title, name in OF_THE_BAND.items():
        values = [one.measures[name] for one in made]
        ceiling = [one.measures[name] for one in band]
        floor = mean([against.get(name, float("nan")) for against in floors])
        top = mean(ceiling)
        lines.append(Line(f"{title.capitalize()}", estimate(values, voices), floor, top))
        lines.append(
            Line(
                f"{title.capitalize()}, share of the band's",
                share_of_way(values, [0.0] * len(made), ceiling, voices),
                floor / top if top else float("nan"),
                1.0,
                "≥ .80",
            )
        )
        through = [one.measures[name] for one in coded]
        lines.append(
            Line(f"{title.capitalize()}, the band through the codec", estimate(through, voices))
        )
    return lines


def floor_of(one: Made, pool: Sequence[Made]) -> float:
    """Melody accuracy of a take against other voices, each moved to its own voice's tonic."""
    return mean(
        [
            melody_accuracy(
                one.pitch_classes,
                moved_to_key(other.melody, one.asked.key.tonic - other.key.tonic),
            ).value
            for other in others(one, pool)
            if other.melody is not None
        ]
    )


def others(one: Made, pool: Sequence[Made]) -> list[Conditioning]:
    """Requests of other voices: those that come after this one, around the end."""
    asked = {other.job.name: other.asked for other in pool}
    names = list(asked)
    start = names.index(one.job.name) + 1 if one.job.name in asked else 0
    turned = names[start:] + names[:start]
    return [asked[name] for name in turned if name != one.job.name][:OTHERS]


def _by_the_band(made: Sequence[Made], studio: Studio) -> Estimate:
    """Of the band as it is, each job once: what the codec loses is the way from here to c."""
    jobs = {one.job.name: one.job for one in made}
    accuracy = [studio.bandstand.made(job).accuracy for job in jobs.values()]
    return estimate(accuracy, list(jobs))


def _band_doubles(band: Sequence[Made], studio: Studio, pool: Sequence[Made]) -> float:
    """The same score of the band's own "back me up", which plays no tune."""
    return share_of_way(
        [one.accuracy for one in band],
        [floor_of(one, pool) for one in band],
        [studio.ceiling(one.job).accuracy for one in band],
        [one.job.name for one in band],
    ).mean
