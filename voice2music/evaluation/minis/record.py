"""What was measured so far of one model's weights, kept between runs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from voice2music.dataset.shards import write_text
from voice2music.evaluation.intervals import Estimate
from voice2music.evaluation.minis.lines import Line


@dataclass(frozen=True)
class Phase:
    """What one phase found: lines of the table, and rows of the table of odd cases."""

    lines: tuple[Line, ...] = ()
    odd: tuple[str, ...] = ()


def kept(path: Path) -> dict[str, Phase]:
    """The phases by title; none where nothing was kept."""
    if not path.is_file():
        return {}
    phases = json.loads(path.read_text(encoding="utf-8"))
    return {title: _phase(values) for title, values in phases.items()}


def keep(path: Path, phases: dict[str, Phase]) -> None:
    """Write them, the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({title: asdict(phase) for title, phase in phases.items()}))


def _phase(values: dict[str, list[dict[str, object]]]) -> Phase:
    lines = []
    for line in values["lines"]:
        given = dict(line)
        value = Estimate(**given.pop("value"))  # type: ignore[arg-type]
        lines.append(Line(value=value, **given))  # type: ignore[arg-type]
    return Phase(tuple(lines), tuple(map(str, values["odd"])))
