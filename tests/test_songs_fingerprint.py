"""The same recording under another name is found, and nothing else is."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from voice2music.clip import Clip, read, silence, write
from voice2music.dataset.songs.fingerprint import (
    ALIKE,
    CODE_SECONDS,
    SHORTEST,
    Duplicate,
    bit_error,
    duplicates,
    fingerprint,
)
from voice2music.dataset.tunes import own_tune
from voice2music.notes import Note
from voice2music.singer import Singer, sing

RATE = 16_000
SHARED = Path(__file__).parents[1].parent / "shared" / "data"
needs_recordings = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")


def song(seed: int, seconds: float = 12.0) -> Clip:
    """A tune of its own, sung over chords and a drum machine that is the same in all songs."""
    rng = np.random.default_rng(seed)
    beat, keys = 0.5, [note.midi for note in own_tune(seed).sheet.notes]
    count = int(seconds / beat)
    notes = [Note(k * beat, (k + 0.9) * beat, keys[k % len(keys)] - 12) for k in range(count)]
    voice = sing(notes, Singer("words"), rate=RATE, seed=seed, seconds=seconds).samples[0]
    roots = rng.choice([45, 48, 50, 52, 53, 55], count // 4 + 1)
    out = 0.5 * voice + 0.2 * drums(len(voice))
    for third, key in enumerate(np.stack([roots, roots + rng.choice([3, 4]), roots + 7])):
        hertz = np.repeat(440 * 2 ** ((key - 69) / 12), round(4 * beat * RATE))[: len(voice)]
        phase = 2 * np.pi * np.cumsum(hertz) / RATE
        out += sum(0.06 / k * np.sin(k * phase + third) for k in range(1, 9))
    return Clip(out.astype(np.float32), RATE)


def drums(length: int) -> np.ndarray:
    """The same noise bursts at the same tempo, whoever plays."""
    t = np.arange(length) / RATE
    noise = np.random.default_rng(0).standard_normal(round(0.5 * RATE))
    return np.resize(noise, length) * np.exp(-30 * (t % 0.5))


@pytest.fixture(scope="module")
def songs() -> list[Clip]:
    return [song(seed) for seed in range(40)]


@pytest.fixture(scope="module")
def prints(songs) -> list[np.ndarray]:
    return [fingerprint(one) for one in songs]


def noisy(clip: Clip, snr: float) -> Clip:
    noise = np.random.default_rng(7).standard_normal(clip.samples.shape)
    return Clip(clip.samples + 10 ** (-snr / 20) * clip.samples.std() * noise, clip.rate)


def as_mp3(clip: Clip, folder: Path) -> Clip:
    return read(write(clip, folder / "copy.mp3"))


COPIES = {
    "another rate": (lambda c, _: c.resampled(48_000), 0.0),
    "a low rate": (lambda c, _: c.resampled(8_000), 0.0),
    "stereo": (lambda c, _: Clip(np.concatenate([c.samples, 0.7 * c.samples]), c.rate), 0.0),
    "12 dB less": (lambda c, _: c.scaled(0.25), 0.0),
    "mp3": (as_mp3, 0.0),
    "begins later": (lambda c, _: c.cut(3.0, c.seconds), 3.0),
    "ends earlier": (lambda c, _: c.cut(0.0, 8.0), 0.0),
    "begins with silence": (lambda c, _: c.cut(-2.5, c.seconds), -2.5),
    "noise 20 dB below": (lambda c, _: noisy(c, 20.0), 0.0),
    "too loud": (lambda c, _: Clip(np.clip(3 * c.samples, -1, 1), c.rate), 0.0),
}


# ------------------------------------------------------------------------------ fingerprints


def test_a_code_every_12_ms_and_none_for_a_moment(songs):
    codes = fingerprint(songs[0])
    assert codes.dtype == np.uint32
    assert len(codes) == pytest.approx((12.0 - 0.37) / 0.01164, rel=0.01)
    assert len(fingerprint(silence(0.3, RATE))) == 0
    assert len(fingerprint(Clip(np.zeros(1, np.float32), 4_000))) == 0


def test_fingerprints_are_the_same_every_time_and_use_all_bits(songs, prints):
    np.testing.assert_array_equal(fingerprint(songs[3]), prints[3])
    together = np.concatenate(prints)
    for bit in range(32):
        assert 0.4 < np.mean((together >> np.uint32(bit)) & 1) < 0.6


def test_a_long_recording_takes_little_memory():
    clip = Clip(0.1 * np.random.default_rng(0).standard_normal((2, 8_000 * 300)), 8_000)
    tracemalloc.start()
    fingerprint(clip)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 2**20  # 5 minutes at the model's rate are 6.6 MB


def test_blocks_leave_no_seams(songs, prints, monkeypatch):
    monkeypatch.setattr("voice2music.dataset.songs.fingerprint.BLOCK", 7)
    monkeypatch.setattr("voice2music.dataset.songs.fingerprint.READ", 10_007)
    assert bit_error(fingerprint(songs[0]), prints[0], 0)[0] < 0.001


def test_silence_has_no_codes():
    assert not fingerprint(silence(3.0, RATE)).any()
    hiss = np.random.default_rng(0).standard_normal(3 * RATE)
    assert not fingerprint(Clip(1e-6 * hiss, RATE)).any()


# --------------------------------------------------------------------------------- bit errors


def test_bit_error_counts_the_bits_that_differ_where_both_sound():
    a = np.array([1, 0, 0xFFFF, 5], np.uint32)
    b = np.array([9, 3, 7, 0xFF, 5], np.uint32)
    assert bit_error(a, b, 1) == ((1 + 8 + 0) / 96, 3)
    assert bit_error(b, a, -1) == bit_error(a, b, 1)
    for offset in (5, -4, 100, -100):
        error, count = bit_error(a, b, offset)
        assert np.isnan(error)
        assert count == 0


def test_copies_keep_their_bits_and_other_songs_half_of_them(songs, prints, tmp_path):
    for copied, offset in COPIES.values():
        codes = fingerprint(copied(songs[0], tmp_path))
        near = round(offset / CODE_SECONDS)
        assert min(bit_error(codes, prints[0], near + k)[0] for k in (-1, 0, 1)) < ALIKE - 0.03
    others = [bit_error(prints[0], other, 0)[0] for other in prints[1:]]
    assert min(others) > ALIKE + 0.05


# --------------------------------------------------------------------------------- duplicates


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_where_they_lie(songs, prints, tmp_path, kind):
    copied, offset = COPIES[kind]
    codes = fingerprint(copied(songs[17], tmp_path))
    (found,) = duplicates([*prints, codes])
    assert (found.index, found.of) == (40, 17)
    assert found.offset == pytest.approx(offset, abs=0.03)
    assert found.error < ALIKE


def test_different_songs_are_different(prints):
    assert duplicates(prints) == []


def test_the_earliest_is_kept(songs, prints):
    later = fingerprint(songs[0].cut(2.0, songs[0].seconds))
    found = duplicates([later, prints[1], prints[0], prints[1], later])
    assert [(d.index, d.of) for d in found] == [(2, 0), (3, 1), (4, 0)]
    assert found[0].offset == pytest.approx(-2.0, abs=0.03)
    assert found[1] == Duplicate(3, 1, 0.0, 0.0)


def test_what_was_left_out_is_no_reason_to_leave_out_more(songs, prints):
    both = Clip(np.concatenate([songs[0].samples, songs[1].samples], axis=1), RATE)
    assert [d.index for d in duplicates([prints[0], fingerprint(both), prints[1]])] == [1]


def test_songs_that_run_into_one_another_are_two(songs):
    first, second = songs[0], songs[1]
    shared = first.cut(first.seconds - 6.0, first.seconds).samples
    following = Clip(np.concatenate([shared, second.samples], axis=1), RATE)
    assert duplicates([fingerprint(first), fingerprint(following)]) == []


def test_a_loop_is_no_duplicate_of_itself_but_its_copy_is(songs):
    looped = Clip(np.tile(songs[0].cut(0.0, 2.0).samples, 8), RATE)
    assert duplicates([fingerprint(looped)]) == []
    trimmed = fingerprint(looped.cut(3.0, looped.seconds))
    (found,) = duplicates([fingerprint(looped), trimmed])
    assert found.offset % 2.0 == pytest.approx(1.0, abs=0.03)


def test_silence_matches_nothing(prints):
    nothing = fingerprint(silence(20.0, RATE))
    assert duplicates([nothing, nothing, prints[0], nothing]) == []


def test_silence_in_common_is_nothing_in_common(songs):
    gap = np.zeros((1, 20 * RATE), np.float32)
    ending = [
        Clip(np.concatenate([s.samples[:, : 6 * RATE], gap], axis=1), RATE) for s in songs[:5]
    ]
    assert duplicates([fingerprint(one) for one in ending]) == []


def test_what_is_too_short_is_no_duplicate(songs, prints):
    assert duplicates([]) == []
    empty = np.zeros(0, np.uint32)
    assert duplicates([empty, prints[0], empty]) == []
    short = fingerprint(songs[0].cut(0.0, SHORTEST))
    assert duplicates([prints[0], short, short]) == []


def test_three_hundred_recordings_take_a_second_or_so():
    rng = np.random.default_rng(0)
    many = [rng.integers(0, 2**32, 5_000, dtype=np.uint32) for _ in range(300)]
    many.append(many[123][1_000:].copy())
    kept = [one.copy() for one in many]
    started = time.perf_counter()
    (found,) = duplicates(many)
    assert time.perf_counter() - started < 6.0  # 0.5 s on a machine with nothing else to do
    assert (found.index, found.of) == (300, 123)
    assert found.offset == pytest.approx(1_000 * CODE_SECONDS)
    assert all(np.array_equal(a, b) for a, b in zip(many, kept, strict=True))


@needs_recordings
def test_real_recordings_are_found_again_and_are_no_copies_of_one_another():
    paths = [*(SHARED / "mixtures").glob("*.mixture.*"), *(SHARED / "vocals").glob("*.flac")]
    clips = [clip for path in sorted(paths) if (clip := read(path)).seconds > 8.5]
    codes = [fingerprint(clip) for clip in clips]
    assert duplicates(codes) == []
    copies = [fingerprint(noisy(clip, 30.0).resampled(22_050)) for clip in clips]
    found = duplicates(codes + copies)
    assert [(d.index, d.of) for d in found] == [(len(codes) + k, k) for k in range(len(codes))]
    assert max(d.error for d in found) < 0.25
