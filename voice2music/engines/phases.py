"""Magnitudes to waveform without a vocoder, by rounds.

Where the magnitudes of an STFT are known, its phases follow from the overlap of its windows
(Griffin and Lim, 1984). Only the magnitudes have to be found by a network, which is learned in
minutes, where a HiFi-GAN takes days.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from voice2music.engines.spectrogram import MelSettings

QUIET = 1e-2  # magnitude that is not heard any more, 82 dB below a sine at the usual peak
ROUNDS = 32
CHUNK = 2048  # frames
MOMENTUM = 0.99  # Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm", 2013


def phased(
    magnitudes: Tensor,
    settings: MelSettings,
    go_on: Callable[[float], None] = lambda share: None,
    rounds: int = ROUNDS,
) -> Tensor:
    """Samples whose STFT has these magnitudes as nearly as can be.

    Args:
        magnitudes: shape (n_fft / 2 + 1, frames + 1).
        settings: of the STFT.
        go_on: called before each round with the share done; may raise `Cancelled`.
        rounds: how many.
    """
    frames = magnitudes.mT
    return phased_in_chunks(lambda first, last: frames[first:last], len(frames), settings, go_on,
                            rounds)  # fmt: skip


def phased_in_chunks(
    magnitudes: Callable[[int, int], Tensor],
    count: int,
    settings: MelSettings,
    go_on: Callable[[float], None] = lambda share: None,
    rounds: int = ROUNDS,
    chunk: int = CHUNK,
) -> Tensor:
    """The same in chunks, so that memory does not grow with length; the same samples.

    A round carries what happens in a frame to the frames that overlap with it and no further, so
    a chunk that is begun early enough and ended late enough knows nothing of its edges.

    Args:
        magnitudes: of the frames from the first to the last given, shape (frames, n_fft / 2 + 1).
        count: of all frames; they make (count - 1) * hop samples.
        settings, go_on, rounds: as of `phased`.
        chunk: frames at a time, beside those margins.
    """
    margin = (rounds + 1) * (math.ceil(settings.n_fft / settings.hop) - 1)
    starts = range(0, count - 1, chunk)
    out = []
    phase = np.zeros(settings.n_fft // 2 + 1)
    for number, start in enumerate(starts):

        def round_go_on(share: float, number: int = number) -> None:
            go_on((number + share) / len(starts))

        end = min(start + chunk, count - 1)
        first, last = max(0, start - margin), min(count, end + margin + 1)
        wanted = magnitudes(first, last).float().contiguous()
        phases = first_phases(wanted, settings, phase)
        phase = phases[max(0, end - margin) - first - 1]  # before the next chunk's first frame
        samples = _rounds(wanted, phases, settings, round_go_on, rounds)
        out.append(samples[(start - first) * settings.hop : (end - first) * settings.hop])
    return torch.cat(out)


def _rounds(
    wanted: Tensor,
    phases: NDArray[np.float64],
    settings: MelSettings,
    go_on: Callable[[float], None],
    rounds: int,
) -> Tensor:
    """Samples of one chunk, from first phases; both of shape (frames, bins)."""
    frames = _Frames(settings, len(wanted), wanted.device)
    spectrum = wanted * torch.from_numpy(np.exp(1j * phases)).to(wanted.device, torch.complex64)
    before = torch.zeros_like(spectrum)
    for i in range(rounds):
        go_on(i / rounds)
        now = frames.spectrum(frames.samples(spectrum))
        spectrum = torch.sub(now, before, alpha=MOMENTUM / (1 + MOMENTUM), out=spectrum)
        brought_to(spectrum, wanted)
        before = now
    return frames.samples(spectrum)


class _Frames:
    """An STFT and the way back, as torch's, frame by frame in memory: half their time.

    Args:
        settings: of the STFT.
        count: frames.
    """

    def __init__(self, settings: MelSettings, count: int, device: torch.device) -> None:
        self._size, self._hop = settings.n_fft, settings.hop
        self._window = torch.hann_window(self._size, device=device)
        self._weight = 1 / self._added(self._window.square().expand(count, -1))

    def spectrum(self, samples: Tensor) -> Tensor:
        """Shape (frames, n_fft / 2 + 1)."""
        edge = self._size // 2
        padded = functional.pad(samples[None], (edge, edge), mode="reflect")[0]
        spectrum: Tensor = torch.fft.rfft(padded.unfold(0, self._size, self._hop) * self._window)
        return spectrum

    def samples(self, spectrum: Tensor) -> Tensor:
        """Shape ((frames - 1) * hop,)."""
        parts = torch.fft.irfft(spectrum, self._size).mul_(self._window)
        return self._added(parts).mul_(self._weight)

    def _added(self, parts: Tensor) -> Tensor:
        """From the middle of the first frame to that of the last."""
        first = self._size // 2
        return laid_over(parts, self._hop)[first : first + (len(parts) - 1) * self._hop]


def laid_over(parts: Tensor, hop: int) -> Tensor:
    """Frames (frames, size) added up where they overlap, shape ((frames - 1) * hop + size,)."""
    count, size = parts.shape
    hops = math.ceil(size / hop)
    whole = functional.pad(parts, (0, hops * hop - size)).reshape(count, hops, hop)
    out = parts.new_zeros(count + hops - 1, hop)
    for i in range(hops):
        out[i : i + count] += whole[:, i]
    return out.flatten()[: (count - 1) * hop + size]


def brought_to(spectrum: Tensor, wanted: Tensor) -> None:
    """Give a spectrum these magnitudes, in place; with real numbers, as complex ones are slow."""
    both = torch.view_as_real(spectrum)
    real, imaginary = both.unbind(dim=-1)
    power = torch.addcmul(real * real, imaginary, imaginary)
    both.mul_(power.add_(1e-24).rsqrt_().mul_(wanted)[..., None])


def first_phases(
    magnitudes: Tensor, settings: MelSettings, phase: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Every bin turns with the frequency of the nearest peak; shape (frames, bins).

    Args:
        magnitudes: shape (frames, bins).
        phase: of the frame before, shape (bins,).
    Source: Beauregard, Harish and Wyse, "Single Pass Spectrogram Inversion", 2015.
    """
    nearest, turns = _turns(magnitudes.cpu().numpy(), settings)
    for frame in range(len(turns)):
        phase = turns[frame] = phase[nearest[frame]] + turns[frame]
    return turns


