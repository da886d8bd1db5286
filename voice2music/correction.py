"""The corrected hum: every note on the scale and on the beat, in the singer's own voice."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from voice2music.analysis import Analysis
from voice2music.chords import Key
from voice2music.clip import Clip
from voice2music.harmony import harmonise
from voice2music.notes import Note
from voice2music.pitch import HOP, Pitch
from voice2music.psola import resung

Array = NDArray[np.float64]

# Degrees in semitones over the tonic. Singers in minor take the sixth and seventh either way.
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 9, 10, 11)}
DIVISIONS = (2, 3)  # slots per beat: halves or thirds; each may be halved again
# Costs of placing a note, in squared standard deviations.
TIMING = 0.08  # beats, standard deviation of a singer's onsets about their places
HALVED = 2.0  # for a place between two slots: a note .15 beats or more from a half beat is moved
RARE = 10.0  # for dividing beats in three: log odds of 5, so a few loose notes do not do it
TOGETHER = 50.0  # for two notes in one place; the shorter one is then left out
REACH = 0.75  # beats that a note may be moved
EASE = 0.02  # s (standard deviation) over which the shift glides from one note's to the next's


def correct(clip: Clip, analysis: Analysis) -> tuple[Clip, Analysis]:
    """The voice with every note moved to the nearest note of the key and slot of the grid.

    Vibrato, vowels and words stay. The result is as long as the clip and mono.

    Args:
        clip: what was analysed.
        analysis: of `clip`.
    Returns:
        The corrected voice, and the analysis with the corrected tune in it: its notes lie on the
        scale and the grid exactly, `tuning` is 0.
    """
    notes, snapped = _both(analysis)
    if not snapped:
        return clip.mono(), analysis
    source, shift = _moves(analysis, notes, snapped)
    f0 = analysis.pitch.f0.astype(np.float64)
    at = np.minimum(np.round(source / HOP).astype(int), len(f0) - 1)
    wanted = f0[at] * 2 ** (shift / 12)
    pitch = Pitch(wanted.astype(np.float32), analysis.pitch.confidence[at])
    corrected = replace(
        analysis,
        pitch=pitch,
        tuning=0.0,
        notes=snapped,
        chords=harmonise(snapped, analysis.grid, analysis.key, analysis.seconds),
        voiced_share=float(pitch.voiced.mean()),
        findings=tuple(found for found in analysis.findings if found.code != "maqam"),
    )
    return resung(clip, f0, wanted, source), corrected


def snapped_notes(analysis: Analysis) -> tuple[Note, ...]:
    """The notes of `analysis` moved to the scale of its key and to the slots of its grid.

    Slots are half beats (or thirds, where those fit clearly better), and their halves for notes
    clearly between them. Of notes that fall into one slot the longest is kept; a note that would
    begin outside the clip is left out.
    """
    return _both(analysis)[1]


def on_scale(pitch: float, key: Key) -> int:
    """The MIDI note of the key's scale nearest to a fractional one."""
    steps = SCALES[key.mode]
    near = range(math.floor(pitch) - 2, math.floor(pitch) + 4)
    return min(
        (midi for midi in near if (midi - key.tonic) % 12 in steps),
        key=lambda midi: abs(midi - pitch),
    )


def _both(analysis: Analysis) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """The notes that can be moved, and where they are moved to."""
    notes, grid = analysis.notes, analysis.grid
    if not notes:
        return (), ()
    placed = _placed([grid.beat_at(note.onset) for note in notes])
    # Positions are counted in the finest slots from here on, as whole numbers.
    finest = placed.finest
    last = math.floor(grid.beat_at(analysis.seconds) * finest + 1e-6)
    kept = _longest(notes, placed.slots, math.ceil(grid.beat_at(0.0) * finest - 1e-6), last)
    ends = [placed.slots[index] for index in kept[1:]] + [last]
    snapped = []
    for index, end in zip(kept, ends, strict=True):
        note, onset = notes[index], placed.slots[index]
        offset = min(max(round(grid.beat_at(note.offset) * finest), onset + 1), end)
        midi = on_scale(note.midi + note.cents / 100, analysis.key)
        snapped.append(Note(grid.time_at(onset / finest), grid.time_at(offset / finest), midi))
    return tuple(notes[index] for index in kept), tuple(snapped)


@dataclass(frozen=True)
class _Placed:
    """Where notes begin, in slots of which there are `finest` to a beat; what that cost."""

    slots: tuple[int, ...]
    finest: int
    cost: float


def _placed(beats: list[float]) -> _Placed:
    """The cheapest places for notes that begin at `beats`, in halves or in thirds."""
    halves, thirds = (_places(np.array(beats), division) for division in DIVISIONS)
    return thirds if thirds.cost + RARE < halves.cost else halves


def _places(beats: Array, division: int) -> _Placed:
    """The cheapest non-falling row of slots, by dynamic programming."""
    finest = 2 * division
    reach = np.arange(-math.ceil(REACH * finest), math.ceil(REACH * finest) + 1)
    slots = np.round(beats * finest).astype(int)[:, None] + reach
    cost = ((beats[:, None] - slots / finest) / TIMING) ** 2 + HALVED * (slots % 2)
    total, came_from = cost[0], []
    for index in range(1, len(beats)):
        gap = slots[index][:, None] - slots[index - 1][None, :]
        step = np.where(gap > 0, 0.0, np.where(gap == 0, TOGETHER, np.inf)) + total
        came_from.append(step.argmin(axis=1))
        total = step.min(axis=1) + cost[index]
    at = [int(total.argmin())]
    for earlier in reversed(came_from):
        at.append(int(earlier[at[-1]]))
    path = zip(slots, reversed(at), strict=True)
    return _Placed(tuple(int(row[index]) for row, index in path), finest, float(total.min()))


def _longest(notes: tuple[Note, ...], slots: tuple[int, ...], first: int, last: int) -> list[int]:
    """Indices of the longest note in each slot from `first` to before `last`."""
    best: dict[int, int] = {}
    for index, slot in enumerate(slots):
        if first <= slot < last:
            rival = best.get(slot)
            if rival is None or notes[index].seconds > notes[rival].seconds:
                best[slot] = index
    return sorted(best.values())


def _moves(
    analysis: Analysis, notes: tuple[Note, ...], snapped: tuple[Note, ...]
) -> tuple[Array, Array]:
    """For every 10 ms of the result: its time in the recording, and the shift in semitones."""
    frames = len(analysis.pitch.f0)
    times = np.arange(frames) * HOP
    new, old = [0.0], [0.0]
    for note, moved in zip(notes, snapped, strict=True):
        for to, of in ((moved.onset, note.onset), (moved.offset, note.offset)):
            # A rest that vanishes becomes a jump of one sample's length.
            new.append(max(to, new[-1] + 1e-5))
            old.append(max(of, old[-1]))
    new.append(max(analysis.seconds, new[-1] + 1e-5))
    old.append(max(analysis.seconds, old[-1]))
    source = np.interp(times, new, old)

    steps = np.array(
        [
            moved.midi - (note.midi + note.cents / 100 + analysis.tuning / 100)
            for note, moved in zip(notes, snapped, strict=True)
        ]
    )
    begins = np.array([moved.onset for moved in snapped])
    which = np.clip(np.searchsorted(begins, times + 1e-6, side="right") - 1, 0, None)
    return source, np.asarray(gaussian_filter1d(steps[which], EASE / HOP, mode="nearest"))
