"""The report on the bundled models: the band scores 1, what does not follow scores 0."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_soundfont
import torch
from tiny_audioldm import build_tiny_audioldm
from tiny_musicgen import build_tiny_musicgen
from transformers import EncodecModel

from voice2music.checkpoints import locate
from voice2music.clip import Clip, fitted, silence
from voice2music.dataset.pairs import Recipe, voiced
from voice2music.dataset.shards import MANIFEST, Pairs, Shard, as_pcm, sha256, write_rows
from voice2music.dataset.shards import write_shard as write
from voice2music.engines import audioldm, band, musicgen
from voice2music.engines.base import Rendition
from voice2music.errors import BadRequest
from voice2music.evaluation.intervals import share_of_way
from voice2music.evaluation.minis import card, following, genres, measuring, soundness
from voice2music.evaluation.minis.lines import Line, single
from voice2music.evaluation.minis.listener import Listener, log_mel
from voice2music.evaluation.minis.material import Bandstand, Studio, held_out, job, synthetic
from voice2music.evaluation.minis.record import Phase, keep, kept
from voice2music.evaluation.minis.schooling import Lesson, Plan, lesson, schooled
from voice2music.evaluation.minis.sizes import Sizes
from voice2music.notes import Note
from voice2music.singer import Singer, sing
from voice2music.soundfont import SoundFont, carried_soundfont

TUNES = (
    (60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65, 64, 62, 60, 60),
    (57, 60, 64, 60, 59, 62, 65, 62, 60, 64, 69, 64, 62, 65, 64, 57),
    (65, 65, 69, 72, 70, 69, 67, 65, 67, 69, 70, 67, 65, 64, 62, 65),
    (67, 66, 64, 62, 59, 62, 64, 66, 67, 71, 74, 71, 69, 67, 66, 67),
)


# --- the share of the way from floor to ceiling ------------------------------------------------


def test_values_at_the_floor_score_0_at_the_ceiling_1_and_half_way_a_half():
    floors, ceilings, voices = [0.1, 0.2, 0.3], [0.7, 0.9, 0.8], ["a", "b", "c"]
    assert share_of_way(floors, floors, ceilings, voices).mean == pytest.approx(0)
    assert share_of_way(ceilings, floors, ceilings, voices).mean == pytest.approx(1)
    half = [(f + c) / 2 for f, c in zip(floors, ceilings, strict=True)]
    score = share_of_way(half, floors, ceilings, voices)
    assert (score.mean, score.low, score.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (score.n, score.groups) == (3, 3)


def test_the_share_is_taken_of_means_over_voices():
    # Voice a twice: its mean value is .2, floor 0, ceiling .4; voice b .8 of 0 to 1.
    score = share_of_way([0.1, 0.3, 0.8], [0, 0, 0], [0.4, 0.4, 1.0], ["a", "a", "b"])
    assert score.mean == pytest.approx((0.2 + 0.8) / (0.4 + 1.0))
    assert (score.n, score.groups) == (3, 2)


def test_its_interval_holds_the_true_share_about_95_times_in_100():
    chance = np.random.default_rng(0)
    held = 0
    for draw in range(200):
        floors = chance.normal(0.2, 0.05, 40)
        ceilings = chance.normal(0.8, 0.1, 40)
        values = chance.normal(0.5, 0.1, 40)  # the true share is (.5 - .2) / (.8 - .2) = .5
        score = share_of_way(values, floors, ceilings, [str(i) for i in range(40)], seed=draw)
        held += score.low <= 0.5 <= score.high
    assert 178 <= held <= 199


def test_a_ceiling_that_is_not_above_the_floor_gives_no_share():
    assert np.isnan(share_of_way([0.5], [0.5], [0.5], ["a"]).mean)
    assert np.isnan(share_of_way([float("nan")], [0.0], [1.0], ["a"]).mean)
    with pytest.raises(ValueError, match="lengths"):
        share_of_way([0.5], [0.5], [0.5], ["a", "b"])


# --- following ---------------------------------------------------------------------------------


class Impostor:
    """An engine that hands out what it is told to, with a codec that changes nothing."""

    def __init__(self, music):
        self.music = music

    def generate(self, conditioning, settings, progress, cancelled):
        yield Rendition(self.music(conditioning, settings))

    def reconstructed(self, sound):
        return sound


def hum(keys):
    notes = [Note(0.2 + 0.5 * i, 0.2 + 0.5 * i + 0.45, key) for i, key in enumerate(keys)]
    return sing(notes, Singer(drift=5, vibrato=15), rate=16_000, seed=0)


@pytest.fixture(scope="module")
def jobs():
    return [job(str(number), hum(keys), number) for number, keys in enumerate(TUNES)]


@pytest.fixture(scope="module")
def bandstand():
    return Bandstand(band.load(carried_soundfont()))


def takes(bandstand, jobs, music, role="tune"):
    studio = Studio("musicgen", Impostor(music), bandstand)
    return studio, [studio.made(one, role) for one in jobs]


def values(lines):
    return {line.measure: line for line in lines}


def by_band(bandstand, jobs, turn=0):
    """The band's music of the same request, or of a voice `turn` places further."""

    def music(conditioning, settings):
        place = next(
            i for i, one in enumerate(jobs) if one.asked("band").melody.notes
            == conditioning.melody.notes
        )  # fmt: skip
        return bandstand.made(jobs[(place + turn) % len(jobs)], conditioning.role).music

    return music


