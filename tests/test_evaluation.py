import json

import mir_eval
import numpy as np
import pytest
from scipy.linalg import sqrtm
from test_score import RATE, SECONDS, conditioning, played

from voice2music.chords import Key
from voice2music.clip import Clip, silence
from voice2music.evaluation import harmony, melody, rhythm, sound
from voice2music.evaluation.frechet import extrapolated, frechet_distance, jackknifed
from voice2music.evaluation.intervals import estimate
from voice2music.evaluation.report import Case, evaluate, markdown


def test_an_interval_holds_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(0)
    held = 0
    for draw in range(200):
        values = rng.normal(1.0, 1.0, 40)
        e = estimate(list(values), [str(i) for i in range(40)], seed=draw)
        held += e.low <= 1.0 <= e.high
    # Binomial(200, .95): fewer than 178 happens once in 1,000; the percentile bootstrap of 40
    # values is a little narrow (about 94 %).
    assert 176 <= held <= 199


def test_takes_of_one_voice_do_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    per_voice = rng.normal(0, 1, 10)
    once = estimate(list(per_voice), [str(i) for i in range(10)])
    repeated = estimate(list(np.repeat(per_voice, 50)), list(np.repeat(np.arange(10), 50)))
    assert repeated.n == 500
    assert repeated.groups == 10
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=0.05)


def test_nothing_measured_is_nan_not_zero():
    assert np.isnan(estimate([float("nan")], ["a"]).mean)


def test_the_frechet_distance_of_two_gaussians_on_a_line_is_the_closed_form():
    # (m1 - m2)^2 + (s1 - s2)^2
    one = np.array([[0.0], [2.0]])  # mean 1, variance 2
    other = np.array([[0.0], [4.0], [8.0]])  # mean 4, variance 16
    expected = 9 + (np.sqrt(2) - 4) ** 2
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-12)


def test_the_jackknife_spreads_as_distances_of_new_draws_do():
    rng = np.random.default_rng(2)
    other = rng.normal(size=(500, 4))
    found = [jackknifed(rng.normal(0.3, 1.2, size=(64, 4)), other) for _ in range(150)]
    spread = np.std([each.mean for each in found])
    told = np.mean([(each.high - each.low) / (2 * 1.96) for each in found])
    # Of 150 draws a standard deviation is known to 6 %; the jackknife is a little wide.
    assert 0.9 * spread < told < 1.3 * spread


def test_the_jackknife_needs_some_takes():
    rows = np.random.default_rng(0).normal(size=(20, 2))
    few = jackknifed(rows[:5], rows)
    assert few.low < few.mean < few.high
    assert few.mean == frechet_distance(rows[:5], rows)
    with pytest.raises(ValueError, match="at least four"):
        jackknifed(rows[:3], rows)


def test_the_frechet_distance_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(50, 6)), rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6)) + 1
    s1, s2 = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    shift = one.mean(0) - other.mean(0)
    expected = shift @ shift + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))


def test_extrapolation_takes_off_the_bias_of_few_samples():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(120, 16)), rng.normal(size=(4000, 16))  # the same distribution
    plain, limit = frechet_distance(one, other), extrapolated(one, other)
    assert plain > 0.3
    assert abs(limit) < plain / 2


def test_too_few_embeddings_are_refused():
    with pytest.raises(ValueError, match="two"):
        frechet_distance(np.zeros((1, 4)), np.zeros((5, 4)))


def test_music_that_plays_the_tune_is_accurate_also_when_it_is_late():
    asked = conditioning()
    for late in (0.0, 0.1):
        pitch_classes = melody.prominent_pitch_classes(played(late=late))
        found = melody.melody_accuracy(pitch_classes, asked.melody)
        assert found.value > 0.85
        assert found.lag == pytest.approx(late, abs=0.03)


def test_accuracy_without_lag_agrees_with_mir_eval_chroma_accuracy():
    asked = conditioning()
    pitch_classes = melody.prominent_pitch_classes(played())
    ours = melody._agreement(
        pitch_classes,
        np.round(np.nan_to_num(asked.melody.midi)).astype(int),
        ~np.isnan(asked.melody.midi),
        0,
    )
    cents = np.where(np.isnan(asked.melody.midi), 0, np.nan_to_num(asked.melody.midi) * 100)
    voicing = ~np.isnan(asked.melody.midi)
    theirs = mir_eval.melody.raw_chroma_accuracy(
        voicing.astype(float), cents, np.ones(len(cents)), pitch_classes * 100.0 + 1200
    )
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_the_wrong_key_is_at_the_floor():
    asked = conditioning()
    pitch_classes = melody.prominent_pitch_classes(played(transpose=6))
    assert melody.melody_accuracy(pitch_classes, asked.melody).value < 0.2


