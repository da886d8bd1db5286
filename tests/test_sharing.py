"""Two jobs at once play on one engine."""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_score import conditioning

from voice2music.engines.base import Rendition, Settings


class Slow:
    """A tokenizer that takes its time and notices a second reader meanwhile."""

    def __init__(self, tokenizer):
        self.tokenizer, self.readers, self.most = tokenizer, 0, 0

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __call__(self, *args, **options):
        self.readers += 1
        self.most = max(self.most, self.readers)
        time.sleep(0.05)
        self.readers -= 1
        return self.tokenizer(*args, **options)


def musicgen(folder):
    from tiny_musicgen import build_tiny_musicgen

    from voice2music.engines import musicgen

    engine = musicgen.load(build_tiny_musicgen(folder), "cpu")
    slow = engine._tokenizer = Slow(engine._tokenizer)
    return engine, slow


def audioldm(folder):
    from tiny_audioldm import build_tiny_audioldm

    from voice2music.engines import audioldm

    engine = audioldm.load(build_tiny_audioldm(folder, melody=True, clap="words"), "cpu")
    slow = Slow(engine.parts.text.tokenizer)
    text = dataclasses.replace(engine.parts.text, tokenizer=slow)
    engine.parts = dataclasses.replace(engine.parts, text=text)
    return engine, slow


@pytest.mark.parametrize("build", [musicgen, audioldm])
def test_two_jobs_on_one_engine_do_not_disturb_each_other(build, tmp_path):
    # Tokenizers keep the padding they were last asked for, so only one may read at a time
    # (without that 17 of 3,000 texts came out at the length of the other job's).
    engine, slow = build(tmp_path / "tiny")
    short = dataclasses.replace(conditioning(), seconds=3.0, text="disco")
    long = dataclasses.replace(short, text="slow sad jazz, piano, guitar, drums, " * 5)

    def play(asked):
        parts = engine.generate(asked, Settings(steps=2), lambda *_: None, lambda: False)
        return next(part.audio.samples for part in parts if isinstance(part, Rendition))

    alone = [play(asked) for asked in (short, long)]
    with ThreadPoolExecutor(2) as both:
        together = list(both.map(play, (short, long)))
    assert slow.most == 1
    assert not np.array_equal(*alone)
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)
