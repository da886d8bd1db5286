"""A take is made again on the sounds it was made on, or not at all."""

import json

import pytest
import tiny_soundfont
from fakes import ToneEngine

from voice2music import soundfont
from voice2music.again import again
from voice2music.engines.band import Band
from voice2music.engines.base import Rendition
from voice2music.errors import BadManifest
from voice2music.notes import Note
from voice2music.pipeline import takes
from voice2music.request import Request
from voice2music.singer import sing
from voice2music.take import Take, sha256


@pytest.fixture(scope="module")
def voice():
    return sing(
        [Note(0.2 + 0.5 * i, 0.65 + 0.5 * i, m) for i, m in enumerate((60, 62, 64, 65, 67))]
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Puts SoundFonts where a system has them, the first one preferred."""

    def places(*names):
        files = [tmp_path / f"{name}.sf2" for name in names]
        monkeypatch.setattr(soundfont, "STANDARD_PLACES", tuple(map(str, files)))
        soundfont.soundfont.cache_clear()
        return [file if file.exists() else tiny_soundfont.write(file, file.stem) for file in files]

    yield places
    soundfont.soundfont.cache_clear()


class Model(ToneEngine):
    """Plays the sketch it starts from."""

    def generate(self, conditioning, settings, progress, cancelled):
        yield Rendition(conditioning.sketch)


def load(name, request):
    return Band() if name == "band" else Model(name, follows_voice=False)


def made(engine, voice, out):
    request = Request(engines=(engine,), seconds=4, seed=3)
    (take,) = [e for e in takes(request, voice, out, load=load) if isinstance(e, Take)]
    return take


@pytest.mark.parametrize("engine", ["band", "audioldm"])
def test_a_take_names_the_soundfont_of_the_band_or_of_its_sketch(voice, tmp_path, place, engine):
    (font,) = place("Oak_Street")
    take = made(engine, voice, tmp_path / "out")
    assert take.record["soundfont"] == {"name": "Oak Street", "sha256": sha256(font)}


def test_a_model_that_heard_no_band_names_no_soundfont(voice, tmp_path):
    load = {"musicgen": ToneEngine()}
    events = takes(
        Request(engines=("musicgen",)), voice, tmp_path, load=lambda name, request: load[name]
    )
    (take,) = [event for event in events if isinstance(event, Take)]
    assert take.record["soundfont"] is None


@pytest.mark.parametrize("engine", ["band", "audioldm"])
def test_again_plays_on_the_same_soundfont_though_another_is_preferred_now(
    voice, tmp_path, place, engine
):
    place("Oak")
    take = made(engine, voice, tmp_path / "out")
    place("Elm", "Oak")
    assert made(engine, voice, tmp_path / "new").record["soundfont"]["name"] == "Elm"
    done = again(take.json, tmp_path / "again", load=load)
    assert done.identical
    assert done.take.record["soundfont"] == take.record["soundfont"]


@pytest.mark.parametrize("engine", ["band", "audioldm"])
def test_again_refuses_in_a_sentence_where_the_soundfont_is_gone(voice, tmp_path, place, engine):
    place("Oak")
    take = made(engine, voice, tmp_path / "out")
    place("Elm")
    with pytest.raises(BadManifest, match=r"SoundFont 'Oak' .* not on this machine.*\.$"):
        again(take.json, tmp_path / "again", load=load)
    assert not (tmp_path / "again").exists()


def test_a_take_of_a_version_that_did_not_name_its_soundfont_is_still_made_again(
    voice, tmp_path, place
):
    place("Oak")
    take = made("band", voice, tmp_path / "out")
    old = {name: value for name, value in take.record.items() if name != "soundfont"}
    take.json.write_text(json.dumps(old))
    assert again(take.json, tmp_path / "again", load=load).identical
