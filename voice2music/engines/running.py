"""Engines at work in threads: their parts and their progress, as they come."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from voice2music.engines.base import Conditioning, Engine, Part, Rendition, Settings


@dataclass(frozen=True, eq=False)
class EngineJob:
    """One call of an engine; `started` is when it was made, on the monotonic clock."""

    conditioning: Conditioning
    settings: Settings
    started: float = field(default_factory=time.monotonic)

    def remaining(self, share: float) -> float | None:
        """Seconds that are left if it goes on like this; None where it is too early to say."""
        elapsed = time.monotonic() - self.started
        return elapsed * (1 - share) / share if share > 0.02 else None


@dataclass(frozen=True)
class Share:
    """Progress: a share in [0, 1], a few words, the seconds that may be left."""

    share: float
    words: str
    remaining: float | None


Event = Part | Rendition | Share


def at_once(
    engine: Engine, jobs: Mapping[int, EngineJob], cancelled: Callable[[], bool]
) -> Iterator[tuple[int, Event]]:
    """All jobs at the same time, each in a thread; their events with the keys of their jobs.

    Leaving early stops the engine.

    Raises:
        Exception: whatever the first job that fails raises; the others are stopped.
    """
    events: queue.Queue[tuple[int, Event | BaseException | None]] = queue.Queue()
    stop = threading.Event()

    def work(key: int, job: EngineJob) -> None:
        def progress(share: float, words: str) -> None:
            events.put((key, Share(share, words, job.remaining(share))))

        def stopped() -> bool:
            return stop.is_set() or cancelled()

        try:
            for part in engine.generate(job.conditioning, job.settings, progress, stopped):
                events.put((key, part))
            events.put((key, None))
        except BaseException as error:  # handed over whole and raised by the reader below
            events.put((key, error))

    workers = [threading.Thread(target=work, args=item, daemon=True) for item in jobs.items()]
    for worker in workers:
        worker.start()
    try:
        yield from _until_all_end(events, len(workers))
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def _until_all_end(
    events: "queue.Queue[tuple[int, Event | BaseException | None]]", running: int
) -> Iterator[tuple[int, Event]]:
    while running:
        key, event = events.get()
        if event is None:
            running -= 1
        elif isinstance(event, BaseException):
            raise event
        else:
            yield key, event
