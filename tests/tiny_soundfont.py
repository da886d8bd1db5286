"""A whole SoundFont of a few kilobytes: one sawtooth for every instrument, one click for drums."""

import struct
from pathlib import Path

import numpy as np

RATE = 16_000
PERIOD = 64  # samples of the saw: 250 Hz, close to B3


def write(path: Path, name: str = "Tiny") -> Path:
    """A General MIDI set with one preset per family of instruments and a drum kit."""
    saw = np.tile(np.linspace(-0.5, 0.5, PERIOD), 8)
    click = np.exp(-np.arange(2_000) / 200) * np.random.default_rng(0).normal(0, 0.4, 2_000)
    gap = np.zeros(46)
    pcm = np.concatenate([saw, gap, np.clip(click, -1, 1), gap])
    second = len(saw) + len(gap)
    presets = [(f"Family {k}", 8 * k, 0, k) for k in range(16)] + [("Kit", 0, 128, 16)]
    chunks = [
        _list(b"INFO", [(b"ifil", struct.pack("<HH", 2, 4)), (b"INAM", _text(name))]),
        _list(b"sdta", [(b"smpl", (pcm * 32_000).astype("<i2").tobytes())]),
        _list(
            b"pdta",
            [
                (b"phdr", b"".join(_preset(*p) for p in presets) + _preset("EOP", 0, 0, 17)),
                (b"pbag", b"".join(struct.pack("<HH", k, 0) for k in range(18))),
                (b"pmod", bytes(10)),
                (b"pgen", struct.pack("<HH", 41, 0) * 16 + struct.pack("<HH", 41, 1) + bytes(4)),
                (b"inst", _inst("Saw", 0) + _inst("Click", 1) + _inst("EOI", 2)),
                (b"ibag", b"".join(struct.pack("<HH", k, 0) for k in (0, 2, 3))),
                (b"imod", bytes(10)),
                # The saw loops (generator 54) and is sample 0 (53); the click is sample 1.
                (b"igen", struct.pack("<6H", 54, 1, 53, 0, 53, 1) + bytes(4)),
                (
                    b"shdr",
                    _sample("Saw", 0, len(saw), PERIOD, 59)
                    + _sample("Click", second, second + len(click), 0, 60)
                    + _sample("EOS", 0, 0, 0, 0),
                ),
            ],
        ),
    ]
    body = b"sfbk" + b"".join(chunks)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def _text(text: str) -> bytes:
    raw = text.encode() + b"\0"
    return raw + b"\0" * (len(raw) % 2)


def _list(kind: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = kind + b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    return b"LIST" + struct.pack("<I", len(body)) + body


def _preset(name: str, program: int, bank: int, bag: int) -> bytes:
    return struct.pack("<20sHHHIII", name.encode(), program, bank, bag, 0, 0, 0)


def _inst(name: str, bag: int) -> bytes:
    return struct.pack("<20sH", name.encode(), bag)


def _sample(name: str, start: int, end: int, loop: int, pitch: int) -> bytes:
    return struct.pack(
        "<20sIIIIIBbHH", name.encode(), start, end, start + loop, start + 2 * loop, RATE, pitch,
        -22, 0, 1,
    )  # fmt: skip
