from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.html import (
    Markup,
    as_html,
    card_html,
    chip_html,
    details_html,
    lines_html,
    table_html,
    warnings_html,
    with_chips,
)
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
        warnings_html([text]),
        card_html(text, text, lines_html([text])),
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


def test_a_card_takes_the_colours_of_its_theme_and_fetches_nothing():
    shown = card_html("model", "unet", lines_html(["a"]), warnings_html(["b"]))
    style = shown[shown.index("<style>") : shown.index("</style>")]
    # Neither text nor ground has a colour of its own; lines are grey, half clear.
    assert not re.search(r"[;{]color:|background", style)
    assert "rgba(128,128,128,.4)" in style
    for word in ("http", "url(", "@import", "<script", "<img"):
        assert word not in shown
    assert len(shown) < 1200


def test_what_has_no_lines_or_name_makes_no_room():
    assert lines_html([]) == warnings_html([]) == ""
    assert "<span>" not in card_html("leakage", "")


def test_chips_stand_before_the_classes_and_not_before_the_sum():
    rows = with_chips(["#112233"], [["water", 1], ["mean", 2]])
    assert "#112233" in rows[0][0]
    assert rows[1] == ["mean", 2]


def test_texts_stand_to_the_left_and_numbers_to_the_right():
    assert table_html(["a", "b"], [["x", 1]]).count("right") == 2
    assert "right" not in table_html(["a", "b"], [["x", "y"]], texts=True)
