"""Audio in memory (`Clip`) and the door between it and files.

Reads whatever a browser, a phone or a sound editor makes (wav, flac, ogg, aiff through libsndfile;
mp3, webm/opus, m4a, mp4 and the rest through PyAV), in blocks, under limits of size and length.
A file is never believed: its header may lie, its name may be a trick, it may stop in the middle,
and it may be a playlist that would make FFmpeg open other files or a network connection.
"""

import io
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
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
FASTEST_RATE = 384_000  # Hz; the fastest converters sold
LOUDEST = 1e6  # times full scale; beyond it only damaged files lie, and squares overflow later
INTEGER_SCALE = 16.0  # a float file with a peak above this was written at integer scale
BLOCK = 1 << 13  # values per read, all channels together; damage costs at most one block
WRITE_FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "mp3": "MPEG_LAYER_III"}
BEST_MP3: dict[str, Any] = {"compression_level": 0.0, "bitrate_mode": "VARIABLE"}  # LAME's V0
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
# wav in its five dialects, aiff, flac, ogg, au, caf.
SOUNDFILE_BEGINNINGS = (
    b"RIFF",
    b"RIFX",
    b"RF64",
    b"riff",
    b"FORM",
    b"fLaC",
    b"OggS",
    b".snd",
    b"caff",
)
# Demuxers that read one file and nothing else. Left out on purpose: concat, hls, dash, sdp, rtsp
# and the image lists, which follow names found in the file to other files or over the network.
DEMUXERS = "aac,aiff,amr,ape,asf,au,avi,caf,flac,matroska,mov,mp3,mp4,ogg,w64,wav,webm,wv"


@dataclass(frozen=True)
class Limits:
    """What a file from outside may be at most.

    Args:
        max_bytes: size of the file.
        max_seconds: length of the audio, seconds.
    """

    max_bytes: int = 100 * 1024 * 1024
    max_seconds: float = 600.0


OWN = Limits(max_bytes=1 << 31, max_seconds=1e5)  # for files that this program wrote itself


@dataclass(frozen=True, eq=False)
class Clip:
    """Audio: float32, shape (channels, samples), full scale ±1, `rate` in Hz. Read-only.

    One channel may be given as a plain vector. Arrays are copied, unless nobody can write to them.

    Raises:
        BadAudio: empty, not two-dimensional, integers, NaN or infinite samples, rate out of range.
    """

    samples: NDArray[np.float32]
    rate: int

    def __post_init__(self) -> None:
        samples = _owned(self.samples)
        if samples.ndim != 2 or samples.shape[0] == 0:
            raise BadAudio(f"Audio must be (channels, samples); this has shape {samples.shape}.")
        if samples.shape[1] == 0:
            raise BadAudio("The recording is empty. Record or choose another one.")
        if not LOWEST_RATE <= self.rate <= FASTEST_RATE:
            raise BadAudio(
                f"A sample rate of {self.rate} Hz cannot be used; "
                f"save the recording at 8,000 to 192,000 Hz."
            )
        # NaN fails every comparison, so this one also finds what is not a number.
        if not -LOUDEST <= samples.min() <= samples.max() <= LOUDEST:
            raise BadAudio(
                "The recording holds samples that are not numbers (NaN or infinite) or far beyond "
                "full scale, so it is damaged. Export it again from the program that made it."
            )
        object.__setattr__(self, "samples", samples)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1] / self.rate)

    @property
    def peak(self) -> float:
        """Largest absolute sample."""
        return float(max(self.samples.max(), -self.samples.min()))

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
        length = max(1, round(self.samples.shape[1] * rate / self.rate))
        return Clip(fitted(out, length), rate)

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

    A float file written at integer scale (peak 32,768 instead of 1) is brought to a peak of 1.

    Args:
        path: any file that libsndfile or FFmpeg's libraries decode.
        limits: size and length allowed; the defaults of `Limits` where none is given.
    Raises:
        BadAudio: not there, empty, not audio, damaged.
        TooLong: over the size or the length limit (found while reading; headers can lie).
    """
    path, limits = Path(path), limits or Limits()
    _check_file(path, limits)
    with ExitStack() as files:
        source = _through_soundfile(path, files) or _through_av(path, files)
        clip = _gathered(path, source, limits)
    if clip.peak > INTEGER_SCALE:
        log.info("%s peaks at %.0f, as integers do; brought to full scale", _shown(path), clip.peak)
        clip = clip.scaled(1 / clip.peak)
    log.debug("read %s: %.2f s at %d Hz", _shown(path), clip.seconds, clip.rate)
    return clip


def write(clip: Clip, path: Path | str, *, exact: bool = False) -> Path:
    """Encode `clip` to .wav (16 bit), .flac or .mp3, by the file name's ending.

    With `exact`, a .wav holds 32-bit floats and reads back sample for sample. The file appears
    whole or not at all: it is written beside its place and then moved.
    Raises:
        BadAudio: another ending.
        OSError: the folder is not there, not writable or full.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in WRITE_FORMATS:
        raise BadAudio(f"'{path.name}': audio is written as .wav, .flac or .mp3.")
    out = _as_mp3_can(clip) if kind == "mp3" else clip
    full_scale = out.samples.T if exact else np.clip(out.samples.T, -1, 1)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # this call's own
    try:
        # Encoded in memory first: libsndfile prints what a full disk raises, and goes on.
        encoded = io.BytesIO()
        subtype = "FLOAT" if exact else WRITE_FORMATS[kind]
        quality = BEST_MP3 if kind == "mp3" else {}
        soundfile.write(
            encoded, full_scale, out.rate, format=kind.upper(), subtype=subtype, **quality
        )
        partial.write_bytes(encoded.getbuffer())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _as_mp3_can(clip: Clip) -> Clip:
    """mp3 has two channels at most and nine rates."""
    narrow = clip if clip.channels <= 2 else clip.mono()
    return narrow if narrow.rate in MP3_RATES else narrow.resampled(44_100)


