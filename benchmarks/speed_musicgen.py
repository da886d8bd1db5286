"""How fast MusicGen decodes, beside transformers' own `generate` on the same weights.

    python benchmarks/speed_musicgen.py [--threads 2] [--large]

Both draw the same number of tokens under the same conditions with guidance. Runs alternate, so that
a busy machine slows all alike; medians. Prints Markdown. `--large` measures a decoder of
MusicGen-Melody's size with random weights instead, which needs 12 GiB.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    EncodecConfig,
    GenerationConfig,
    MusicgenMelodyConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)
from transformers.models.musicgen_melody.configuration_musicgen_melody import (
    MusicgenMelodyDecoderConfig,
)

from voice2music.analysis import analyse
from voice2music.checkpoints import locate
from voice2music.conditioning import conditioning, tune_of
from voice2music.engines import musicgen
from voice2music.engines.base import Conditioning, Part, Rendition, Settings
from voice2music.engines.musicgen import MusicGen
from voice2music.engines.musicgen.decoder import Decoder
from voice2music.engines.musicgen.drawing import Sampling
from voice2music.engines.musicgen.format import read_format
from voice2music.engines.musicgen.linears import Precision
from voice2music.engines.musicgen.loading import text_tokenizer, whole_model
from voice2music.engines.musicgen.loop import Branch, Passage, written
from voice2music.engines.musicgen.rows import melody_rows
from voice2music.engines.plan import plan_of
from voice2music.engines.running import EngineJob, at_once
from voice2music.evaluation.minis.soundness import TUNE, hummed
from voice2music.request import Request

NAME = "mini-musicgen"
RUNS = 5
SECONDS = 10.0
GUIDANCE = 3.0
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
LENGTHS = (5, 10, 30, 60, 120)  # s
BATCHES = (1, 2, 4, 8, 16)
LARGE = {"hidden_size": 1536, "num_hidden_layers": 48, "num_attention_heads": 24, "ffn_dim": 6144}
LARGE_PREFIX = 235 + 64  # positions of chroma and text, as in the original
LARGE_STEPS = 50  # one second of music
LARGE_WHOLE = 500  # ten of them
Work = Callable[[], object]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--large", action="store_true")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    tables = [large()] if given.large else [steps(), strengths(), takes(), batches(), lengths()]
    for table in tables:
        print("\n".join(table), end="\n\n")


# ---- against the library


class Library:
    """transformers' whole model, whose codec is left out: tokens are what is timed."""

    def __init__(self, folder: Path) -> None:
        self.model = whole_model(folder, torch.float32).eval()
        self.model.audio_encoder.decode = _no_sound
        self.form, self.tokenizer = read_format(folder), text_tokenizer(folder)

    def tokens(self, asked: Conditioning, frames: int, greedy: bool = False) -> torch.Tensor:
        """What its `generate` hands to the codec, shape (codebooks, frames)."""
        decoder, length = self.model.config.decoder, self.form.text_lengths[0]
        text = self.tokenizer(
            asked.text, padding="max_length", max_length=length, truncation=True,
            return_tensors="pt",
        )  # fmt: skip
        form = self.form.row_format(self.model.config.chroma_length)
        rows = melody_rows(asked.melody, form, 0.0, plan_of(asked))
        special = dict.fromkeys(
            ("pad_token_id", "bos_token_id", "decoder_start_token_id"), decoder.pad_token_id
        )
        how = {} if greedy else {"top_k": self.form.top_k, "temperature": self.form.temperature}
        _SEEN.clear()
        self.model.generate(
            **text,
            input_features=torch.from_numpy(rows)[None],
            guidance_scale=GUIDANCE,
            max_new_tokens=frames + decoder.num_codebooks - 1,
            generation_config=GenerationConfig(do_sample=not greedy, **how, **special),
        )
        return _SEEN[0][0, 0][:, :frames]


