"""The thresholds of the builder, out of one TOML file (`limits.toml`, or the user's own)."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from voice2music.errors import BadRequest


@dataclass(frozen=True)
class SongLimits:
    """Of a file as it comes: its size, length in minutes and s, least peak, most clipping."""

    megabytes: float
    minutes: float
    shortest: float
    silent: float
    clipped: float


@dataclass(frozen=True)
class VoiceLimits:
    """Of the voice of a song: least share sung, least dB over noise, most music in it."""

    voiced: float
    snr: float
    accompaniment: float


@dataclass(frozen=True)
class BackLimits:
    """Of the accompaniment of a song: most silence (share), most voice in it (dB)."""

    silent: float
    voice: float


@dataclass(frozen=True)
class ChunkLimits:
    """Of a chunk: longest for each model, shortest (s), least share sung, most silence."""

    musicgen: float
    audioldm: float
    shortest: float
    voiced: float
    silent: float


@dataclass(frozen=True)
class SplitShares:
    """Shares of the hours that are not learned from."""

    valid: float
    test: float


@dataclass(frozen=True)
class Limits:
    """All of them; see `limits.toml` for what each means."""

    song: SongLimits
    voice: VoiceLimits
    back: BackLimits
    chunk: ChunkLimits
    split: SplitShares

    def __post_init__(self) -> None:
        if not self.chunk.shortest <= min(self.chunk.musicgen, self.chunk.audioldm) / 2:
            raise BadRequest("[chunk] shortest is more than half of the longest chunk.")
        if self.split.valid + self.split.test >= 1:
            raise BadRequest("[split] valid and test leave nothing to train on.")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


_PARTS = {
    "song": SongLimits,
    "voice": VoiceLimits,
    "back": BackLimits,
    "chunk": ChunkLimits,
    "split": SplitShares,
}


def read_limits(path: Path | None = None) -> Limits:
    """The user's own limits, or those that come with the program.

    Raises:
        BadRequest: no such file, no TOML, values missing, unknown, negative or no numbers.
    """
    name = path.name if path else "limits.toml"
    try:
        text = path.read_text("utf-8") if path else _own()
        tables = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise BadRequest(f"'{name}' cannot be read as TOML: {error}.") from error
    _check(name, "the file", tables, list(_PARTS))
    parts: dict[str, Any] = {}
    for part, kind in _PARTS.items():
        _check(name, f"[{part}]", tables[part], [f.name for f in fields(kind)])
        parts[part] = kind(**{k: _number(name, part, k, v) for k, v in tables[part].items()})
    return Limits(**parts)


def _own() -> str:
    return (files(__package__) / "limits.toml").read_text("utf-8")


def _check(name: str, where: str, given: object, wanted: list[str]) -> None:
    names = set(given) if isinstance(given, Mapping) else set()
    if names != set(wanted):
        raise BadRequest(
            f"'{name}': {where} must hold {', '.join(wanted)}; missing: "
            f"{', '.join(sorted(set(wanted) - names)) or 'none'}; not known: "
            f"{', '.join(sorted(map(str, names - set(wanted)))) or 'none'}."
        )


def _number(name: str, part: str, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise BadRequest(f"'{name}': [{part}] {key} must be a number from 0 on, got {value!r}.")
    return float(value)
