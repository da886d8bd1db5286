"""Slow work that is done once: results remembered within bounds, and forgotten."""

import threading

import numpy as np
import pytest
from fakes import ToneEngine
from fixtures_ui import fake_backend, heard, hum
from tiny_audioldm import build_tiny_audioldm
from tiny_musicgen import build_tiny_musicgen

from voice2music.chords import Key
from voice2music.cleaning import Cleaned
from voice2music.clip import Clip, Limits
from voice2music.engines import audioldm, musicgen
from voice2music.engines.base import Conditioning, Rendition, Settings
from voice2music.hearing import Hearing, memory
from voice2music.pipeline import takes
from voice2music.recall import Recall, key_of
from voice2music.request import Guide, Request
from voice2music.rhythm import Grid
from voice2music.ui.sing import Sing
from voice2music.ui.visit import open_visit

GRID = Grid((0.0, 2.0, 4.0), 0, 2, 30.0)


class Counted:
    """A function that counts its calls."""

    def __init__(self, work):
        self.work, self.calls = work, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.work(*args, **kwargs)


# ---- the memory --------------------------------------------------------------------------------


def test_a_result_is_worked_out_once():
    recall, work = Recall(2, 100), Counted(lambda: "result")
    assert [recall.get("key", work, len) for _ in range(3)] == ["result"] * 3
    assert work.calls == 1


def test_the_one_not_used_for_longest_goes_first():
    recall = Recall(2, 100)
    works = {key: Counted(lambda key=key: key) for key in "abc"}
    for key in "abacab":  # b goes for c, then a is there, then c goes for b
        assert recall.get(key, works[key], len) == key
    assert {key: work.calls for key, work in works.items()} == {"a": 1, "b": 2, "c": 1}
    assert len(recall) == 2


def test_it_holds_no_more_bytes_than_it_may():
    recall = Recall(10, 100)
    for key, size in (("a", 60), ("b", 40), ("c", 50)):
        recall.get(key, str, lambda _, size=size: size)
    assert len(recall) == 2  # a went, b and c are 90 together
    recall.get("huge", lambda: "huge", lambda _: 101)
    assert len(recall) == 2  # not kept, and nothing went for it


