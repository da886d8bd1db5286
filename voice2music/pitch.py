"""f0 and voicing of a sung or hummed clip, every 10 ms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HOP = 0.010  # s between frames


@dataclass(frozen=True, eq=False)
class Pitch:
    """A tracked f0 curve; frame i lies at `i * HOP` seconds.

    Args:
        f0: Hz, shape (frames,); 0 where nothing is sung.
        confidence: the tracker's own, in [0, 1], shape (frames,).
    """

    f0: NDArray[np.float32]
    confidence: NDArray[np.float32]

    @property
    def voiced(self) -> NDArray[np.bool_]:
        """Which frames are sung."""
        return self.f0 > 0
