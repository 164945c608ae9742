from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.coding import code_features, common_classes
from seg4eo_xr.scenes.label_options import LabelOptions
from seg4eo_xr.scenes.matching import is_numbered

CROPS = ("maize", "oats", "rye", "wheat")


def _features(values):
    shapes = [shapely.Point(i, 0) for i in range(len(values))]
    return gpd.GeoDataFrame({"crop": list(values)}, geometry=shapes, crs="EPSG:32633")


def _code(values, classes=None, **options):
    return code_features(
        _features(values), "the labels", LabelOptions(column="crop", **options), classes
    )


crops = st.lists(st.sampled_from(CROPS), min_size=1, max_size=6)


@given(st.lists(crops, min_size=1, max_size=4), st.randoms())
def test_with_common_classes_a_name_has_one_code_in_every_file(files, shuffle):
    table = common_classes([_features(names) for names in files], "crop")
    shuffle.shuffle(files)
    assert table == common_classes([_features(names) for names in files], "crop")
    for names in files:
        coding = _code(names, table)
        assert coding.classes == table
        assert [table.names[table.codes.index(code)] for code in coding.codes] == names


@given(crops)
def test_alone_names_are_numbered_in_alphabetical_order(names):
    coding = _code(names)
    assert coding.classes.names == tuple(sorted(set(names)))
    assert coding.classes.codes == tuple(range(1, len(set(names)) + 1))


def test_labels_tell_where_their_codes_were_made_up():
    table = ClassTable.from_codes([3, 5], ["rye", "oats"])
    assert is_numbered(_code(["rye", "oats"]).to_attrs())
    assert not is_numbered(_code(["rye", "oats"], table).to_attrs())
    assert not is_numbered(_code(["311", "112"]).to_attrs())


def test_texts_of_digits_are_codes():
    assert _code(["311", "112", None]).codes.tolist() == [311, 112, 255]
    assert common_classes([_features(["311"]), _features([112])], "crop").codes == (112, 311)


def test_codes_without_a_label_are_ignored():
    coding = _code([0, 1, 2, 9], unlabelled=(0, 9))
    assert coding.codes.tolist() == [255, 1, 2, 255]
    assert coding.classes.codes == (1, 2)
    assert _code([0, 1], unlabelled=(0,), background=0).background == 255


@given(crops, st.sets(st.sampled_from(CROPS), min_size=1))
def test_names_without_a_label_are_ignored_and_the_others_keep_their_codes(names, dropped):
    dropped &= set(names)
    if dropped == set(names):
        with pytest.raises(ValueError, match="missing values and what is unlabelled"):
            _code(names, unlabelled=tuple(dropped))
        return
    whole, coding = _code(names), _code(names, unlabelled=tuple(dropped))
    gone = np.isin(names, list(dropped))
    assert (coding.codes[gone] == 255).all()
    assert np.array_equal(coding.codes[~gone], whole.codes[~gone])
    assert set(coding.classes.names) == set(names) - dropped
    # with a table, whether that holds what is dropped or not
    for table in (whole.classes, coding.classes):
        again = _code(names, table, unlabelled=tuple(dropped))
        assert np.array_equal(again.codes, coding.codes)
        assert again.classes.names == coding.classes.names


def test_unlabelled_names_must_be_classes():
    with pytest.raises(
        ValueError, match=r"names \['forrest'\].*only the classes \['oats', 'rye'\]"
    ):
        _code(["rye", "oats"], unlabelled=("forrest",))
    table = ClassTable.from_codes([3, 5], ["rye", "oats"])
    assert _code([3, 5, 3], table, unlabelled=("rye",)).codes.tolist() == [255, 5, 255]


def test_a_table_names_what_is_unknown():
    table = ClassTable.from_codes([3, 5], ["rye", "oats"])
    assert _code(["oats", " rye "], table).codes.tolist() == [5, 3]
    with pytest.raises(ValueError, match=r"\['barley'\].*not in the class table \['rye', 'oats'\]"):
        _code(["oats", "barley"], table)
    with pytest.raises(ValueError, match=r"codes \[7\].*not in the class table \[3, 5\]"):
        _code([3, 7], table)
    with pytest.raises(ValueError, match=r"codes \[0\]"):
        _code([3], table, background=0)


def test_common_classes_need_one_kind_of_column(tmp_path):
    path = tmp_path / "crops.gpkg"
    _features(["rye"]).to_file(path)
    assert common_classes([path, str(path)], "crop").names == ("rye",)
    with pytest.raises(ValueError, match="codes, such as 4, in some of the 2 sources and names"):
        common_classes([path, _features([4])], "crop")
    with pytest.raises(ValueError, match=r"crops\.gpkg.*no column 'kind'.*'crop'"):
        common_classes([path], "kind")
    with pytest.raises(ValueError, match="names no class"):
        common_classes([_features([np.nan])], "crop")
    with pytest.raises(FileNotFoundError, match=r"none\.gpkg"):
        common_classes([tmp_path / "none.gpkg"], "crop")