def test_nobody_singing_is_nan():
    asked = conditioning().melody
    nobody = type(asked)(np.full_like(asked.midi, np.nan), ())
    assert np.isnan(melody.melody_accuracy(np.zeros(1600, np.int64), nobody).value)


def test_the_score_is_a_share_of_the_way_from_floor_to_ceiling():
    assert melody.normalised(0.5, 0.1, 0.9) == pytest.approx(0.5)
    assert np.isnan(melody.normalised(0.5, 0.9, 0.9))


def heard_chords(music):
    return harmony.heard_chords(harmony.tonal_chroma(music), music.seconds)


def test_the_chords_of_a_progression_are_heard():
    asked = conditioning()
    heard = heard_chords(played(lead=False))
    assert harmony.chord_accuracy(heard, asked.chords) > 0.85
    assert harmony.chord_fit(heard, asked.melody) > 0.4
    off = heard_chords(played(lead=False, transpose=1))
    assert harmony.chord_accuracy(off, asked.chords) < 0.1
    assert harmony.chord_fit(off, asked.melody) < 0.1


def test_the_smoothed_path_is_the_best_of_all_paths():
    score = np.random.default_rng(0).normal(size=(24, 3))
    stay, change = np.log(1 - harmony.CHANGE), np.log(harmony.CHANGE / 23)
    index = np.arange(24)
    step = np.where(index[:, None] == index[None, :], stay, change)
    total = (
        score[:, 0][:, None, None]
        + (step[:, :, None] + score[:, 1][None, :, None])
        + (step[None, :, :] + score[:, 2][None, None, :])
    )
    best = np.unravel_index(total.argmax(), total.shape)
    assert tuple(harmony._smoothed(score)) == best


def test_the_key_of_a_progression_is_heard():
    assert harmony.heard_key(harmony.tonal_chroma(played())) == Key(0, "major")


def test_tempo_and_beats_are_heard():
    tempo, beats = rhythm.heard_beats(played())
    assert rhythm.same_tempo(tempo, 120)
    assert rhythm.beat_f(beats, np.array(conditioning().grid.beats), SECONDS) > 0.8
    assert rhythm.beat_f(beats, np.arange(0.125, SECONDS, 0.5), SECONDS) < 0.3


@pytest.mark.parametrize(
    ("heard", "asked", "same"),
    [(120, 120, True), (60, 120, True), (240, 120, True), (124, 120, True), (126, 120, False),
     (90, 120, False), (0, 120, False)],
)  # fmt: skip
def test_half_and_double_tempo_count_as_the_same(heard, asked, same):
    assert rhythm.same_tempo(heard, asked) is same


def test_what_is_wrong_with_a_sound_is_seen():
    t = np.arange(RATE * 4) / RATE
    tone = Clip((0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32), RATE)
    assert sound.sound_of(played()).sound
    assert sound.sound_of(tone).stuck > 0.95
    assert sound.sound_of(silence(4, RATE)).silent == 1
    assert sound.sound_of(tone.scaled(10)).clipped > 0.5
    for bad in (tone, silence(4, RATE)):
        assert not sound.sound_of(bad).sound


def test_the_table_puts_good_takes_above_floor_noise_and_silence():
    asked = conditioning()
    other = type(asked)(**{**asked.__dict__, "melody": shifted(asked.melody, 5)})
    cases = [
        Case("good", "one", played(), asked, played()),
        Case("good", "two", played(), other, played()),
    ]
    rows = {(row.system, row.measure): row for row in evaluate(cases)}
    assert rows["good", "chord fit"].value.n == 2
    assert rows["good", "melody accuracy"].value.mean > 0.4
    assert rows["white noise", "melody accuracy"].value.mean < 0.25
    assert rows["silence", "melody accuracy"].value.mean == 0
    assert rows["silence", "sound"].value.mean == 0
    table = markdown(rows.values(), "voice2music evaluate takes")
    assert table.count("\n| ") == len(rows) + 1
    assert "nan" not in table


def shifted(tune, frames):
    return type(tune)(np.roll(tune.midi, frames * 37), tune.notes)


def test_a_folder_of_takes_is_measured_from_the_command_line(tmp_path):
    from test_cli import HUM, run

    run("make", HUM, "--engine", "band", "--seconds", 6, "--out", tmp_path)
    done = run("evaluate", tmp_path)
    assert done.exit_code == 0, done.output
    assert "| band | melody accuracy |" in done.stdout
    record = json.loads(next(tmp_path.glob("*.json")).read_text())
    (tmp_path / record["input"]["file"]).unlink()
    assert run("evaluate", tmp_path).exit_code == 1
