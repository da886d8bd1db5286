"""The band as an engine: what a listener is promised."""

import io
import time
from xml.etree import ElementTree

import numpy as np
import pretty_midi
import pytest
from bandroom import conditioning

from voice2music.chords import parse_progression
from voice2music.chroma import chromagram
from voice2music.engines.band import Band, load
from voice2music.engines.base import Rendition, Settings
from voice2music.errors import BadRequest, Cancelled, TooLong
from voice2music.loudness import integrated_loudness
from voice2music.onsets import onset_strength
from voice2music.rhythm import steady
from voice2music.score import beat_agreement, chord_agreement, pitch_agreement
from voice2music.soundfont import carried_soundfont, soundfont
from voice2music.styles import style, styles
from voice2music.synth import RATE


@pytest.fixture(scope="module")
def band():
    return load(carried_soundfont())  # the sounds that every machine has


def rendered(band, job, seed=0):
    (rendition,) = band.generate(job, Settings(seed=seed), lambda *_: None, lambda: False)
    assert isinstance(rendition, Rendition)
    return rendition


@pytest.fixture(scope="module")
def pop(band):
    return conditioning("pop"), rendered(band, conditioning("pop"))


def test_the_band_says_whose_sounds_it_plays_and_that_they_may_be_sold(band):
    said = band.describe()
    assert (said.name, said.rate, said.commercial, said.checkpoint) == ("band", 44_100, True, "")
    assert "TimGM6mb" in said.licence or "Fluid" in said.licence


def test_a_take_has_stems_midi_lead_sheet_chords_and_grid(pop):
    job, made = pop
    assert made.audio.rate == RATE
    assert made.audio.samples.shape == (2, round(job.seconds * RATE))
    assert {"Lead", "Bass", "Drums", "Piano"} <= set(made.stems)
    assert made.chords == job.chords
    assert made.grid == job.grid
    file = pretty_midi.PrettyMIDI(io.BytesIO(made.midi))
    assert {i.name for i in file.instruments} == set(made.stems)
    sheet = ElementTree.fromstring(made.musicxml)
    assert len(sheet.findall(".//harmony")) >= 7
    assert len(sheet.findall(".//note")) >= len(job.melody.notes)


def test_fifteen_seconds_take_at_most_two(band):
    job = conditioning("waltz")  # the slowest of all
    rendered(band, job)
    started = time.process_time()
    rendered(band, job, seed=1)
    assert time.process_time() - started < 2.0


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(band, pop):
    job, made = pop
    again, other = rendered(band, job), rendered(band, job, seed=1)
    assert np.array_equal(again.audio.samples, made.audio.samples)
    assert again.midi == made.midi
    difference = np.abs(other.audio.samples - made.audio.samples).mean()
    assert difference > 0.1 * np.abs(made.audio.samples).mean()


def test_progress_only_grows_and_ends_at_one(band):
    said = []
    list(band.generate(conditioning(), Settings(), lambda s, w: said.append((s, w)), lambda: False))
    shares = [share for share, _ in said]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert any("Bass" in words for _, words in said)


@pytest.mark.parametrize("after", [0, 3, 6])
def test_it_stops_between_two_players_and_plays_again_afterwards(band, after):
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > after

    with pytest.raises(Cancelled):
        list(band.generate(conditioning(seconds=4.0), Settings(), lambda *_: None, cancelled))
    assert rendered(band, conditioning(seconds=4.0)).audio.peak > 0.1


def test_lengths_it_cannot_play_are_refused_with_the_length(band):
    with pytest.raises(TooLong, match="200"):
        rendered(band, conditioning(seconds=200.0))
    with pytest.raises(BadRequest, match=r"0\.5 s"):
        rendered(band, conditioning(seconds=0.5, sung=conditioning().melody.notes[:1]))


def test_an_unknown_genre_is_refused(band):
    with pytest.raises(BadRequest, match="polka"):
        rendered(band, conditioning("pop", genre="polka"))


@pytest.mark.parametrize("name", ["pop", "disco", "rock", "jazz", "arabic", "bossa-nova"])
def test_the_tune_is_what_sounds_strongest_and_is_left_out_when_backing(band, name):
    job = conditioning(name, seconds=12.0)
    chroma = chromagram(rendered(band, job).audio)
    tune = pitch_agreement(chroma, job.melody)
    backed = chromagram(rendered(band, conditioning(name, seconds=12.0, role="back")).audio)
    back = pitch_agreement(backed, job.melody)
    assert tune.value > 0.65
    assert tune.floor < 0.05
    assert back.value < tune.value - 0.25


