"""How the command line says what went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from voice2music.errors import CannotSave, VoiceToMusicError


@contextmanager
def errors() -> Iterator[None]:
    """Our own errors, and files that cannot be written, as one line and exit code 1."""
    try:
        yield
    except VoiceToMusicError as error:
        _fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(CannotSave(f"'{error.filename}' cannot be used: {error.strerror}. Choose another."))


def _fail(error: VoiceToMusicError) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(1) from error
