"""The band's sound: balanced, in one room, stems that sum to the mix, no clicks, no clipping."""

import numpy as np
import pytest
from bandroom import played as song_in

from voice2music.arrangement.score import Arrangement, PlayedNote, Track
from voice2music.clip import Clip
from voice2music.loudness import integrated_loudness, true_peak
from voice2music.rhythm import steady
from voice2music.soundfont import carried_soundfont
from voice2music.styles import Instrument, style
from voice2music.synth import (
    CEILING,
    DRUM_LEVELS,
    MASTER,
    RATE,
    _gain_to_level,
    _room_response,
    _spread_response,
    performed,
    played,
)

FONT = carried_soundfont()  # the sounds that every machine has


def performance(name="pop", **wishes):
    song = song_in(name, bars=4, **wishes)
    return song, performed(
        song, style(name), {t.name: played(t, song.seconds, FONT) for t in song.tracks}
    )


@pytest.fixture(scope="module")
def pop():
    return performance("pop")


def test_the_stems_sum_to_the_mix(pop):
    _, sound = pop
    total = sum(stem.samples for stem in sound.stems.values())
    assert np.abs(sound.mix.samples).max() > 0.3
    assert np.abs(total - sound.mix.samples).max() < 1e-5


def test_every_player_has_a_stem_that_is_heard(pop):
    song, sound = pop
    assert set(sound.stems) == {t.name for t in song.tracks}
    for name, stem in sound.stems.items():
        assert integrated_loudness(stem) > -45, name


def test_the_mix_is_as_long_as_asked_loud_enough_and_below_full_scale(pop):
    song, sound = pop
    assert sound.mix.samples.shape == (2, round(song.seconds * RATE))
    assert integrated_loudness(sound.mix) == pytest.approx(MASTER, abs=1.0)
    assert sound.mix.peak <= CEILING + 1e-3
    assert true_peak(sound.mix) < 0


def test_the_ends_are_faded(pop):
    _, sound = pop
    assert np.abs(sound.mix.samples[:, 0]).max() < 1e-4
    assert np.abs(sound.mix.samples[:, -1]).max() < 1e-4
    assert np.abs(sound.mix.samples[:, -round(0.5 * RATE)]).max() > 1e-4


def test_the_lead_is_louder_than_every_player_of_chords(pop):
    song, sound = pop
    loudness = {name: integrated_loudness(stem) for name, stem in sound.stems.items()}
    for layer in style("pop").layers:
        if layer.name in loudness and layer.kind in ("comp", "pad", "arpeggio"):
            assert loudness[song.tracks[0].name] > loudness[layer.name] + 3


@pytest.mark.parametrize("level", [-20.0, -27.0])
def test_a_level_is_a_loudness_after_bs_1770(level):
    # A 997 Hz sine of full scale in one channel is at -3.01 LKFS (BS.1770-4).
    time = np.arange(4 * RATE) / RATE
    tone = np.zeros((2, 4 * RATE), np.float32)
    tone[0] = np.sin(2 * np.pi * 997 * time)
    gain = _gain_to_level(tone, np.fft.rfft(tone, axis=1), level, tone.shape[1])
    assert 20 * np.log10(gain) == pytest.approx(level + 3.01, abs=0.1)
    # Half of it silence: while it plays, it is as loud as before.
    tone[:, 2 * RATE :] = 0
    again = _gain_to_level(tone, np.fft.rfft(tone, axis=1), level, tone.shape[1])
    assert 20 * np.log10(again / gain) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("hertz", [60.0, 300.0, 5000.0])
def test_the_level_weighs_frequencies_as_the_meter_does(hertz):
    time = np.arange(4 * RATE) / RATE
    tone = np.tile(0.1 * np.sin(2 * np.pi * hertz * time), (2, 1)).astype(np.float32)
    gain = _gain_to_level(tone, np.fft.rfft(tone, axis=1), -20.0, tone.shape[1])
    assert integrated_loudness(Clip(tone * gain, RATE)) == pytest.approx(-20, abs=0.3)


def one_note(width=0.0, room=0.0, level=-20.0, drum=None, seconds=3.0):
    instrument = Instrument(0 if drum else 16, 40, 90, 0.0, level, room, 0.0, width)
    notes = (PlayedNote(0.5, 1.0, drum or 60, 100),)
    track = Track("One", instrument, notes, drums=drum is not None)
    return Arrangement((track,), seconds, steady(120, seconds), (), (), None), track


def test_width_is_heard_in_stereo_and_cancels_in_mono():
    dry_song, track = one_note()
    wide_song, _ = one_note(width=0.8)
    dry = {"One": played(track, 3.0, FONT)}
    narrow = performed(dry_song, style("pop"), dry).mix.samples
    wide = performed(wide_song, style("pop"), dry).mix.samples

    def side(x):
        return ((x[0] - x[1]) ** 2).sum() / (x**2).sum()

    assert side(wide) > 10 * side(narrow) + 0.1
    a, b = narrow.mean(axis=0), wide.mean(axis=0)
    scale = (a * b).sum() / (b * b).sum()
    assert np.abs(a - scale * b).max() < 0.01 * np.abs(a).max()


def test_a_room_rings_on_after_the_note_for_about_its_time():
    song, track = one_note(room=1.0)
    dry = {"One": played(track, 3.0, FONT)}
    sound = performed(song, style("ambient"), dry).mix.samples.mean(axis=0)
    alone = performed(one_note()[0], style("ambient"), dry).mix.samples.mean(axis=0)
    part = slice(round(1.6 * RATE), round(1.8 * RATE))
    assert (sound[part] ** 2).sum() > 100 * (alone[part] ** 2).sum()


@pytest.mark.parametrize("seconds", [0.9, 2.4])
def test_the_reverberation_time_is_that_of_the_style(seconds):
    size = 1 << 18
    response = np.fft.irfft(_room_response(seconds, size), size, axis=1)[0]
    energy = np.cumsum(response[::-1] ** 2)[::-1]  # Schroeder 1965
    decay = 10 * np.log10(energy / energy[0] + 1e-12)
    reached = [np.argmax(decay < -level) / RATE for level in (5, 25)]
    assert 3 * (reached[1] - reached[0]) == pytest.approx(seconds, rel=0.15)


def test_the_spread_has_unit_energy():
    size = 1 << 16
    assert (np.fft.irfft(_spread_response(size), size) ** 2).sum() == pytest.approx(1, rel=1e-3)


def stroke_loudness(drum_key):
    """Loudness of the loudest tenth of a second of one stroke, dry."""
    _, track = one_note(drum=drum_key)
    sound = played(track, 3.0, FONT)
    start = round(0.49 * RATE)
    blocks = [
        integrated_loudness(Clip(np.pad(sound[:, s : s + 4410], ((0, 0), (0, 13_300))), RATE))
        for s in range(start, start + 6000, 1000)
    ]
    return max(blocks)


def test_the_drums_of_a_kit_are_balanced_whatever_the_soundfont_holds():
    snare = stroke_loudness(38)
    for name, key in (("kick", 36), ("hat", 42), ("open", 46), ("ride", 51), ("claves", 75)):
        assert stroke_loudness(key) - snare == pytest.approx(DRUM_LEVELS[name], abs=2.5), name


def test_silence_stays_silence():
    song = Arrangement((), 2.0, steady(120, 2.0), (), (), None)
    assert performed(song, style("pop"), {}).mix.peak == 0
