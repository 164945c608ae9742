from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.scenes import mosaics
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.mosaics import open_mosaic

CRS, TRANSFORM = 32633, Affine(10, 0, 4e5, 0, -10, 5e6)


def make_scene(rows=(0, 60), cols=(0, 80), seed=0, chunks=16, dtype="uint16", nodata=0):
    shape = rows[1] - rows[0], cols[1] - cols[0]
    values = np.random.default_rng(seed).integers(1, 200, (2, *shape)).astype(dtype)
    moved = TRANSFORM @ Affine.translation(cols[0], rows[0])
    scene = place(da.from_array(values, chunks=(2, chunks, chunks)), CRS, moved)
    scene = scene.assign_coords(band=["red", "nir"])
    return scene if nodata is None else scene.rio.write_nodata(nodata)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(mosaics, "_BLOCK", 32)


@settings(max_examples=15)
@given(
    cut=st.integers(1, 59),
    overlap=st.integers(0, 20),
    chunks=st.sampled_from([9, 16, 80]),
    holes=st.booleans(),
)
def test_parts_of_a_scene_make_the_scene(cut, overlap, chunks, holes):
    scene = make_scene(chunks=chunks).compute()
    if holes:
        scene[:, 5:9, :30] = 0
        scene[1, 20, 20] = 0
    whole = scene.where(scene.all("band"), 0) if holes else scene
    parts = [whole[:, :cut], whole[:, max(0, cut - overlap) :]]
    mosaic = open_mosaic(parts)
    np.testing.assert_array_equal(mosaic, whole)
    assert (mosaic.dtype, mosaic.rio.nodata, mosaic.rio.crs) == (np.uint16, 0, CRS)
    assert mosaic.rio.transform() == TRANSFORM
    assert mosaic["band"].values.tolist() == ["red", "nir"]


def test_the_first_scene_counts_and_gaps_are_nodata():
    first, second = make_scene((0, 40), (0, 50)), make_scene((30, 70), (45, 100), seed=1)
    first[:, 35:, 48:] = 0
    mosaic = open_mosaic([first, second]).compute()
    expected = np.zeros((2, 70, 100), np.uint16)
    expected[:, 30:, 45:] = second
    expected[:, :40, :50] = np.where(first.all("band"), first, expected[:, :40, :50])
    np.testing.assert_array_equal(mosaic, expected)
    assert (mosaic[:, 60, 10] == 0).all()


def test_a_block_reads_the_scenes_that_it_touches():
    read = []

    def noted(number, scene):
        def note(block):
            read.append(number)
            return block

        data = da.map_blocks(note, scene.data, dtype=scene.dtype, meta=scene.data._meta)
        return scene.copy(data=data)

    tiles = [make_scene((0, 32), (32 * i, 32 * i + 32), seed=i, chunks=32) for i in range(6)]
    mosaic = open_mosaic([noted(i, tile) for i, tile in enumerate(tiles)])
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("opening computed")):
        open_mosaic(tiles)
    mosaic[..., 70:90].compute(scheduler="synchronous")
    assert read == [2]


def test_a_scene_of_another_crs_lands_where_it_lies():
    scene = make_scene(dtype="float32", nodata=None)
    smooth = scene.copy(data=np.add.outer(np.arange(60.0), np.arange(80.0))[None].repeat(2, 0))
    smooth = smooth.astype("float32")
    moved = smooth.rio.reproject("EPSG:3857", resampling=1, nodata=np.nan)
    mosaic = open_mosaic([smooth[..., :20], moved], resampling="bilinear", nodata=None)
    rows, cols = slice(5, 55), slice(25, 75)
    placed = mosaic.interp(y=smooth.y[rows], x=smooth.x[cols], method="nearest")
    assert np.abs(placed.values - smooth.values[:, rows, cols]).max() < 1.5
    assert mosaic.rio.crs == CRS


def test_scenes_without_nodata_get_room_for_it():
    tiles = [make_scene((0, 9), (0, 9), nodata=None), make_scene((9, 20), (9, 20), nodata=None)]
    mosaic = open_mosaic(tiles)
    assert (mosaic.dtype, mosaic.rio.nodata) == (np.int32, -(2**31))
    assert int((mosaic == mosaic.rio.nodata).sum()) == 2 * 2 * 9 * 11


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (make_scene().assign_coords(band=["red", "blue"]), "has the bands"),
        (make_scene(dtype="int32"), "make them alike"),
        (make_scene(nodata=7), "make them alike"),
        (make_scene().assign_attrs(scale_factor=0.1), "scale or offset"),
    ],
)
def test_scenes_that_differ_are_refused(other, says):
    with pytest.raises(ValueError, match=says):
        open_mosaic([make_scene(), other])


def test_no_scene_is_no_mosaic():
    with pytest.raises(ValueError, match="empty"):
        open_mosaic([])


def test_scenes_of_two_pixel_sizes_need_a_size_to_be_named():
    fine = make_scene(cols=(0, 40))
    coarse = make_scene(cols=(40, 60), rows=(0, 30))
    moved = TRANSFORM @ Affine.translation(40, 0) @ Affine.scale(2)
    coarse = place(coarse.data, CRS, moved).assign_coords(band=["red", "nir"]).rio.write_nodata(0)
    with pytest.raises(ValueError, match=r"10 × 10 and 20 × 20.*--resolution"):
        open_mosaic([coarse, fine])
    mosaic = open_mosaic([coarse, fine], resolution="finest")
    assert mosaic.shape == (2, 60, 80)
    np.testing.assert_array_equal(mosaic.values[..., :40], fine.values)
