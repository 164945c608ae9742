from __future__ import annotations

import json

import dask
import dask.array as da
import geopandas as gpd
import numpy as np
import pytest
import sklearn.metrics
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from seg4eo_xr.evaluation.confusion import Evaluation, confusion_matrix, evaluate
from seg4eo_xr.maps.cog import write_cog
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2

CODES = [1, 4, 7, 9]


def random_codes(seed, shape=(30, 40), missing=255):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([1, 4, 7, missing], np.int16), shape)


@pytest.fixture(scope="module")
def reference():
    return synthetic_sentinel2((90, 80), seed=2)[1]


@pytest.fixture(scope="module")
def prediction(reference):
    """The reference with a part of it wrong and a corner missing, in chunks."""
    codes = reference.values.copy()
    codes[40:60] = np.where(codes[40:60] == 255, 255, 2)
    codes[:, :9] = 255
    return reference.copy(data=da.from_array(codes, chunks=32)).to_dataset(name="classes")


@settings(deadline=None)
@given(
    st.integers(0, 99),
    st.sampled_from([(30, 40), (7, 11), ((10, 20), (40,)), (1, 40)]),
    st.sampled_from(["uint8", "int16"]),
)
def test_it_equals_scikit_learn_whatever_the_chunks(seed, chunks, dtype):
    predicted, labels = random_codes(seed).astype(dtype), random_codes(seed + 1)
    counted = (predicted != 255) & (labels != 255)
    oracle = sklearn.metrics.confusion_matrix(labels[counted], predicted[counted], labels=CODES)
    matrix = confusion_matrix(da.from_array(predicted, chunks=chunks), labels, CODES)
    np.testing.assert_array_equal(matrix.compute(scheduler="synchronous"), oracle)


def test_other_nodata_codes_are_not_counted_either():
    predicted, labels = random_codes(0, missing=0), random_codes(1, missing=-1)
    counted = (predicted != 0) & (labels != -1)
    matrix = confusion_matrix(predicted, labels, CODES, nodata=0, ignore=-1).compute()
    assert matrix.sum() == counted.sum()


def test_building_it_computes_nothing():
    with dask.config.set(scheduler=raising_scheduler):
        assert confusion_matrix(da.zeros((8, 8), chunks=4), da.zeros((8, 8)), [0]).shape == (1, 1)


@pytest.mark.parametrize(
    ("predicted", "labels", "says"),
    [([[1]], [[3]], "the reference holds the class codes 3"), ([[200]], [[1]], "the map holds")],
)
def test_a_code_that_is_no_class_is_an_error(predicted, labels, says):
    matrix = confusion_matrix(np.array(predicted), np.array(labels), [1, 2])
    with pytest.raises(ValueError, match=says):
        matrix.compute()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="reproject_match"):
        confusion_matrix(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), [0])


def test_scores_equal_scikit_learn(prediction, reference):
    result = evaluate(prediction, reference)
    predicted, labels = prediction["classes"].values.ravel(), reference.values.ravel()
    counted = (predicted != 255) & (labels != 255)
    predicted, labels = predicted[counted], labels[counted]
    assert result.pixels == counted.sum()
    assert result.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    assert result.miou == pytest.approx(
        sklearn.metrics.jaccard_score(labels, predicted, average="macro")
    )
    names = ("water", "forest", "grassland", "cropland", "bare soil", "built-up")
    assert tuple(result.per_class) == names


def test_a_file_is_evaluated_as_the_array_it_holds(prediction, reference, tmp_path):
    path = write_cog(prediction, tmp_path / "map.tif")
    write_cog(reference.to_dataset(name="classes"), tmp_path / "labels.tif")
    result = evaluate(path, tmp_path / "labels.tif")
    np.testing.assert_array_equal(result.matrix, evaluate(prediction, reference).matrix)
    assert result.classes == ClassTable.from_attrs(reference.attrs)


