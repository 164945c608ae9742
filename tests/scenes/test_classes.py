from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.scenes.classes import ClassTable, default_color

names = st.text(
    st.characters(
        min_codepoint=32,
        max_codepoint=0x2FF,
        exclude_categories=["Cc", "Zs"],
        exclude_characters=";",
    ),
    min_size=1,
    max_size=12,
)


@st.composite
def tables(draw):
    one_byte, two_bytes = st.integers(0, 254), st.integers(-32768, 32767).filter(lambda c: c != 255)
    codes = sorted(draw(st.sets(one_byte | two_bytes, min_size=1, max_size=12)))
    chosen = draw(st.lists(names, min_size=len(codes), max_size=len(codes), unique=True))
    return ClassTable.from_codes(codes, chosen)


@given(tables(), st.data())
def test_encode_inverts_the_codes(table, data):
    indices = np.array(
        data.draw(st.lists(st.sampled_from([*range(len(table)), 255]), min_size=1, max_size=20)),
        np.uint8,
    )
    codes = np.array([*table.codes, *[0] * (255 - len(table)), 255])[indices]
    assert np.array_equal(table.encode(codes.astype(np.int16), ignore=255), indices)


@given(tables())
def test_tables_survive_attributes_and_json(table):
    assert ClassTable.from_attrs(table.to_attrs()) == table
    assert ClassTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    meanings = table.to_attrs()["flag_meanings"].split()
    assert len(meanings) == len(table)


@pytest.mark.parametrize("name", ["", " ", "a; b", " wood"])
def test_names_that_would_not_survive_a_file_are_refused(name):
    with pytest.raises(ValueError, match="a class name is a text without"):
        ClassTable.from_codes([1], [name])


@pytest.mark.parametrize("values", ["[1, 4]", "(1, 4)", "1,4", "1 4"])
def test_codes_are_read_from_the_texts_of_a_geotiff(values):
    attrs = {"flag_values": values, "class_names": "water; dry land"}
    assert ClassTable.from_attrs(attrs) == ClassTable.from_codes([1, 4], ["water", "dry land"])


def test_attributes_of_other_writers_are_read():
    attrs = {"flag_values": np.array([1, 4], np.int8), "flag_meanings": "water dry_land"}
    table = ClassTable.from_attrs(attrs)
    assert (table.codes, table.names) == ((1, 4), ("water", "dry_land"))
    assert ClassTable.from_attrs({"units": "m"}) is None


@given(tables(), st.sets(st.integers(0, 254), max_size=250))
def test_what_remains_without_some_codes_keeps_name_and_colour(table, dropped):
    if dropped >= set(table.codes):
        with pytest.raises(ValueError, match="at least one class"):
            table.without(dropped)
        return
    rest = table.without(dropped)
    rows = zip(table.codes, table.names, table.colors, strict=True)
    expected = [row for row in rows if row[0] not in dropped]
    assert list(zip(rest.codes, rest.names, rest.colors, strict=True)) == expected


def test_unknown_codes_are_named():
    with pytest.raises(
        ValueError, match=r"\[3, 9\].*not in the class table \[1, 2\].*--unlabelled"
    ):
        ClassTable.from_codes([1, 2]).encode(np.array([[1, 3], [9, 255]]), ignore=255)


def test_any_shape_is_encoded():
    table = ClassTable.from_codes([0, 1])
    assert table.encode(np.zeros((2, 3, 4), np.uint8), ignore=255).shape == (2, 3, 4)
    assert table.encode(np.zeros((0, 4), np.uint8), ignore=255).shape == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), (), ()), "at least one class"),
        ((tuple(range(256)), ("n",) * 256, ("#000000",) * 256), "at most 255"),
        (((2, 1), ("a", "b"), ("#000000",) * 2), "must ascend"),
        (((1, 1), ("a", "b"), ("#000000",) * 2), "must ascend"),
        (((0, 40000), ("a", "b"), ("#000000",) * 2), r"16 bits.*40000"),
        (((1, 2), ("a",), ("#000000",) * 2), "1 names"),
        (((1,), ("a",), ("red",)), "#rrggbb"),
    ],
)
def test_impossible_tables_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassTable(*arguments)


def _in_lab(colors):
    """CIE L*a*b* of colours ``#rrggbb``, of which a distance of 1 is just seen."""
    rgb = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(linear @ np.transpose(to_xyz) / [0.9505, 1, 1.089]).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_colours_differ():
    colors = [default_color(i) for i in range(40)]
    lab = _in_lab([*colors, "#d9d9d9", "#ffffff"])  # and from the background and from paper
    apart = np.linalg.norm(lab[:, None] - lab, axis=2)
    assert apart[~np.eye(len(lab), dtype=bool)].min() > 13
    assert ClassTable.from_codes(range(40)).rgb().shape == (40, 3)
