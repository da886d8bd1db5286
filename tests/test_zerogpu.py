"""The ZeroGPU wrapper without a ZeroGPU: what crosses the border of the process, and in order."""

import pickle

import numpy as np
import pytest
from fakes import BrokenEngine, FailingEngine, ToneEngine

from voice2music import zerogpu
from voice2music.chords import Key
from voice2music.clip import Clip
from voice2music.engines.base import Conditioning, Part, Rendition, Settings
from voice2music.errors import Cancelled, OutOfMemory
from voice2music.request import Request
from voice2music.rhythm import Grid

ASKED = Conditioning("pop", "pop", 4.0, Grid((0.0, 2.0, 4.0), 0, 2, 30.0), Key(0, "major"), ())


def through_pickles(task):
    """`task` with its arguments and values pickled, as between two processes."""

    def run(*args):
        for value in task(*pickle.loads(pickle.dumps(args))):  # noqa: S301
            yield pickle.loads(pickle.dumps(value))  # noqa: S301

    return run


def lent(monkeypatch, engine):
    monkeypatch.setattr(zerogpu, "load_here", lambda column, request: engine)
    monkeypatch.setattr(zerogpu, "_lent", lambda: through_pickles(zerogpu.on_card))
    return zerogpu.load_engine("musicgen", Request())


def test_outside_a_zerogpu_space_nothing_is_wrapped():
    assert not zerogpu.active()


def test_sound_and_progress_come_through_as_from_the_engine_itself(monkeypatch):
    plain, crossing = [], []
    alone = list(
        ToneEngine().generate(ASKED, Settings(), lambda *p: plain.append(p), lambda: False)
    )
    engine = lent(monkeypatch, ToneEngine())
    out = list(engine.generate(ASKED, Settings(), lambda *p: crossing.append(p), lambda: False))
    assert [type(part) for part in out] == [type(part) for part in alone] == [Part, Rendition]
    for one, other in zip(out, alone, strict=True):
        assert np.array_equal(one.audio.samples, other.audio.samples)
    assert crossing == plain
    assert engine.describe() == ToneEngine().describe()


def test_our_errors_keep_their_kind_and_words(monkeypatch):
    engine = lent(monkeypatch, FailingEngine())
    with pytest.raises(OutOfMemory, match="smaller model"):
        list(engine.generate(ASKED, Settings(), lambda *p: None, lambda: False))


def test_mistakes_of_ours_are_not_swallowed(monkeypatch):
    engine = lent(monkeypatch, BrokenEngine())
    with pytest.raises(ZeroDivisionError):
        list(engine.generate(ASKED, Settings(), lambda *p: None, lambda: False))


def test_cancelling_stops_the_engine_on_the_card(monkeypatch):
    slow = ToneEngine(steps=10_000_000)
    engine = lent(monkeypatch, slow)
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        list(engine.generate(ASKED, Settings(), lambda *p: None, lambda: next(asked)))


def test_the_band_needs_no_card(monkeypatch):
    band = ToneEngine("band")
    monkeypatch.setattr(zerogpu, "load_here", lambda column, request: band)
    assert zerogpu.load_engine("band", Request()) is band


def test_a_lease_is_asked_for_the_music_s_length_and_within_the_limit():
    short = zerogpu.seconds("musicgen", Request(), ASKED, Settings())
    assert 4 < short < zerogpu.LONGEST_LEASE
    long = Conditioning("pop", "", 120.0, ASKED.grid, ASKED.key, ())
    assert zerogpu.seconds("musicgen", Request(), long, Settings()) == zerogpu.LONGEST_LEASE


def test_a_clip_stays_read_only_and_itself_when_it_is_pickled():
    clip = Clip(np.linspace(-1, 1, 100), 8000)
    again = pickle.loads(pickle.dumps(clip))  # noqa: S301
    assert np.array_equal(again.samples, clip.samples)
    assert again.rate == 8000
