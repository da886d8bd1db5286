"""`voice2music finetune`: a model learns your own songs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voice2music.cli_errors import errors

if TYPE_CHECKING:
    from voice2music.finetuning.run import Finetuning
    from voice2music.training.task import Settings

finetune = typer.Typer(no_args_is_help=True, help="Fine-tune a model on pairs of voice and music.")

# Options that both commands have.
Data = Annotated[Path, typer.Option(help="Of `dataset build` or `dataset make`.")]
Run = Annotated[Path, typer.Option(help="State, log and takes; a run goes on from it.")]
Out = Annotated[
    Path, typer.Option(help="The finished model; in a folder checkpoints/ the app lists it.")
]
Start = Annotated[str, typer.Option(help="Checkpoint to begin with.")]
Minutes = Annotated[float | None, typer.Option(min=0.01, help="Of training in all.")]
Steps = Annotated[int | None, typer.Option(min=1, help="At most.")]
Batch = Annotated[int, typer.Option(min=1, help="Crops at once.")]
Gathered = Annotated[int, typer.Option(min=1, help="Batches to a step.")]
Seconds = Annotated[float, typer.Option(min=1, help="Of a crop, at most.")]
NoVoice = Annotated[float, typer.Option(help="Share of crops without the voice.")]
NoWords = Annotated[float, typer.Option(help="Share of crops without words.")]
Average = Annotated[float, typer.Option(min=0, max=0.99999, help="Of weights; 0: none.")]
Validations = Annotated[int, typer.Option(min=1, help="Evenly over the run.")]
Judged = Annotated[int, typer.Option(min=0, help="Takes at each of them.")]
Patience = Annotated[int, typer.Option(min=0, help="Worse ones to stop after; 0: never.")]
Keep = Annotated[int, typer.Option(min=1, help="Best weights that are kept.")]
Sharded = Annotated[
    bool, typer.Option(help="Split the optimiser's states over processes; with --average 0.")
]
EightBit = Annotated[bool, typer.Option(help="8-bit AdamW (bitsandbytes, CUDA).")]
Board = Annotated[bool, typer.Option(help="Log for TensorBoard too.")]
Seed = Annotated[int, typer.Option(min=0, help="Of batches.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]


@finetune.command("musicgen")
def finetune_musicgen(
    data: Data,
    run: Run,
    out: Out,
    start: Start = "mini-musicgen",
    stage: Annotated[int, typer.Option(help="1: voice to music; 2: voice and words.")] = 2,
    prompts: Annotated[str, typer.Option(help="Of stage 2: genre, refined or all.")] = "all",
    lora: Annotated[int, typer.Option(min=0, help="Rank of adapters; 0 trains it all.")] = 0,
    minutes: Minutes = None,
    steps: Steps = None,
    rate: Annotated[
        float | None, typer.Option(min=1e-7, help="Learning rate; 1e-4, with adapters 3e-4.")
    ] = None,
    batch: Batch = 4,
    gathered: Gathered = 1,
    seconds: Seconds = 30.0,
    no_voice: NoVoice = 0.5,
    no_words: NoWords = 0.5,
    nothing: Annotated[float, typer.Option(help="Share of crops without either.")] = 0.2,
    average: Average = 0.99,
    validations: Validations = 4,
    judged: Judged = 4,
    patience: Patience = 0,
    keep: Keep = 1,
    checkpointing: Annotated[bool, typer.Option(help="Less memory, more time.")] = False,
    sharded: Sharded = False,
    eight_bit: EightBit = False,
    board: Board = False,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Teach MusicGen-Melody new pairs; a run that was stopped goes on with the same command."""
    import torch

    from voice2music.checkpoints import locate
    from voice2music.finetuning.musicgen import MusicgenFinetuning
    from voice2music.finetuning.recipe import MusicgenRecipe
    from voice2music.finetuning.run import BEST
    from voice2music.training.task import Settings

    if threads:
        torch.set_num_threads(threads)
    with errors():
        recipe = MusicgenRecipe(
            stage=stage, prompts=prompts, lora=lora, seconds=seconds, batch=batch,  # type: ignore[arg-type]
            gathered=gathered, no_voice=no_voice, no_words=no_words, nothing=nothing,
            checkpointing=checkpointing, judged=judged,
        )  # fmt: skip
        settings = Settings(
            minutes=minutes, steps=steps, learning_rate=rate or (3e-4 if lora else 1e-4),
            warm_up=20, average=average, parts=gathered, best=BEST, keep=keep,
            patience=patience, validations=validations, log_steps=10, seed=seed,
            board=board, sharded=sharded, eight_bit=eight_bit,
        )  # fmt: skip
        _run(MusicgenFinetuning(recipe, data, locate(start)), settings, data, run, out)


