"""Notes out of an f0 curve, and the singer's tuning offset.

A note is a sustained pitch that may begin with a glide: singers scoop up to their notes, and a
scoop is no note of its own. Where notes begin and end is found by dynamic programming over all
ways to divide the curve; a dip in level marks the same pitch sung again.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from voice2music.clip import Clip
from voice2music.contour import midline, slope, steady_stretches, vibrating
from voice2music.pitch import HOP, Pitch, frame_level

Array = NDArray[np.float64]

# Costs. The unit is one frame (10 ms) sung one semitone beside the note.
NEW_NOTE = 7.0  # a pitch a semitone away becomes a note of its own when it lasts over 70 ms
FARTHEST = 2.0  # a frame costs no more than two semitones: one slip must not split a note
SUREST = 2.2  # log odds; a frame of confidence 0.9 or more counts fully as sung, 0.1 as not
# Gliding is cheap while the pitch really moves and dear where it rests; a scoop moves at some
# 8 semitones a second (measured on sung scoops of 0.1 to 0.2 s), a leap at 30 and more.
GLIDING, RESTING = 0.3, 1.1
MOVING = 10.0  # semitones per second
SCOOP = 1.5  # semitones under the note from which a beginning is rather a note of its own
FAR_GLIDE = 0.5  # per semitone beyond `SCOOP`

DIP_SPAN = 0.07  # s on either side over which a dip in level is looked for
# dB. Dips inside held notes of real singers stay under 4.5 (vibrato shakes the level too, by up
# to 6), dips where a pitch is sung again lie between 5 and 16.
DIP = (3.0, 4.5)
DIP_IN_VIBRATO = 4.0  # dB more
AGAIN = 0.2  # what a clear dip pays for a new note even at the same pitch

CORRECTION = 0.8  # semitones; a smaller rise without a new attack is the singer correcting herself
SHORTEST = 0.06  # s
FINE = 0.1  # semitones between the candidate pitches


@dataclass(frozen=True)
class Note:
    """One sung note.

    Args:
        onset, offset: seconds from the start of the clip.
        midi: the nearest note of the *singer's own* grid (A4 = 69 at 440 Hz shifted by her tuning).
        cents: how far the note's median lies off that grid, -50 to 50.
    """

    onset: float
    offset: float
    midi: int
    cents: float = 0.0

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.offset - self.onset


def tuning_offset(pitch: Pitch) -> float:
    """How far the singer's grid lies off A4 = 440 Hz, cents, -50 to 50; 0 when nothing is steady.

    The circular mean of all steady frames, then again with those near it counting most, so that
    a few notes sung false do not pull it.
    """
    line = midline(pitch)
    steady = [line[a:b] for a, b in steady_stretches(line)]
    if not steady:
        return 0.0
    angles = 2 * np.pi * np.concatenate(steady)
    weights = np.ones(len(angles))
    centre = 0.0
    for _ in range(4):
        centre = float(np.angle(np.sum(weights * np.exp(1j * angles))))
        weights = np.exp(2.0 * (np.cos(angles - centre) - 1.0))
    return centre / (2 * np.pi) * 100


def segment(pitch: Pitch, tuning: float, clip: Clip) -> tuple[Note, ...]:
    """The notes of a tracked voice, in order, not overlapping.

    Args:
        pitch: tracked from `clip`.
        tuning: the singer's offset from A4 = 440 Hz, cents; `tuning_offset` estimates it.
        clip: for the level, whose dips divide repeated notes.
    Returns:
        Notes of 60 ms and more. `midi + cents / 100 + tuning / 100` is the pitch that was sung.
    """
    if not pitch.voiced.any():
        return ()
    line = midline(pitch)
    frames = _costs(pitch, line, frame_level(clip, len(line)))
    found = _without_corrections(_at_crossings(_best_division(frames), frames), frames)
    return tuple(_note(one, tuning) for one in found if (one.end - one.start) * HOP >= SHORTEST)


@dataclass(frozen=True)
class _Found:
    """A note in frames: it starts, is held from `held` on, and ends before `end`."""

    start: int
    held: int
    end: int
    pitch: float


@dataclass(frozen=True, eq=False)
class _Costs:
    """What each frame costs, all of shape (frames,).

    Args:
        line: fractional MIDI, 0 where nothing is sung.
        sung: 1 where something is sung, else 0.
        counted: cost of being in a note at all; negative where singing is sure.
        gliding: cost of being in a note's glide.
        opening: cost of a note that begins here.
        attacked: how clearly a note is attacked here, in [0, 1].
    """

    line: Array
    sung: Array
    counted: Array
    gliding: Array
    opening: Array
    attacked: Array


def _costs(pitch: Pitch, line: Array, level: Array) -> _Costs:
    sung = np.isfinite(line)
    confidence = np.clip(pitch.confidence.astype(np.float64), 0.01, 0.99)
    odds = np.clip(np.log(confidence / (1 - confidence)), -SUREST, SUREST)
    resting = 1 - np.minimum(np.abs(slope(line)) / MOVING, 1)
    attacked = _attacks(level, vibrating(pitch))
    return _Costs(
        line=np.where(sung, line, 0.0),
        sung=sung.astype(np.float64),
        counted=np.where(sung, -odds, SUREST),
        gliding=GLIDING + (RESTING - GLIDING) * resting,
        opening=NEW_NOTE * (1 - attacked) - AGAIN * (attacked >= 1),
        attacked=attacked,
    )


def _attacks(level: Array, shaking: NDArray[np.bool_]) -> Array:
    """How clearly the level dips, in [0, 1], at the deepest frame of each dip and 0 elsewhere."""
    side = round(DIP_SPAN / HOP)
    before = maximum_filter1d(level, side + 1, origin=side // 2, mode="nearest")
    after = maximum_filter1d(level, side + 1, origin=-(side // 2) - side % 2, mode="nearest")
    depth = np.minimum(before, after) - level - DIP_IN_VIBRATO * shaking
    deepest = depth >= maximum_filter1d(depth, 5, mode="nearest")
    return np.where(deepest, np.clip((depth - DIP[0]) / (DIP[1] - DIP[0]), 0, 1), 0.0)


def _best_division(frames: _Costs) -> list[_Found]:
    """The cheapest way to divide the frames into rests (free) and notes.

    Every candidate pitch has two states, gliding towards it and holding it; a note opens in the
    first, moves to the second whenever that is cheaper, and closes out of the second only.
    """
    sung = frames.line[frames.sung > 0]
    candidates = np.arange(np.floor(sung.min() / FINE) * FINE, sung.max() + FINE, FINE)
    count = len(candidates)
    glide, hold = np.full(count, np.inf), np.full(count, np.inf)
    glide_start, start, held = (np.zeros(count, np.intp) for _ in range(3))
    best = 0.0
    closed: list[_Found | None] = []
    for t in range(len(frames.line)):
        opening = best + frames.opening[t]
        opens = opening < glide
        glide[opens], glide_start[opens] = opening, t
        settles = glide < hold
        hold[settles], start[settles], held[settles] = glide[settles], glide_start[settles], t

        away = np.abs(candidates - frames.line[t]) * frames.sung[t]
        far = np.clip(away - SCOOP, 0, FARTHEST)
        glide += frames.gliding[t] + FAR_GLIDE * far + frames.counted[t]
        hold += np.minimum(away, FARTHEST) + frames.counted[t]

        top = int(np.argmin(hold))
        if hold[top] < best:
            best = float(hold[top])
            closed.append(_Found(int(start[top]), int(held[top]), t + 1, float(candidates[top])))
        else:
            closed.append(None)
    return [_settled(one, frames) for one in _traced(closed)]


def _traced(closed: list[_Found | None]) -> list[_Found]:
    """The notes of the best path, from the last frame back."""
    notes: list[_Found] = []
    end = len(closed)
    while end > 0:
        note = closed[end - 1]
        if note is not None:
            notes.append(note)
        end = note.start if note is not None else end - 1
    return notes[::-1]


def _settled(note: _Found, frames: _Costs) -> _Found:
    """The note with the median of its held part as its pitch."""
    held = slice(note.held, note.end)
    sung = frames.line[held][frames.sung[held] > 0]
    return replace(note, pitch=float(np.median(sung))) if len(sung) else note


def _joined(before: _Found, after: _Found, frames: _Costs) -> bool:
    """Whether the voice went on from one note to the next without a rest or a new attack."""
    return before.end == after.start and frames.attacked[after.start] < 1


def _at_crossings(notes: list[_Found], frames: _Costs) -> list[_Found]:
    """Glides between joined notes divided where the pitch is half way, as listeners hear it."""
    out = notes[:1]
    for note in notes[1:]:
        before, moved = out[-1], note
        if _joined(before, note, frames):
            glide = frames.line[note.start : note.held]
            nearer = np.abs(glide - note.pitch) < np.abs(glide - before.pitch)
            crossing = note.start + (int(np.argmax(nearer)) if nearer.any() else len(glide))
            out[-1] = replace(before, end=crossing)
            moved = replace(note, start=crossing)
        out.append(moved)
    return out


def _without_corrections(notes: list[_Found], frames: _Costs) -> list[_Found]:
    """Short, low beginnings joined to the longer note they rise to by less than a semitone."""
    out: list[_Found] = []
    for note in notes:
        if out and _joined(out[-1], note, frames):
            low = out[-1]
            fresh = len(out) < 2 or not _joined(out[-2], low, frames)
            rises = 0 < note.pitch - low.pitch < CORRECTION
            if fresh and rises and low.end - low.start < note.end - note.start:
                out[-1] = replace(note, start=low.start)
                continue
        out.append(note)
    return out


def _note(found: _Found, tuning: float) -> Note:
    on_grid = found.pitch - tuning / 100
    midi = round(on_grid)
    return Note(found.start * HOP, found.end * HOP, midi, (on_grid - midi) * 100)
