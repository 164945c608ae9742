from __future__ import annotations

import json

import dask
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

import seg4eo_xr as seg
from seg4eo_xr.geometry.blending import FIXED_POINT
from seg4eo_xr.maps.cog import write_cog
from seg4eo_xr.maps.statistics import MapStatistics
from seg4eo_xr.maps.store import open_map, write_zarr
from seg4eo_xr.maps.survey import map_statistics
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS, PixelAreas
from seg4eo_xr.scenes.resampling import Grid
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2

TABLE = ClassTable.from_codes([1, 4, 7], ["sea", "forest", "built-up"])
AREAS = {
    crs: PixelAreas(Grid(crs, transform, 400, 300))
    for crs, transform in {
        "EPSG:32633": Affine(10, 0, 4e5, 0, -10, 5e6),
        "EPSG:4326": Affine(1e-3, 0, 10, 0, -1e-3, 50),
    }.items()
}


def make_layers(shape, seed=0, dtype="uint8", nodata=255):
    random = np.random.default_rng(seed)
    classes = random.choice([1, 4, 7, nodata], shape).astype(dtype)
    confidence = (random.integers(0, FIXED_POINT + 1, shape) / FIXED_POINT).astype(np.float32)
    confidence[classes == nodata] = np.nan
    return {"classes": classes, "confidence": confidence}


@settings(max_examples=25)
@given(
    crs=st.sampled_from(sorted(AREAS)),
    cuts=st.tuples(st.integers(1, 399), st.integers(1, 299)),
    order=st.permutations(range(4)),
)
def test_parts_add_up_to_the_whole_in_any_order(crs, cuts, order):
    layers, areas = make_layers((400, 300)), AREAS[crs]
    rows, cols = ((0, cuts[0], 400), (0, cuts[1], 300))
    parts = [
        MapStatistics.of_block(
            {n: v[rows[i] : rows[i + 1], cols[j] : cols[j + 1]] for n, v in layers.items()},
            TABLE,
            255,
            areas,
            (rows[i], cols[j]),
        )
        for i in range(2)
        for j in range(2)
    ]
    whole = MapStatistics.of_block(layers, TABLE, 255, areas)
    first, *others = [parts[index] for index in order]
    assert first.merge(*others) == whole
    assert MapStatistics.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 255), ("int16", -32768), ("int16", -1), ("int32", -9999)]
)
def test_figures_are_those_of_the_pixels(dtype, nodata):
    layers = make_layers((70, 90), dtype=dtype, nodata=nodata)
    report = MapStatistics.of_block(layers, TABLE, nodata, AREAS["EPSG:32633"]).report()
    classes, confidence = layers["classes"], layers["confidence"].astype(float)
    seen = classes != nodata
    assert report["missing_pixels"] == (~seen).sum()
    assert report["pixels"] == seen.sum()
    for row, code in zip(report["classes"], TABLE.codes, strict=True):
        mine = classes == code
        assert (row["code"], row["pixels"]) == (code, mine.sum())
        # UTM near its central meridian: 4 in 10,000
        assert row["area_ha"] == pytest.approx(mine.sum() / 100, rel=1e-3)
        assert row["area_km2"] == pytest.approx(row["area_ha"] / 100)
        assert row["mean_confidence"] == pytest.approx(confidence[mine].mean())
    assert sum(row["share"] for row in report["classes"]) == pytest.approx(1)
    sure = report["confidence"]
    assert sure["mean"] == pytest.approx(confidence[seen].mean())
    assert (sure["minimum"], sure["maximum"]) == (confidence[seen].min(), confidence[seen].max())
    assert sure["share_below_0.5"] == (confidence[seen] < 0.5).mean()
    assert sure["share_above_0.8"] == (confidence[seen] > 0.8).mean()


def test_degrees_are_weighed_by_what_they_cover():
    classes = np.ones((400, 300), np.uint8)
    classes[200:] = 4
    north, south, _ = MapStatistics.of_block(
        {"classes": classes}, TABLE, 255, AREAS["EPSG:4326"]
    ).areas
    assert 1.003 < south / north < 1.01
    total = (north + south) / AREA_UNITS / 1e6
    assert total == pytest.approx(0.4 * 111.2 * 0.3 * 71.7, rel=0.01)


