"""What strangers send: at least 500 malformed files, requests of any shape, chords of any text.

The files are made from a seed, so a failure can be made again. They are read in another process:
a crash inside a decoder would otherwise take the tests with it, and its memory can be measured.
"""

import json
import math
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music.chords import parse_key, parse_progression
from voice2music.errors import BadChords, BadRequest
from voice2music.request import MAX_WORDS, Request
from voice2music.rhythm import Grid

SEED = 20261123
MUTANTS_PER_FILE = 45
SLOWEST = 10.0  # s for one file, on a machine that is busy with other tests
LARGEST = 1500.0  # MB of memory of the process that reads them all

READER = """
import json, resource, sys, time

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
from pathlib import Path
from voice2music.clip import read
from voice2music.errors import VoiceToMusicError

for path in sorted(Path(sys.argv[1]).iterdir()):
    started, said = time.perf_counter(), ""
    try:
        clip = read(path)
        outcome = "clip" if clip.seconds <= 600 and clip.peak < 17 else "strange clip"
    except VoiceToMusicError as error:
        outcome, said = type(error).__name__, str(error)
    took = time.perf_counter() - started
    # Above what it began with: Linux hands a parent's peak down to its children.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    row = {"name": path.name, "outcome": outcome, "said": said, "took": took, "memory": memory}
    print(json.dumps(row), flush=True)
"""


def test_malformed_files_give_a_clip_or_one_sentence_and_leave_nothing_behind(tmp_path):
    files, scratch = tmp_path / "files", tmp_path / "scratch"
    files.mkdir()
    scratch.mkdir()
    count = written(files)
    assert count >= 500
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", READER, str(files)],
        env=os.environ | {"TMPDIR": str(scratch)},
        cwd=scratch,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == count

    for row in rows:
        assert row["outcome"] in ("clip", "BadAudio", "TooLong"), row
        assert row["took"] < SLOWEST, row
        if row["outcome"] != "clip":
            assert is_a_sentence(row["said"]), row
            assert str(tmp_path) not in row["said"], row  # where a server keeps files is its own
    assert max(row["memory"] for row in rows) < LARGEST
    assert list(scratch.iterdir()) == []
    assert len(list(files.iterdir())) == count
    outcomes = [row["outcome"] for row in rows]
    assert outcomes.count("clip") > 100  # not everything may be refused …
    assert outcomes.count("BadAudio") > 100  # … nor accepted


def is_a_sentence(text: str) -> bool:
    tidy = text.endswith((".", "!")) and text[0] in "'T" and text.isprintable()
    return tidy and 20 < len(text) < 400 and "Traceback" not in text


def written(folder: Path) -> int:
    """All malformed files, in `folder`; how many there are."""
    rng = random.Random(SEED)
    originals = real_files(folder)
    contents = handmade()
    for name, data in originals.items():
        for index in range(MUTANTS_PER_FILE):
            kind = MUTATIONS[index % len(MUTATIONS)]
            other = originals[rng.choice(sorted(originals))]
            contents[f"{name}-{index:02d}-{kind.__name__}"] = kind(rng, data, other)
    endings = [".wav", ".mp3", ".webm", ".m4a", ".ogg", ".flac", ".raw", ".jpg", ".m3u8", "", ".Å"]
    for name, data in contents.items():
        (folder / f"{name}{rng.choice(endings)}").write_bytes(data)
    for name in NAMES:
        (folder / name).write_bytes(rng.choice([originals["wav"], rng.randbytes(300)]))
    return len(contents) + len(NAMES)


NAMES = [
    "quo'te\".wav",
    "new\nline\r.wav",
    "\x1b[31mred\x07.wav",
    "back\\slash.wav",
    "$(touch hacked);`touch hacked`|&.wav",
    "%s%n%d%05d.png",
    "-i.wav",
    "--help",
    "<img src=x onerror=alert(1)>.wav",
    "{0.__class__}{name}.wav",
    "مرحبا بالعالم.wav",
    "🎤🎶.webm",
    "‮vaw.exe",
    "x" * 250 + ".wav",
    "concat:a|b.wav",
    "...wav",
    " .wav",
    "CON.wav",
]


# ------------------------------------------------------------------------------- whole, real files


def real_files(folder: Path) -> dict[str, bytes]:
    """A second of a tone in every format that matters, as bytes."""
    mono = 0.5 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000)
    stereo = np.stack([mono, mono], 1)
    eight = np.tile(mono[:4000, None], (1, 8))
    made = {
        "wav": stored(folder, mono, 16_000, "WAV", "PCM_16"),
        "wav-float": stored(folder, stereo, 48_000, "WAV", "FLOAT"),
        "wav-8ch-192k": stored(folder, eight, 192_000, "WAVEX", "PCM_24"),
        "flac": stored(folder, stereo, 16_000, "FLAC", "PCM_16"),
        "vorbis": stored(folder, mono, 16_000, "OGG", "VORBIS"),
        "mp3": stored(folder, stereo, 16_000, "MP3", "MPEG_LAYER_III"),
        "aiff": stored(folder, mono, 16_000, "AIFF", "PCM_16"),
        "caf": stored(folder, mono, 16_000, "CAF", "ALAC_16"),
        "au": stored(folder, mono, 16_000, "AU", "ULAW"),
        "w64": stored(folder, mono, 16_000, "W64", "IMA_ADPCM"),
    }
    for name, codec, container in (
        ("webm", "libopus", "webm"),
        ("opus", "libopus", "ogg"),
        ("m4a", "aac", "mp4"),
        ("adts", "aac", "adts"),
        ("mkv", "flac", "matroska"),
    ):
        made[name] = encoded(folder, mono.astype(np.float32), codec, container)
    return made


