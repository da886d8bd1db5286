"""The page in the browser, and the REST and MCP doors behind it."""

import tempfile
from pathlib import Path

from voice2music.clip import Limits


def launch(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    phone: bool = False,
    mcp: bool = False,
    open_page: bool = False,
    jobs: int = 1,
    limits: Limits | None = None,
) -> None:
    """Open the page and serve it until interrupted.

    Args:
        host, port: where to listen; "0.0.0.0" to be seen on the network.
        phone: HTTPS on the local network with a certificate of its own, and a QR code.
        mcp: offer the API to language models too.
        open_page: open a browser on it.
        jobs: jobs of the models at once; the others queue.
        limits: of uploaded files.
    """
    from voice2music.ui import theme
    from voice2music.ui.backend import installed
    from voice2music.ui.page import build

    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="voice2music-") as root:
        page = build(installed(), Path(root), limits, jobs)
        page.queue(max_size=64).launch(
            server_name=host,
            server_port=port,
            theme=theme.theme(),
            css=theme.css(),
            head=theme.head(),
            allowed_paths=[root],
            max_file_size=limits.max_bytes,
            mcp_server=mcp,
            inbrowser=open_page,
            footer_links=[],
            ssr_mode=False,
            show_error=True,
            quiet=True,
        )
