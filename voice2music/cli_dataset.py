"""`voice2music dataset`: training pairs from nothing but a seed."""

from pathlib import Path
from typing import Annotated

import typer

from voice2music.cli_errors import errors

dataset = typer.Typer(no_args_is_help=True, help="Training pairs: make, check.")


@dataset.command("make")
def dataset_make(
    out: Annotated[Path, typer.Argument(help="Folder; one that was begun is gone on with.")],
    hours: Annotated[float, typer.Option(help="Of music.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same pairs.")] = 0,
    archive: Annotated[
        Path | None, typer.Option(help="OpenEWLD.tar.xz, for its cleared tunes.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    rate: Annotated[int, typer.Option(min=8_000, max=48_000, help="Of the music, Hz.")] = 32_000,
    soundfont: Annotated[
        list[Path] | None, typer.Option(help="Free for training; the installed ones if absent.")
    ] = None,
) -> None:
    """Make (voice, music, caption) pairs with exact labels, from nothing but a seed."""
    from voice2music.dataset import factory, pairs, tunes

    def say(made: factory.Made, total: int) -> None:
        pace = f"{made.seconds / made.cpu:.0f} x real time per core" if made.cpu else "was there"
        typer.echo(f"shard {made.index + 1} of {total}: {made.seconds:.0f} s, {pace}", err=True)

    with errors():
        fonts = tuple(map(pairs.recognised, soundfont)) if soundfont else pairs.installed()
        recipe = pairs.Recipe(seed, fonts, rate)
        written = tunes.cleared_tunes(archive) if archive else ()
        typer.echo(factory.make(out, recipe, written, hours, workers=workers, progress=say))


@dataset.command("check")
def dataset_check(
    folder: Annotated[Path, typer.Argument(help="That `dataset make` wrote.")],
) -> None:
    """Compare every pair with its sha256."""
    from voice2music.dataset.shards import Pairs

    with errors():
        pairs = Pairs(folder)
        damaged = list(pairs.damaged())
    for words in damaged:
        typer.echo(words, err=True)
    typer.echo(f"{len(pairs) - len(damaged)} of {len(pairs)} pieces are whole")
    if damaged:
        raise typer.Exit(1)
