"""A hidden Markov model of chords under a tune: its counts, its probabilities, its best path.

Hidden states are chords relative to the tonic: 12 roots times the 4 `FAMILIES`. Each state emits
the pitch classes that are sung over it. In the manner of MySong (Simon, Morris & Basu, *MySong:
Automatic Accompaniment Generation for Vocal Melodies*, CHI 2008), with the counts of
`harmony_counts.json`, which `python -m voice2music.dataset.openewld` makes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music.chords import QUALITIES, Chord, Mode

Array = NDArray[np.float64]

FAMILIES = ("maj", "min", "7", "dim")
STATES = 12 * len(FAMILIES)
ROOTS = np.arange(STATES) // len(FAMILIES)
FAMILY = np.arange(STATES) % len(FAMILIES)

# Chosen by cross-validation over the cleared tunes, in eights of bars (benchmarks/harmony.py).
_SMOOTHING = 10.0  # pseudo-counts per state that a transition row takes from its back-off
_UNIGRAM_FLOOR = 0.1  # pseudo-counts per state
_END_SMOOTHING = 2.0  # pseudo-counts of the first and last chord that follow the unigram
_MELODY_FLOOR = 0.5  # half bars of every pitch class per family
_ACCENT = 0.5  # added weight of a note that begins with its half bar
_ACCENT_REACH = 0.25  # beats off the half bar's start at which a note still begins with it

# Only two of the cleared tunes are minor. So the minor tables are theirs, counted three times,
# with the major tunes read in the parallel minor (C F G7 -> Cm Fm G7) counted once, and read from
# the relative minor (C F G7 -> Eb Ab Bb7), but for how tunes begin and end, counted 0.3 times.
_MINOR_TUNES, _PARALLEL, _RELATIVE = 3.0, 1.0, 0.3
_PARALLEL_CHORDS = {
    (0, "maj"): (0, "min"), (5, "maj"): (5, "min"), (2, "min"): (2, "dim"),
    (4, "min"): (3, "maj"), (9, "min"): (8, "maj"), (9, "7"): (8, "maj"), (4, "7"): (3, "7"),
}  # fmt: skip


def family(chord: Chord) -> int:
    """Index into `FAMILIES`: by its fifth, its third and its seventh."""
    steps = QUALITIES[chord.quality]
    if 6 in steps:
        return 3
    if 3 in steps:
        return 1
    return 2 if 10 in steps else 0


def state(chord: Chord, tonic: int) -> int:
    """The chord's state in a key with this tonic."""
    return (chord.root - tonic) % 12 * len(FAMILIES) + family(chord)


@dataclass(frozen=True, eq=False)
class ModeCounts:
    """What was counted in the tunes of one mode, tonic = 0.

    Args:
        first, last: tunes that begin and end on each state, shape (STATES,).
        bar: changes over a bar line, from row to column, shape (STATES, STATES).
        mid: the same in the middle of a bar.
        melody: half bars that each semitone above the root is sung for over each of `FAMILIES`,
            shape (4, 12).
    """

    first: Array
    last: Array
    bar: Array
    mid: Array
    melody: Array


@dataclass(frozen=True, eq=False)
class HarmonyCounts:
    """The counts of both modes."""

    major: ModeCounts
    minor: ModeCounts


@dataclass(frozen=True, eq=False)
class ChordModel:
    """Log probabilities of chords in one mode, tonic = 0.

    Args:
        first, last: of a tune's first and last chord, shape (STATES,).
        bar: of the chord after a bar line given the one before, shape (STATES, STATES).
        change: of the new chord where one comes in mid-bar; its diagonal is never used.
        mid_change: probability of a new chord in mid-bar.
        melody: of each pitch class given the state, shape (STATES, 12).
    """

    first: Array
    last: Array
    bar: Array
    change: Array
    mid_change: float
    melody: Array


