"""The page's handlers, as plain functions."""

import logging
import re
import threading
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from fixtures_ui import TUNE, Studio, fake_backend, heard, hum

from voice2music import errors
from voice2music.clip import Clip, Limits, read, silence, write
from voice2music.errors import BadRequest, Busy, Cancelled, MissingCheckpoint, VoiceToMusicError
from voice2music.findings import MESSAGES
from voice2music.remarks import MESSAGES as REMARKS
from voice2music.remarks import Remark, remark
from voice2music.styles import styles
from voice2music.ui import plots
from voice2music.ui.cards import progress_words, remark_text
from voice2music.ui.choose import NAMES, Choice, asked, chords_heard, known_models
from voice2music.ui.doors import Doors
from voice2music.ui.downloads import download, levels
from voice2music.ui.line import Line
from voice2music.ui.listen import Listen
from voice2music.ui.page import build, choice_of
from voice2music.ui.safety import safe, told
from voice2music.ui.sing import Sing, finding_text, guide_of, key_text
from voice2music.ui.visit import Slot, Visit, open_visit
from voice2music.ui.words import FOLDER, LANGUAGES, Said, words_in

STATIC = FOLDER.parent / "static"


@pytest.fixture
def studio():
    return Studio()


@pytest.fixture
def backend(tmp_path, studio):
    return fake_backend(tmp_path, studio)


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


@pytest.fixture
def sing(backend, uploads):
    return Sing(backend, Limits(), uploads)


@pytest.fixture
def listen(backend):
    return Listen(backend, jobs=1)


@pytest.fixture
def visit(tmp_path):
    return open_visit(tmp_path / "visits")


def last(views):
    *_, view = views
    return view


def with_voice(sing, visit):
    last(sing.example(visit, {"name": "ode-to-joy"}))
    return visit


# ---- words -----------------------------------------------------------------------------------


def keys(language: str) -> set[str]:
    return set(words_in(language).texts)


def test_every_sentence_exists_in_every_language():
    codes = {kind.code for kind in vars(errors).values() if _is_error(kind)}
    findings = set(MESSAGES) - {"out_of_range"} | {"out_of_range_low", "out_of_range_high"}
    extra = {f"error.{code}" for code in codes} | {f"finding.{code}" for code in findings}
    extra |= {f"genre.{name}" for name in styles()} | {f"remark.{code}" for code in REMARKS}
    for language in ("fr", "ar"):
        assert keys(language) == keys("en") | extra


def _is_error(kind) -> bool:
    return isinstance(kind, type) and issubclass(kind, VoiceToMusicError)


def test_translations_fill_the_same_places_as_the_english_sentences():
    english = words_in("en").texts
    for language in ("fr", "ar"):
        for key, text in words_in(language).texts.items():
            if key in english:
                assert places(text) == places(english[key]), key
        for code, (_, text) in MESSAGES.items():
            if code != "out_of_range":
                assert places(words_in(language)(f"finding.{code}")) <= places(text), code
        for code, text in REMARKS.items():
            told = words_in(language)(f"remark.{code}")
            assert filled(told) == filled(text), code


def filled(text: str) -> list[str]:
    """Places with how their numbers are written."""
    return sorted(re.findall(r"\{[^}]*\}", text))


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)", text))


def test_every_word_the_scripts_ask_for_is_sent_to_them():
    for script, sections in (
        ("recorder", ("record", "guide", "latency", "backing", "mic", "voice", "example")),
        ("heard", ("voice",)),
        ("stage", ("listen", "download")),
        ("header", ("-",)),
        ("player", ("voice",)),
    ):
        source = (STATIC / f"{script}.js").read_text(encoding="utf-8")
        wanted = set(re.findall(r"(?<!view\.)\bwords\.([a-z_]+)", source))
        assert wanted <= set(words_in("en").part(*sections)), script


def test_every_sentence_that_python_asks_for_exists():
    known = keys("en")
    for file in FOLDER.parent.glob("*.py"):
        for key in re.findall(r'words\("([a-z_.]+)"', file.read_text(encoding="utf-8")):
            assert key in known, f"{key} in {file.name}"


