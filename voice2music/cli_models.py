"""`voice2music models`: which weights are here, and bringing others."""

from pathlib import Path
from typing import Annotated

import typer

from voice2music.cli_errors import errors

models = typer.Typer(no_args_is_help=True, help="Models: what is here, fetch, check, convert.")


@models.command("list")
def models_list() -> None:
    """List the models: here or not, licence, and where they come from."""
    from voice2music.checkpoints import list_checkpoints

    for entry in list_checkpoints():
        where = "here" if entry.available else "not here"
        typer.echo(f"{entry.name:24} {entry.engine:9} {where:9} {entry.licence:12} {entry.note}")


@models.command("fetch")
def models_fetch(name: Annotated[str, typer.Argument(help="See `models list`.")]) -> None:
    """Download a model's weights."""
    from voice2music.checkpoints import fetch

    with errors():
        typer.echo(fetch(name, lambda share, words: typer.echo(words, err=True)).folder)


@models.command("check")
def models_check(name: Annotated[str, typer.Argument(help="A name or a folder.")]) -> None:
    """Check a model: its layout, its files' headers and its sha256."""
    from voice2music.checkpoints import check

    with errors():
        typer.echo(check(name).sha256)


@models.command("convert")
def models_convert(
    source: Annotated[
        Path, typer.Argument(help="Folder of an audiocraft fine-tune, or a laion_clap .pt file.")
    ],
    out: Annotated[
        Path, typer.Argument(help="New folder; for a .pt file the AudioLDM folder it goes into.")
    ],
    donor: Annotated[
        Path | None, typer.Option(help="Where an audiocraft model's text encoder is taken from.")
    ] = None,
    trust: Annotated[
        bool, typer.Option(help="Read a pickle that could run code: only from people you trust.")
    ] = False,
) -> None:
    """Convert an audiocraft fine-tune to this layout, or give an AudioLDM folder its ears."""
    from voice2music.conversion import convert

    with errors():
        typer.echo(convert(source, out, trust=trust, donor=donor).folder)
