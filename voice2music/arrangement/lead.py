"""The tune on an instrument, answers in its rests, and a tune where nobody sang one."""

from collections.abc import Sequence

import numpy as np

from voice2music.arrangement.player import Feel, Song, strokes_of
from voice2music.arrangement.score import PlayedNote
from voice2music.arrangement.timeline import Timeline
from voice2music.arrangement.voicing import coloured, scale
from voice2music.chords import QUALITIES, Key
from voice2music.notes import Note
from voice2music.styles import Layer, Lead

LEGATO = 0.16  # s: a shorter gap between two notes is a breath of the singer's, not a rest
SHORTEST = 0.07  # s
SOFTEST, LOUDEST = 84, 118  # velocities of the tune
QUARTER = 32  # cents off the key from which a note counts as a quarter tone
FIRST_STROKE = 0.3  # s that a tremolo's first stroke is let ring
REST = 1.2  # beats without the tune that leave room for an answer

# Rhythms of a bar for tunes nobody sang: onsets in beats.
MOTIFS = {
    4: (
        (0, 1, 2, 3),
        (0, 1.5, 2, 3),
        (0, 0.5, 1, 2, 3),
        (0, 1, 1.5, 2.5),
        (0, 2, 3),
        (0, 1.5, 3),
    ),
    3: ((0, 1, 2), (0, 2), (0, 1, 1.5, 2), (0, 1.5, 2)),
}
MIDDLE = 69  # around which an invented tune moves
ARCHES = ((0, 4, 7, 2), (5, 7, 3, 0), (7, 4, 5, 0), (2, -2, 5, 3), (-3, 2, 7, 4))  # by bar
STALE = 1.6  # semitones that a new note may lie further off than the last one again


def played_tune(song: Song, lead: Lead) -> list[PlayedNote]:
    """The tune in the lead's register, at the time it was sung."""
    tune = [n for n in song.tune if n.offset - n.onset >= SHORTEST / 2]
    if not tune:
        return []
    shift = fitted_octave([n.midi for n in tune], lead.instrument.low, lead.instrument.high)
    out: list[PlayedNote] = []
    for note, following in zip(tune, [*tune[1:], None], strict=True):
        offset = _held(note, following, song)
        velocity = _loudness(note, song)
        midi = _in_range(note.midi + shift, lead)
        bend = _quarter(note.cents) if lead.quarter_tones else 0.0
        strokes = _tremolo(note.onset, offset, velocity, lead.tremolo)
        for onset, end, loudness in strokes:
            out.append(PlayedNote(onset, end, midi, loudness, bend))
            if lead.octave_doubling:
                soft = max(1, round(0.8 * loudness))
                out.append(PlayedNote(onset, end, midi + lead.octave_doubling, soft, bend))
    return out


def fitted_octave(midi: Sequence[int], low: int, high: int) -> int:
    """Whole octaves, in semitones, that bring a tune into a register.

    The fewest notes outside count, then the nearness of the middle of the tune to that of the
    register.
    """
    notes = np.array(midi)
    centre, middle = (low + high) / 2, float(np.median(notes))

    def misfit(shift: int) -> tuple[int, float]:
        outside = int(((notes + shift < low) | (notes + shift > high)).sum())
        return outside, abs(middle + shift - centre)

    return min(range(-60, 61, 12), key=misfit)


def answers(song: Song, layer: Layer) -> list[PlayedNote]:
    """Short lines in the tune's rests."""
    feel = Feel(song, layer, song.chance(layer.name))
    out: list[PlayedNote] = []
    last: int | None = None
    for stroke in strokes_of(song, layer):
        if not _in_a_rest(song, stroke.beat, stroke.end):
            continue
        last = _next_of_line(song, layer, stroke.beat, last, feel.chance)
        onset = feel.onset(stroke)
        velocity = feel.velocity(14 * int(stroke.mark), stroke)
        out.append(PlayedNote(onset, feel.offset(stroke, onset), last, velocity))
    return out


def invented_tune(time: Timeline, key: Key, seed: int) -> tuple[Note, ...]:
    """A plain tune over the chords, for music made from words alone.

    Rhythms come back every four bars (a b a c) on an arch of pitch drawn by chance; strong beats
    take tones of the chord, the others step through the scale; the last note is the root of the
    last chord.
    """
    chance = np.random.default_rng([seed, 7])
    motifs = MOTIFS[3 if time.grid.beats_per_bar == 3 else 4]
    first, second, third = (motifs[i] for i in chance.permutation(len(motifs))[:3])
    rhythm = (first, second, first, third[:2])
    arch = ARCHES[int(chance.integers(len(ARCHES)))]
    turns = chance.choice([-2, -1, 1, 2], size=(4, 8))
    turns[2] = turns[0]
    out: list[Note] = []
    midi = MIDDLE + arch[0]
    for measure in (m for m in time.measures if m.number >= 0):
        place = measure.number % 4
        onsets = [x for x in rhythm[place] if x < len(measure.beats)]
        ends = [*onsets[1:], len(measure.beats)]
        for index, (onset, end) in enumerate(zip(onsets, ends, strict=True)):
            beat = measure.start + onset
            if time.closing is not None and beat >= time.closing - 0.01:
                break
            goal = 0.5 * midi + 0.5 * (MIDDLE + arch[place]) + int(turns[place, index % 8])
            midi = _melodic(time, key, beat, midi, goal, strong=onset in (0, 2))
            out.append(_note(time, beat, measure.start + end, midi))
    if time.closing is not None:
        root = time.last_chord.root
        last = min((n for n in range(64, 80) if n % 12 == root), key=lambda n: abs(n - midi))
        out.append(_note(time, time.closing, time.closing + time.grid.beats_per_bar, last))
    return tuple(n for n in out if 0 <= n.onset < time.seconds - 0.1)