def test_an_unknown_language_is_english():
    assert words_in("../../etc/passwd").language == "en"


def test_translation_files_hold_nothing_but_sentences():
    for code, _ in LANGUAGES:
        sections = tomllib.loads((FOLDER / f"{code}.toml").read_text(encoding="utf-8"))
        for section in sections.values():
            texts = section.values() if isinstance(section, dict) else [section]
            assert all(isinstance(text, str) for text in texts)


def test_findings_are_told_in_the_visitors_language():
    low = replace(
        heard(hum()).findings[0],
        code="out_of_range",
        values=(("where", "low"), ("moved", "higher")),
    )
    assert "octave plus haut" in finding_text(low, words_in("fr"))
    unknown = replace(low, code="new", text="Something new.", values=())
    assert finding_text(unknown, words_in("ar")) == "Something new."


def test_every_remark_is_made_somewhere_and_has_a_sentence():
    files = [file for file in FOLDER.parents[1].rglob("*.py") if file.name != "remarks.py"]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    assert set(re.findall(r'\bremark\(\s*"(\w+)"', source)) <= set(REMARKS)
    assert [code for code in REMARKS if f'"{code}"' not in source] == []


def test_a_remark_names_the_genre_in_the_visitors_language():
    slow = remark("slow_tune", tempo=62.4, genre="waltz", title="Waltz")
    assert slow.text.startswith("Your tune is at 62 beats per minute, which is slow for Waltz,")
    told = [remark_text(slow, words_in(code)) for code, _ in LANGUAGES]
    assert told[0] == slow.text
    for text, genre in zip(told[1:], ("«\u00a0Valse\u00a0»", "«فالس»"), strict=True):
        assert genre in text
        assert "62" in text
    own = remark("in_three", genre="my-own", title="Clockwork")
    assert "«\u00a0Clockwork\u00a0»" in remark_text(own, words_in("fr"))


def test_no_line_of_french_begins_with_a_colon_or_ends_with_a_guillemet():
    for text in words_in("fr").texts.values():
        assert not re.search("« | [»:;?!]", text), text


def test_keys_are_named_as_the_language_names_them():
    key = heard(hum()).key
    assert [key_text(key, words_in(code)) for code, _ in LANGUAGES] == [
        "C major",
        "do majeur",
        "دو الكبير",
    ]


# ---- errors ------------------------------------------------------------------------------------


def test_our_errors_are_shown_as_they_are(visit):
    def handler(visit):
        raise BadRequest("tempo is 0; it must be from 30 to 300.")

    with pytest.raises(gr.Error) as shown:
        safe(handler)(visit)
    assert shown.value.message == "tempo is 0; it must be from 30 to 300."


def test_another_language_says_the_kind_of_error_first(visit):
    visit.language = "fr"

    def handler(visit):
        raise MissingCheckpoint("Run 'voice2music models fetch musicgen-melody'.")
        yield

    with pytest.raises(gr.Error) as shown:
        list(safe(handler)(visit))
    assert shown.value.message.startswith("Les poids de ce modèle")
    assert "models fetch musicgen-melody" in shown.value.message


def test_a_translated_sentence_is_not_explained_twice():
    assert told(Said("Voilà."), words_in("fr")) == "Voilà."


def test_a_mistake_of_ours_is_logged_and_not_shown(visit, caplog):
    def handler(visit):
        raise ZeroDivisionError("secret detail")

    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as shown:
        safe(handler)(visit)
    assert shown.value.message == words_in("en")("broke")
    assert "secret detail" in caplog.text


# ---- sing --------------------------------------------------------------------------------------


def test_an_example_is_shown_at_once_and_then_heard(sing, visit):
    views = list(sing.example(visit, {"name": "ode-to-joy"}))
    assert "facts" not in views[0]
    assert views[0]["seconds"] == pytest.approx(6.0)
    assert [fact["value"] for fact in views[-1]["facts"]] == ["C major", "120 BPM", "C4 – G4"]
    assert views[-1]["roll"].count('class="v-note"') == len(TUNE)


