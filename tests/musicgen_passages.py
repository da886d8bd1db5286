"""Decoders of several sizes and passages to write, for the tests of both ways to decode."""

import threading
from collections.abc import Iterator

import pytest
import torch
from tiny_musicgen import build_tiny_musicgen
from transformers import MusicgenMelodyForCausalLM

from voice2music.engines.musicgen.company import Company
from voice2music.engines.musicgen.drawing import Sampling
from voice2music.engines.musicgen.loading import whole_model
from voice2music.engines.musicgen.loop import Branch, Decoding, Passage, guided
from voice2music.errors import CorruptCheckpoint

SIZES = {  # of the decoders under test; the last is as wide as the bundled model
    "tiny": {},
    "even": {"hidden_size": 32, "ffn_dim": 64},
    "middle": {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "ffn_dim": 1024,
    },
}
GREEDY = Sampling(top_k=1)


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MusicgenMelodyForCausalLM]:
    """The library's decoders by size."""
    root = tmp_path_factory.mktemp("decoders")
    folders = {name: build_tiny_musicgen(root / name, sizes=own) for name, own in SIZES.items()}
    return {name: whole_model(folder, torch.float32).decoder for name, folder in folders.items()}


def prefix(network: MusicgenMelodyForCausalLM, seed: int, positions: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(positions, network.config.hidden_size, generator=generator)


def passage(
    decoder: Decoding,
    network: MusicgenMelodyForCausalLM,
    *,
    seed: int = 0,
    frames: int = 30,
    known: int = 0,
    words: float = 3.0,
    voice: float = 3.0,
    sampling: Sampling = GREEDY,
) -> tuple[Passage, torch.Tensor]:
    """Something to write, and the codes it is written into."""
    branches = guided(
        *(prefix(network, seed + i) for i in range(3)), words=words, voice=voice
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    codes = torch.zeros((4, frames), dtype=torch.long)
    codes[:, :known] = torch.randint(0, 32, (4, known), generator=generator)
    return Passage(decoder, branches, codes, known, sampling, generator), codes


def broken(decoder: Decoding, network: MusicgenMelodyForCausalLM) -> Passage:
    """A passage whose conditions are not numbers."""
    nowhere = Branch(torch.full((20, network.config.hidden_size), torch.nan), 1.0)
    codes = torch.zeros((4, 30), dtype=torch.long)
    return Passage(decoder, (nowhere,), codes, 0, GREEDY, torch.Generator())


def heard_beside_a_broken_one(company: Company, good: Passage, bad: Passage) -> Iterator[int]:
    """What the good one's listener still hears after the bad one was refused."""
    listening = company.written(good)
    next(listening)
    with pytest.raises(CorruptCheckpoint, match="not finite"):
        list(company.written(bad))
    return listening


def in_company(company: Company, passages: list[Passage]) -> list[list[int]]:
    """What each one's listener hears, all at once."""
    heard: list[list[int]] = [[] for _ in passages]

    def listen(i: int) -> None:
        heard[i] += company.written(passages[i])

    threads = [threading.Thread(target=listen, args=(i,)) for i in range(len(passages))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return heard


CASES = [
    {"seed": 1, "frames": 40},
    {"seed": 2, "frames": 12, "voice": 2.0},
    {"seed": 3, "frames": 33, "known": 9},
    {"seed": 4, "frames": 25, "words": 1.0, "voice": 1.0},
    {"seed": 5, "frames": 40, "known": 3, "voice": 0.0},
]