_SEEN: list[torch.Tensor] = []


def _no_sound(codes: torch.Tensor, **rest: object) -> Any:
    _SEEN.append(codes)
    return type("Sound", (), {"audio_values": torch.zeros(1, 1, 1)})


def steps(name: str = NAME) -> list[str]:
    """Milliseconds a step of `generate` and of our precisions; whether the tokens are the same."""
    folder, asked = locate(name).folder, hum(name)
    library = Library(folder)
    engines = {wish: musicgen.load(folder, "cpu", precision=wish) for wish in PRECISIONS}
    frames = round(SECONDS * engines["float32"].frame_rate)
    works: dict[str, Work] = {"generate, float32": lambda: library.tokens(asked, frames)}
    for wish, engine in engines.items():
        works[wish] = lambda engine=engine: drawn(engine, asked, frames, Sampling())
    took = alternating(works)
    count = frames + library.model.config.decoder.num_codebooks - 1
    first = took["generate, float32"]
    theirs = library.tokens(asked, frames, greedy=True)
    ours = drawn(engines["float32"], asked, frames, Sampling(top_k=1))
    return [
        f"{name}, {SECONDS:g} s of tokens ({count} steps) with guidance {GUIDANCE:g}, text and "
        f"tune read anew, {torch.get_num_threads()} threads; medians of {RUNS} alternating runs.",
        "",
        "| decoder | ms a step | against generate | × real time, tokens only |",
        "|---|---|---|---|",
        *(
            f"| {title} | {1000 * value / count:.2f} | {first / value:.2f} "
            f"| {SECONDS / value:.1f} |"
            for title, value in took.items()
        ),
        "",
        f"Greedy tokens of all {frames} frames equal those of generate in float32: "
        f"{'yes' if torch.equal(theirs, ours) else 'NO'}.",
    ]


def drawn(engine: MusicGen, asked: Conditioning, frames: int, sampling: Sampling) -> torch.Tensor:
    """Tokens of the first window, shape (codebooks, frames)."""
    branches = engine.branches(asked, Settings(guidance=GUIDANCE))
    return _drawn(engine.decoder, branches, frames, sampling)


def _drawn(
    decoder: Decoder, branches: tuple[Branch, ...], frames: int, sampling: Sampling
) -> torch.Tensor:
    codes = torch.zeros((decoder.codebooks, frames), dtype=torch.long)
    for _ in written(decoder, _passage(decoder, branches, codes, sampling)):
        pass
    return codes


def _passage(
    decoder: Decoder, branches: tuple[Branch, ...], codes: torch.Tensor, sampling: Sampling
) -> Passage:
    return Passage(decoder, branches, codes, 0, sampling, torch.Generator().manual_seed(0))


# ---- our own


def strengths(name: str = NAME) -> list[str]:
    """What a second strength of guidance costs."""
    engine, asked = musicgen.load(name, "cpu"), hum(name)
    frames = round(SECONDS * engine.frame_rate)
    both = engine.branches(asked, Settings(guidance=GUIDANCE, faithful=0.5))
    assert len(both) == 3
    works: dict[str, Work] = {
        f"{title}: {len(some)} runs": lambda some=some: _drawn(
            engine.decoder, some, frames, Sampling()
        )
        for title, some in (
            ("no guidance", both[:1]), ("one strength", both[::2]), ("words and voice apart", both),
        )
    }  # fmt: skip
    took = alternating(works)
    one = list(took.values())[1]
    return [
        f"{name}, {engine.decoder.precision}, {SECONDS:g} s of tokens.",
        "",
        "| guidance | s | against one strength |",
        "|---|---|---|",
        *(f"| {title} | {value:.2f} | {value / one:.2f} |" for title, value in took.items()),
    ]


@dataclass(frozen=True)
class Heard:
    """Seconds to the first sound and to the end; tokens' seconds that the first sound needed."""

    first: float
    whole: float


