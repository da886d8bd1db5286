"""The contract of `voice2music.engines.base`, kept by every engine, on tiny random weights."""

import dataclasses
import importlib.util
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from voice2music.clip import Clip
from voice2music.engines.base import Conditioning, Engine, Melody, Part, Rendition, Settings
from voice2music.errors import BadRequest, Cancelled, NoMelody, TooLong
from voice2music.harmony import Chord, ChordSpan, Key
from voice2music.notes import Note
from voice2music.remarks import MESSAGES, Remark
from voice2music.rhythm import Grid

SECONDS = 4.0
USUAL = Settings()
TUNE = (60, 62, 64, 67, 64, 62, 60, 60)
OTHER_TUNE = (69, 66, 61, 58, 61, 66, 70, 63)


@dataclass(frozen=True)
class Case:
    """An engine under test.

    Args:
        name: of its module in `voice2music.engines`.
        build: folder to write tiny weights into → engine.
        frame: seconds of its codec frame, by which the length may differ.
        settings: its smallest amount of work.
    """

    name: str
    build: Callable[[Path], Engine]
    frame: float
    settings: Settings = USUAL


def _musicgen(folder: Path) -> Engine:
    from tiny_musicgen import build_tiny_musicgen

    from voice2music.engines import musicgen

    return musicgen.load(build_tiny_musicgen(folder / "tiny"), "cpu")


def _audioldm(folder: Path) -> Engine:
    from tiny_audioldm import build_tiny_audioldm

    from voice2music.engines import audioldm

    return audioldm.load(build_tiny_audioldm(folder / "tiny", melody=True, clap="words"), "cpu")


def _band(folder: Path) -> Engine:
    from voice2music.engines import band

    return band.load()