def test_the_panel_speaks_the_visitors_language(sing, visit):
    with_voice(sing, visit).language = "ar"
    view = sing.view(visit)
    assert view["facts"][0] == {"label": "السلّم", "value": "دو الكبير", "note": ""}


def test_an_upload_is_read_only_from_the_upload_folder(sing, visit, uploads, tmp_path):
    write(hum(), uploads / "mine.wav")
    assert last(sing.recorded(visit, {"path": str(uploads / "mine.wav"), "name": "mine.wav"}))
    write(hum(), tmp_path / "other.wav")
    for path in (tmp_path / "other.wav", uploads / ".." / "other.wav", "/etc/passwd", ""):
        with pytest.raises(errors.BadAudio, match="did not arrive"):
            list(sing.recorded(visit, {"path": str(path)}))


def test_a_guide_beat_moves_with_the_trimmed_start(sing, visit, uploads):
    path = write(hum(8.0), uploads / "hum.wav")
    guide = {"tempo": 90, "beats_per_bar": 3, "first_downbeat": 2.0, "latency": 0.12}
    last(sing.recorded(visit, {"path": str(path), "guide": guide, "recorded": True}))
    last(sing.trimmed(visit, {"start": 1.5, "end": 7.0}))
    assert visit.voice.part_guide.first_downbeat == pytest.approx(0.5)
    assert visit.voice.source.seconds == pytest.approx(5.5)
    assert visit.voice.analysis.grid.tempo == 90


@pytest.mark.parametrize(
    "guide",
    [
        {"tempo": 0, "beats_per_bar": 4, "first_downbeat": 0, "latency": 0},
        {"tempo": "fast", "beats_per_bar": 4, "first_downbeat": 0, "latency": 0},
        {"tempo": 90, "beats_per_bar": 4, "first_downbeat": float("nan"), "latency": 0},
        {"tempo": 90},
        [],
    ],
)
def test_a_broken_guide_beat_is_refused(guide):
    with pytest.raises(BadRequest):
        guide_of(guide)


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 2), (0, 99), (float("nan"), 3)])
def test_a_part_outside_the_recording_is_refused(sing, visit, start, end):
    with_voice(sing, visit)
    with pytest.raises(BadRequest):
        list(sing.trimmed(visit, {"start": start, "end": end}))


def test_of_a_long_file_the_beginning_is_used(sing, visit, uploads):
    path = write(hum(80.0, rate=8000), uploads / "song.wav")
    view = last(sing.recorded(visit, {"path": str(path), "name": "song.wav"}))
    assert view["trim"] == [0.0, 30.0]
    assert "first 30 seconds" in view["shortened"]


def test_clean_up_is_shown_and_can_be_taken_back(sing, visit):
    with_voice(sing, visit)
    view = last(sing.cleaned(visit, {"what": "separate"}))
    assert view["cleaned"] == "The voice was taken out of the music with Spleeter."
    visit.language = "fr"
    assert sing.view(visit)["cleaned"] == "La voix a été extraite de la musique avec Spleeter."
    assert [offer["what"] for offer in view["offer"]] == ["undo"]
    assert visit.voice.source.peak == pytest.approx(0.36, abs=0.01)
    view = last(sing.cleaned(visit, {"what": "undo"}))
    assert view["cleaned"] == ""
    assert visit.voice.source.peak == pytest.approx(0.4, abs=0.01)


def test_the_tidied_tune_is_heard_and_then_conditions_the_engines(sing, visit, backend):
    with_voice(sing, visit)
    assert asked(Choice(), visit, backend).corrected is False
    view = sing.corrected(visit, {"on": True})
    assert read(visit.voice.files["corrected"]).peak == pytest.approx(0.2, abs=0.01)
    assert view["use_corrected"]
    assert asked(Choice(), visit, backend).corrected is True
    assert asked(Choice(), visit, backend).engines  # and nothing else is in the way


