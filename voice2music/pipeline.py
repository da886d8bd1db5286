"""Request in, takes out: the one function behind every door."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from voice2music.analysis import Analysis
from voice2music.clip import Clip
from voice2music.engines.base import Engine
from voice2music.errors import VoiceToMusicError
from voice2music.request import Request
from voice2music.take import Take


@dataclass(frozen=True, eq=False)
class Heard:
    """The voice was heard. `cleaned` says in words what was done to it, "" when nothing was."""

    analysis: Analysis
    voice: Clip
    cleaned: str = ""


@dataclass(frozen=True)
class Working:
    """An engine's progress: `share` in [0, 1]; `remaining` seconds, None while unknown."""

    engine: str
    variation: int
    share: float
    words: str
    remaining: float | None = None


@dataclass(frozen=True, eq=False)
class Sound:
    """The next stretch of an engine's music, before finishing."""

    engine: str
    variation: int
    audio: Clip


@dataclass(frozen=True)
class Failed:
    """An engine could not do it; the others go on."""

    engine: str
    error: VoiceToMusicError


Event = Heard | Working | Sound | Failed | Take
Load = Callable[[str, Request], Engine]


def takes(
    request: Request,
    voice: Clip | None,
    out: Path,
    *,
    load: Load | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Make every take that `request` asks for; events come as they happen.

    Args:
        request: what was asked.
        voice: the recording, or None to make music from words alone.
        out: folder for the takes' files; made when absent.
        load: engine name and request to engine; the installed engines by default.
        cancelled: asked at every step of every engine.
    Raises:
        NoMelody: the voice holds no tune (a finding of severity "stop"); its text says why.
        Cancelled: by the user. What was finished before stays on disk.
    """
    raise NotImplementedError
