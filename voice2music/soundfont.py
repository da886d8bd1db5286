"""Reading SoundFonts: which recorded sample, at which pitch and with which envelope, plays a note.

SoundFont 2.04 files (.sf2, 16-bit samples) and their Ogg-compressed form (.sf3). Only what the
sampler plays is read: zones, tuning, loops, both envelopes, filters, pan and exclusive classes.
LFOs and a file's own modulators are left out.

Source: E-mu Systems, *SoundFont Technical Specification*, version 2.04.
"""

import hashlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from voice2music.errors import MissingPackage

DRUM_BANK = 128
STANDARD_PLACES = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/local/share/soundfonts/FluidR3_GM.sf2",
    "/opt/homebrew/share/soundfonts/FluidR3_GM.sf2",
)

_RECORDS = {
    "phdr": np.dtype(
        [("name", "S20"), ("preset", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("rest", "<u4", 3)]
    ),
    "pbag": np.dtype([("generator", "<u2"), ("modulator", "<u2")]),
    "pgen": np.dtype([("kind", "<u2"), ("amount", "<i2")]),
    "inst": np.dtype([("name", "S20"), ("bag", "<u2")]),
    "ibag": np.dtype([("generator", "<u2"), ("modulator", "<u2")]),
    "igen": np.dtype([("kind", "<u2"), ("amount", "<i2")]),
    "shdr": np.dtype(
        [
            ("name", "S20"),
            ("start", "<u4"),
            ("end", "<u4"),
            ("loop_start", "<u4"),
            ("loop_end", "<u4"),
            ("rate", "<u4"),
            ("pitch", "u1"),
            ("correction", "i1"),
            ("link", "<u2"),
            ("kind", "<u2"),
        ]
    ),
}

# Generator numbers of the specification, section 8.1.2.
_START, _END, _LOOP_START, _LOOP_END = 0, 1, 2, 3
_START_COARSE, _END_COARSE, _LOOP_START_COARSE, _LOOP_END_COARSE = 4, 12, 45, 50
_SWEEP_PITCH, _CUTOFF, _RESONANCE, _SWEEP_CUTOFF, _PAN = 7, 8, 9, 11, 17
_SWEEP = (26, 27, 28, 29, 31, 32)  # attack, hold, decay, sustain, key to hold, key to decay
_ATTACK, _HOLD, _DECAY, _SUSTAIN, _RELEASE = 34, 35, 36, 37, 38
_KEY_TO_HOLD, _KEY_TO_DECAY = 39, 40
_INSTRUMENT, _KEY_RANGE, _VELOCITY_RANGE, _KEY, _ATTENUATION = 41, 43, 44, 46, 48
_COARSE_TUNE, _FINE_TUNE, _SAMPLE, _LOOPED, _SCALE, _CLASS, _ROOT = 51, 52, 53, 54, 56, 57, 58

_DEFAULTS = {_CUTOFF: 13_500, _SCALE: 100, _ROOT: -1, _KEY: -1} | dict.fromkeys(
    (_ATTACK, _HOLD, _DECAY, _RELEASE, *_SWEEP[:3]), -12_000
)
_NOT_ADDED = {_KEY_RANGE, _VELOCITY_RANGE, _INSTRUMENT, _SAMPLE, _LOOPED, _CLASS, _ROOT, _KEY}
_ROM = 0x8000


@dataclass(frozen=True)
class SoundFont:
    """A SoundFont on this machine.

    Args:
        path: the .sf2 or .sf3 file.
        name, licence: what it is called and under which terms it comes.
    """

    path: Path
    name: str
    licence: str


@dataclass(frozen=True)
class Envelope:
    """A course over time: rise, hold, decay to `sustain`, release after the key is let go.

    Args:
        attack, hold: seconds.
        decay, release: seconds from the peak to nothing (for a volume: through 100 dB).
        sustain: share of that way at which the decay stops, in [0, 1].
    """

    attack: float
    hold: float
    decay: float
    sustain: float
    release: float


@dataclass(frozen=True)
class Zone:
    """One sample as one key plays it.

    Args:
        sample: index of the sample in the file.
        start, end: first sample and the one after the last, counted from the sample's start.
        loop_start, loop_end: as above; equal where the sample is played once.
        ratio: samples of the recording per second (its rate times the transposition).
        gain: linear.
        pan: -1 left to 1 right.
        cutoff: low-pass at rest, in cents above MIDI note 0; 13,500 is open.
        resonance: of the low-pass, dB.
        volume: the course of the loudness.
        sweep: the course that moves the cutoff by up to `sweep_cutoff` cents and the pitch by up
            to `sweep_pitch` cents.
        exclusive: a note cuts off those of the same class of its preset; 0 is none.
    """

    sample: int
    start: int
    end: int
    loop_start: int
    loop_end: int
    ratio: float
    gain: float
    pan: float
    cutoff: float
    resonance: float
    volume: Envelope
    sweep: Envelope
    sweep_cutoff: float
    sweep_pitch: float
    exclusive: int


@lru_cache(maxsize=1)
def soundfont() -> SoundFont:
    """The SoundFont in use: FluidR3 where a system has it, else the one that pip installs.

    Raises:
        MissingPackage: neither is there.
    """
    return next(_of_the_system(), None) or carried_soundfont()


def soundfont_with(sha256: str) -> SoundFont | None:
    """The one of this machine's SoundFonts whose file has this fingerprint.

    Raises:
        MissingPackage: there is none at all.
    """
    for font in (*_of_the_system(), carried_soundfont()):
        if fingerprint(font.path) == sha256:
            return font
    return None


@lru_cache(maxsize=8)
def fingerprint(path: Path) -> str:
    """Hex SHA-256 of a SoundFont's file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_the_system() -> Iterator[SoundFont]:
    for place in map(Path, STANDARD_PLACES):
        if place.is_file():
            yield SoundFont(place, place.stem.replace("_", " "), "MIT")


def carried_soundfont() -> SoundFont:
    """The small SoundFont that rides in the pretty_midi wheel, on every machine.

    Raises:
        MissingPackage: pretty_midi is not installed.
    """
    package = find_spec("pretty_midi")
    if package is not None and package.origin is not None:
        path = Path(package.origin).with_name("TimGM6mb.sf2")
        if path.is_file():
            return SoundFont(path, "TimGM6mb", "GPL-2.0")
    raise MissingPackage(
        "The band has no instrument sounds. Install them with: pip install pretty_midi"
    )


class Bank:
    """The instruments of an open SoundFont file.

    Args:
        path: .sf2 or .sf3.
    Raises:
        MissingPackage: the file is not a SoundFont.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = np.memmap(path, np.uint8, "r")
        chunks = dict(_chunks(data))
        if not {"smpl", *_RECORDS} <= set(chunks):
            raise MissingPackage(f"'{path.name}' is not a SoundFont; install another one.")
        start, size = chunks["smpl"]
        self._data = data[start : start + size]
        self._tables = {
            name: np.frombuffer(data[chunks[name][0] :][: chunks[name][1]].tobytes(), dtype)
            for name, dtype in _RECORDS.items()
        }
        headers = self._tables["phdr"][:-1]
        self._presets = {(int(h["bank"]), int(h["preset"])): i for i, h in enumerate(headers)}
        self.zones = lru_cache(maxsize=4096)(self._zones)
        self.samples = lru_cache(maxsize=512)(self._samples)

    def preset(self, program: int, drums: bool) -> int:
        """Index of a preset; a missing kit is played by the standard kit, a program by its family.

        Raises:
            MissingPackage: the file has no preset that could stand in.
        """
        bank = DRUM_BANK if drums else 0
        family = range(program // 8 * 8, program // 8 * 8 + 8)
        for candidate in (program, *((0,) if drums else family)):
            if (bank, candidate) in self._presets:
                return self._presets[bank, candidate]
        raise MissingPackage(
            f"'{self.path.name}' lacks General MIDI program {program + 1}; use a whole GM set."
        )

    def _zones(self, preset: int, key: int, velocity: int) -> tuple[Zone, ...]:
        """The zones that sound when `key` is struck at `velocity`, often a stereo pair.

        SoundFonts have holes (TimGM6mb's alto saxophone has no E4); the nearest key fills one,
        transposed. On drums every key is another instrument, so there a hole stays.
        """
        own = self._written_zones(preset, key, velocity)
        if own or self._tables["phdr"][preset]["bank"] == DRUM_BANK:
            return own
        for near in sorted(range(128), key=lambda k: abs(k - key)):
            if found := self._written_zones(preset, near, velocity):
                up = 2 ** ((key - near) / 12)
                return tuple(replace(zone, ratio=zone.ratio * up) for zone in found)
        return ()

    def _written_zones(self, preset: int, key: int, velocity: int) -> tuple[Zone, ...]:
        """The zones that the file names for a key and velocity."""
        return tuple(
            self._zone(inner, outer, key)
            for outer in self._matching("p", preset, key, velocity)
            for inner in self._matching("i", outer[_INSTRUMENT], key, velocity)
            if not self._tables["shdr"][inner[_SAMPLE]]["kind"] & _ROM
        )

    def _samples(self, sample: int) -> NDArray[np.float32]:
        """A whole recording, full scale ±1, with a few zeros after its end."""
        header = self._tables["shdr"][sample]
        start, end = int(header["start"]), int(header["end"])
        if self.path.suffix == ".sf3":
            ogg = io.BytesIO(self._data[start:end].tobytes())
            wave = soundfile.read(ogg, dtype="float32", always_2d=True)[0][:, 0]
        else:
            pcm = np.frombuffer(self._data[2 * start : 2 * end].tobytes(), "<i2")
            wave = pcm.astype(np.float32) / np.float32(32768)
        return np.pad(wave, (0, 4))

    def _matching(
        self, level: str, index: int, key: int, velocity: int
    ) -> Iterator[dict[int, int]]:
        """Generators of every zone of a preset ("p") or instrument ("i") that the note falls in."""
        heads = self._tables["phdr" if level == "p" else "inst"]
        bags, generators = self._tables[f"{level}bag"], self._tables[f"{level}gen"]
        target = _INSTRUMENT if level == "p" else _SAMPLE
        common: dict[int, int] = {}
        first, last = int(heads[index]["bag"]), int(heads[index + 1]["bag"])
        for bag in range(first, last):
            span = slice(int(bags[bag]["generator"]), int(bags[bag + 1]["generator"]))
            own = {int(g["kind"]): int(g["amount"]) for g in generators[span]}
            if target not in own:
                common = own if bag == first else common
                continue
            merged = common | own
            if _inside(merged.get(_KEY_RANGE), key) and _inside(
                merged.get(_VELOCITY_RANGE), velocity
            ):
                yield merged

    def _zone(self, inner: dict[int, int], outer: dict[int, int], key: int) -> Zone:
        """A zone of an instrument with its preset's offsets added."""

        def value(kind: int) -> int:
            base = inner.get(kind, _DEFAULTS.get(kind, 0))
            return base if kind in _NOT_ADDED else base + outer.get(kind, 0)

        header = self._tables["shdr"][inner[_SAMPLE]]
        # In sf3 the header's loop counts from the sample's start, in sf2 from the file's.
        origin = 0 if self.path.suffix == ".sf3" else int(header["start"])
        length = len(self.samples(inner[_SAMPLE])) - 4
        start = min(value(_START) + 32768 * value(_START_COARSE), length - 1)
        loop_start = int(header["loop_start"]) - origin
        loop_start += value(_LOOP_START) + 32768 * value(_LOOP_START_COARSE)
        loop_end = int(header["loop_end"]) - origin
        loop_end += value(_LOOP_END) + 32768 * value(_LOOP_END_COARSE)
        looped = value(_LOOPED) & 1 and 0 <= loop_start < loop_end <= length
        struck = key if value(_KEY) < 0 else value(_KEY)
        root = int(header["pitch"]) if value(_ROOT) < 0 else value(_ROOT)
        cents = (struck - (root if root <= 127 else 60)) * value(_SCALE)
        cents += int(header["correction"]) + 100 * value(_COARSE_TUNE) + value(_FINE_TUNE)
        stretch = 60 - struck
        return Zone(
            sample=inner[_SAMPLE],
            start=max(start, 0),
            end=length + min(0, value(_END) + 32768 * value(_END_COARSE)),
            loop_start=loop_start if looped else 0,
            loop_end=loop_end if looped else 0,
            ratio=float(header["rate"]) * 2 ** (cents / 1200),
            # Players follow the E-mu hardware, whose attenuation is 0.4 of what is written.
            gain=10 ** (-0.4 * min(max(value(_ATTENUATION), 0), 1440) / 200),
            pan=min(max(value(_PAN) / 500, -1.0), 1.0),
            cutoff=float(min(max(value(_CUTOFF), 1500), 13_500)),
            resonance=min(max(value(_RESONANCE), 0), 960) / 10,
            volume=Envelope(
                attack=_seconds(value(_ATTACK)),
                hold=_seconds(value(_HOLD) + stretch * value(_KEY_TO_HOLD)),
                decay=_seconds(value(_DECAY) + stretch * value(_KEY_TO_DECAY)),
                sustain=min(max(value(_SUSTAIN), 0), 1000) / 1000,
                release=_seconds(value(_RELEASE)),
            ),
            sweep=Envelope(
                attack=_seconds(value(_SWEEP[0])),
                hold=_seconds(value(_SWEEP[1]) + stretch * value(_SWEEP[4])),
                decay=_seconds(value(_SWEEP[2]) + stretch * value(_SWEEP[5])),
                sustain=min(max(value(_SWEEP[3]), 0), 1000) / 1000,
                release=0.0,
            ),
            sweep_cutoff=float(value(_SWEEP_CUTOFF)),
            sweep_pitch=float(value(_SWEEP_PITCH)),
            exclusive=value(_CLASS),
        )


@lru_cache(maxsize=2)
def bank(path: Path) -> Bank:
    """The opened file, kept open for the next song."""
    return Bank(path)


def _inside(amount: int | None, value: int) -> bool:
    """Whether a range generator (low byte, high byte) holds `value`."""
    if amount is None:
        return True
    return (amount & 0xFF) <= value <= (amount >> 8 & 0xFF)


def _seconds(timecents: int) -> float:
    """Seconds of a time in timecents; the least value stands for none."""
    return 0.0 if timecents <= -12_000 else float(2 ** (min(timecents, 8000) / 1200))


def _chunks(data: NDArray[np.uint8]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name, start and size of every RIFF chunk, lists entered."""
    if bytes(data[:4]) != b"RIFF":
        return
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack("<4sI", bytes(data[position : position + 8]))
        if name == b"LIST":
            position += 12
            continue
        yield name.decode("latin-1"), (position + 8, size)
        position += 8 + size
        if size % 2 and position < len(data) and data[position] == 0:
            position += 1  # some writers of sf3 leave the padding byte out
