from __future__ import annotations

import pickle

import dask
import numpy as np
import pytest

from seg4eo_xr.scenes.cubes import open_cube, scenes_of
from seg4eo_xr.scenes.open import band_scaling, open_scene
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2

DAYS = ["2021-06-03", "2021-06-13", "2021-07-01"]


@pytest.fixture(scope="module")
def scenes():
    return [synthetic_sentinel2((40, 50), seed=seed)[0][:3] for seed in range(3)]


@pytest.fixture
def paths(scenes, tmp_path):
    paths = [tmp_path / f"S2A_{day.replace('-', '')}.tif" for day in DAYS]
    for path, scene in zip(paths, scenes, strict=True):
        open_scene(scene).rio.to_raster(path, tiled=True, blockxsize=16, blockysize=16)
    return paths


def test_files_become_a_series_in_the_order_of_time(paths, scenes):
    with dask.config.set(scheduler=raising_scheduler):
        cube = open_cube([paths[2], paths[0], paths[1]], chunks=32)
    assert cube.dims == ("time", "band", "y", "x")
    assert cube.chunks[:2] == ((1, 1, 1), (3,))
    assert np.datetime_as_string(cube.time.values, "D").tolist() == DAYS
    assert (cube.dtype, cube.rio.nodata, cube.name) == (np.uint16, 0, "cube")
    assert cube.rio.crs == scenes[0].rio.crs
    assert cube.rio.transform() == scenes[0].rio.transform()
    assert band_scaling(cube)[0] == (0.0001,) * 3
    assert np.array_equal(cube, scenes)
    assert pickle.loads(pickle.dumps(cube)).identical(cube)
    assert cube.data.name == open_cube([paths[2], paths[0], paths[1]], chunks=32).data.name


def test_scenes_come_back_as_they_went_in(paths, scenes):
    apart = scenes_of(open_cube(paths))
    assert list(apart) == DAYS
    for scene, original in zip(apart.values(), scenes, strict=True):
        assert open_scene(scene).identical(open_scene(original))
        assert "time" not in scene.coords
        assert scene.identical(open_scene(scene))


def test_several_scenes_of_a_day_keep_their_times(scenes):
    times = ["2021-06-03T10:00", "2021-06-03T10:05"]
    assert list(scenes_of(open_cube(scenes[:2], times))) == [f"{time}:00" for time in times]
    times = ["2021-06-03T10:00:00.1", "2021-06-03T10:00:00.2"]
    assert len(scenes_of(open_cube(scenes[:2], times))) == 2


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.filterwarnings("ignore:The data type")
def test_zarr_arrays_and_datasets(scenes, tmp_path):
    cube = open_cube(scenes, DAYS)
    cube.chunk({"y": 20}).to_zarr(tmp_path / "cube.zarr")
    with pytest.raises(ValueError, match=r"cube\.zarr.*time series of 3 dates.*composite"):
        open_scene(tmp_path / "cube.zarr")
    opened = open_cube(tmp_path / "cube.zarr")
    assert opened.chunks[:2] == ((1, 1, 1), (3,))
    assert opened.identical(open_cube(opened))
    assert np.array_equal(opened, cube)
    assert opened.band.values.tolist() == cube.band.values.tolist()
    turned = cube.transpose("y", "x", "band", "time").rename(y="lat", x="lon", band="channel")
    assert np.array_equal(open_cube(turned.isel(time=[1, 0, 2])), cube)
    planes = cube.drop_attrs(deep=False).to_dataset("band")
    assert np.array_equal(open_cube(planes), cube)
    assert open_cube(planes).rio.crs == cube.rio.crs
    picked = open_cube(cube, bands=["B04", "B02"], nodata=7, chunks=16)
    assert picked.band.values.tolist() == ["B04", "B02"]
    assert picked.rio.nodata == 7
    assert picked.chunks[2] == (16, 16, 8)


def test_bands_are_ordered_by_name_and_grids_on_request(scenes):
    other = open_scene(scenes[1], bands=["B04", "B02", "B03"])
    cube = open_cube([scenes[0], other], DAYS[:2])
    assert np.array_equal(cube, scenes[:2])
    coarse = scenes[1][:, ::2, ::2]
    with pytest.raises(ValueError, match=r"different shapes.*like=scene"):
        open_cube([scenes[0], coarse], DAYS[:2])
    fine = open_cube([scenes[0], coarse], DAYS[:2], like=scenes[0])
    assert fine.shape == (2, 3, 40, 50)


def test_scenes_that_do_not_fit_are_refused(scenes, paths, tmp_path):
    first, other = scenes[0], scenes[1]
    cases = {
        r"scene 2.*B03.*but.*bands=\[": other.isel(band=[0, 1]),
        "uint16 with nodata 0, but.*int32": other.astype(np.int32),
        "nodata 0, but.*nodata 9": other.rio.write_nodata(9),
        r"scale or offset.*harmonize": other.assign_attrs(offsets=(-0.1,) * 10),
    }
    for message, scene in cases.items():
        with pytest.raises(ValueError, match=f"(?s){message}"):
            open_cube([first, scene], DAYS[:2])
    with pytest.raises(ValueError, match="at least one"):
        open_cube([])
    with pytest.raises(ValueError, match="as many times, got 3"):
        open_cube([first, other], DAYS)
    with pytest.raises(ValueError, match="2021-06-03T00:00:00 occurs twice"):
        open_cube([first, other], [DAYS[0]] * 2)
    paths[0].rename(tmp_path / "undated.tif")
    with pytest.raises(ValueError, match=r"no date.*undated\.tif.*times="):
        open_cube([tmp_path / "undated.tif"])


def test_series_without_dates_and_scenes_are_refused(scenes, paths):
    cube = open_cube(scenes, DAYS)
    with pytest.raises(ValueError, match="no dates along time"):
        scenes_of(cube.drop_vars("time"))
    with pytest.raises(ValueError, match=r"one scene already.*open_cube\("):
        open_cube(scenes[0])
    with pytest.raises(ValueError, match="one file, which has no dates"):
        open_cube(paths[0])
    with pytest.raises(ValueError, match="times= and like= go with a list"):
        open_cube(cube, DAYS)
    with pytest.raises(ValueError, match="resolution= goes with a list"):
        open_cube(cube, resolution=20)
    with pytest.raises(ValueError, match="no variable"):
        open_cube(scenes[0].drop_attrs(deep=False).to_dataset("band"))
    with pytest.raises(ValueError, match="is empty"):
        open_cube(cube[:0])


@pytest.mark.parametrize("planes", [True, False])
def test_series_takes_the_crs_of_a_store_whose_variables_do_not_name_it(scenes, tmp_path, planes):
    """As dataset.to_zarr(..., encoding={...}) leaves it."""
    cube = open_cube([scene.compute() for scene in scenes], DAYS)
    store = cube.to_dataset("band") if planes else cube.to_dataset()
    store = store.drop_vars("band", errors="ignore")
    for variable in store.data_vars.values():
        variable.attrs = {"_FillValue": 0}
        variable.encoding = {}
    store.to_zarr(tmp_path / "series.zarr", consolidated=False)
    opened = open_cube(tmp_path / "series.zarr")
    assert opened.rio.crs == cube.rio.crs
    assert np.array_equal(opened, cube.values)
