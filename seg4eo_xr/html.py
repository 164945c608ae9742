"""Small HTML for notebooks: tables and colour chips. Every text is escaped."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def as_html(value: object) -> Markup:
    """Escape a value's text; `Markup` passes as it is.

    Examples
    --------
    >>> as_html("a < b")
    'a &lt; b'
    """
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def table_html(header: Sequence[object], rows: Sequence[Sequence[object]]) -> Markup:
    """Make a table: the first column to the left, the others to the right.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        Cells, as many a row as columns.

    Examples
    --------
    >>> table_html(["band", "mean"], [["B02", 3]])
    '<table><thead><tr><th style="text-align:left">band</th>...</tr></tbody></table>'
    """
    body = "".join(_row("td", row) for row in rows)
    return Markup(f"<table><thead>{_row('th', header)}</thead><tbody>{body}</tbody></table>")


def _row(tag: str, cells: Sequence[object]) -> str:
    sides = ["left", *["right"] * (len(cells) - 1)]
    shown = (
        f'<{tag} style="text-align:{side}">{as_html(cell)}</{tag}>'
        for side, cell in zip(sides, cells, strict=True)
    )
    return f"<tr>{''.join(shown)}</tr>"


def chip_html(color: str, text: object) -> Markup:
    """Make a patch of colour with a text beside it.

    Parameters
    ----------
    color
        As ``#rrggbb``.
    text
        What it stands for.

    Raises
    ------
    ValueError
        If the colour is written in another way.
    """
    if not _COLOR.fullmatch(color):
        raise ValueError(f"colours are written '#rrggbb', got {color!r}")
    box = f'<span style="background:{color};border:1px solid #888;padding:0 .6em"></span>'
    return Markup(f"{box} {as_html(text)}")


def details_html(summary: object, content: object, *, opened: bool = False) -> Markup:
    """Make a part that unfolds with a click."""
    state = " open" if opened else ""
    return Markup(
        f"<details{state}><summary>{as_html(summary)}</summary>{as_html(content)}</details>"
    )


def lines_html(lines: Sequence[object]) -> Markup:
    """Make a paragraph of lines."""
    return Markup(f"<p>{'<br>'.join(as_html(line) for line in lines)}</p>")
