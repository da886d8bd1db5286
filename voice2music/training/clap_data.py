"""What CLAP learns from: log-mels of all sounds on disk, captions in many forms, word pieces."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voice2music.dataset.shards import MANIFEST, Pairs, Row
from voice2music.engines.audioldm.clap import AudioFeatures

if TYPE_CHECKING:
    from transformers import RobertaTokenizer

Chance = np.random.Generator
Decibels = NDArray[np.float16]

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CLAUSE = re.compile(r",\s*")


class Spectrograms:
    """CLAP's log-mels of every piece and voice of a data set, computed once.

    Args:
        pairs: the whole data set.
        features: CLAP's front end, at the data set's rate.
        cache: a folder to keep them in.
    """

    def __init__(self, pairs: Pairs, features: AudioFeatures, cache: Path) -> None:
        self._hop = features.hop
        self._places = dict(_places(pairs.rows, features))
        size = sum(frames for _, frames in self._places.values())
        path = cache / f"clap-mel-{_fingerprint(pairs, features)}.npy"
        if not path.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            _compute(pairs, features, self._places, (size, features.bins), path)
        self._values: Decibels = np.load(path, mmap_mode="r", allow_pickle=False)

    def of(self, row: Row, kind: str) -> Decibels:
        """Log-mel in dB of a row's "music" or "voice", shape (frames, bins)."""
        first, frames = self._places[_key(row, kind)]
        return self._values[first : first + frames]


def crop(mel: Decibels, first: int, frames: int) -> NDArray[np.float32]:
    """`frames` of a log-mel from `first` on, moved forward where they would go past its end.

    A shorter one is repeated.
    """
    if len(mel) < frames:
        mel = np.tile(mel, (-(-frames // len(mel)), 1))
    first = min(first, len(mel) - frames)
    return np.asarray(mel[first : first + frames], np.float32)


def windows(mel: Decibels, frames: int) -> NDArray[np.float32]:
    """Side by side, the last one flush with the end, shape (windows, frames, bins)."""
    count = max(1, -(-len(mel) // frames))
    return np.stack([crop(mel, i * frames, frames) for i in range(count)])


def varied(caption: str, chance: Chance) -> str:
    """A caption as somebody else would type it: parts left out, other case, unknown words."""
    clauses = _CLAUSE.split(caption)
    if len(clauses) > 2 and chance.random() < 0.3:
        keep = 1 + int(chance.integers(len(clauses) - 1))
        # The first clause is nearly always the genre.
        chosen = sorted(chance.permutation(np.arange(1, len(clauses)))[: keep - 1])
        clauses = [clauses[0], *(clauses[i] for i in chosen)]
    words = ", ".join(clauses).split(" ")
    if chance.random() < 0.15:
        for _ in range(int(chance.integers(1, 4))):
            words.insert(int(chance.integers(len(words) + 1)), _unknown_word(chance))
    text = " ".join(words)
    case = chance.random()
    return text.lower() if case < 0.3 else text.upper() if case < 0.32 else text


def tokenizer_of(texts: Iterable[str], size: int, longest: int) -> "RobertaTokenizer":
    """A byte-level BPE tokenizer made from `texts`; words it never saw become pieces and bytes.

    Args:
        size: of the vocabulary, at most.
        longest: tokens of a text.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    trained = ByteLevelBPETokenizer(add_prefix_space=False)
    trained.train_from_iterator(
        texts, vocab_size=size, min_frequency=2, special_tokens=list(SPECIALS), show_progress=False
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    return RobertaTokenizer(vocab=model["vocab"], merges=merges, model_max_length=longest)


def spellings(captions: Sequence[str]) -> list[str]:
    """Captions as the tokenizer should meet them: as they are, and in lower case."""
    return [*captions, *(caption.lower() for caption in captions)]


def _unknown_word(chance: Chance) -> str:
    return "".join(_LETTERS[i] for i in chance.integers(len(_LETTERS), size=chance.integers(3, 9)))


def _key(row: Row, kind: str) -> tuple[str, int]:
    return row[kind]["file"], row[kind]["start"]


def _places(
    rows: Sequence[Row], features: AudioFeatures
) -> Iterable[tuple[tuple[str, int], tuple[int, int]]]:
    """Where each sound's frames lie in the file: first, how many."""
    at, seen = 0, set()
    for row in rows:
        for kind in ("music", "voice"):
            if (key := _key(row, kind)) not in seen:
                seen.add(key)
                frames = 1 + _length(row, kind, features) // features.hop
                yield key, (at, frames)
                at += frames


def _length(row: Row, kind: str, features: AudioFeatures) -> int:
    """Samples of a sound at the features' rate."""
    return int(row[kind]["count"] * features.rate / row[kind]["rate"])


def _compute(
    pairs: Pairs,
    features: AudioFeatures,
    places: dict[tuple[str, int], tuple[int, int]],
    shape: tuple[int, int],
    path: Path,
) -> None:
    part = path.with_name(f".{path.name}.part")
    out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
    done = set()
    for index, row in enumerate(pairs.rows):
        for kind, read in (("music", pairs.music), ("voice", pairs.voice)):
            if (key := _key(row, kind)) not in done:
                done.add(key)
                first, frames = places[key]
                out[first : first + frames] = _decibels(read(index), row[kind]["rate"], features)
    out.flush()
    part.replace(path)


def _decibels(
    sound: NDArray[np.float32], rate: int, features: AudioFeatures
) -> NDArray[np.float32]:
    if rate != features.rate:
        raise ValueError(f"CLAP hears {features.rate} Hz; the data set has {rate} Hz.")
    return np.asarray(features.decibels(sound), np.float32)


def _fingerprint(pairs: Pairs, features: AudioFeatures) -> str:
    known = (pairs.folder / MANIFEST).read_bytes() + json.dumps(asdict(features)).encode()
    return hashlib.sha256(known).hexdigest()[:12]
