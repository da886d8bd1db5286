"""How fast both models are on a graphics card, beside the libraries' own loops on the same weights.

    python benchmarks/speed_gpu.py [--tiny]

Networks of the originals' shapes with random weights, in bfloat16; runs alternate; medians of five
after one that is not counted. Prints Markdown, "not measured" where there is no card. `--tiny`
takes tiny networks and whatever device there is: it tries the program, its numbers mean nothing.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from speed_musicgen import (
    GUIDANCE,
    LARGE,
    LARGE_PREFIX,
    RUNS,
    SECONDS,
    Work,
    alternating,
    large_generated,
    large_model,
)

from voice2music.engines.graphs import BROKEN
from voice2music.engines.musicgen.card import CardDecoder
from voice2music.engines.musicgen.company import Company
from voice2music.engines.musicgen.drawing import Sampling
from voice2music.engines.musicgen.loop import Branch, Passage

TOGETHER = 16  # requests
ROWS = {  # with what was aimed at
    "MusicGen-Melody's shape, one request with guidance, beside generate":
        "6 × generate, 8 × real time, 40 % of the floor",
    f"the same, {TOGETHER} requests at once, beside one":
        "4 × the throughput, 40 × real time in all",
    "AudioLDM-s's shape, a UNet step with guidance, beside AudioLDMPipeline": "2 ×",
    "the same, a whole take at our steps, beside its 200": "",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Where and how large.

    Args:
        steps: of MusicGen; 500 are ten seconds.
        unet, vae, vocoder: channels of AudioLDM's networks.
        seconds: of AudioLDM; 10.24 are 1,024 frames of its spectrogram, 256 of its latents.
    """

    device: str
    sizes: dict[str, int]
    steps: int
    unet: tuple[int, ...]
    vae: tuple[int, ...]
    vocoder: int
    seconds: float

    def done(self) -> None:
        """Wait for the card."""
        if self.device == "cuda":
            torch.cuda.synchronize()


FULL = Setting("cuda", LARGE, 500, (128, 256, 384, 640), (128, 256, 512), 1024, 10.24)
TINY = Setting(
    "cuda" if torch.cuda.is_available() else "cpu",
    {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64},
    30, (32, 32, 64, 64), (32, 32, 64), 32, 0.64,
)  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--tiny", action="store_true")
    tiny = options.parse_args().tiny
    card = torch.cuda.is_available()
    print("\n".join(page(TINY if tiny else FULL, measured=tiny or card)))


def page(setting: Setting, measured: bool) -> list[str]:
    """The table, and what it was measured on."""
    if not measured:
        cells = ["not measured (no card)"] * len(ROWS)
        where = "No graphics card here."
    else:
        cells = musicgen_cells(setting) + audioldm_cells(setting)
        name = torch.cuda.get_device_name() if setting.device == "cuda" else setting.device
        where = f"{name}, torch {torch.__version__}, medians of {RUNS} alternating runs."
        if BROKEN.is_set():
            where += " Steps could not be captured, so ours ran without graphs."
    rows = zip(ROWS.items(), cells, strict=True)
    lines = [f"| {title} | {cell} | {aim} |" for (title, aim), cell in rows]
    return [where, "", "| what | measured | aimed at |", "|---|---|---|", *lines]


# ---- MusicGen


class Large:
    """The library's model and our decoder of it."""

    def __init__(self, setting: Setting) -> None:
        self.setting, on_card = setting, setting.device == "cuda"
        self.model = large_model(setting.sizes).to(setting.device)
        self.decoder = CardDecoder(self.model.decoder, "bfloat16", graph=on_card)
        self.company = Company(self.decoder, TOGETHER)
        width = setting.sizes["hidden_size"]
        self.prefix = torch.randn(2, LARGE_PREFIX, width, device=setting.device).bfloat16()
        self.rows = torch.randn(1, 235, 12, device=setting.device).bfloat16()
        self.text = torch.ones((1, 64), dtype=torch.long, device=setting.device)

    def theirs(self) -> None:
        """By generate."""
        large_generated(self.model, self.text, self.rows, self.setting.steps)
        self.setting.done()

    def ours(self, seed: int = 0) -> None:
        """By the company that the app decodes with."""
        both = (Branch(self.prefix[0], GUIDANCE), Branch(self.prefix[1], 1 - GUIDANCE))
        frames = self.setting.steps - self.decoder.codebooks + 1
        codes = torch.zeros((self.decoder.codebooks, frames), dtype=torch.long)
        generator = torch.Generator().manual_seed(seed)
        passage = Passage(self.decoder, both, codes, 0, Sampling(), generator)
        assert list(self.company.written(passage))[-1] == self.setting.steps

    def together(self) -> None:
        """So many at once."""
        with ThreadPoolExecutor(TOGETHER) as pool:
            list(pool.map(self.ours, range(TOGETHER)))

    def floor(self, requests: int) -> float:
        """Seconds that a step takes if only weights and pasts are read, as fast as copies."""
        inner = self.model.decoder.model.decoder
        weights = sum(weight.nbytes for weight in self.model.decoder.parameters())
        weights -= sum(book.weight.nbytes for book in inner.embed_tokens)
        sizes, positions = self.setting.sizes, LARGE_PREFIX + self.setting.steps / 2
        past = 2 * sizes["num_hidden_layers"] * sizes["hidden_size"] * positions * 2  # bytes a row
        return (weights + 2 * requests * past) / bandwidth(self.setting)


def bandwidth(setting: Setting) -> float:
    """Bytes a second, read and written, of large copies."""
    source = torch.zeros(1 << 30 if setting.device == "cuda" else 1 << 26, dtype=torch.uint8)
    source = source.to(setting.device)
    target, count = torch.empty_like(source), 10

    def copies() -> None:
        for _ in range(count):
            target.copy_(source)
        setting.done()

    return 2 * count * source.nbytes / alternating({"": copies})[""]


def musicgen_cells(setting: Setting) -> list[str]:
    """One request, and many."""
    large = Large(setting)
    works: dict[str, Work] = {
        "theirs": large.theirs, "one": large.ours, "many": large.together,
    }  # fmt: skip
    large.together()  # makes the table as large as it will be; graphs of a smaller one are lost
    took = alternating(works)
    theirs, one, many = (took[name] for name in works)
    music = SECONDS * setting.steps / FULL.steps
    step, low = one / setting.steps, large.floor(1)
    several, low_of_many = many / setting.steps, large.floor(TOGETHER)
    return [
        f"{one:.2f} s, generate {theirs:.2f} s: {theirs / one:.1f} ×; {music / one:.1f} × real "
        f"time; {1e3 * step:.2f} ms a step, floor {1e3 * low:.2f}: {100 * low / step:.0f} %",
        f"{many:.2f} s for all: {TOGETHER * one / many:.1f} × the throughput; "
        f"{TOGETHER * music / many:.1f} × real time in all; {1e3 * several:.2f} ms a step, "
        f"floor {1e3 * low_of_many:.2f}: {100 * low_of_many / several:.0f} %",
    ]


def audioldm_cells(setting: Setting) -> list[str]:
    """A step of the UNet, and a whole take."""
    if find_spec("diffusers") is None:
        return ["not measured (no diffusers)"] * 2
    from speed_gpu_audioldm import cells

    return cells(setting)


if __name__ == "__main__":
    main()
