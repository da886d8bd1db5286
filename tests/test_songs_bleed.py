"""What is left of a voice in an accompaniment is heard; instruments are no voices."""

from pathlib import Path

import numpy as np
import pytest
from bandroom import conditioning

from voice2music.clip import Clip, read, silence
from voice2music.dataset.songs.bleed import ENOUGH, voice_in
from voice2music.engines.band import load
from voice2music.engines.base import Rendition, Settings
from voice2music.pitch import HOP, Pitch, track
from voice2music.singer import Singer, sing
from voice2music.soundfont import carried_soundfont

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
needs_recordings = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
RATE, SECONDS = 32_000, 16.0
LEVELS = (None, -30, -20, -12, -6, 0)  # dB of the voice against the music; None is no voice
SINGERS = {
    "words": Singer("words", vibrato=35.0, noise=-90.0),
    "words, high": Singer("words", vibrato=35.0, noise=-90.0),
    "vowel": Singer("ah", tuning=20.0, noise=-90.0),
    "hum": Singer("hum", noise=-90.0),
}


def sung(kind: str, notes) -> Clip:
    higher = 12 if "high" in kind else 0
    moved = [type(note)(note.onset, note.offset, note.midi + higher) for note in notes]
    return sing(moved, SINGERS[kind], rate=RATE, seed=3, seconds=SECONDS)


@pytest.fixture(scope="module")
def notes():
    return conditioning("pop", SECONDS).melody.notes


@pytest.fixture(scope="module")
def voices(notes) -> dict[str, tuple[Clip, Pitch]]:
    clips = {kind: sung(kind, notes) for kind in SINGERS}
    return {kind: (clip, track(clip)) for kind, clip in clips.items()}


@pytest.fixture(scope="module")
def backs() -> dict[str, Clip]:
    """The band with and without the tune; both follow it in key, chords and time."""
    band, out = load(carried_soundfont()), {}
    for role in ("back", "tune"):
        job = conditioning("pop", SECONDS, role=role)
        (made,) = band.generate(job, Settings(seed=1), lambda *_: None, lambda: False)
        assert isinstance(made, Rendition)
        out[role] = made.audio.mono().resampled(RATE)
    return out


def mixed(voice: Clip, back: Clip, level: float | None) -> Clip:
    if level is None:
        return back
    gain = 10 ** (level / 20) * back.samples.std() / voice.samples.std()
    return Clip(back.samples + gain * voice.samples, back.rate)


# ----------------------------------------------------------------------------------- the voice


@pytest.mark.parametrize("role", ["back", "tune"])
@pytest.mark.parametrize("kind", SINGERS)
def test_it_grows_with_the_voice_and_a_clean_back_stays_far_below(voices, backs, kind, role):
    voice, pitch = voices[kind]
    heard = [voice_in(mixed(voice, backs[role], level), pitch) for level in LEVELS]
    assert heard == sorted(heard)
    clean, twelve, equal = heard[0], heard[3], heard[5]
    assert abs(clean) < 1.2
    assert twelve > clean + 1.2
    assert equal > 2.5


def test_a_band_that_plays_the_tune_is_no_voice(voices, backs):
    for _, pitch in voices.values():
        assert abs(voice_in(backs["tune"], pitch) - voice_in(backs["back"], pitch)) < 1.0


def test_another_singer_of_the_same_tune_is_music(voices, backs, notes):
    other = sing(notes, SINGERS["words"], rate=RATE, seed=99, seconds=SECONDS)
    voice, pitch = voices["words"]
    choir, own = (voice_in(mixed(one, backs["back"], 0), pitch) for one in (other, voice))
    assert choir < 0.4 * own


def test_the_voice_itself_stands_out_most(voices):
    for clip, pitch in voices.values():
        assert voice_in(clip, pitch) > 4.0


# ---------------------------------------------------------------------------------- the clip


def test_level_rate_and_channels_do_not_matter(voices, backs):
    voice, pitch = voices["words"]
    back = mixed(voice, backs["back"], -12)
    expected = voice_in(back, pitch)
    assert voice_in(back.scaled(0.05), pitch) == pytest.approx(expected, abs=0.05)
    assert voice_in(back.stereo(), pitch) == pytest.approx(expected, abs=0.01)
    assert voice_in(back.resampled(44_100), pitch) == pytest.approx(expected, abs=0.05)


def test_a_long_song_is_heard_in_pieces_without_seams(voices, backs, monkeypatch):
    voice, pitch = voices["words"]
    back = mixed(voice, backs["back"], -12)
    expected = voice_in(back, pitch)
    monkeypatch.setattr("voice2music.dataset.songs.bleed.PIECE", 130)
    assert voice_in(back, pitch) == pytest.approx(expected, abs=0.02)


def test_clips_of_another_length_than_the_voice(voices, backs):
    voice, pitch = voices["words"]
    back = mixed(voice, backs["back"], -6)
    longer = Clip(np.pad(back.samples, ((0, 0), (0, 5 * RATE))), RATE)
    assert voice_in(longer, pitch) == pytest.approx(voice_in(back, pitch), abs=0.01)
    half = Pitch(pitch.f0[:900], pitch.confidence[:900])
    assert voice_in(back.cut(0, 9.0), pitch) == pytest.approx(voice_in(back, half), abs=0.2)


def test_nothing_is_in_silence(voices):
    for _, pitch in voices.values():
        assert voice_in(silence(SECONDS, RATE, 2), pitch) == 0.0


def test_too_little_singing_tells_nothing(voices, backs):
    _, pitch = voices["words"]
    frames = round((ENOUGH - 0.5) / HOP)
    for f0 in (np.zeros(1_600), np.zeros(0), np.pad(pitch.f0[100 : 100 + frames], (100, 0))):
        short = Pitch(f0.astype(np.float32), np.ones(len(f0), np.float32))
        assert np.isnan(voice_in(backs["back"], short))
    assert np.isnan(voice_in(backs["back"].cut(0, 1.0), pitch))


def test_a_voice_exactly_on_its_notes_tells_nothing(backs):
    exact = Pitch(np.full(1_600, 220.0, np.float32), np.ones(1_600, np.float32))
    assert np.isnan(voice_in(backs["back"], exact))


def test_nothing_is_changed(voices, backs):
    _, pitch = voices["words"]
    before = pitch.f0.copy(), pitch.confidence.copy(), backs["back"].samples.copy()
    first = voice_in(backs["back"], pitch)
    assert voice_in(backs["back"], pitch) == first
    np.testing.assert_array_equal(pitch.f0, before[0])
    np.testing.assert_array_equal(pitch.confidence, before[1])
    np.testing.assert_array_equal(backs["back"].samples, before[2])


@needs_recordings
@pytest.mark.parametrize("name", ["vocadito_1a_tagalog", "dcs_soprano_latin"])
def test_real_voices(backs, name):
    voice = read(SHARED / "vocals" / f"{name}.flac").resampled(RATE)
    pitch = track(voice)
    back = backs["back"].cut(0, voice.seconds)
    heard = [voice_in(mixed(voice, back, level), pitch) for level in LEVELS]
    assert heard == sorted(heard)
    assert abs(heard[0]) < 1.2
    assert heard[3] > heard[0] + 1.2