def _turns(
    magnitude: NDArray[np.float32], settings: MelSettings
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every bin's nearest peak, and by how much the bin is ahead of the peak's last phase.

    A frame without a peak turns by nothing. Both of shape (frames, bins).
    """
    bins = np.arange(magnitude.shape[1])
    middle = magnitude[:, 1:-1]
    peak = np.zeros(magnitude.shape, bool)
    peak[:, 1:-1] = (middle > magnitude[:, :-2]) & (middle >= magnitude[:, 2:])
    nearest = _nearest(peak)

    log = np.log(magnitude + 1e-9)
    left, top, right = log[:, :-2], log[:, 1:-1], log[:, 2:]
    offset = np.zeros(magnitude.shape)
    offset[:, 1:-1] = (left - right) / 2 / np.minimum(left - 2 * top + right, -1e-9)
    turn = 2 * math.pi * settings.hop / settings.n_fft * (bins + offset.clip(-0.5, 0.5))
    # Windows are centred on their frames, so bins beside a peak are by turns half a turn off.
    ahead = np.take_along_axis(turn, nearest, axis=1) + math.pi * ((bins - nearest) % 2)
    some = peak.any(axis=1, keepdims=True)
    return np.where(some, nearest, bins), np.where(some, ahead, 0.0)


def _nearest(peak: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The nearest peak of every bin, of two the lower one; 0 where a frame has none."""
    size = peak.shape[1]
    bins, far = np.arange(size), 2 * size
    below = np.maximum.accumulate(np.where(peak, bins, -far), axis=1)
    above = np.minimum.accumulate(np.where(peak, bins, far)[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(bins - below <= above - bins, below, above)
    return np.where((nearest < 0) | (nearest >= size), 0, nearest)
