"""Chords under a tune, and (from `voice2music.chords`) the names of chords and keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from voice2music.chord_model import (
    FAMILIES,
    FAMILY,
    ROOTS,
    STATES,
    ChordModel,
    melody_weights,
    mixed,
    own_models,
    viterbi,
)
from voice2music.chords import (
    QUALITIES,
    Chord,
    ChordSpan,
    Key,
    Mode,
    bars,
    chord_pitch_classes,
    chord_symbol,
    key_name,
    parse_chord,
    parse_key,
    parse_progression,
    pitch_name,
    progression_text,
    spans_of_bars,
    within_bar,
)
from voice2music.notes import Note
from voice2music.rhythm import Grid

__all__ = [
    "QUALITIES",
    "Chord",
    "ChordSpan",
    "Key",
    "Mode",
    "bars",
    "chord_pitch_classes",
    "chord_symbol",
    "harmonise",
    "key_name",
    "parse_chord",
    "parse_key",
    "parse_progression",
    "pitch_name",
    "progression_text",
    "spans_of_bars",
    "within_bar",
]

Array = NDArray[np.float64]

# Weight of what is sung against what usually follows what: 2 finds most of the written chords in
# OpenEWLD, 4 in Nottingham's folk tunes. The farther from the mode that is heard, the more.
_MELODY_WEIGHT = 2.5
_AGAINST_THE_MODE = 0.4
_USUAL_BAR = 2.0  # s; longer bars change chords in the middle more often, shorter ones less
_ASKED_MID_CHANGE = 0.5  # probability of a new chord in mid-bar where two per bar are asked for
_THIRD = 0.4  # log weight per half bar that full happiness gives to a major third
_STRANGER = 1.0  # log weight per half bar that full plainness takes from a tone out of the key
_RESTLESS = 1.5  # log weight that full jazziness takes from a chord that stays over a bar line
_PLAINER_UNHEARD = 0.5  # how much plainer chords are where there is no tune to excuse a stranger
_HOLDS = 0.15  # share of a chord's sung time from which a tone counts as held
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10, 11)}
_TRIADS = {"maj": "maj", "min": "min", "7": "maj", "dim": "dim"}
_SEVENTHS = {"maj": ("maj7", "6"), "min": ("m7",), "7": ("7",)}
_NINTHS = {"maj": ("maj9", "69", "maj7", "6"), "min": ("m9", "m7"), "7": ("13", "9", "7")}


@dataclass(frozen=True, eq=False)
class _Segments:
    """Bars cut into the segments that a chord is chosen for.

    Args:
        bars: how many.
        parts: segments per bar, 1 or 2.
        sung: half bars that each pitch class above the tonic is sung for, shape (segments, 12).
        bar_seconds: length of a bar.
    """

    bars: int
    parts: int
    sung: Array
    bar_seconds: float


def harmonise(
    notes: Sequence[Note],
    grid: Grid,
    key: Key,
    seconds: float,
    happy: float = 0.0,
    jazzy: float = 0.0,
    per_bar: Literal[1, 2] | None = None,
    models: tuple[ChordModel, ChordModel] | None = None,
) -> tuple[ChordSpan, ...]:
    """Chords for a tune: the most likely ones of a hidden Markov model (`chord_model`).

    Without notes, the likeliest round of four chords that begins on the tonic.

    Args:
        happy: -1 to 1; mixes major with minor (the relative one, of the same notes) and prefers
            major or minor thirds.
        jazzy: -1 to 1; below 0 the chords keep closer to the tune and to the key, from -1/3 on
            they are triads; above 0 they follow the tune less and move more, from 1/3 on they
            have sevenths, from 2/3 on ninths, as far as the tune does not rub against them.
        per_bar: 1 keeps to one chord per bar, 2 changes readily in mid-bar; None does so where
            the tune asks for it, more often in long bars. Bars of 3, 5 or 7 beats have one.
        models: of major and of minor; None is the package's own.
    Returns:
        Spans that tile [0, seconds], at least one per bar; a pick-up belongs to the first bar.
    """
    cut = _segments(notes, grid, key, seconds)
    model = _bent(models or own_models(), key, happy)
    if cut.sung.any():
        states = _best_states(cut, model, key, happy, jazzy, per_bar)
    else:
        leaning = _leaning(key, happy, jazzy - _PLAINER_UNHEARD)
        states = np.repeat(_round_of_four(model, leaning, cut.bars), cut.parts)
    by_bar = states.reshape(cut.bars, cut.parts)
    sung = cut.sung.reshape(cut.bars, cut.parts, 12)
    chords = [_bar_chords(by_bar[i], sung[i], key, jazzy) for i in range(cut.bars)]
    return spans_of_bars(chords, grid, seconds)


def _segments(notes: Sequence[Note], grid: Grid, key: Key, seconds: float) -> _Segments:
    """The bars, halved where that falls on a beat, and what is sung in them."""
    whole = bars(grid, seconds)
    parts = 2 if grid.beats_per_bar % 2 == 0 else 1
    edges = [within_bar(bar, i / parts) for bar in whole for i in range(parts)] + [whole[-1][-1]]
    sung = melody_weights(
        np.array([note.onset for note in notes], np.float64),
        np.array([note.offset for note in notes], np.float64),
        np.array([(note.midi - key.tonic) % 12 for note in notes], np.int64),
        np.array(edges),
        grid.beats_per_bar / parts,
    )
    length = (whole[-1][-1] - whole[0][0]) / len(whole)
    return _Segments(len(whole), parts, sung * (2 / parts), length)


def _bent(models: tuple[ChordModel, ChordModel], key: Key, happy: float) -> ChordModel:
    """The models of major and minor mixed as `happy` says, tonic = the key's."""
    heard = 1.0 if key.mode == "major" else 0.0
    share = heard + max(happy, 0) * (1 - heard) * 0.8 + min(happy, 0) * heard * 0.8
    model = mixed(*models, share)
    return model if key.mode == "major" else _raised(model, 3)


