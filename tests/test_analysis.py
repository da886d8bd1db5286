import json
import math
import time

import mir_eval
import numpy as np
import pytest
from fixtures_hearing import hum, melody, noise, tune

from voice2music.analysis import Analysis, analyse, from_json, to_json
from voice2music.clip import Clip, silence
from voice2music.errors import BadManifest
from voice2music.notes import Note
from voice2music.pitch import HOP
from voice2music.request import Guide
from voice2music.singer import Singer

C_MAJOR = tune(60, 62, 64, 60, 65, 64, 62, 60, 67, 67, 65, 64, 62, 62, 60, 60)


def same(a: Analysis, b: Analysis) -> bool:
    """Equal in everything but the f0 curve, which is rounded in JSON."""
    plain = [{k: v for k, v in vars(one).items() if k != "pitch"} for one in (a, b)]
    return plain[0] == plain[1]


def test_a_tune_is_heard_whole():
    heard = analyse(hum(C_MAJOR, Singer(tuning=30, drift=3, intonation=4)))
    assert [note.midi for note in heard.notes] == [note.midi for note in C_MAJOR]
    assert heard.tuning == pytest.approx(30, abs=8)
    assert (heard.key.tonic, heard.key.mode) == (0, "major")
    # Half a second a note: 120 beats per minute, or half or double of that.
    assert min(abs(heard.grid.tempo * factor / 120 - 1) for factor in (0.5, 1, 2)) < 0.04
    assert heard.chords[0].start <= 0
    assert heard.chords[-1].end == pytest.approx(heard.seconds, abs=2.5)
    assert heard.findings == ()
    # The signal and its gaps: sixteen notes in 8.8 s.
    sung = sum(note.seconds for note in C_MAJOR) / heard.seconds
    assert heard.voiced_share == pytest.approx(sung, abs=0.08)


def test_a_guide_beat_is_the_grid():
    guide = Guide(tempo=93.0, beats_per_bar=3, first_downbeat=0.5, latency=0.1)
    heard = analyse(hum(C_MAJOR), guide)
    assert heard.grid.known
    assert (heard.grid.tempo, heard.grid.beats_per_bar) == (93.0, 3)
    assert 0.6 in [pytest.approx(beat) for beat in heard.grid.downbeats]


def test_stereo_and_other_rates_are_heard_the_same():
    clip = hum(C_MAJOR)
    heard = analyse(clip)
    for other in (clip.stereo(), clip.resampled(48_000), clip.resampled(16_000)):
        again = analyse(other)
        reference = np.array([[note.onset, note.offset] for note in heard.notes])
        found = np.array([[note.onset, note.offset] for note in again.notes])
        pitches = [
            np.array([440 * 2 ** ((n.midi - 69) / 12) for n in x.notes]) for x in (heard, again)
        ]
        f1 = mir_eval.transcription.precision_recall_f1_overlap(
            reference, pitches[0], found, pitches[1], offset_ratio=None
        )[2]
        assert f1 > 0.95
        assert again.key.tonic == heard.key.tonic


@pytest.mark.parametrize(
    "clip",
    [
        silence(2.0, 16_000),
        Clip((0.1 * noise(32_000)).astype(np.float32), 16_000),
        Clip(np.full(1, 0.1, np.float32), 44_100),
        Clip(np.full(20_000, 0.2, np.float32), 8_000),
        hum([Note(0.3, 1.0, 60)]),
    ],
    ids=["silence", "noise", "one sample", "constant", "one note"],
)
def test_anything_can_be_analysed_and_written(clip):
    heard = analyse(clip)
    assert len(heard.pitch.f0) == max(1, round(clip.seconds / HOP))
    text = json.dumps(to_json(heard), allow_nan=False)
    assert same(from_json(json.loads(text)), heard)


def test_an_analysis_survives_json():
    heard = analyse(hum(melody(5, 12), Singer(level=-50, noise=-110)))
    again = from_json(json.loads(json.dumps(to_json(heard), allow_nan=False)))
    assert heard.findings
    assert same(again, heard)
    assert again.pitch.f0 == pytest.approx(heard.pitch.f0, abs=0.006)
    assert (again.pitch.voiced == heard.pitch.voiced).all()


def test_silence_is_minus_infinity_and_no_number_of_json():
    heard = analyse(silence(2.0, 16_000))
    assert heard.loudness == -math.inf
    assert math.isfinite(to_json(heard)["loudness"])
    assert from_json(to_json(heard)).loudness == -math.inf


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values.pop("key"),
        lambda values: values.pop("f0"),
        lambda values: values["f0"].append(1.0),
        lambda values: values.update(colour="red"),
        lambda values: values.update(notes=7),
        lambda values: values["notes"][0].pop("onset"),
        lambda values: values.update(grid=None),
        lambda values: values.update(f0="loud"),
    ],
)
def test_a_damaged_analysis_is_refused_in_a_sentence(spoil):
    values = to_json(analyse(hum(tune(60, 62))))
    spoil(values)
    with pytest.raises(BadManifest, match="not a whole analysis"):
        from_json(values)


def test_fifteen_seconds_take_little():
    """0.6 s on two cores; counted in processor time, so that a busy machine does not matter."""
    clip = hum(melody(6, 26)).cut(0, 15).resampled(44_100)
    analyse(clip)
    started = time.process_time()
    analyse(clip)
    assert time.process_time() - started < 0.6