def test_words_alone_need_words(sing, visit, backend):
    with pytest.raises(Said, match="first"):
        asked(Choice(), visit, backend)
    assert sing.wordless(visit, {}) == {"wordless": True}
    with pytest.raises(Said, match="words"):
        asked(Choice(words="  "), visit, backend)
    assert asked(Choice(words="warm trumpet"), visit, backend).words == "warm trumpet"


# ---- choose ------------------------------------------------------------------------------------


def test_controls_arrive_under_their_names():
    values = tuple(getattr(Choice(), name) for name in NAMES)
    assert choice_of(values) == Choice()


def test_what_was_not_chosen_is_left_to_the_pipeline(sing, visit, backend):
    request = asked(Choice(), with_voice(sing, visit), backend)
    assert (request.seconds, request.tempo, request.key, request.chords) == (None,) * 4
    assert (request.guidance, request.steps) == (None, None)


def test_each_model_may_have_its_own_genre_and_checkpoint(sing, visit, backend):
    choice = Choice(
        own_genres=True,
        genre="disco",
        genre_two="rock",
        first="mini-musicgen",
        second="mini-musicgen",
    )
    request = asked(choice, with_voice(sing, visit), backend)
    assert (request.genre_of("musicgen"), request.genre_of("audioldm")) == ("disco", "rock")
    assert request.checkpoints == {"musicgen": "mini-musicgen", "audioldm": "mini-musicgen"}


def test_one_model_may_stand_in_both_columns(sing, listen, visit):
    choice = Choice(
        first="mini-musicgen", second="musicgen-melody", players=("musicgen", "audioldm")
    )
    view = last(listen.make(with_voice(sing, visit), choice))
    assert [slot["title"] for slot in view["slots"]] == [
        "MusicGen · mini-musicgen",
        "MusicGen · musicgen-melody",
    ]


def test_the_page_takes_no_folder_for_a_model(backend):
    with pytest.raises(BadRequest, match="no model"):
        known_models({"musicgen": "/etc"}, backend.models())


def test_chords_can_be_written_out_and_edited(sing, visit, backend):
    text = chords_heard(Choice(), with_voice(sing, visit), backend)
    assert text.count("|") >= 2
    request = asked(Choice(chords=text), visit, backend)
    assert request.chords == text


# ---- listen ------------------------------------------------------------------------------------


def test_the_band_comes_first_and_all_columns_are_filled(sing, listen, visit, studio):
    views = list(listen.make(with_voice(sing, visit), Choice(genre="disco")))
    assert [slot["slot"] for slot in views[-1]["slots"]] == ["band", "musicgen", "audioldm"]
    assert [slot["state"] for slot in views[-1]["slots"]] == ["done"] * 3
    assert [request.engines for request in studio.asked] == [
        ("band",),
        ("musicgen",),
        ("audioldm",),
    ]
    assert all(request.separate == "no" for request in studio.asked)


def test_the_first_seconds_can_be_heard_before_the_take_is_done(sing, listen, visit, tmp_path):
    with_voice(sing, visit)
    early = [
        slot["sounds"]
        for view in listen.make(visit, Choice())
        for slot in view["slots"]
        if slot["state"] == "working" and slot["sounds"]
    ]
    assert early
    assert early[0][0].startswith("gradio_api/file=")