def test_the_band_itself_through_a_codec_that_changes_nothing_scores_1(bandstand, jobs):
    studio, made = takes(bandstand, jobs, by_band(bandstand, jobs))
    lines = values(
        following.tune_lines("voices", made, studio, made, "")
        + following.time_and_key_lines(made, studio, made)
    )
    score = lines["Play my tune, voices: score (a−f)/(c−f)"].value
    assert score.mean == pytest.approx(1, abs=1e-9)
    accuracy = lines["Play my tune, voices: melody accuracy"]
    assert accuracy.value.mean > accuracy.floor + 0.3
    for name in ("Tempo", "Key"):
        coded = lines[f"{name}, the band through the codec"].value.mean
        assert coded == pytest.approx(lines[name].value.mean, abs=1e-9)  # this codec loses nothing
        assert lines[f"{name}, share of the band's"].value.mean == pytest.approx(1, abs=1e-9)
    assert lines["Chords, share of the band's"].value.mean == pytest.approx(1, abs=0.1)


def test_the_band_backing_fits_and_does_not_double_the_tune(bandstand, jobs):
    studio, made = takes(bandstand, jobs, by_band(bandstand, jobs), "back")
    lines = values(following.back_lines(made, studio, made))
    assert lines["Back me up: chord fit"].value.mean > 0.15
    assert lines["Back me up: chord fit, share of the band's"].value.mean == pytest.approx(1)
    doubled = lines["Back me up: the tune is not doubled (score)"]
    assert doubled.value.mean < 0.35
    assert doubled.ceiling == pytest.approx(doubled.value.mean)


def test_a_tune_that_is_played_when_backing_was_asked_counts_as_doubled(bandstand, jobs):
    def tune(conditioning, settings):
        return by_band(bandstand, jobs)(replace(conditioning, role="tune"), settings)

    studio, made = takes(bandstand, jobs, tune, "back")
    lines = values(following.back_lines(made, studio, made))
    assert lines["Back me up: the tune is not doubled (score)"].value.mean > 0.9


@pytest.mark.parametrize("kind", ["silence", "noise", "another voice"])
def test_what_does_not_follow_is_at_the_floor(bandstand, jobs, kind):
    def music(conditioning, settings):
        if kind == "another voice":
            return by_band(bandstand, jobs, turn=1)(conditioning, settings)
        if kind == "silence":
            return silence(conditioning.seconds, 16_000)
        noise = np.random.default_rng(settings.seed).standard_normal(128_000)
        return Clip((0.1 * noise).astype(np.float32), 16_000)

    studio, made = takes(bandstand, jobs, music)
    lines = values(following.tune_lines("voices", made, studio, made, ""))
    # Four voices in related keys: another one's tune agrees by more or less than chance.
    assert lines["Play my tune, voices: score (a−f)/(c−f)"].value.mean < 0.2
    _, backed = takes(bandstand, jobs, music, "back")
    fit = values(following.back_lines(backed, studio, backed))["Back me up: chord fit"]
    if kind == "silence":
        assert fit.value.mean == 0  # a take without chords fits no tune; it is not left out
        assert fit.value.n == len(jobs)