CASES = (
    Case("musicgen", _musicgen, frame=640 / 16_000),
    Case("audioldm", _audioldm, frame=640 / 16_000, settings=Settings(steps=4)),
    Case("band", _band, frame=1 / 16_000),
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            case,
            id=case.name,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(f"voice2music.engines.{case.name}") is None,
                reason=f"there is no {case.name} yet",
            ),
        )
        for case in CASES
    ],
)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def engine(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return case.build(tmp_path_factory.mktemp(case.name))


def tune(notes: tuple[int, ...] = TUNE, seconds: float = SECONDS) -> Melody:
    """Notes of equal length, the last tenth of each a rest."""
    length = seconds / len(notes)
    midi = np.full(round(seconds * 100), np.nan, np.float32)
    starts = [i * length for i in range(len(notes))]
    for start, note in zip(starts, notes, strict=True):
        midi[round(start * 100) : round((start + 0.9 * length) * 100)] = note
    ends = [start + 0.9 * length for start in starts]
    return Melody(midi, tuple(map(Note, starts, ends, notes)))


def hum(melody: Melody, rate: int = 16_000) -> Clip:
    """The tune as a bright tone."""
    f0 = np.nan_to_num(440 * 2 ** ((np.repeat(melody.midi, rate // 100) - 69) / 12))
    phase = 2 * np.pi * np.cumsum(f0) / rate
    return Clip(0.2 * sum(np.sin(k * phase) / k for k in range(1, 6)).astype(np.float32), rate)


def asked(**changes: object) -> Conditioning:
    """The usual job of these tests: four seconds of disco on a tune in C, 120 BPM."""
    melody = tune()
    chords = tuple(
        ChordSpan(2.0 * bar, 2.0 * bar + 2.0, Chord(root, "maj")) for bar, root in enumerate((0, 7))
    )
    usual = Conditioning(
        genre="disco",
        text="disco music with drums, happy",
        seconds=SECONDS,
        grid=Grid(tuple(0.5 * beat for beat in range(9)), 0, 4, 120.0),
        key=Key(0, "major"),
        chords=chords,
        melody=melody,
        voice=hum(melody),
    )
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def run(engine: Engine, conditioning: Conditioning, settings: Settings) -> Rendition:
    *parts, rendition = list(steps(engine, conditioning, settings))
    assert all(isinstance(part, Part) for part in parts)
    assert isinstance(rendition, Rendition)
    return rendition


def steps(
    engine: Engine, conditioning: Conditioning, settings: Settings
) -> Iterator[Part | Rendition]:
    return engine.generate(conditioning, settings, lambda share, words: None, lambda: False)


def difference(one: Rendition, other: Rendition) -> float:
    """How much two renditions differ, as a share of their loudness."""
    a, b = one.audio.samples, other.audio.samples
    length = min(a.shape[1], b.shape[1])
    return float(np.abs(a[:, :length] - b[:, :length]).mean() / np.abs(a).mean())


def assert_music_or_no_melody(engine: Engine, job: Conditioning, settings: Settings) -> None:
    try:
        audio = run(engine, job, settings).audio
    except NoMelody:
        return
    assert audio.samples.std() > 0.001


def test_rate_and_length_are_as_promised(engine: Engine, case: Case) -> None:
    about = engine.describe()
    for seconds in (SECONDS, 5.37):
        audio = run(engine, asked(seconds=seconds), case.settings).audio
        assert audio.rate == about.rate
        assert abs(audio.seconds - seconds) <= case.frame


def test_the_music_is_finite_inside_full_scale_and_not_silent(engine: Engine, case: Case) -> None:
    for made in steps(engine, asked(), case.settings):
        assert np.isfinite(made.audio.samples).all()
        assert made.audio.peak <= 1.0
    assert made.audio.samples.std() > 0.01


def test_parts_are_the_beginning_of_the_whole(engine: Engine, case: Case) -> None:
    *parts, rendition = list(steps(engine, asked(), case.settings))
    if not parts:
        pytest.skip("this engine gives its music in one piece")
    heard = np.concatenate([part.audio.samples for part in parts], axis=1)
    whole = rendition.audio.samples
    assert heard.shape[1] <= whole.shape[1] + case.frame * rendition.audio.rate
    length = min(heard.shape[1], whole.shape[1])
    # The whole may have been brought down to full scale; its shape is the same.
    a, b = heard[:, :length].ravel(), whole[:, :length].ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.98


def test_the_same_seed_gives_the_same_samples(engine: Engine, case: Case) -> None:
    first, again = (run(engine, asked(), case.settings) for _ in range(2))
    np.testing.assert_array_equal(first.audio.samples, again.audio.samples)


def test_another_seed_gives_other_samples(engine: Engine, case: Case) -> None:
    first = run(engine, asked(), case.settings)
    other = run(engine, asked(), dataclasses.replace(case.settings, seed=1))
    assert difference(first, other) > 0.01


def test_the_callers_random_state_is_untouched(engine: Engine, case: Case) -> None:
    import torch

    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    for _ in steps(engine, asked(), case.settings):
        after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        assert after == before


def test_progress_only_grows_and_ends_at_one(engine: Engine, case: Case) -> None:
    shares: list[float] = []
    engine_steps = engine.generate(
        asked(), case.settings, lambda share, words: shares.append(share), lambda: False
    )
    list(engine_steps)
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= 1
    assert shares[-1] == 1


def test_cancelling_stops_within_one_step_and_leaves_it_usable(engine: Engine, case: Case) -> None:
    expected = run(engine, asked(), case.settings)
    asked_times, told_after = [0], []

    def cancelled() -> bool:
        asked_times[0] += 1
        return asked_times[0] >= 3

    def progress(share: float, words: str) -> None:
        if asked_times[0] >= 3:
            told_after.append(share)

    with pytest.raises(Cancelled):
        list(engine.generate(asked(), case.settings, progress, cancelled))
    assert asked_times[0] == 3
    assert told_after == []
    again = run(engine, asked(), case.settings)
    np.testing.assert_array_equal(expected.audio.samples, again.audio.samples)


def test_cancelling_before_the_start_does_nothing(engine: Engine, case: Case) -> None:
    with pytest.raises(Cancelled):
        list(engine.generate(asked(), case.settings, lambda share, words: None, lambda: True))


def test_changing_the_melody_changes_the_music(engine: Engine, case: Case) -> None:
    other = asked(melody=tune(OTHER_TUNE), voice=hum(tune(OTHER_TUNE)))
    pair = (run(engine, job, case.settings) for job in (asked(), other))
    assert difference(*pair) > 0.05


def test_changing_the_words_changes_the_music(engine: Engine, case: Case) -> None:
    """For the band, which reads no words, the genre stands for them."""
    other = asked(genre="bossa_nova", text="slow jazz piano, sad")
    pair = (run(engine, job, case.settings) for job in (asked(), other))
    assert difference(*pair) > 0.05


def test_without_a_melody_there_is_music_or_a_named_error(engine: Engine, case: Case) -> None:
    assert_music_or_no_melody(engine, asked(melody=None, voice=None), case.settings)


def test_a_melody_without_a_sung_note_is_no_crash(engine: Engine, case: Case) -> None:
    silent = Melody(np.full(400, np.nan, np.float32), ())
    assert_music_or_no_melody(engine, asked(melody=silent), case.settings)


def test_too_long_and_too_short_are_named_errors(engine: Engine, case: Case) -> None:
    about = engine.describe()
    with pytest.raises(TooLong):
        run(engine, asked(seconds=about.longest + 1), case.settings)
    for seconds in (0.0, about.shortest / 2):
        with pytest.raises(BadRequest):
            run(engine, asked(seconds=seconds), case.settings)


def test_the_description_is_whole(engine: Engine, case: Case) -> None:
    about = engine.describe()
    assert about.name == case.name
    assert about.title
    assert about.licence
    assert 0 < about.shortest < about.longest
    assert bool(about.checkpoint) == bool(about.sha256)
    assert all(limit.endswith(".") for limit in about.limits)


def test_what_was_done_differently_is_said_in_sentences_that_the_page_translates(
    engine: Engine, case: Case
) -> None:
    """A tune too slow for the genre, and more words than any text encoder reads."""
    slow = Grid((0.0, 2.0, 4.0), 0, 4, 30.0)
    told = run(engine, asked(grid=slow, text="brass and strings " * 300), case.settings).notes
    assert told
    assert all(isinstance(note, Remark) and str(note).endswith(".") for note in told)
    assert {note.code for note in told} <= set(MESSAGES)
