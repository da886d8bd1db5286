"""How many takes of everything: hours of measuring, or minutes."""

from dataclasses import dataclass, replace

from voice2music.evaluation.minis.schooling import Plan


@dataclass(frozen=True)
class Sizes:
    """How many of everything.

    Args:
        voices, seeds: held-out synthetic voices and takes of each, "play my tune".
        real_seeds: takes of each real clip.
        backs: voices that are backed up.
        swaps, leads, tempi: takes with another genre word, a lead word, a tempo word.
        renders: held-out ones that the listener is tested on and the distance is taken to;
            `rebuilt`: of them that go through the codec.
        distance: takes of full length for the distance.
        same: seeds that must give different takes; `odd`: takes of each odd case.
        plan: how long the listener learns.
    """

    voices: int
    seeds: int
    real_seeds: int
    backs: int
    swaps: int
    leads: int
    tempi: int
    renders: int
    rebuilt: int
    distance: int
    same: int
    odd: int
    plan: Plan

    def with_wishes(self, voices: int | None, seeds: int | None) -> "Sizes":
        """The same with other voices and seeds."""
        voices = voices or self.voices
        return replace(
            self, voices=voices, seeds=seeds or self.seeds, backs=min(self.backs, voices)
        )


WHOLE = Sizes(64, 2, 8, 64, 32, 32, 16, 256, 256, 320, 16, 4, Plan(again=240, reconstructions=320))
QUICK = Sizes(16, 1, 2, 16, 8, 8, 6, 256, 40, 64, 16, 1, Plan(again=50, reconstructions=48))