@finetune.command("audioldm")
def finetune_audioldm(
    data: Data,
    run: Run,
    out: Out,
    start: Start = "mini-audioldm",
    variant: Annotated[
        str, typer.Option(help="voice; words: and the genre; refined: prompts; melody: and tune.")
    ] = "melody",
    film: Annotated[bool, typer.Option(help="Words and voice scale and shift too.")] = False,
    projections: Annotated[
        bool, typer.Option(help="Train the UNet's projection of CLAP's vectors, too.")
    ] = True,
    minutes: Minutes = None,
    steps: Steps = None,
    rate: Annotated[float, typer.Option(min=1e-7, help="Learning rate.")] = 1e-4,
    batch: Batch = 4,
    gathered: Gathered = 1,
    seconds: Seconds = 10.24,
    no_voice: NoVoice = 0.1,
    no_words: NoWords = 0.1,
    no_tune: Annotated[float, typer.Option(help="Share of crops without the tune.")] = 0.1,
    nothing: Annotated[float, typer.Option(help="Share of crops without any.")] = 0.1,
    average: Average = 0.99,
    validations: Validations = 4,
    judged: Judged = 4,
    patience: Patience = 0,
    keep: Keep = 1,
    sharded: Sharded = False,
    eight_bit: EightBit = False,
    board: Board = False,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Teach AudioLDM new pairs; what it lacks to hear a voice or a tune is added first."""
    import torch

    from voice2music.checkpoints import locate
    from voice2music.finetuning.audioldm import AudioldmFinetuning
    from voice2music.finetuning.recipe import AudioldmRecipe
    from voice2music.finetuning.run import BEST
    from voice2music.training.task import Settings

    if threads:
        torch.set_num_threads(threads)
    with errors():
        recipe = AudioldmRecipe(
            variant=variant, film=film, projections=projections,  # type: ignore[arg-type]
            seconds=seconds, batch=batch, gathered=gathered,
            no_voice=no_voice, no_words=no_words, no_tune=no_tune, nothing=nothing, judged=judged,
        )  # fmt: skip
        settings = Settings(
            minutes=minutes, steps=steps, learning_rate=rate, warm_up=20, average=average,
            parts=gathered, best=BEST, keep=keep, patience=patience, validations=validations,
            log_steps=10, seed=seed, board=board, sharded=sharded, eight_bit=eight_bit,
        )  # fmt: skip
        _run(AudioldmFinetuning(recipe, data, locate(start)), settings, data, run, out)


def _run(task: "Finetuning", settings: "Settings", data: Path, run: Path, out: Path) -> None:
    """Train, and say where the model is or how far it came."""
    from voice2music.finetuning.run import ended, finetune
    from voice2music.training.processes import leave, processes

    progress = finetune(task, settings, data, run, out)
    done = ended(progress, settings, run)
    if processes().is_main_process:
        share = f"{100 * progress.share(settings):.0f} %"
        typer.echo(out if done else f"stopped at {share}; the same command goes on from there")
    leave(0 if done else 130)
    if not done:
        raise typer.Exit(130)