def test_a_vector_reference_is_matched_by_class_name(prediction, reference):
    left, bottom, right, top = reference.rio.bounds()
    middle = (left + right) / 2
    features = gpd.GeoDataFrame(
        {"cover": ["forest", "built-up"]},
        geometry=[box(left, bottom, middle, top), box(middle, bottom, right, top)],
        crs=reference.rio.crs,
    ).to_crs(4326)
    with dask.config.set(scheduler="synchronous"):
        result = evaluate(prediction, features, column="cover")
    support = {name: row["support"] for name, row in result.per_class.items()}
    assert {name for name, pixels in support.items() if pixels} == {"forest", "built-up"}


def test_other_grids_are_refused(prediction, reference):
    with pytest.raises(ValueError, match="different shapes"):
        evaluate(prediction, reference.isel(y=slice(50)))


def test_a_reference_of_another_grid_is_warped_on_request(prediction, reference):
    part = reference.isel(y=slice(50)).copy()
    result = evaluate(prediction, part, warp=True)
    whole = evaluate(prediction, reference.where(reference.y >= part.y[-1], 255).astype("uint8"))
    np.testing.assert_array_equal(result.matrix, whole.matrix)


def test_codes_beyond_a_byte_are_counted_as_they_are(prediction, reference):
    codes = [111, 211, 231, 311, 324, 523]
    table = ClassTable.from_codes(codes, ClassTable.from_attrs(reference.attrs).names)

    def wide(layer, nodata, dtype):
        lookup = np.full(256, nodata, dtype)
        lookup[list(ClassTable.from_attrs(reference.attrs).codes)] = codes
        return layer.copy(data=lookup[layer.values]).assign_attrs(
            {**table.to_attrs(), "_FillValue": nodata}
        )

    mapped = wide(prediction["classes"], 65535, np.uint16)
    result = evaluate(mapped, wide(reference, 255, np.int16))
    np.testing.assert_array_equal(result.matrix, evaluate(prediction, reference).matrix)
    assert result.classes == table
    bare = mapped.drop_attrs(deep=False).rio.write_nodata(65535)
    labels = wide(reference, 255, np.int16).drop_attrs(deep=False).rio.write_nodata(255)
    assert set(evaluate(bare, labels).classes.codes) <= set(codes)


def test_nothing_to_compare_is_an_error(prediction, reference):
    with pytest.raises(ValueError, match="no pixel to compare"):
        evaluate(prediction, xr.full_like(reference, 255))


def test_a_dataset_without_classes_is_refused(prediction, reference):
    several = prediction.rename(classes="one").assign(other=prediction["classes"])
    with pytest.raises(ValueError, match="no layer 'classes'"):
        evaluate(several, reference)


def test_the_only_layer_may_bear_any_name(prediction, reference):
    renamed = evaluate(prediction[["classes"]].rename(classes="landcover"), reference)
    assert renamed.matrix.tolist() == evaluate(prediction, reference).matrix.tolist()


def test_without_any_table_the_codes_that_occur_are_the_classes(prediction, reference):
    bare = prediction["classes"].copy()
    bare.attrs = {"_FillValue": 255}
    labels = reference.copy()
    labels.attrs = {"_FillValue": 255}
    codes = evaluate(bare, labels).classes.codes
    assert set(codes) == set(np.unique(reference)) - {255}


def test_the_report_is_json_with_null_for_absent_classes(tmp_path):
    result = Evaluation(
        np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), ClassTable.from_codes([1, 2, 3])
    )
    report = json.loads(result.to_json(tmp_path / "report.json").read_text())
    assert report["miou"] == pytest.approx(0.775)
    assert report["per_class"]["class 3"]["iou"] is None
    assert report["confusion_matrix"] == [[3, 1, 0], [0, 4, 0], [0, 0, 0]]
    assert report["pixels"] == 8


def test_the_table_lines_up_and_names_every_class():
    result = Evaluation(
        np.array([[30000, 1], [0, 4]]), ClassTable.from_codes([1, 2], ["é", "bare soil"])
    )
    lines = str(result).splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[1].startswith("é ")
    assert "30,001" in lines[1]
    assert lines[-1].startswith("accuracy 1.000")