def takes(name: str = NAME) -> list[str]:
    """Whole takes, codec and all, and the first sound of them."""
    engine, asked = musicgen.load(name, "cpu"), hum(name)
    found = [take(engine, asked, seed) for seed in range(RUNS + 1)][1:]
    first, whole = (statistics.median(getattr(one, key) for one in found)
                    for key in ("first", "whole"))  # fmt: skip
    return [
        f"{name}, {engine.decoder.precision}, a whole take of {SECONDS:g} s by the engine: "
        f"conditions, tokens with the checkpoint's own guidance, sound. Medians of {RUNS}.",
        "",
        "| first sound, s | whole, s | × real time |",
        "|---|---|---|",
        f"| {first:.2f} | {whole:.2f} | {SECONDS / whole:.1f} |",
    ]


def take(engine: MusicGen, asked: Conditioning, seed: int) -> Heard:
    """One take's times."""
    started, first = time.perf_counter(), None
    for part in engine.generate(asked, Settings(seed), lambda share, words: None, lambda: False):
        if isinstance(part, Part) and first is None:
            first = time.perf_counter() - started
    assert first is not None
    return Heard(first, time.perf_counter() - started)


def batches(name: str = NAME) -> list[str]:
    """Requests that arrive together, whole takes."""
    engine, asked = musicgen.load(name, "cpu"), hum(name)
    works: dict[str, Work] = {
        str(count): lambda count=count: many(engine, asked, count) for count in BATCHES
    }
    took = alternating(works)
    alone = took["1"]
    return [
        f"{name}, {engine.decoder.precision}, takes of {SECONDS:g} s asked for at once.",
        "",
        "| requests | s until all are there | × real time in all | throughput against one |",
        "|---|---|---|---|",
        *(
            f"| {count} | {took[str(count)]:.2f} | {count * SECONDS / took[str(count)]:.1f} "
            f"| {count * alone / took[str(count)]:.2f} |"
            for count in BATCHES
        ),
    ]


def many(engine: MusicGen, asked: Conditioning, count: int) -> None:
    """So many takes at the same time."""
    jobs = {seed: EngineJob(asked, Settings(seed)) for seed in range(count)}
    made = [event for _, event in at_once(engine, jobs, lambda: False)
            if isinstance(event, Rendition)]  # fmt: skip
    assert len(made) == count


def lengths(name: str = NAME) -> list[str]:
    """Cost against length; windows beyond the first."""
    engine = musicgen.load(name, "cpu")
    asked = {seconds: hum(name, seconds) for seconds in LENGTHS}
    took = alternating(
        {str(s): lambda s=s: take(engine, asked[s], 0) for s in LENGTHS}  # type: ignore[misc]
    )
    return [
        f"{name}, {engine.decoder.precision}, whole takes.",
        "",
        "| seconds of music | s | s for each second |",
        "|---|---|---|",
        *(f"| {s} | {took[str(s)]:.2f} | {took[str(s)] / s:.3f} |" for s in LENGTHS),
    ]


# ---- the original's size


