"""The page's sentences in each language, read from `translations/*.toml`."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from voice2music.errors import VoiceToMusicError


class Said(VoiceToMusicError):
    """A sentence that is already in the visitor's language."""

    code = "said"


FOLDER = Path(__file__).parent / "translations"
LANGUAGES = (("en", "English"), ("fr", "Français"), ("ar", "العربية"))
DEFAULT = "en"


@dataclass(frozen=True)
class Words:
    """One language's sentences by key, e.g. `words("heard.beats", n=4)`.

    Args:
        language: "en", "fr" or "ar".
        texts: dotted key to sentence with {places} to fill.
    """

    language: str
    texts: dict[str, str]

    def __call__(self, key: str, /, **values: object) -> str:
        """The sentence of `key`, filled in."""
        return self.texts[key].format(**values) if values else self.texts[key]

    def get(self, key: str, default: str, /, **values: object) -> str:
        """The sentence of `key`, or `default` where the page has none of its own for it."""
        return self(key, **values) if key in self.texts else default

    def part(self, *sections: str) -> dict[str, str]:
        """The keys of whole sections as `section_name`, for the page's scripts."""
        return {
            key.replace(".", "_"): text
            for key, text in self.texts.items()
            if key.split(".")[0] in sections or "." not in key
        }


@cache
def words_in(language: str) -> Words:
    """The sentences of a language; English for one that is not known."""
    known = {code for code, _ in LANGUAGES}
    code = language if language in known else DEFAULT
    texts = tomllib.loads((FOLDER / f"{code}.toml").read_text(encoding="utf-8"))
    return Words(code, dict(_flat(texts)))


def _flat(texts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for key, value in texts.items():
        if isinstance(value, dict):
            out.extend(_flat(value, f"{prefix}{key}."))
        else:
            out.append((f"{prefix}{key}", _unbroken(value)))
    return out


def _unbroken(text: str) -> str:
    """No line ends at the spaces that French puts inside « » and before : ; ? and !."""
    return re.sub("(?<=«) | (?=[»:;?!])", "\u00a0", text)
