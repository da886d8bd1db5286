"""`voice2music train`: the bundled models and their parts, from pairs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from voice2music.cli_errors import errors

Folder = Annotated[Path | None, typer.Option(help="Exported folder that it is built on.")]


def train(
    model: Annotated[str, typer.Argument(help="One of the models named above.")],
    data: Annotated[Path, typer.Argument(help="Pairs, of `voice2music dataset make`.")],
    run: Annotated[Path, typer.Option(help="State, log and trials; a run goes on from it.")],
    out: Annotated[Path, typer.Option(help="Where the finished model goes.")],
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Of training in all.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="At most.")] = None,
    start: Annotated[Path | None, typer.Option(help="Exported weights to begin with.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON of other sizes and settings, as training.json.")
    ] = None,
    teacher: Folder = None,
    codec: Folder = None,
    vae: Folder = None,
    vocoder: Folder = None,
    clap: Folder = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of batches.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
) -> None:
    """Train a model, or go on with a run that was broken off.

    For mini-musicgen: teacher; codec and spectra (--teacher); encoder, which gives the codec once
    more (--codec --teacher); musicgen (--codec).

    For mini-audioldm: vae; clap; vocoder and inverter (--vae); audioldm (--vae --vocoder --clap).

    Several processes or graphics cards: `accelerate launch -m voice2music train …`.
    """
    import torch

    from voice2music.training.loop import averaged
    from voice2music.training.loop import train as go
    from voice2music.training.models import trainable, with_values

    if threads:
        torch.set_num_threads(threads)
    given = {"minutes": minutes, "steps": steps, "seed": seed}
    built_on = {"teacher": teacher, "codec": codec, "vae": vae, "vocoder": vocoder, "clap": clap}
    with errors():
        folders = {name: path for name, path in built_on.items() if path is not None}
        asked = with_values(
            trainable(model, folders), config, {k: v for k, v in given.items() if v is not None}
        )
        task = asked.build(asked.config, data, folders, start)
        progress = go(task, asked.settings, run, asdict(asked.config))
        share = progress.share(asked.settings)
        if share < 1:
            typer.echo(f"stopped at {100 * share:.0f} %; the same command goes on from there")
            raise typer.Exit(130)
        task.export(averaged(task, run), out)
        typer.echo(out)
