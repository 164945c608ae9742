from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

import seg4eo_xr as seg
from seg4eo_xr.calibration.reliability import Reliability, count_confidences
from seg4eo_xr.cli import main
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.testing import chunkings

TABLE = ClassTable.from_codes([1, 2, 5], ["water", "forest", "meadow"])
HEIGHT, WIDTH = 24, 30


def layer(values, nodata, chunks=None, name="classes", table=TABLE):
    data = values if chunks is None else da.from_array(values, chunks=chunks)
    attrs = {} if table is None else table.to_attrs()
    placed = place(data, "EPSG:32633", Affine(10, 0, 400_000, 0, -10, 5_300_000))
    return placed.assign_attrs(attrs).rename(name).rio.write_nodata(nodata)


def a_map(seed, chunks=None):
    """A map, its reference, and which of its pixels count."""
    random = np.random.default_rng(seed)
    codes = random.choice([1, 2, 5], (HEIGHT, WIDTH)).astype(np.uint8)
    labels = np.where(random.random(codes.shape) < 0.7, codes, 2).astype(np.uint8)
    sure = random.uniform(0.34, 1, codes.shape).astype(np.float32)
    missing = random.random(codes.shape) < 0.1
    codes[missing], sure[missing] = 255, np.nan
    labels[random.random(codes.shape) < 0.1] = 255
    counted = ~missing & (labels != 255)
    dataset = layer(codes, 255, chunks).to_dataset()
    dataset["confidence"] = layer(sure, np.nan, chunks, "confidence", None)
    return dataset, labels, counted


def stated(confidence, right):
    return Reliability(count_confidences(np.asarray(confidence), np.asarray(right)))


def test_confidences_that_hold_have_no_error():
    sure = np.repeat([0.55, 0.8, 0.95], 20)
    right = np.concatenate([np.arange(20) < n for n in (11, 16, 19)])
    found = stated(sure, right)
    for kind in ("width", "mass"):
        assert found.ece(kind=kind) == pytest.approx(0, abs=1e-5)
        assert found.mce(kind=kind) == pytest.approx(0, abs=1e-5)
    assert found.brier == pytest.approx(np.mean((sure - right) ** 2), abs=1e-5)
    assert found.confidence == pytest.approx(found.accuracy, abs=1e-5)


@given(st.integers(0, 200), st.integers(1, 20))
@settings(max_examples=15)
def test_both_errors_are_those_of_torchmetrics(seed, bins):
    random = np.random.default_rng(seed)
    shares = random.dirichlet([1, 1, 1], 400)
    labels = random.integers(0, 3, 400)
    found = stated(shares.max(1), shares.argmax(1) == labels)
    for norm, own in (("l1", found.ece(bins)), ("max", found.mce(bins))):
        theirs = multiclass_calibration_error(
            torch.from_numpy(shares), torch.from_numpy(labels), 3, n_bins=bins, norm=norm
        )
        # a confidence within a step of a bound may fall on its other side
        assert own == pytest.approx(float(theirs), abs=2e-2 if norm == "max" else 3e-3)