def stored(folder: Path, samples, rate: int, kind: str, subtype: str) -> bytes:
    path = folder / "original"
    soundfile.write(path, samples, rate, format=kind, subtype=subtype)
    data = path.read_bytes()
    path.unlink()
    return data


def encoded(folder: Path, samples, codec: str, container: str) -> bytes:
    path = folder / "original"
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=48_000, layout="mono")
        fitted = av.AudioResampler(
            stream.codec_context.format, "mono", 48_000, stream.codec_context.frame_size
        )
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        for part in [*fitted.resample(frame), *fitted.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    path.unlink()
    return data


# --------------------------------------------------------------------------------------- mutations


def cut_anywhere(rng, data, other):
    return data[: rng.randrange(len(data))]


def cut_in_the_header(rng, data, other):
    return data[: rng.randrange(1, 80)]


def one_bit(rng, data, other):
    return flipped(rng, data, 1)


def a_few_bits(rng, data, other):
    return flipped(rng, data, 20)


def many_bits(rng, data, other):
    return flipped(rng, data, len(data) // 20 + 1)


def flipped(rng, data, count):
    out = bytearray(data)
    for _ in range(count):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def a_lie_in_the_header(rng, data, other):
    out = bytearray(data)
    at = rng.randrange(4, min(len(out) - 4, 200))
    lie = rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 65535, 384_001])
    out[at : at + 4] = struct.pack(rng.choice("<>") + "I", lie)
    return bytes(out)


def a_hole(rng, data, other):
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, 2000))
    return data[:start] + bytes(end - start) + data[end:]


def a_piece_missing(rng, data, other):
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 2000) :]


def noise_inserted(rng, data, other):
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.randrange(1, 2000)) + data[at:]


def the_tail_of_another(rng, data, other):
    return data[: rng.randrange(1, len(data))] + other[rng.randrange(len(other)) :]


def noise_in_front(rng, data, other):
    return rng.randbytes(rng.randrange(1, 100)) + data


def noise_behind(rng, data, other):
    return data + rng.randbytes(5000)


def twice(rng, data, other):
    return data + data


def every_other_byte(rng, data, other):
    return data[::2]


def a_header_and_noise(rng, data, other):
    return data[: rng.randrange(16, 200)] + rng.randbytes(20_000)


MUTATIONS = [
    cut_anywhere,
    cut_in_the_header,
    one_bit,
    a_few_bits,
    many_bits,
    a_lie_in_the_header,
    a_hole,
    a_piece_missing,
    noise_inserted,
    the_tail_of_another,
    noise_in_front,
    noise_behind,
    twice,
    every_other_byte,
    a_header_and_noise,
]


def handmade() -> dict[str, bytes]:
    """Files that are no audio, or whose headers could not be true."""
    rng = random.Random(SEED + 1)
    body = struct.pack("<100h", *range(100))
    made = {
        "empty": b"",
        "one-byte": b"R",
        "riff-only": b"RIFF",
        "zeros": bytes(100_000),
        "text": b"la la la\n" * 50,
        "html": b"<html><script>alert(1)</script></html>",
        "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01" + rng.randbytes(3000) + b"\xff\xd9",
        "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + rng.randbytes(1000),
        "gif": b"GIF89a" + rng.randbytes(1000),
        "pdf": b"%PDF-1.7\n" + rng.randbytes(1000),
        "zip": b"PK\x03\x04" + rng.randbytes(1000),
        "gzip": b"\x1f\x8b\x08" + rng.randbytes(1000),
        "pickle": b"\x80\x04\x95\x1d\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
        "elf": b"\x7fELF\x02\x01\x01" + rng.randbytes(1000),
        "midi": b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0MTrk\x00\x00\x00\x04\x00\xff/\x00",
        "playlist": b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile wav.wav\n",
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        b"m=audio 5004 RTP/AVP 0\n",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "id3-huge": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(1000),
    }
    for index in range(40):
        made[f"random-{index:02d}"] = rng.randbytes(rng.choice([1, 44, 500, 5000, 50_000]))
    for channels in (0, 1, 2, 8, 255, 1024, 65_535):
        for rate in (0, 1, 3999, 8000, 192_000, 2**31 - 1, 2**32 - 1):
            made[f"wav-{channels}ch-{rate}Hz"] = wav(channels, rate, 16, body)
    for bits in (0, 1, 7, 8, 12, 24, 32, 64, 65_535):
        made[f"wav-{bits}bits"] = wav(1, 8000, bits, body)
    for name, value in (("nan", math.nan), ("inf", math.inf), ("huge", 3e38), ("loud", 30_000.0)):
        floats = struct.pack("<3f", 0.1, value, -0.1) * 500
        made[f"wav-float-{name}"] = wav(1, 8000, 32, floats, code=3)
    for samples in (1, 2, 10):
        made[f"wav-{samples}-samples"] = wav(1, 192_000, 16, body[: 2 * samples])
    for declared in (0, 1, 2**31, 2**32 - 1):
        made[f"wav-declares-{declared}"] = wav(1, 8000, 16, body, declared=declared)
    return made


