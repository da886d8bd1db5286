"""What fine-tuning gains: the source work's table in small, for both bundled models.

    python benchmarks/finetuning.py [--work build/finetuning] [--voices 64]

A style that the app does not have (`benchmarks/finetuning/tango.toml`) is made into pairs by the
factory, half of them; the other half is of the app's own genres. The models learn from them by the
commands that a user would give, and play for held-out voices. A CLAP of its own, trained on other
renders, judges. What is finished in the work folder is not done again. Writes
`benchmarks/finetuning.md`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voice2music.evaluation.intervals import Estimate, estimate, share_of_way

if TYPE_CHECKING:
    from voice2music.clip import Clip
    from voice2music.finetuning.examples import Examples

    Array = np.ndarray[Any, np.dtype[Any]]

HERE = Path(__file__).parent
STYLE = HERE / "finetuning" / "tango.toml"
TABLE = HERE / "finetuning.md"
NEW = "tango"
HOURS, JUDGES_HOURS = 1.5, 1.5  # of music: to learn from; for the judge
STEPS = {"musicgen": 1200, "audioldm": 1100, "judge": 1100}
VOICES, KNOWN = 64, 32  # takes of the new style, and of the app's genres, for each row
LONGEST = 10.0  # s of a take
OTHERS = 8  # voices that a take's melody is compared with for the floor
PAIRS = (  # that are compared: the better one, as the source work has it, first
    ("voice and words", "voice only"),
    ("refined prompts", "voice only"),
    ("refined prompts", "voice and words"),
    ("refined prompts", "pretrained"),
    ("voice, words and melody", "refined prompts"),
    ("voice, words and melody", "pretrained"),
)
RENDERS = ("held-out music", "held-out music of other genres")


@dataclass(frozen=True)
class Row:
    """One line of the table: which model, how it learnt, and by which words it is asked."""

    model: str
    name: str
    options: tuple[str, ...] | None
    prompts: str

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.model}-{self.name.replace(',', '').replace(' ', '-')}"


ROWS = (
    Row("musicgen", "pretrained", None, "refined"),
    Row("musicgen", "voice only", ("--stage", "1"), "none"),
    Row("musicgen", "voice and words", ("--stage", "2", "--prompts", "genre"), "genre"),
    Row("musicgen", "refined prompts", ("--stage", "2", "--prompts", "refined"), "refined"),
    Row("audioldm", "pretrained", None, "refined"),
    Row("audioldm", "voice only", ("--variant", "voice"), "none"),
    Row("audioldm", "voice and words", ("--variant", "words"), "genre"),
    Row("audioldm", "refined prompts", ("--variant", "refined"), "refined"),
    Row("audioldm", "voice, words and melody", ("--variant", "melody"), "refined"),
)
BY_KEY = {row.key: row for row in ROWS}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--work", type=Path, default=Path("build/finetuning"))
    options.add_argument("--voices", type=int, default=VOICES)
    options.add_argument("--part", help="internal: one part, in a process of its own")
    given = options.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.part == "judge":
        judge(given.work)
    elif given.part:
        takes(given.work, given.part, given.voices)
    else:
        everything(given.work, given.voices)
        text = table(given.work)
        TABLE.write_text(text, encoding="utf-8")
        print(text)


# ---- the parts, each once


def everything(work: Path, voices: int) -> None:
    """Data, judge, runs and takes, two processes at a time."""
    seconds = voices * 2 * 20.0 / 3600
    for name, hours, more in (
        ("pairs", HOURS, ("--seed", "11")),
        ("held-out", seconds, ("--seed", "12", "--split", "test")),
        ("judges-pairs", JUDGES_HOURS, ("--seed", "13", "--split", "train", "--renders", "4")),
    ):
        words = ("dataset", "make", f"{work / name}", "--hours", f"{hours:.3f}", *more)
        fixed = ("--style", f"{STYLE}", "--role", "tune", "--rate", "16000", "--workers", "2")
        command(work, f"data: {name}", work / name / "manifest.jsonl", [*words, *fixed])
    learning = [row for row in ROWS if row.options is not None]
    # The first run of each model makes the tokens and latents that the others use.
    first = [next(r for r in learning if r.model == model) for model in ("musicgen", "audioldm")]
    abreast(lambda row: tune(work, row), first)
    jobs: list[Callable[[], None]] = [lambda: part(work, "judge", work / "judge", voices)]
    jobs += [lambda row=row: tune(work, row) for row in learning if row not in first]  # type: ignore[misc]
    abreast(lambda job: job(), jobs)
    keys = [*RENDERS, *BY_KEY]
    abreast(lambda key: part(work, key, work / "takes" / f"{key}.npz", voices), keys)


def abreast(work: Callable[..., None], items: Sequence[object]) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, items))


def tune(work: Path, row: Row) -> None:
    """Fine-tune by the command that the guide gives."""
    assert row.options is not None
    run, out = work / "runs" / row.key, work / "models" / row.key
    words = ["finetune", row.model, "--data", f"{work / 'pairs'}", "--run", f"{run}"]
    words += ["--out", f"{out}", *row.options, "--steps", str(STEPS[row.model])]
    words += ["--rate", "3e-4", "--seconds", "10", "--validations", "2", "--judged", "2"]
    command(work, row.key, out / "README.md", [*words, "--threads", "1"])


def part(work: Path, name: str, made: Path, voices: int) -> None:
    """A part of this script in a process of its own."""
    words = [f"{Path(__file__)}", "--work", f"{work}", "--voices", str(voices), "--part", name]
    run(work, name if name == "judge" else f"takes: {name}", made, words)


def command(work: Path, title: str, made: Path, words: Sequence[str]) -> None:
    run(work, title, made, ["-m", "voice2music", *words])


def run(work: Path, title: str, made: Path, words: Sequence[str]) -> None:
    """A process of one thread, unless its result is there; its CPU minutes are noted."""
    if made.exists():
        return
    print(f"{title} ...", file=sys.stderr, flush=True)
    path = work / "log" / f"{title.replace(': ', '-').replace(' ', '-')}.txt"
    path.parent.mkdir(exist_ok=True)
    started = time.monotonic()
    with path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *words], stdout=log, stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{title} failed; read {path}")
    spent = {"cpu": usage.ru_utime + usage.ru_stime, "wall": time.monotonic() - started}
    (path.with_suffix(".json")).write_text(json.dumps({"title": title, **spent}))


def judge(work: Path) -> None:
    """A CLAP from random weights, on renders that no model here has seen."""
    import torch

    from voice2music.training.clap import Config, task
    from voice2music.training.loop import averaged, train
    from voice2music.training.task import Settings

    torch.set_num_threads(1)
    config = Config()
    learning = task(config, work / "judges-pairs")
    settings = Settings(
        steps=STEPS["judge"], learning_rate=1.5e-3, warm_up=60, average=0.995, validations=0
    )
    train(learning, settings, work / "runs" / "judge", asdict(config))
    network = averaged(learning, work / "runs" / "judge")
    learning.export(network, work / "judge.part")
    (work / "judge.part").rename(work / "judge")


def takes(work: Path, key: str, voices: int) -> None:
    """One row's takes, judged: the new style for `voices` voices, other genres for half as many."""
    import torch

    from voice2music.dataset.shards import Pairs
    from voice2music.finetuning.examples import Examples

    torch.set_num_threads(1)
    pairs, examples = Pairs(work / "held-out", "test"), Examples(work / "held-out", "test")
    new = [i for i, row in enumerate(pairs.rows) if row["genre"] == NEW][:voices]
    known = [i for i, row in enumerate(pairs.rows) if row["genre"] != NEW]
    places = new + known[: voices * KNOWN // VOICES]
    if key == RENDERS[1]:  # the same voices' other music, judged as if it were asked for as new
        places = known[:voices]
    clips = played(work, key, examples, places)
    asked = [NEW if key == RENDERS[1] else examples.all[i].genre for i in places]
    found = {
        "voice": np.array([pairs.rows[i]["id"].rsplit("-", 1)[0] for i in places]),
        "new": np.array([genre == NEW for genre in asked]),
        **by_words(work, clips, asked),
        **by_ear(clips, pairs.rows, examples, places),
    }
    keep(work / "takes" / f"{key}.npz", found)


def played(work: Path, key: str, examples: "Examples", places: Sequence[int]) -> "list[Clip]":
    """What a row plays for examples, ten seconds at most."""
    from voice2music.engines.loading import load_engine
    from voice2music.finetuning.judging import asked_of, take, wording
    from voice2music.request import Request

    if key in RENDERS:
        return [examples.music(i).cut(0, min(LONGEST, examples.all[i].seconds)) for i in places]
    row = BY_KEY[key]
    name = f"mini-{row.model}" if row.options is None else f"{work / 'models' / key}"
    engine = load_engine(row.model, Request(checkpoints={row.model: name}))
    clips = []
    for number, i in enumerate(places):
        example = examples.all[i]
        words = wording(example, row.prompts)  # type: ignore[arg-type]
        clips.append(take(engine, asked_of(example, words, examples.voice(i)), number))
    return clips


def by_words(work: Path, clips: "Sequence[Clip]", asked: Sequence[str]) -> "dict[str, Array]":
    """How near each take is to the words for what was asked, and to those for all other genres."""
    from voice2music.dataset.songs.wording import families
    from voice2music.evaluation.frechet import clap_embeddings, clap_texts
    from voice2music.styles import styles

    genres = [NEW, *(style.title for style in styles().values())]
    heard = clap_embeddings(clips, work / "judge")
    texts = clap_texts([families(genre)["refined"] for genre in genres], work / "judge")
    likeness = heard @ texts.T
    own = np.array([genres.index(genre) for genre in asked])
    text = likeness[np.arange(len(own)), own]
    return {
        "embedding": heard,
        "text": text,
        "text floor": (likeness.sum(axis=1) - text) / (len(genres) - 1),
        "told": (likeness.argmax(axis=1) == own).astype(float),
    }


def by_ear(
    clips: "Sequence[Clip]",
    rows: Sequence[dict[str, Any]],
    examples: "Examples",
    places: Sequence[int],
) -> "dict[str, Array]":
    """Melody, chords and sound; the floor of the melody is that of other voices in the same key."""
    from voice2music.evaluation import harmony, melody, sound
    from voice2music.harmony import parse_key

    tonics = [parse_key(row["heard"]["key"]).tonic for row in rows]
    sung = [examples.all[i].melody.midi.tobytes() for i in places]  # one for all of a voice's takes
    voices = list(dict.fromkeys(sung))
    piece = {voice: places[sung.index(voice)] for voice in voices}
    found: dict[str, list[float]] = {"melody": [], "melody floor": [], "chord fit": [], "sound": []}
    for clip, i, voice in zip(clips, places, sung, strict=True):
        own, classes = examples.all[i].melody, melody.prominent_pitch_classes(clip)
        at = voices.index(voice)
        others = [piece[other] for other in (voices[at + 1 :] + voices[:at])[:OTHERS]]
        moved = [melody.moved_to_key(examples.all[j].melody, tonics[i] - tonics[j]) for j in others]
        chords = harmony.heard_chords(harmony.tonal_chroma(clip), clip.seconds)
        fit = harmony.chord_fit(chords, own)
        found["melody"].append(melody.melody_accuracy(classes, own).value)
        found["melody floor"].append(
            float(np.nanmean([melody.melody_accuracy(classes, other).value for other in moved]))
        )
        found["chord fit"].append(0.0 if np.isnan(fit) else fit)
        found["sound"].append(float(sound.sound_of(clip).sound))
    return {name: np.array(values) for name, values in found.items()}


def keep(path: Path, found: "dict[str, Array]") -> None:
    path.parent.mkdir(exist_ok=True)
    with path.with_suffix(".part").open("wb") as file:
        np.savez(file, **found)
    path.with_suffix(".part").rename(path)


# ---- the table


def table(work: Path) -> str:
    """All rows, what words are worth, what was forgotten, and what it cost."""
    from voice2music import __version__

    made = {key: dict(np.load(work / "takes" / f"{key}.npz")) for key in [*RENDERS, *BY_KEY]}
    reference = reference_of(work)
    new = int(made[RENDERS[0]]["new"].sum())
    lines = [
        "# What fine-tuning gains",
        "",
        f"voice2music {__version__}, Python {platform.python_version()}, {os.cpu_count()} CPU "
        f"cores. Written by `python benchmarks/finetuning.py`.",
        "",
        f"A style that the bundled models do not know, {NEW}, after eight minutes on one core. "
        f"{new} held-out voices, one take each, asked for the new style; values with 95 % "
        f"intervals (over voices; Fréchet: jackknife).",
        "",
    ]
    titles = {"musicgen": "mini-musicgen", "audioldm": "mini-audioldm"}
    for model, title in titles.items():
        rows = {row.name: made[row.key] for row in ROWS if row.model == model}
        lines += [f"## {title}", "", *quality(rows, made, reference), ""]
        lines += ["The app's own genres, asked of the same models:", "", *kept(rows, made), ""]
        lines += ["What is better than what, voice by voice:", "", *gains(rows), ""]
    return "\n".join([*lines, *NOTES.splitlines(), "", *costs(work)]) + "\n"


def reference_of(work: Path) -> "Array":
    """Embeddings of the new style's music that was learnt from."""
    from voice2music.clip import Clip
    from voice2music.dataset.shards import Pairs
    from voice2music.evaluation.frechet import clap_embeddings

    path = work / "takes" / "reference.npz"
    if not path.exists():
        pairs = Pairs(work / "pairs", "train")
        places = [i for i, row in enumerate(pairs.rows) if row["genre"] == NEW]
        clips = (Clip(pairs.music(i, 0, LONGEST), pairs.rows[i]["music"]["rate"]) for i in places)
        keep(path, {"embedding": clap_embeddings(clips, work / "judge")})
    return np.load(path)["embedding"]


def quality(
    rows: "dict[str, dict[str, Array]]", made: "dict[str, dict[str, Array]]", reference: "Array"
) -> list[str]:
    """The new style: words, distance, tune, chords."""
    from voice2music.evaluation.frechet import jackknifed

    out = [
        "| learnt from | text-audio score | (other genres' words) | told as it, of 21 | Fréchet "
        "| melody score | chord fit | sound |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ceiling = made[RENDERS[0]]
    for name, found in [*rows.items(), *((name, made[name]) for name in RENDERS)]:
        new = found["new"]
        voices = [str(voice) for voice in found["voice"][new]]
        cells = [
            interval(estimate(found["text"][new], voices)),
            f"{found['text floor'][new].mean():.2f}",
            interval(estimate(found["told"][new], voices)),
            interval(jackknifed(found["embedding"][new], reference), 3),
        ]
        if name == RENDERS[1]:
            cells += ["–", "–", "–"]
        else:
            top = ceiling["melody"][ceiling["new"]]
            way = share_of_way(found["melody"][new], found["melody floor"][new], top, voices)
            fit = estimate(found["chord fit"][new], voices)
            cells += [interval(way), interval(fit), f"{found['sound'][new].mean():.2f}"]
        out.append(f"| {name} | {' | '.join(cells)} |")
    return out


def gains(rows: "dict[str, dict[str, Array]]") -> list[str]:
    """What each kind of words adds to the text-audio score, over the same voices."""
    out = [
        "| text-audio score | whole held-out set | | new style alone | |",
        "|---|---|---|---|---|",
    ]
    for better, worse in PAIRS:
        if better in rows:
            cells = []
            for part in (whole_set, new_style):
                apart = part(rows[better]) - part(rows[worse])
                found = estimate(list(apart), [str(n) for n in range(len(apart))])
                sure = "better" if found.low > 0 else "worse" if found.high < 0 else "not told"
                cells += [interval(found), f"**{sure}**"]
            out.append(f"| {better} − {worse} | {' | '.join(cells)} |")
    return out


def new_style(found: "dict[str, Array]") -> "Array":
    """Text-audio score of every voice's take in the new style."""
    return found["text"][found["new"]]


def whole_set(found: "dict[str, Array]") -> "Array":
    """The same, and that of the voice's take in another genre: the mean of both."""
    new, old = (dict(zip(found["voice"][part], found["text"][part], strict=True))
                for part in (found["new"], ~found["new"]))  # fmt: skip
    return np.array([(new[voice] + text) / 2 for voice, text in old.items()])


def kept(rows: "dict[str, dict[str, Array]]", made: "dict[str, dict[str, Array]]") -> list[str]:
    """What became of what it knew before."""
    out = [
        "| learnt from | text-audio score | (other genres' words) | told as asked, of 21 "
        "| melody score |",
        "|---|---|---|---|---|",
    ]
    ceiling = made[RENDERS[0]]
    for name, found in [*rows.items(), (RENDERS[0], ceiling)]:
        old = ~found["new"]
        voices = [str(voice) for voice in found["voice"][old]]
        top = ceiling["melody"][~ceiling["new"]]
        way = share_of_way(found["melody"][old], found["melody floor"][old], top, voices)
        out.append(
            f"| {name} | {interval(estimate(found['text'][old], voices))} "
            f"| {found['text floor'][old].mean():.2f} "
            f"| {interval(estimate(found['told'][old], voices))} | {interval(way)} |"
        )
    return out


def interval(found: Estimate, digits: int = 2) -> str:
    return f"{found.mean:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def costs(work: Path) -> list[str]:
    """CPU minutes of every part; two ran at a time."""
    spent = [json.loads(path.read_text()) for path in sorted((work / "log").glob("*.json"))]
    rows = (f"| {o['title']} | {o['cpu'] / 60:.1f} | {o['wall'] / 60:.1f} |" for o in spent)
    total = sum(one["cpu"] for one in spent)
    return [
        "| part | CPU minutes | minutes |",
        "|---|---|---|",
        *rows,
        f"| all | {total / 60:.0f} | |",
    ]


NOTES = """\
Text-audio score: cosine of take and words ("Tango music for input vocals") by a CLAP that was
trained for this table alone, from random weights, on renders of other voices; beside it the mean
over the words for the twenty other genres. Told: those words are the nearest of all. Fréchet:
distance of that CLAP's embeddings to those of the new style's music in the training set; with fewer
takes than dimensions all distances are too large, the more so the more a row's takes differ.
Melody score: 0 plays other voices' tunes as well, 1 plays the tune as well as the held-out music
does. Chord fit: chance is 0. Sound: share of takes that are neither silent, clipped nor stuck. The
whole held-out set is half the new style and half other genres, as what was learnt from is: a model
without words cannot know which of them is asked for. The words a row is asked with are those it
learnt with: none, "Tango music", "Tango music for input vocals"; the pretrained models are asked
with the latter. AudioLDM's first three variants hear no tune; the pretrained one and "melody" do.
"""

if __name__ == "__main__":
    main()
