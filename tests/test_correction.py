import itertools
from dataclasses import replace

import numpy as np
import pytest
from fixtures_hearing import VOCALS, hum, needs_vocals, tune
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.analysis import analyse
from voice2music.chords import Key
from voice2music.clip import read, silence
from voice2music.correction import SCALES, correct, on_scale, snapped_notes
from voice2music.notes import Note, segment
from voice2music.pitch import track
from voice2music.request import Guide
from voice2music.singer import Singer, humanised

FALSE = Singer(intonation=35, drift=15, tuning=25, vibrato=30)
GUIDE = Guide(tempo=120.0, first_downbeat=0.3, latency=0.0)


def sung(seed: int = 1):
    """A tune with false notes, sung loosely to a known beat of 120; the clip and its analysis."""
    notes = humanised(melody_on_beats(seed), seed=seed, jitter=0.03, rubato=0.0)
    clip = hum(notes, FALSE, seed)
    return clip, analyse(clip, GUIDE)


def melody_on_beats(seed: int):
    rng = np.random.default_rng(seed)
    steps = np.clip(np.cumsum(rng.choice([-2, -1, 1, 2], 14)) + 3, 0, 9)
    scale = [0, 2, 4, 5, 7, 9, 11]
    return tune(*[52 + 12 * (d // 7) + scale[d % 7] for d in steps.tolist()], seconds=0.5)


def places(notes, grid) -> np.ndarray:
    return np.array([grid.beat_at(time) for note in notes for time in (note.onset, note.offset)])


@pytest.mark.parametrize("seed", range(3))
def test_corrected_notes_lie_on_scale_and_grid(seed):
    clip, heard = sung(seed)
    assert max(abs(note.cents) for note in heard.notes) > 20
    _, corrected = correct(clip, heard)
    scale = [(heard.key.tonic + step) % 12 for step in SCALES[heard.key.mode]]
    assert corrected.notes
    for note in corrected.notes:
        assert note.midi % 12 in scale
        assert note.cents == 0
    halves = places(corrected.notes, heard.grid) * 4
    assert np.abs(halves - np.round(halves)).max() < 1e-6
    assert all(
        a.offset <= b.onset + 1e-9
        for a, b in zip(corrected.notes, corrected.notes[1:], strict=False)
    )
    assert corrected.tuning == 0


@pytest.mark.parametrize("seed", range(3))
def test_what_was_meant_is_what_is_corrected_to(seed):
    """Loose timing and false notes of a known tune are mended to that very tune."""
    clip, heard = sung(seed)
    corrected = correct(clip, heard)[1].notes
    meant = melody_on_beats(seed)
    on_time = [
        any(abs(c.onset - m.onset) < 0.01 and c.midi == m.midi for c in corrected) for m in meant
    ]
    assert np.mean(on_time) >= 0.75


@pytest.mark.parametrize("seed", range(3))
def test_the_corrected_voice_sings_the_corrected_notes(seed):
    clip, heard = sung(seed)
    voice, corrected = correct(clip, heard)
    assert voice.seconds == pytest.approx(clip.seconds, abs=0.011)
    pitch = track(voice)
    frames = min(len(pitch.f0), len(corrected.pitch.f0))
    away = pitch.midi[:frames] - corrected.pitch.midi[:frames]
    assert np.nanmedian(np.abs(away)) < 0.08
    again = segment(pitch, 0.0, voice)
    false = np.median([abs(note.cents) for note in again])
    assert false < 12
    assert false < 0.6 * np.median([abs(n.cents + heard.tuning) for n in heard.notes])
    hits = [any(abs(c.onset - a.onset) < 0.06 and c.midi == a.midi for a in again)
            for c in corrected.notes]  # fmt: skip
    assert np.mean(hits) > 0.85


def test_a_tune_that_is_right_stays_as_it_is():
    notes = melody_on_beats(2)
    clip = hum(notes, Singer(intonation=0, drift=0, scoop=0, vibrato=0))
    heard = analyse(clip, GUIDE)
    voice, corrected = correct(clip, heard)
    moved = [abs(a.onset - b.onset) for a, b in zip(heard.notes, corrected.notes, strict=True)]
    assert max(moved) < 0.06
    before, after = track(clip), track(voice)
    both = before.voiced & after.voiced[: len(before.f0)]
    assert np.median(np.abs(before.midi[both] - after.midi[: len(before.f0)][both])) < 0.1


def test_silence_has_nothing_to_correct():
    clip = silence(2.0, 16_000)
    heard = analyse(clip)
    voice, corrected = correct(clip, heard)
    assert corrected is heard
    assert voice.seconds == 2.0
    assert snapped_notes(heard) == ()


@settings(max_examples=200, deadline=None)
@given(st.floats(30, 90), st.integers(0, 11), st.sampled_from(["major", "minor"]))
def test_the_nearest_note_of_the_scale_is_taken(pitch, tonic, mode):
    found = on_scale(pitch, Key(tonic, mode))
    every = [m for m in range(24, 100) if (m - tonic) % 12 in SCALES[mode]]
    assert found in every
    assert abs(found - pitch) == min(abs(m - pitch) for m in every)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.02, 1.0), st.floats(0.06, 0.9)), min_size=1, max_size=20),
    st.floats(45, 220),
)
def test_snapped_notes_are_in_order_on_slots_and_inside(steps, tempo):
    notes, time = [], 0.1
    for gap, length in steps:
        notes.append(Note(time, time + length, 60))
        time += length + gap
    heard = with_notes(tuple(notes), tempo, time + 0.3)
    found = snapped_notes(heard)
    slots = places(found, heard.grid)
    halves, thirds = slots * 4, slots * 6
    misfit = min(np.abs(x - np.round(x)).max(initial=0) for x in (halves, thirds))
    assert misfit < 1e-6
    assert all(note.seconds > 0 for note in found)
    assert all(a.offset <= b.onset + 1e-9 for a, b in itertools.pairwise(found))
    assert all(note.onset >= -1e-6 and note.offset <= heard.seconds + 1e-6 for note in found)


