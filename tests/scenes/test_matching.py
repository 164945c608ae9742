from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.scenes.matching import joined

NAMES = ("water", "Forest", "meadow", "rock", "snow")


@st.composite
def tables(draw):
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    codes = draw(
        st.lists(st.integers(0, 99), min_size=len(names), max_size=len(names), unique=True)
    )
    return ClassTable.from_codes(sorted(codes), names)


@pytest.mark.filterwarnings("ignore::seg4eo_xr.LabelWarning")
@given(tables(), tables())
def test_the_first_table_stays_and_every_class_of_the_second_has_a_place(first, second):
    table, codes = joined(first, second)
    assert set(codes) == set(second.codes)
    assert len(set(codes.values())) == len(second)
    assert set(codes.values()) <= set(table.codes)
    named = dict(zip(table.codes, table.names, strict=True))
    assert {named[code] for code in first.codes} == set(first.names)
    if set(first.names) & set(second.names):
        for name, code in second.code_of.items():
            assert named[codes[code]] == name


@given(tables())
def test_capitals_make_no_other_class(table):
    louder = ClassTable.from_codes(table.codes, [name.upper() for name in table.names])
    for by_name in (False, True):
        assert joined(table, louder, by_name=by_name) == joined(table, table)


def test_where_names_must_match_one_at_least_does():
    ours = ClassTable.from_codes([0, 1, 2], ["background", "water", "forest"])
    table, codes = joined(ours, ClassTable.from_codes([1, 2], ["Forest", "Schnee"]), by_name=True)
    assert table.names[codes[1]] == "forest"
    assert table.names[codes[2]] == "Schnee"
    # two spellings of one class
    spelt = ClassTable.from_codes([1, 2], ["Forest", "forest"])
    assert joined(ours, spelt, by_name=True)[1] == {1: 2, 2: 2}
    foreign = ClassTable.from_codes([0, 1, 2], ["background", "Wald", "Wasser"])
    with pytest.warns(LabelWarning, match="2 is 'forest' and 'Wasser'"):
        assert joined(ours, foreign)[1] == {0: 0, 1: 1, 2: 2}
    with pytest.raises(ValueError, match=r"'Wald', 'Wasser'.*none.*'water', 'forest'.*classes="):
        joined(ours, foreign, by_name=True)


def test_a_name_of_several_codes_in_one_table_alone_is_refused():
    ours = ClassTable.from_codes([1, 2, 3], ["water", "forest", "Forest"])
    assert joined(ours, ours)[1] == {1: 1, 2: 2, 3: 3}
    theirs = ClassTable.from_codes([1, 5], ["water", "forest"])
    for pair in ((ours, theirs), (theirs, ours)):
        with pytest.raises(ValueError, match=r"'forest' has the codes .*\[2, 3\].*reclassify"):
            joined(*pair)
    with pytest.raises(ValueError, match=r"'forest' has the codes \[2, 3\]"):
        joined(ours, theirs, by_name=True)
