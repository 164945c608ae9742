from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.coding import code_features, common_classes
from seg4eo_xr.scenes.label_options import LabelOptions, LabelWarning
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.matching import is_numbered
from seg4eo_xr.scenes.vectors import read_vector
from seg4eo_xr.testing import synthetic_sentinel2

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


def test_negative_codes_are_told_unless_they_are_named():
    told = r"-1 in 2 of 5 features \(40 %\).*--unlabelled -1\)"
    with pytest.warns(LabelWarning, match=told):
        assert _code([-1, 3, -1, 4, None]).classes.codes == (-1, 3, 4)
    assert _code([-1, 3], unlabelled=(-1,)).classes.codes == (3,)
    assert _code([-1, 3], ClassTable.from_codes([-1, 3])).classes.codes == (-1, 3)
    with pytest.warns(LabelWarning, match=r"'crop' holds the negative codes \[-1\]"):
        common_classes([_features([-1, 3])], "crop")


def test_texts_of_digits_are_codes():
    assert _code(["311", "112", None]).codes.tolist() == [311, 112, 255]
    assert common_classes([_features(["311"]), _features([112])], "crop").codes == (112, 311)


def test_texts_that_differ_and_are_one_number_are_told():
    with pytest.warns(LabelWarning, match=r"'011' and '11'.*one class, 11.*rename them"):
        assert _code(["011", "11", "+12", "12.0"]).classes.codes == (11, 12)


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


def test_empty_texts_are_unlabelled_and_texts_for_nothing_are_told():
    coding = _code(["rye", "", "  ", None, "oats"])
    assert coding.classes.names == ("oats", "rye")
    assert coding.codes.tolist() == [2, 255, 255, 255, 1]
    assert common_classes([_features(["rye", ""])], "crop").names == ("rye",)
    with pytest.warns(LabelWarning, match="text 'nan' in 2 features"):
        assert _code(["3", "nan", "4", "NaN"]).codes.tolist() == [3, 255, 4, 255]
    with pytest.warns(LabelWarning, match="text '<NA>' in 1 features"):
        assert _code(["rye", "<NA>"]).classes.names == ("rye",)


def test_codes_with_points_are_names():
    coding = _code(["1.1", "2.1", "1.1"])
    assert coding.classes.names == ("1.1", "2.1")
    assert coding.codes.tolist() == [1, 2, 1]
    assert _code(["1.0", "7.", 3]).codes.tolist() == [1, 7, 3]
    with pytest.warns(LabelWarning, match=r"digits, as '2', and others, as '1\.1'"):
        assert _code(["2", "1.1"]).classes.names == ("1.1", "2")
    for values in ([1, 2.5], [1.0, np.inf]):
        with pytest.raises(ValueError, match=r"holds fractions, as (2\.5|inf)"):
            _code(values)


def test_names_that_differ_in_capitals_are_one_class():
    with pytest.warns(LabelWarning, match="'rye' as 'Rye'"):
        coding = _code(["rye", "oats", "Rye"])
    assert coding.classes.names == ("Rye", "oats")
    assert coding.codes.tolist() == [1, 2, 1]
    table = ClassTable.from_codes([3, 5], ["RYE", "oats"])
    assert _code(["rye", "Oats", "Rye"], table).codes.tolist() == [3, 5, 3]
    both = ClassTable.from_codes([3, 5], ["rye", "Rye"])
    assert _code(["rye", "Rye"], both).codes.tolist() == [3, 5]
    assert _code(["rye", "Oats"], unlabelled=("RYE",)).codes.tolist() == [255, 1]


def test_semicolons_in_names_become_commas():
    coding = _code(["rye; oats", "wheat"])
    assert ClassTable.from_attrs(coding.to_attrs()).names == ("rye, oats", "wheat")
    table = ClassTable.from_codes([4, 6], ["rye, oats", "wheat"])
    assert _code(["rye; oats", "wheat"], table).codes.tolist() == [4, 6]


def test_numbers_of_names_keep_away_from_the_background():
    coding = _code(["rye", "oats"], background=1)
    assert coding.classes.code_of == {"background": 1, "oats": 2, "rye": 3}
    with pytest.raises(ValueError, match=r"background.* is 1, which is the code of all features"):
        code_features(_features(["rye"]), "the labels", LabelOptions(background=1), None)


def test_columns_that_cannot_hold_classes_are_named():
    twice = _features(["rye", "oats"])
    twice["kind"] = ["a", "b"]
    twice.columns = ["crop", "geometry", "crop"]
    with pytest.raises(ValueError, match="2 columns 'crop'; rename or drop"):
        code_features(twice, "the labels", LabelOptions(column="crop"), None)
    with pytest.raises(ValueError, match=r"no column 'geometry'; the columns are \['crop'\]"):
        code_features(_features(["rye"]), "the labels", LabelOptions(column="geometry"), None)


def test_points_need_a_column_or_a_background():
    points = _features(["rye", "oats"])
    with pytest.raises(ValueError, match=r"are points.*\(--column\)"):
        code_features(points, "the labels", LabelOptions(), None)
    coding = code_features(points, "the labels", LabelOptions(background=0), None)
    assert coding.codes.tolist() == [1, 1]


def test_a_scene_without_features_is_background_where_that_is_a_class():
    scene, _ = synthetic_sentinel2((64, 64))
    nothing = _features(["rye"]).iloc[:0]
    labels = open_labels(nothing, like=scene, column="crop", background=0)
    assert np.unique(labels).tolist() == [0]
    assert ClassTable.from_attrs(labels.attrs).names == ("background",)
    for options in ({}, {"column": "crop"}):
        with pytest.raises(ValueError, match="no geometry in their 0 rows"):
            open_labels(nothing, like=scene, **options)


def test_the_encoding_of_a_shapefile_can_be_named(tmp_path):
    path = tmp_path / "crops.shp"
    _features(["Öl", "Rüben"]).to_file(path, encoding="cp1252")
    path.with_suffix(".cpg").write_text("UTF-8")
    assert read_vector(path, encoding="cp1252")["crop"].tolist() == ["Öl", "Rüben"]
    scene, _ = synthetic_sentinel2((64, 64))
    west, south, east, north = scene.rio.bounds()
    whole = _features(["Öl"]).set_geometry([shapely.box(west, south, east, north)])
    whole.set_crs(scene.rio.crs, allow_override=True).to_file(path, encoding="cp1252")
    path.with_suffix(".cpg").write_text("UTF-8")
    labels = open_labels(path, like=scene, column="crop", encoding="cp1252")
    assert ClassTable.from_attrs(labels.attrs).names == ("Öl",)
    with pytest.raises(OSError, match=r"cannot read the texts.*\(--encoding\)"):
        open_labels(path, like=scene, column="crop")
