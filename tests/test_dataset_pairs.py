"""Performances, hummers, music and captions of the training pairs."""

from dataclasses import replace

import mir_eval
import numpy as np
import pytest
import tiny_soundfont
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.analysis import analyse
from voice2music.arrangement import arrange
from voice2music.chords import Key
from voice2music.clip import Clip
from voice2music.conditioning import tuned_midi
from voice2music.dataset.captions import Facts, captions
from voice2music.dataset.music import (
    NO_MOOD,
    RATE,
    Mix,
    drawn_band,
    drawn_mix,
    drawn_mood,
    lead_of,
    lead_sounds,
    moods,
    rendered,
)
from voice2music.dataset.pairs import installed
from voice2music.dataset.performance import VOICES, heard_off, performed, transposed
from voice2music.dataset.tunes import own_tune
from voice2music.dataset.voices import RATE as VOICE_RATE
from voice2music.dataset.voices import TUNING, hummed, hummer
from voice2music.engines.base import Melody
from voice2music.errors import MissingPackage
from voice2music.evaluation.melody import melody_accuracy, prominent_pitch_classes
from voice2music.gm import PROGRAMS
from voice2music.harmony import harmonise
from voice2music.pitch import HOP
from voice2music.soundfont import SoundFont
from voice2music.styles import style, styles

SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def font(tmp_path_factory) -> SoundFont:
    path = tiny_soundfont.write(tmp_path_factory.mktemp("sounds") / "tiny.sf2")
    return SoundFont(path, "Tiny", "MIT")


@pytest.fixture(scope="module")
def free_fonts() -> tuple[SoundFont, ...]:
    try:
        return installed()
    except MissingPackage as error:
        pytest.skip(str(error))


def sung(seed: int, tempo: float = 100.0):
    return performed(own_tune(seed), tempo, 16.0, np.random.default_rng(seed))


def line(performance, frames: int) -> np.ndarray:
    """What was meant, per 10 ms."""
    times, out = np.arange(frames) * HOP, np.full(frames, np.nan, np.float32)
    for note in performance.notes:
        out[(times >= note.onset) & (times < note.offset)] = note.midi
    return out


# --- performances ----------------------------------------------------------------------------


@given(SEEDS, st.floats(60, 180))
@settings(max_examples=40, deadline=None)
def test_a_performance_lies_in_the_clip_on_its_beats_and_in_a_voice(seed, tempo):
    meant = performed(own_tune(seed), tempo, 16.0, np.random.default_rng(seed))
    grid, low, high = meant.grid, *VOICES[meant.voice]
    assert meant.seconds <= 16
    assert grid.beats[0] <= 0 < meant.seconds <= grid.beats[-1] + 1e-6
    assert 0 <= grid.downbeat < grid.beats_per_bar
    assert 0.85 * min(tempo, 180) <= grid.tempo <= 1.15 * tempo or grid.tempo < tempo
    assert all(low - 3 <= n.midi <= high + 3 for n in meant.notes)
    sheet = meant.tune.sheet
    for note, written in zip(meant.notes, sheet.notes, strict=False):
        assert 0.1 < note.onset < note.offset <= meant.seconds
        # On the beat that is written: beats and bars agree with the sheet's.
        place = (grid.beat_at(note.onset) - grid.downbeat - written.start) / grid.beats_per_bar
        assert place == pytest.approx(round(place), abs=0.02)


def test_moving_a_performance_moves_notes_key_and_chords_alike():
    meant = sung(4)
    chords = harmonise(meant.notes, meant.grid, meant.key, meant.seconds)
    moved = transposed(replace(meant, chords=chords), 3)
    assert [n.midi - m.midi for n, m in zip(moved.notes, meant.notes, strict=True)] == [3] * len(
        meant.notes
    )
    assert (moved.key.tonic - meant.key.tonic) % 12 == 3
    roots = zip(moved.chords, chords, strict=True)
    assert {(a.chord.root - b.chord.root) % 12 for a, b in roots} == {3}


@pytest.mark.parametrize(("off", "taken"), [(0, 0), (1, 1), (-1, -1), (12, 0), (-11, 1), (4, 0)])
def test_the_music_is_in_the_key_that_is_heard(off, taken):
    meant = sung(9)
    heard = line(meant, round(meant.seconds / HOP)) + np.float32(off + 0.2)
    assert heard_off(meant, heard) == taken


# --- voices ----------------------------------------------------------------------------------


def test_hummers_are_of_all_kinds():
    all_kinds = [hummer(np.random.default_rng(seed)) for seed in range(400)]
    assert {who.singer.timbre for who in all_kinds} == {"hum", "ah", "oh", "oo", "ee", "words"}
    tunings = [who.singer.tuning for who in all_kinds]
    assert -TUNING <= min(tunings) < -50 < 50 < max(tunings) <= TUNING == 60
    late = [who.late for who in all_kinds]
    assert min(late) < -0.03 < 0.03 < max(late)
    ways = [who.recording for who in all_kinds]
    assert {way.reverb > 0 for way in ways} == {True, False}
    assert min(way.hiss for way in ways) < -55 < -30 < max(way.hiss for way in ways)
    assert any(way.mains for way in ways)
    assert any(way.drive > 0 for way in ways)
    assert any(way.high < 4_000 for way in ways)


