"""One sentence where the machine's or the graphics card's memory does not suffice."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from voice2music.errors import OutOfMemory


@contextmanager
def memory_errors_named() -> Iterator[None]:
    """Turn torch's and Python's memory errors inside the block into `OutOfMemory`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _named() from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise _named() from error


def _named() -> OutOfMemory:
    return OutOfMemory(
        "There is not enough memory for this model and length. Choose a smaller model or a "
        "shorter length, or close other programs."
    )
