"""Genre and mood of music that nobody named: zero-shot by a CLAP model."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.dataset.music import moods
from voice2music.errors import CorruptCheckpoint
from voice2music.styles import styles

Vectors = NDArray[np.float64]
_Towers = tuple[Callable[[Sequence[str]], Vectors], Callable[[Clip], Vectors]]


def genre_of(music: Clip, clap: Path) -> str:
    """The genre of `styles.toml` whose words lie nearest to the music, as people write it.

    Args:
        clap: a folder with a transformers `ClapModel`, or an AudioLDM with an audio tower.
    Raises:
        CorruptCheckpoint: it is neither.
    """
    titles = tuple(style.title for style in styles().values())
    return _nearest(music, titles, tuple(f"{title} music" for title in titles), clap)


def mood_of(music: Clip, clap: Path) -> str:
    """The mood whose words lie nearest to the music; see `genre_of`."""
    words = tuple(mood.words[0] for mood in moods() if mood.words)
    return _nearest(music, words, tuple(f"{word} music" for word in words), clap)


def _nearest(music: Clip, names: Sequence[str], texts: tuple[str, ...], clap: Path) -> str:
    _, heard = _towers(clap)
    return names[int(np.argmax(_embedded(texts, clap) @ heard(music)))]


@lru_cache(maxsize=4)
def _embedded(texts: tuple[str, ...], clap: Path) -> Vectors:
    return _towers(clap)[0](texts)


@lru_cache(maxsize=1)
def _towers(clap: Path) -> _Towers:
    """Texts to unit vectors (texts, size), and a clip to one (size,)."""
    if not (clap / "model_index.json").is_file():
        from voice2music.evaluation.frechet import clap_embeddings, clap_texts

        return lambda texts: clap_texts(texts, clap), lambda clip: clap_embeddings([clip], clap)[0]
    from voice2music.engines.audioldm.parts import load_parts

    parts = load_parts(clap)
    audio, text = parts.audio, parts.text
    if audio is None:
        raise CorruptCheckpoint(f"'{clap.name}' cannot name music. {parts.deaf}")
    return (
        lambda texts: text.embed(list(texts)).double().numpy(),
        lambda clip: audio.embed(clip).double().numpy(),
    )
