"""voice2music: hum a tune, hear it as music.

Importing this package pulls in neither torch nor gradio; see `voice2music.pipeline` for the
one function behind every door (page, command line, Python, REST, MCP).
"""

__version__ = "0.1.0"
