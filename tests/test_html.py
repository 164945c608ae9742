from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.html import Markup, as_html, chip_html, details_html, lines_html, table_html
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import plain_contract

# What XML cannot hold at all is left out: the parser is the oracle.
texts = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), max_size=20)


def texts_of(markup: str) -> list[str]:
    root = ElementTree.fromstring(f"<body>{markup}</body>".replace("<br>", "<br/>"))
    return [part for part in root.itertext() if part]


@given(st.lists(st.lists(texts, min_size=2, max_size=2), max_size=4))
def test_a_table_says_its_cells_and_nothing_else(rows):
    shown = table_html(["a", "b"], rows)
    assert texts_of(shown) == ["a", "b", *(cell for row in rows for cell in row if cell)]


@given(texts)
def test_no_text_becomes_markup(text):
    for shown in (
        as_html(text),
        lines_html([text]),
        chip_html("#00ff00", text),
        details_html(text, "x"),
    ):
        assert text in "".join(texts_of(shown))


def test_markup_is_not_escaped_twice():
    assert as_html(as_html("&")) == "&amp;"
    assert table_html(["a"], [[Markup("<b>x</b>")]]).count("<b>") == 1


def test_a_colour_is_a_colour():
    with pytest.raises(ValueError, match="rrggbb"):
        chip_html('red;"><script>', "x")


TABLE = ClassTable.from_codes([1, 7], ["a < b", "<script>"], ["#112233", "#445566"])


def joined(markup: str) -> str:
    return "|".join(texts_of(markup))


def test_a_class_table_shows_codes_names_and_colours_and_escapes_them():
    shown = TABLE._repr_html_()
    assert "<script>" not in shown
    for word in ("1", "7", "a < b", "<script>"):
        assert word in joined(shown)
    for color in TABLE.colors:
        assert color in shown


def test_a_contract_shows_its_bands_its_numbers_and_its_classes():
    contract = plain_contract(["B&W", "nir"], TABLE, bright=4321.0)
    words = joined(contract._repr_html_())
    for word in ("B&W", "nir", "4321", "nodata 0", "10 × 10 m", "percentile", "a < b"):
        assert word in words
    assert "no nodata value" in joined(plain_contract(["nir"], TABLE, nodata=None)._repr_html_())
