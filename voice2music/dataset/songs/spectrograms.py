"""Small pictures of sound: log-mel spectrograms as PNG."""

from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip

RATE, N_FFT, HOP, BANDS = 16_000, 1_024, 512, 80
RANGE = 60.0  # dB from the darkest to the brightest
SHADES = 32  # steps of 2 dB are not seen, and pack into half the bytes of 256
_FLOOR = 1e-5  # magnitude; what is 60 dB over it is as bright as a picture without peaks can be
# Black over purple and orange to pale yellow; lightness rises evenly, also for the colour-blind.
_COLOURS = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))


def log_mel(clip: Clip) -> NDArray[np.float32]:
    """Mel magnitudes in dB, shape (BANDS, frames), low bands first, HOP samples of RATE per frame.

    Silence is the same at every length: 20 log10 of the floor.
    """
    padded = np.pad(clip.mono().resampled(RATE).samples[0], N_FFT // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    magnitudes = np.abs(np.fft.rfft(windows * np.hanning(N_FFT)))
    mel = _filters() @ magnitudes.T
    return (20 * np.log10(np.maximum(mel, _FLOOR))).astype(np.float32)


def picture(clip: Clip) -> bytes:
    """The log-mel spectrogram as PNG: time to the right, pitch upwards, the peak brightest."""
    from PIL import Image

    level = log_mel(clip)
    top = max(float(level.max()), 20 * np.log10(_FLOOR) + RANGE)
    share = np.clip(1 + (level - top) / RANGE, 0, 1)
    image = Image.fromarray(np.round(share[::-1] * (SHADES - 1)).astype(np.uint8), "P")
    image.putpalette(_palette())
    out = BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


@lru_cache(maxsize=1)
def _filters() -> NDArray[np.float64]:
    """Triangles of height 1, evenly on the mel scale up to RATE / 2: (BANDS, N_FFT / 2 + 1)."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(N_FFT, 1 / RATE)
    return np.array([np.interp(hertz, edges[i : i + 3], (0, 1, 0)) for i in range(BANDS)])


def _palette() -> bytes:
    """Red, green and blue of every shade."""
    at, steps = np.linspace(0, 1, len(_COLOURS)), np.linspace(0, 1, SHADES)
    channels = [np.interp(steps, at, values) for values in zip(*_COLOURS, strict=True)]
    return np.round(channels).astype(np.uint8).T.tobytes()