def test_a_map_of_nothing_has_no_means():
    layers = {"classes": np.full((4, 5), 255, np.uint8), "confidence": np.full((4, 5), np.nan)}
    statistics = MapStatistics.of_block(layers, TABLE, 255, AREAS["EPSG:32633"])
    report = json.loads(json.dumps(statistics.report(), allow_nan=False))
    assert report["missing_pixels"] == 20
    assert report["confidence"]["mean"] is report["confidence"]["minimum"] is None
    assert [row["share"] for row in report["classes"]] == [0, 0, 0]
    assert "20 of nodata" in repr(statistics)


def test_an_unknown_code_is_refused():
    layers = {"classes": np.array([[1, 9]], np.uint8)}
    with pytest.raises(ValueError, match=r"codes \[9\].*neither classes"):
        MapStatistics.of_block(layers, TABLE, 255, AREAS["EPSG:32633"])


def test_other_classes_do_not_add_up():
    layers, areas = make_layers((4, 5)), AREAS["EPSG:32633"]
    other = ClassTable.from_codes([1, 4, 7])
    parts = [MapStatistics.of_block(layers, table, 255, areas) for table in (TABLE, other)]
    with pytest.raises(ValueError, match="do not add up"):
        parts[0].merge(parts[1])


def test_a_report_can_be_read_and_shown(tmp_path):
    statistics = MapStatistics.of_block(make_layers((70, 90)), TABLE, 255, AREAS["EPSG:32633"])
    path = statistics.to_json(tmp_path / "report.json")
    assert json.loads(path.read_text(encoding="utf-8")) == statistics.report()
    shown = repr(statistics)
    assert all(word in shown for word in ("forest", "km²", "confidence", "above 0.8"))
    html = statistics._repr_html_()
    assert TABLE.colors[1] in html
    assert "built-up" in html


@pytest.mark.parametrize("chunks", [31, 64, 150])
def test_maps_that_exist_are_counted_by_chunk(make_map, tmp_path, chunks):
    prediction = make_map(chunks=chunks)
    table = ClassTable.from_attrs(prediction["classes"].attrs)
    expected = MapStatistics.of_block(
        {name: layer.values for name, layer in prediction.data_vars.items()},
        table,
        255,
        PixelAreas(Grid.of(prediction["classes"])),
    )
    assert map_statistics(prediction) == expected
    stored = write_zarr(prediction, tmp_path / "map.zarr")
    assert map_statistics(stored).pixels == expected.pixels
    path = write_cog(open_map(stored), tmp_path / "map.tif")
    alone = map_statistics(path)
    assert (alone.pixels, alone.missing, alone.confidence) == (
        expected.pixels,
        expected.missing,
        None,
    )


def test_each_block_is_computed_once(make_map, count_blocks):
    prediction, evaluations = count_blocks(make_map())
    map_statistics(prediction)
    assert len(evaluations) == prediction["classes"].data.npartitions


def test_a_raster_without_a_table_has_the_classes_that_occur():
    values = np.array([[3, 3, 9], [255, 9, 9]], np.uint8)
    raster = place(values, 32633, Affine(10, 0, 4e5, 0, -10, 5e6)).rio.write_nodata(255)
    statistics = map_statistics(raster)
    assert (statistics.classes.codes, statistics.pixels) == ((3, 9), (2, 3))
    assert statistics.missing == 1
    with dask.config.set(scheduler=raising_scheduler), pytest.raises(ValueError, match="dates"):
        map_statistics(xr.concat([raster, raster], "time"))


@pytest.mark.parametrize("work", [seg.map_statistics, seg.to_polygons])
def test_confidence_in_percent_is_refused(work):
    _, labels = synthetic_sentinel2((64, 64), seed=2)
    percent = labels.astype("float32") * 0 + 75
    prediction = labels.to_dataset(name="classes").assign(confidence=percent)
    with pytest.raises(ValueError, match="divide percentages by 100"):
        work(prediction)
