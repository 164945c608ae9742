from __future__ import annotations

import json

import dask
import dask.array as da
import numpy as np
import pyproj
import pytest
import sklearn.metrics
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

import seg4eo_xr as seg
from seg4eo_xr.cli import main
from seg4eo_xr.evaluation.change import change_layer, map_change
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.testing import chunkings, raising_scheduler

TABLE = ClassTable.from_codes([1, 2, 5], ["water", "forest", "meadow"])
UTM = Affine(10, 0, 500_000, 0, -10, 5_300_000)


def raster(codes, chunks=None, table=TABLE, crs="EPSG:32633", transform=UTM):
    data = codes if chunks is None else da.from_array(codes, chunks=chunks)
    attrs = {} if table is None else table.to_attrs()
    placed = place(data, crs, transform).assign_attrs(attrs)
    return placed.rename("classes").rio.write_nodata(255)


def codes_of(seed, shape=(20, 30)):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([1, 2, 5, 255], np.uint8), shape)


@given(st.integers(0, 99), chunkings(20), chunkings(30))
@settings(max_examples=30)
def test_transitions_are_those_of_the_whole_image_whatever_the_chunks(seed, rows, cols):
    before, after = codes_of(seed), codes_of(seed + 1)
    change = map_change(raster(before, (rows, cols)), raster(after))
    seen = (before != 255) & (after != 255)
    expected = sklearn.metrics.confusion_matrix(before[seen], after[seen], labels=[1, 2, 5])
    np.testing.assert_array_equal(change.pixels, expected)
    assert change.missing == (~seen).sum()
    whole = map_change(raster(before), raster(after))
    assert change.areas.tolist() == whole.areas.tolist()


def test_losses_gains_and_what_stays_add_up_to_the_whole():
    change = map_change(raster(codes_of(1)), raster(codes_of(2)))
    stays = np.diag(change.km2)
    np.testing.assert_allclose(change.before - change.losses, stays, rtol=1e-12)
    np.testing.assert_allclose(change.after - change.gains, stays, rtol=1e-12)
    assert change.losses.sum() == pytest.approx(change.gains.sum())
    assert change.changed == pytest.approx(change.losses.sum() / change.before.sum())
    back = map_change(raster(codes_of(2)), raster(codes_of(1)))
    assert back.areas.tolist() == change.areas.T.tolist()


def test_areas_are_those_on_the_ground_in_a_crs_of_degrees():
    transform = Affine(0.01, 0, 10, 0, -0.01, 60)
    before, after = np.ones((50, 40), np.uint8), np.full((50, 40), 2, np.uint8)
    pair = [raster(codes, crs="EPSG:4326", transform=transform) for codes in (before, after)]
    area, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(
        # parallels are no geodesics: many corners
        [*np.linspace(10, 10.4, 401), *np.linspace(10.4, 10, 401)],
        [*np.full(401, 59.5), *np.full(401, 60.0)],
    )
    change = map_change(*pair)
    assert change.km2[0, 1] == pytest.approx(area / 1e6, rel=1e-6)
    assert change.transitions() == [("water", "forest", pytest.approx(area / 1e6, rel=1e-6))]


def test_classes_are_matched_by_name_and_those_of_one_map_are_kept():
    later = ClassTable.from_codes([1, 2, 3], ["forest", "rock", "water"])
    after = raster(np.array([[3, 1, 2]], np.uint8), table=later)
    change = map_change(raster(np.array([[1, 2, 5]], np.uint8)), after)
    names = list(change.classes.names)
    assert sorted(names) == ["forest", "meadow", "rock", "water"]
    row, column = names.index("meadow"), names.index("rock")
    assert change.pixels[row, column] == 1
    assert np.trace(change.pixels) == 2


def test_maps_without_a_table_have_the_codes_that_occur():
    before, after = np.array([[3, 3, 255]], np.uint8), np.array([[3, 7, 7]], np.uint8)
    change = map_change(raster(before, table=None), raster(after, table=None))
    assert change.classes.codes == (3, 7)
    assert change.pixels.tolist() == [[1, 1], [0, 0]]


def test_the_layer_names_every_transition_and_is_lazy():
    before, after = codes_of(1), codes_of(2)
    with dask.config.set(scheduler=raising_scheduler):
        layer = change_layer(raster(before, (7, 9)), raster(after))
    table = ClassTable.from_attrs(layer.attrs)
    codes = layer.values
    missing = (before == 255) | (after == 255)
    np.testing.assert_array_equal(codes == 255, missing)
    np.testing.assert_array_equal(codes == 0, ~missing & (before == after))
    became = codes == table.code_of["forest → water"]
    np.testing.assert_array_equal(became, (before == 2) & (after == 1))
    assert len(table) == 7


def test_more_transitions_than_a_byte_tells_apart_are_an_error():
    codes = np.arange(17, dtype=np.uint8)[None]
    many = raster(codes, table=ClassTable.from_codes(range(17)))
    with pytest.raises(ValueError, match="17 classes"):
        change_layer(many, many)
    assert map_change(many, many).changed == 0


def test_another_grid_is_an_error_or_warped():
    before = raster(codes_of(1))
    shifted = raster(codes_of(2), transform=UTM * Affine.translation(5, 0))
    with pytest.raises(ValueError, match="--warp"):
        map_change(before, shifted)
    warped = map_change(before, shifted, warp=True)
    expected = map_change(raster(codes_of(1)[:, 5:]), raster(codes_of(2)[:, :25]))
    np.testing.assert_array_equal(warped.pixels, expected.pixels)


