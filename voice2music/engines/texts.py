"""What an engine's text encoder gave for the last texts: it goes with the engine.

Only hashes of the texts are kept beside it.
"""

from torch import Tensor

from voice2music.recall import Recall

MOST = 64  # texts
MOST_BYTES = 32 << 20  # MusicGen-Melody's states of one text are up to 1.5 MB


def texts_recalled() -> Recall[Tensor]:
    """A memory for the hidden states or vectors of texts."""
    return Recall(MOST, MOST_BYTES)


def tensor_bytes(tensor: Tensor) -> int:
    """Its size."""
    return tensor.numel() * tensor.element_size()
