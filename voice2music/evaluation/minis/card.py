"""The generated part of a model card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from voice2music import __version__
from voice2music.checkpoints import Checkpoint
from voice2music.dataset.shards import write_text
from voice2music.evaluation.minis.lines import HEAD
from voice2music.evaluation.minis.record import Phase
from voice2music.evaluation.minis.sizes import Sizes

BEGIN = "<!-- measured: begin (written by `make minis-report`) -->"
END = "<!-- measured: end -->"

NOTES = (
    "a: melody accuracy after Music ControlNet (CQT C3 to C8, high-pass weight at 261.6 Hz, lag "
    "within 150 ms). f: the same takes against other voices moved to the same tonic. c: the band's "
    '"play my tune" of the same requests through this model\'s codec (or VAE and vocoder). Chords, '
    "key and tempo are heard by librosa-triads, profile correlation and librosa's beat tracker; "
    "their ceiling is the band's own render. Genre and lead are told by a small network that "
    "learnt renders and their reconstructions; its own ceiling is the renders as they are. The "
    "Fréchet distance is taken in its last hidden layer (32 values), floor: white noise, ceiling: "
    "the renders through the codec; with few takes it is biased upwards. Intervals: bootstrap over "
    "voices. n: takes (of so many voices)."
)


@dataclass(frozen=True)
class Run:
    """How the numbers came about.

    Args:
        minutes: that the last run took; `load`: of the machine when it began.
    """

    checkpoint: Checkpoint
    sizes: Sizes
    minutes: float
    load: float


def text(found: Mapping[str, Phase], titles: Sequence[str], run: Run) -> str:
    """The generated part, in Markdown.

    Args:
        found: by title; `titles`: of all phases in their order.
    """
    sizes = run.sizes
    head = (
        f"Measured on {datetime.now(UTC).date().isoformat()} with voice2music {__version__} by "
        f"`make minis-report`; the last run took {run.minutes:.0f} minutes on a CPU on which "
        f"{run.load:.1f} other processes were running when it began; weights "
        f"{run.checkpoint.sha256[:16]}. "
        f"All on the raw output of the network: from noise or tokens, no cascade, no finishing, "
        f"nothing rendered mixed in. At most 10 s of each voice; {sizes.voices} held-out "
        f"synthetic voices × {sizes.seeds}, {_clips(found, sizes)}."
    )
    missing = [title for title in titles if title not in found]
    phases = [found[title] for title in titles if title in found]
    left_out = [f"Not measured this time: {', '.join(missing)}.", ""] if missing else []
    odd = [row for phase in phases for row in phase.odd]
    cases = ["### Odd cases", "", *odd, ""] if odd else []
    table = [HEAD, *(line.row() for phase in phases for line in phase.lines)]
    return "\n".join(["## Measured", "", head, "", *left_out, *table, "", *cases, NOTES])


def _clips(found: Mapping[str, Phase], sizes: Sizes) -> str:
    """Whether the real clips were there."""
    there = "real clips" in found and found["real clips"].lines
    return f"real clips × {sizes.real_seeds}" if there else "no real clips"


def written(card: Path, part: str) -> None:
    """Put `part` between the two markers of a card; what people wrote around them stays.

    A card without markers gets them at its end, a folder without a card gets one.
    """
    before = card.read_text(encoding="utf-8") if card.is_file() else f"# {card.parent.name}\n"
    write_text(card, replaced(before, part))


def replaced(card: str, part: str) -> str:
    """The text of a card with another generated part."""
    marked = f"{BEGIN}\n{part.strip()}\n{END}"
    if BEGIN not in card:
        return f"{card.rstrip()}\n\n{marked}\n"
    head, _, rest = card.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{marked}{tail}"
