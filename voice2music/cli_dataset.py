"""`voice2music dataset`: training pairs from nothing but a seed, or from a folder of songs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from voice2music.cli_errors import errors
from voice2music.errors import BadRequest

if TYPE_CHECKING:
    from rich.progress import TaskID

    from voice2music.dataset.songs.build import Done, Runner

dataset = typer.Typer(no_args_is_help=True, help="Training pairs: make, build, check, forget.")


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
    style: Annotated[
        list[Path] | None,
        typer.Option(help="A style of your own, as in voice2music/styles; every voice gets it."),
    ] = None,
    renders: Annotated[int, typer.Option(min=1, help="Pieces per voice, other genres each.")] = 2,
    role: Annotated[str | None, typer.Option(help="tune or back; both if absent.")] = None,
    split: Annotated[str | None, typer.Option(help="train, valid or test; all if absent.")] = None,
) -> None:
    """Make (voice, music, caption) pairs with exact labels, from nothing but a seed."""
    from voice2music.dataset import factory, pairs, tunes
    from voice2music.dataset.tunes import Split
    from voice2music.request import Role
    from voice2music.styles import own_style

    def say(made: factory.Made, total: int) -> None:
        pace = f"{made.seconds / made.cpu:.0f} x real time per core" if made.cpu else "was there"
        typer.echo(f"shard {made.index + 1} of {total}: {made.seconds:.0f} s, {pace}", err=True)

    with errors():
        fonts = tuple(map(pairs.recognised, soundfont)) if soundfont else pairs.installed()
        own = tuple(map(own_style, style or ()))
        recipe = pairs.Recipe(
            seed, fonts, rate, renders=renders, split=_one_of("split", split, Split), own=own,
            role=_one_of("role", role, Role),
        )  # fmt: skip
        written = tunes.cleared_tunes(archive) if archive else ()
        typer.echo(factory.make(out, recipe, written, hours, workers=workers, progress=say))


def _one_of(name: str, value: str | None, kind: Any) -> Any:  # noqa: ANN401
    """A value of a Literal, or None."""
    if value not in (None, *get_args(kind)):
        raise BadRequest(f"The {name} is one of {', '.join(get_args(kind))}, got {value!r}.")
    return value


@dataset.command("build")
def dataset_build(
    songs: Annotated[Path, typer.Argument(help="Folder of songs, or of ready pairs.")],
    out: Annotated[Path, typer.Option(help="Folder; one that was begun is gone on with.")],
    table: Annotated[
        Path | None,
        typer.Option(help="CSV or JSON: file, artist, title, genre, mood, language, licence..."),
    ] = None,
    voice_name: Annotated[
        str | None, typer.Option(help="Ready pairs: name of the voice, as '{song}_vocals'.")
    ] = None,
    back_name: Annotated[
        str | None, typer.Option(help="... and of the accompaniment, as '{song}_backing'.")
    ] = None,
    allow_unlicensed: Annotated[
        bool, typer.Option(help="Take songs of which no licence is known.")
    ] = False,
    limits: Annotated[Path | None, typer.Option(help="A limits.toml of your own.")] = None,
    separation: Annotated[
        str | None, typer.Option(help="htdemucs or spleeter; the best one here if absent.")
    ] = None,
    clap: Annotated[
        Path | None, typer.Option(help="Folder of a CLAP that names genre and mood.")
    ] = None,
    musicgen: Annotated[
        str, typer.Option(help="Whose codec makes the tokens; 'none' for no tokens.")
    ] = "mini-musicgen",
    audioldm: Annotated[
        str, typer.Option(help="Whose latents are kept; 'none' for none.")
    ] = "mini-audioldm",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    engine: Annotated[
        str, typer.Option(help="processes of this machine, or ray: a cluster's.")
    ] = "processes",
    cluster: Annotated[
        str, typer.Option(help="Ray's address, or auto; Ray is started here if absent.")
    ] = "",
    prune: Annotated[
        bool, typer.Option(help="Remove what was made of songs that are gone from the folder.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the splits.")] = 0,
) -> None:
    """Take songs apart, cut them into chunks for both models, and say what there is."""
    from voice2music.checkpoints import locate
    from voice2music.dataset.songs.build import build
    from voice2music.dataset.songs.limits import read_limits
    from voice2music.dataset.songs.sources import patterns_of
    from voice2music.dataset.songs.steps import Settings
    from voice2music.separation import available, chosen

    with errors(), working(engine, cluster, workers) as runner, building() as progress:
        pairs = patterns_of(voice_name, back_name)
        settings = Settings(
            read_limits(limits),
            chosen(separation) if separation else next(iter(available()), ""),
            clap,
            None if musicgen == "none" else locate(musicgen).folder,
            None if audioldm == "none" else locate(audioldm).folder,
            seed,
        )
        command = f"voice2music dataset build {songs.name} --seed {seed}"
        done = build(
            songs, out, settings, table=table, patterns=pairs, workers=workers, made_by=command,
            allow_unlicensed=allow_unlicensed, prune=prune, progress=progress,
            runner=runner,
        )  # fmt: skip
    typer.echo(
        f"{done.songs} songs, {done.chunks} chunks, {done.hours:.2f} hours; "
        f"{len(done.refused)} refused. Read {done.folder / 'datasheet.html'}."
    )


@dataset.command("forget")
def dataset_forget(
    folder: Annotated[Path, typer.Argument(help="That `dataset build` made.")],
    artist: Annotated[str, typer.Option(help="Whose songs are to be removed.")],
) -> None:
    """Remove everything of an artist, and never take it in again."""
    from voice2music.dataset.songs.forgetting import forget

    with errors():
        count = forget(folder, artist)
    removed = f"{count} songs were removed" if count else "No song of that artist was there"
    typer.echo(f"{removed}. A later build leaves that artist out.")


@dataset.command("export")
def dataset_export(
    folder: Annotated[Path, typer.Argument(help="That `dataset build` made.")],
    out: Annotated[Path, typer.Option(help="Folder; an earlier export is replaced.")],
    form: Annotated[
        str, typer.Option("--format", help="audiocraft, audiofolder (Hugging Face) or webdataset.")
    ],
    model: Annotated[
        str, typer.Option(help="musicgen: chunks of 30 s; audioldm: of 20 s.")
    ] = "musicgen",
) -> None:
    """Write a built data set for other programs."""
    from voice2music.dataset.songs.chunks import Model
    from voice2music.dataset.songs.exports import Format, export

    with errors():
        made = export(folder, out, _one_of("format", form, Format), _one_of("model", model, Model))
    typer.echo(f"{made.chunks} chunks, {made.seconds / 3600:.2f} hours: {made.folder}")


@contextmanager
def working(engine: str, cluster: str, workers: int) -> Iterator["Runner"]:
    """Where a build's work is done.

    Raises:
        BadRequest: no such engine; a cluster without Ray.
    """
    from voice2music.dataset.songs.build import in_processes
    from voice2music.dataset.songs.cluster import on_ray

    if _one_of("engine", engine, Literal["processes", "ray"]) == "ray":
        with on_ray(cluster, workers) as runner:
            yield runner
    elif cluster:
        raise BadRequest("A cluster is for --engine ray. Say that, too, or leave it out.")
    else:
        yield in_processes


@contextmanager
def building() -> Iterator[Callable[["Done"], None]]:
    """A bar on the terminal, and a line for each refused file."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    console = Console(stderr=True, soft_wrap=True)
    with Progress(*Progress.get_default_columns()[:2], MofNCompleteColumn(),
                  TimeElapsedColumn(), console=console) as bar:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def show(done: "Done") -> None:
            if done.step not in tasks:
                tasks[done.step] = bar.add_task(done.step, total=done.total)
            bar.update(tasks[done.step], completed=done.done, total=done.total)
            if done.refused:
                line = f"{done.refused.file}: {done.refused.why}"
                # A file's name is a stranger's: it must not steer the terminal.
                bar.console.print(escape("".join(c if c.isprintable() else "?" for c in line)))

        yield show


@dataset.command("check")
def dataset_check(
    folder: Annotated[Path, typer.Argument(help="That `dataset make` or `dataset build` wrote.")],
) -> None:
    """Compare every pair with its sha256."""
    from voice2music.dataset.shards import MANIFEST, Pairs
    from voice2music.dataset.songs.manifest import damaged_chunks

    with errors():
        if (folder / MANIFEST).is_file():
            pairs = Pairs(folder)
            count, damaged = len(pairs), list(pairs.damaged())
        else:
            count, damaged = damaged_chunks(folder)
    for words in damaged:
        typer.echo(words, err=True)
    typer.echo(f"{count - len(damaged)} of {count} pieces are whole")
    if damaged:
        raise typer.Exit(1)