def test_the_same_result_twice_is_counted_once():
    recall, both = Recall(10, 100), threading.Barrier(2)

    def work() -> str:
        both.wait(10)  # so that two threads really work at once
        return "x"

    threads = [
        threading.Thread(target=lambda: recall.get("x", work, lambda _: 60)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recall.get("y", lambda: "y", lambda _: 40)
    assert len(recall) == 2


def test_what_was_forgotten_is_worked_out_again_and_leaves_its_room():
    recall, work = Recall(2, 10), Counted(lambda: "x")
    recall.get("x", work, lambda _: 10)
    recall.forget()
    assert len(recall) == 0
    recall.get("x", work, lambda _: 10)
    assert work.calls == 2
    assert len(recall) == 1


def test_a_failure_is_not_remembered():
    recall = Recall(2, 10)
    with pytest.raises(ZeroDivisionError):
        recall.get("x", lambda: 1 / 0, lambda _: 1)
    assert recall.get("x", lambda: 2, lambda _: 1) == 2


def test_keys_tell_inputs_apart():
    given = [("ab", ""), ("a", "b"), ("b", "a"), ("ab",), (b"ab", b""), ("1",), (1,)]
    assert len({key_of(*one) for one in given}) == len(given)
    assert "secret" not in key_of("secret")


# ---- a voice -----------------------------------------------------------------------------------


def counted_hearing():
    clean = Counted(lambda clip, separate, denoise, cancelled: Cleaned(clip))
    analyse = Counted(heard)
    return Hearing(memory(), clean, analyse), clean, analyse


def test_a_voice_is_cleaned_and_heard_once_for_all_that_is_made_from_it(tmp_path):
    hearing, clean, analyse = counted_hearing()
    request = Request(engines=("band",), separate="no")
    for voice in (hum(), hum()):  # the same samples in another place
        list(takes(request, voice, tmp_path, load=lambda *_: ToneEngine("band"), hearing=hearing))
    assert (clean.calls, analyse.calls) == (1, 1)


def test_other_samples_or_settings_are_heard_anew():
    hearing, clean, analyse = counted_hearing()
    voice = hum()
    other = Clip(voice.samples * np.float32(0.999), voice.rate)
    quicker = Clip(voice.samples, 2 * voice.rate)
    guide = Guide(tempo=100.0, beats_per_bar=4, first_downbeat=0.0, latency=0.0)
    for clip, beat in ((voice, None), (other, None), (quicker, None), (voice, guide)):
        hearing.analysed(clip, beat)
    for decision, denoise in (("auto", False), ("yes", False), ("no", False), ("no", True)):
        hearing.cleaned(voice, decision, denoise)
    assert (clean.calls, analyse.calls) == (4, 4)


def test_without_a_memory_nothing_is_kept():
    analyse = Counted(heard)
    for _ in range(2):
        Hearing(analyse=analyse).analysed(hum(), None)
    assert analyse.calls == 2


@pytest.mark.parametrize("leave", ["forgotten", "wordless", "example", "close"])
def test_nothing_heard_in_a_voice_outlives_it(tmp_path, leave):
    """Removed, replaced by words or by another voice, or the visitor has gone."""
    sing, visit = Sing(fake_backend(tmp_path), Limits(), tmp_path), open_visit(tmp_path)
    list(sing.example(visit, {"name": "ode-to-joy"}))
    of_one = len(visit.memory)
    assert of_one > 0
    if leave == "close":
        visit.close()
    elif leave == "example":
        list(sing.example(visit, {"name": "greensleeves"}))
    else:
        getattr(sing, leave)(visit, {})
    assert len(visit.memory) == (of_one if leave == "example" else 0)


def test_a_voice_removed_while_it_is_heard_is_not_remembered(tmp_path):
    sing, visit = Sing(fake_backend(tmp_path), Limits(), tmp_path), open_visit(tmp_path)
    views = sing.example(visit, {"name": "ode-to-joy"})
    next(views)
    sing.forgotten(visit, {})
    assert list(views) == []
    assert len(visit.memory) == 0


def test_two_visitors_share_no_memory(tmp_path):
    sing = Sing(fake_backend(tmp_path), Limits(), tmp_path)
    mine, yours = open_visit(tmp_path), open_visit(tmp_path)
    list(sing.example(mine, {"name": "ode-to-joy"}))
    assert len(mine.memory) > len(yours.memory) == 0


# ---- words -------------------------------------------------------------------------------------


def music(engine, text):
    asked = Conditioning("pop", text, 3.0, GRID, Key(0, "major"), ())
    *_, last = engine.generate(asked, Settings(steps=2), lambda *_: None, lambda: False)
    assert isinstance(last, Rendition)
    return last.audio.samples


@pytest.mark.parametrize("kind", ["musicgen", "audioldm"])
def test_words_are_read_once_and_the_music_stays_the_same(tmp_path, kind):
    if kind == "musicgen":
        engine = musicgen.load(build_tiny_musicgen(tmp_path / "m"), "cpu")
        encoder = engine._model.text_encoder
    else:
        engine = audioldm.load(build_tiny_audioldm(tmp_path / "a"), "cpu")
        encoder = engine.parts.text.model.text_model
    read = []
    encoder.register_forward_hook(lambda *_: read.append(1))
    first = music(engine, "calm piano")
    once = len(read)
    assert once > 0
    assert np.array_equal(music(engine, "calm piano"), first)
    assert len(read) == once
    other = music(engine, "loud drums")
    assert len(read) > once
    assert not np.array_equal(other, first)
    assert np.array_equal(music(engine, "calm piano"), first)  # what is remembered is not changed
