"""The command line: `voice2music make hum.wav --genre disco`."""

import io
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from voice2music.cli_dataset import dataset
from voice2music.cli_errors import errors, for_each
from voice2music.cli_finetuning import finetune
from voice2music.cli_models import models
from voice2music.cli_training import train
from voice2music.errors import BadAudio, MissingCheckpoint, VoiceToMusicError
from voice2music.request import ENGINES, MAX_WORDS, Request

if TYPE_CHECKING:
    from voice2music.take import Take

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(models, name="models")
app.add_typer(dataset, name="dataset")
app.add_typer(finetune, name="finetune")
app.command()(train)

AUDIO = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".webm", ".m4a", ".mp4", ".aac", ".aiff"}
DEFAULT = Request()


@app.callback()
def main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
) -> None:
    """Hum a tune, hear it as music."""
    level = logging.INFO if verbose else logging.WARNING
    for stream in (sys.stdout, sys.stderr):  # a terminal may not know every letter of a file name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=level, format="%(name)s: %(message)s", stream=sys.stderr)


@app.command()
def make(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Hums or songs, files or folders; none for music from words alone."),
    ] = None,
    genre: Annotated[str, typer.Option(help="See `voice2music styles`.")] = DEFAULT.genre,
    engine: Annotated[
        str | None,
        typer.Option(help="musicgen, audioldm, band, comma-separated; all that are here if absent"),
    ] = None,
    role: Annotated[
        Literal["tune", "back"], typer.Option(help="Play my tune, or back me up.")
    ] = DEFAULT.role,
    out: Annotated[Path, typer.Option(help="Folder for the takes.")] = Path("takes"),
    seconds: Annotated[float | None, typer.Option(help="Length; the voice's if absent.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same music.")] = DEFAULT.seed,
    variations: Annotated[int, typer.Option(help="Takes per engine.")] = DEFAULT.variations,
    best: Annotated[
        int | None, typer.Option(min=1, help="Keep only the best N per engine.")
    ] = None,
    kind: Annotated[
        Literal["wav", "flac", "mp3"],
        typer.Option("--format", help="Music and mix in this format too, beside the WAV."),
    ] = "wav",
    mood: Annotated[str, typer.Option(help="For example dreamy.")] = DEFAULT.mood,
    words: Annotated[str, typer.Option(help="Your own words on the music.")] = DEFAULT.words,
    negative: Annotated[str, typer.Option(help="What it should not be.")] = DEFAULT.negative,
    tempo: Annotated[float | None, typer.Option(help="Beats per minute.")] = None,
    key: Annotated[str | None, typer.Option(help='For example "A minor".')] = None,
    chords: Annotated[str | None, typer.Option(help='For example "C | Am | F G".')] = None,
    faithful: Annotated[float, typer.Option(help="1 follows closely, 0 is free.")] = (
        DEFAULT.faithful
    ),
    happy: Annotated[float, typer.Option(help="-1 sadder chords to 1 happier.")] = DEFAULT.happy,
    jazzy: Annotated[float, typer.Option(help="-1 plainer chords to 1 jazzier.")] = DEFAULT.jazzy,
    musicgen: Annotated[str | None, typer.Option(help="Its checkpoint.")] = None,
    audioldm: Annotated[str | None, typer.Option(help="Its checkpoint.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    steps: Annotated[int | None, typer.Option(help="Diffusion steps.")] = None,
    start_from: Annotated[
        Literal["auto", "noise", "voice", "band"], typer.Option(help="What AudioLDM starts from.")
    ] = DEFAULT.start_from,
    strength: Annotated[float, typer.Option(help="How much of that is remade, 0 to 1.")] = (
        DEFAULT.strength
    ),
    separate: Annotated[
        Literal["auto", "yes", "no"], typer.Option(help="Take the voice out of a song first.")
    ] = DEFAULT.separate,
    denoise: Annotated[bool, typer.Option(help="Take noise off the voice first.")] = False,
    corrected: Annotated[bool, typer.Option(help="Snap the hum to key and grid first.")] = False,
    voice_level: Annotated[float, typer.Option(help="dB in the mix.")] = DEFAULT.voice_level,
    music_level: Annotated[float, typer.Option(help="dB in the mix.")] = DEFAULT.music_level,
) -> None:
    """Make music from hums (or from words alone) and print each take."""
    with errors():
        request = Request(
            engines=_engines(engine),
            genre=genre,
            role=role,
            seconds=seconds,
            seed=seed,
            variations=variations,
            mood=mood,
            words=words,
            negative=negative,
            tempo=tempo,
            key=key,
            chords=chords,
            faithful=faithful,
            happy=happy,
            jazzy=jazzy,
            checkpoints={
                k: v for k, v in (("musicgen", musicgen), ("audioldm", audioldm)) if v is not None
            },
            guidance=guidance,
            steps=steps,
            start_from=start_from,
            strength=strength,
            separate=separate,
            denoise=denoise,
            corrected=corrected,
            voice_level=voice_level,
            music_level=music_level,
        )
        if max(map(len, (words, mood, negative))) > MAX_WORDS:
            typer.echo(f"Only the first {MAX_WORDS:,} characters of your words count.", err=True)
        files: list[Path | None] = [*_audio_files(inputs or [])] or [None]
    failed = [file for file in files if not _make_one(request, file, out, best, kind)]
    if failed:
        raise typer.Exit(1)


def _make_one(request: Request, file: Path | None, out: Path, best: int | None, kind: str) -> bool:
    """One input's takes, printed as they come; False when it or an engine failed."""
    from voice2music import pipeline
    from voice2music.clip import read
    from voice2music.take import Take

    made: list[Take] = []
    whole = True
    try:
        voice = read(file) if file else None
        for event in pipeline.takes(request, voice, out, name=file.name if file else "words"):
            if isinstance(event, pipeline.Heard):
                _say_heard(event)
            elif isinstance(event, pipeline.Failed):
                whole = False
                typer.echo(f"{event.engine}: {event.error}", err=True)
            elif isinstance(event, Take):
                made.append(event)
                typer.echo(_line(event))
    except VoiceToMusicError as error:
        typer.echo(f"{file.name if file else 'words'}: {error}", err=True)
        return False
    if best is not None and request.variations > 1:
        made = _keep_best(made, best)
    if kind != "wav":
        _convert(made, kind)
    return whole


def _convert(made: list["Take"], kind: str) -> None:
    """Music and mix of each take in another format, beside the WAVs."""
    from voice2music.clip import read, write

    for take in made:
        for path in (take.music, take.mix):
            if path is not None:
                typer.echo(write(read(path), path.with_suffix(f".{kind}")))


def _say_heard(event: "object") -> None:
    from voice2music.pipeline import Heard
    from voice2music.summary import summary

    assert isinstance(event, Heard)
    if event.cleaned:
        typer.echo(event.cleaned, err=True)
    typer.echo(summary(event.analysis), err=True)


def _line(take: "Take") -> str:
    """One take in one line: path, seconds, score."""
    scored = f"follows {take.follow.overall:.2f}" if take.follow else "no voice to follow"
    return f"{take.music}  {take.seconds:.1f} s  {scored}  ({take.took:.1f} s to make)"


def _keep_best(made: list["Take"], keep: int) -> list["Take"]:
    """The best takes; the others' files are deleted."""
    from voice2music.pipeline import best_of
    from voice2music.take import remove

    kept = best_of(made, keep)
    for take in made:
        if take not in kept:
            remove(take)
    for take in kept:
        typer.echo(f"kept {_line(take)}")
    return kept


@app.command()
def analyse(
    inputs: Annotated[list[Path], typer.Argument(help="Hums or songs, files or folders.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON lines.")] = False,
) -> None:
    """Say what is heard in a voice: key, tempo, range, notes, findings."""
    from voice2music.analysis import analyse as hear
    from voice2music.analysis import to_json
    from voice2music.clip import read
    from voice2music.summary import summary

    def one(file: Path) -> None:
        heard = hear(read(file))
        if as_json:
            typer.echo(json.dumps({"file": file.name, **to_json(heard)}))
        else:
            typer.echo(f"{file.name}\n{summary(heard)}")

    with errors():
        for_each(_audio_files(inputs), one)


@app.command()
def separate(
    inputs: Annotated[list[Path], typer.Argument(help="Songs, files or folders.")],
    out: Annotated[Path, typer.Option(help="Folder for the parts.")] = Path("separated"),
    model: Annotated[str | None, typer.Option(help="htdemucs or spleeter.")] = None,
) -> None:
    """Split songs into voice and accompaniment."""
    from voice2music import separation
    from voice2music.clip import read, write
    from voice2music.take import safe_name

    def one(file: Path) -> None:
        parts = separation.separate(read(file), model=model)
        out.mkdir(parents=True, exist_ok=True)
        for name, clip in (("voice", parts.voice), ("accompaniment", parts.accompaniment)):
            typer.echo(write(clip, out / f"{safe_name(file.name)}.{name}.wav"))
        typer.echo(parts.remark, err=True)

    with errors():
        for_each(_audio_files(inputs), one)


@app.command()
def again(
    record: Annotated[Path, typer.Argument(help="The .json beside a take.")],
    out: Annotated[Path, typer.Option(help="Folder for the new take.")] = Path("takes"),
) -> None:
    """Make a take once more from its JSON and say whether it is the same to the bit."""
    from voice2music.again import again as make_again

    with errors():
        done = make_again(record, out)
        verdict = "identical" if done.identical else "not identical (another machine or version?)"
        typer.echo(f"{_line(done.take)}  {verdict}")
        if not done.identical:
            raise typer.Exit(1)


@app.command()
def evaluate(
    takes: Annotated[Path, typer.Argument(help="Folder of takes with their JSON.")],
    out: Annotated[Path | None, typer.Option(help="Markdown file; standard output if absent.")] = (
        None
    ),
) -> None:
    """Measure a folder of takes: melody, chords, key, tempo, beat, each with floor and ceiling."""
    from voice2music.engines import band
    from voice2music.evaluation import report

    with errors():
        table = report.markdown(
            report.evaluate(report.cases(takes, band.load())), f"voice2music evaluate {takes}"
        )
        if out is None:
            typer.echo(table, nl=False)
        else:
            out.write_text(table, encoding="utf-8")


@app.command()
def styles() -> None:
    """List the genres."""
    from voice2music.styles import styles as all_styles

    for name, style in all_styles().items():
        typer.echo(f"{name:14} {style.title}")


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Where to listen.")] = 7860,
    host: Annotated[str, typer.Option(help="0.0.0.0 to be seen on the network.")] = "127.0.0.1",
    phone: Annotated[bool, typer.Option(help="HTTPS on the local network, with a QR code.")] = (
        False
    ),
    mcp: Annotated[bool, typer.Option(help="Offer the API to language models too.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open a browser.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Jobs at once; the others queue.")] = 1,
    max_megabytes: Annotated[int, typer.Option(min=1, help="Largest upload.")] = 100,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Longest recording.")] = 10,
    idle_minutes: Annotated[
        float, typer.Option(min=0, help="Models leave memory after so long without work; 0: never.")
    ] = 30,
) -> None:
    """Open the page (and the REST API behind it)."""
    from voice2music.clip import Limits
    from voice2music.ui import launch

    limits = Limits(max_megabytes * 2**20, max_minutes * 60)
    with errors():
        launch(
            host=host,
            port=port,
            phone=phone,
            mcp=mcp,
            open_page=open_page,
            jobs=jobs,
            limits=limits,
            idle_minutes=idle_minutes,
        )


def _engines(wanted: str | None) -> tuple[str, ...]:
    """The engines named, or all whose default weights are here."""
    if wanted is not None:
        return tuple(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    from voice2music.checkpoints import default_checkpoint, locate

    here = []
    for name in ENGINES:
        try:
            if name != "band":
                locate(default_checkpoint(name))
            here.append(name)
        except MissingCheckpoint as error:
            typer.echo(f"{name} is left out: {error}", err=True)
    return tuple(here)


def _is_audio(path: Path) -> bool:
    """Whether a folder's file is meant; some systems put a hidden "._hum.wav" beside each."""
    return path.suffix.lower() in AUDIO and not path.name.startswith(".")


def _audio_files(inputs: list[Path]) -> list[Path]:
    """The files themselves, and the audio files of folders in name order."""
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if _is_audio(p))
            if not inside:
                raise BadAudio(f"There is no audio file in the folder '{path}'.")
            files.extend(inside)
        else:
            files.append(path)
    return files
