"""The page in the browser, and the REST and MCP doors behind it."""

import os
import tempfile
from pathlib import Path

from voice2music.clip import Limits
from voice2music.errors import MissingPackage
from voice2music.garbage import garbage_later


def launch(
    *,
    host: str | None = None,
    port: int | None = None,
    phone: bool = False,
    mcp: bool = False,
    open_page: bool = False,
    jobs: int = 1,
    limits: Limits | None = None,
    idle_minutes: float = 30.0,
) -> None:
    """Open the page and serve it until interrupted; the visitors' files are gone afterwards.

    Args:
        host, port: where to listen; "0.0.0.0" to be seen on the network. Gradio's own choice,
            127.0.0.1 and the first free port from 7860 on or what a Space wants, where none is
            given.
        phone: HTTPS on the local network with a certificate of its own, and a QR code.
        mcp: offer the API to language models too.
        open_page: open a browser on it.
        jobs: jobs of the models at once; the others queue.
        limits: of uploaded files.
        idle_minutes: the models leave memory after so long without work, and the next job loads
            them again; 0 keeps them for ever.
    Raises:
        MissingPackage: the page's extra is not installed.
        BadRequest: the port is not free.
    """
    with tempfile.TemporaryDirectory(prefix="voice2music-") as folder:
        # Gradio's own copies of uploads and results, which it would leave for good in a folder that
        # all users of the machine share and only one of them may write to. Gradio asks for it when
        # it is imported.
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "gradio")
        # And so does torch, which makes its folder whether or not it compiles anything.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(folder) / "torch"))
        try:
            with garbage_later():
                from voice2music.ui import serving
        except ModuleNotFoundError as error:
            raise MissingPackage(
                f"The page needs the package '{error.name}'. Run 'pip install voice2music[page]'."
            ) from error
        address = serving.Address(host, port, phone)
        serving.serve(
            address, Path(folder), mcp, open_page, jobs, limits or Limits(), 60 * idle_minutes
        )
