"""Several processes of one run, as `accelerate launch` starts them; alone where nobody did."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import PartialState

PATIENCE = timedelta(hours=4)  # the others wait while the first one judges or writes


def processes() -> PartialState:
    """This process among those of the run.

    On a machine without an accelerator several processes are possible too, which accelerate would
    not look for by itself.
    """
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)


@contextmanager
def first_alone() -> Iterator[bool]:
    """The first process does what is within, then the others; True in the first one.

    For what is made once and kept on disk: the others find it there.
    """
    known = processes()
    with known.main_process_first():
        yield known.is_main_process


def leave(code: int) -> None:
    """End this process with an exit code if there are others; alone, it goes on and ends by itself.

    Everything is written by then. Torch's threads, which several processes talk through, may reach
    for the interpreter while it is taken down, which aborts: the launcher then reports a run that
    was done as failed. So the interpreter is not taken down.
    """
    known = processes()
    if known.num_processes == 1:
        return
    known.wait_for_everyone()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
