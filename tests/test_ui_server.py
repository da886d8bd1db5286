"""The page as a server: programs, language models, limits, and what is not given away."""

import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from fixtures_ui import fake_backend, free_port, hum

from voice2music.clip import Limits, read, write
from voice2music.ui import page, serving

LIMITS = Limits(max_bytes=2**20, max_seconds=60)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("visits")


@pytest.fixture(scope="module")
def address(root, tmp_path_factory):
    backend = fake_backend(tmp_path_factory.mktemp("examples"))
    blocks = page.build(backend, root, LIMITS, jobs=1)
    _, url, _ = blocks.queue().launch(
        **serving.options(root, LIMITS),
        server_port=free_port(),
        mcp_server=True,
        prevent_thread_lock=True,
        quiet=True,
    )
    yield url
    blocks.close()


@pytest.fixture(scope="module")
def client(address, tmp_path_factory):
    from gradio_client import Client

    folder = tmp_path_factory.mktemp("client")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))  # the client leaves empty folders there
        yield Client(address, verbose=False, download_files=folder)


@pytest.fixture
def voice(tmp_path):
    from gradio_client import handle_file

    return handle_file(str(write(hum(), tmp_path / "hum.wav")))


def status(url: str, data: bytes | None = None, kind: str = "application/json") -> int:
    request = urllib.request.Request(url, data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_program_makes_music_from_a_voice(client, voice):
    takes, files = client.predict(
        voice=voice, genre="disco", engines=["band", "musicgen"], api_name="/make"
    )
    assert [take["engine"] for take in takes] == ["musicgen", "band"]
    music = {Path(file).name: file for file in files}[takes[0]["files"]["music"]]
    assert read(music).seconds == pytest.approx(6.0, abs=0.01)


def test_a_program_makes_music_from_words(client):
    takes, _ = client.predict(
        voice=None, engines=["band"], words="calm piano", seconds=5, api_name="/make"
    )
    assert (takes[0]["seconds"], takes[0]["follows"]) == (5, None)


def test_a_program_is_told_in_a_sentence_what_was_wrong(client, voice):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="tempo is 7"):
        client.predict(voice=voice, tempo=7, api_name="/make")
    with pytest.raises(AppError, match="Give an audio file"):
        client.predict(voice=None, api_name="/analyse")


def test_a_program_hears_what_is_in_a_voice(client, voice):
    heard = client.predict(voice=voice, api_name="/analyse")
    assert [note["midi"] for note in heard["notes"]] == [60, 62, 64, 65, 67, 65, 64, 62, 60]


def test_a_program_lists_genres_and_models(client):
    assert {"name": "rock", "title": "Rock"} in client.predict(api_name="/styles")
    assert client.predict(api_name="/checkpoints")[0]["name"] == "mini-musicgen"


def test_language_models_are_offered_the_same_functions(address):
    import json

    with urllib.request.urlopen(f"{address}gradio_api/mcp/schema", timeout=20) as answer:
        tools = {tool["name"].split("_")[-1]: tool for tool in json.load(answer)}
    assert set(tools) == {"make", "analyse", "styles", "checkpoints"}
    assert "Make music that follows" in tools["make"]["description"]
    parameters = tools["make"]["inputSchema"]["properties"]
    assert "0 is the voice's own length" in parameters["seconds"]["description"]


def test_files_beside_the_visits_are_not_given_away(address, root):
    (root / "visit").mkdir(exist_ok=True)
    mine = root / "visit" / "take.txt"
    mine.write_text("mine")
    assert status(f"{address}gradio_api/file={mine}") == 200
    for path in ("/etc/passwd", f"{root}/../../../etc/passwd", str(Path(__file__))):
        assert status(f"{address}gradio_api/file={urllib.parse.quote(path)}") in (403, 404)
    assert status(f"{address}gradio_api/file={root}") in (403, 404)  # no list of visits


def test_an_upload_over_the_limit_is_refused_and_the_server_stays_well(address, client, voice):
    edge = "border"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    body = head.encode() + b"x" * (LIMITS.max_bytes + 1) + f"\r\n--{edge}--\r\n".encode()
    form = f"multipart/form-data; boundary={edge}"
    assert status(f"{address}gradio_api/upload", body, form) == 413
    assert client.predict(voice=voice, api_name="/analyse")["notes"]


def test_the_pages_own_events_are_not_open_to_programs(client):
    described = client.view_api(return_format="dict", print_info=False)
    assert set(described["named_endpoints"]) == {"/make", "/analyse", "/styles", "/checkpoints"}
    assert described["unnamed_endpoints"] == {}
