"""Tunes for the training pairs: generated phrases, excerpts, splits."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.dataset.openewld import listed_works, open_archive, read_sheet
from voice2music.dataset.phrase_counts import COUNTS, PAUSE, TICKS, counts_of, motion, phrase_counts
from voice2music.dataset.phrases import SCALES, singable_tune
from voice2music.dataset.tunes import Tune, cleared_tunes, excerpt, own_tune, split_of

ARCHIVE = Path(__file__).parents[1].parent / "shared/data/symbolic/OpenEWLD.tar.xz"
needs_archive = pytest.mark.skipif(not ARCHIVE.exists(), reason="needs ../shared/data")
SEEDS = st.integers(0, 2**53)
MANY = 400


@pytest.fixture(scope="module")
def generated() -> list[Tune]:
    return [own_tune(seed) for seed in range(MANY)]


@pytest.fixture(scope="module")
def cleared() -> tuple[Tune, ...]:
    return cleared_tunes(ARCHIVE)


def distance(a: Counter[int], b: dict[int, int]) -> float:
    """Total variation: the share of one that must be moved to make the other."""
    size_a, size_b = sum(a.values()), sum(b.values())
    return sum(abs(a.get(k, 0) / size_a - b.get(k, 0) / size_b) for k in {*a, *b}) / 2


def intervals(tune: Tune) -> list[int]:
    return [b.midi - a.midi for a, b in pairwise(tune.sheet.notes)]


# --- the generator ---------------------------------------------------------------------------


def test_generated_intervals_are_spread_as_those_of_the_cleared_tunes(generated):
    counts = phrase_counts()
    found = Counter(step for tune in generated for step in intervals(tune))
    assert distance(found, counts.intervals) < 0.13
    # The measure tells: aimless notes within the same range are far off.
    aimless = np.random.default_rng(0).integers(0, 12, 20_000)
    assert distance(Counter(np.diff(aimless).tolist()), counts.intervals) > 0.26


def test_generated_lengths_are_spread_as_those_of_the_cleared_tunes(generated):
    lengths = Counter(
        round((note.end - note.start) * TICKS) for tune in generated for note in tune.sheet.notes
    )
    assert distance(lengths, phrase_counts().lengths) < 0.18
    # All quarters would be much farther.
    assert distance(Counter({TICKS: 1}), phrase_counts().lengths) > 0.6


def test_every_scale_and_both_metres_are_sung(generated):
    assert {tune.scale for tune in generated} == set(SCALES)
    assert {tune.sheet.metre for tune in generated} == {"3/4", "4/4"}
    modes = Counter(tune.sheet.key.mode for tune in generated)
    assert min(modes.values()) > 0.3 * MANY


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_a_generated_tune_can_be_hummed(seed):
    sheet, scale = singable_tune(seed)
    midi = [note.midi for note in sheet.notes]
    assert 4 <= max(midi) - min(midi) <= 17
    outside = sum(m % 12 not in SCALES[scale] for m in midi)
    assert outside <= 0.25 * len(midi)  # leading notes from a semitone below, now and then
    for a, b in pairwise(sheet.notes):
        assert a.start < a.end <= b.start + 1e-9
    assert sheet.notes[-1].end <= sheet.beats


def test_generated_tunes_breathe(generated):
    """Long notes or rests every few bars, as singers need; one in a thousand asks for more air."""
    longest = []
    for tune in generated:
        sheet = tune.sheet
        pairs = list(pairwise(sheet.notes))
        pauses = [b.start for a, b in pairs if b.start - a.start >= PAUSE / TICKS]
        longest.append(max(np.diff([0.0, *pauses, sheet.beats])) / sheet.beats_per_bar)
    assert np.median(longest) <= 3
    assert np.mean(np.array(longest) > 6) <= 0.01


def test_a_tune_comes_again_from_its_seed_and_others_are_others(generated):
    assert own_tune(7).sheet.notes == generated[7].sheet.notes
    melodies = {tuple((n.start, n.midi) for n in tune.sheet.notes) for tune in generated}
    assert len(melodies) == MANY


def test_phrases_come_back(generated):
    """Most forms repeat a phrase: the same rhythm of two bars stands twice in the tune."""
    repeated = 0
    for tune in generated:
        size = 2 * tune.sheet.beats_per_bar
        rhythms = [
            tuple(round(n.start % size, 3) for n in tune.sheet.notes if n.start // size == part)
            for part in range(int(tune.sheet.beats // size))
        ]
        repeated += len(set(rhythms)) < len(rhythms)
    assert repeated > 0.95 * MANY


@pytest.mark.parametrize(
    ("interval", "kind"), [(-7, 0), (-2, 0), (-1, 1), (0, 2), (1, 3), (2, 4), (9, 4)]
)
def test_motion_parts_leaps_from_steps(interval, kind):
    assert motion(interval) == kind


# --- written tunes ---------------------------------------------------------------------------


@needs_archive
def test_the_committed_counts_are_those_of_the_cleared_sheets():
    archive = open_archive(ARCHIVE)
    again = counts_of(read_sheet(archive, work) for work in listed_works())
    assert json.loads(json.dumps(again)) == json.loads(COUNTS.read_text("utf-8"))


@needs_archive
def test_only_cleared_works_are_sung_and_all_say_so(cleared):
    listed = {work.path for work in listed_works()}
    assert len(cleared) == len(listed)
    for tune in cleared:
        assert f"dataset/{tune.id.removeprefix('openewld:')}.mxl" in listed
        assert tune.licence == "public domain"
        assert tune.sheet.chords
        assert tune.sheet.quarters_per_beat in (1.0, 1.5)  # half notes are read as two quarters


@needs_archive
def test_an_excerpt_is_whole_phrases_on_bar_lines_with_its_chords(cleared):
    chance = np.random.default_rng(3)
    for tune in cleared:
        part = excerpt(tune, 32.0, chance)
        notes, whole = part.sheet.notes, tune.sheet.notes
        assert part.id == tune.id
        assert len(notes) >= 4
        assert notes[-1].end <= 32 or len(notes) == 4
        # Somewhere in the tune, the same steps at the same distances, moved by whole bars.
        moved = [n for n in whole if n.midi == notes[0].midi]
        shifts = {round(n.start - notes[0].start, 6) for n in moved}
        size = tune.sheet.beats_per_bar
        assert any(abs(shift / size - round(shift / size)) < 1e-6 for shift in shifts)
        assert part.sheet.chords
        assert part.sheet.chords[0].start <= max(notes[0].start, 0) + size
        assert all(0 <= c.start < c.end <= part.sheet.beats for c in part.sheet.chords)


# --- splits ----------------------------------------------------------------------------------


def test_a_tune_is_in_one_split_for_ever():
    # Known answers: should they change, old data sets would leak into new ones.
    splits = {n: split_of(f"phrases:{n}") for n in range(16)}
    assert [n for n, split in splits.items() if split == "test"] == [3, 11, 12, 13, 14]
    assert [n for n, split in splits.items() if split == "valid"] == [5]
    shares = Counter(split_of(f"phrases:{seed}") for seed in range(20_000))
    assert shares["test"] / 20_000 == pytest.approx(0.06, abs=0.006)
    assert shares["valid"] / 20_000 == pytest.approx(0.06, abs=0.006)


@needs_archive
def test_written_tunes_stand_in_every_split(cleared):
    shares = Counter(tune.split for tune in cleared)
    assert min(shares["test"], shares["valid"]) >= 3
    assert shares["train"] > 40


def runs(tune: Tune, length: int) -> set[tuple[tuple[int, float], ...]]:
    """Every run of so many steps with their lengths: what a listener would know a tune by."""
    notes = tune.sheet.notes
    moves = [(b.midi - a.midi, round(b.start - a.start, 2)) for a, b in pairwise(notes)]
    return {tuple(moves[i : i + length]) for i in range(len(moves) - length + 1)}


@needs_archive
def test_no_melody_of_the_test_is_heard_in_the_training(cleared, generated):
    """Not by name only: no ten notes in a row, in any key, stand in two splits."""
    parted: dict[str, set[tuple[tuple[int, float], ...]]] = {"train": set(), "held out": set()}
    for tune in [*cleared, *generated]:
        side = "train" if tune.split == "train" else "held out"
        # Ten times the same note would be found anywhere.
        parted[side] |= {r for r in runs(tune, 10) if len({step for step, _ in r}) > 3}
    assert parted["held out"]
    assert not parted["train"] & parted["held out"]
