"""Words for a piece of music, many ways, all true: a small grammar out of `captions.toml`.

One caption in three is written as the app itself words a request (`voice2music.conditioning`),
with what was heard in the voice; the others are as people speak.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from voice2music.chords import Key, key_name
from voice2music.conditioning import prompt
from voice2music.dataset.music import Mood, lead_sounds
from voice2music.gm import PROGRAMS
from voice2music.request import Request, Role
from voice2music.styles import Style

Chance = np.random.Generator

AS_ASKED = 0.34  # share of captions worded as the app words a request
_OWN_MOOD = 0.3  # odds that a mood of the style itself is said
_LEAD_SAID = 0.2  # odds that the style's own lead is asked for in so many words
_MOST_PLAYERS = 3
_SLOT = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Facts:
    """What may be said of a piece.

    Args:
        mood: what bent the music; without words where nothing did.
        lead: General MIDI name of who plays the tune, None where nobody does.
        players: General MIDI names of the others, "drums" for a kit.
        tempo, key: of the music.
        heard_tempo, heard_key: of the voice, as it was heard.
    """

    style: Style
    mood: Mood
    role: Role
    lead: str | None
    players: Sequence[str]
    tempo: float
    key: Key
    heard_tempo: float
    heard_key: Key


def captions(facts: Facts, count: int, chance: Chance) -> tuple[str, ...]:
    """`count` captions, the first one worded as the app would."""
    out = [_as_asked(facts, chance)]
    while len(out) < count:
        asked = chance.random() < AS_ASKED
        out.append(_as_asked(facts, chance) if asked else _spoken(facts, chance))
    return tuple(out)


def _as_asked(facts: Facts, chance: Chance) -> str:
    """What the models are given when somebody asks for this on the page."""
    mood = _mood(facts, chance)
    # The style's own words name its own lead; another one has to be asked for.
    other = facts.lead not in (None, facts.style.lead.instrument.name)
    lead = _lead(facts, chance) if other or chance.random() < _LEAD_SAID else ""
    request = Request(genre=facts.style.name, mood=mood, words=lead, role=facts.role)
    return prompt(request, facts.style, facts.heard_tempo, facts.heard_key)


def _spoken(facts: Facts, chance: Chance) -> str:
    """A template, filled."""
    words = {
        "genre": _genre(facts.style, chance),
        "mood": _mood(facts, chance),
        "lead": _lead(facts, chance),
        "players": _players(facts, chance),
        "tempo": tempo_words(facts.tempo, chance),
        "key": key_name(facts.key),
    }
    return spoken(words, facts.role, chance)


def spoken(words: Mapping[str, str], role: Role, chance: Chance) -> str:
    """A template filled with words for "genre", "mood", "lead", "players", "tempo" and "key".

    Where there is nothing to say ("") no template is taken that says it.
    """
    words = {**words, "role": _any(_data()["role"][role], chance), "a": "a"}
    fitting = [t for t in _data()["templates"] if all(words[s] for s in _SLOT.findall(t))]
    text = _any(fitting, chance).format(**words)
    text = re.sub(r"\ba (?=[aeiouAEIOU])", "an ", text).replace("music music", "music")
    return text[0].upper() + text[1:] if chance.random() < 0.5 else text


def _genre(style: Style, chance: Chance) -> str:
    names = [*_data()["genre"].get(style.name, ()), style.title, style.title.lower()]
    return _any(names, chance)


def _mood(facts: Facts, chance: Chance) -> str:
    """The mood that was played, or now and then one that the style has anyway; or nothing."""
    if facts.mood.words:
        return _any(facts.mood.words, chance)
    return _any(facts.style.moods, chance) if chance.random() < _OWN_MOOD else ""


def _lead(facts: Facts, chance: Chance) -> str:
    if facts.lead is None:
        return ""
    known = {PROGRAMS[sound.instrument.program]: sound.words for sound in lead_sounds()}
    return _any(known.get(facts.lead, (facts.lead.lower(),)), chance)


def _players(facts: Facts, chance: Chance) -> str:
    """Some of the accompanying instruments, "bass, drums and piano"."""
    names = [re.sub(r" \d$", "", name).lower() for name in facts.players]
    if not names:
        return ""
    count = int(chance.integers(1, min(_MOST_PLAYERS, len(names)) + 1))
    chosen = [names[i] for i in chance.permutation(len(names))[:count]]
    return " and ".join(filter(None, (", ".join(chosen[:-1]), chosen[-1])))


def tempo_words(tempo: float, chance: Chance) -> str:
    """Beats per minute, or what people say for so many."""
    if chance.random() < 0.5:
        return f"{round(tempo)} BPM"
    return _any(next(t["words"] for t in _data()["tempo"] if tempo <= t["up_to"]), chance)


def _any(options: Sequence[str], chance: Chance) -> str:
    return options[int(chance.integers(len(options)))]


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "captions.toml").read_text("utf-8"))
