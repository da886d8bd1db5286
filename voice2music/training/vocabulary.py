"""A tokenizer of whole words, made from the captions that a model learns from.

Captions use a few hundred words. One token each, lower case, no punctuation, keeps texts short and
every other word the same to the model: unknown. Training throws unknown words in (`shaken`), so
that a word nobody taught it changes nothing.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"  # numbers 0, 1, 2
NUMBERS: Final = range(40, 241)  # tempos that can be said, in beats per minute
_WORD = Regex(r"[^\w#]+")


def word_tokenizer(texts: Iterable[str], least: int = 2) -> PreTrainedTokenizerFast:
    """Every word that is said at least `least` times has a token, and so has every tempo.

    Most frequent words come first, equally frequent ones by the alphabet.
    """
    blank = _tokenizer({PAD: 0, END: 1, UNKNOWN: 2})
    counts = Counter(word for text in texts for word in _words(blank, text))
    numbers = [str(number) for number in NUMBERS]
    said = sorted((-n, word) for word, n in counts.items() if n >= least and word not in numbers)
    entries = [PAD, END, UNKNOWN, *numbers, *(word for _, word in said)]
    return PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer({word: index for index, word in enumerate(entries)}),
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
    )


def tempo_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[int, int]:
    """Beats per minute → token."""
    known = tokenizer.get_vocab()
    return {number: known[str(number)] for number in NUMBERS if str(number) in known}


def shaken(
    tokens: list[int], chance: np.random.Generator, unknown: int, lost: float, strange: float
) -> list[int]:
    """The text with words lost and unknown ones thrown in, the end token kept.

    Args:
        tokens: of one text, the end token last.
        unknown: token of words that have none.
        lost: share of words that go missing.
        strange: unknown words per known one, on average.
    """
    kept = [token for token in tokens[:-1] if chance.random() >= lost]
    for _ in range(chance.poisson(strange * len(kept))):
        kept.insert(int(chance.integers(len(kept) + 1)), unknown)
    return [*kept, tokens[-1]]


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(_WORD, "removed")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, vocabulary[END])]
    )
    return tokenizer


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    plain = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain)]
