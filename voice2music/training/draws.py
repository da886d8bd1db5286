"""What a step's batch is drawn from: the same samples on however many processes.

A sample depends on the seed, the step and its number among all of the step's, and on nothing else:
two processes with batches of four see what one process sees with a batch of eight.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One sample of a batch.

    Args:
        chance: its own.
        place: from 0 to 1; a step's samples have one in every equal part, in any order.
    """

    chance: np.random.Generator
    place: float


class StepChance(np.random.Generator):
    """The chance of one step in one process.

    Args:
        seed, step: of the run.
        process, processes: which of how many.
    """

    def __init__(self, seed: int, step: int, process: int = 0, processes: int = 1) -> None:
        super().__init__(np.random.PCG64(np.random.SeedSequence((seed, step, process))))
        self._key, self._process, self._processes = (seed, step), process, processes

    def samples(self, count: int, *, everybodys: bool = False) -> list[Sample]:
        """The same ones whenever it is asked.

        Args:
            count: of each process.
            everybodys: those of all processes, and not only this one's.
        """
        total = count * self._processes
        first, last = (0, total) if everybodys else (count * self._process, None)
        order = np.random.default_rng((*self._key, 0, 2)).permutation(total)
        out = []
        for number in range(first, last or first + count):
            # Another length than the key of the step itself, so never the same numbers.
            chance = np.random.default_rng((*self._key, number, 1))
            out.append(Sample(chance, (int(order[number]) + chance.random()) / total))
        return out
