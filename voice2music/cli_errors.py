"""How the command line says what went wrong."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from voice2music.errors import BadAudio, CannotSave, NoMelody, TooLong, VoiceToMusicError


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


def for_each(files: Iterable[Path], work: Callable[[Path], None]) -> None:
    """Do `work` for one file after the other; one that is no use is named, and the others go on.

    What is not a file's own fault (a model that is missing, a full disk) ends it at once.
    Raises:
        Exit: with code 1 after the last file, where one or more failed.
    """
    failed = False
    for file in files:
        try:
            work(file)
        except (BadAudio, NoMelody, TooLong) as error:
            failed = True
            typer.echo(f"{file.name}: {error}", err=True)
    if failed:
        raise typer.Exit(1)


def _fail(error: VoiceToMusicError) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(1) from error
