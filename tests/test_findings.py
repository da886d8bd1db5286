import shutil
import subprocess

import numpy as np
import pytest
from fixtures_hearing import (
    VOCALS,
    chords,
    hum,
    manifest,
    melody,
    mixed,
    needs_vocals,
    noise,
    tune,
)

from voice2music.analysis import analyse
from voice2music.clip import Clip, read, silence
from voice2music.findings import MESSAGES, share_between
from voice2music.notes import Note
from voice2music.pitch import track
from voice2music.singer import Singer

SR = 32_000
RAST = (0, 2, 3.5, 5, 7, 9, 10.5)  # third and seventh degree half flat


def codes(clip: Clip) -> list[str]:
    return [finding.code for finding in analyse(clip).findings]


def joined(*clips: Clip) -> Clip:
    return Clip(np.concatenate([clip.samples[0] for clip in clips]), clips[0].rate)


def test_a_clean_hum_has_no_finding():
    for seed in range(3):
        assert codes(hum(melody(seed, 12), Singer(vibrato=50), seed)) == []


def test_every_finding_is_a_sentence_with_its_numbers():
    found = analyse(hum(tune(57, 60), Singer(level=-60, noise=-120))).findings
    assert [f.code for f in found] == ["too_quiet"]
    loudness = dict(found[0].values)["loudness"]
    assert f"{loudness:.0f} LUFS" in found[0].text
    assert found[0].text.startswith("The recording is very quiet")
    for _, text in MESSAGES.values():
        assert text[0].isupper() or text[0] == "{"
        assert text.endswith(".")


@pytest.mark.parametrize(
    ("clip", "code"),
    [
        (silence(3.0, SR), "silence"),
        (Clip((0.1 * noise(3 * SR)).astype(np.float32), SR), "no_tune"),
        (hum(tune(57, 60), seed=1).cut(0.3, 0.9), "too_short"),
        (silence(0.4, SR), "silence"),
    ],
    ids=["silence", "noise", "too short", "short silence"],
)
def test_what_no_music_can_be_made_of_stops(clip, code):
    found = analyse(clip).findings
    assert [(f.code, f.severity) for f in found] == [(code, "stop")]


def test_a_short_tune_in_a_long_silence():
    assert codes(joined(silence(6.0, SR), hum(tune(57)), silence(6.0, SR))) == ["mostly_silence"]


def test_a_distorted_voice():
    loud = hum(melody(1, 8)).samples * 6
    assert codes(Clip(np.clip(loud, -1, 1), SR)) == ["clipped"]


def test_a_noisy_voice_is_noisy_and_not_music():
    alone = hum(melody(1, 12)).samples[0].astype(float)
    assert codes(mixed((alone, 0.0), (noise(len(alone)), -5.0))) == ["noisy"]
    assert codes(mixed((alone, 0.0), (noise(len(alone)), -25.0))) == []


def test_music_behind_the_voice_comes_first():
    alone = hum(melody(1, 12)).samples[0].astype(float)
    assert codes(mixed((alone, 0.0), (chords(30), -6.0)))[0] == "background_music"


def test_two_voices():
    notes = melody(4, 16)
    alone = hum(notes).samples[0].astype(float)
    third = [Note(n.onset, n.offset, n.midi + 4) for n in notes]
    other = hum(third, Singer(timbre="ah"), seed=3).samples[0].astype(float)
    assert "two_voices" in codes(mixed((alone, 0.0), (other, -3.0)))


def test_a_tune_that_no_instrument_plays_there():
    time = np.arange(4 * SR) / SR
    whistle = 0.3 * np.sin(2 * np.pi * 2637 * time)  # E7
    found = analyse(Clip(whistle.astype(np.float32), SR)).findings
    assert [f.code for f in found] == ["out_of_range"]
    assert "very high" in found[0].text
    assert "octave lower" in found[0].text


@pytest.mark.parametrize(
    "singer",
    [
        Singer(intonation=4, drift=4),
        Singer(intonation=4, drift=4, tuning=40),
        Singer(intonation=4, drift=4, vibrato=80),
        Singer(intonation=4, drift=4, scoop=150, portamento=0.15),
    ],
    ids=["plain", "tuned", "vibrato", "scoops"],
)
def test_tones_between_the_notes_of_the_piano_are_told(singer):
    """Rast holds two half-flat degrees of seven; each melody's own share is known."""
    for seed in (1, 2, 3):
        notes = melody(seed, 24, scale=RAST)
        between = sum(n.seconds for n in notes if abs(n.cents) > 35)
        share = between / sum(n.seconds for n in notes)
        assert 0.2 < share < 0.4
        assert share_between(track(hum(notes, singer, seed))) == pytest.approx(share, abs=0.1)


def test_a_maqam_is_announced():
    notes = tune(50, 52, 53.5, 55, 57, 55, 53.5, 52, 53.5, 52, 50, 53.5)
    found = [f for f in analyse(hum(notes)).findings if f.code == "maqam"]
    assert found
    assert dict(found[0].values)["percent"] == pytest.approx(100 * 4 / 12, abs=10)


@pytest.mark.parametrize("seed", range(4))
def test_vibrato_glides_drift_and_a_strange_tuning_are_no_maqam(seed):
    singer = Singer(timbre="words", vibrato=90, scoop=150, portamento=0.15, drift=20, tuning=45)
    assert share_between(track(hum(melody(seed, 24), singer, seed))) < 0.2


def test_a_singer_off_key_all_over_is_no_maqam():
    singer = Singer(intonation=30, vibrato=20)
    shares = [share_between(track(hum(melody(seed, 24), singer, seed))) for seed in range(4)]
    assert np.mean([share >= 0.2 for share in shares]) <= 0.25


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize("options", [["-v", "en"], ["-v", "fr"], ["-v", "en", "-s", "220"]])
def test_talking_has_no_steady_pitch(tmp_path, options):
    path = tmp_path / "talk.wav"
    text = "This is somebody who simply talks into the microphone, and does so for some time."
    subprocess.run(["espeak-ng", *options, "-w", path, text], check=True)
    found = codes(read(path))
    assert "no_steady_pitch" in found
    assert "background_music" not in found


def test_quick_tunes_are_no_talk():
    notes = tune(57, 59, 60, 62, 64, 62, 60, 59, 57, 60, 64, 60, seconds=0.2, gap=0.01)
    assert "no_steady_pitch" not in codes(hum(notes, Singer(scoop=0)))


@needs_vocals
def test_real_singing_is_neither_talk_nor_maqam_nor_music():
    for row in manifest():
        found = set(codes(read(VOCALS / row["file"])))
        assert not found & {"no_steady_pitch", "background_music", "two_voices", "maqam"}, row
        assert ("noisy" in found) == row["kind"].startswith("noisy"), row