def test_an_engine_without_weights_says_so_in_its_own_column(sing, visit, tmp_path):
    listen = Listen(fake_backend(tmp_path, Studio(missing=("audioldm",))), jobs=1)
    view = last(listen.make(with_voice(sing, visit), Choice()))
    by_name = {slot["slot"]: slot for slot in view["slots"]}
    assert "models fetch" in by_name["audioldm"]["error"]
    assert by_name["musicgen"]["takes"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_visitor_who_is_quicker_than_the_models_is_told(sing, visit, tmp_path, language):
    """The band is there at once and says nothing of a model."""
    here = {"band", "audioldm"}
    backend = replace(fake_backend(tmp_path), loaded=lambda column, request: column in here)
    listen, words = Listen(backend, jobs=1), words_in(language)
    visit.language = language
    told: dict[str, set[str]] = {}
    for view in listen.make(with_voice(sing, visit), Choice()):
        for slot in view["slots"]:
            if slot["state"] == "working":
                told.setdefault(slot["slot"], set()).add(slot["words"])
    assert words("listen.loading") in told["musicgen"]
    assert words("listen.starting") not in told["musicgen"]
    assert words("listen.loading") not in told["band"] | told["audioldm"]


def test_takes_of_a_column_are_ordered_by_how_they_follow(sing, listen, visit):
    view = last(listen.make(with_voice(sing, visit), Choice(variations=3)))
    for slot in view["slots"]:
        overall = [visit.kept[take["id"]].take.follow.overall for take in slot["takes"]]
        assert overall == sorted(overall, reverse=True)
        assert [take.get("best", False) for take in slot["takes"]] == [True, False, False]


def test_a_take_says_what_was_done_differently_in_the_visitors_language(
    sing, listen, visit, studio
):
    """Also after another language was chosen; what an engine says in its own words stays."""
    studio.notes = (remark("longer_than_trained", seconds=10.24), Remark("Spielt nur Triangel."))
    last(listen.make(with_voice(sing, visit), Choice(players=("audioldm",))))
    told = {
        "en": "This take is longer than the 10 s AudioLDM was trained on",
        "fr": "Cette prise est plus longue que les 10 s",
        "ar": "هذه المحاولة أطول من المدة التي دُرّب عليها AudioLDM، وهي 10 ث",
    }
    for visit.language, beginning in told.items():
        (slot,) = listen.view(visit)["slots"]
        trained, own = slot["takes"][0]["notes"]
        assert trained.startswith(beginning)
        assert own == "Spielt nur Triangel."


def test_cancelling_shows_at_once_and_leaves_the_others(sing, visit, tmp_path):
    listen = Listen(fake_backend(tmp_path, Studio(pause=0.05)), jobs=1)
    with_voice(sing, visit)
    for view in listen.make(visit, Choice()):
        states = {slot["slot"]: slot["state"] for slot in view["slots"]}
        if states["musicgen"] == "working":
            before = time.monotonic()
            stopped = listen.cancelled(visit, {"slot": "musicgen"})
            assert time.monotonic() - before < 0.1
            assert {s["slot"]: s["state"] for s in stopped["slots"]}["musicgen"] == "stopped"
    states = {slot["slot"]: (slot["state"], len(slot["takes"])) for slot in view["slots"]}
    assert states == {"band": ("done", 1), "musicgen": ("stopped", 0), "audioldm": ("done", 1)}


def test_another_one_has_another_seed_and_same_again_the_same(sing, listen, visit):
    view = last(listen.make(with_voice(sing, visit), Choice(players=("band",), seed=7)))
    first = view["slots"][0]["takes"][0]["id"]
    view = last(listen.another(visit, {"take": first}))
    seeds = {visit.kept[take["id"]].request.seed for take in view["slots"][0]["takes"]}
    assert seeds == {7, 8}
    view = last(listen.again(visit, {"take": first}))
    repeated = [take for take in view["slots"][0]["takes"] if take["seed"] == 7]
    assert len(repeated) == 2
    assert any("same to the last bit" in note for take in repeated for note in take["notes"])


def test_a_new_job_keeps_the_takes_of_the_one_before(sing, listen, visit):
    with_voice(sing, visit)
    last(listen.make(visit, Choice(players=("band",))))
    view = last(listen.make(visit, Choice(players=("band",), genre="rock")))
    assert [take["title"] for take in view["earlier"]] == ["Disco · The band"]
    assert [slot["genre"] for slot in view["slots"]] == ["Rock"]


def test_a_finished_takes_tune_is_the_next_input(sing, listen, visit):
    view = last(listen.make(with_voice(sing, visit), Choice(players=("band",))))
    take = view["slots"][0]["takes"][0]["id"]
    sing.forgotten(visit, {})
    view = last(sing.from_take(visit, {"take": take}))
    assert "Disco" in view["title"]
    assert visit.voice.source.seconds == pytest.approx(6.0)


def test_of_music_without_a_voice_its_own_tune_is_the_next_input(sing, listen, visit):
    sing.wordless(visit, {})
    view = last(listen.make(visit, Choice(players=("musicgen",), words="calm piano")))
    card = view["slots"][0]["takes"][0]
    assert (card["voice"], card["follow"]) == ("", None)
    last(sing.from_take(visit, {"take": card["id"]}))
    assert visit.voice.analysis is not None
    assert not visit.wordless


def test_a_silent_voice_is_told_before_the_engines_are_asked(sing, listen, visit, uploads, studio):
    path = write(silence(3.0, 16_000), uploads / "silence.wav")
    last(sing.recorded(visit, {"path": str(path)}))
    view = last(listen.make(visit, Choice(players=("band",))))
    assert "Sing louder" in view["slots"][0]["error"]
    assert studio.asked == []


def test_oldest_takes_make_room(sing, listen, visit, monkeypatch):
    monkeypatch.setattr("voice2music.ui.visit.MOST_TAKES", 2)
    with_voice(sing, visit)
    view = last(listen.make(visit, Choice(players=("band",), variations=4)))
    assert len(view["slots"][0]["takes"]) == 2
    assert len(list(visit.folder.glob("band-*.mid"))) == 2


@pytest.mark.parametrize(
    ("remaining", "text"),
    [(None, "40 %"), (12.3, "40 %, about 12 s left"), (200, "40 %, about 3 min left")],
)
def test_progress_is_told_in_words(remaining, text):
    slot = Slot("musicgen", "pop", state="working", share=0.4, remaining=remaining)
    assert progress_words(slot, words_in("en")) == text


# ---- the queue ---------------------------------------------------------------------------------


def test_jobs_work_in_the_order_in_which_they_came():
    line, order = Line(1), []
    first = line.turn(lambda: False)
    assert list(first.places()) == []

    def job(number):
        with turns[number] as turn:
            places[number] = list(turn.places())
            order.append(number)

    turns = [line.turn(lambda: False) for _ in range(3)]
    places = [[]] * 3
    workers = [threading.Thread(target=job, args=(i,)) for i in range(3)]
    for worker in reversed(workers):
        worker.start()
    time.sleep(0.1)
    first.__exit__()
    for worker in workers:
        worker.join(timeout=10)
    assert order == [0, 1, 2]
    assert [each[0] for each in places] == [1, 2, 3]


def test_who_gives_up_waiting_leaves_the_line():
    line = Line(1)
    with line.turn(lambda: False), line.turn(lambda: True) as second, pytest.raises(Cancelled):
        list(second.places())
    with line.turn(lambda: False) as third:
        assert list(third.places()) == []


def test_a_full_line_turns_the_next_one_away():
    line = Line(1, longest=1)
    line.turn(lambda: False)
    line.turn(lambda: False)
    with pytest.raises(Busy, match="try again"):
        line.turn(lambda: False)


# ---- visitors ----------------------------------------------------------------------------------


def test_two_visitors_have_nothing_in_common(sing, listen, tmp_path):
    mine, yours = open_visit(tmp_path), open_visit(tmp_path)
    with_voice(sing, mine)
    mine.language = "fr"
    view = last(listen.make(mine, Choice(players=("band",))))
    assert (yours.voice, yours.kept, yours.slots, yours.language) == (None, {}, {}, "en")
    with pytest.raises(Said):
        yours.take(view["slots"][0]["takes"][0]["id"])
    assert mine.folder != yours.folder
    assert len(mine.folder.name) >= 32


def test_leaving_removes_the_files_and_stops_the_work(sing, listen, visit):
    last(listen.make(with_voice(sing, visit), Choice()))
    slot = visit.slots["musicgen"]
    visit.close()
    assert not visit.folder.exists()
    assert slot.stop.is_set()


# ---- downloads -----------------------------------------------------------------------------------


def made(sing, listen, visit) -> str:
    view = last(listen.make(with_voice(sing, visit), Choice(players=("band",))))
    return view["slots"][0]["takes"][0]["id"]


def sent(visit: Visit, answer: dict) -> Path:
    return Path(answer["url"].removeprefix("gradio_api/file="))


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "stems", "midi", "chords", "json"])
def test_everything_of_a_take_can_be_downloaded(sing, listen, visit, kind):
    take = made(sing, listen, visit)
    answer = download(visit, {"take": take, "kind": kind, "balance": 0.5})
    assert sent(visit, answer).stat().st_size > 0
    assert answer["name"].startswith("ode-to-joy-disco-band-0")
    assert sent(visit, answer).is_relative_to(visit.folder)


