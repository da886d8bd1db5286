"""How fast everything is on this machine: writes benchmarks/speed.md.

    python benchmarks/speed.py [--without large,startup]

Every part runs in a process of its own, one after the other. Leave the machine alone meanwhile: the
report says how busy it was.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent
OUT = Path(__file__).with_suffix(".md")
PACKAGES = ("voice2music", "torch", "transformers", "diffusers", "gradio", "numpy")
RUNS = 5
SECONDS = 10.0


@dataclass(frozen=True)
class Part:
    """One section: its title, what to run, and what was aimed at."""

    title: str
    command: tuple[str, ...]
    aim: str = ""


PARTS = {
    "whole": Part(
        "The whole job",
        ("speed.py", "--whole"),
        "three takes in at most 15 s, the first sound after at most 2 s",
    ),
    "musicgen": Part(
        "MusicGen on the processor",
        ("speed_musicgen.py",),
        "float32 with identical tokens at least 1.3 times as fast as generate, the usual precision "
        "3 times; twice real time with the codec; a second strength of guidance at most 1.5 times "
        "the cost of one",
    ),
    "large": Part(
        "MusicGen-Melody's size on the processor",
        ("speed_musicgen.py", "--large"),
        "twice as fast as generate in bfloat16",
    ),
    "audioldm": Part(
        "AudioLDM on the processor",
        ("speed_audioldm.py",),
        "at least 1.3 times as fast as the plain loop, 1.5 times real time",
    ),
    "startup": Part("Start and memory", ("speed_startup.py",)),
    "card": Part("On a graphics card", ("speed_gpu.py",)),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--without", default="", help=f"parts to leave out: {', '.join(PARTS)}")
    options.add_argument("--whole", action="store_true", help="internal: one part")
    given = options.parse_args()
    if given.whole:
        print("\n".join(whole_job()))
        return
    wanted = {name: part for name, part in PARTS.items() if name not in given.without.split(",")}
    OUT.write_text("\n".join(page(wanted)) + "\n", encoding="utf-8")


def page(parts: dict[str, Part]) -> Iterator[str]:
    """The whole report."""
    yield "# Speed"
    yield ""
    yield f"By `make bench` on {date.today().isoformat()}: {machine()}."
    yield (
        f"{', '.join(f'{name} {version(name)}' for name in PACKAGES)}. When it began, "
        f"{os.getloadavg()[0]:.1f} processes were running. Targets are what was aimed at, not what "
        "was reached."
    )
    for part in parts.values():
        print(part.title, file=sys.stderr, flush=True)
        yield ""
        yield f"## {part.title}"
        yield ""
        if part.aim:
            yield f"Target: {part.aim}."
            yield ""
        yield printed(part)


def machine() -> str:
    """Processor, cores, memory."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next((line.split(": ")[1] for line in lines if "model name" in line), model)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {pages:.0f} GiB"


def printed(part: Part) -> str:
    """What its program prints.

    Raises:
        CalledProcessError: it failed; its complaint is on the standard error.
    """
    command = [sys.executable, str(FOLDER / part.command[0]), *part.command[1:]]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


# ---- the whole job


def whole_job() -> list[str]:
    """A hum of ten seconds, three takes, everything warm: through the function behind all doors."""
    first_job, *jobs = [one_job() for _ in range(RUNS + 1)]
    names = list(jobs[0])
    return [
        f"A hum of {SECONDS:g} s in, three finished takes of {SECONDS:g} s on disk, the engines in "
        f"memory; medians of {RUNS} jobs. Seconds from the request on.",
        "",
        "| what | s |",
        "|---|---|",
        *(f"| {name} | {statistics.median(job[name] for job in jobs):.2f} |" for name in names),
        f"| the same, the very first job of a process | {first_job['all takes']:.2f} |",
    ]


def one_job() -> dict[str, float]:
    """When what was there."""
    from voice2music.clip import Clip
    from voice2music.evaluation.minis.soundness import TUNE, hummed
    from voice2music.pipeline import Heard, Sound, takes
    from voice2music.request import Request
    from voice2music.take import Take

    voice: Clip = hummed(TUNE)
    voice = voice.cut(0, SECONDS) if voice.seconds > SECONDS else voice
    seen: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for event in takes(Request(seconds=SECONDS), voice, Path(folder)):
            now = time.perf_counter() - started
            if isinstance(event, Heard):
                seen.setdefault("the voice is heard", now)
            elif isinstance(event, Sound):
                seen.setdefault("the first sound (the band)", now)
                seen.setdefault(f"first sound of {event.engine}", now)
            elif isinstance(event, Take):
                seen[f"take of {event.engine}"] = now
        seen["all takes"] = time.perf_counter() - started
    return seen


if __name__ == "__main__":
    main()