def plain(who):
    """The same singer with the best microphone in the best room."""
    way = replace(
        who.recording,
        reverb=0.0, low=30.0, high=7_800.0, peak_gain=0.0, hiss=-90.0, mains=None, drive=-6.0,
    )  # fmt: skip
    return replace(who, recording=way)


def test_each_fault_of_a_recording_is_in_the_sound():
    meant = sung(2)
    clean_hummer = plain(hummer(np.random.default_rng(1)))
    clip, notes = hummed(meant.notes, clean_hummer, meant.seconds)
    clean = clip.samples[0].astype(float)
    assert abs(clean).max() == pytest.approx(10 ** (-6 / 20), rel=1e-3)

    def faulty(**changes):
        way = replace(clean_hummer.recording, **changes)
        who = replace(clean_hummer, recording=way)
        return hummed(meant.notes, who, meant.seconds)[0].samples[0].astype(float)

    quiet = slice(0, round(0.1 * VOICE_RATE))  # before the first note
    hiss = faulty(hiss=-30.0)[quiet].std() / abs(clean).max()
    assert 20 * np.log10(hiss) == pytest.approx(-30, abs=2.0)
    assert np.mean(abs(faulty(drive=6.0)) > 0.999) > 0.001
    assert np.mean(abs(clean) > 0.999) == 0

    def above(sound, hertz):
        power = abs(np.fft.rfft(sound)) ** 2
        return power[np.fft.rfftfreq(len(sound), 1 / VOICE_RATE) > hertz].sum() / power.sum()

    assert above(faulty(high=3_300.0), 5_000) < 0.1 * above(clean, 5_000)
    end = round((notes[-1].offset + 0.12) * VOICE_RATE)
    tail = slice(end, end + round(0.1 * VOICE_RATE))
    assert faulty(reverb=0.9, wet=-8.0)[tail].std() > 5 * clean[tail].std()


def test_the_hearing_code_hears_most_of_what_is_sung_but_not_all():
    scores = []
    for seed in range(12):
        meant, who = sung(seed), hummer(np.random.default_rng(seed))
        clip, _ = hummed(meant.notes, who, meant.seconds)
        heard = analyse(clip)
        meant = transposed(meant, heard_off(meant, tuned_midi(heard.pitch, heard.tuning)))
        told, found = (
            (np.array([[n.onset, n.offset] for n in ns]), np.array([n.midi for n in ns]))
            for ns in (meant.notes, heard.notes)
        )
        scores.append(
            mir_eval.transcription.precision_recall_f1_overlap(
                told[0], 440 * 2 ** ((told[1] - 69) / 12),
                found[0], 440 * 2 ** ((found[1] - 69) / 12),
                onset_tolerance=0.15, offset_ratio=None,
            )[2]
        )  # fmt: skip
    assert np.mean(scores) > 0.85
    assert min(scores) < 1.0  # errors are included


# --- music -----------------------------------------------------------------------------------


def piece(seed: int, genre: str, role="tune", band=None):
    meant = sung(seed)
    chords = harmonise(meant.notes, meant.grid, meant.key, meant.seconds)
    return meant, arrange(
        band or style(genre), meant.grid, chords, meant.key, meant.seconds,
        melody=meant.notes, role=role, seed=seed,
    )  # fmt: skip


def level(sound: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(sound.astype(float) ** 2))))


def test_music_is_as_long_and_as_loud_as_asked_and_never_over_full_scale(font):
    meant, played = piece(1, "pop")
    soft, loud = (rendered(played, Mix(loudness=dB, room=0.4), font) for dB in (-26.0, -16.0))
    assert len(soft) == round(meant.seconds * RATE)
    assert abs(loud).max() <= 1
    assert level(loud) - level(soft) == pytest.approx(10, abs=1.5)


def test_a_player_turned_up_is_heard_more(font):
    """The lead alone sounds in three octaves above the band's bass; turned up it wins the mix."""
    meant, played = piece(1, "pop")
    melody = Melody(line(meant, round(meant.seconds / HOP)), meant.notes)
    name = played.tracks[0].name
    low, high = (
        melody_accuracy(
            prominent_pitch_classes(
                Clip(rendered(played, Mix({name: dB}, room=0.4, wet=0.3), font), RATE)
            ),
            melody,
        ).value
        for dB in (-24.0, 18.0)
    )
    assert high > 0.7
    assert high > low + 0.2


