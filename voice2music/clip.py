"""Audio in memory (`Clip`) and the door between it and files.

Reads whatever a browser, a phone or a sound editor makes (wav, flac, ogg, mp3 through libsndfile;
webm/opus, m4a, mp4 and the rest through PyAV), in blocks, under limits of size and length.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from voice2music.errors import BadAudio, TooLong

log = logging.getLogger(__name__)

HIGHEST_RATE = 48_000  # Hz; faster files are resampled while they are read
LOWEST_RATE = 4_000  # Hz; below this a voice has no tune left
BLOCK = 1 << 16  # samples per read
WRITE_FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "mp3": "MPEG_LAYER_III"}


@dataclass(frozen=True)
class Limits:
    """What a file from outside may be at most.

    Args:
        max_bytes: size of the file.
        max_seconds: length of the audio, seconds.
    """

    max_bytes: int = 100 * 1024 * 1024
    max_seconds: float = 600.0


@dataclass(frozen=True, eq=False)
class Clip:
    """Audio: float32, shape (channels, samples), full scale ±1, `rate` in Hz. Read-only.

    Raises:
        BadAudio: empty, not two-dimensional, NaN or infinite samples, rate out of range.
    """

    samples: NDArray[np.float32]
    rate: int

    def __post_init__(self) -> None:
        samples = np.ascontiguousarray(self.samples, dtype=np.float32)
        if samples.ndim == 1:
            samples = samples[None, :]
        if samples.ndim != 2 or samples.shape[0] == 0:
            raise BadAudio(f"Audio must be (channels, samples); this has shape {samples.shape}.")
        if samples.shape[1] == 0:
            raise BadAudio("The recording is empty. Record or choose another one.")
        if not LOWEST_RATE <= self.rate <= 384_000:
            raise BadAudio(
                f"A sample rate of {self.rate} Hz cannot be used; "
                f"save the recording at 8,000 to 192,000 Hz."
            )
        if not np.isfinite(samples).all():
            raise BadAudio(
                "The recording holds samples that are not numbers (NaN or infinite), so it is "
                "damaged. Export it again from the program that made it."
            )
        samples = samples.view() if samples is not self.samples else samples.copy()
        samples.flags.writeable = False
        object.__setattr__(self, "samples", samples)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[1] / self.rate

    @property
    def peak(self) -> float:
        """Largest absolute sample."""
        return float(np.abs(self.samples).max())

    def mono(self) -> "Clip":
        """All channels averaged into one."""
        return self if self.channels == 1 else Clip(self.samples.mean(axis=0), self.rate)

    def stereo(self) -> "Clip":
        """Two channels: one is doubled, more than two are averaged first."""
        if self.channels == 2:
            return self
        return Clip(np.repeat(self.mono().samples, 2, axis=0), self.rate)

    def resampled(self, rate: int) -> "Clip":
        """The same sound at another rate (soxr, high quality), length rounded to the sample."""
        if rate == self.rate:
            return self
        out = soxr.resample(self.samples.T, self.rate, rate, quality="HQ").T
        return Clip(fitted(out, round(self.samples.shape[1] * rate / self.rate)), rate)

    def cut(self, start: float, end: float) -> "Clip":
        """The part from `start` to `end` seconds; beyond the ends there is silence."""
        first, last = round(start * self.rate), round(end * self.rate)
        inside = self.samples[:, max(first, 0) : max(last, 0)]
        padded = np.pad(inside, ((0, 0), (max(-first, 0), 0)))
        return Clip(fitted(padded, round((end - start) * self.rate)), self.rate)

    def scaled(self, gain: float) -> "Clip":
        """Every sample times `gain` (linear)."""
        return Clip(self.samples * np.float32(gain), self.rate)


def fitted(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """`samples` (channels, n) cut or padded with zeros at the end to exactly `length`."""
    cut = samples[:, :length]
    return np.pad(cut, ((0, 0), (0, length - cut.shape[1])))


def silence(seconds: float, rate: int, channels: int = 1) -> Clip:
    """A clip of zeros."""
    return Clip(np.zeros((channels, max(1, round(seconds * rate))), np.float32), rate)


def read(path: Path | str, limits: Limits | None = None) -> Clip:
    """Decode a file; more than two channels are mixed to one, rates over 48 kHz brought down.

    Args:
        path: any file that libsndfile or FFmpeg's libraries decode.
        limits: size and length allowed; the defaults of `Limits` where none is given.
    Raises:
        BadAudio: not there, empty, not audio, damaged.
        TooLong: over the size or the length limit (found while reading; headers can lie).
    """
    path, limits = Path(path), limits or Limits()
    _check_file(path, limits)
    blocks = _soundfile_blocks(path) or _av_blocks(path)
    clip = _gathered(path, blocks, limits)
    log.debug("read %s: %.2f s at %d Hz", path.name, clip.seconds, clip.rate)
    return clip


def write(clip: Clip, path: Path | str) -> Path:
    """Encode `clip` to .wav (16 bit), .flac or .mp3, by the file name's ending.

    The file appears whole or not at all: it is written beside its place and then moved.
    Raises:
        BadAudio: another ending.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in WRITE_FORMATS:
        raise BadAudio(f"'{path.name}': audio is written as .wav, .flac or .mp3.")
    out = (
        clip
        if kind != "mp3" or clip.rate in (16000, 24000, 32000, 44100, 48000)
        else (clip.resampled(44100))
    )
    partial = path.with_name(f".{path.name}.part")
    try:
        soundfile.write(
            partial,
            np.clip(out.samples.T, -1, 1),
            out.rate,
            format=kind.upper(),
            subtype=WRITE_FORMATS[kind],
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


@dataclass(frozen=True)
class _Blocks:
    """Decoded blocks of shape (channels, n) and their rate."""

    rate: int
    blocks: Iterator[NDArray[np.float32]]


def _check_file(path: Path, limits: Limits) -> None:
    if not path.is_file():
        raise BadAudio(f"There is no file '{path.name}'. Check its name and place.")
    size = path.stat().st_size
    if size == 0:
        raise BadAudio(f"'{path.name}' is empty (0 bytes). Record or choose another one.")
    if size > limits.max_bytes:
        raise TooLong(
            f"'{path.name}' is {size / 2**20:.0f} MB; at most {limits.max_bytes / 2**20:.0f} MB "
            f"can be taken. Cut out the part with the tune, or save it as mp3."
        )


def _soundfile_blocks(path: Path) -> _Blocks | None:
    """Through libsndfile, or None where it does not know the format."""
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, RuntimeError):
        return None

    def blocks() -> Iterator[NDArray[np.float32]]:
        with file:
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                yield block.T

    return _Blocks(int(file.samplerate), blocks())