# --- the listener ------------------------------------------------------------------------------


def two_genres(folder: Path) -> Path:
    """A data set of low pulses and high ones, which no ear confuses."""
    chance = np.random.default_rng(0)
    time = np.arange(16_000 * 6) / 16_000
    music, rows, start = [], [], 0
    for index in range(24):
        low = index % 2 == 0
        hertz = chance.uniform(100, 160) if low else chance.uniform(1_500, 2_500)
        pulse = np.exp(-8 * ((time * (2 if low else 5)) % 1))
        sound = 0.3 * np.sin(2 * np.pi * hertz * time) * pulse
        pcm = as_pcm((sound + 0.003 * chance.standard_normal(len(time))).astype(np.float32))
        place = {"rate": 16_000, "start": start, "count": len(pcm), "sha256": sha256(pcm)}
        rows.append(
            {"id": f"0-00000-{index:03d}-0", "genre": "low" if low else "high",
             "lead": list(genres.LEADS)[index // 2 % 8],
             "seconds": 6.0, "split": "train" if index < 16 else "test",
             "music": {"file": "shard-00000.music.wav", **place},
             "voice": {"file": "shard-00000.voice.wav", **place},
             "heard_pitch": {"file": "shard-00000.heard.npy", **place}}
        )  # fmt: skip
        music.append(pcm)
        start += len(pcm)
    pcm = np.concatenate(music)
    write(folder, 0, Shard(pcm, pcm, pcm, tuple(rows), {"music": 16_000, "voice": 16_000}))
    write_rows(folder / MANIFEST, tuple(rows))
    return folder


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A listener that has learnt two genres, its cache, and held-out renders."""
    folder = tmp_path_factory.mktemp("two")
    pairs, cache = two_genres(folder), folder / "cache"
    plan = Plan(steps=30, again=4, reconstructions=4, batch=8, crop=3.0)
    listener = schooled(pairs, {"plain": lambda clip: clip}, plan, cache)
    held = Pairs(pairs, "test")
    return listener, plan, folder, [lesson(held, i) for i in range(len(held))]


def clips(renders):
    return [Clip(one.samples, 16_000) for one in renders]


def test_two_genres_are_learnt_and_told_in_sounds_never_heard(heard):
    listener, _, _, renders = heard
    told = listener.told(listener.hear(clips(renders)))
    assert told == [one.genre for one in renders]


def test_what_was_learnt_is_kept_and_depends_on_the_codec(heard):
    listener, plan, folder, renders = heard
    kept = set((folder / "cache").iterdir())
    again = schooled(folder, {"plain": lambda clip: clip}, plan, folder / "cache")
    one, other = (x.hear(clips(renders)).embeddings for x in (listener, again))
    np.testing.assert_array_equal(one, other)
    assert set((folder / "cache").iterdir()) == kept
    schooled(folder, {"other": lambda clip: clip.scaled(0.5)}, plan, folder / "cache")
    assert len(set((folder / "cache").iterdir())) == len(kept) + 1


def test_loudness_says_nothing_to_the_listener():
    sound = torch.from_numpy(np.random.default_rng(0).standard_normal(16_000).astype(np.float32))
    torch.testing.assert_close(log_mel(0.5 * sound), log_mel(0.01 * sound), atol=1e-3, rtol=0)
    assert float((log_mel(sound) - log_mel(sound.flip(0).cumsum(0))).abs().max()) > 1


def test_the_distance_is_small_for_renders_of_the_genre_and_large_for_the_other(heard, jobs):
    listener, _, _, renders = heard

    def line(order):
        made = [Asked(one, renders[i].genre) for one, i in zip(clips(renders), order, strict=True)]
        return genres.frechet_lines(listener, made, renders, renders)[0]

    right = line(range(len(renders)))
    wrong = line([i + 1 if i % 2 == 0 else i - 1 for i in range(len(renders))])
    assert right.value.mean == pytest.approx(0, abs=1e-6)
    assert right.floor > 0.1
    only_low = [i for i in range(len(renders)) if renders[i].genre == "low"]
    some = [clips(renders)[i] for i in only_low]
    asked_high = [Asked(one, "high") for one in some]
    crossed = genres.frechet_lines(listener, asked_high, renders, renders)[0]
    assert crossed.value.mean > 0.1
    assert wrong.value.mean == pytest.approx(0, abs=1e-6)  # all genres together, as asked


class Asked:
    """What `frechet_lines` reads of a take."""

    def __init__(self, music, genre):
        self.music, self.genre = music, genre


def test_a_listener_that_knows_nothing_is_found_out():
    listener = Listener(("low", "high"), ("nobody", *genres.LEADS))
    sound = np.zeros(48_000, np.float32)
    sound[::100] = 0.5
    renders = [Lesson(sound, genre, "Flute") for genre in ("low", "high")]
    lines = genres.listener_lines(listener, renders, renders)
    assert lines[0].value.mean == 0.5  # the same sound cannot be of both genres
    assert lines[0].floor == 0.5


# --- sound, seeds, odd cases -------------------------------------------------------------------


def test_takes_that_are_the_same_or_silent_are_not_different_takes():
    chance = np.random.default_rng(0)
    sounds = [chance.standard_normal(8_000) for _ in range(5)]
    assert soundness.different(sounds) == 5
    assert soundness.different([*sounds, 0.5 * sounds[0], -sounds[1]]) == 5
    assert soundness.different([np.zeros(8_000)] * 4) == 1


def test_the_odd_voices_are_what_their_names_say():
    cases = {case.name: case for case in soundness.odd_cases()}
    flat = job("", cases["40 cents flat"].clip, 0).heard
    tuned = job("", cases["in tune, 8 s"].clip, 0).heard
    assert flat.tuning == pytest.approx(-40, abs=10)
    assert abs(tuned.tuning) < 10
    assert [note.midi for note in flat.notes] == [note.midi for note in tuned.notes]
    whisper = job("", cases["whispered"].clip, 0).heard
    assert whisper.voiced_share < 0.1
    assert cases["30 s"].clip.seconds == pytest.approx(30)
    assert cases["3 s"].clip.seconds == pytest.approx(3)
    leap = [note.midi for note in job("", cases["an octave leap"].clip, 0).heard.notes]
    assert max(leap) - min(leap) > 17


# --- the card ----------------------------------------------------------------------------------


def test_only_the_generated_part_of_a_card_is_replaced(tmp_path):
    path = tmp_path / "mini-model" / "README.md"
    path.parent.mkdir()
    card.written(path, "| first |")
    assert path.read_text().startswith("# mini-model\n")
    path.write_text("# By hand\n\nData.\n\n" + path.read_text().split("\n", 2)[2] + "\nLimits.\n")
    card.written(path, "| second |")
    text = path.read_text()
    assert text.startswith("# By hand\n\nData.\n")
    assert text.rstrip().endswith("Limits.")
    assert "second" in text
    assert "first" not in text


def test_a_line_says_how_many_takes_of_how_many_voices():
    row = Line("Melody", replace(single(0.5), n=128, groups=64), 0.1, 0.8, "≥ .70").row()
    assert row == "| Melody | **0.50** | – | 0.10 | 0.80 | ≥ .70 | 128 of 64 |"
    assert "nan" not in Line("Nothing", single(float("nan"), 0)).row()


def test_what_was_found_is_kept_to_the_bit_and_what_is_missing_is_named(tmp_path):
    line = Line("Melody", replace(single(1 / 3), n=8, groups=4), 0.1, float("nan"), "≥ .70")
    found = {"tune": Phase((line,)), "odd cases": Phase(odd=("| case |",))}
    keep(tmp_path / "new" / "record.json", found)
    again = kept(tmp_path / "new" / "record.json")
    assert [one.row() for one in again["tune"].lines] == [line.row()]
    assert again["tune"].lines[0].value.mean == 1 / 3
    assert again["odd cases"] == found["odd cases"]
    assert kept(tmp_path / "absent.json") == {}


def test_a_whole_report_of_a_tiny_random_model(font, tmp_path, monkeypatch):
    monkeypatch.setenv("VOICE2MUSIC_CACHE", str(tmp_path / "cache"))
    held = held_out(tmp_path / "held", 3, fonts=(font,))
    monkeypatch.setattr(measuring, "held_out", lambda *_: held)
    monkeypatch.setattr(measuring, "_bandstand", lambda: Bandstand(band.load(carried_soundfont())))
    (tmp_path / "two").mkdir()
    folder = build_tiny_musicgen(tmp_path / "tiny-musicgen")
    plan = Plan(steps=2, again=2, reconstructions=2, batch=2, crop=2.0)
    sizes = Sizes(3, 1, 1, 2, 1, 1, 1, 8, 4, 4, 3, 1, plan)
    inputs = measuring.Inputs(tmp_path / "no-data", two_genres(tmp_path / "two"))
    measuring.measure(str(folder), sizes, inputs, only=["sound", "odd cases"])
    text = measuring.measure(
        str(folder), sizes, inputs, only=["play my tune", "back me up", "time and harmony",
                                          "genre", "words", "distance"]
    )  # fmt: skip
    assert (folder / "README.md").read_text().count(text) == 1
    assert "Not measured this time: real clips, cost." in text
    assert "no real clips" in text
    assert "| Different takes of 3 seeds | **3.00** |" in text  # of the first run
    assert "| whispered | 1 | " in text
    for measure in ("score (a−f)/(c−f)", "chord fit", "Tempo", "Key", "Genre is told", "Fréchet"):
        assert measure in text
    with pytest.raises(BadRequest, match="back me up"):
        measuring.measure(str(folder), sizes, inputs, only=["tune"])


# --- the material ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def font(tmp_path_factory) -> SoundFont:
    path = tiny_soundfont.write(tmp_path_factory.mktemp("sounds") / "tiny.sf2")
    return SoundFont(path, "Tiny", "MIT")


def test_held_out_voices_sing_tunes_of_the_test_split_only(font, tmp_path):
    folder = held_out(tmp_path / "held", 2, fonts=(font,))
    pairs = Pairs(folder)
    assert {row["split"] for row in pairs.rows} == {"test"}
    some = synthetic(folder, 2)
    assert len({one.name for one in some}) == 2
    assert all(one.heard.notes for one in some)
    assert some[0].asked("musicgen").melody is not None


def test_a_recipe_for_all_splits_draws_as_ever(font):
    plain = Recipe(seed=5, fonts=(font,))
    assert "split" not in plain.to_json()
    drawn = [voiced(plain, (), (5, 0, number)) for number in range(2)]
    only = voiced(replace(plain, split="train"), (), (5, 0, 0))
    trained = next(v for v in drawn if v and v.performance.tune.split == "train")
    assert only.performance.tune.id == trained.performance.tune.id


# --- codec and vocoder alone -------------------------------------------------------------------


def test_musicgen_reconstructs_as_its_codec_does(tmp_path):
    folder = build_tiny_musicgen(tmp_path / "tiny-musicgen")
    sound = hum(TUNES[0]).cut(0, 3)
    back = musicgen.load(locate(folder)).reconstructed(sound)
    codec = EncodecModel(musicgen.load(locate(folder))._model.audio_encoder.config).eval()
    codec.load_state_dict(musicgen.load(locate(folder))._model.audio_encoder.state_dict())
    with torch.inference_mode():
        theirs = codec(torch.tensor(sound.samples)[:, None]).audio_values[0]
    assert back.seconds == pytest.approx(3)
    np.testing.assert_allclose(
        back.samples, np.clip(fitted(theirs.numpy(), 48_000), -1, 1), atol=1e-4
    )
    assert np.abs(back.samples).max() > 1e-3


def test_audioldm_reconstructs_a_sound_of_the_same_length(tmp_path):
    folder = build_tiny_audioldm(tmp_path / "tiny-audioldm", melody=True)
    engine = audioldm.load(locate(folder))
    sound = hum(TUNES[0]).cut(0, 3)
    back = engine.reconstructed(sound)
    assert (back.rate, back.seconds) == (16_000, pytest.approx(3))
    np.testing.assert_array_equal(back.samples, engine.reconstructed(sound).samples)
    other = engine.reconstructed(hum(TUNES[1]).cut(0, 3))
    assert np.abs(back.samples - other.samples).max() > 1e-3
