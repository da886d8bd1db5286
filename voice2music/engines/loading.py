"""Engine by column name: what the request wants, built once and kept."""

import threading
from collections import OrderedDict

from voice2music.checkpoints import Checkpoint, default_checkpoint, locate
from voice2music.engines.base import Engine
from voice2music.request import Request

KEPT = 3  # engines in memory at once; a fourth drops the one not used for longest

_lock = threading.Lock()
_engines: OrderedDict[str, Engine] = OrderedDict()


def load_engine(column: str, request: Request) -> Engine:
    """The engine for a column of the page: "musicgen", "audioldm" or "band".

    A column plays whatever checkpoint it is given, so one model may stand in both columns.
    Raises:
        MissingCheckpoint, CorruptCheckpoint, MissingPackage: as their names say.
    """
    if column == "band":
        return _kept("band", None)
    checkpoint = locate(request.checkpoints.get(column) or default_checkpoint(column))
    return _kept(str(checkpoint.folder), checkpoint)


def release() -> None:
    """Forget all loaded engines, so that their memory is free."""
    with _lock:
        _engines.clear()


def _kept(name: str, checkpoint: Checkpoint | None) -> Engine:
    with _lock:
        if name not in _engines:
            _engines[name] = _built(checkpoint)
            while len(_engines) > KEPT:
                _engines.popitem(last=False)
        _engines.move_to_end(name)
        return _engines[name]


def _built(checkpoint: Checkpoint | None) -> Engine:
    if checkpoint is None:
        from voice2music.engines import band

        return band.load()
    if checkpoint.engine == "musicgen":
        from voice2music.engines import musicgen

        return musicgen.load(checkpoint)
    from voice2music.engines import audioldm

    return audioldm.load(checkpoint)