def _owned(given: NDArray[Any]) -> NDArray[np.float32]:
    """As float32 (channels, samples) in memory that nobody else can write to."""
    given = np.asarray(given)
    if not np.issubdtype(given.dtype, np.floating):
        raise BadAudio(
            f"Audio samples must be floating point with full scale at 1, not {given.dtype}. "
            f"Divide 16-bit integers by 32768."
        )
    shared = given.flags.writeable or (
        given.base is not None
        and not (isinstance(given.base, np.ndarray) and not given.base.flags.writeable)
    )
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite and is refused
        samples = np.array(given, np.float32, order="C", copy=True if shared else None)
    samples.flags.writeable = False
    return samples[None, :] if samples.ndim == 1 else samples


@dataclass(frozen=True)
class _Source:
    """An opened file: decoded blocks of shape (channels, n) and their rate."""

    rate: int
    blocks: Iterator[NDArray[np.float32]]


def _check_file(path: Path, limits: Limits) -> None:
    try:
        there, size = path.is_file(), path.stat().st_size if path.is_file() else 0
    except (OSError, ValueError):  # a name too long, or a folder that may not be entered
        there, size = False, 0
    if not there:
        raise BadAudio(f"There is no file '{_shown(path)}'. Check its name and place.")
    if size == 0:
        raise BadAudio(f"'{_shown(path)}' is empty (0 bytes). Record or choose another one.")
    if size > limits.max_bytes:
        raise TooLong(
            f"'{_shown(path)}' is {size / 2**20:.0f} MB; at most {limits.max_bytes / 2**20:.0f} MB "
            f"can be taken. Cut out the part with the tune, or save it as mp3."
        )


def _shown(path: Path) -> str:
    """The file's name as it stands in a sentence: one short line without control characters."""
    name = "".join(letter if letter.isprintable() else "?" for letter in path.name)
    return name if len(name) <= 80 else f"{name[:76]}..."


