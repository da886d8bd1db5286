"""Engine by column name: what the request wants, built once, kept, and let go when idle."""

import ctypes
import gc
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from functools import partial
from weakref import WeakValueDictionary

from voice2music.checkpoints import Checkpoint, default_checkpoint, locate
from voice2music.engines.base import Engine
from voice2music.errors import Cancelled
from voice2music.garbage import garbage_later
from voice2music.request import Request

log = logging.getLogger(__name__)

KEPT = 3  # engines in memory at once; a fourth drops the one not used for longest
LOOK = 0.1  # s between two looks at whether somebody who waits has had enough

Cancel = Callable[[], bool]


class Engines:
    """Engines by name: each is built once, whoever asks for it meanwhile, and kept a while.

    Args:
        kept: how many are held; of the others, those live that a job still works with, and they
            are found again, so that no weights are ever in memory twice.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._most = kept
        self._lock = threading.Lock()  # held to look and to note down, never while one is built
        self._held: OrderedDict[str, Engine] = OrderedDict()
        self._alive: WeakValueDictionary[str, Engine] = WeakValueDictionary()
        self._coming: dict[str, Future[Engine]] = {}
        self._asked = time.monotonic()

    def get(
        self, name: str, build: Callable[[], Engine], cancelled: Cancel = lambda: False
    ) -> Engine:
        """The engine of that name; `build` makes it, in a thread of its own, where it is not there.

        Who stops waiting leaves the building to itself: the next one finds it done.

        Raises:
            Cancelled: `cancelled` said so while it was built.
            Exception: what `build` raises; it is tried again the next time.
        """
        with self._lock:
            self._asked = time.monotonic()
            engine = self._alive.get(name)
            if engine is not None:
                self._hold(name, engine)
                return engine
            coming = self._coming.get(name) or self._begun(name, build)
        while not wait_for([coming], LOOK).done:
            if cancelled():
                raise Cancelled("Stopped while the model was loaded.")
        return coming.result()

    def there(self, name: str) -> bool:
        """Whether it is in memory, so that `get` gives it at once."""
        with self._lock:
            return name in self._alive

    def idle(self) -> float:
        """Seconds since an engine was last asked for; 0 while one is built."""
        with self._lock:
            return 0.0 if self._coming else time.monotonic() - self._asked

    def release(self) -> bool:
        """Hold none, and whether any was held. What is being built comes and stays.

        Returns when the memory is free, but for an engine that works: it ends its job first.
        """
        with self._lock:
            held = bool(self._held)
            self._held.clear()
        if held:
            gc.collect()  # networks hold on to themselves
            _give_back()
        return held

    def _begun(self, name: str, build: Callable[[], Engine]) -> "Future[Engine]":
        coming = self._coming[name] = Future()
        threading.Thread(
            target=self._finish, args=(name, build, coming), name=f"loading {name}", daemon=True
        ).start()
        return coming

    def _finish(self, name: str, build: Callable[[], Engine], coming: "Future[Engine]") -> None:
        try:
            engine = build()
        except BaseException as error:  # handed over whole and raised by all who wait
            with self._lock:
                del self._coming[name]
            coming.set_exception(error)
            return
        with self._lock:
            del self._coming[name]
            self._hold(name, engine)
        coming.set_result(engine)

    def _hold(self, name: str, engine: Engine) -> None:
        self._held[name] = self._alive[name] = engine
        self._held.move_to_end(name)
        self._asked = time.monotonic()
        while len(self._held) > self._most:
            self._held.popitem(last=False)


def _give_back() -> None:
    """Hand freed memory to the system; torch and glibc would keep some of it for the next ones."""
    if "torch" in sys.modules:
        from voice2music.engines.devices import give_back

        give_back()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


_engines = Engines()
_one_model = threading.Lock()  # the libraries set the process's default dtype and log level


def load_engine(column: str, request: Request, cancelled: Cancel = lambda: False) -> Engine:
    """The engine for a column of the page: "musicgen", "audioldm" or "band".

    A column plays whatever checkpoint it is given, so one model may stand in both columns.
    Raises:
        MissingCheckpoint, CorruptCheckpoint, MissingPackage: as their names say.
        Cancelled: while it was loaded.
    """
    checkpoint = _checkpoint(column, request)
    return _engines.get(_name(checkpoint), partial(_built, checkpoint), cancelled)


def is_loaded(column: str, request: Request) -> bool:
    """Whether `load_engine` gives its engine at once.

    Raises:
        MissingCheckpoint, CorruptCheckpoint: as their names say.
    """
    return _engines.there(_name(_checkpoint(column, request)))


def works_together(column: str, request: Request) -> bool:
    """What the column's engine says of itself in `Description.together`, without loading it.

    Raises:
        MissingCheckpoint, CorruptCheckpoint: as their names say.
    """
    checkpoint = _checkpoint(column, request)
    return checkpoint is not None and checkpoint.engine == "musicgen"


def release() -> None:
    """Forget all loaded engines, so that their memory is free."""
    _engines.release()


def release_when_idle(seconds: float) -> None:
    """`release`, and the separation's model too, whenever no engine was asked for so long.

    Begins a thread that lives as long as the program.
    """
    threading.Thread(target=_watch, args=(seconds,), name="idle", daemon=True).start()


def _watch(seconds: float) -> None:
    from voice2music import separation

    while True:
        left = seconds - _engines.idle()
        if left <= 0 and _engines.release():
            separation.release()
            log.info("the models left memory after %.0f s without work", seconds)
        time.sleep(left if left > 0 else min(seconds, 1.0))


def _checkpoint(column: str, request: Request) -> Checkpoint | None:
    """What the column plays; None for the band."""
    if column == "band":
        return None
    return locate(request.checkpoints.get(column) or default_checkpoint(column))


def _name(checkpoint: Checkpoint | None) -> str:
    return str(checkpoint.folder) if checkpoint else "band"


def _built(checkpoint: Checkpoint | None) -> Engine:
    with garbage_later():
        if checkpoint is None:
            from voice2music.engines import band

            return band.load()
        with _one_model:
            return _model(checkpoint)


def _model(checkpoint: Checkpoint) -> Engine:
    if checkpoint.engine == "musicgen":
        from voice2music.engines import musicgen

        return musicgen.load(checkpoint)
    from voice2music.engines import audioldm

    return audioldm.load(checkpoint)
