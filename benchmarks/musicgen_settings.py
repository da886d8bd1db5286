"""What precision, guidance and sampling do to mini-musicgen: tune and chords kept, words obeyed.

    python benchmarks/musicgen_settings.py [--data ../shared/data] [--pairs folder] [--work folder]

Takes of held-out synthetic voices: of the genre they are asked in, and again of another one, with
the same seeds everywhere. Genre is told by the listener of the models' report. One setting takes a
few minutes on one thread; what is finished is kept in the work folder. Writes
benchmarks/musicgen_settings.md.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from voice2music.checkpoints import cache_folder, locate
from voice2music.dataset.tunes import cleared_tunes
from voice2music.engines import musicgen
from voice2music.engines.base import Settings
from voice2music.engines.loading import load_engine
from voice2music.engines.musicgen import MusicGen
from voice2music.engines.musicgen.drawing import Sampling
from voice2music.engines.musicgen.format import OWN_FILE
from voice2music.engines.musicgen.loading import Wish
from voice2music.engines.musicgen.loop import Passage, written
from voice2music.evaluation.intervals import Estimate, estimate, share_of_way
from voice2music.evaluation.minis.following import floor_of
from voice2music.evaluation.minis.listener import Listener
from voice2music.evaluation.minis.material import (
    Bandstand,
    Job,
    Studio,
    held_out,
    learnt,
    synthetic,
)
from voice2music.evaluation.minis.measuring import FULL, HOURS
from voice2music.evaluation.minis.schooling import schooled
from voice2music.evaluation.minis.sizes import WHOLE
from voice2music.evaluation.sound import sound_of
from voice2music.request import Request
from voice2music.styles import styles

NAME = "mini-musicgen"
VOICES = 48
CHORDS = "chord accuracy"
STEPS = 50  # of greedy decoding that are compared
OUT = Path(__file__).with_suffix(".md")


@dataclass(frozen=True)
class Setting:
    """One way to ask: strengths of guidance of words and of voice, and how tokens are drawn."""

    precision: Wish = "int8"
    words: float = 3.0
    voice: float = 3.0
    temperature: float = 1.2
    top_p: float = 1.0

    @property
    def name(self) -> str:
        """Of its file."""
        precision, *numbers = astuple(self)
        return "-".join((precision, *(f"{number:g}" for number in numbers)))


PRECISIONS = (Setting("float32"), Setting("bfloat16"), Setting("int8"))
STRENGTHS = tuple(
    Setting("int8", words, voice)
    for words, voice in (
        (3, 3), (4.5, 3), (6, 3), (8, 3), (6, 3.5), (7, 3.5), (6, 4), (8, 4),
        (6, 6), (3, 2), (3, 0),
    )
)  # fmt: skip
DRAWS = tuple(
    Setting("int8", 7, 3.5, temperature, top_p)
    for temperature, top_p in ((1.0, 1.0), (1.1, 1.0), (1.2, 1.0), (1.3, 1.0), (1.2, 0.95))
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--pairs", type=Path, help="renders that the listener learns from")
    options.add_argument("--voices", type=int, default=VOICES)
    options.add_argument("--work", type=Path, default=Path("build/musicgen_settings"))
    given = options.parse_args()
    torch.set_num_threads(1)
    bench = Bench(given.data, given.pairs, given.work, given.voices)
    found = {
        setting: bench.found(setting) for setting in dict.fromkeys(PRECISIONS + STRENGTHS + DRAWS)
    }
    tokens = {setting: bench.agreement(setting) for setting in PRECISIONS}
    OUT.write_text("\n".join(page(found, tokens)) + "\n", encoding="utf-8")


class Bench:
    """Voices, takes and the listener."""

    def __init__(self, data: Path, pairs: Path | None, work: Path, voices: int) -> None:
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        cache = cache_folder() / "minis"
        archive = data / "symbolic" / "OpenEWLD.tar.xz"
        tunes = cleared_tunes(archive) if archive.is_file() else ()
        self.jobs = synthetic(held_out(cache / "held-out", FULL, tunes), voices)
        self.bandstand = Bandstand(load_engine("band", Request()))
        through = {locate(NAME).sha256: engine_of("float32").reconstructed}
        self.listener: Listener = schooled(
            pairs or learnt(cache / "learnt", HOURS), through, WHOLE.plan, cache
        )

    def found(self, setting: Setting) -> dict[str, Any]:
        """Values of each take, from the work folder where they are there."""
        file = self.work / f"{setting.name}.json"
        if not file.is_file():
            engine = engine_of(setting.precision, self._told(setting))
            studio = Studio("musicgen", engine, self.bandstand)
            file.write_text(json.dumps(self._measured(setting, studio)), encoding="utf-8")
            print(setting.name, flush=True)
        values: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return values

    def _told(self, setting: Setting) -> Path:
        """The checkpoint with the strengths of the setting."""
        folder = self.work / "checkpoints" / setting.name
        if not folder.is_dir():
            shutil.copytree(locate(NAME).folder, folder)
            file = folder / OWN_FILE
            own = json.loads(file.read_text("utf-8"))
            own |= {"guidance": setting.voice, "word_guidance": setting.words}
            own |= {"temperature": setting.temperature, "top_p": setting.top_p}
            file.write_text(json.dumps(own), encoding="utf-8")
        return folder

    def _measured(self, setting: Setting, studio: Studio) -> dict[str, Any]:
        own = [studio.made(job) for job in self.jobs]
        takes = own + [studio.made(job, genre=opposite(job.genre)) for job in self.jobs]
        told = self.listener.told(self.listener.hear([take.music for take in takes]))
        return {
            "voice": [take.job.name for take in takes],
            "melody": [take.accuracy for take in takes],
            "floor": [floor_of(take, own) for take in takes],
            "genre": [float(g == t.genre) for g, t in zip(told, takes, strict=True)],
            "chords": [take.measures[CHORDS] for take in takes],
            "band": [self.bandstand.made(take.job).measures[CHORDS] for take in takes],
            "sound": [float(sound_of(take.music).sound) for take in takes],
        }

    def agreement(self, setting: Setting) -> Estimate:
        """Share of greedy tokens that are float32's, over the first steps, voice by voice."""
        exact, engine = engine_of("float32"), engine_of(setting.precision)
        shares = []
        for job in self.jobs:
            one, two = (greedy(e, job) for e in (exact, engine))
            shares.append(float((one == two).float().mean()))
        return estimate(shares, [job.name for job in self.jobs])


