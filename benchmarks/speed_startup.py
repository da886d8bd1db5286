"""How soon the program is there, and the memory of its engines, as rows of a Markdown table.

    python benchmarks/speed_startup.py [--runs 5]

Every run is a fresh process; the medians are given. "Usable" is the page in a headless Chromium
with its recorder and its button to be seen, "an example heard" the first thing a visitor can do;
both are left out where there is no Chromium with chromedriver. Leave the machine alone meanwhile.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

READY = "the engines are ready"  # what `ui.serving.warm_up` says
PATIENCE = 300.0  # s
LOOK = 0.02  # s
IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
LOAD = """
import sys, time
t = time.perf_counter()
from voice2music.engines.loading import load_engine
from voice2music.request import Request
request = Request(checkpoints={sys.argv[1]: sys.argv[2]} if sys.argv[2:] else {})
load_engine(sys.argv[1], request)
first = time.perf_counter() - t
from voice2music.engines.loading import release
release()
t = time.perf_counter()
load_engine(sys.argv[1], request)
print(first, time.perf_counter() - t)
"""


@dataclass(frozen=True)
class Row:
    """One line of the table; `target` as the issue of speed states it, "" for none."""

    what: str
    found: str
    target: str = ""

    def __str__(self) -> str:
        return f"| {self.what} | {self.found} | {self.target} |"


# ---- what is measured --------------------------------------------------------------------------


def import_seconds(module: str = "voice2music") -> float:
    """Seconds that a fresh interpreter needs to import it, without its own start."""
    return _printed(IMPORT.format(module))[0]


def load_seconds(column: str, *checkpoint: str) -> tuple[float, float]:
    """Seconds to load an engine, its libraries among it, and to load it again after release."""
    first, again = _printed(LOAD, column, *checkpoint)
    return first, again


@dataclass(frozen=True)
class Start:
    """Seconds from the start of `voice2music serve` to each of these; `work` is processor time."""

    page: float
    engines: float
    page_work: float = 0.0
    engines_work: float = 0.0
    usable: float | None = None
    heard: float | None = None


def start_seconds() -> Start:
    """A server that nobody visits."""
    with _serving() as server:
        page, page_work = server.answers(), server.work()
        return Start(page, server.says(READY), page_work, server.work())


def visited_seconds(folder: Path) -> Start:
    """A server whose first visitor opens the page as soon as it answers, and hears an example."""
    from browser import visiting  # which starts before the server does

    with visiting(folder, folder / "silence.wav") as visitor, _serving() as server:
        page = server.answers()
        visitor.open(server.url)
        visitor.see("#make")
        usable = server.age()
        visitor.press("[data-example=ode-to-joy]")
        visitor.until(lambda: visitor.find(".v-facts") and visitor.text(".v-facts"))
        return Start(page, engines=server.says(READY), usable=usable, heard=server.age())


class Server:
    """`voice2music serve` in a process of its own, timed from its start."""

    def __init__(self, url: str, log: Path, process: int) -> None:
        self.url, self.log, self.process, self.begun = url, log, process, time.perf_counter()

    def age(self) -> float:
        """Seconds since its start."""
        return time.perf_counter() - self.begun

    def work(self) -> float:
        """Processor seconds it took so far, which neighbours hardly change; Linux only."""
        values = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")

    def answers(self) -> float:
        """Its age at the first whole answer."""
        while self.age() < PATIENCE:
            try:
                with urllib.request.urlopen(self.url, timeout=PATIENCE) as answer:
                    answer.read()
                return self.age()
            except OSError:
                time.sleep(LOOK)
        raise TimeoutError(self.log.read_text())

    def says(self, words: str) -> float:
        """Its age when these words stand in its log."""
        while self.age() < PATIENCE:
            if words in self.log.read_text():
                return self.age()
            time.sleep(LOOK)
        raise TimeoutError(self.log.read_text())


@contextmanager
def _serving() -> Iterator[Server]:
    from fixtures_ui import free_port

    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as out:
            command = [sys.executable, "-m", "voice2music", "-v", "serve", "--port", str(port)]
            process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT)
            try:
                yield Server(f"http://127.0.0.1:{port}/", log, process.pid)
            finally:
                process.terminate()
                process.wait()


def _printed(program: str, *arguments: str) -> list[float]:
    """The numbers that a fresh interpreter prints."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return [float(number) for number in done.stdout.split()]


# ---- the rows ----------------------------------------------------------------------------------


def import_row(runs: int) -> Row:
    found = [import_seconds() for _ in range(runs)]
    return Row("`import voice2music`", seconds(found), "≤ .3 s")


def start_rows(runs: int) -> Iterator[Row]:
    found = [start_seconds() for _ in range(runs)]
    yield Row("`voice2music serve` to the first answer", seconds([one.page for one in found]))
    yield Row("… in processor time", seconds([one.page_work for one in found]))
    yield Row("the same, to all engines loaded behind it", seconds([one.engines for one in found]))
    yield Row("… in processor time", seconds([one.engines_work for one in found]))


def visited_rows(runs: int) -> Iterator[Row]:
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            found.append(visited_seconds(Path(folder)))
    usable, heard = ([getattr(one, name) for one in found] for name in ("usable", "heard"))
    yield Row("the same with a visitor, to a usable page", seconds(usable), "≤ 8 s")
    yield Row("… to an example heard", seconds(heard))
    yield Row("… to all engines loaded", seconds([one.engines for one in found]))


def engine_rows(runs: int, models: list[tuple[str, ...]]) -> Iterator[Row]:
    """Loading, in a process that has loaded nothing else; memory as `models check` shows it."""
    from voice2music.footprint import SECONDS, footprint

    for model in models:
        found = [load_seconds(*model) for _ in range(runs)]
        name = model[-1]
        yield Row(f"{name}: loaded, with its libraries", seconds([first for first, _ in found]))
        yield Row(f"{name}: loaded again after release", seconds([again for _, again in found]))
        if name != "band":
            taken = [footprint(name) for _ in range(runs)]
            weights, peak = (
                median(getattr(one, part) for one in taken) / 1e6 for part in ("weights", "peak")
            )
            yield Row(f"{name}: weights in memory", f"{weights:,.0f} MB")
            yield Row(
                f"{name}: peak memory of the program, making {SECONDS:.0f} s", f"{peak:,.0f} MB"
            )


def seconds(found: list[float]) -> str:
    """Median and range."""
    return f"{median(found):.2f} s ({min(found):.2f} to {max(found):.2f})"


def browser_is_here() -> bool:
    if find_spec("selenium") is None:
        return False
    from browser import CHROMIUM, DRIVER

    return bool(CHROMIUM and DRIVER)


def rows(runs: int) -> Iterator[Row]:
    """Everything."""
    yield import_row(runs)
    yield from start_rows(runs)
    if browser_is_here():
        yield from visited_rows(runs)
    models: list[tuple[str, ...]] = [("band",)]
    models += [("musicgen", "mini-musicgen"), ("audioldm", "mini-audioldm")]
    yield from engine_rows(runs, models)


def main(say: Callable[[object], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="fresh processes per row")
    runs = parser.parse_args().runs
    say(f"| median of {runs} (least to most) | found | target |\n|---|---|---|")
    for row in rows(runs):
        say(row)


if __name__ == "__main__":
    main()
