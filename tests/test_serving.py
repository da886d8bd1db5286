"""The page's own process: where it listens, and where its files are."""

import gc
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from unittest.mock import MagicMock

import pytest
from fixtures_ui import free_port
from typer.testing import CliRunner

from voice2music.cli import app
from voice2music.errors import BadRequest
from voice2music.ui import serving

PROGRAM = "from voice2music.cli import app; app()"
STARTING = 120.0  # s that the page may take to start on a busy machine


def test_a_port_in_use_is_named_in_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BadRequest, match=rf"Port {port} [^()]* --port {port + 1}'"):
            serving.free_port("127.0.0.1", port)
    assert serving.free_port("127.0.0.1", port) == port


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address on Linux only")
def test_a_port_in_use_on_the_network_is_found_too():
    """A page that is to be seen on the network listens on all addresses at once."""
    with socket.create_server(("127.0.0.2", 0)) as other, pytest.raises(BadRequest):
        serving.free_port("0.0.0.0", other.getsockname()[1])


def test_where_no_port_is_wanted_the_first_free_one_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(serving.http_server, "INITIAL_PORT_VALUE", taken)
        assert taken < serving.free_port(None, None) < taken + 100
        monkeypatch.setattr(serving.http_server, "TRY_NUM_PORTS", 1)
        with pytest.raises(BadRequest, match=f"Port {taken}"):
            serving.free_port(None, None)


def test_a_host_that_is_not_this_machine_is_refused_in_a_sentence():
    with pytest.raises(BadRequest, match="choose another"):
        serving.free_port("203.0.113.7", free_port())


@pytest.mark.parametrize(("minutes", "idle"), [("5", 300.0), ("0", 0.0)])
def test_how_long_the_models_stay_is_said_in_minutes(monkeypatch, tmp_path, minutes, idle):
    """And of the rest of a start only that is looked at here."""
    watched, blocks = [], MagicMock()
    monkeypatch.setattr(serving, "release_when_idle", watched.append)
    monkeypatch.setattr(serving, "warm_up", lambda backend, leaving: None)
    monkeypatch.setattr(serving.page, "build", lambda *_: blocks)
    monkeypatch.setattr(serving.signal, "signal", lambda *_: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    command = ["serve", "--port", str(free_port()), "--idle-minutes", minutes]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert blocks.block_thread.called
    assert watched == ([idle] if idle else [])
    gc.unfreeze()


@pytest.mark.parametrize("later", [0.0, 0.4])  # s; then, a model is being loaded
def test_the_page_needs_nothing_of_the_folder_all_users_share_and_leaves_nothing(tmp_path, later):
    """Gradio's default folder belongs to the first user of the machine; here nobody can use it."""
    shared = tmp_path / "gradio"
    shared.write_text("another user's")
    own = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", "--mcp", "--port", str(port)],
        env=own | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
    )
    try:
        assert answers(f"http://127.0.0.1:{port}", process) == 200
        time.sleep(later)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert b"Traceback" not in said
    assert process.returncode == 0
    assert os.listdir(tmp_path) == ["gradio"]
    assert shared.read_text() == "another user's"


def answers(url: str, process: subprocess.Popen[bytes]) -> int:
    """The status of the first answer, waited for."""
    end = time.monotonic() + STARTING
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return answer.status
        except urllib.error.URLError:
            time.sleep(0.2)
    raise AssertionError(f"no answer; the process's exit code is {process.poll()}")
