"""Words for a chunk of a real song: the three prompt families of the source work, and other words.

The families: no words at all; the genre ("Disco music"); the refined prompt ("Disco music for input
vocals"). The rest are the same templates that describe made pairs, with what is known of the song.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from voice2music.dataset.captions import spoken, tempo_words

COUNT = 8  # captions of a chunk, the three families among them


@dataclass(frozen=True)
class Known:
    """What may be said of a chunk; "" or None where it is not known."""

    genre: str
    mood: str
    bpm: float | None
    key: str


def families(genre: str) -> dict[str, str]:
    """The source work's prompts by name; without a genre, "music" stands in its place."""
    name = f"{genre[:1].upper()}{genre[1:]} music" if genre else "Music"
    return {"none": "", "genre": name, "refined": f"{name} for input vocals"}


def captions(known: Known, seed: str) -> tuple[str, ...]:
    """The three families, the words of the app itself, then paraphrases, each once.

    Args:
        seed: the chunk's id: the same chunk gets the same words.
    """
    out = [*families(known.genre).values(), _as_asked(known)]
    chance = np.random.default_rng(list(seed.encode()))
    for _ in range(4 * COUNT):
        if len(out) == COUNT:
            break
        text = spoken(_words(known, chance), "back", chance)
        if text not in out:
            out.append(text)
    return tuple(out)


def _as_asked(known: Known) -> str:
    """As `conditioning.prompt` words a request to back somebody up."""
    tempo = f"{round(known.bpm)} BPM" if known.bpm else ""
    role = "instrumental accompaniment for a singer"
    return ", ".join(filter(None, (known.genre, known.mood, role, tempo, known.key)))


def _words(known: Known, chance: np.random.Generator) -> Mapping[str, str]:
    return {
        "genre": known.genre or "music",
        "mood": known.mood,
        "tempo": tempo_words(known.bpm, chance) if known.bpm else "",
        "key": known.key,
        "lead": "",
        "players": "",
    }