def test_a_download_has_the_balance_that_was_set(sing, listen, visit):
    take = made(sing, listen, visit)
    music = read(visit.kept[take].take.music).mono()
    voice = read(visit.kept[take].take.voice).mono()

    def share(balance):
        answer = download(visit, {"take": take, "kind": "wav", "balance": balance})
        mix = read(sent(visit, answer)).mono().samples[0]
        return [abs(np.corrcoef(mix, part.samples[0][: len(mix)])[0, 1]) for part in (music, voice)]

    assert share(1.0)[0] > 0.99
    assert share(0.0)[1] > 0.99
    middle = share(0.5)
    assert min(middle) > 0.3


def test_the_balance_means_the_same_here_and_in_the_player():
    assert levels(0.5) == (0.0, 0.0)
    assert levels(1.0) == (0.0, -80.0)
    music, voice = levels(0.25)
    assert (music, voice) == (pytest.approx(20 * np.log10(0.25)), 0.0)


def test_what_a_take_does_not_have_is_refused(sing, listen, visit):
    take = made(sing, listen, visit)
    for kind in ("musicxml", "../../etc/passwd", ""):
        with pytest.raises(BadRequest):
            download(visit, {"take": take, "kind": kind})


# ---- pictures ------------------------------------------------------------------------------------


