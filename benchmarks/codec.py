"""What mini-musicgen's tokens keep of music, on held-out renders and on real recordings.

    python benchmarks/codec.py [../shared/data] > benchmarks/codec.md

The same ten seconds are heard four ways: through the tokens as the app sounds them (`spectra/` and
phases by rounds), through the tokens and EnCodec's own decoder, through Opus at the lowest rate
that it has, and as another piece (the floor: what two unrelated sounds have in common).
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import librosa
import numpy as np
import torch
from transformers import EncodecModel, MusicgenMelodyForConditionalGeneration

from voice2music.checkpoints import locate
from voice2music.clip import Clip, fitted, read
from voice2music.dataset.shards import Pairs
from voice2music.engines import musicgen
from voice2music.engines.quiet import quiet_transformers
from voice2music.evaluation.intervals import estimate
from voice2music.evaluation.minis.material import held_out
from voice2music.training.codec import codebook_use, distances, reconstructed

NAME = "mini-musicgen"
RATE = 16_000
SECONDS = 10.0
VOICES = 16  # held-out, whose first render is taken
OPUS = 6  # kbit/s: its lowest
HEARD = 40.0  # dB below the loudest frame down to which chroma is compared
MEASURES = ("mel", "si_sdr", "chroma")

Way = Callable[[Clip], Clip]


@dataclass(frozen=True)
class Sound:
    """A stretch of music or voice."""

    name: str
    clip: Clip


def main(data: Path) -> None:
    """Print the report."""
    torch.set_num_threads(1)
    checkpoint = locate(NAME)
    engine = musicgen.load(checkpoint)
    with quiet_transformers():
        whole = MusicgenMelodyForConditionalGeneration.from_pretrained(
            checkpoint.folder, local_files_only=True, dtype=torch.float32
        )
    codec: EncodecModel = whole.audio_encoder.eval()
    bits = codec.config.num_quantizers * np.log2(codec.config.codebook_size)
    rate = bits * RATE / codec.config.hop_length / 1000
    ways: dict[str, Way] = {
        f"tokens ({rate:.1f} kbit/s), `spectra/`": engine.reconstructed,
        f"tokens ({rate:.1f} kbit/s), EnCodec's decoder": lambda clip: decoded(codec, clip),
        f"Opus ({OPUS} kbit/s)": opus,
    }
    groups = {"held-out renders": renders(), "real singing": recordings(data / "vocals"),
              "real mixtures": recordings(data / "mixtures")}  # fmt: skip
    print("# mini-musicgen's codec\n")
    print("Made by `python benchmarks/codec.py`; the first ten seconds of each, 16 kHz, mono.")
    print("mel: multi-scale log-mel distance in nepers (1 is 8.7 dB; 0 is the same sound); SI-SDR")
    print("after Le Roux et al. 2019 (phases that are made up anew score low however they sound);")
    print("chroma: cosine of CQT chroma, mean over the frames within 40 dB of the loudest.")
    print("Mean and 95 % bootstrap interval.\n")
    for title, sounds in groups.items():
        if sounds:
            table(title, sounds, ways)
    use(codec, [sound for sounds in groups.values() for sound in sounds])


def renders() -> list[Sound]:
    """Music of held-out tunes and voices, made where it is not there yet."""
    folder = held_out(Path(tempfile.gettempdir()) / "voice2music-codec", VOICES)
    pairs = Pairs(folder, "test")
    first: dict[str, int] = {}
    for index, row in enumerate(pairs.rows):
        first.setdefault(row["id"].rsplit("-", 1)[0], index)
    return [
        Sound(name, Clip(pairs.music(index, 0.0, SECONDS), pairs.rows[index]["music"]["rate"]))
        for name, index in list(first.items())[:VOICES]
    ]


def recordings(folder: Path) -> list[Sound]:
    """The recordings of a folder; none where there is no such folder."""
    files = sorted(path for path in folder.glob("*.*") if path.suffix in (".flac", ".ogg", ".mp3"))
    return [Sound(path.stem, beginning(read(path))) for path in files]


def beginning(clip: Clip) -> Clip:
    """The first ten seconds, at the codec's rate."""
    mono = clip.mono().resampled(RATE)
    return Clip(mono.samples[:, : round(SECONDS * RATE)], RATE)


def decoded(codec: EncodecModel, clip: Clip) -> Clip:
    """Through tokens and the codec's own decoder."""
    return Clip(reconstructed(codec, clip.samples[0])[1], RATE)


def opus(clip: Clip) -> Clip:
    """Through Opus and back."""
    with tempfile.TemporaryDirectory() as folder:
        coded = Path(folder) / "coded.ogg"
        with av.open(str(coded), "w") as file:
            stream = file.add_stream("libopus", rate=RATE, layout="mono")
            stream.bit_rate = 1000 * OPUS
            pcm = (32767 * np.clip(clip.samples, -1, 1)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            frame.sample_rate = RATE
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                file.mux(packet)
        return beginning(read(coded))


def table(title: str, sounds: Sequence[Sound], ways: dict[str, Way]) -> None:
    """A row for each way."""
    print(f"## {title.capitalize()} ({len(sounds)})\n")
    print("| | mel ↓ | SI-SDR, dB ↑ | chroma ↑ |\n|---|---|---|---|")
    for name, way in ways.items():
        print_row(name, [apart(sound.clip, way(sound.clip)) for sound in sounds])
    others = [*sounds[1:], *sounds[:1]]
    print_row("another piece (floor)",
              [apart(a.clip, b.clip) for a, b in zip(sounds, others, strict=True)])  # fmt: skip
    print()


def print_row(name: str, found: Sequence[dict[str, float]]) -> None:
    """Means with their intervals."""
    cells = []
    for measure in MEASURES:
        one = estimate([each[measure] for each in found], [str(i) for i in range(len(found))])
        cells.append(f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})")
    print(f"| {name} | {' | '.join(cells)} |")


def apart(real: Clip, made: Clip) -> dict[str, float]:
    """The measures of one pair."""
    count = real.samples.shape[1]
    a, b = real.samples[0], fitted(made.samples, count)[0]
    return {**distances(a, b, RATE), "chroma": chroma_kept(a, b)}


def chroma_kept(real: np.ndarray, made: np.ndarray) -> float:
    """Mean cosine of the chroma of frames that are loud enough in the original."""
    power = librosa.feature.rms(y=real, frame_length=2048, hop_length=512)[0] ** 2
    loud = power > power.max() * 10 ** (-HEARD / 10)
    a, b = (
        librosa.feature.chroma_cqt(
            y=sound, sr=RATE, hop_length=512, fmin=65.4, n_octaves=6, norm=None
        )
        for sound in (real, made)
    )
    count = min(len(loud), a.shape[1], b.shape[1])
    a, b, loud = a[:, :count], b[:, :count], loud[:count]
    lengths = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0) + 1e-9
    return float(((a * b).sum(axis=0) / lengths)[loud].mean())


def use(codec: EncodecModel, sounds: Sequence[Sound]) -> None:
    """How evenly every book's entries are used."""
    codes = np.concatenate([reconstructed(codec, s.clip.samples[0])[0] for s in sounds], axis=1)
    entries = codec.config.codebook_size
    found = codebook_use(codes, entries)
    print(
        f"## Codebooks\n\nPerplexity of each of {entries} entries over all of the above: ", end=""
    )
    print(", ".join(f"{value:.0f}" for value in found.values()) + ".")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("../shared/data"))
