from dataclasses import replace
from itertools import pairwise

import mir_eval
import numpy as np
import pytest
from fixtures_hearing import VOCALS, columns, hum, hz, manifest, melody, noise, tune

from voice2music.clip import Clip, read
from voice2music.contour import midline, slope, steady_stretches, vibrating
from voice2music.notes import Note, segment, tuning_offset
from voice2music.pitch import HOP, Pitch, track
from voice2music.singer import EXACT, Singer, humanised

ANNOTATED = [row for row in manifest() if row["notes_file"]]


def f1(reference: np.ndarray, notes, tuned: bool) -> float:
    """Note F1: onset within 100 ms, pitch within 50 cents, offsets left aside (mir_eval)."""
    tuning = tuned * notes[1] / 100
    intervals = np.array([[note.onset, note.offset] for note in notes[0]])
    midi = np.array([note.midi + note.cents / 100 + tuning for note in notes[0]])
    return mir_eval.transcription.precision_recall_f1_overlap(
        reference[:, :2], hz(reference[:, 2]), intervals, hz(midi),
        onset_tolerance=0.1, pitch_tolerance=50, offset_ratio=None,
    )[2]  # fmt: skip


def heard(clip: Clip):
    """Notes and tuning of a clip."""
    pitch = track(clip)
    tuning = tuning_offset(pitch)
    return segment(pitch, tuning, clip), tuning


def as_rows(notes, tuning: float = 0.0) -> np.ndarray:
    return np.array([[n.onset, n.offset, n.midi + n.cents / 100 + tuning / 100] for n in notes])


def curve(midi: np.ndarray) -> Pitch:
    """A pitch curve that is sung everywhere."""
    return Pitch(hz(midi).astype(np.float32), np.full(len(midi), 0.99, np.float32))


@pytest.mark.parametrize("row", ANNOTATED, ids=[row["file"] for row in ANNOTATED])
def test_annotated_recordings_are_divided_as_people_did(row):
    reference = columns(VOCALS / row["notes_file"])
    nominal = row["file"].startswith("voco")  # written pitch, sung flat: judged on her own grid
    notes = heard(read(VOCALS / row["file"]))
    assert f1(reference, notes, tuned=not nominal) >= (0.6 if nominal else 0.85)


@pytest.mark.parametrize(
    "singer",
    [
        Singer(),
        Singer(timbre="ah", vibrato=60, vibrato_rate=5.8),
        Singer(timbre="oh", vibrato=100, vibrato_rate=5.2),
        Singer(timbre="words", scoop=150, portamento=0.12),
        Singer(noise=-26),
    ],
    ids=["plain", "vibrato", "deep vibrato", "scoops", "noise"],
)
def test_synthetic_singers_are_divided_note_by_note(singer):
    scores = []
    for seed in range(3):
        sung = humanised(melody(seed, low=(45, 52, 60)[seed]), seed=seed)
        scores.append(f1(as_rows(sung), heard(hum(sung, singer, seed)), tuned=True))
    assert np.mean(scores) > 0.93


@pytest.mark.parametrize("low", [45, 60, 72])
def test_a_pitch_sung_again_is_a_new_note(low):
    sung = tune(*[low] * 8, seconds=0.35, gap=0.0)
    notes, _ = heard(hum(sung, Singer(drift=3)))
    assert len(notes) == 8
    assert [n.onset for n in notes] == pytest.approx([n.onset for n in sung], abs=0.06)


def test_a_long_note_with_vibrato_is_one_note():
    for vibrato in (40, 80, 120):
        singer = Singer(timbre="ah", vibrato=vibrato, scoop=0)
        notes, _ = heard(hum([Note(0.3, 3.3, 60)], singer))
        assert len(notes) == 1, vibrato
        assert notes[0].midi + notes[0].cents / 100 == pytest.approx(60, abs=0.25)


def test_a_scoop_belongs_to_its_note():
    notes, _ = heard(hum([Note(0.3, 1.2, 55)], replace(EXACT, scoop=200)))
    assert len(notes) == 1
    assert notes[0].onset == pytest.approx(0.3, abs=0.06)
    assert notes[0].midi == 55


def test_notes_without_a_break_between_are_divided_where_the_pitch_is_half_way():
    midi = np.concatenate([np.full(50, 55.0), np.linspace(55, 59, 11), np.full(50, 59.0)])
    flat = Clip(np.full(round(len(midi) * HOP * 8_000), 0.5, np.float32), 8_000)
    first, second = segment(curve(midi), 0.0, flat)
    assert (first.midi, second.midi) == (55, 59)
    assert first.offset == second.onset == pytest.approx(0.56, abs=0.02)


