import mir_eval
import numpy as np
import pytest
from fixtures_hearing import VOCALS, columns, hum, hz, manifest, melody, noise, tune
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.clip import Clip, read, silence
from voice2music.pitch import HOP, Pitch, frame_count, frame_level, stretches, track
from voice2music.singer import EXACT, Singer

GIVEN = [row for row in manifest() if row["f0_origin"] == "given"]


def on_notes(pitch: Pitch, notes, margin: float = 0.1) -> np.ndarray:
    """Distance in semitones from each note, over its middle; infinite where unvoiced."""
    parts = []
    for note in notes:
        frames = pitch.midi[int((note.onset + margin) / HOP) : int((note.offset - 0.05) / HOP)]
        parts.append(frames - note.midi - note.cents / 100)
    return np.nan_to_num(np.concatenate(parts), nan=np.inf)


@pytest.mark.parametrize("row", GIVEN, ids=[row["file"] for row in GIVEN])
def test_annotated_recordings_are_tracked_within_fifty_cents(row):
    reference = columns(VOCALS / row["f0_file"])
    pitch = track(read(VOCALS / row["file"]))
    times = np.arange(len(pitch.f0)) * HOP
    series = mir_eval.melody.to_cent_voicing(
        reference[:, 0], reference[:, 1], times, pitch.f0.astype(float)
    )
    # Frames that are called unvoiced count as missed here: the strict reading.
    assert mir_eval.melody.raw_pitch_accuracy(*series) >= 0.95


@pytest.mark.parametrize("low", [38, 45, 57, 69, 76])
@pytest.mark.parametrize("timbre", ["hum", "ah", "ee"])
def test_men_women_and_children_are_tracked(low, timbre):
    notes = tune(*(low + step for step in (0, 4, 7, 12, 7, 5)))
    away = np.abs(on_notes(track(hum(notes, Singer(timbre=timbre, noise=-50))), notes))
    assert np.mean(away < 0.5) > 0.97
    assert np.median(away) < 0.15


def test_a_whistle_above_the_networks_range_is_tracked():
    rate = 44_100
    f0 = np.geomspace(1_000, 3_600, 4 * rate)
    samples = 0.3 * np.sin(2 * np.pi * np.cumsum(f0) / rate) + 0.003 * noise(len(f0))
    pitch = track(Clip(samples.astype(np.float32), rate))
    wanted = f0[(np.arange(len(pitch.f0)) * HOP * rate).astype(int)]
    cents = 1200 * np.abs(np.log2(np.maximum(pitch.f0, 1) / wanted))
    assert np.mean(cents < 50) > 0.9


def test_frames_lie_at_their_times():
    """A siren of 1.5 Hz moves 28 semitones a second: 5 ms of delay would be 0.1 semitones."""
    rate = 16_000
    time = np.arange(3 * rate) / rate
    midi = 57 + 3 * np.sin(2 * np.pi * 1.5 * time)
    phase = 2 * np.pi * np.cumsum(hz(midi)) / rate
    samples = 0.2 * sum(np.sin(h * phase) / h**1.5 for h in range(1, 8))
    pitch = track(Clip(samples.astype(np.float32), rate))
    at = np.arange(20, len(pitch.f0) - 20)

    def error(delay: float) -> float:
        return float(np.median(np.abs(pitch.midi[at] - np.interp(at * HOP - delay, time, midi))))

    assert error(0.0) < 0.04
    assert error(0.0) < min(error(0.004), error(-0.004))


def test_the_level_of_the_recording_does_not_matter():
    clip = hum(melody(1, 8), Singer(noise=-120))
    loud, faint = track(clip), track(clip.scaled(10 ** (-50 / 20)))
    assert loud.voiced.mean() > 0.5
    assert np.mean(loud.voiced == faint.voiced) > 0.99


def test_one_loud_click_does_not_hide_a_quiet_voice():
    clip = hum(tune(57, 60, 62, 64), Singer(level=-40, noise=-100))
    samples = clip.samples.copy()
    samples[0, 100] = 1.0
    assert track(Clip(samples, clip.rate)).voiced.mean() > 0.7


def test_no_octave_slips_where_the_second_harmonic_is_strongest():
    """A child's "ah" on D5 lay an octave too high for 0.2 s."""
    notes = tune(69, 72, 74, 72, 76, 74, 72, 69, seconds=0.6)
    away = on_notes(track(hum(notes, Singer(timbre="ah", size=0.75))), notes)
    assert np.mean(np.abs(np.abs(away) - 12) < 1) == 0


def test_sung_octave_leaps_are_left_alone():
    notes = tune(57, 69, 57, 69, 57, 69)
    assert np.mean(np.abs(on_notes(track(hum(notes)), notes)) < 0.5) > 0.97


@pytest.mark.parametrize("kind", ["silence", "white", "rumble", "dc"])
def test_what_is_no_voice_has_no_pitch(kind):
    count = 3 * 44_100
    samples = {
        "silence": np.zeros(count),
        "white": 0.1 * noise(count),
        "rumble": 0.003 * np.cumsum(noise(count)),
        "dc": np.full(count, 0.3),
    }[kind]
    assert track(Clip(samples.astype(np.float32), 44_100)).voiced.mean() < 0.02


def test_a_tone_far_below_the_song_is_not_sung():
    """Mains hum between the phrases must not look like a held G1."""
    clip = hum(tune(57, 60, 64), EXACT)
    rest = silence(2.0, clip.rate).samples[0]
    time = np.arange(len(rest)) / clip.rate
    mains = 0.001 * np.sin(2 * np.pi * 50 * time) + 0.0007 * np.sin(2 * np.pi * 100 * time)
    pitch = track(Clip(np.concatenate([clip.samples[0], mains]).astype(np.float32), clip.rate))
    assert pitch.voiced[: frame_count(clip)].mean() > 0.5
    assert not pitch.voiced[frame_count(clip) + 20 :].any()


@pytest.mark.parametrize("samples", [1, 10, 441, 5_000])
def test_the_shortest_clips_have_frames(samples):
    pitch = track(Clip(np.full(samples, 0.1, np.float32), 44_100))
    assert len(pitch.f0) == len(pitch.confidence) == max(1, round(samples / 441))


def test_transposing_the_voice_transposes_the_track():
    low = tune(50, 52, 53, 55, 57)
    high = tune(57, 59, 60, 62, 64)
    a, b = track(hum(low, EXACT)), track(hum(high, EXACT))
    both = a.voiced & b.voiced
    assert both.mean() > 0.7
    assert np.median(b.midi[both] - a.midi[both]) == pytest.approx(7, abs=0.05)


def test_the_level_of_a_square_wave_at_full_scale_is_zero_decibel():
    square = np.where(np.arange(16_000) // 20 % 2, 1.0, -1.0).astype(np.float32)
    level = frame_level(Clip(square, 16_000), 100)
    assert level[10:90] == pytest.approx(np.zeros(80), abs=1e-6)
    quieter = frame_level(Clip(square * np.float32(0.1), 16_000), 100)
    assert quieter[50] == pytest.approx(-20, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=40))
def test_stretches_are_the_runs_of_true(mask):
    found = stretches(np.array(mask, np.bool_))
    painted = np.zeros(len(mask), np.bool_)
    for first, last in found:
        assert first < last
        painted[first:last] = True
        assert last == len(mask) or not mask[last]
    assert painted.tolist() == mask
