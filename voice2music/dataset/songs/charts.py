"""Tables of what the rows of a manifest hold: counts, shares and histograms."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from voice2music.dataset.shards import Row
from voice2music.dataset.songs.sheet import Table

MOST = 20  # lines of a table of shares; what is rarer is added up
UNKNOWN = "not known"
_MODELS = {"musicgen": "MusicGen", "audioldm": "AudioLDM"}
_SLOW, _FAST, _BPM_STEP = 60, 200, 10
_LONG, _SECONDS_STEP = 60, 5
_NOTES = ("C{0}–D#{0}", "E{0}–G{0}", "G#{0}–B{0}")  # thirds of an octave
_NOTES_STEP = 12 // len(_NOTES)


def by_model(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by the model that they are for, known models first; none without rows."""
    groups: dict[str, list[Row]] = {model: [] for model in _MODELS}
    for row in rows:
        groups.setdefault(row["model"], []).append(row)
    return {model: own for model, own in groups.items() if own}


def model_name(model: str) -> str:
    """A model as people write it."""
    return _MODELS.get(model, model)


def songs_of(rows: Iterable[Row]) -> set[str]:
    """Ids of the songs."""
    return {row["song_id"] for row in rows}


def artists_of(rows: Iterable[Row]) -> set[str]:
    """Names of the artists that are known."""
    return {row["artist"] for row in rows if row["artist"]}


def hours(rows: Iterable[Row]) -> str:
    """Length of the chunks together, such as "1,234.50" or "<0.01"."""
    return _at_least(math.fsum(row["seconds"] for row in rows) / 3600, 2)


def _at_least(value: float, digits: int) -> str:
    """A number, rounded; what is little does not look like nothing."""
    least = 10.0**-digits
    return f"<{least:.{digits}f}" if 0 < value < least / 2 else f"{value:,.{digits}f}"


def shares(
    rows: Sequence[Row], field: str, caption: str, names: Mapping[str, str] | None = None
) -> Table:
    """Songs and hours by what a field says, the most songs first, unknown last.

    Args:
        names: what to call a value of the field, where that is not the value itself.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[field]].append(row)
    models = list(by_model(rows))
    called = {"": UNKNOWN, **(names or {})}
    lines = tuple(
        _share(called.get(value, value), group, len(songs_of(rows)), models)
        for value, group in _ranked(groups)
    )
    last = (f"hours, {model_name(model)}" for model in models)
    return Table(caption, (field.replace("_", " "), "songs", "share", *last), lines)


def _ranked(groups: Mapping[str, list[Row]]) -> list[tuple[str, list[Row]]]:
    """By number of songs, what is rare together, and at the end what is not known."""
    known = [group for group in groups.items() if group[0]]
    known.sort(key=lambda group: (-len(songs_of(group[1])), group[0]))
    if len(known) > MOST:
        rest = [row for _, group in known[MOST - 1 :] for row in group]
        known[MOST - 1 :] = [(f"{len(known) - MOST + 1:,} others", rest)]
    return known + [group for group in groups.items() if not group[0]]


def _share(
    name: str, rows: Sequence[Row], all_songs: int, models: Sequence[str]
) -> tuple[str, ...]:
    songs, own = len(songs_of(rows)), by_model(rows)
    share = f"{_at_least(100 * songs / all_songs, 0)} %"
    return (name, f"{songs:,}", share, *(hours(own.get(model, [])) for model in models))


def tempos(rows: Sequence[Row]) -> Table:
    """Chunks by tempo."""
    steps = (f"{bpm}–{bpm + _BPM_STEP - 1}" for bpm in range(_SLOW, _FAST, _BPM_STEP))
    order = (f"under {_SLOW}", *steps, f"{_FAST} and more")

    def label(bpm: float | None) -> str:
        if bpm is None:
            return UNKNOWN
        return order[min(max((round(bpm) - _SLOW) // _BPM_STEP + 1, 0), len(order) - 1)]

    return _histogram("Tempo", "BPM", [label(row["bpm"]) for row in rows], order)


def keys(rows: Sequence[Row]) -> Table:
    """Chunks by key, the most frequent first."""
    found = [row["key"] or UNKNOWN for row in rows]
    ranked = sorted(Counter(found).items(), key=lambda key: (-key[1], key[0]))
    return _histogram("Key", "key", found, [key for key, _ in ranked])


def vocal_ranges(rows: Sequence[Row]) -> Table:
    """Chunks by the notes between their lowest and their highest."""
    order = [part.format(octave) for octave in range(-1, 10) for part in _NOTES]
    found: list[str] = []
    for row in rows:
        places = [min(max(round(note), 0), 127) // _NOTES_STEP for note in row["range"] or ()]
        found += order[places[0] : places[1] + 1] if places else [UNKNOWN]
    return _histogram("Vocal range", "notes", found, order)


def lengths(rows: Sequence[Row]) -> Table:
    """Chunks by length; what lies on a boundary counts as shorter."""
    starts = range(0, _LONG, _SECONDS_STEP)
    order = (*(f"{start}–{start + _SECONDS_STEP}" for start in starts), f"over {_LONG}")
    # Cutting adds up fractions of a second: 30.000001 s is 30 s.
    steps = (math.ceil(round(row["seconds"], 2) / _SECONDS_STEP) for row in rows)
    found = [order[min(max(step, 1), len(order)) - 1] for step in steps]
    return _histogram("Length", "seconds", found, order)


def _histogram(caption: str, name: str, found: Sequence[str], order: Sequence[str]) -> Table:
    """Counts in the given order, from the first that is not 0 to the last; unknown at the end."""
    counts = Counter(found)
    ordered = [label for label in order if label != UNKNOWN]
    filled = [place for place, label in enumerate(ordered) if counts[label]]
    shown = ordered[filled[0] : filled[-1] + 1] if filled else []
    shown += [UNKNOWN] if counts[UNKNOWN] else []
    most = max(counts.values(), default=1)
    lines = tuple((label, f"{counts[label]:,}") for label in shown)
    return Table(caption, (name, "chunks"), lines, bars=tuple(counts[s] / most for s in shown))


def plural(number: int, word: str) -> str:
    """A number and what it counts: "1 song", "1,200 songs"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
