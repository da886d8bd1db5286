"""Audio fingerprints: the same recording under other names, formats, levels, and trimmed.

One 32-bit code per 11.6 ms: the signs of how the differences between 33 neighbouring bands change
in time. A copy keeps most of its bits whatever its format and level; other music keeps half.
Source: Haitsma and Kalker, "A highly robust audio fingerprinting system", ISMIR 2002.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.fft import rfft

from voice2music.clip import Clip

RATE = 5_500  # Hz
WINDOW = 2_048  # samples, 372 ms
STEP = 64  # samples between codes
CODE_SECONDS = STEP / RATE  # 11.6 ms
BANDS = 33
LOWEST, HIGHEST = 300.0, 2_000.0  # Hz; every band is a semitone wide
SILENT = 1e-9  # mean square (-90 dB of full scale) below which a frame is silence, code 0
BLOCK = 256  # frames at a time
READ = 1 << 18  # samples of the clip at a time

# Bits that differ. In copies of 44 pieces of music, real and made: other rates and levels .00, mp3
# up to .13 (at 56 kbit/s), an echo .16, noise 20 dB below .21, clipping at 12 dB too loud .33; a
# single hum under noise, whose bands are empty, .36. In 170 pairs of other music, wherever one is
# laid over the other: from .42; from .38 at one tempo with the same sounds of a drum machine. A
# machine's second take of the same notes (.05 to .27) is a copy to this measure.
ALIKE = 0.32
SHORTEST = 5.0  # s of sound that must be compared
SHARE = 0.5  # of the shorter one's sound that must be compared: songs of an album run into another
SPARSE = 4  # one code value in so many is looked up
FREQUENT = 200  # places of a code from which it tells nothing: held tones, loops
TRIED = 12  # places, those with most votes, at which two recordings are compared
_MIXING = np.uint32(2_654_435_769)  # 2^32 over the golden ratio (Knuth): close codes fall apart

Codes = NDArray[np.uint32]


@dataclass(frozen=True)
class Duplicate:
    """A recording that is an earlier one again.

    Args:
        index: which recording.
        of: the earlier one.
        offset: seconds; what is at `t` in this one is at `t + offset` in the earlier one.
        error: share of bits that differ where the two overlap, in [0, 0.5].
    """

    index: int
    of: int
    offset: float
    error: float


def fingerprint(clip: Clip) -> Codes:
    """One code every `CODE_SECONDS`, shape (codes,); 0 where there is silence.

    Empty for less than 0.4 s. Apart from the clip itself, 30 minutes take some 50 MB.
    """
    samples = np.concatenate(list(_slowed(clip)))
    if len(samples) < WINDOW + STEP:
        return np.zeros(0, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::STEP]
    starts = range(0, len(windows) - 1, BLOCK)
    return np.concatenate([_codes(windows[start : start + BLOCK + 1]) for start in starts])


def _slowed(clip: Clip) -> Iterator[NDArray[np.float32]]:
    """One channel at `RATE`, in blocks."""
    resampler = soxr.ResampleStream(clip.rate, RATE, 1, dtype="float32")
    for start in range(0, clip.samples.shape[1], READ):
        block = clip.samples[:, start : start + READ].mean(axis=0)
        yield resampler.resample_chunk(block, last=start + READ >= clip.samples.shape[1])


def _codes(windows: NDArray[np.float32]) -> Codes:
    """The codes of all windows but the first, which only the second one is compared with."""
    hann, edges = _bands()
    spectrum = rfft(windows * hann, axis=1)[:, edges[0] : edges[-1]]
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    energy = np.add.reduceat(power, edges[:-1] - edges[0], axis=1)
    bits = np.diff(np.diff(energy, axis=1), axis=0) < 0
    codes = np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)
    scale = WINDOW * np.square(hann).sum() / 2
    return np.where(energy[1:].sum(axis=1) < SILENT * scale, 0, codes).astype(np.uint32)


@lru_cache(maxsize=1)
def _bands() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The window, and the first FFT bin of each band and of what lies above."""
    hertz = np.geomspace(LOWEST, HIGHEST, BANDS + 1)
    edges = np.round(hertz * WINDOW / RATE).astype(np.int64)
    return np.hanning(WINDOW).astype(np.float32), edges


