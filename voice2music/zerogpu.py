"""The same engines on a ZeroGPU Space, where a graphics card is lent for one call at a time.

NOT RUN: written after the source of `spaces` 0.51; nobody has started it on such a Space yet.

There, a function marked with `spaces.GPU` runs in a process of its own that is forked for the
call. What goes in and comes out must be picklable, so callbacks cannot cross: progress, sound and
our errors come back as the values of a generator, and closing that generator stops the work.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec

from voice2music.engines.base import (
    Conditioning,
    Description,
    Engine,
    Part,
    Progress,
    Rendition,
    Settings,
)
from voice2music.engines.loading import load_engine as load_here
from voice2music.errors import Cancelled, VoiceToMusicError
from voice2music.request import Request

START = 30.0  # s to fork, move the weights and begin; a guess
PER_SECOND = 2.0  # s of work per second of music; a guess
LONGEST_LEASE = 120  # s that a visitor without an account can be lent a card for


@dataclass(frozen=True)
class Share:
    """Progress on its way between two processes."""

    share: float
    words: str


Event = Share | Part | Rendition | VoiceToMusicError
Task = Callable[[str, Request, Conditioning, Settings], Generator[Event, None, None]]


def active() -> bool:
    """Whether this is a ZeroGPU Space. Ask before torch is imported: `spaces` must come first."""
    if find_spec("spaces") is None:
        return False
    from spaces.config import Config

    return bool(Config.zero_gpu)


def prepare() -> None:
    """Mark what needs the card, which a Space wants done before the page starts."""
    _lent()


def load_engine(column: str, request: Request) -> Engine:
    """`engines.loading.load_engine`, with the neural engines on the lent card.

    The engine is built here, before the fork, so that its weights are read once.
    """
    engine = load_here(column, request)
    return engine if column == "band" else Lent(column, request, engine)


def works_together(column: str, request: Request) -> bool:
    """Each call has a card lent, so no two work together."""
    return False


class Lent:
    """An engine whose `generate` runs in the process that has the card.

    It holds the engine here, so that the fork finds it even where engines were released meanwhile.
    """

    def __init__(self, column: str, request: Request, engine: Engine) -> None:
        self._column = column
        self._request = request
        self._engine = engine

    def describe(self) -> Description:
        """See `Engine.describe` and `works_together`."""
        return replace(self._engine.describe(), together=False)

    def generate(
        self,
        conditioning: Conditioning,
        settings: Settings,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> Iterator[Part | Rendition]:
        """See `Engine.generate`."""
        events = _lent()(self._column, self._request, conditioning, settings)
        try:
            for event in events:
                if cancelled():
                    raise Cancelled("Stopped.")
                if isinstance(event, VoiceToMusicError):
                    raise event
                if isinstance(event, Share):
                    progress(event.share, event.words)
                else:
                    yield event
        finally:
            events.close()


@cache
def _lent() -> Task:
    """`on_card` as the Space's package wants it; called as it is where there is no ZeroGPU."""
    import spaces

    task: Task = spaces.GPU(duration=seconds)(on_card)
    return task


def seconds(column: str, request: Request, asked: Conditioning, settings: Settings) -> int:
    """How long the card is needed; the shorter, the sooner a visitor's turn comes."""
    return min(LONGEST_LEASE, round(START + PER_SECOND * asked.seconds))


def on_card(
    column: str, request: Request, asked: Conditioning, settings: Settings
) -> Generator[Event, None, None]:
    """What runs where the card is: the engine in a thread, its events in order of time."""
    engine = load_here(column, request)
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            for part in engine.generate(asked, settings, tell, stop.is_set):
                events.put(part)
        except VoiceToMusicError as error:
            events.put(error)
        finally:
            events.put(None)

    def tell(share: float, words: str) -> None:
        events.put(Share(share, words))

    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(work)
        try:
            while (event := events.get()) is not None:
                yield event
        finally:
            stop.set()
        working.result()  # a mistake of ours is raised here
