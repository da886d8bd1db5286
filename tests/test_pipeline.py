import json
import threading

import numpy as np
import pytest
from fakes import BrokenEngine, FailingEngine, ToneEngine

from voice2music.again import again
from voice2music.clip import Clip, read, silence
from voice2music.engines.base import Rendition
from voice2music.errors import (
    BadChords,
    BadManifest,
    BadRequest,
    Cancelled,
    CannotSave,
    NoMelody,
)
from voice2music.loudness import integrated_loudness, true_peak
from voice2music.notes import Note
from voice2music.pipeline import Failed, Heard, Sound, Working, best_of, takes
from voice2music.request import Guide, Request
from voice2music.singer import sing
from voice2music.take import Take

WHOLE = {
    "format": 1, "engine": "band", "seed": 0, "request": {}, "input": None,
    "music": {"file": "x.wav", "sha256": ""},
}  # fmt: skip
SCALE = [60, 62, 64, 65, 67, 65, 64, 62, 60, 64, 67, 60]


@pytest.fixture(scope="module")
def voice():
    return sing([Note(0.3 + 0.5 * i, 0.75 + 0.5 * i, m) for i, m in enumerate(SCALE)])


def loader(**engines):
    return lambda name, request: engines[name]


def run(request, voice, out, **engines):
    return list(takes(request, voice, out, load=loader(**engines)))


def made(events):
    return [event for event in events if isinstance(event, Take)]


def test_every_engine_gives_a_take_and_all_follow_the_same_melody(voice, tmp_path):
    engines = {n: ToneEngine(n) for n in ("musicgen", "audioldm", "band")}
    events = run(Request(), voice, tmp_path, **engines)
    assert isinstance(events[0], Heard)
    assert [take.engine for take in made(events)] == ["band", "musicgen", "audioldm"]
    melodies = [engine.asked[0][0].melody for engine in engines.values()]
    assert melodies[0] is melodies[1] is melodies[2]
    assert any(isinstance(event, Sound) for event in events)


def test_a_take_is_finished(voice, tmp_path):
    take = made(run(Request(engines=("musicgen",)), voice, tmp_path, musicgen=ToneEngine()))[0]
    for path in (take.music, take.mix, take.voice):
        clip = read(path)
        assert clip.rate == 44_100
        assert clip.samples.shape[1] == round(voice.seconds * 44_100)
        assert integrated_loudness(clip) == pytest.approx(-14, abs=1)
        assert true_peak(clip) <= -0.99


def test_a_take_that_plays_the_tune_scores_far_above_one_that_does_not(voice, tmp_path):
    good = made(run(Request(engines=("musicgen",)), voice, tmp_path, musicgen=ToneEngine()))[0]
    other = ToneEngine()
    other.generate = lambda c, s, p, x: ToneEngine.generate(
        other, replace_melody(c, shift=6), s, p, x
    )
    bad = made(run(Request(engines=("musicgen",)), voice, tmp_path, musicgen=other))[0]
    assert good.follow.pitch.value > 0.8
    assert bad.follow.pitch.value < 0.2
    assert good.follow.overall > bad.follow.overall + 0.3
    assert best_of([bad, good], 1) == [good]


def replace_melody(conditioning, shift):
    from dataclasses import replace

    notes = tuple(replace(n, midi=n.midi + shift) for n in conditioning.melody.notes)
    return replace(conditioning, melody=replace(conditioning.melody, notes=notes))


class TogetherEngine(ToneEngine):
    """Begins only when `parties` calls are there."""

    def __init__(self, parties):
        super().__init__("musicgen")
        self.meeting = threading.Barrier(parties, timeout=20)

    def describe(self):
        from dataclasses import replace

        return replace(super().describe(), together=True)

    def generate(self, conditioning, settings, progress, cancelled):
        self.meeting.wait()
        yield from super().generate(conditioning, settings, progress, cancelled)


def test_variations_are_made_together_where_the_engine_does_that(voice, tmp_path):
    engines = {"musicgen": TogetherEngine(3), "audioldm": ToneEngine("audioldm")}
    request = Request(engines=("musicgen", "audioldm"), seed=5, variations=3)
    done = made(run(request, voice, tmp_path, **engines))
    assert sorted(take.variation for take in done[:3]) == [0, 1, 2]
    assert {take.engine for take in done[:3]} == {"musicgen"}
    assert [(take.engine, take.variation) for take in done[3:]] == [
        ("audioldm", i) for i in range(3)
    ]
    seeds = sorted(settings.seed for _, settings in engines["musicgen"].asked)
    assert seeds == [5, 6, 7]
    for take in done[:3]:
        assert take.record["seed"] == 5 + take.variation


def test_a_take_made_again_is_made_alone(voice, tmp_path):
    request = Request(engines=("musicgen",), variations=2)
    take = made(run(request, voice, tmp_path, musicgen=TogetherEngine(2)))[1]
    engine = TogetherEngine(1)
    assert again(take.json, tmp_path / "again", load=loader(musicgen=engine)).identical
    ((_, settings),) = engine.asked
    assert settings.alone


