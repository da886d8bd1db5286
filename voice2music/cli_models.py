"""`voice2music models`: which weights are here, and bringing others."""

from pathlib import Path
from typing import Annotated

import typer

from voice2music.cli_errors import errors
from voice2music.request import ENGINES

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
def models_check(
    name: Annotated[str, typer.Argument(help="A name or a folder.")],
    memory: Annotated[
        bool, typer.Option(help="Load it and make a few seconds of music, to see what it takes.")
    ] = True,
) -> None:
    """Check a model: its layout, its files' headers, its sha256, and the memory that it takes."""
    from voice2music.checkpoints import check

    with errors():
        found = check(name)
        typer.echo(found.sha256)
        if memory and found.engine in ENGINES:
            _say_memory(found.folder)


def _say_memory(folder: Path) -> None:
    from voice2music.footprint import SECONDS, footprint

    typer.echo(f"making {SECONDS:.0f} s of music with it...", err=True)
    took = footprint(folder)
    typer.echo(f"weights in memory: {took.weights / 1e6:,.0f} MB")
    typer.echo(
        f"peak memory of the whole program: {took.peak / 1e6:,.0f} MB, loading it and making "
        f"{SECONDS:.0f} s of music in {took.seconds:.0f} s"
    )


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