def test_triplets_are_kept_as_triplets():
    beat = 60 / 96
    notes = tuple(Note(beat * i / 3, beat * (i + 0.9) / 3, 60 + i % 2) for i in range(24))
    heard = with_notes(notes, 96.0, 8 * beat + 0.1)
    thirds = places(snapped_notes(heard), heard.grid)[::2] * 3
    assert len(thirds) == 24
    assert np.abs(thirds - np.round(thirds)).max() < 1e-6


def test_a_sixteenth_among_eighths_is_kept():
    beat = 0.75
    starts = [0, 0.5, 1, 1.5, 2, 2.5, 2.75, 3, 3.5]
    notes = tuple(Note(beat * s, beat * (s + 0.22), 60) for s in starts)
    found = snapped_notes(with_notes(notes, 80.0, 4.0))
    assert [round(n.onset / beat, 3) for n in found] == starts


def with_notes(notes, tempo: float, seconds: float):
    """An analysis of nothing but these notes at a known tempo from 0 s."""
    base = analyse(silence(seconds, 8_000), Guide(tempo, 4, 0.0, 0.0))
    return replace(base, notes=notes, key=Key(0, "major"))


@needs_vocals
@pytest.mark.parametrize("name", ["vocadito_1b_tagalog", "voco_frere_jacques", "dcs_soprano_latin"])
def test_real_voices_are_resung_on_the_scale(name):
    clip = read(VOCALS / f"{name}.flac")
    heard = analyse(clip)
    voice, corrected = correct(clip, heard)
    pitch = track(voice)
    frames = min(len(pitch.f0), len(corrected.pitch.f0))
    away = np.abs(pitch.midi[:frames] - corrected.pitch.midi[:frames])
    assert np.nanmedian(away) < 0.08
    assert np.isfinite(away).sum() > 0.9 * corrected.pitch.voiced.sum()
    again = segment(pitch, 0.0, voice)
    scale = [(heard.key.tonic + step) % 12 for step in SCALES[heard.key.mode]]
    on = [n.seconds for n in again if n.midi % 12 in scale and abs(n.cents) < 25]
    assert sum(on) > 0.85 * sum(n.seconds for n in again)
