import time

import numpy as np
import pytest
from fixtures_hearing import MIXTURES, chords, drums, hz, mixed, needs_mixtures, noise

from voice2music.chroma import chromagram
from voice2music.clip import Clip, read, silence
from voice2music.pitch import HOP
from voice2music.spectrum import RATE, WINDOW, lasting, peaks, spectra

SR = 32_000


def tone(midi: float, seconds: float, rolloff: float = 1.0) -> np.ndarray:
    time = np.arange(int(SR * seconds)) / SR
    partials = range(1, 9)
    return sum(np.sin(2 * np.pi * hz(midi) * h * time + h) / h**rolloff for h in partials)


def clip(samples: np.ndarray) -> Clip:
    return Clip((0.5 * samples / np.abs(samples).max()).astype(np.float32), SR)


def agreement(music: Clip, tune: list[int], seconds: float) -> float:
    """Share of the frames well inside each note whose strongest pitch class is the note's."""
    strongest = chromagram(music).argmax(axis=0)
    hits = []
    for index, midi in enumerate(tune):
        inside = slice(
            round((index * seconds + 0.06) / HOP), round(((index + 1) * seconds - 0.06) / HOP)
        )
        hits.extend(strongest[inside] == midi % 12)
    return float(np.mean(hits))


@pytest.mark.parametrize("midi", range(48, 84, 5))
def test_a_tone_is_its_own_pitch_class(midi):
    chroma = chromagram(clip(tone(midi, 1.0)))
    assert chroma.shape == (12, 100)
    assert (chroma.argmax(axis=0) == midi % 12).all()


@pytest.mark.parametrize("low", [48, 60, 72])
def test_a_tune_is_heard_over_drums_and_soft_chords(low):
    tune = np.random.default_rng(low).integers(low, low + 13, 24).tolist()
    lead = np.concatenate([tone(midi, 0.25) for midi in tune])
    assert agreement(clip(lead), tune, 0.25) > 0.99
    backed = mixed((lead, 0.0), (drums(6), 3.0), (chords(6), -10.0))
    assert agreement(backed, tune, 0.25) > 0.9
    wrong = [midi + 1 for midi in tune]
    assert agreement(backed, wrong, 0.25) < 0.2


def test_every_triad_is_told_from_the_other_23():
    triads = [(root, third) for root in range(12) for third in (4, 3)]
    wanted = np.zeros((24, 12))
    for row, (root, third) in enumerate(triads):
        wanted[row, [root, (root + third) % 12, (root + 7) % 12]] = 1
    for row, (root, third) in enumerate(triads):
        pitches = (36 + root, 48 + root, 48 + root + third, 55 + root, 60 + root)
        heard = chromagram(clip(sum(tone(midi, 0.6) for midi in pitches))).sum(axis=1)
        assert (wanted @ heard).argmax() == row


def test_drums_and_noise_hardly_count():
    loud = chromagram(clip(tone(60, 2.0))).sum()
    assert chromagram(clip(drums(2.0))).sum() < 0.05 * loud
    assert chromagram(clip(noise(2 * SR))).sum() < 0.3 * loud


def test_silence_is_zero_in_every_pitch_class():
    chroma = chromagram(silence(1.0, SR))
    assert chroma.shape == (12, 100)
    assert not chroma.any()


def test_transposing_the_music_turns_the_chroma():
    low = chromagram(clip(tone(60, 1.0))).mean(axis=1)
    high = chromagram(clip(tone(63, 1.0))).mean(axis=1)
    assert np.corrcoef(np.roll(low, 3), high)[0, 1] > 0.99
    assert np.corrcoef(low, high)[0, 1] < 0.5


def test_music_that_is_tuned_otherwise_is_heard_with_its_tuning():
    sharp = clip(tone(60.45, 1.0))
    assert (chromagram(sharp, tuning=45.0).argmax(axis=0) == 0).all()
    told, untold = chromagram(sharp, 45.0).max(), chromagram(sharp).max()
    assert told > 5 * untold


def test_frames_lie_at_their_times():
    """The change from one tone to the next shows at its own frame, within 20 ms."""
    chroma = chromagram(clip(np.concatenate([tone(60, 1.0), tone(66, 1.0)])))
    change = np.flatnonzero(np.diff(chroma.argmax(axis=0) == 6))
    assert change[0] == pytest.approx(100, abs=2)


def test_fifteen_seconds_take_less_than_half_a_second():
    music = clip(chords(15.0) + 0.3 * noise(15 * SR))
    chromagram(music)
    started = time.process_time()
    chromagram(music)
    assert time.process_time() - started < 0.5


@needs_mixtures
def test_the_sung_tune_of_a_real_song_is_among_its_strongest_pitch_classes():
    notes = np.array(
        [
            [float(cell) for cell in line.split(",")[:3]]
            for line in (MIXTURES / "us_on_the_run.notes.csv").read_text().splitlines()
            if line[:1].isdigit()
        ]
    )
    chroma = chromagram(read(MIXTURES / "us_on_the_run.mixture.ogg"))
    best, transposed = [], []
    for onset, offset, midi in notes:
        # The header of the file says to add 0.07 s.
        inside = chroma[:, round((onset + 0.09) / HOP) : round((offset + 0.05) / HOP)]
        strongest = np.argsort(-inside, axis=0)[:3]
        best.extend((strongest == midi % 12).any(axis=0))
        transposed.extend((strongest == (midi + 1) % 12).any(axis=0))
    assert np.mean(best) > 0.75
    assert np.mean(transposed) < 0.3


def test_peaks_are_found_at_their_frequency_and_last():
    spectrum = spectra(clip(np.sin(2 * np.pi * 442.3 * np.arange(SR) / SR)))
    found = peaks(spectrum, 3.0)
    inside = found.where((found.row > 8) & (found.row < 40))
    assert inside.frequency == pytest.approx(442.3, abs=0.1)
    assert lasting(found, len(spectrum.magnitude), 3)[(found.row > 8) & (found.row < 40)].all()
    assert len(inside.row) == 31
    assert RATE / WINDOW > 1  # finer than a bin: the interpolation did it


def test_noise_has_less_than_half_a_lasting_peak_at_a_time():
    spectrum = spectra(clip(noise(2 * SR)))
    found = peaks(spectrum, 3.0)
    assert lasting(found, len(spectrum.magnitude), 3).sum() < 0.5 * len(spectrum.magnitude)
