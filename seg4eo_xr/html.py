"""Small HTML for notebooks: cards of tables and colour chips. Every text is escaped.

Text and lines take the colours of the notebook, so that light and dark themes both suit.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_RULE = "1px solid rgba(128,128,128,.4)"
_STYLE = (
    f".seg4eo{{border:{_RULE};border-radius:4px;padding:.4em .8em;margin:.3em 0;"
    "width:fit-content;max-width:100%;box-sizing:border-box;overflow-x:auto}"
    f".seg4eo-name{{border-bottom:{_RULE};padding-bottom:.3em;margin-bottom:.3em}}"
    ".seg4eo-name span{opacity:.75;margin-left:.6em}"
    ".seg4eo p{margin:.4em 0}.seg4eo summary{cursor:pointer}"
    ".seg4eo table{border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums}"
    f".seg4eo th{{font-weight:600;border:0;border-bottom:{_RULE};padding:.15em .7em}}"
    ".seg4eo td{border:0;padding:.15em .7em}"
    ".seg4eo-warning{border-left:4px solid #e69f00;padding-left:.6em}"
)


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


def card_html(kind: object, name: object, *parts: str) -> Markup:
    """Make the frame that all objects of this package are shown in.

    Parameters
    ----------
    kind
        What is shown, as "patch store".
    name
        Which one, as its path; may be empty.
    parts
        HTML of this module, from the top to the bottom.
    """
    head = f"<b>{as_html(kind)}</b>" + (f"<span>{as_html(name)}</span>" if name else "")
    body = f'<div class="seg4eo-name">{head}</div>{"".join(parts)}'
    return Markup(f'<div class="seg4eo"><style>{_STYLE}</style>{body}</div>')


def table_html(
    header: Sequence[object], rows: Sequence[Sequence[object]], *, texts: bool = False
) -> Markup:
    """Make a table: the first column to the left, the others, which are numbers, to the right.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        Cells, as many a row as columns.
    texts
        Whether the other columns hold texts, and stand to the left as well.

    Examples
    --------
    >>> table_html(["band", "mean"], [["B02", 3]])
    '<table><thead><tr><th style="text-align:left">band</th>...</tr></tbody></table>'
    """
    sides = ["left", *["left" if texts else "right"] * (len(header) - 1)]
    body = "".join(_row("td", row, sides) for row in rows)
    head = _row("th", header, sides)
    return Markup(f"<table><thead>{head}</thead><tbody>{body}</tbody></table>")


def _row(tag: str, cells: Sequence[object], sides: Sequence[str]) -> str:
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
    look = f"background:{color};border:1px solid #888;padding:0 .6em;margin-right:.3em"
    box = f'<span style="{look}"></span>'
    return Markup(f"{box} {as_html(text)}")


def with_chips(colors: Sequence[str], rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Put a chip before the first cell of rows, one a class; rows beyond the colours stay.

    Parameters
    ----------
    colors
        As ``#rrggbb``, at most as many as there are rows.
    rows
        Cells, as `table_html` takes them.
    """
    chipped = [
        [chip_html(color, row[0]), *row[1:]] for color, row in zip(colors, rows, strict=False)
    ]
    return [*chipped, *map(list, rows[len(chipped) :])]


def details_html(summary: object, content: object, *, opened: bool = False) -> Markup:
    """Make a part that unfolds with a click."""
    state = " open" if opened else ""
    return Markup(
        f"<details{state}><summary>{as_html(summary)}</summary>{as_html(content)}</details>"
    )


def lines_html(lines: Sequence[object]) -> Markup:
    """Make a paragraph of lines; nothing where there is none."""
    return Markup("" if not lines else f"<p>{'<br>'.join(as_html(line) for line in lines)}</p>")


def warnings_html(problems: Sequence[object]) -> Markup:
    """Make a paragraph for each thing to beware of, with a mark at its side."""
    return Markup(
        "".join(f'<p class="seg4eo-warning">⚠ {as_html(problem)}</p>' for problem in problems)
    )


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a table of plain text: the first column to the left, the others to the right.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        Cells, as many a row as columns.

    Examples
    --------
    >>> print(table_text(["band", "mean"], [["B02", "3"]]))
    band  mean
    B02      3
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in (header, *rows)
    )


def amount_text(number: float | None) -> str:
    """Write an amount with three digits, or all digits before the point; a dash if there is none.

    Examples
    --------
    >>> amount_text(0.12345), amount_text(-12345.6), amount_text(None)
    ('0.123', '-12,346', '–')
    """
    if number is None:
        return "–"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"