def _av_blocks(path: Path) -> _Blocks:
    """Through FFmpeg's libraries (PyAV), which decode almost anything."""
    import av

    try:
        container: Any = av.open(str(path))
        stream = container.streams.audio[0]
        rate = int(stream.rate)
    except (av.FFmpegError, IndexError, ValueError, TypeError) as error:
        raise BadAudio(
            f"'{path.name}' is not audio that can be read. "
            f"Use a wav, mp3, flac, ogg, m4a or webm file."
        ) from error

    def blocks() -> Iterator[NDArray[np.float32]]:
        with container:
            planar = av.AudioResampler(format="fltp", rate=rate)
            for frame in container.decode(stream):
                for out in planar.resample(frame):
                    yield out.to_ndarray()

    return _Blocks(rate, blocks())


def _gathered(path: Path, source: _Blocks, limits: Limits) -> Clip:
    """All blocks as one clip, mixed down and resampled on the way so that memory is bounded."""
    import av

    if not LOWEST_RATE <= source.rate <= 384_000:
        raise BadAudio(f"'{path.name}' has a sample rate of {source.rate} Hz, which is not usable.")
    rate = min(source.rate, HIGHEST_RATE)
    parts: list[NDArray[np.float32]] = []
    resampler: soxr.ResampleStream | None = None
    frames = 0
    try:
        for block in source.blocks:
            frames += block.shape[1]
            if frames > limits.max_seconds * source.rate:
                raise TooLong(
                    f"'{path.name}' is longer than {limits.max_seconds / 60:g} minutes. "
                    f"Cut out the part with the tune and try again."
                )
            narrow = block if block.shape[0] <= 2 else block.mean(axis=0, keepdims=True)
            if rate != source.rate:
                resampler = resampler or soxr.ResampleStream(
                    source.rate, rate, narrow.shape[0], dtype="float32"
                )
                narrow = resampler.resample_chunk(np.ascontiguousarray(narrow.T)).T
            parts.append(narrow)
        if resampler is not None:
            rest = np.zeros((0, parts[0].shape[0]), np.float32)
            parts.append(resampler.resample_chunk(rest, last=True).T)
    except (soundfile.LibsndfileError, av.FFmpegError, RuntimeError) as error:
        if not parts:
            raise BadAudio(f"'{path.name}' is damaged and holds no readable audio.") from error
        # A phone that ran out of battery leaves a truncated file: what could be read is used.
        log.warning("%s is truncated after %.2f s: %s", path.name, frames / source.rate, error)
    if not math.isfinite(frames) or frames == 0:
        raise BadAudio(f"'{path.name}' holds no audio. Record or choose another one.")
    channels = {part.shape[0] for part in parts}
    if len(channels) > 1:
        parts = [part.mean(axis=0, keepdims=True) for part in parts]
    return Clip(np.concatenate(parts, axis=1), rate)
