"""What the page needs of the rest of the product, as one value that tests can replace."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from voice2music.analysis import Analysis
from voice2music.clip import Clip, Limits
from voice2music.hearing import Clean, Hearing, Result
from voice2music.pipeline import Event
from voice2music.recall import Recall
from voice2music.request import Guide, Request


class Takes(Protocol):
    """`pipeline.takes` without its `load`."""

    def __call__(
        self,
        request: Request,
        voice: Clip | None,
        out: Path,
        *,
        name: str = "take",
        cancelled: Callable[[], bool] = ...,
        hearing: Hearing = ...,
    ) -> Iterator[Event]:
        """Make every take that `request` asks for; events come as they happen."""
        ...


@dataclass(frozen=True)
class Model:
    """A checkpoint as the page lists it."""

    name: str
    engine: str
    here: bool
    licence: str
    commercial: bool


@dataclass(frozen=True)
class Backend:
    """The functions behind the page.

    Args:
        read: decode a file under limits.
        clean: separation and denoising as decided.
        analyse: hear a voice, with the guide beat where one was used.
        correct: snap a voice to its key and grid.
        takes: make music.
        loaded: whether a column's engine is in memory already.
        together: whether it makes several requests' music together.
        genres: name to English title, in the order to show.
        models: the checkpoints, with those that are not here.
        examples: name to file of the built-in hums.
    """

    read: Callable[[Path, Limits], Clip]
    clean: Clean
    analyse: Callable[[Clip, Guide | None], Analysis]
    correct: Callable[[Clip, Analysis], Clip]
    takes: Takes
    loaded: Callable[[str, Request], bool]
    together: Callable[[str, Request], bool]
    genres: Callable[[], dict[str, str]]
    models: Callable[[], list[Model]]
    examples: dict[str, Path]

    def hearing(self, memory: Recall[Result]) -> Hearing:
        """Cleaning and hearing for one visitor, with what is remembered of her voice."""
        return Hearing(memory, self.clean, self.analyse)


def installed() -> Backend:
    """The product itself; on a ZeroGPU Space its models work on the lent card."""
    from functools import partial

    from voice2music import pipeline, zerogpu
    from voice2music.analysis import analyse
    from voice2music.cleaning import clean
    from voice2music.clip import read
    from voice2music.engines.loading import is_loaded, works_together

    takes: Takes = pipeline.takes
    together = works_together
    if zerogpu.active():
        zerogpu.prepare()
        takes = partial(pipeline.takes, load=zerogpu.load_engine)
        together = zerogpu.works_together
    return Backend(
        read=read,
        clean=clean,
        analyse=analyse,
        correct=_correct,
        takes=takes,
        loaded=is_loaded,
        together=together,
        genres=_genres,
        models=_models,
        examples=_examples(),
    )


def _correct(clip: Clip, analysis: Analysis) -> Clip:
    from voice2music.correction import correct

    return correct(clip, analysis)[0]


def _genres() -> dict[str, str]:
    from voice2music.styles import styles

    return {name: style.title for name, style in styles().items()}


def _models() -> list[Model]:
    from voice2music.checkpoints import list_checkpoints

    return [
        Model(entry.name, entry.engine, entry.folder is not None, entry.licence, entry.commercial)
        for entry in list_checkpoints()
        if entry.engine in ("musicgen", "audioldm")
    ]


def _examples() -> dict[str, Path]:
    folder = Path(__file__).parents[2] / "examples"
    return {path.stem: path for path in sorted(folder.glob("*.flac"))}
