"""What ten seconds of music cost, in a process that does nothing else."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

from voice2music.evaluation.minis.lines import Line, single

SECONDS, THREADS = 10.0, 2
TARGETS = {"musicgen": "≤ 10 s", "audioldm": "≤ 8 s"}
FIRST = {"musicgen": "≤ 3 s", "audioldm": ""}


@dataclass(frozen=True)
class Cost:
    """Wall seconds, and bytes.

    Args:
        load: until the engine is there; `first`: then to the first sound; `whole`: then to the end.
        again: the whole of a second take.
        peak: resident memory of the process.
    """

    load: float
    first: float
    whole: float
    again: float
    peak: int


def cost_lines(column: str, checkpoint: str) -> list[Line]:
    """Measured in a fresh process."""
    found = fresh_cost(column, checkpoint)
    return [
        Line("Cost: seconds until the model is loaded", single(found.load)),
        Line("Cost: seconds to the first sound", single(found.first), target=FIRST[column]),
        Line("Cost: seconds for 10 s of music", single(found.whole), target=TARGETS[column]),
        Line("Cost: the same, second take", single(found.again), target=TARGETS[column]),
        Line("Cost: peak memory of the process, GiB", single(found.peak / 2**30),
             target="≤ 2.5"),
    ]  # fmt: skip


def fresh_cost(column: str, checkpoint: str) -> Cost:
    """The cost in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "voice2music.evaluation.minis.cost", column, checkpoint],
        check=True,
        capture_output=True,
        text=True,
    )
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def measured(column: str, checkpoint: str) -> Cost:
    """The cost in this process."""
    import torch

    from voice2music.conditioning import conditioning, tune_of
    from voice2music.engines.base import Part, Settings
    from voice2music.engines.loading import load_engine
    from voice2music.evaluation.minis.soundness import TUNE, hummed
    from voice2music.footprint import peak_bytes
    from voice2music.request import Request

    torch.set_num_threads(THREADS)
    from voice2music.analysis import analyse

    request = Request(genre="pop", seconds=SECONDS, checkpoints={column: checkpoint})
    clip = hummed((*TUNE, *TUNE[:4]))
    asked = conditioning(request, column, tune_of(request, analyse(clip)), clip, None)
    begun = time.perf_counter()
    engine = load_engine(column, request)
    loaded = time.perf_counter()
    times: list[list[float]] = []
    for seed in (0, 1):
        start, first = time.perf_counter(), 0.0
        settings = Settings(seed, start_from="noise")
        for part in engine.generate(asked, settings, lambda share, words: None, lambda: False):
            if isinstance(part, Part) and not first:
                first = time.perf_counter() - start
        times.append([first, time.perf_counter() - start])
    return Cost(loaded - begun, times[0][0], times[0][1], times[1][1], peak_bytes())


if __name__ == "__main__":
    print(json.dumps(vars(measured(sys.argv[1], sys.argv[2]))))
