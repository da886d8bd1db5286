"""The last results of slow work, by what they were made from."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recall(Generic[T]):
    """Results by key, the one not used for longest goes first. Several threads may use it.

    Args:
        most: results.
        most_bytes: of all results together; a larger one is not kept.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """The result of that key; `make` works it out where it is not remembered.

        Two threads that want the same at the same time may both work it out.

        Args:
            key: tells inputs apart, see `key_of`.
            size: of a result, bytes.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        result = make()
        with self._lock:
            self._keep(key, result, size(result))
        return result

    def forget(self) -> None:
        """Remember nothing any more."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def _keep(self, key: str, result: T, size: int) -> None:
        if size > self._most_bytes:
            return
        self._bytes += size - self._kept.pop(key, (result, 0))[1]
        self._kept[key] = result, size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed


def key_of(*inputs: object) -> str:
    """A hash of inputs by their `repr`, and of arrays by their bytes, from which nothing of them
    can be read again."""
    digest = hashlib.sha256()
    for one in inputs:
        if isinstance(one, bytes | memoryview):
            digest.update(one)
        else:
            digest.update(repr(one).encode())
        digest.update(b"\0")
    return digest.hexdigest()