def test_a_failing_engine_leaves_the_others(voice, tmp_path):
    events = run(
        Request(variations=2),
        voice,
        tmp_path,
        musicgen=FailingEngine(),
        audioldm=ToneEngine("audioldm"),
        band=ToneEngine("band"),
    )
    failures = [event for event in events if isinstance(event, Failed)]
    assert [f.engine for f in failures] == ["musicgen"]
    assert "Choose a smaller model" in str(failures[0].error)
    assert len(made(events)) == 4


def test_a_mistake_of_ours_leaves_the_others_and_is_not_hidden(voice, tmp_path):
    seen = []
    request = Request(engines=("musicgen", "audioldm"))
    load = loader(musicgen=BrokenEngine(), audioldm=ToneEngine("audioldm"))
    with pytest.raises(ZeroDivisionError):
        seen.extend(takes(request, voice, tmp_path, load=load))
    assert [take.engine for take in made(seen)] == ["audioldm"]


def test_progress_only_grows(voice, tmp_path):
    events = run(Request(engines=("musicgen",)), voice, tmp_path, musicgen=ToneEngine())
    shares = [event.share for event in events if isinstance(event, Working)]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_cancelling_stops_at_the_next_step(voice, tmp_path):
    stop = threading.Event()
    engine = ToneEngine(steps=10_000)
    events = takes(
        Request(engines=("musicgen",)),
        voice,
        tmp_path,
        load=loader(musicgen=engine),
        cancelled=stop.is_set,
    )
    with pytest.raises(Cancelled):
        for event in events:
            if isinstance(event, Working) and event.share > 0:
                stop.set()
    assert not [t for t in threading.enumerate() if t.name.startswith("musicgen-")]


def test_closing_the_generator_stops_the_engine(voice, tmp_path):
    events = takes(
        Request(engines=("musicgen",)),
        voice,
        tmp_path,
        load=loader(musicgen=ToneEngine(steps=100_000)),
    )
    for event in events:
        if isinstance(event, Working) and event.share > 0:
            break
    events.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("musicgen-")]


def test_again_is_identical_to_the_bit(voice, tmp_path):
    load = loader(musicgen=ToneEngine())
    request = Request(engines=("musicgen",), seed=7, variations=2, corrected=True)
    for take in made(takes(request, voice, tmp_path, load=load)):
        done = again(take.json, tmp_path / "again", load=load)
        assert done.identical
        assert done.take.record["seed"] == 7 + take.variation


def test_again_notices_a_changed_input(voice, tmp_path):
    load = loader(musicgen=ToneEngine())
    take = made(takes(Request(engines=("musicgen",)), voice, tmp_path, load=load))[0]
    stored = tmp_path / take.record["input"]["file"]
    stored.write_bytes(stored.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(BadManifest, match="changed"):
        again(take.json, tmp_path / "again", load=load)


def test_the_last_seed_is_followed_by_the_first_and_both_are_made_again(voice, tmp_path):
    load = loader(musicgen=ToneEngine())
    request = Request(engines=("musicgen",), seed=2**31 - 1, variations=2)
    for take in made(takes(request, voice, tmp_path, load=load)):
        assert again(take.json, tmp_path / "again", load=load).identical


class SeededBand(ToneEngine):
    """Sounds of its genre and seed."""

    def generate(self, conditioning, settings, progress, cancelled):
        self.asked.append((conditioning, settings))
        pitch = 100 + 50 * len(conditioning.genre) + settings.seed
        t = np.arange(round(conditioning.seconds * 16_000)) / 16_000
        yield Rendition(Clip((0.3 * np.sin(2 * np.pi * pitch * t)).astype(np.float32), 16_000))


class Cascade(ToneEngine):
    """Plays the sketch."""

    def __init__(self):
        super().__init__("audioldm", follows_voice=False)

    def generate(self, conditioning, settings, progress, cancelled):
        self.asked.append((conditioning, settings))
        yield Rendition(conditioning.sketch)


@pytest.mark.parametrize("engines", [("audioldm",), ("band", "audioldm")])
@pytest.mark.parametrize("genres", [{}, {"band": "waltz"}, {"audioldm": "bossa-nova"}])
def test_a_take_made_from_a_sketch_is_made_again_from_the_same_sketch(
    voice, tmp_path, engines, genres
):
    request = Request(engines=engines, genres=genres, genre="disco", seed=3, variations=2)
    load = loader(audioldm=Cascade(), band=SeededBand("band"))
    own = [t for t in made(takes(request, voice, tmp_path, load=load)) if t.engine == "audioldm"]
    assert read(own[0].music).samples.tobytes() != read(own[1].music).samples.tobytes()
    for take in own:
        assert again(take.json, tmp_path / "again", load=load).identical


def test_the_sketch_is_of_the_genre_of_the_column_that_starts_from_it(voice, tmp_path):
    band = SeededBand("band")
    request = Request(engines=("audioldm",), genres={"band": "waltz", "audioldm": "bossa-nova"})
    run(request, voice, tmp_path, audioldm=Cascade(), band=band)
    assert [asked.genre for asked, _ in band.asked] == ["bossa-nova"]


def test_a_model_gets_its_sketch_in_whichever_column_it_stands(voice, tmp_path):
    left, right = Cascade(), Cascade()
    request = Request(engines=("musicgen", "audioldm"))
    run(request, voice, tmp_path, musicgen=left, audioldm=right, band=SeededBand("band"))
    assert left.asked[0][0].sketch is right.asked[0][0].sketch is not None


def test_a_full_disk_ends_the_job_before_the_next_engine_works(voice, tmp_path, monkeypatch):
    def full(made, folder, name):
        raise CannotSave("The disk is full. Make room.")

    monkeypatch.setattr("voice2music.pipeline.save", full)
    later = ToneEngine("audioldm")
    with pytest.raises(CannotSave):
        run(Request(), voice, tmp_path, band=ToneEngine(), musicgen=later, audioldm=later)
    assert not later.asked


def test_a_hum_is_corrected_to_the_key_that_was_asked_for(voice, tmp_path):
    engine = ToneEngine()
    request = Request(engines=("musicgen",), corrected=True, key="Gb major")
    run(request, voice, tmp_path, musicgen=engine)
    scale = {6, 8, 10, 11, 1, 3, 5}
    assert {note.midi % 12 for note in engine.asked[0][0].melody.notes} <= scale


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 99}',
        "\0",
        '{"format": 1}',
        "[" * 100_000,
        json.dumps({**WHOLE, "input": "hum.wav"}),
        json.dumps({**WHOLE, "input": {"file": 1, "sha256": ""}}),
        json.dumps({**WHOLE, "music": []}),
        json.dumps({**WHOLE, "engine": ["band"]}),
        json.dumps({**WHOLE, "soundfont": "Oak"}),
        json.dumps({**WHOLE, "soundfont": {"name": "Oak", "sha256": None}}),
    ],
)
def test_a_damaged_json_is_refused_in_a_sentence(tmp_path, text):
    path = tmp_path / "take.json"
    path.write_text(text)
    with pytest.raises(BadManifest):
        again(path, tmp_path)


