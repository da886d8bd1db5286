"""Python's garbage collector, put off while much is made that stays."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_blocks = 0


@contextmanager
def garbage_later() -> Iterator[None]:
    """Collect no cycles inside the block, in any thread; blocks may overlap.

    Importing gradio or transformers makes some hundred thousand objects that all stay, and the
    collector walks over them again and again: a fifth of gradio's import, a third of a model's
    first load (`benchmarks/speed_startup.py`). Where the caller had switched it off, it stays off.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _blocks
    with _lock:
        if _blocks or gc.isenabled():
            gc.disable()
            _blocks += 1


def _leave() -> None:
    global _blocks
    with _lock:
        if _blocks:
            _blocks -= 1
            if not _blocks:
                gc.enable()
