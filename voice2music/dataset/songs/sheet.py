"""A sheet of sentences, tables and pictures, as Markdown and as one HTML file.

Texts come from strangers: whatever they hold, they stay text. That is done here, in the last step,
and nowhere else.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import count

LONGEST = 1_000  # characters of a text; more is cut
_BLOCKS_OF_MARKDOWN = 20  # the longest bar
# Control characters, line and paragraph separators, and marks that turn the direction of all that
# follows. Joiners stay: Persian and some emoji are spelled with them.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
# Nothing may be loaded or run, even if a text did break out.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Table:
    """Rows under a caption.

    Args:
        caption: what it shows.
        head: names of the columns.
        rows: one cell per column, numbers written out already.
        words: how many columns, from the left, hold words; numbers are set right.
        bars: for each row 0 to 1, drawn beside it; empty where there is nothing to draw.
        wide: has long texts and needs the whole page; others stand side by side.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    bars: tuple[float, ...] = ()
    wide: bool = False


@dataclass(frozen=True)
class Figure:
    """Pictures of one stretch of time; Markdown leaves them out.

    Args:
        title: of all of them.
        facts: short texts to set under the title.
        pictures: by name, PNG.
        seconds: that each shows.
    """

    title: str
    facts: tuple[str, ...]
    pictures: dict[str, bytes]
    seconds: float


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it; a text is a paragraph."""

    title: str
    blocks: tuple[str | Table | Figure, ...]


@dataclass(frozen=True)
class Sheet:
    """All of it; `lead` says the most important in a sentence or two."""

    title: str
    lead: str
    sections: tuple[Section, ...]


def markdown(sheet: Sheet) -> str:
    """The sheet in GitHub's Markdown, without pictures."""
    parts = [f"# {_marked(sheet.title)}", _marked(sheet.lead)]
    for section in sheet.sections:
        parts.append(f"## {_marked(section.title)}")
        for block in section.blocks:
            if isinstance(block, Table):
                parts += [f"### {_marked(block.caption)}", _markdown_table(block)]
            elif isinstance(block, str):
                parts.append(_marked(block))
    return "\n\n".join(parts) + "\n"


def html(sheet: Sheet) -> str:
    """The sheet as one HTML file that loads nothing and runs nothing."""
    numbers = count(1)
    sections = "".join(_section(section, numbers) for section in sheet.sections)
    style = (files(__package__) / "sheet.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(sheet.title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n<header>\n<h1>{_text(sheet.title)}</h1>\n"
        f'<p class="lead">{_text(sheet.lead)}</p>\n</header>\n{sections}</main>\n</body>\n</html>\n'
    )


def _one_line(text: str) -> str:
    """A text in one line that can be written as UTF-8, at most `LONGEST` characters."""
    seen = _UNSEEN.sub(" ", text.encode("utf-8", "replace").decode("utf-8"))
    line = " ".join(seen.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _marked(text: str) -> str:
    """A text in which Markdown finds no marks, nor a browser tags."""
    # Entities where a reader of Markdown without GitHub's rules would take a backslash for itself.
    plain = escape(_one_line(text), quote=False)
    return re.sub(r"([\\`*_\[\]~$])", r"\\\1", plain).replace("|", "&#124;")


def _text(text: str) -> str:
    return escape(_one_line(text))


def _own(text: str) -> str:
    """A text with a writing direction of its own, so that it does not turn its neighbours."""
    return f"<bdi>{_text(text)}</bdi>"


def _markdown_table(table: Table) -> str:
    drawn = [("█" * max(round(bar * _BLOCKS_OF_MARKDOWN), bar > 0),) for bar in table.bars]
    rows = [
        tuple(map(_marked, row)) + (drawn[i] if drawn else ()) for i, row in enumerate(table.rows)
    ]
    head = tuple(map(_marked, table.head)) + (("",) if drawn else ())
    rule = ["---" if i < table.words or i >= len(table.head) else "---:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _section(section: Section, numbers: "count[int]") -> str:
    blocks = "".join(_block(block, next(numbers)) for block in section.blocks)
    return f"<section>\n<h2>{_text(section.title)}</h2>\n{blocks}</section>\n"


def _block(block: str | Table | Figure, number: int) -> str:
    if isinstance(block, Table):
        return _table(block, f"table-{number}")
    return _figure(block) if isinstance(block, Figure) else f"<p>{_text(block)}</p>\n"


def _table(table: Table, name: str) -> str:
    """In a box that scrolls by itself, also with the keyboard."""
    kind = "histogram" if table.bars else "wide" if table.wide else "half"
    head = "".join(
        f'<th scope="col"{"" if i < table.words else _NUMBER}>{_text(cell)}</th>'
        for i, cell in enumerate(table.head)
    )
    head += "<td></td>" if table.bars else ""
    rows = "".join(_row(table, i) for i in range(len(table.rows)))
    return (
        f'<div class="{kind}">\n<h3 id="{name}">{_text(table.caption)}</h3>\n'
        f'<div class="scroll" role="group" aria-labelledby="{name}" tabindex="0">\n'
        f'<table aria-labelledby="{name}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table>\n</div>\n</div>\n"
    )


_NUMBER = ' class="number"'


def _row(table: Table, index: int) -> str:
    first, *others = table.rows[index]
    cells = [f'<th scope="row">{_own(first)}</th>']
    for i, cell in enumerate(others, 1):
        words = i < table.words
        cells.append(f"<td>{_own(cell)}</td>" if words else f"<td{_NUMBER}>{_text(cell)}</td>")
    if table.bars:  # the number beside it says the same to those who cannot see it
        width = f"{100 * table.bars[index]:.1f}%"
        cells.append(f'<td class="bar" aria-hidden="true"><i style="width:{width}"></i></td>')
    return f"<tr>{''.join(cells)}</tr>\n"


def _figure(figure: Figure) -> str:
    facts = " · ".join(map(_own, figure.facts))
    pictures = "".join(_picture(name, png, figure) for name, png in figure.pictures.items())
    times = "".join(f"<span>{figure.seconds * part:.3g} s</span>" for part in (0, 0.5, 1))
    return (
        f'<div class="figure">\n<h3>{_own(figure.title)}</h3>\n<p>{facts}</p>\n{pictures}'
        f'<div class="times" aria-hidden="true">{times}</div>\n</div>\n'
    )


def _picture(name: str, png: bytes, figure: Figure) -> str:
    what = f"{name} of {figure.title}: spectrogram of {figure.seconds:.3g} s"
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return (
        f"<figure><figcaption>{_text(name)}</figcaption>"
        f'<img alt="{_text(what)}" src="{source}"></figure>\n'
    )
