"""Several processes of one run, as `accelerate launch` starts them; alone where nobody did."""

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


def part() -> None:
    """Wait for the others and end the talk with them: the last thing that a program does.

    A process that just ends while another one still talks to it may abort on its way out, and the
    launcher then reports a run that was done as failed.
    """
    known = processes()
    if known.num_processes > 1:
        known.wait_for_everyone()
        known.destroy_process_group()
