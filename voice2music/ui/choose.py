"""Step 2 on the server: from the page's controls to a `Request`."""

from dataclasses import dataclass, fields, replace
from typing import Any

from voice2music.chords import progression_text
from voice2music.conditioning import conditioning, tune_of
from voice2music.errors import BadRequest
from voice2music.request import ENGINES, MAX_WORDS, Request
from voice2music.ui.backend import Backend, Model
from voice2music.ui.visit import Visit
from voice2music.ui.words import Said, Words, words_in

MOODS = ("happy", "sad", "calm", "energetic", "dreamy", "romantic", "dark", "epic")
LENGTHS = (5, 10, 15, 20, 30, 45, 60, 90)  # s
KEYS = tuple(
    f"{tonic} {mode}"
    for mode in ("major", "minor")
    for tonic in ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
)


@dataclass(frozen=True)
class Choice:
    """The values of the page's controls, in their order; 0 and "" mean "not chosen"."""

    genre: str = "disco"
    own_genres: bool = False
    genre_two: str = "disco"
    mood: str | None = ""
    role: str = "tune"
    words: str = ""
    length: float = 0
    players: tuple[str, ...] = ENGINES
    tempo: float | None = None
    key: str = ""
    chords: str = ""
    happy: float = 0.0
    jazzy: float = 0.0
    faithful: float = 0.7
    negative: str = ""
    variations: int = 1
    seed: int = 0
    first: str = ""
    second: str = ""
    guidance: float = 0
    steps: int = 0
    start_from: str = "auto"
    strength: float = 0.45


NAMES = tuple(field.name for field in fields(Choice))


def asked(choice: Choice, visit: Visit, backend: Backend) -> Request:
    """What the controls ask for, for the voice of this visit.

    Raises:
        BadRequest: nothing to make music from, or a value out of range.
    """
    words = words_in(visit.language)
    voice = visit.voice
    if voice is None and not visit.wordless:
        raise Said(words("listen.nothing_chosen"))
    if voice is None and not choice.words.strip():
        raise Said(words("listen.no_words"))
    checkpoints = {"musicgen": choice.first, "audioldm": choice.second}
    return Request.from_json(
        {
            "engines": [name for name in ENGINES if name in (choice.players or ())],
            "genre": choice.genre,
            "genres": {"audioldm": choice.genre_two} if choice.own_genres else {},
            "mood": choice.mood or "",
            "words": choice.words,
            "negative": choice.negative,
            "role": choice.role,
            "seconds": choice.length or None,
            "seed": int(choice.seed or 0),
            "variations": int(choice.variations),
            "tempo": choice.tempo or None,
            "key": choice.key or None,
            "chords": choice.chords.strip() or None,
            "faithful": choice.faithful,
            "happy": choice.happy,
            "jazzy": choice.jazzy,
            "checkpoints": known_models(checkpoints, backend.models()),
            "guidance": choice.guidance or None,
            "steps": int(choice.steps) or None,
            "start_from": choice.start_from,
            "strength": choice.strength,
            "separate": "no",  # the voice of the visit is clean already
            "corrected": bool(voice and voice.corrected),
            "guide": voice and voice.part_guide and vars(voice.part_guide),
        }
    )


def known_models(chosen: dict[str, str], models: list[Model]) -> dict[str, str]:
    """The models that were chosen; from a page only names of the list are taken, not folders.

    Raises:
        BadRequest: a name that is not in the list.
    """
    names = {model.name for model in models}
    for name in filter(None, chosen.values()):
        if name not in names:
            raise BadRequest(f"There is no model {name!r}. Choose of {', '.join(sorted(names))}.")
    return {column: name for column, name in chosen.items() if name}


def too_many_words(choice: Choice, words: Words) -> str:
    """A sentence about words that were cut, "" where none were."""
    longest = max(len(choice.words), len(choice.negative), len(choice.mood or ""))
    return words("choose.words_cut", n=MAX_WORDS) if longest > MAX_WORDS else ""


def choices_in(words: Words, backend: Backend) -> dict[str, list[tuple[str, Any]]]:
    """What each list of the page offers, (shown, value), in a language."""
    models = [(_model_text(model, words), model.name) for model in backend.models()]
    genres = [(genre_text(name, title, words), name) for name, title in backend.genres().items()]
    return {
        "genre": genres,
        "genre_two": genres,
        "mood": [(words("mood.none"), ""), *((words(f"mood.{m}"), m) for m in MOODS)],
        "role": [(words("choose.role_tune"), "tune"), (words("choose.role_back"), "back")],
        "length": [
            (words("choose.length_voice"), 0),
            *((words("choose.length_seconds", n=n), n) for n in LENGTHS),
        ],
        "players": [(words(f"engine.{name}"), name) for name in ("band", "musicgen", "audioldm")],
        "key": [(words("more.key_heard"), ""), *((_key_text(key, words), key) for key in KEYS)],
        "first": models,
        "second": models,
        "start_from": [(words(f"more.start_{s}"), s) for s in ("auto", "noise", "voice", "band")],
        "separate": [(words(f"more.separate_{s}"), s) for s in ("auto", "yes", "no")],
    }


def genre_text(name: str, title: str, words: Words) -> str:
    """A genre in the visitor's language."""
    return words.get(f"genre.{name}", title)


def default_model(engine: str, models: list[Model]) -> str:
    """The checkpoint that a column shows at first: one that is here, else the first known."""
    own = [model for model in models if model.engine == engine]
    here = [model for model in own if model.here]
    return (here or own)[0].name if own else ""


def _model_text(model: Model, words: Words) -> str:
    return model.name if model.here else f"{model.name} ({words('more.not_here')})"


def _key_text(key: str, words: Words) -> str:
    tonic, mode = key.split()
    accidental = tonic[1:].replace("#", "♯").replace("b", "♭")
    return words(f"heard.{mode}", note=words(f"note.{tonic[0]}") + accidental)


def chords_heard(choice: Choice, visit: Visit, backend: Backend) -> str:
    """The chords that the music would have, as text to edit: "C | Am | F G".

    Raises:
        BadRequest: no voice was heard yet.
    """
    if visit.voice is None or visit.voice.analysis is None:
        raise Said(words_in(visit.language)("listen.nothing_chosen"))
    request = replace(asked(choice, visit, backend), chords=None)
    tune = tune_of(request, visit.voice.analysis)
    spans = conditioning(request, "band", tune, None, None).chords
    return progression_text(spans, tune.grid, tune.key)
