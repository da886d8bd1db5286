"""Measure the bundled models and write the tables into their cards."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from voice2music.evaluation.minis.measuring import Inputs, measure
from voice2music.evaluation.minis.sizes import QUICK, WHOLE


def main(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names or folders; both bundled models if absent.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer takes; says how few.")] = False,
    voices: Annotated[int | None, typer.Option(min=2, help="Held-out synthetic voices.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Takes of each.")] = None,
    data: Annotated[Path, typer.Option(help="Folder with `vocals`; left out where absent.")] = Path(
        "../shared/data"
    ),
    pairs: Annotated[
        Path | None, typer.Option(help="Renders that the listener learns from; made if absent.")
    ] = None,
    only: Annotated[
        str, typer.Option(help="Phases to measure anew, comma-separated, beside earlier ones.")
    ] = "",
    minutes: Annotated[
        float | None, typer.Option(help="Per model; no phase is begun after so many.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
    dry: Annotated[bool, typer.Option("--dry", help="Print, and leave the cards alone.")] = False,
) -> None:
    """Measure raw output: tune, chords, tempo, key, genre, distance, sound, odd cases, cost."""
    import torch

    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)7d ms  %(message)s",
                        stream=sys.stderr)  # fmt: skip
    torch.set_num_threads(threads)
    sizes = (QUICK if quick else WHOLE).with_wishes(voices, seeds)
    for name in models or ["mini-musicgen", "mini-audioldm"]:
        typer.echo(
            measure(name, sizes, Inputs(data, pairs), only=_listed(only), minutes=minutes, dry=dry)
        )


def _listed(only: str) -> tuple[str, ...]:
    """Names of phases, "cost, real clips"."""
    return tuple(name.strip() for name in only.split(",") if name.strip())


if __name__ == "__main__":
    typer.run(main)
