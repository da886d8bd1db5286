"""Cleaning and hearing a voice, done once for all that is made from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from voice2music.analysis import Analysis, analyse
from voice2music.cleaning import Cleaned, clean
from voice2music.clip import Clip
from voice2music.recall import Recall, key_of
from voice2music.request import Decision, Guide

MOST = 8  # results of one visitor
MOST_BYTES = 64 << 20  # of them together; nearly six minutes of mono at 48 kHz

Result = Cleaned | Analysis


class Clean(Protocol):
    """`cleaning.clean` without its progress."""

    def __call__(
        self,
        clip: Clip,
        separate: Decision = ...,
        denoise: bool = ...,
        *,
        cancelled: Callable[[], bool] = ...,
    ) -> Cleaned:
        """Clean a recording as asked."""
        ...


def memory() -> Recall[Result]:
    """For what was heard of one visitor; it is to go with her, and with her voice."""
    return Recall(MOST, MOST_BYTES)


@dataclass(frozen=True, eq=False)
class Hearing:
    """`clean` and `analyse`, which remember what they gave for the same samples and settings.

    Args:
        memory: of the visitor whose voice it is; without one nothing is remembered.
        clean, analyse: the functions themselves.
    """

    memory: Recall[Result] | None = None
    clean: Clean = clean
    analyse: Callable[[Clip, Guide | None], Analysis] = analyse

    def cleaned(
        self,
        clip: Clip,
        separate: Decision,
        denoise: bool,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Cleaned:
        """See `cleaning.clean`."""

        def work() -> Cleaned:
            return self.clean(clip, separate, denoise, cancelled=cancelled)

        if self.memory is None:
            return work()
        key = _key("cleaned", clip, separate, denoise)
        return cast("Cleaned", self.memory.get(key, work, _size))

    def analysed(self, clip: Clip, guide: Guide | None) -> Analysis:
        """See `analysis.analyse`."""
        if self.memory is None:
            return self.analyse(clip, guide)
        key = _key("analysed", clip, guide)
        return cast("Analysis", self.memory.get(key, lambda: self.analyse(clip, guide), _size))


def _key(what: str, clip: Clip, *settings: object) -> str:
    samples = np.ascontiguousarray(clip.samples)
    return key_of(what, samples.shape, clip.rate, settings, samples.data)


def _size(heard: Result) -> int:
    if isinstance(heard, Cleaned):
        return int(heard.clip.samples.nbytes)
    return int(heard.pitch.f0.nbytes + heard.pitch.confidence.nbytes)
