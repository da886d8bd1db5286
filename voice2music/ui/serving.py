"""Serving the page: where, how safely, and what is cleaned up afterwards."""

import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from gradio import http_server

from voice2music.clip import Limits
from voice2music.engines.loading import load_engine, release_when_idle
from voice2music.errors import BadRequest, VoiceToMusicError
from voice2music.garbage import garbage_later
from voice2music.request import Request
from voice2music.ui import page, theme
from voice2music.ui.backend import Backend, installed

log = logging.getLogger(__name__)

PATIENCE = 20.0  # s that the end waits for a model that is being loaded


@dataclass(frozen=True)
class Address:
    """Where the page is to be found; see `voice2music.ui.launch`."""

    host: str | None
    port: int | None
    phone: bool


def serve(
    address: Address,
    root: Path,
    mcp: bool,
    open_page: bool,
    jobs: int,
    limits: Limits,
    idle: float = 0.0,
) -> None:
    """Serve until interrupted, with the visitors' files in `root`.

    The engines are loaded behind the page and leave memory after `idle` seconds without work (0:
    never); a job that comes before or after waits for them.
    """
    where = _on_the_network(address) if address.phone else _plain(address)
    signal.signal(signal.SIGTERM, _leave)
    with garbage_later():
        backend = installed()
        blocks = page.build(backend, root, limits, jobs)
        blocks.queue(max_size=page.WAITING_EVENTS).launch(
            **where,
            **options(root, limits),
            mcp_server=mcp,
            inbrowser=open_page,
            prevent_thread_lock=True,
        )
    gc.freeze()  # nobody has come yet: all there is stays, and need not be looked at again
    # Not before, as Gradio gives its server five seconds to start.
    leaving = threading.Event()
    warming = threading.Thread(target=warm_up, args=(backend, leaving.is_set), daemon=True)
    warming.start()
    if idle:
        release_when_idle(idle)
    try:
        blocks.block_thread()
    finally:  # an interpreter that ends in the middle of a load ends with an abort
        leaving.set()
        warming.join(PATIENCE)


def _leave(number: int, frame: FrameType | None) -> None:
    """End as an interrupt does, so that the visitors' files are removed."""
    raise SystemExit(0)


def warm_up(backend: Backend, leaving: Callable[[], bool] = lambda: False) -> None:
    """Load what the first visitor would wait for: the ears, the band, the models that are here.

    Args:
        leaving: whether there will be no visitor any more.
    """
    with garbage_later():
        for path in list(backend.examples.values())[:1]:
            backend.analyse(backend.read(path, Limits()), None)
        log.info("the ears are ready")
        for column in ("band", "musicgen", "audioldm"):
            if leaving():
                return
            try:
                load_engine(column, Request())
            except VoiceToMusicError as error:
                log.info("%s is not loaded: %s", column, error)
    log.info("the engines are ready")


def options(root: Path, limits: Limits) -> dict[str, Any]:
    """What `launch` is told in any case.

    Args:
        root: the visitors' files, each visit in a folder whose name nobody can guess; Gradio
            serves nothing else but its own uploads.
    """
    return {
        "theme": theme.theme(),
        "css": theme.css(),
        "head": theme.head(),
        "allowed_paths": [str(root)],
        "max_file_size": limits.max_bytes,
        "footer_links": [],
        "ssr_mode": False,
        "run_history": False,
    }


def free_port(host: str | None, wanted: int | None) -> int:
    """The port to listen on: the one wanted, or the first free one of Gradio's range.

    Gradio is told one port and not left to look for one: where another server is quicker, it goes
    through its range of a hundred at five seconds each, and in vain, as the MCP server starts once.

    Raises:
        BadRequest: it is taken, or this user or machine may not listen there.
    """
    first, tried = http_server.INITIAL_PORT_VALUE, http_server.TRY_NUM_PORTS
    hosts = {host or http_server.LOCALHOST_NAME, http_server.LOCALHOST_NAME}  # Gradio asks for both
    problem = ""
    for port in [wanted] if wanted else range(first, first + tried):
        try:
            for name in hosts:
                _listen(name, port)
        except OSError as error:
            reason, _, _ = str(error.strerror).partition(
                " ("
            )  # Python adds the address in brackets
            problem = problem or f"Port {port} cannot be used: {reason}."
        else:
            return port
    raise BadRequest(
        f"{problem} Close the program that uses it, or choose another port, for example with "
        f"'voice2music serve --port {(wanted or first) + 1}'."
    )


def _listen(host: str, port: int) -> None:
    """For a moment, to see whether it can be done."""
    host = host.strip("[]")
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    socket.create_server((host, port), family=family).close()


def _plain(address: Address) -> dict[str, Any]:
    return {"server_name": address.host, "server_port": free_port(address.host, address.port)}


def _on_the_network(address: Address) -> dict[str, Any]:
    """HTTPS with our own certificate, as browsers give their microphone to nothing less."""
    from voice2music import phone

    host = phone.lan_address()
    port = free_port("0.0.0.0", address.port)
    pair = phone.certificate(host)
    url = f"https://{host}:{port}"
    print(f"{phone.qr(url)}\nOn a phone in the same network: {url}", flush=True)
    return {
        "server_name": "0.0.0.0",
        "server_port": port,
        "ssl_certfile": str(pair.certificate),
        "ssl_keyfile": str(pair.key),
        "ssl_verify": False,  # Gradio's own check of the page; the certificate is our own
    }