def test_a_steady_level_keeps_a_steady_pitch_whole_and_a_dip_divides_it():
    rate = 8_000
    level = np.full(2 * rate, 0.5, np.float32)
    pitch = curve(np.full(200, 57.0))
    assert len(segment(pitch, 0.0, Clip(level, rate))) == 1
    dipped = level.copy()
    dipped[rate : rate + rate // 20] *= 0.3  # 50 ms, 10 dB down
    notes = segment(pitch, 0.0, Clip(dipped, rate))
    assert len(notes) == 2
    assert notes[1].onset == pytest.approx(1.02, abs=0.03)


def test_notes_are_in_order_and_do_not_overlap():
    for seed in range(3):
        notes, tuning = heard(hum(melody(seed), Singer(vibrato=70, drift=20), seed))
        assert all(a.offset <= b.onset for a, b in pairwise(notes))
        assert all(n.seconds >= 0.06 and abs(n.cents) <= 50 for n in notes)
        assert -50 <= tuning <= 50


def test_silence_and_noise_hold_no_note():
    for samples in (np.zeros(32_000), 0.1 * noise(32_000)):
        assert heard(Clip(samples.astype(np.float32), 16_000))[0] == ()


@pytest.mark.parametrize("tuning", [-45, -20, 0, 15, 40])
def test_the_tuning_of_a_singer_is_found(tuning):
    found = [
        heard(hum(melody(seed), Singer(tuning=tuning, vibrato=50), seed))[1] for seed in range(3)
    ]
    # Circular: -45 and 55 are the same grid.
    away = (np.array(found) - tuning + 50) % 100 - 50
    assert np.abs(away).max() < 10


def test_a_few_false_notes_do_not_pull_the_tuning():
    sung = [replace(n, cents=45.0 * (i in (4, 9))) for i, n in enumerate(melody(3, 20))]
    assert abs(heard(hum(sung, EXACT))[1]) < 6


def test_tuning_of_nothing_is_zero():
    assert tuning_offset(Pitch(np.zeros(50, np.float32), np.zeros(50, np.float32))) == 0.0


def test_the_sung_pitch_is_midi_plus_cents_plus_tuning():
    sung = tune(57.3, 59.3, 60.3, 62.3)
    notes, tuning = heard(hum(sung, EXACT))
    assert [n.midi for n in notes] == [57, 59, 60, 62]
    exact = [n.midi + n.cents / 100 + tuning / 100 for n in notes]
    assert exact == pytest.approx([57.3, 59.3, 60.3, 62.3], abs=0.06)


def test_the_midline_of_a_vibrato_is_its_middle():
    time = np.arange(200) * HOP
    for rate, depth in ((4.5, 0.4), (5.5, 0.8), (7.0, 0.3)):
        pitch = curve(60 + depth * np.sin(2 * np.pi * rate * time))
        line = midline(pitch)[30:-30]
        assert np.abs(line - 60).max() < 0.12 * depth + 0.03
        assert vibrating(pitch)[30:-30].all()


def test_the_midline_of_a_tune_without_vibrato_is_the_tune():
    midi = np.repeat([60.0, 62.0, 64.0, 62.0, 60.0], 30)
    pitch = curve(midi)
    assert midline(pitch) == pytest.approx(midi, abs=1e-4)
    assert not vibrating(pitch).any()


def test_the_midline_of_a_vibrato_that_slides_is_the_slide():
    time = np.arange(200) * HOP
    line = midline(curve(58 + 2 * time + 0.5 * np.sin(2 * np.pi * 5.5 * time)))
    assert np.abs(line - 58 - 2 * time)[30:-30].max() < 0.15


def test_slope_is_in_semitones_per_second():
    line = np.concatenate([[np.nan] * 5, 50 + 12 * np.arange(100) * HOP, [np.nan] * 5])
    found = slope(line)
    assert found[15:-15] == pytest.approx(12.0)
    assert found[:5].tolist() == [0.0] * 5


def test_glides_are_not_steady():
    line = np.concatenate([np.full(30, 60.0), np.linspace(60, 67, 40), np.full(30, 67.0)])
    assert len(steady_stretches(line)) == 2
    assert sum(b - a for a, b in steady_stretches(line)) == pytest.approx(60, abs=8)