def _raised(model: ChordModel, semitones: int) -> ChordModel:
    """The same model seen from a tonic so many semitones lower."""
    shift = semitones * len(FAMILIES)

    def roll(table: Array) -> Array:
        return np.roll(table, shift, axis=tuple(range(table.ndim)))

    return ChordModel(
        first=roll(model.first),
        last=roll(model.last),
        bar=roll(model.bar),
        change=roll(model.change),
        mid_change=model.mid_change,
        melody=model.melody,
    )


def _best_states(
    cut: _Segments,
    model: ChordModel,
    key: Key,
    happy: float,
    jazzy: float,
    per_bar: int | None,
) -> NDArray[np.int64]:
    """The best state of each segment."""
    bent = max(-happy if key.mode == "major" else happy, 0.0)
    weight = _MELODY_WEIGHT * (1 + _AGAINST_THE_MODE * bent) * 2.0 ** (-jazzy / 2)
    emissions: Array = weight * (cut.sung @ model.melody.T)
    emissions += (2 / cut.parts) * _leaning(key, happy, jazzy)
    mid = _mid_bar(model, _mid_change(model.mid_change, cut.bar_seconds, per_bar))
    bar = model.bar - _RESTLESS * max(jazzy, 0.0) * np.eye(STATES)
    transitions = [bar if i % cut.parts == 0 else mid for i in range(1, len(emissions))]
    return viterbi(model.first, transitions, emissions, model.last)


def _mid_change(usual: float, bar_seconds: float, per_bar: int | None) -> float:
    """Probability of a new chord in mid-bar."""
    if per_bar is not None:
        return _ASKED_MID_CHANGE if per_bar == 2 else 0.0
    return min(usual * bar_seconds / _USUAL_BAR, _ASKED_MID_CHANGE)


def _mid_bar(model: ChordModel, change: float) -> Array:
    """Log transitions in mid-bar where a new chord comes with probability `change`."""
    with np.errstate(divide="ignore"):
        moves: Array = model.change + np.log(change)
    np.fill_diagonal(moves, np.log(1 - change))
    return moves


def _leaning(key: Key, happy: float, jazzy: float) -> Array:
    """Log weight per half bar and state: for thirds as `happy`, against strangers if plain."""
    scale = {step % 12 for step in _SCALES[key.mode]}
    strangers = np.array(
        [
            sum((root + step) % 12 not in scale for step in QUALITIES[_TRIADS[FAMILIES[f]]])
            for root, f in zip(ROOTS, FAMILY, strict=True)
        ]
    )
    thirds = np.array([1, -1, 1, -1])[FAMILY]
    out: Array = _THIRD * happy * thirds - _STRANGER * max(-jazzy, 0.0) * strangers
    return out


def _round_of_four(model: ChordModel, leaning: Array, count: int) -> NDArray[np.int64]:
    """The likeliest chords on four different roots that lead round to the tonic, `count` bars.

    The last bar is the tonic again where there is room for a whole round before it.
    """
    tonic = int(model.first.argmax())
    same = ROOTS[:, None] == ROOTS
    others = np.where(same, -np.inf, model.bar + 2 * leaning)
    others[:, same[tonic]] = -np.inf
    # [second, third, fourth]: each is entered from the one before, the fourth leads home.
    rounds = others[tonic][:, None, None] + others[:, :, None] + others[None, :, :]
    rounds = np.where(same[:, None, :], -np.inf, rounds + model.bar[:, tonic])
    second, third, fourth = np.unravel_index(int(rounds.argmax()), rounds.shape)
    out = np.array([(tonic, second, third, fourth)[i % 4] for i in range(count)], np.int64)
    if count > 4:
        out[-1] = tonic
    return out


def _bar_chords(
    states: NDArray[np.int64], sung: Array, key: Key, jazzy: float
) -> tuple[Chord, ...]:
    """The chords of one bar; a state that stays is one chord, coloured once."""
    if len(set(states.tolist())) == 1:
        return (_coloured(int(states[0]), sung.sum(axis=0), key, jazzy),)
    return tuple(_coloured(int(s), own, key, jazzy) for s, own in zip(states, sung, strict=True))


def _coloured(chosen: int, sung: Array, key: Key, jazzy: float) -> Chord:
    """A chord of the state's family, the richer the jazzier."""
    root, name = int(ROOTS[chosen]), FAMILIES[FAMILY[chosen]]
    pitch = (root + key.tonic) % 12
    if jazzy <= -1 / 3:
        return Chord(pitch, _TRIADS[name])
    if jazzy < 1 / 3:
        return Chord(pitch, name)
    if name == "dim":
        # On the leading note of major, or the second of minor, it is half-diminished.
        return Chord(pitch, "m7b5" if root == (11 if key.mode == "major" else 2) else "dim7")
    rich = _SEVENTHS[name] if jazzy < 2 / 3 else _NINTHS[name]
    if name == "7" and key.mode == "minor" and root == 7 and jazzy >= 2 / 3:
        rich = ("7b9", "7")
    return Chord(pitch, next((q for q in rich if not _rubs(q, root, sung)), name))


def _rubs(quality: str, root: int, sung: Array) -> bool:
    """Whether the tune holds a note a semitone off one of the chord's added tones."""
    added = {(root + step) % 12 for step in QUALITIES[quality][3:]}
    held = {pc for pc in range(12) if sung[pc] > _HOLDS * sum(sung)}
    return any((tone - pc) % 12 in (1, 11) for tone in added for pc in held)
