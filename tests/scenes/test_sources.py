from __future__ import annotations

import dask
import numpy as np
import pytest
import rasterio
from affine import Affine

from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.open import SceneOptions, band_scaling, open_scene
from seg4eo_xr.scenes.sources import opened_alike
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2

GRID = Affine(10, 0, 5e5, 0, -10, 5e6)


@pytest.fixture
def scene():
    return synthetic_sentinel2((60, 80), seed=1)[0]


def _write(path, values, *, crs="EPSG:32633", nodata=None, **profile):
    plane = place(values, crs, GRID)
    plane = plane if nodata is None else plane.rio.write_nodata(nodata)
    plane.rio.to_raster(path, **profile)
    return path


@pytest.fixture
def paths(scene, tmp_path):
    paths = [tmp_path / "B04.tif", tmp_path / "B05.tif", tmp_path / "B8A.tif"]
    for path in paths:
        band = open_scene(scene, bands=[path.stem])
        if path.stem != "B04":
            coarse = scene.rio.transform() @ Affine.scale(2)
            values = place(band.values[:, ::2, ::2], scene.rio.crs, coarse)
            band = values.assign_coords(band=[path.stem]).assign_attrs(band.attrs)
        band.rio.to_raster(path, tiled=True, blockxsize=16, blockysize=16)
    return paths


def test_the_finest_grid_repeats_coarser_pixels(paths, scene):
    with dask.config.set(scheduler=raising_scheduler):
        opened = open_scene(paths[::-1], resolution="finest", chunks=16)
    assert opened.band.values.tolist() == ["B8A", "B05", "B04"]
    assert opened.chunks == ((3,), (16, 16, 16, 12), (16,) * 5)
    assert (opened.dtype, opened.rio.nodata) == (np.uint16, 0)
    assert opened.rio.transform() == scene.rio.transform()
    assert band_scaling(opened)[0] == (0.0001,) * 3
    assert np.array_equal(opened.sel(band="B04"), scene.sel(band="B04"))
    coarse = scene.sel(band=["B8A", "B05"]).values[:, ::2, ::2]
    repeated = coarse.repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(opened.sel(band=["B8A", "B05"]), repeated)


def test_a_pixel_size_or_another_scene(paths, scene):
    coarse = open_scene(paths, resolution=20, resampling="average")
    assert coarse.shape == (3, 30, 40)
    assert coarse.rio.transform().a == 20
    assert np.array_equal(coarse.sel(band="B05"), scene.sel(band="B05")[::2, ::2])
    crop = scene[:, 4:30, 10:50]
    moved = open_scene(paths, like=crop)
    assert np.array_equal(moved.sel(band="B04"), crop.sel(band="B04"))
    assert moved.rio.transform() == open_scene(crop).rio.transform()


def test_one_source_is_resampled_too(scene):
    assert np.array_equal(open_scene(scene, resolution="finest"), scene)
    assert open_scene(scene, resolution=60).shape == (10, 10, 14)
    fine = open_scene(scene.chunk(30), resolution=5)
    assert np.array_equal(fine, scene.values.repeat(2, axis=1).repeat(2, axis=2))


def test_nothing_is_resampled_unasked(paths):
    with pytest.raises(ValueError, match=r"(?s)B04.*B05.*shapes.*resolution='finest'"):
        open_scene(paths)


def test_what_lies_outside_needs_a_nodata_value(tmp_path):
    values = np.full((4, 5), 7, np.uint8)
    large = _write(tmp_path / "large.tif", np.full((8, 10), 3, np.uint8))
    small = _write(tmp_path / "small.tif", values)
    with pytest.raises(ValueError, match=r"small\.tif.*does not cover.*nodata="):
        open_scene([large, small], like=open_scene(large))
    opened = open_scene([large, small], like=open_scene(large), nodata=0)
    assert (opened.sel(band="small")[:4, :5] == 7).all()
    assert int(opened.sel(band="small").sum()) == 7 * 20


def test_bad_wishes(paths, tmp_path):
    with pytest.raises(ValueError, match="resolution must be one of finest"):
        open_scene(paths, resolution="coarsest")
    with pytest.raises(ValueError, match="above 0, got -5"):
        open_scene(paths, resolution=-5)
    with pytest.raises(ValueError, match="resampling must be one of"):
        open_scene(paths, resampling="sinc")
    with pytest.raises(TypeError, match="did you mean 'resolution'"):
        open_scene(paths, resolutions=10)
    other = _write(tmp_path / "other.tif", np.ones((4, 5), np.uint16), crs="EPSG:32634", nodata=0)
    with pytest.raises(ValueError, match=r"different CRSs.*like=scene"):
        open_scene([paths[0], other], resolution="finest")


def test_jpeg2000(tmp_path):
    with rasterio.Env() as env:
        known = env.drivers()
    if "JP2OpenJPEG" not in known:
        pytest.skip("this GDAL writes no JPEG 2000")
    values = np.random.default_rng(0).integers(0, 4000, (64, 64), dtype=np.uint16)
    options = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    path = _write(tmp_path / "B02.jp2", values, **options)
    assert np.array_equal(open_scene(path)[0], values)


def test_coarse_files_come_in_chunks_of_the_same_ground(tmp_path):
    fine, coarse = tmp_path / "fine.tif", tmp_path / "coarse.tif"
    _write(fine, np.ones((4096, 4096), np.uint8), tiled=True)
    plane = place(np.ones((683, 683), np.uint8), "EPSG:32633", GRID @ Affine.scale(6))
    plane.rio.to_raster(coarse)
    opened = opened_alike([fine, coarse], SceneOptions(resolution="finest"), None)
    assert [scene.chunks[1] for scene in opened] == [(2048, 2048), (341, 341, 1)]
    scene = open_scene([fine, coarse], resolution="finest")
    assert scene.chunks == ((2,), (2048, 2048), (2048, 2048))
    assert (scene == 1).all()