@pytest.mark.parametrize("name", ["pop", "folk", "funk", "house", "waltz"])
def test_the_chords_asked_for_are_the_chords_heard(band, name):
    job = conditioning(name, seconds=12.0, role="back")
    heard = chord_agreement(chromagram(rendered(band, job).audio), job.chords)
    assert heard.value > 0.8
    assert heard.floor < 0.05


def test_edited_chords_are_played(band):
    job = conditioning("pop", seconds=10.0, role="back")
    edited = parse_progression("Am | Dm | E | Am", job.grid, job.seconds)
    made = rendered(band, conditioning("pop", seconds=10.0, role="back", chords=edited))
    chroma = chromagram(made.audio)
    assert chord_agreement(chroma, edited).value > 0.75
    assert chord_agreement(chroma, job.chords).value < 0.4


def test_the_beat_is_the_voices_even_when_it_breathes(band):
    from voice2music.rhythm import Grid

    beats = [0.0]
    while beats[-1] < 13:
        beats.append(beats[-1] + 0.5 * (1 + 0.12 * np.sin(len(beats) / 3)))
    grid = Grid(tuple(beats), 0, 4, 120.0)
    job = conditioning("disco", seconds=12.0, grid=grid)
    strength = onset_strength(rendered(band, job).audio)
    assert beat_agreement(strength, grid).value > 0.9
    assert beat_agreement(strength, steady(120, 12.0)).value < 0.7


def test_words_alone_make_music(band):
    made = rendered(band, conditioning("soul", seconds=8.0, melody=None))
    assert "Tenor sax" in made.stems
    assert integrated_loudness(made.audio) > -20
    assert len(ElementTree.fromstring(made.musicxml).findall(".//note")) > 5


@pytest.fixture(scope="module")
def every(band):
    return {name: rendered(band, conditioning(name, seconds=6.0)).audio for name in styles()}


@pytest.mark.parametrize("name", styles())
def test_every_style_is_loud_enough_does_not_clip_and_has_no_hole(every, name):
    audio = every[name]
    assert -18 < integrated_loudness(audio) < -12
    assert audio.peak < 0.9
    mono = audio.mono().samples[0]
    blocks = np.abs(mono[: len(mono) // 8820 * 8820].reshape(-1, 8820)).max(axis=1)
    assert blocks[:-2].min() > 0.01  # no fifth of a second is silent


@pytest.mark.parametrize("name", styles())
def test_no_style_is_muddy_thin_or_harsh(every, name):
    mono = every[name].mono().samples[0]
    power = np.abs(np.fft.rfft(mono)) ** 2
    hertz = np.fft.rfftfreq(len(mono), 1 / RATE)

    def share(low, high):
        return power[(hertz >= low) & (hertz < high)].sum() / power.sum()

    assert share(0, 30) < 0.03
    assert 0.04 < share(30, 200) < 0.8  # there is a bass, and it is not everything
    assert share(200, 2000) > 0.15
    assert share(4000, 20_000) < 0.2


def sound_of(audio, tempo):
    """Octave bands (dB), where in the beat sounds start, and onsets per second."""
    mono = audio.mono().samples[0]
    power = np.abs(np.fft.rfft(mono)) ** 2
    hertz = np.fft.rfftfreq(len(mono), 1 / RATE)
    edges = 40 * 2.0 ** np.arange(9)
    bands = np.array([power[(hertz >= a) & (hertz < 2 * a)].sum() for a in edges])
    strength = onset_strength(audio)
    phase = np.arange(len(strength)) * 0.01 * tempo / 60 % 1
    rhythm = np.array([strength[(phase * 12).astype(int) == k].mean() for k in range(12)])
    peaks = (strength[1:-1] > 2.0) & (strength[1:-1] >= strength[:-2])
    peaks &= strength[1:-1] > strength[2:]
    return np.array([*10 * np.log10(bands / bands.sum()), *4 * rhythm, peaks.sum() / audio.seconds])


def test_styles_sound_different(every):
    features = {name: sound_of(audio, style(name).tempo) for name, audio in every.items()}
    names = list(features)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert np.linalg.norm(features[one] - features[other]) > 5, (one, other)


def test_another_soundfont_can_be_given():
    assert Band(soundfont()).describe().licence == load().describe().licence
    assert "TimGM6mb (GPL-2.0)" in Band(carried_soundfont()).describe().licence
