"""Work that is not spread over the processor's cores."""

from contextlib import AbstractContextManager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


def on_one_core() -> AbstractContextManager[object]:
    """Blocks whose torch work stays on the core of the thread that runs them; others' is as it was.

    OpenMP keeps helpers for each thread that ever spread its work. Once they are more than there
    are cores, they sleep between two pieces of work, and to wake them takes longer than the small
    pieces of a small network: its step took three times as long on two cores as on one.
    """
    torch.get_num_threads()  # a new thread takes torch's own number over when it first looks
    limit: AbstractContextManager[object] = _pools().limit(limits=1)
    return limit


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")