def engine_of(precision: Wish, folder: Path | None = None) -> MusicGen:
    """The bundled model on the processor, or what is in a folder."""
    return musicgen.load(folder or locate(NAME), "cpu", precision=precision)


def opposite(genre: str) -> str:
    """Another genre, as far away in the list as can be."""
    names = list(styles())
    return names[(names.index(genre) + len(names) // 2) % len(names)]


def greedy(engine: MusicGen, job: Job) -> torch.Tensor:
    """The most likely tokens of the first steps, each on the past that it chose itself."""
    asked = job.asked("musicgen")
    branches = engine.branches(asked, Settings())
    codes = torch.zeros((engine.decoder.codebooks, STEPS), dtype=torch.long)
    passage = Passage(
        engine.decoder, branches, codes, 0, Sampling(top_k=1), torch.Generator().manual_seed(0)
    )
    for _ in written(engine.decoder, passage):
        pass
    return codes


def page(found: dict[Setting, dict[str, Any]], tokens: dict[Setting, Estimate]) -> Iterator[str]:
    """The whole report."""
    voices = len(set(next(iter(found.values()))["voice"]))
    yield "# mini-musicgen: precision, guidance and draws"
    yield ""
    yield (
        f"By `python benchmarks/musicgen_settings.py`, weights {locate(NAME).sha256[:16]}; "
        f"{voices} held-out synthetic voices × 2 genres, one seed for all; 95 % bootstrap "
        "intervals over voices. Melody: accuracy after Music ControlNet; its floor is the same "
        "takes against other voices. Genre: told by the listener of the models' report (1 in "
        f"{len(styles())} by chance). Chords: accuracy as a share of the band's. Sound: neither "
        "silent, clipped nor stuck on one tone."
    )
    yield ""
    yield from _table("precision", {s.precision: s for s in PRECISIONS}, found)
    yield ""
    shares = ", ".join(f"{s.precision} {_shown(share)}" for s, share in tokens.items())
    yield (
        f"Tokens that equal float32's over the first {STEPS} greedy frames, where one that differs "
        f"changes all after it: {shares}."
    )
    yield ""
    yield "Guidance, int8, temperature 1.2:"
    yield ""
    yield from _table("words, voice", {f"{s.words:g}, {s.voice:g}": s for s in STRENGTHS}, found)
    yield ""
    yield "Draws, int8, guidance of words 7 and voice 3.5:"
    yield ""
    titles = {f"{s.temperature:g}, {s.top_p:g}": s for s in DRAWS}
    yield from _table("temperature, top_p", titles, found)


def _table(
    title: str, settings: dict[str, Setting], found: dict[Setting, dict[str, Any]]
) -> Iterator[str]:
    yield f"| {title} | melody | floor | genre is told | chords | sound |"
    yield "|---|---|---|---|---|---|"
    for name, setting in settings.items():
        values = found[setting]
        voices = values["voice"]
        melody, floor, genre, sound = (
            _shown(estimate(values[key], voices)) for key in ("melody", "floor", "genre", "sound")
        )
        nothing = [0.0] * len(voices)
        chords = _shown(share_of_way(values["chords"], nothing, values["band"], voices))
        yield f"| {name} | {melody} | {floor} | {genre} | {chords} | {sound} |"


def _shown(found: Estimate) -> str:
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