def test_a_warped_map_must_say_what_lies_outside_of_it():
    before = raster(codes_of(1))
    codes = codes_of(2).astype(np.int16)
    after = raster(codes, transform=UTM * Affine.translation(5, 0))
    assert map_change(before, after, warp=True).missing > 0
    del after.attrs["_FillValue"]
    with pytest.raises(ValueError, match=r"second map does not cover.*after.*write_nodata"):
        map_change(before, after, warp=True)


@pytest.mark.parametrize("function", [map_change, change_layer])
@pytest.mark.parametrize("warp", [False, True])
def test_maps_that_lie_nowhere_are_an_error(function, warp):
    placed = raster(codes_of(1))
    lost = placed.drop_vars("spatial_ref")
    for pair, which in (((placed, lost), "second"), ((lost, placed), "first"), ((lost, lost), "")):
        with pytest.raises(ValueError, match=f"the {which}.*map has no CRS"):
            function(*pair, warp=warp)


def test_a_second_map_that_covers_more_is_cut():
    before, after = raster(codes_of(1)), raster(codes_of(2))
    cut = map_change(before.rio.isel_window(Window(3, 2, 10, 8)), after)
    expected = map_change(raster(codes_of(1)[2:10, 3:13]), raster(codes_of(2)[2:10, 3:13]))
    np.testing.assert_array_equal(cut.pixels, expected.pixels)


def test_maps_without_a_common_pixel_are_an_error():
    with pytest.raises(ValueError, match="no pixel to compare"):
        map_change(raster(codes_of(1)), raster(np.full((20, 30), 255, np.uint8)))


def test_a_code_that_is_no_class_is_an_error():
    with pytest.raises(ValueError, match="9"):
        map_change(raster(codes_of(1)), raster(np.full((20, 30), 9, np.uint8)))


def test_the_command_leaves_figures_and_a_layer(tmp_path, capsys):
    for name, seed in (("before", 1), ("after", 2)):
        codes = raster(codes_of(seed)).to_dataset(name="classes")
        seg.write_cog(codes, tmp_path / f"{name}.tif")
    words = ["change", "--before", f"{tmp_path}/before.tif", "--after", f"{tmp_path}/after.tif"]
    outputs = ["--output", f"{tmp_path}/change.json", "--layer", f"{tmp_path}/change.tif"]
    assert main([*words, *outputs]) == 0
    told = capsys.readouterr().out
    expected = map_change(raster(codes_of(1)), raster(codes_of(2)))
    assert told.strip() == repr(expected)
    report = json.loads((tmp_path / "change.json").read_text(encoding="utf-8"))
    assert report == json.loads(json.dumps(expected.to_dict()))
    layer = seg.open_map(tmp_path / "change.tif")["classes"]
    np.testing.assert_array_equal(layer, change_layer(raster(codes_of(1)), raster(codes_of(2))))
    assert "forest → water" in ClassTable.from_attrs(layer.attrs).names
    assert main([*words, "--layer", f"{tmp_path}/change.zarr"]) == 0
    stored = seg.open_map(tmp_path / "change.zarr")["classes"]
    np.testing.assert_array_equal(stored, layer)
    capsys.readouterr()
    assert main([*words, "--layer", f"{tmp_path}/change.tif"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_text_and_html_name_classes_and_transitions():
    change = map_change(raster(codes_of(1)), raster(codes_of(2)))
    for shown in (repr(change), change._repr_html_()):
        assert "forest → water" in shown
        assert "before km²" in shown
    assert "transition matrix" in change._repr_html_()
    assert repr(raster(codes_of(1)).to_dataset().seg4eo.change(raster(codes_of(2)))) == repr(change)


def test_every_second_pixel_of_a_map_lies_where_its_coordinates_say():
    """A selection with a step leaves the stated transform as it was."""
    whole = codes_of(3)
    thinned = raster(whole).isel(y=slice(None, None, 2), x=slice(None, None, 2))
    with pytest.raises(ValueError, match="different shapes"):
        map_change(thinned, raster(whole))
    with pytest.raises(ValueError, match="different shapes"):
        seg.evaluate(thinned, raster(whole))
    # of the warped one, the nearest of four pixels is one of them, so make all four the same
    coarse = np.kron(whole, np.ones((2, 2), np.uint8))
    thinned = raster(coarse).isel(y=slice(1, None, 2), x=slice(1, None, 2))
    pixels = (whole != 255).sum()
    change = map_change(thinned, raster(coarse), warp=True)
    assert np.trace(change.pixels) == change.pixels.sum() == pixels
    assert np.trace(seg.evaluate(thinned, raster(coarse), warp=True).matrix) == pixels


def test_a_band_of_one_is_dropped_and_several_dates_are_refused():
    layer, later = raster(codes_of(1)), raster(codes_of(2))
    expected = map_change(layer, later).pixels
    single = layer.expand_dims(band=[1]), later.expand_dims(time=[2020])
    np.testing.assert_array_equal(map_change(*single).pixels, expected)
    np.testing.assert_array_equal(seg.evaluate(single[1], layer).matrix, expected)
    dates = xr.concat([layer, later], dim="time")
    for use in (lambda: map_change(dates, layer), lambda: seg.to_polygons(dates)):
        with pytest.raises(ValueError, match=r"isel\(time=0\)"):
            use()
    renamed = layer.rename(x="lon", y="lat")
    with pytest.raises(ValueError, match=r"rename\(lat='y', lon='x'\)"):
        map_change(renamed, layer)
