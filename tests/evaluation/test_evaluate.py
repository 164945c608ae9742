from __future__ import annotations

import json
import warnings

import geopandas as gpd
import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics.functional.classification as oracle
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from places import CRS, HEIGHT, TABLE, WIDTH, ZONES, raster, square
from scipy.ndimage import binary_erosion

import seg4eo_xr as seg
from seg4eo_xr.evaluation.confusion import evaluate
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import chunkings, synthetic_sentinel2


def codes_of(seed, blob=5, missing=0.1):
    """Classes in blobs, some pixels missing."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice([1, 2, 5], (HEIGHT // blob + 1, WIDTH // blob + 1))
    codes = coarse.repeat(blob, 0).repeat(blob, 1)[:HEIGHT, :WIDTH].astype(np.uint8)
    codes[rng.random(codes.shape) < missing] = 255
    return codes


def inside(*rectangles):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for left, top, right, bottom in rectangles:
        mask[top:bottom, left:right] = True
    return mask


MASKS = {
    "west": inside((0, 0, 15, 30), (12, 0, 18, 9)),
    "middle": inside((10, 5, 33, 26)),
}


def counted_matrix(predicted, labels, where=True):
    counted = (predicted != 255) & (labels != 255) & where
    return sklearn.metrics.confusion_matrix(labels[counted], predicted[counted], labels=[1, 2, 5])


@given(st.integers(0, 99), chunkings(HEIGHT), chunkings(WIDTH))
@settings(max_examples=25)
def test_zones_and_borders_are_those_of_the_whole_image_whatever_the_chunks(seed, rows, cols):
    predicted, labels = codes_of(seed), codes_of(seed + 1, blob=7)
    result = evaluate(
        raster(predicted, (rows, cols)),
        raster(labels),
        zones=ZONES,
        zone_column="name",
        border_widths=(1, 4),
    )
    np.testing.assert_array_equal(result.matrix, counted_matrix(predicted, labels))
    assert list(result.zones) == ["west", "middle"]
    for name, mask in MASKS.items():
        expected = counted_matrix(predicted, labels, mask)
        np.testing.assert_array_equal(result.zones[name].matrix, expected)
    whole = evaluate(raster(predicted), raster(labels), border_widths=(1, 4))
    for width in (1, 4):
        for part in ("both", "reference", "prediction"):
            one, other = (getattr(found.borders[width], part) for found in (result, whole))
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_boundary_iou_is_that_of_masks_less_their_erosion(width):
    """As the paper defines it: of each mask the pixels within the distance of its contour."""
    predicted, labels = codes_of(3, missing=0), codes_of(4, blob=7, missing=0)
    found = evaluate(raster(predicted), raster(labels), border_widths=(width,)).borders[width]
    structure = np.ones((3, 3), bool)
    for code, iou in zip(TABLE.codes, found.iou, strict=True):
        rims = []
        for codes in (predicted, labels):
            mask = codes == code
            # the edge of the map is no contour
            rims.append(mask & ~binary_erosion(mask, structure, width, border_value=1))
        expected = (rims[0] & rims[1]).sum() / (rims[0] | rims[1]).sum()
        assert iou == pytest.approx(expected)


def test_a_map_is_right_beyond_the_width_by_which_its_borders_are_shifted():
    labels = np.ones((20, 20), np.uint8)
    labels[:, 10:] = 2
    shifted = np.ones((20, 20), np.uint8)
    shifted[:, 12:] = 2
    borders = evaluate(raster(shifted), raster(labels), border_widths=(1, 2, 4)).borders
    assert borders[1].accuracy_beyond < 1
    assert borders[2].accuracy_beyond == 1
    assert borders[1].miou < borders[4].miou < 1
    assert int(borders[2].near.sum() + borders[2].beyond.sum()) == 400


@given(st.integers(0, 99))
@settings(max_examples=20)
def test_every_score_equals_torchmetrics_and_scikit_learn(seed):
    predicted, labels = codes_of(seed), codes_of(seed + 1, blob=4)
    result = evaluate(raster(predicted), raster(labels))
    counted = (predicted != 255) & (labels != 255)
    pair = [np.searchsorted(TABLE.codes, codes[counted]) for codes in (predicted, labels)]
    tensors = [torch.from_numpy(indices) for indices in pair]
    kinds = {
        "iou": oracle.multiclass_jaccard_index,
        "f1": oracle.multiclass_f1_score,
        "precision": oracle.multiclass_precision,
        "recall": oracle.multiclass_recall,
    }
    for name, function in kinds.items():
        theirs = function(*tensors, num_classes=3, average="none").numpy()
        np.testing.assert_allclose(getattr(result.scores, name), theirs, atol=1e-6)
    assert result.kappa == pytest.approx(sklearn.metrics.cohen_kappa_score(*pair))
    theirs = float(oracle.multiclass_cohen_kappa(*tensors, num_classes=3))
    assert result.kappa == pytest.approx(theirs, abs=1e-6)
    assert result.accuracy == pytest.approx(sklearn.metrics.accuracy_score(*pair))


def test_kappa_of_one_class_alone_does_not_exist():
    ones = np.ones((4, 4), np.uint8)
    result = evaluate(raster(ones), raster(ones))
    assert np.isnan(result.kappa)
    assert result.to_dict()["kappa"] is None
    assert result.accuracy == 1


def test_classes_that_one_side_lacks_are_kept():
    ours = ClassTable.from_codes([1, 2, 3], ["water", "forest", "rock"])
    theirs = ClassTable.from_codes([1, 2, 3], ["forest", "snow", "water"])
    predicted = raster(np.array([[1, 2, 2, 1]], np.uint8), table=ours)
    labels = raster(np.array([[3, 1, 2, 3]], np.uint8), table=theirs)
    result = evaluate(predicted, labels)
    assert set(result.per_class) == {"water", "forest", "rock", "snow"}
    assert result.per_class["water"]["iou"] == 1
    assert result.per_class["snow"]["recall"] == 0
    assert np.isnan(result.per_class["rock"]["iou"])
    bare = evaluate(raster(np.array([[1, 9]], np.uint8), table=None), labels.isel(x=slice(2)))
    assert bare.classes.codes == (1, 2, 3, 9)


def test_tables_of_two_languages_are_matched_by_code():
    theirs = ClassTable.from_codes([1, 2, 5], ["Wasser", "Wald", "Wiese"])
    codes = codes_of(1)
    with pytest.warns(seg.LabelWarning, match="matched by code: 1 is 'water' and 'Wasser'"):
        result = evaluate(raster(codes), raster(codes, table=theirs))
    assert result.accuracy == 1
    assert result.classes == TABLE


def test_tables_without_a_common_class_are_told():
    theirs = seg.ClassTable.from_codes([11, 12], ["snow", "ice"])
    labels = raster(np.full((HEIGHT, WIDTH), 11, np.uint8), table=theirs)
    mapped = in_halves()
    with pytest.warns(seg.LabelWarning, match=r"1 'water'.* and 11 'snow', 12 'ice' have none"):
        assert evaluate(mapped, labels).accuracy == 0
    with pytest.warns(seg.LabelWarning, match="have none in common"):
        assert seg.map_change(mapped, labels.rename("classes")).changed > 0
    bare = raster(np.full((HEIGHT, WIDTH), 7, np.uint8), table=None)
    with pytest.warns(seg.LabelWarning, match="have none in common"):
        assert evaluate(in_halves(table=None), bare).accuracy == 0


def test_one_code_of_two_names_is_told():
    theirs = ClassTable.from_codes([1, 2], ["water", "woods"])
    labels = raster(np.full((HEIGHT, WIDTH), 2, np.uint8), table=theirs)
    with pytest.warns(seg.LabelWarning, match="2 is 'forest' and 'woods'; they count as two"):
        assert evaluate(in_halves(), labels).accuracy == 0


def test_a_given_table_does_not_swap_the_names_of_the_map():
    swapped = ClassTable.from_codes([1, 2], ["forest", "water"])
    with pytest.raises(ValueError, match=r"'water'.*in the given class table.*in the map"):
        evaluate(in_halves(), in_halves(), classes=swapped)


def halves(names):
    """Polygons of the two halves of a map whose left is water and whose right is forest."""
    return gpd.GeoDataFrame(
        {"cover": names}, geometry=[square(0, 0, 20, 30), square(20, 0, 40, 30)], crs=CRS
    )


def in_halves(table=TABLE):
    codes = np.ones((HEIGHT, WIDTH), np.uint8)
    codes[:, 20:] = 2
    return raster(codes, table=table)


def references(names):
    """A column of names in all forms that a reference has."""
    shapes = halves(names)
    burned = seg.open_labels(shapes, like=in_halves(), column="cover")
    return [
        (shapes, {"column": "cover"}),
        (shapes.set_geometry(shapes.centroid), {"column": "cover"}),
        (burned, {}),
    ]


@pytest.mark.parametrize("names", [["water", "forest"], ["Water", "FOREST"], [" water", "Forest "]])
def test_names_are_matched_whatever_codes_they_would_have_alone(names):
    for reference, options in references(names):
        result = evaluate(in_halves(), reference, **options)
        assert result.accuracy == 1
        assert result.classes == TABLE


def test_names_that_the_map_does_not_have_are_an_error_and_no_score():
    table = ClassTable.from_codes([1, 2], ["Wasser", "Wald"])
    for reference, options in references(["Wasser", "Wald"]):
        for mapped in (in_halves(), in_halves(table=None)):
            with pytest.raises(ValueError, match=r"'Wald', 'Wasser'.*give classes="):
                evaluate(mapped, reference, **options)
            assert evaluate(mapped, reference, classes=table, **options).accuracy == 1


def test_a_map_that_lies_nowhere_is_an_error():
    codes = codes_of(1)
    with pytest.raises(ValueError, match="the scene has no CRS"):
        evaluate(raster(codes).drop_vars("spatial_ref"), raster(codes))


def test_a_map_store_with_further_layers_is_a_reference(tmp_path):
    codes = codes_of(1)
    sure = raster(codes).astype(np.float32).rename("confidence")
    prediction = xr.Dataset({"classes": raster(codes, (16, 16)), "confidence": sure})
    path = seg.write_zarr(prediction, tmp_path / "map.zarr")
    assert evaluate(path, path).accuracy == 1
    assert evaluate(prediction, prediction).accuracy == 1


def test_maps_of_real_numbers_are_refused_with_a_remedy():
    codes = codes_of(1)
    with pytest.raises(ValueError, match="gdalwarp -ot Int16"):
        evaluate(raster(codes).astype(np.float32), raster(codes))


@pytest.mark.parametrize(
    ("zones", "options", "says"),
    [
        (ZONES, {"zone_column": "nom"}, "zone_column"),
        (None, {"zone_column": "name"}, "no zones; give them with zones="),
        (ZONES.set_geometry(ZONES.centroid), {}, "must be polygons, got Point"),
        (ZONES.assign(name=None), {"zone_column": "name"}, "without a name"),
        (ZONES.iloc[3:], {}, "do not overlap"),
        (ZONES.set_crs(None, allow_override=True), {}, "no CRS"),
    ],
)
def test_zones_that_cannot_be_used_are_an_error(zones, options, says):
    codes = raster(codes_of(1))
    with pytest.raises(ValueError, match=says):
        evaluate(codes, codes, zones=zones, **options)


@pytest.mark.parametrize("widths", [(0,), (1, -2)])
def test_widths_count_pixels(widths):
    with pytest.raises(ValueError, match="from 1 on"):
        seg.EvaluateOptions(border_widths=widths)


def test_zones_bear_the_names_in_the_column_name(tmp_path):
    ZONES.to_file(tmp_path / "zones.gpkg")
    codes = raster(codes_of(1))
    named = evaluate(codes, codes, zones=tmp_path / "zones.gpkg").zones
    assert list(named) == list(evaluate(codes, codes, zones=ZONES, zone_column="name").zones)


def test_zones_without_names_are_numbered_and_may_be_empty(tmp_path):
    codes = codes_of(1)
    codes[:, :18] = 255
    ZONES.to_crs(4326).drop(columns="name").to_file(tmp_path / "zones.gpkg")
    result = evaluate(raster(codes), raster(codes), zones=tmp_path / "zones.gpkg")
    assert list(result.zones) == ["1", "2", "3"]
    assert result.zones["1"].pixels == 0
    assert np.isnan(result.zones["1"].accuracy)
    assert result.to_dict()["zones"]["1"]["miou"] is None


def test_text_html_and_json_tell_all_parts(tmp_path):
    predicted, labels = codes_of(3), codes_of(4)
    table = ClassTable.from_codes([1, 2, 5], ["water", "<forest>", "meadow"])
    result = evaluate(
        raster(predicted, table=table),
        raster(labels, table=table),
        zones=ZONES,
        zone_column="name",
        border_widths=(2,),
    )
    for shown in (repr(result), result._repr_html_()):
        for word in ("water", "west", "middle", "kappa", "boundary IoU", "2 px"):
            assert word in shown
    assert "<forest>" not in result._repr_html_()
    report = json.loads(result.to_json(tmp_path / "report.json").read_text())
    assert report["zones"]["west"]["pixels"] == result.zones["west"].pixels
    assert report["borders"][0]["boundary_iou"]["water"] == pytest.approx(result.borders[2].iou[0])


def test_the_figure_is_written_whole(tmp_path):
    result = evaluate(raster(codes_of(3)), raster(codes_of(4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result.plot(path=tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match=r"\.png is a good choice"):
        result.plot(path=tmp_path / "report.text")


def test_a_reference_of_another_continent_is_not_to_be_warped():
    _, labels = synthetic_sentinel2((64, 64), seed=2)
    elsewhere = labels.assign_coords(x=labels.x + 3e5)
    elsewhere = elsewhere.drop_vars("spatial_ref").rio.write_crs(labels.rio.crs)
    with pytest.raises(ValueError, match="do not overlap") as caught:
        seg.evaluate(labels, elsewhere)
    assert "warp" not in str(caught.value)