def test_peaks_follow_the_loudness():
    quiet_then_loud = Clip(np.concatenate([np.full(1000, 0.1), np.full(1000, 0.5)]), 8000)
    tops = plots.peaks(quiet_then_loud, bars=10)
    assert tops == [0.2] * 5 + [1.0] * 5


def test_the_overlay_shows_what_is_heard_where_it_is_heard():
    chroma = np.zeros((12, 600), np.float32)
    chroma[9, :300] = 1.0  # A for three seconds
    picture = plots.overlay(heard(hum()).notes, chroma, 6.0, heard(hum()).key)
    bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"[^>]*v-heard-2', picture)
    assert [(float(x), float(y)) for x, y, _ in bars] == [(0.0, pytest.approx(100 / 6, abs=0.01))]
    assert float(bars[0][2]) == pytest.approx(50, abs=2.1)


# ---- programs ------------------------------------------------------------------------------------


def test_programs_get_takes_and_their_files(backend, listen, tmp_path, studio):
    studio.notes = (remark("off_beat"),)
    doors = Doors(backend, listen, Limits(), tmp_path)
    voice = str(backend.examples["ode-to-joy"])
    takes, files = doors.make(
        voice, "disco", ["band"], "tune", "", "", "", 0, 1, 3, 0, "", "", 0.7, 0, 0, "", "",
        "auto", False, False,
    )  # fmt: skip
    assert [take["engine"] for take in takes] == ["band"]
    assert takes[0]["notes"] == [
        "This take keeps its own beat: it is not on yours. Try another one."
    ]
    assert takes[0]["files"]["music"] in {Path(file).name for file in files}
    assert doors.analyse(voice)["key"]["tonic"] == 0
    assert {"name": "disco", "title": "Disco"} in doors.styles()


def test_the_page_offers_programs_stable_names_and_nothing_else(backend, tmp_path):
    page = build(backend, tmp_path, Limits(), jobs=1)
    public = {
        fn.api_name for fn in page.fns.values() if fn.api_visibility == "public" and fn.api_name
    }
    assert public == {"make", "analyse", "styles", "checkpoints"}


def test_the_page_loads_nothing_from_elsewhere():
    for file in STATIC.iterdir():
        source = file.read_text(encoding="utf-8")
        assert not re.search(r"(https?:)?//[\w-]+\.\w+", source), file.name
