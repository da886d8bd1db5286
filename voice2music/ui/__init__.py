"""The page in the browser, and the REST and MCP doors behind it."""

from voice2music.clip import Limits
from voice2music.errors import MissingPackage


def launch(
    *,
    host: str | None = None,
    port: int | None = None,
    phone: bool = False,
    mcp: bool = False,
    open_page: bool = False,
    jobs: int = 1,
    limits: Limits | None = None,
) -> None:
    """Open the page and serve it until interrupted.

    Args:
        host, port: where to listen; "0.0.0.0" to be seen on the network. Gradio's own choice,
            127.0.0.1 and 7860 or what a Space wants, where none is given.
        phone: HTTPS on the local network with a certificate of its own, and a QR code.
        mcp: offer the API to language models too.
        open_page: open a browser on it.
        jobs: jobs of the models at once; the others queue.
        limits: of uploaded files.
    Raises:
        MissingPackage: the page's extra is not installed.
    """
    try:
        from voice2music.ui import serving
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"The page needs the package '{error.name}'. Run 'pip install voice2music[page]'."
        ) from error
    serving.serve(serving.Address(host, port, phone), mcp, open_page, jobs, limits or Limits())
