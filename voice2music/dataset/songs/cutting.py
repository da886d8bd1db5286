"""Where a song is cut: chunks of at most so many seconds, on bar lines, where there is voice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voice2music.pitch import HOP

LEAST_FILLED = 0.5  # of the longest length; a bar line before that is no place to end


@dataclass(frozen=True)
class Cut:
    """One chunk: from `start` to `end` seconds; `voiced` is the share in which is sung."""

    start: float
    end: float
    voiced: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


def cuts(
    voiced: NDArray[np.bool_],
    seconds: float,
    longest: float,
    shortest: float,
    least_voiced: float,
    bar_lines: Sequence[float] = (),
) -> tuple[Cut, ...]:
    """Chunks of a song one after the other.

    Each begins at the last bar line before somebody sings and ends at the last one that its length
    allows; without bar lines, at the voice itself and at full length. A song that fits into one
    chunk is one, with its own length. Chunks with too little voice are left out.

    Args:
        voiced: which frames of 10 ms are sung.
        seconds: length of the song.
        longest, shortest: seconds of a chunk.
        least_voiced: share of a chunk in which must be sung.
        bar_lines: seconds, rising.
    """
    whole = Cut(0.0, seconds, share(voiced, 0.0, seconds))
    if seconds <= longest:
        return (whole,) if seconds >= shortest and whole.voiced >= least_voiced else ()
    lines = np.asarray(bar_lines, np.float64)
    out: list[Cut] = []
    at = 0.0
    while (first := _next_voice(voiced, at)) is not None:
        start = max(at, _last(lines, first, at))
        end = min(seconds, _end(lines, start, longest))
        sung = share(voiced, start, end)
        if end - start < shortest:
            break
        if sung >= least_voiced:
            out.append(Cut(start, end, sung))
            at = end
        else:
            at = max(first + HOP, _last(lines, start + longest / 4, start + HOP))
    return tuple(out)


def share(voiced: NDArray[np.bool_], start: float, end: float) -> float:
    """Of the time from `start` to `end`, in which is sung."""
    part = voiced[round(start / HOP) : round(end / HOP)]
    return float(part.mean()) if len(part) else 0.0


def _next_voice(voiced: NDArray[np.bool_], at: float) -> float | None:
    frames = np.flatnonzero(voiced[round(at / HOP) :])
    return float(at + frames[0] * HOP) if len(frames) else None


def _last(lines: NDArray[np.float64], time: float, default: float) -> float:
    """The last bar line at or before a time; `default`, but not before, where there is none."""
    before = lines[lines <= time + 1e-9]
    return float(before[-1]) if len(before) else max(default, time)


def _end(lines: NDArray[np.float64], start: float, longest: float) -> float:
    end = _last(lines, start + longest, start + longest)
    return end if end >= start + LEAST_FILLED * longest else start + longest
