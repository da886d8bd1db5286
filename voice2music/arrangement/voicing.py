"""Which notes of which octave make a chord: near the last, in register, out of the tune's way."""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import combinations, pairwise

from voice2music.chords import QUALITIES, Chord, Key
from voice2music.styles import Colour

MUD = 53  # F3: below it notes closer than a third are not put together
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


def scale(key: Key) -> frozenset[int]:
    """Pitch classes of the key: major, or natural minor."""
    return frozenset((key.tonic + step) % 12 for step in (MAJOR if key.mode == "major" else MINOR))


def coloured(chord: Chord, key: Key, colour: Colour) -> Chord:
    """The chord as the style's players enrich it; what is not a plain triad stays as written."""
    if colour in ("triads", "power") or chord.quality not in ("maj", "min", "dim"):
        return chord
    if chord.quality == "min":
        return Chord(chord.root, "m7", chord.bass)
    if chord.quality == "dim":
        return Chord(chord.root, "m7b5", chord.bass)
    fifth = (chord.root - key.tonic) % 12 == 7
    flat_seventh = (chord.root + 10) % 12 in scale(key) and (chord.root + 11) % 12 not in scale(key)
    dominant = colour == "dominant" or fifth or flat_seventh
    return Chord(chord.root, "7" if dominant else "maj7", chord.bass)


def tones(chord: Chord, voices: int) -> tuple[int, ...]:
    """The pitch classes to play, the telling ones first, no more than `voices` (but three).

    A triad is played whole. With a hand of three, a chord with a minor seventh over a major third
    keeps third, seventh and root, and the others are played as triads; with four the fifth, with
    five the ninth comes in.
    """
    steps = QUALITIES[chord.quality]
    if len(steps) <= 3:
        return tuple((chord.root + step) % 12 for step in steps)
    third, fifth, *added = steps[1:]
    dominant = third == 4 and added[0] == 10
    order = [third, added[0], 0, fifth] if dominant else [third, 0, fifth, added[0]]
    return tuple((chord.root + step) % 12 for step in [*order, *added[1:]][: max(voices, 3)])


def voicing(
    pitch_classes: Sequence[int],
    low: int,
    high: int,
    voices: int,
    last: Sequence[int],
) -> tuple[int, ...]:
    """MIDI notes, rising, that lie in the register and move least from `last`.

    Args:
        pitch_classes: all are played if `voices` allows; the first are the most needed.
        low, high: MIDI range.
        voices: most notes; a triad given four or more doubles a tone.
        last: the chord before, rising; may be empty.
    """
    candidates = _candidates(tuple(pitch_classes[:voices]), low, high, voices)
    centre = (low + high) / 2

    def cost(notes: tuple[int, ...]) -> float:
        middle = sum(notes) / len(notes)
        away = abs(middle - centre)
        if not last:
            return away
        return movement(last, notes) + 0.25 * away + 0.5 * abs(notes[-1] - last[-1])

    return min(candidates, key=cost)


def movement(last: Sequence[int], notes: Sequence[int]) -> float:
    """Mean way, semitones, from each note to the nearest note of the other chord."""
    there = sum(min(abs(n - m) for m in last) for n in notes) / len(notes)
    back = sum(min(abs(n - m) for m in notes) for n in last) / len(last)
    return there + back


def clear_of(notes: Iterable[int], sung: Collection[int]) -> tuple[int, ...]:
    """`notes` without those a semitone (in any octave) from a sung pitch class; two stay at least.

    Args:
        sung: pitch classes of the tune while the chord sounds.
    """
    whole = tuple(notes)
    clear = tuple(n for n in whole if not {(n + 1) % 12, (n - 1) % 12} & set(sung))
    return clear if len(clear) >= min(2, len(whole)) else whole


@lru_cache(maxsize=2048)
def _candidates(
    pitch_classes: tuple[int, ...], low: int, high: int, voices: int
) -> tuple[tuple[int, ...], ...]:
    """All ways to lay the chord out within two octaves of the register."""
    wanted = set(pitch_classes)
    register = [note for note in range(low, high + 1) if note % 12 in wanted]
    sizes = (max(voices, len(wanted)), len(wanted)) if voices > len(wanted) else (len(wanted),)
    found: list[tuple[int, ...]] = []
    for size in sizes:
        found = [
            notes
            for notes in combinations(register, size)
            if {n % 12 for n in notes} == wanted and _sounds(notes)
        ]
        if found:
            return tuple(found)
    return _stacked(pitch_classes, low)


def _sounds(notes: tuple[int, ...]) -> bool:
    """No gap over an octave's two thirds, no mud below, no cluster of two semitones."""
    gaps = [b - a for a, b in pairwise(notes)]
    muddy = any(gap < 3 and note < MUD for gap, note in zip(gaps, notes, strict=False))
    wide = any(gap > 9 for gap in gaps)
    return not muddy and not wide and gaps.count(1) <= 1 and notes[-1] - notes[0] <= 19


def _stacked(pitch_classes: tuple[int, ...], low: int) -> tuple[tuple[int, ...], ...]:
    """The chord stacked upwards from `low`, for registers too narrow for anything better."""
    notes: list[int] = []
    floor = low
    for pitch_class in pitch_classes:
        floor += (pitch_class - floor) % 12
        notes.append(floor)
        floor += 1
    return (tuple(notes),)