def melody_weights(
    onsets: Array,
    offsets: Array,
    pitch_classes: NDArray[np.int64],
    edges: Array,
    beats_per_segment: float,
) -> Array:
    """How long each pitch class sounds in each segment, in segments, accents counted half more.

    Args:
        onsets, offsets, pitch_classes: the notes, shape (notes,).
        edges: bounds of the segments in the same unit of time, shape (segments + 1,).
    Returns:
        Shape (segments, 12).
    """
    starts, ends = edges[:-1, None], edges[1:, None]
    overlap = np.clip(np.minimum(offsets, ends) - np.maximum(onsets, starts), 0, None)
    length = ends - starts
    near = np.abs(onsets - starts) <= _ACCENT_REACH * length / beats_per_segment
    weights = overlap / length * (1 + _ACCENT * near)
    out: Array = weights @ np.eye(12)[pitch_classes]
    return out


def chord_model(counts: HarmonyCounts, mode: Mode) -> ChordModel:
    """Smoothed log probabilities out of counts.

    A transition backs off to how often its target occurs at all and, as much, to how often chords
    of its family move by that interval to that family, wherever in the key. What is sung over a
    chord depends on its family and root alone: telling degrees apart did not help.
    """
    own = counts.major if mode == "major" else _minor_counts(counts)
    changes = own.mid * (1 - np.eye(STATES))
    unigram = _normalised(own.bar.sum(axis=1) + own.mid.sum(axis=1) + _UNIGRAM_FLOOR)
    change = _transitions(changes, unigram) * (1 - np.eye(STATES)) + 1e-12 * np.eye(STATES)
    relative = _normalised(counts.major.melody + counts.minor.melody + _MELODY_FLOOR)
    melody = np.stack([np.roll(relative[FAMILY[s]], ROOTS[s]) for s in range(STATES)])
    return ChordModel(
        first=np.log(_normalised(own.first + _END_SMOOTHING * unigram)),
        last=np.log(_normalised(own.last + _END_SMOOTHING * unigram)),
        bar=np.log(_transitions(own.bar, unigram)),
        change=np.log(_normalised(change)),
        mid_change=float((changes.sum() + 1) / (own.mid.sum() + 2)),
        melody=np.log(melody),
    )


def mixed(major: ChordModel, minor: ChordModel, share: float) -> ChordModel:
    """Both models, log-linear, `share` of the major one; the minor one's tonic is 9 above.

    So C major is mixed with A minor, whose notes are the same.
    """

    def mix(a: Array, b: Array) -> Array:
        return share * a + (1 - share) * b

    def moved(table: Array) -> Array:
        return np.roll(table, 9 * len(FAMILIES), axis=tuple(range(table.ndim)))

    return ChordModel(
        first=mix(major.first, moved(minor.first)),
        last=mix(major.last, moved(minor.last)),
        bar=mix(major.bar, moved(minor.bar)),
        change=mix(major.change, moved(minor.change)),
        mid_change=share * major.mid_change + (1 - share) * minor.mid_change,
        melody=major.melody,  # the same in both, as it is relative to the root
    )


def viterbi(
    first: Array, transitions: Sequence[Array], emissions: Array, last: Array
) -> NDArray[np.int64]:
    """The most likely path of states, all in log probabilities.

    Args:
        first, last: added to the first and the last step, shape (states,).
        transitions: from row to column, one per step after the first.
        emissions: shape (steps, states).
    Returns:
        Shape (steps,); of equally likely paths always the same one.
    """
    best = first + emissions[0]
    came_from = np.zeros(emissions.shape, np.int64)
    for step, transition in enumerate(transitions, start=1):
        scores = best[:, None] + transition
        came_from[step] = scores.argmax(axis=0)
        best = scores.max(axis=0) + emissions[step]
    path = [int((best + last).argmax())]
    for step in range(len(emissions) - 1, 0, -1):
        path.append(int(came_from[step, path[-1]]))
    return np.array(path[::-1])


@lru_cache(maxsize=1)
def own_models() -> tuple[ChordModel, ChordModel]:
    """The major and the minor model of the package's own counts."""
    text = files("voice2music").joinpath("harmony_counts.json").read_text(encoding="utf-8")
    counts = counts_from_json(json.loads(text))
    return chord_model(counts, "major"), chord_model(counts, "minor")