@pytest.mark.parametrize("seconds", [None, 14.0])
def test_a_take_says_that_the_guide_beat_holds_against_another_tempo(voice, tmp_path, seconds):
    asked = Request(engines=("musicgen",), guide=Guide(120), tempo=90, seconds=seconds)
    engine = ToneEngine()
    take = made(run(asked, voice, tmp_path, musicgen=engine))[0]
    assert engine.asked[0][0].grid.tempo == pytest.approx(120)
    (told,) = [note for note in take.record["notes"] if "90 BPM" in note]
    assert "120 BPM" in told


@pytest.mark.parametrize("change", [{"guide": Guide(120), "tempo": 120.3}, {"tempo": 90}])
def test_nothing_is_said_where_the_tempo_asked_for_is_kept(voice, tmp_path, change):
    take = made(
        run(Request(engines=("musicgen",), **change), voice, tmp_path, musicgen=ToneEngine())
    )
    assert "guide_holds" not in [note.code for note in take[0].notes]


def test_words_alone_make_music(tmp_path):
    take = made(run(Request(engines=("band",), seconds=5), None, tmp_path, band=ToneEngine("band")))
    assert take[0].follow is None
    assert take[0].mix is None
    assert read(take[0].music).seconds == pytest.approx(5)


def test_silence_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(NoMelody, match="(?i)silen|quiet|nothing"):
        run(Request(), silence(5, 44_100), tmp_path)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"chords": "C | Hx"}, BadChords),
        ({"genre": "polka9"}, BadRequest),
        ({"key": "H"}, BadRequest),
    ],
)
def test_a_bad_request_is_refused_before_any_engine_works(voice, tmp_path, change, error):
    engine = ToneEngine()
    with pytest.raises(error):
        run(Request(engines=("musicgen",), **change), voice, tmp_path, musicgen=engine)
    assert not engine.asked


def test_the_cascade_gets_a_sketch_even_where_the_band_was_not_asked_for(voice, tmp_path):
    engine = ToneEngine("audioldm", follows_voice=False)
    run(Request(engines=("audioldm",)), voice, tmp_path, audioldm=engine, band=ToneEngine("band"))
    assert engine.asked[0][0].sketch is not None


@pytest.mark.parametrize("seconds", [3.0, 6.8, 14.0, 30.0])
def test_music_is_as_long_as_asked_and_a_longer_one_plays_the_tune_again(voice, tmp_path, seconds):
    engine = ToneEngine()
    request = Request(engines=("musicgen",), seconds=seconds)
    take = made(run(request, voice, tmp_path, musicgen=engine))[0]
    assert read(take.music).seconds == pytest.approx(seconds, abs=1e-4)
    asked = engine.asked[0][0]
    assert len(asked.melody.midi) == round(seconds * 100)
    assert asked.grid.beats[-1] >= seconds
    assert np.all(np.diff(asked.grid.beats) > 0)
    if seconds >= 14:
        last = asked.melody.notes[-1]
        assert last.offset <= seconds
        assert last.onset > seconds - 4
    assert asked.chords[-1].end == pytest.approx(seconds)
