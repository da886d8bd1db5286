"""The generated part of a model card."""

from pathlib import Path

from voice2music.dataset.shards import write_text

BEGIN = "<!-- measured: begin (written by `make minis-report`) -->"
END = "<!-- measured: end -->"


def written(card: Path, text: str) -> None:
    """Put `text` between the two markers of a card; what people wrote around them stays.

    A card without markers gets them at its end, a folder without a card gets one.
    """
    before = card.read_text(encoding="utf-8") if card.is_file() else f"# {card.parent.name}\n"
    write_text(card, replaced(before, text))


def replaced(card: str, text: str) -> str:
    """The text of a card with another generated part."""
    part = f"{BEGIN}\n{text.strip()}\n{END}"
    if BEGIN not in card:
        return f"{card.rstrip()}\n\n{part}\n"
    head, _, rest = card.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{part}{tail}"
