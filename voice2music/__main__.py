"""`python -m voice2music` is `voice2music`."""

from voice2music.cli import app

app()
