"""A metrical hidden Markov model: which note falls on which place of which bar, and how fast.

Each note's state is its place in the bar and the local tempo; the best path through the onsets is
found by Viterbi's algorithm (Raphael 2002, "A hybrid graphical model for rhythmic parsing";
Takeda et al. 2007; Nakamura et al. 2017). What a place is worth is Temperley's model (2007,
"Music and Probability", chapter 3): every place of the bar is struck or not, independently, the
strong ones more often. So an interval is worth the notes that begin and, as much, the strong
places that it passes over in silence: long notes begin on the beat. Mixed with it is what was
counted in lead sheets, note after note (`tune_counts.json`, made by
`voice2music.dataset.tune_counts`).
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNTS = Path(__file__).with_name("tune_counts.json")
TICKS = 12  # per beat: sixteenths and triplets
STEP = 0.015  # between two tempos of `TEMPOS`, natural logarithm
TEMPOS: Array = np.exp(np.arange(math.log(40), math.log(240), STEP))  # beats per minute
PATH_TEMPO_CHANGE = 0.015  # standard deviation per square root of a beat, as a share
TIMING = 0.03  # s, standard deviation of one onset about its place
STRETCH = 0.05  # the same of an interval, as a share of it
STRAY = 1e-4  # probability density (1/s) of an interval that fits nothing
SIMPLE = (0, 3, 4, 6, 8, 9)  # ticks of a plain beat at which notes may begin
SMOOTHING = 600  # notes
REACH = 4  # steps that the tempo may move from one note to the next
RARE = 0.005  # probability of an onset on a place that is hardly ever struck
LONGEST_GAP = 8.0  # s; longer pauses are counted out in whole bars afterwards


@dataclass(frozen=True, eq=False)
class Metre:
    """A kind of bar.

    Args:
        beats: per bar.
        places: ticks at which a note may begin, shape (places,).
        onset: probability that one does, shape (beats * TICKS,).
        start: log probability that a tune begins there, shape (places,).
        first, last: the same of a tune or phrase, and of a phrase's last, long note.
        moves: how often a note at a place (ticks) was followed by one so many ticks later.
        prior: log probability of the metre itself, up to a constant.
        tempo: the most natural one, beats per minute.
    """

    beats: int
    places: Ints
    onset: Array
    start: Array
    first: Array
    last: Array
    moves: dict[tuple[int, int], int]
    prior: float
    tempo: float

    @property
    def ticks(self) -> int:
        """Ticks per bar."""
        return self.beats * TICKS


@dataclass(frozen=True, eq=False)
class Parse:
    """The best reading of a row of onsets in one metre.

    Args:
        ticks: place of each onset counted from a bar line, rising, shape (onsets,).
        log_probability: of this reading.
        by_tempo: of the best reading that ends at each of `TEMPOS`, shape (tempos,).
    """

    metre: Metre
    ticks: Ints
    log_probability: float
    by_tempo: Array


@lru_cache(maxsize=1)
def metres() -> tuple[Metre, ...]:
    """Bars of four, of three, and of two dotted beats (6/8)."""
    counts = json.loads(COUNTS.read_text(encoding="utf-8"))
    four = _counted(4, counts["four"], prior=0.0, tempo=95.0)
    three = _counted(3, counts["three"], prior=-1.0, tempo=120.0)
    return four, three, _six_eight()


def _counted(beats: int, counts: dict[str, Any], prior: float, tempo: float) -> Metre:
    """A metre out of what `voice2music.dataset.tune_counts` wrote."""
    places = np.array([TICKS * beat + tick for beat in range(beats) for tick in SIMPLE])
    onset = np.full(beats * TICKS, RARE)
    rates = _table(counts["onset"], places) / counts["bars"]
    # Rests between phrases stretch the bars; while there is singing, downbeats are hardly missed.
    onset[places] = np.maximum(rates * 0.93 / rates.max(), RARE)
    smooth = onset[places] / onset[places].sum()
    start, phrase, last = (
        (_table(counts[name], places) + 8 * smooth) / (sum(counts[name].values()) + 8)
        for name in ("start", "first", "last")
    )
    first = (start + phrase) / 2  # people hum from a tune's beginning or from some phrase's
    moves = {
        (int(place), int(length)): number
        for place, lengths in counts["moves"].items()
        for length, number in lengths.items()
    }
    start, first, last = (np.log(shares / shares.sum()) for shares in (start, first, last))
    return Metre(beats, places, onset, start, first, last, moves, prior, tempo)


def _table(counts: dict[str, int], places: Ints) -> Array:
    return np.array([counts.get(str(place), 0) for place in places], np.float64)


def _six_eight() -> Metre:
    """6/8, set by hand for want of sheets: busy on its eighths, which are thirds of a beat.

    With so many busy places it fits almost anything a little, hence the low prior.
    """
    places = np.arange(0, 2 * TICKS, 2)
    onset = np.full(2 * TICKS, RARE)
    onset[places] = (0.85, 0.03, 0.35, 0.05, 0.6, 0.08, 0.7, 0.03, 0.35, 0.05, 0.6, 0.08)
    first = np.full(len(places), RARE)
    first[[0, 6, 10]] = (0.4, 0.15, 0.3)
    last = np.full(len(places), RARE)
    last[[0, 6]] = (0.7, 0.2)
    start, end = np.log(first / first.sum()), np.log(last / last.sum())
    return Metre(2, places, onset, start, start, end, {}, prior=-8.0, tempo=70.0)


SPREAD = 0.15  # standard deviation of the logarithm of the natural tempo, per metre


def parse(onsets: Array, metre: Metre, tempo: float | None = None) -> Parse:
    """The most probable places of `onsets` in bars of `metre`.

    Args:
        onsets: seconds, rising, at least two.
        tempo: expected beats per minute; None is the metre's own.
    """
    expected = np.log(TEMPOS / (tempo or metre.tempo)) / SPREAD
    score = metre.first[:, None] - 0.5 * expected[None, :] ** 2 + metre.prior
    steps: list[tuple[Ints, Ints, Ints]] = []
    for gap in np.minimum(np.diff(onsets), LONGEST_GAP):
        bars = 2 + math.ceil(gap * TEMPOS[-1] / 60 / metre.beats)
        ticks, worth = _moves(metre, bars)
        moved, tempo_back = _tempo_change(score, float(gap))
        fits, which = _interval(float(gap), ticks)
        # (to, bars x from, tempo)
        paths = np.tile(moved, (bars, 1))[None] + worth[:, :, None] + fits[which]
        best = paths.argmax(axis=1)
        score = np.take_along_axis(paths, best[:, None, :], axis=1)[:, 0, :]
        steps.append((best, tempo_back, ticks))
    score = score + metre.last[:, None]
    return Parse(metre, _traced(score, steps, metre), float(score.max()), score.max(axis=0))


def with_long_pauses(ticks: Ints, onsets: Array, metre: Metre) -> Ints:
    """The same places, with whole bars added where a pause was too long for `parse` to count out.

    The pace in such a pause is taken to be that of everything else.
    """
    gaps, lengths = np.diff(onsets), np.diff(ticks)
    long = gaps > LONGEST_GAP
    if not long.any() or long.all():
        return ticks
    pace = lengths[~long].sum() / gaps[~long].sum()
    bars = np.round((gaps * pace - lengths) / metre.ticks).astype(np.int64)
    added = np.where(long, np.maximum(bars, 0) * metre.ticks, 0)
    return ticks + np.concatenate(([0], np.cumsum(added)))


def shifted_log_probability(ticks: Ints, metre: Metre, shift: int) -> float:
    """Log probability of the same places when bars begin `shift` ticks later; tempo left out.

    Args:
        shift: whole beats, in ticks.
    """
    index = {int(place): i for i, place in enumerate(metre.places)}
    at = [index[int(tick - shift) % metre.ticks] for tick in ticks]
    total = float(metre.first[at[0]] + metre.last[at[-1]])
    for start, end, length in zip(at, at[1:], np.diff(ticks).tolist(), strict=False):
        by = (length - int(metre.places[end] - metre.places[start])) // metre.ticks
        worth = _moves(metre, by + 1)[1]
        total += float(worth[end, by * len(metre.places) + start])
    return total


@lru_cache(maxsize=64)
def _moves(metre: Metre, bars: int) -> tuple[Ints, Array]:
    """All moves to a place (row) from any place up to `bars` bars before (column).

    Returns:
        Their lengths in ticks, and the log probability that a note begins at the end of the move
        and none on the way; both of shape (places, bars * places).
    """
    silent = np.log1p(-metre.onset)
    passed = np.concatenate(([0.0], np.cumsum(np.tile(silent, bars + 2))))
    to, by, start = np.meshgrid(metre.places, np.arange(bars), metre.places, indexing="ij")
    ticks = to - start + metre.ticks * by
    length = np.maximum(ticks, 1)
    worth = passed[start + length] - passed[start + 1] + np.log(metre.onset[to])
    places = len(metre.places)
    rows = length.reshape(places, -1)
    mixed = _with_counts(worth.reshape(places, -1), rows, metre)
    return rows, np.where(ticks.reshape(places, -1) > 0, mixed, -1e9)


def _with_counts(worth: Array, length: Ints, metre: Metre) -> Array:
    """`worth` and what was counted, mixed; the model weighs as much as `SMOOTHING` notes."""
    if not metre.moves:
        return worth
    longest = max(by for _, by in metre.moves)
    counts = np.zeros((metre.ticks, longest + 2))  # the last column stays empty
    for (at, by), number in metre.moves.items():
        counts[at, by] = number
    starts = np.tile(metre.places, length.shape[1] // len(metre.places))
    counted = counts[starts[None, :], np.minimum(length, longest + 1)]
    notes = counts.sum(axis=1)[starts][None, :]
    mixed = (counted + SMOOTHING * np.exp(worth)) / (notes + SMOOTHING)
    return np.asarray(np.log(mixed), np.float64)


def _tempo_change(score: Array, gap: float) -> tuple[Array, Ints]:
    """Best score per place after the tempo has moved, and the tempo index it came from."""
    steps = np.arange(-REACH, REACH + 1)
    spread = PATH_TEMPO_CHANGE * math.sqrt(max(gap / 0.6, 0.25))
    cost = -0.5 * (steps * STEP / spread) ** 2
    cost -= logsumexp(cost)
    padded = np.pad(score, ((0, 0), (REACH, REACH)), constant_values=-1e9)
    tempos = score.shape[1]
    from_each = np.stack([padded[:, i : i + tempos] + cost[i] for i in range(len(steps))])
    best = from_each.argmax(axis=0)
    back = np.arange(tempos)[None, :] + steps[best]
    return np.take_along_axis(from_each, best[None], axis=0)[0], back


def _interval(gap: float, ticks: Ints) -> tuple[Array, Ints]:
    """Log density of `gap` for each distinct length and tempo, and which length each move has."""
    lengths, which = np.unique(ticks, return_inverse=True)
    expected = lengths[:, None] * (60 / TEMPOS / TICKS)[None, :]
    spread = np.sqrt(2 * TIMING**2 + (STRETCH * expected) ** 2)
    normal = -0.5 * ((gap - expected) / spread) ** 2 - np.log(spread * math.sqrt(2 * math.pi))
    return np.logaddexp(normal, math.log(STRAY)), which.reshape(ticks.shape)


def _traced(score: Array, steps: list[tuple[Ints, Ints, Ints]], metre: Metre) -> Ints:
    """Ticks of every onset along the best path, backwards from its end."""
    place, tempo = np.unravel_index(int(score.argmax()), score.shape)
    lengths = []
    for best, tempo_back, ticks in reversed(steps):
        move = best[place, tempo]
        lengths.append(int(ticks[place, move]))
        place = move % len(metre.places)
        tempo = tempo_back[place, tempo]
    start = int(metre.places[place])
    return np.cumsum([start, *reversed(lengths)])