@given(st.integers(0, 200), st.integers(1, 30))
@settings(max_examples=15)
def test_bins_hold_every_pixel_once_and_those_of_equal_mass_alike_many(seed, bins):
    random = np.random.default_rng(seed)
    found = stated(random.beta(5, 1, 900), random.random(900) < 0.6)
    for kind in ("width", "mass"):
        made = found.bins(bins, kind)
        assert made.pixels.sum() == 900
        assert (made.pixels > 0).all()
        assert ((made.low <= made.confidence + 1e-9) & (made.confidence <= made.high + 1e-9)).all()
        assert made.pixels @ made.accuracy == pytest.approx(found.counts[1].sum())
    most = found.counts.sum(0).max()
    made = found.bins(bins, "mass")
    assert made.pixels.max() <= -(-900 // bins) + most


@given(st.integers(0, 99), chunkings(HEIGHT), chunkings(WIDTH))
@settings(max_examples=8)
def test_a_map_gives_the_whole_images_counts_whatever_the_chunks(seed, rows, cols):
    prediction, labels, counted = a_map(seed, (rows, cols))
    found = seg.reliability(prediction, layer(labels, 255))
    whole = prediction.compute()
    right = whole["classes"].values == labels
    expected = count_confidences(whole["confidence"].values[counted], right[counted])
    np.testing.assert_array_equal(found.counts, expected)
    assert found.pixels == counted.sum()
    evaluation = seg.evaluate(prediction, layer(labels, 255))
    assert found.accuracy == pytest.approx(evaluation.accuracy)


def test_classes_are_matched_by_their_names():
    prediction, labels, _ = a_map(1)
    expected = seg.reliability(prediction, layer(labels, 255))
    others = ClassTable.from_codes([11, 12, 15], TABLE.names)
    moved = np.where(labels == 255, 255, labels + 10).astype(np.uint8)
    found = seg.reliability(prediction, layer(moved, 255, table=others))
    np.testing.assert_array_equal(found.counts, expected.counts)


def test_a_column_of_names_is_matched_by_name_or_refused():
    import geopandas as gpd
    from shapely import box

    prediction, _, _ = a_map(1)
    west, south, east, north = prediction.rio.bounds()
    forest = gpd.GeoDataFrame(
        {"cover": ["Forest"]}, geometry=[box(west, south, east, north)], crs="EPSG:32633"
    )
    found = seg.reliability(prediction, forest, column="cover")
    codes = prediction["classes"].values
    assert found.accuracy == pytest.approx((codes == 2).sum() / (codes != 255).sum())
    bare = prediction.assign(classes=prediction["classes"].drop_attrs().rio.write_nodata(255))
    for mapped, cover in ((prediction, "Wald"), (bare, "forest")):
        with pytest.raises(ValueError, match=f"'{cover}'.*none of them is the map's"):
            seg.reliability(mapped, forest.assign(cover=cover), column="cover")


def test_it_is_told_as_text_html_json_and_picture(tmp_path):
    prediction, labels, _ = a_map(2)
    found = seg.reliability(prediction, layer(labels, 255))
    assert "ECE" in repr(found)
    assert "<table>" in found._repr_html_()
    read = json.loads(found.to_json(tmp_path / "report.json").read_text())
    assert read["ece"] == pytest.approx(found.ece())
    assert sum(read["bins"]["pixels"]) == found.pixels
    found.plot(path=tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_nothing_at_all_is_undefined_and_not_nought():
    nothing = stated([], [])
    assert nothing.to_dict()["ece"] is None
    assert nothing.pixels == 0


def test_bad_input_is_told():
    prediction, labels, _ = a_map(3)
    reference = layer(labels, 255)
    with pytest.raises(ValueError, match=r"no layer 'confidence'.*--save_confidence"):
        seg.reliability(prediction[["classes"]], reference)
    with pytest.raises(ValueError, match="no pixel to compare"):
        seg.reliability(prediction, layer(np.full_like(labels, 255), 255))
    with pytest.raises(ValueError, match="different shapes"):
        seg.reliability(prediction, reference, confidence=prediction["confidence"][:9])
    percent = prediction.assign(confidence=prediction["confidence"] * 100)
    with pytest.raises(ValueError, match="divide percentages by 100"):
        seg.reliability(percent, reference)
    with pytest.raises(ValueError, match="bins must be 1"):
        stated([0.5], [True]).bins(0)
    with pytest.raises(ValueError, match="kind"):
        stated([0.5], [True]).bins(3, "depth")


def test_points_are_no_reference_of_confidences():
    import geopandas as gpd
    from shapely import Point

    points = gpd.GeoDataFrame(
        {"class": ["water"]}, geometry=[Point(400_005, 5_299_995)], crs="EPSG:32633"
    )
    with pytest.raises(ValueError, match="made of points"):
        seg.reliability(a_map(4)[0], points, column="class")


def test_a_confidence_file_may_call_its_layer_anything_and_holds_real_numbers(tmp_path, capsys):
    prediction, labels, _ = a_map(4)
    reference = layer(labels, 255)
    expected = seg.reliability(prediction, reference)
    paths = [str(tmp_path / name) for name in ("map.tif", "sure.tif", "percent.tif", "ref.tif")]
    seg.write_cog(prediction[["classes"]], paths[0])
    prediction["confidence"].rename("p_max").rio.to_raster(paths[1])
    percent = (prediction["confidence"].fillna(0) * 100).astype("uint8").rio.write_nodata(255)
    percent.rename("percent").rio.to_raster(paths[2])
    reference.rio.to_raster(paths[3])
    found = seg.reliability(paths[0], reference, confidence=paths[1])
    np.testing.assert_array_equal(found.counts, expected.counts)
    line = ["reliability", "--prediction", paths[0], "--reference", paths[3], "--confidence"]
    assert main([*line, paths[1], "--quiet"]) == 0
    assert main([*line, paths[2], "--quiet"]) == 2
    assert "real numbers from 0 to 1" in capsys.readouterr().err