def _note(time: Timeline, beat: float, end: float, midi: int) -> Note:
    start, stop = time.time(beat), time.time(end)
    return Note(start, min(start + 0.92 * (stop - start), time.seconds), midi)


def _melodic(time: Timeline, key: Key, beat: float, last: int, goal: float, *, strong: bool) -> int:
    """The next note of an invented tune: a chord tone when strong, else of the scale."""
    chord = time.chord(beat)
    tones = {(chord.root + step) % 12 for step in QUALITIES[chord.quality]}
    wanted = tones if strong else scale(key) | tones
    options = [n for n in range(60, 85) if n % 12 in wanted]
    return min(options, key=lambda n: (abs(n - goal) + STALE * (n == last), n))


def _held(note: Note, following: Note | None, song: Song) -> float:
    """Where a note ends: bound to the next one over a short gap; the last one may ring."""
    if following is None:
        closing = song.time.closing
        ringing = closing is not None and note.onset > song.time.time(closing) - 0.3
        return min(song.time.seconds, note.offset + 0.6) if ringing else note.offset
    gap = following.onset - note.offset
    end = following.onset if gap < LEGATO else note.offset
    return max(end, min(note.onset + SHORTEST, following.onset))


def _loudness(note: Note, song: Song) -> int:
    """Velocity of a note of the tune: louder when long, on a strong beat, or high."""
    beat = song.time.grid.beat_at(note.onset)
    on_bar = any(abs(beat - m.start) < 0.2 for m in song.time.measures)
    middle = float(np.median([n.midi for n in song.tune]))
    value = 96 + 8 * on_bar + 6 * min(note.seconds, 1.0) + 0.8 * (note.midi - middle)
    return int(np.clip(round(value), SOFTEST, LOUDEST))


def _in_range(midi: int, lead: Lead) -> int:
    """A stray note brought to where the instrument can still play it."""
    while midi > lead.instrument.high + 7:
        midi -= 12
    while midi < lead.instrument.low - 7:
        midi += 12
    return midi


def _quarter(cents: float) -> float:
    """Half a semitone up or down where that was sung, else nothing."""
    return float(np.sign(cents) * 50) if abs(cents) >= QUARTER else 0.0


def _tremolo(
    onset: float, offset: float, velocity: int, rate: float
) -> list[tuple[float, float, int]]:
    """Onset, offset and velocity of the strokes of one note: one long, then quick soft ones."""
    first = onset + FIRST_STROKE
    count = int((offset - first) * rate)
    if not rate or count < 2:
        return [(onset, offset, velocity)]
    step = (offset - first) / count
    quick = [
        (first + step * k, first + step * (k + 1), round(0.72 * velocity)) for k in range(count)
    ]
    return [(onset, first, velocity), *quick]


def _in_a_rest(song: Song, beat: float, end: float) -> bool:
    """Whether the tune rests from a little before `beat` to `end`, and for long enough."""
    grid = song.time.grid
    onsets = [grid.beat_at(n.onset) for n in song.tune]
    offsets = [grid.beat_at(n.offset) for n in song.tune]
    before = max((o for b, o in zip(onsets, offsets, strict=True) if b <= beat), default=-9.0)
    after = min((b for b in onsets if b > beat), default=before + 99)
    return before <= beat - 0.2 and after >= end - 0.1 and after - before >= REST


def _next_of_line(
    song: Song, layer: Layer, beat: float, last: int | None, chance: np.random.Generator
) -> int:
    """The next note of an answer: a chord tone to begin with, then steps and chord tones."""
    chord = coloured(song.time.chord(beat), song.key, song.time.style.colour)
    tones = {(chord.root + step) % 12 for step in QUALITIES[chord.quality]}
    low, high = layer.instrument.low, layer.instrument.high
    register = [n for n in range(low, high + 1) if n % 12 in tones]
    if last is None:
        centre = (low + high) / 2
        return min(register, key=lambda n: abs(n - centre))
    near = [n for n in register if 0 < abs(n - last) <= 5] or register
    return int(near[int(chance.integers(len(near)))])