def counts_to_json(counts: HarmonyCounts) -> dict[str, Any]:
    """Counts as JSON values; states by name, "C:maj" being the tonic, zeros left out."""
    return {
        mode: {
            "first": _named(own.first),
            "last": _named(own.last),
            "bar": {n: row for n, c in zip(_NAMES, own.bar, strict=True) if (row := _named(c))},
            "mid": {n: row for n, c in zip(_NAMES, own.mid, strict=True) if (row := _named(c))},
            "melody": {
                name: [round(float(x), 3) for x in row]
                for name, row in zip(FAMILIES, own.melody, strict=True)
            },
        }
        for mode, own in (("major", counts.major), ("minor", counts.minor))
    }


def counts_from_json(values: Mapping[str, Any]) -> HarmonyCounts:
    """The inverse of `counts_to_json`."""

    def mode_counts(own: Mapping[str, Any]) -> ModeCounts:
        return ModeCounts(
            first=_array(own["first"]),
            last=_array(own["last"]),
            bar=np.stack([_array(own["bar"].get(name, {})) for name in _NAMES]),
            mid=np.stack([_array(own["mid"].get(name, {})) for name in _NAMES]),
            melody=np.array([own["melody"][name] for name in FAMILIES], np.float64),
        )

    return HarmonyCounts(mode_counts(values["major"]), mode_counts(values["minor"]))


_NAMES = tuple(
    f"{Chord(int(root), 'maj').symbol}:{FAMILIES[f]}" for root, f in zip(ROOTS, FAMILY, strict=True)
)


def _named(counts: Array) -> dict[str, int]:
    return {name: round(float(n)) for name, n in zip(_NAMES, counts, strict=True) if n}


def _array(named: Mapping[str, int]) -> Array:
    return np.array([named.get(name, 0) for name in _NAMES], np.float64)


def _normalised(counts: Array) -> Array:
    out: Array = counts / counts.sum(axis=-1, keepdims=True)
    return out


def _transitions(counts: Array, unigram: Array) -> Array:
    """Rows of probabilities, smoothed as `chord_model` says."""
    back_off = (_by_interval(counts) + unigram) / 2
    return _normalised(counts + _SMOOTHING * back_off)


def _by_interval(counts: Array) -> Array:
    """Transition probabilities that know families and the interval between the roots only."""
    size = len(FAMILIES)
    square = counts.reshape(12, size, 12, size)
    up = (np.arange(12)[:, None] + np.arange(12)) % 12  # [root, interval] -> root of the next
    moves = sum(square[root][:, up[root], :] for root in range(12)) + 0.05
    moves = moves / moves.sum(axis=(1, 2), keepdims=True)  # (family, interval, family)
    out = np.empty_like(square)
    for root in range(12):
        out[root][:, up[root], :] = moves
    return out.reshape(counts.shape)


def _minor_counts(counts: HarmonyCounts) -> ModeCounts:
    """The minor tunes' counts with the major ones read in the parallel and the relative minor."""
    parallel = np.arange(STATES)
    for (root, name), (to_root, to_name) in _PARALLEL_CHORDS.items():
        parallel[root * len(FAMILIES) + FAMILIES.index(name)] = to_root * len(
            FAMILIES
        ) + FAMILIES.index(to_name)
    relative = (np.arange(STATES) + 3 * len(FAMILIES)) % STATES
    major, minor = counts.major, counts.minor

    def ends(name: str) -> Array:
        out: Array = _MINOR_TUNES * getattr(minor, name)
        np.add.at(out, parallel, _PARALLEL * getattr(major, name))
        return out

    def moves(name: str) -> Array:
        out: Array = _MINOR_TUNES * getattr(minor, name)
        table = getattr(major, name)
        for weight, to in ((_PARALLEL, parallel), (_RELATIVE, relative)):
            np.add.at(out, (to[:, None], to[None, :]), weight * table)
        return out

    return ModeCounts(ends("first"), ends("last"), moves("bar"), moves("mid"), minor.melody)