def bit_error(a: Codes, b: Codes, offset: int) -> tuple[float, int]:
    """Share of bits in which two recordings differ, and over how many codes.

    Args:
        a, b: fingerprints.
        offset: in codes; `a[i]` is compared with `b[i + offset]`, where neither is silent.
    Returns:
        Share in [0, 1], NaN where nothing overlaps; about 0.5 for different music.
    """
    first, last = max(0, -offset), min(len(a), len(b) - offset)
    if last <= first:
        return float("nan"), 0
    one, other = a[first:last], b[first + offset : last + offset]
    sounds = (one != 0) & (other != 0)
    count = int(np.count_nonzero(sounds))
    differing = np.bitwise_count(np.where(sounds, one ^ other, 0)).sum(dtype=np.int64)
    return (float(differing) / (32 * count) if count else float("nan")), count


def duplicates(prints: Sequence[Codes]) -> list[Duplicate]:
    """Every recording that is an earlier one again, in order; the earliest is kept.

    One that begins later, ends earlier or is an excerpt counts, and so does a longer one around it;
    not one at another speed. Recordings of less than `SHORTEST` seconds of sound are never
    duplicates. Offsets are exact to some 25 ms; in music made of loops, any one that fits is given.

    Takes some 10 ms for each recording of 4 minutes among a thousand, 20 ms among six thousand.
    """
    starts = np.cumsum([0, *(len(codes) for codes in prints)])
    index = _index(prints, starts)
    kept = np.ones(len(prints), np.bool_)
    found: list[Duplicate] = []
    for number, codes in enumerate(prints):
        tried = [
            duplicate
            for other, offset in _candidates(index, starts, kept, number, codes)
            if (duplicate := _compared(prints, number, other, offset)) is not None
        ]
        if tried:
            found.append(min(tried, key=lambda one: one.error))
            kept[number] = False
    return found


def _index(prints: Sequence[Codes], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """All codes that are looked up, each above its place among all codes, sorted."""
    parts = [np.zeros(0, np.uint64)]
    for codes, start in zip(prints, starts[:-1], strict=True):
        places = np.flatnonzero(_looked_up(codes))
        parts.append(_key(codes[places], places + start))
    index = np.concatenate(parts)
    index.sort()
    return index


def _key(codes: Codes, places: NDArray[np.int64] | int) -> NDArray[np.uint64]:
    """Code and place in one number that sorts by code first."""
    return (codes.astype(np.uint64) << np.uint64(32)) | np.asarray(places, np.uint64)


def _looked_up(codes: Codes) -> NDArray[np.bool_]:
    """Which codes stand for all: chosen by value, so that copies choose the same ones."""
    chosen = (codes * _MIXING) >> np.uint32(16)
    return np.asarray((chosen % SPARSE == 0) & (codes != 0), np.bool_)


def _candidates(
    index: NDArray[np.uint64],
    starts: NDArray[np.int64],
    kept: NDArray[np.bool_],
    number: int,
    codes: Codes,
) -> list[tuple[int, int]]:
    """Earlier recordings that are kept, each with the offset at which it shares most codes."""
    places = np.flatnonzero(_looked_up(codes))
    places = places[np.argsort(codes[places])]  # in order, the search stays in the cache
    first = np.searchsorted(index, _key(codes[places], 0))
    count = np.searchsorted(index, _key(codes[places], int(starts[number]))) - first
    count[count > FREQUENT] = 0
    before = np.cumsum(count) - count
    at = np.repeat(first - before, count) + np.arange(count.sum())
    matches = (index[at] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    other = np.searchsorted(starts, matches, side="right") - 1
    # Where the recording would begin, among all codes; a negative offset lies before `other` does.
    begin = matches - np.repeat(places, count)
    span = 2 * int(starts[-1]) + 1
    votes, total = np.unique((other * span + begin + starts[-1])[kept[other]], return_counts=True)
    best = votes[np.argsort(-total, kind="stable")[:TRIED]]
    others, begins = best // span, best % span - starts[-1]
    return [(int(o), int(b - starts[o])) for o, b in zip(others, begins, strict=True)]


def _compared(prints: Sequence[Codes], number: int, other: int, offset: int) -> Duplicate | None:
    """Whether two recordings are the same at an offset in codes."""
    a, b = prints[number], prints[other]
    error, count = bit_error(a, b, offset)
    sounding = min(np.count_nonzero(a), np.count_nonzero(b))
    if error >= ALIKE or count < max(SHORTEST / CODE_SECONDS, SHARE * sounding):
        return None
    return Duplicate(number, other, offset * CODE_SECONDS, error)
