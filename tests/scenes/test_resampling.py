from __future__ import annotations

import pickle
from typing import get_args

import dask
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling as Method
from rasterio.warp import reproject

import seg4eo_xr.scenes.resampling as resampling_module
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.resampling import Grid, Resampling, require_cover, resample
from seg4eo_xr.testing import chunkings, raising_scheduler

UTM = "EPSG:32633"
COARSE = Affine(20, 0, 5e5, 0, -20, 5e6)


def _raster(shape=(2, 24, 30), transform=COARSE, crs=UTM, nodata=0, dtype=np.uint16, seed=0):
    values = np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
    raster = place(values, crs, transform)
    return raster if nodata is None else raster.rio.write_nodata(nodata)


def _grid(transform, height, width, crs=UTM):
    return Grid.of(place(np.zeros((height, width), np.uint8), crs, transform))


def test_nearest_on_a_nested_grid_repeats_pixels():
    raster = _raster()
    fine = _grid(COARSE @ Affine.scale(0.5), 48, 60)
    expected = raster.values.repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(resample(raster, fine), expected)


def test_the_same_grid_gives_the_same_raster():
    raster = _raster().assign_attrs(long_name=("a", "b")).rename("scene")
    warped = resample(raster.chunk(7), Grid.of(raster))
    assert warped.identical(raster)
    assert warped.rio.transform() == raster.rio.transform()


@settings(deadline=None, max_examples=6)
@given(chunkings(24), chunkings(30))
@pytest.mark.parametrize("crs", [UTM, "EPSG:3857"])
@pytest.mark.parametrize("resampling", get_args(Resampling))
def test_chunks_do_not_change_a_bit(resampling, crs, rows, cols):
    raster = _raster()
    west, _, _, north = raster.rio.transform_bounds(crs)
    grid = _grid(Affine(17.0, 0, west - 50, 0, -17.0, north + 33), 41, 37, crs)
    whole = resample(raster, grid, resampling=resampling)
    lazy = raster.chunk({"band": 1, "y": rows, "x": cols})
    assert np.array_equal(resample(lazy, grid, resampling=resampling), whole)


@pytest.mark.parametrize("resampling", get_args(Resampling))
@pytest.mark.parametrize("size", [7.0, 20.0, 45.0])
def test_tiles_leave_no_seam(monkeypatch, resampling, size):
    raster = _raster()
    grid = _grid(Affine(size, 0, 499_900 + size / 3, 0, -size, 5_000_033), 41, 37)
    whole = resample(raster, grid, resampling=resampling)
    monkeypatch.setattr(resampling_module, "_TILE_SIDE", 10)
    tiles = resample(raster, grid, resampling=resampling)
    assert tiles.chunks[1:] == ((10,) * 4 + (1,), (10,) * 3 + (7,))
    assert np.array_equal(tiles, whole)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326"])
def test_another_crs_equals_one_reprojection_of_the_whole(monkeypatch, crs):
    raster = _raster((40, 50), nodata=255, dtype=np.uint8)
    west, _, east, north = raster.rio.transform_bounds(crs)
    step = (east - west) / 60
    grid = _grid(Affine(step, 0, west - step, 0, -step, north + 0.3 * step), 55, 62, crs)
    expected = np.full((55, 62), 255, np.uint8)
    reproject(
        raster.values,
        expected,
        src_transform=raster.rio.transform(),
        src_crs=UTM,
        dst_transform=grid.transform,
        dst_crs=crs,
        src_nodata=255,
        dst_nodata=255,
        resampling=Method.nearest,
        tolerance=0,
    )
    monkeypatch.setattr(resampling_module, "_TILE_SIDE", 20)
    warped = resample(raster.chunk(9), grid)
    assert warped.dtype == np.uint8
    assert np.array_equal(warped, expected)


def test_nodata_takes_no_part_and_fills_the_outside():
    raster = _raster((6, 6), nodata=0) * 0 + np.uint16(50)
    raster = raster.rio.write_nodata(0)
    raster[2, 3] = 0
    grid = _grid(COARSE @ Affine.translation(-4, -3) @ Affine.scale(0.5), 30, 30)
    warped = resample(raster, grid, resampling="bilinear").values
    assert set(np.unique(warped)) == {0, 50}
    assert (warped[:, :7] == 0).all()


def test_real_numbers_are_filled_with_nan_and_integers_need_a_nodata_value():
    outside = _grid(COARSE @ Affine.translation(12, 0), 24, 30)
    warped = resample(_raster(dtype=np.float32, nodata=None), outside).values
    assert np.isnan(warped[:, :, 18:]).all()
    assert not np.isnan(warped[:, :, :18]).any()
    with pytest.raises(ValueError, match=r"does not cover.*nodata="):
        resample(_raster(nodata=None), outside)
    assert (resample(_raster(nodata=None), outside, fill=9).values[:, :, 18:] == 9).all()
    within = _grid(COARSE @ Affine.translation(1, 1), 10, 10)
    assert np.array_equal(resample(_raster(nodata=None), within), _raster().values[:, 1:11, 1:11])


@pytest.mark.parametrize("crs", [UTM, "EPSG:3857"])
def test_covering_counts_pixel_centres(crs):
    source = _grid(COARSE, 4, 5)
    require_cover(source, source, "it")
    require_cover(source, _grid(COARSE @ Affine.translation(0.4, -0.4), 4, 5), "it")
    for shift in (0.6, 90):
        with pytest.raises(ValueError, match=r"it does not cover.*nodata="):
            require_cover(source, _grid(COARSE @ Affine.translation(shift, 0), 4, 5), "it")
    west, _, _, north = place(np.zeros((4, 5)), UTM, COARSE).rio.transform_bounds(crs)
    corner = _grid(Affine(9, 0, west + 45, 0, -9, north - 45), 2, 2, crs)
    require_cover(source, corner, "it")
    require_cover(corner, corner, "it")


def test_building_reads_nothing_and_graphs_are_deterministic_and_picklable():
    lazy = _raster().chunk(8)
    grid = _grid(COARSE @ Affine.scale(0.5), 48, 60)
    with dask.config.set(scheduler=raising_scheduler):
        warped = resample(lazy, grid)
        assert resample(lazy, grid).data.name == warped.data.name
    assert pickle.loads(pickle.dumps(warped)).identical(warped)


def test_a_tile_depends_on_the_pixels_below_it(monkeypatch):
    monkeypatch.setattr(resampling_module, "_TILE_SIDE", 40)
    lazy = _raster((400, 400)).chunk(20)
    corner = resample(lazy, Grid.of(lazy))[:40, :40].data
    (needed,) = dask.optimize(corner)
    assert len(needed.dask) < 60


def test_tiles_of_much_coarser_grids_are_small():
    far = _grid(Affine(20_000, 0, 5e5, 0, -20_000, 5e6), 30, 30)
    raster = _raster((24, 30))
    assert max(resample(raster, far, fill=0).chunks[0]) <= 5


def test_unknown_resampling():
    with pytest.raises(ValueError, match=r"resampling must be one of nearest.*'sinc'"):
        resample(_raster(), Grid.of(_raster()), resampling="sinc")


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.5, 90))
def test_a_new_pixel_size_covers_the_extent_and_no_more(height, width, size):
    grid = _grid(Affine(10, 0, 5e5, 0, -10, 5e6), height, width).with_pixel(size)
    assert grid.transform.c == 5e5
    assert grid.transform.f == 5e6
    for pixels, side in ((grid.width, 10 * width), (grid.height, 10 * height)):
        assert (pixels - 1) * size < side <= pixels * size * (1 + 1e-5) + 1e-5 * size