def _through_soundfile(path: Path, files: ExitStack) -> _Source | None:
    """Through libsndfile, or None where it does not know the format.

    Only the formats that are in use: its readers of forgotten ones are seldom tested. Not mp3,
    which soundfile would read wrongly in blocks: it seeks after every read, and within an mp3 that
    loses the bit reservoir (measured: errors as large as the signal).
    """
    try:
        with path.open("rb") as raw:
            beginning = raw.read(4)
    except OSError as error:
        raise BadAudio(
            f"'{_shown(path)}' may not be opened ({error.strerror}). Choose another one."
        ) from error
    if beginning not in SOUNDFILE_BEGINNINGS:
        return None
    try:
        # soundfile fails on names that are not UTF-8 (from old archives); their bytes it can open.
        name = os.fsencode(path) if os.name == "posix" else path
        file = files.enter_context(soundfile.SoundFile(name))
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name ending in .raw
        return None
    if file.subtype.startswith("MPEG"):
        return None
    frames = max(1, BLOCK // file.channels)

    def blocks() -> Iterator[NDArray[np.float32]]:
        while len(block := file.read(frames, dtype="float32", always_2d=True)):
            yield np.asarray(block.T, np.float32)

    return _Source(int(file.samplerate), blocks())


def _through_av(path: Path, files: ExitStack) -> _Source:
    """Through FFmpeg's libraries (PyAV), which decode almost anything."""
    import av

    try:
        container: Any = av.open(
            # An absolute path behind "file:" is never taken for another of FFmpeg's protocols.
            f"file:{path.resolve()}",
            metadata_errors="replace",
            container_options={"format_whitelist": DEMUXERS},
        )
        files.enter_context(container)
        stream = container.streams.audio[0]
        rate = int(stream.rate)
    except (av.FFmpegError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise BadAudio(
            f"'{_shown(path)}' is not audio that can be read. "
            f"Use a wav, mp3, flac, ogg, m4a or webm file."
        ) from error

    def blocks() -> Iterator[NDArray[np.float32]]:
        # Packed, not planar: beyond eight planes PyAV reads memory that is not the frame's.
        packed = av.AudioResampler(format="flt", rate=rate)
        for frame in chain(_av_frames(path, container, stream), [None]):
            for out in packed.resample(frame):
                values = np.asarray(out.to_ndarray(), np.float32)
                yield values.reshape(-1, out.layout.nb_channels).T

    return _Source(rate, blocks())


def _av_frames(path: Path, container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401
    """Decoded frames; packets that cannot be decoded are left out."""
    import av

    bad = 0
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            bad += 1
    if bad:
        log.warning("%s: %d packets could not be decoded", _shown(path), bad)


def _gathered(path: Path, source: _Source, limits: Limits) -> Clip:
    """All blocks as one clip, mixed down and resampled on the way so that memory is bounded."""
    if not LOWEST_RATE <= source.rate <= FASTEST_RATE:
        raise BadAudio(
            f"'{_shown(path)}' has a sample rate of {source.rate} Hz, which is not usable."
        )
    rate = min(source.rate, HIGHEST_RATE)
    readable = _within_length(path, source, _until_damage(path, source), limits)
    parts = list(_slowed(_narrowed(readable), source.rate, rate))
    if not parts:
        raise BadAudio(f"'{_shown(path)}' holds no audio. Record or choose another one.")
    samples = np.concatenate(parts, axis=1)
    samples.flags.writeable = False  # ours alone: the clip need not copy it
    return Clip(samples, rate)


def _until_damage(path: Path, source: _Source) -> Iterator[NDArray[np.float32]]:
    """A phone that ran out of battery leaves a truncated file: what can be read is used."""
    import av

    frames = 0
    try:
        for block in source.blocks:
            frames += block.shape[1]
            yield block
    except (soundfile.LibsndfileError, av.FFmpegError, RuntimeError, ValueError) as error:
        if frames == 0:
            raise BadAudio(
                f"'{_shown(path)}' is damaged and holds no readable audio. "
                f"Record or export it again."
            ) from error
        log.warning("%s is damaged after %.2f s: %s", _shown(path), frames / source.rate, error)


def _within_length(
    path: Path, source: _Source, blocks: Iterator[NDArray[np.float32]], limits: Limits
) -> Iterator[NDArray[np.float32]]:
    """The same blocks, until there are more than are allowed."""
    frames = 0
    for block in blocks:
        frames += block.shape[1]
        if frames > limits.max_seconds * source.rate:
            raise TooLong(
                f"'{_shown(path)}' is longer than {limits.max_seconds / 60:g} minutes. "
                f"Cut out the part with the tune and try again."
            )
        yield block


def _narrowed(blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """One channel or two throughout, as the first block has; three and more are averaged."""
    channels = 0
    for block in blocks:
        channels = channels or (block.shape[0] if block.shape[0] <= 2 else 1)
        if block.shape[0] != channels:
            mono = block.mean(axis=0, keepdims=True)
            block = np.repeat(mono, channels, axis=0)
        yield block


def _slowed(
    blocks: Iterator[NDArray[np.float32]], source_rate: int, rate: int
) -> Iterator[NDArray[np.float32]]:
    """The blocks at `rate`, resampled as they come."""
    if rate == source_rate:
        yield from blocks
        return
    resampler, channels = None, 0
    for block in blocks:
        channels = channels or block.shape[0]
        resampler = resampler or soxr.ResampleStream(source_rate, rate, channels, dtype="float32")
        yield resampler.resample_chunk(np.ascontiguousarray(block.T)).T
    if resampler is not None:
        rest = np.zeros((0, channels), np.float32)
        yield resampler.resample_chunk(rest, last=True).T