def wav(channels: int, rate: int, bits: int, body: bytes, *, code=1, declared=None) -> bytes:
    """A RIFF file whose header says exactly this, true or not."""
    align = channels * bits // 8
    chunk = struct.pack(
        "<HHIIHH", code, channels, rate, rate * align % 2**32, align % 2**16, bits % 2**16
    )
    size = len(body) if declared is None else declared
    inner = b"WAVEfmt " + struct.pack("<I", 16) + chunk + b"data" + struct.pack("<I", size) + body
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


# ------------------------------------------------------------------------------------ requests

Made = TypeVar("Made")


def or_refusal(make: Callable[[], Made]) -> Made | None:
    """What `make` gives, or None where it refuses as it should."""
    try:
        return make()
    except BadRequest as error:
        refusal = str(error)
    assert refusal.endswith(".")
    assert len(refusal) < 1000
    refusal.encode()  # no half surrogate pairs
    return None


FIELDS = sorted(Request().to_json())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), JSON, max_size=6))
def test_any_json_object_is_a_request_or_one_sentence(values):
    request = or_refusal(lambda: Request.from_json(values))
    if request is not None:
        assert Request.from_json(request.to_json()) == request
        json.dumps(request.to_json(), allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_json_that_is_no_object_is_refused(values):
    if not isinstance(values, dict):
        with pytest.raises(BadRequest):
            Request.from_json(values)


@pytest.mark.parametrize(
    "values",
    [
        {"tempo": 0},
        {"tempo": -120},
        {"tempo": "120"},
        {"tempo": math.nan},
        {"tempo": math.inf},
        {"tempo": True},
        {"tempo": 10**400},
        {"seconds": 0},
        {"seconds": 10**9},
        {"seed": 1.5},
        {"seed": -1},
        {"seed": 2**31},
        {"variations": 1.5},
        {"variations": 0},
        {"steps": "many"},
        {"engines": "band"},
        {"engines": []},
        {"engines": ["../band"]},
        {"engines": [["band"]]},
        {"genres": {"band": 3}},
        {"genres": ["pop"]},
        {"genres": {"piano": "pop"}},
        {"genre": 3},
        {"genre": None},
        {"mood": ["sad"]},
        {"words": 5},
        {"key": 7},
        {"chords": ["C"]},
        {"checkpoints": {"band": 5}},
        {"checkpoints": "x"},
        {"separate": True},
        {"denoise": "no"},
        {"corrected": 2},
        {"guide": {"tempo": "fast"}},
        {"guide": {"tempo": 0}},
        {"guide": {"tempo": 100, "beats_per_bar": 2.5}},
        {"guide": {"bpm": 100}},
        {"guide": {}},
        {"guide": 100},
        {"guide": {"tempo": None}},
        {"seed": None},
        {"chords": 5},
        {"guide": {"tempo": 100, "latency": math.nan}},
        {"nonsense": 1},
        {"__class__": 1},
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused_by_name(values):
    with pytest.raises(BadRequest) as caught:
        Request.from_json(values)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "words", ["مرحبا", "日本語の歌", "Ελληνικά", "🎵🎶", "אבג", "ไทย", "naïve café", "a\u0301"]
)
def test_words_in_any_script_are_kept(words):
    assert Request(words=words).words == words


def test_a_million_characters_are_cut_and_control_characters_go():
    assert len(Request(words="la " * 400_000).words) <= MAX_WORDS
    assert Request(words="a\x00b\x1b[31mc\r\n\td").words == "a b [31mc d"


# --------------------------------------------------------------------------------------- chords

GRID = Grid(tuple(np.arange(33) * 0.5), 0, 4, 120.0)
CHORDISH = st.text(alphabet="ABCDEFGabcdefgmM#b♭♯79sudim+°ø|/%()- \n\t,x12", max_size=60)


@settings(max_examples=400, deadline=None)
@given(CHORDISH | st.text(max_size=60))
def test_any_text_is_a_progression_or_one_sentence(text):
    spans = or_refusal(lambda: parse_progression(text, GRID, 16.0))
    if spans is not None:
        assert spans[0].start == 0
        assert spans[-1].end == 16
        assert all(a.end == b.start for a, b in pairwise(spans))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_a_key_or_one_sentence(text):
    or_refusal(lambda: parse_key(text))


@pytest.mark.parametrize("text", ["C | " * 250_000, "C" * 10**6, "|" * 10**6, "C " * 500_000])
def test_a_million_characters_of_chords_are_refused(text):
    with pytest.raises(BadChords, match=r"\.$"):
        parse_progression(text, GRID, 16.0)