def large() -> list[str]:
    """A decoder of MusicGen-Melody's size, random weights: `generate` in bfloat16 and ours."""
    model = large_model()
    prefix = torch.randn(2, LARGE_PREFIX, LARGE["hidden_size"]).bfloat16()
    branches = (Branch(prefix[0], GUIDANCE), Branch(prefix[1], 1 - GUIDANCE))
    rows = torch.randn(1, 235, 12).bfloat16()
    text = torch.ones((1, 64), dtype=torch.long)
    decoders = {wish: Decoder(model.decoder, wish) for wish in ("bfloat16", "int8")}
    first = "generate, bfloat16"

    def of(count: int) -> dict[str, Work]:
        """So many steps by each; the last codebook is three late."""
        return {first: lambda: large_generated(model, text, rows, count)} | {
            wish: lambda d=decoder: _drawn(d, branches, count - 3, Sampling())  # type: ignore[misc]
            for wish, decoder in decoders.items()
        }

    some, short = alternating(of(LARGE_STEPS)), alternating(of(5))
    step = {title: (some[title] - short[title]) / (LARGE_STEPS - 5) for title in some}
    ten = {title: seconds(work) for title, work in of(LARGE_WHOLE).items()}
    return [
        f"A decoder of 1.5 B parameters' shape ({LARGE['num_hidden_layers']} layers of "
        f"{LARGE['hidden_size']}), random weights, one request with guidance, "
        f"{torch.get_num_threads()} threads. {LARGE_PREFIX} positions of conditions are read "
        f"before the first step. One second: {LARGE_STEPS} steps, medians of {RUNS}; a step: the "
        f"time of those beyond that of 5 steps. Ten seconds: {LARGE_WHOLE} steps, run once.",
        "",
        "| decoder | ms a step | against generate | s for 1 s, conditions and all "
        "| against generate | s for 10 s | against generate |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {title} | {1000 * step[title]:.0f} | {step[first] / step[title]:.2f} "
            f"| {some[title]:.1f} | {some[first] / some[title]:.2f} "
            f"| {ten[title]:.0f} | {ten[first] / ten[title]:.2f} |"
            for title in some
        ),
    ]


def large_generated(
    model: MusicgenMelodyForConditionalGeneration,
    text: torch.Tensor,
    rows: torch.Tensor,
    count: int,
) -> None:
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "decoder_start_token_id"), 2048)
    model.generate(
        input_ids=text,
        attention_mask=torch.ones_like(text),
        input_features=rows,
        guidance_scale=GUIDANCE,
        max_new_tokens=count,
        generation_config=GenerationConfig(do_sample=True, top_k=250, **special),
    )


def large_model(sizes: dict[str, int] = LARGE) -> MusicgenMelodyForConditionalGeneration:
    """The original's decoder beside a text encoder and a codec that cost nothing."""
    small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    codec = EncodecConfig(
        num_filters=2, hidden_size=8, codebook_size=2048, sampling_rate=32_000,
        upsampling_ratios=[8, 5, 4, 4], target_bandwidths=[2.2],
    )  # fmt: skip
    decoder = MusicgenMelodyDecoderConfig(
        **sizes, num_codebooks=4, vocab_size=2048, pad_token_id=2048, bos_token_id=2048
    )
    config = MusicgenMelodyConfig(
        text_encoder=T5Config(vocab_size=100, **small).to_dict(),
        audio_encoder=codec.to_dict(),
        decoder=decoder.to_dict(),
    )
    with torch.device("meta"):
        model = MusicgenMelodyForConditionalGeneration(config)
    model = model.bfloat16().to_empty(device="cpu").eval()
    for weight in model.parameters():
        weight.data.uniform_(-0.02, 0.02)
    positions = model.decoder.model.decoder.embed_positions
    positions.make_weights(positions.num_positions, positions.embedding_dim)
    model.audio_encoder.decode = _no_sound
    return model


# ---- common


def hum(name: str, seconds: float = SECONDS) -> Conditioning:
    """A hummed tune as the app hands it to the engine."""
    voice = hummed(TUNE)
    request = Request(genre="pop", seconds=seconds)
    asked = conditioning(request, "musicgen", tune_of(request, analyse(voice)), voice, None)
    return replace(asked, seconds=seconds)


def alternating(works: dict[str, Work], runs: int = RUNS) -> dict[str, float]:
    """Median seconds of each, all of them once a round; a round before is not counted."""
    took: dict[str, list[float]] = {title: [] for title in works}
    for _ in range(runs + 1):
        for title, work in works.items():
            took[title].append(seconds(work))
    return {title: statistics.median(values[1:]) for title, values in took.items()}


def seconds(work: Work) -> float:
    """That a piece of work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
