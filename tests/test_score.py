import itertools

import mir_eval
import numpy as np
import pytest

from voice2music.chords import Chord, ChordSpan, Key
from voice2music.clip import Clip, silence
from voice2music.engines.base import Conditioning, Melody
from voice2music.notes import Note
from voice2music.rhythm import steady
from voice2music.score import follow, key_of_chroma, weighted_key_score

RATE = 22_050
SECONDS = 16.0
PROGRESSION = [(0, "maj"), (9, "min"), (5, "maj"), (7, "maj")] * 2  # C Am F G, a bar of 2 s each
TUNE = [60, 64, 67, 64, 69, 72, 64, 69, 65, 69, 72, 69, 67, 71, 62, 67] * 2  # chord tones, 0.5 s


def conditioning(role="tune"):
    notes = tuple(Note(0.5 * i, 0.5 * i + 0.45, m) for i, m in enumerate(TUNE))
    midi = np.full(1600, np.nan, np.float32)
    for n in notes:
        midi[round(n.onset * 100) : round(n.offset * 100)] = n.midi
    chords = tuple(ChordSpan(2.0 * i, 2.0 * i + 2, Chord(*c)) for i, c in enumerate(PROGRESSION))
    return Conditioning(
        "pop", "", SECONDS, steady(120, SECONDS), Key(0, "major"), chords,
        Melody(midi, notes), role=role,
    )  # fmt: skip


def played(*, lead=True, chords=True, drums=True, transpose=0, late=0.0):
    t = np.arange(round(SECONDS * RATE)) / RATE
    x = np.random.default_rng(0).standard_normal(len(t)) * 1e-4
    asked = conditioning()

    def note(start, seconds, midi, level):
        on = (t >= start + late) & (t < start + seconds + late)
        s = t[on] - start - late
        hz = 440 * 2 ** ((midi + transpose - 69) / 12)
        wave = sum(np.sin(2 * np.pi * hz * k * s) / k**1.5 for k in (1, 2, 3, 4))
        x[on] += level * wave * np.minimum(1, s / 0.005) * np.exp(-2 * s)

    if lead:
        for n in asked.melody.notes:
            note(n.onset, n.seconds, n.midi + 12, 0.3)
    if chords:
        for span in asked.chords:
            for step in (0, 4 - (span.chord.quality == "min"), 7):
                note(span.start, 2.0, 48 + (span.chord.root + step) % 12, 0.08)
    if drums:
        hit = np.random.default_rng(1).standard_normal(1500) * np.exp(-np.arange(1500) / 250)
        for beat in np.arange(late, SECONDS - 0.1, 0.5):
            start = round(beat * RATE)
            x[start : start + 1500] += 0.2 * hit
    return Clip((0.3 * x).astype(np.float32), RATE)


def test_music_that_plays_the_tune_follows_closely():
    score = follow(played(), conditioning())
    assert score.pitch.value > 0.8
    assert score.chords.value > 0.85
    assert score.key.value == 1
    assert score.beat.value > 0.9
    assert score.verdict == "closely"
    for measure in (score.pitch, score.chords, score.key, score.beat):
        assert measure.floor < 0.35


def test_the_same_music_a_tritone_off_hardly_follows_but_for_its_beat():
    score = follow(played(transpose=6), conditioning())
    assert score.pitch.value < 0.2
    assert score.chords.value < 0.2
    assert score.beat.value > 0.9
    assert score.overall < 0.4


def test_a_backing_is_judged_by_chords_and_beat_not_by_the_tune():
    asked = conditioning("back")
    backing, wrong = (
        follow(played(lead=False), asked),
        follow(played(lead=False, transpose=1), asked),
    )
    assert backing.verdict in ("closely", "mostly")
    assert backing.overall > wrong.overall + 0.4


def test_a_quarter_beat_late_loses_the_beat():
    assert follow(played(late=0.125), conditioning()).beat.value < 0.2


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_silence_and_noise_hardly_follow(noise):
    rng = np.random.default_rng(0)
    clip = silence(SECONDS, RATE)
    clip = Clip(clip.samples + noise * rng.standard_normal(clip.samples.shape), RATE)
    score = follow(clip, conditioning())
    assert score.verdict in ("hardly", "partly")
    assert score.overall < 0.2


def test_the_key_score_agrees_with_mir_eval():
    names = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
    keys = [Key(tonic, mode) for tonic in range(12) for mode in ("major", "minor")]
    for one, other in itertools.product(keys, keys):
        theirs = mir_eval.key.weighted_score(
            f"{names[one.tonic]} {one.mode}", f"{names[other.tonic]} {other.mode}"
        )
        assert weighted_key_score(one, other) == pytest.approx(theirs)


def test_silence_has_no_key():
    assert key_of_chroma(np.zeros((12, 10), np.float32)) is None
