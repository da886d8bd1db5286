import numpy as np
import pytest
from fixtures_hearing import (
    MIXTURES,
    VOCALS,
    chords,
    drums,
    hum,
    manifest,
    melody,
    mixed,
    needs_mixtures,
    noise,
    tune,
)
from scipy.signal import butter, sosfilt

from voice2music.clip import Clip, read
from voice2music.notes import Note
from voice2music.pitch import track
from voice2music.quality import clipping, quality
from voice2music.singer import Singer

SR = 32_000
SONG = melody(4, 16)
SINGERS = {"hum": Singer(), "words": Singer(timbre="words", vibrato=60)}
KINDS = pytest.mark.parametrize("kind", SINGERS)


def voice(kind: str) -> np.ndarray:
    return hum(SONG, SINGERS[kind]).samples[0].astype(float)


def measured(clip: Clip):
    return quality(clip, track(clip))


@KINDS
def test_music_behind_a_voice_is_heard_and_a_voice_alone_has_none(kind):
    alone = voice(kind)
    assert measured(mixed((alone, 0.0))).accompaniment < 0.05
    for level in (0.0, -6.0, -12.0):
        assert measured(mixed((alone, 0.0), (chords(30), level))).accompaniment > 0.9
    backed = mixed((alone, 0.0), (chords(30), -6.0), (drums(30), -6.0))
    assert measured(backed).accompaniment > 0.9


@KINDS
@pytest.mark.parametrize("level", [0.0, -10.0, -20.0])
def test_noise_and_hum_are_not_music(kind, level):
    alone = voice(kind)
    white = noise(len(alone))
    brown = np.cumsum(white) - np.convolve(np.cumsum(white), np.ones(2001) / 2001, "same")
    time = np.arange(len(alone)) / SR
    mains = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 9))
    for other in (white, brown, mains):
        assert measured(mixed((alone, 0.0), (other, level))).accompaniment < 0.4


@KINDS
def test_an_echo_is_not_music(kind):
    alone = voice(kind)
    tail = noise(SR) * np.exp(-6.9 * np.arange(SR) / SR)
    tail[0] = 8
    size = len(alone) + SR
    echo = np.fft.irfft(np.fft.rfft(alone, size) * np.fft.rfft(tail, size), size)
    assert measured(mixed((echo[: len(alone)], 0.0))).accompaniment < 0.2


@KINDS
def test_a_second_voice_is_told_from_a_band(kind):
    alone = voice(kind)
    third = [Note(n.onset, n.offset, n.midi + 4) for n in SONG]
    other = hum(third, Singer(timbre="ah"), seed=3).samples[0].astype(float)
    both = measured(mixed((alone, 0.0), (other, -3.0)))
    assert both.second_voice > 0.6
    assert both.accompaniment < 0.4
    assert measured(mixed((alone, 0.0))).second_voice < 0.2
    assert measured(mixed((alone, 0.0), (chords(30), -6.0))).second_voice < 0.2


@pytest.mark.parametrize("row", manifest(), ids=[row["file"] for row in manifest()])
def test_real_voices_alone_have_no_music_behind_them(row):
    found = measured(read(VOCALS / row["file"]))
    assert found.accompaniment < 0.2
    assert found.second_voice < 0.2


@needs_mixtures
@pytest.mark.parametrize("name", ["fishin", "jl_fantasma", "slow_motion_dream", "us_on_the_run"])
def test_real_songs_have_music_behind_the_voice(name):
    path = next(MIXTURES.glob(f"{name}.mixture.*"))
    assert measured(read(path)).accompaniment > 0.8


@KINDS
@pytest.mark.parametrize("level", [-10.0, -20.0, -30.0])
def test_signal_to_noise_is_measured_in_decibels(kind, level):
    alone = hum(SONG, SINGERS[kind]).samples[0].astype(float)
    found = measured(mixed((alone, 0.0), (noise(len(alone)), level)))
    assert found.snr == pytest.approx(-level, abs=2.5)


def test_signal_to_noise_of_a_voice_without_pauses():
    alone = hum([Note(0.0, 4.0, 57)], Singer(noise=-120, vibrato=0)).cut(0.2, 3.8).samples[0]
    # It is estimated below 5 kHz, so the noise is kept there.
    low = sosfilt(butter(8, 5_000, fs=SR, output="sos"), noise(len(alone)))
    for level in (-10.0, -20.0):
        found = measured(mixed((alone.astype(float), 0.0), (low, level)))
        assert found.snr == pytest.approx(-level, abs=3)


def test_cut_off_samples_are_counted():
    time = np.arange(2 * SR) / SR
    sine = np.sin(2 * np.pi * 220 * time)
    for gain, ceiling in ((2.0, 1.0), (1.5, 0.8)):
        wanted = float(np.mean(np.abs(gain * sine) >= ceiling))
        clip = Clip(np.clip(gain * sine, -ceiling, ceiling).astype(np.float32), SR)
        assert clipping(clip) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("rate", [8_000, 48_000, 192_000])
def test_loud_but_whole_tones_are_not_cut_off(rate):
    time = np.arange(rate) / rate
    for frequency in (110, 440):
        sine = np.round(32767 * np.sin(2 * np.pi * frequency * time)) / 32768
        assert clipping(Clip(sine.astype(np.float32), rate)) < 0.001
    assert clipping(hum(tune(48, 50), Singer(level=-0.1))) < 0.0005


def test_over_full_scale_is_cut_off_before_coding():
    samples = np.zeros(1_000, np.float32)
    samples[::10] = 1.2
    assert clipping(Clip(samples, SR)) == pytest.approx(0.1)


def test_silence_has_quality_too():
    found = measured(Clip(np.zeros(SR, np.float32), SR))
    assert (found.clipping, found.snr, found.accompaniment, found.second_voice) == (0, 0, 0, 0)