def test_backing_leaves_the_tune_to_the_singer():
    _, tune = piece(3, "disco", "tune")
    _, back = piece(3, "disco", "back")
    lead = style("disco").lead.name
    assert lead in [track.name for track in tune.tracks]
    assert lead not in [track.name for track in back.tracks]
    assert lead_of(style("disco"), "back") is None


def test_moods_do_what_they_say():
    by_name = {mood.name: mood for mood in moods()}
    chance = np.random.default_rng(0)
    energetic, calm = (
        np.mean([drawn_mix(style("pop"), by_name[name], chance).levels["Drums"] for _ in range(60)])
        for name in ("energetic", "calm")
    )
    assert energetic > calm + 8
    players = [len(drawn_band(style("pop"), by_name["simple"], chance).layers) for _ in range(60)]
    assert np.mean(players) < len(style("pop").layers) - 0.5
    assert all(drawn_mood(170, "major", chance).name != "sad" for _ in range(60))


def test_bass_and_drums_always_stay():
    chance = np.random.default_rng(0)
    for genre in styles().values():
        kept = drawn_band(genre, moods()[-2], chance)
        basses = [layer for layer in genre.layers if layer.kind in ("bass", "walk")]
        assert all(layer in kept.layers for layer in basses)
        assert kept.drums == genre.drums


def test_play_my_tune_can_be_followed_by_ear(free_fonts):
    """The melody accuracy of true renders is the ceiling for every model: .80 at least."""
    scores, doubled = [], []
    for seed in range(12):
        chance = np.random.default_rng(seed)
        genre = list(styles().values())[(7 * seed) % len(styles())]
        band = drawn_band(genre, NO_MOOD, chance)
        mix = drawn_mix(band, NO_MOOD, chance)
        for role, out in (("tune", scores), ("back", doubled)):
            meant, played = piece(seed, genre.name, role, band)
            sound = rendered(played, mix, free_fonts[seed % len(free_fonts)])
            melody = Melody(line(meant, round(meant.seconds / HOP)), meant.notes)
            out.append(melody_accuracy(prominent_pitch_classes(Clip(sound, RATE)), melody).value)
    assert np.mean(scores) > 0.82
    assert np.mean(doubled) < 0.4


# --- captions --------------------------------------------------------------------------------


def facts(**changes) -> Facts:
    base = Facts(
        style=style("reggae"),
        mood=next(mood for mood in moods() if mood.name == "sad"),
        role="tune",
        lead="Flute",
        players=("drums", "Finger Bass", "Drawbar Organ"),
        tempo=72.0,
        key=Key(9, "minor"),
        heard_tempo=144.0,
        heard_key=Key(9, "minor"),
    )
    return replace(base, **changes)


def many(of: Facts, count: int = 300) -> tuple[str, ...]:
    return captions(of, count, np.random.default_rng(0))


def test_captions_are_many_and_come_again_from_their_seed():
    said = many(facts())
    assert said == many(facts())
    assert len(set(said)) > 0.6 * len(said)
    assert {"{" in text or "}" in text for text in said} == {False}


def test_the_first_caption_is_worded_as_the_app_asks():
    first = many(facts())[0]
    assert first.startswith(style("reggae").prompt)
    assert "144 BPM" in first  # what was heard, as in use
    assert "instrumental lead melody" in first


def test_captions_never_say_what_is_not_true():
    back = " | ".join(many(facts(role="back", lead=None))).lower()
    for words in ("flute", "play my tune", "melody up front", "playing the melody"):
        assert words not in back
    assert "back me up" in back
    plain_words = " | ".join(many(facts(mood=NO_MOOD))).lower()
    assert not any(word in plain_words for mood in moods() for word in ("sorrowful", "sparkling"))
    slow = [text for text in many(facts()) if "fast" in text.lower() or "rapid" in text.lower()]
    assert not slow
    other_genres = "disco", "salsa", "waltz", "metal"
    assert not any(word in text.lower() for text in many(facts()) for word in other_genres)


def test_another_lead_than_the_styles_own_is_always_asked_for():
    """The style's words name its own lead, so a flute has to be said."""
    asked = [text for text in many(facts()) if text.startswith(style("reggae").prompt)]
    assert len(asked) > 50
    assert all("flute" in text.lower() for text in asked)


@pytest.mark.parametrize("genre", list(styles()))
def test_every_genre_has_names_and_every_caption_can_be_said(genre):
    said = captions(
        facts(style=style(genre), lead=None, players=(), mood=NO_MOOD, role="back"),
        50,
        np.random.default_rng(1),
    )
    assert all(text.strip() == text and len(text) > 2 for text in said)


def test_every_lead_instrument_has_its_words_and_a_range():
    names = [PROGRAMS[sound.instrument.program] for sound in lead_sounds()]
    assert len(names) == len(set(names)) >= 15
    for sound in lead_sounds():
        assert sound.words
        assert 21 <= sound.instrument.low <= sound.instrument.high - 19 <= 108
