from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.open import band_scaling, open_scene, require_same_grid
from seg4eo_xr.scenes.rasters import chunk_sides
from seg4eo_xr.testing import SENTINEL2_BANDS, raising_scheduler, synthetic_sentinel2

DATA = Path(__file__).parents[3] / "shared" / "data"
GRID = Affine(10, 0, 5e5, 0, -10, 5e6)


@pytest.fixture
def scene():
    return synthetic_sentinel2((60, 80), seed=1)[0]


@pytest.fixture
def path(scene, tmp_path):
    path = tmp_path / "scene.tif"
    scene.rio.to_raster(path, tiled=True, blockxsize=32, blockysize=16, compress="deflate")
    return path


def _write(path, values, *, crs="EPSG:32633", transform=GRID, descriptions=None, **profile):
    values = np.atleast_3d(values.T).T if values.ndim == 2 else values
    profile = {"driver": "GTiff", "crs": crs, "transform": transform, **profile}
    count, height, width = values.shape
    with rasterio.open(
        path, "w", count=count, height=height, width=width, dtype=values.dtype, **profile
    ) as file:
        file.write(values)
        for index, text in enumerate(descriptions or (), start=1):
            file.set_band_description(index, text)
    return path


class TestFiles:
    @pytest.mark.parametrize("chunks", ["auto", None, 7, {"y": 16, "x": -1}])
    def test_a_file_gives_back_the_scene(self, path, scene, chunks):
        opened = open_scene(path, chunks=chunks)
        assert opened.chunks is not None
        assert opened.chunks[0] == (10,)
        assert opened.identical(scene)
        assert opened.rio.crs == scene.rio.crs
        assert opened.rio.transform() == scene.rio.transform()
        assert opened.rio.nodata == 0

    def test_opening_reads_nothing(self, path):
        with dask.config.set(scheduler=raising_scheduler):
            open_scene(str(path), bands=["B08"], nodata=1)

    def test_graphs_are_deterministic_and_picklable(self, path, scene):
        opened = open_scene(path, chunks=20)
        assert opened.data.name == open_scene(path, chunks=20).data.name
        assert pickle.loads(pickle.dumps(opened)).identical(scene)

    def test_chunks_are_whole_blocks(self, path):
        assert open_scene(path).chunks[1:] == ((60,), (80,))
        sizes = {"band": 10, "y": 9000, "x": 9000}
        for blocks in ((512, 512), (1, 9000), (100, 300), (9000, 9000)):
            sides = chunk_sides(sizes, blocks, 2, "auto")
            assert sides["y"] % blocks[0] == sides["x"] % blocks[1] == 0
        many = chunk_sides({"band": 400, "y": 9000, "x": 9000}, (256, 256), 4, "auto")
        assert many["y"] * many["x"] * 1600 <= 2 * 256e6

    @pytest.mark.parametrize("width", [4000, 10980, 50_000])
    @pytest.mark.parametrize("bands", [1, 3, 10])
    def test_chunks_of_a_file_without_tiles_are_larger(self, width, bands):
        def bytes_of(blocks):
            sides = chunk_sides({"band": bands, "y": 50_000, "x": width}, blocks, 2, "auto")
            return sides["y"] * sides["x"] * bands * 2

        assert bytes_of((256, 256)) < bytes_of((1, width)) < 33e6

    def test_names_come_from_descriptions_or_numbers(self, tmp_path):
        values = np.ones((3, 4, 5), np.uint8)
        plain = _write(tmp_path / "plain.tif", values)
        assert open_scene(plain).band.values.tolist() == ["band_1", "band_2", "band_3"]
        partly = _write(tmp_path / "partly.tif", values, descriptions=["red", "", "blue"])
        assert open_scene(partly).band.values.tolist() == ["red", "band_2", "blue"]
        alike = _write(tmp_path / "alike.tif", values, descriptions=["reflectance"] * 3)
        assert open_scene(alike).band.values.tolist() == ["band_1", "band_2", "band_3"]

    def test_one_band(self, tmp_path):
        values = np.arange(20, dtype=np.float32).reshape(4, 5)
        path = _write(tmp_path / "dem.tif", values, nodata=-9999, descriptions=["height"])
        opened = open_scene(path)
        assert (opened.dims, opened.shape) == (("band", "y", "x"), (1, 4, 5))
        assert opened.band.values.tolist() == ["height"]
        assert np.array_equal(opened[0], values)
        assert opened.rio.nodata == -9999

    def test_bands_are_renamed_and_picked(self, path, scene):
        renamed = open_scene(path, band_names=list("abcdefghij"), bands=["c", "a"])
        assert renamed.band.values.tolist() == ["c", "a"]
        assert np.array_equal(renamed, scene.sel(band=["B04", "B02"]))
        assert renamed.attrs["long_name"] == ("c", "a")

    def test_scaling_that_differs_by_band_is_kept(self, tmp_path):
        path = _write(tmp_path / "scaled.tif", np.ones((2, 4, 5), np.uint8))
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (0.1, 0.2), (0.0, -1.0)
        opened = open_scene(path)
        assert band_scaling(opened) == ((0.1, 0.2), (0.0, -1.0))
        assert band_scaling(open_scene(path, bands=["band_2"])) == ((0.2,), (-1.0,))
        assert band_scaling(opened.sel(band=["band_2", "band_1"])) == ((0.2, 0.1), (-1.0, 0.0))
        assert opened.dtype == np.uint8

    def test_numbers_that_were_scaled_before_are_opened_as_they_are(self, path):
        assert set(band_scaling(open_scene(path))[0]) == {0.0001}
        plain = open_scene(path, scale=1.0, offset=0.0)
        assert set(band_scaling(plain)[0]) == {1.0}
        assert set(band_scaling(plain)[1]) == {0.0}

    @pytest.mark.parametrize("picked", [["B03"], ["B03", "B02"], ["B04", "B03", "B02"]])
    def test_scaling_stays_with_the_bands_that_are_picked(self, scene, picked):
        scales = {"B02": 1.0, "B03": 1.0, "B04": 0.5}
        some = scene.sel(band=list(scales)).assign_attrs(
            long_name=tuple(scales), scales=tuple(scales.values()), offsets=(0.0,) * 3
        )
        assert band_scaling(open_scene(some, bands=picked))[0] == tuple(map(scales.get, picked))

    def test_nodata_is_taken_or_given(self, path):
        assert open_scene(path, nodata=7).rio.nodata == 7
        with pytest.raises(ValueError, match=r"-5.*uint16"):
            open_scene(path, nodata=-5)

    def test_files_of_one_band_are_stacked(self, tmp_path, scene):
        paths = []
        for name in ("B04", "B08"):
            plane = scene.sel(band=name, drop=True).drop_attrs(deep=False).rename(None)
            paths.append(tmp_path / f"{name}.tif")
            plane.rio.write_nodata(0).rio.to_raster(paths[-1])
        opened = open_scene(paths, chunks=32)
        assert opened.band.values.tolist() == ["B04", "B08"]
        assert opened.chunks[0] == (2,)
        assert opened.rio.nodata == 0
        assert np.array_equal(opened, scene.sel(band=["B04", "B08"]))
        assert open_scene(paths, bands=["B08"]).shape == (1, 60, 80)


class TestZarr:
    @pytest.mark.filterwarnings("ignore:The data type")
    @pytest.mark.filterwarnings("ignore:Consolidated metadata")
    def test_a_cube_gives_back_the_scene(self, scene, tmp_path):
        scene.chunk({"y": 32, "x": 32}).to_zarr(tmp_path / "cube.zarr")
        opened = open_scene(tmp_path / "cube.zarr")
        assert opened.chunks[0] == (10,)
        assert opened.rio.nodata == 0
        assert np.array_equal(opened, scene)
        assert opened.band.values.tolist() == list(SENTINEL2_BANDS)
        assert opened.rio.transform() == scene.rio.transform()
        assert band_scaling(opened) == band_scaling(scene)

    @pytest.mark.filterwarnings("ignore:Consolidated metadata")
    def test_a_variable_a_band(self, scene, tmp_path):
        planes = scene.drop_attrs(deep=False).to_dataset("band")[["B02", "B8A"]]
        planes.chunk({"y": 32}).to_zarr(tmp_path / "planes.zarr")
        for opened in (open_scene(tmp_path / "planes.zarr"), open_scene(planes)):
            assert opened.band.values.tolist() == ["B02", "B8A"]
            assert np.array_equal(opened, scene.sel(band=["B02", "B8A"]))

    def test_what_is_no_store_is_refused(self, tmp_path):
        (tmp_path / "empty.zarr").mkdir()
        with pytest.raises(OSError, match=r"empty\.zarr.*Zarr store"):
            open_scene(tmp_path / "empty.zarr")
        with pytest.raises(FileNotFoundError, match=r"none\.zarr"):
            open_scene(tmp_path / "none.zarr")


class TestArrays:
    def test_a_scene_stays_as_it_is(self, scene):
        assert open_scene(scene).identical(scene)
        assert open_scene(scene).chunks is None
        assert open_scene(scene, chunks=32).chunks[1] == (32, 28)
        lazy = open_scene(scene.chunk({"band": 1, "y": 30}))
        assert lazy.chunks == ((10,), (30, 30), (80,))

    def test_dimensions_are_put_in_order(self, scene):
        turned = scene.transpose("y", "x", "band").rename(band="channel", y="lat", x="lon")
        assert open_scene(turned).identical(scene)
        plane = scene.isel(band=2, drop=True)
        assert open_scene(plane, band_names=["B04"]).shape == (1, 60, 80)
        assert open_scene(scene.expand_dims("time")).identical(scene)

    def test_crops_and_strides_have_transforms_of_their_own(self, scene):
        crop = open_scene(scene[:, 10:30, 5:])
        assert crop.rio.transform() == scene.rio.transform() * Affine.translation(5, 10)
        thin = open_scene(scene[:, ::2, ::2])
        assert thin.rio.transform().a == 20

    def test_a_single_pixel_takes_its_size_from_the_transform(self, scene):
        assert open_scene(scene[:, 4:5, 6:7]).rio.transform().a == 10

    def test_mirrored_uneven_and_odd_arrays_are_refused(self, scene):
        with pytest.raises(ValueError, match=r"isel\(y=slice"):
            open_scene(scene[:, ::-1])
        with pytest.raises(ValueError, match="uneven x"):
            open_scene(scene.isel(x=[0, 1, 5]))
        with pytest.raises(ValueError, match=r"2 dates.*isel\(time=0\).*scenes_of.*composite"):
            open_scene(scene.expand_dims(time=2))
        with pytest.raises(ValueError, match="time series of 3 dates"):
            open_scene(scene[0].drop_vars("band").expand_dims(time=3))
        with pytest.raises(ValueError, match=r"dimensions.*orbit"):
            open_scene(scene.expand_dims(orbit=2))
        with pytest.raises(ValueError, match="empty"):
            open_scene(scene[:, :0])
        with pytest.raises(TypeError, match="int"):
            open_scene(5)


class TestRefusals:
    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.tif"):
            open_scene(tmp_path / "nowhere.tif")
        with pytest.raises(ValueError, match="at least one path"):
            open_scene([])

    def test_no_raster(self, tmp_path):
        (tmp_path / "text.tif").write_text("no raster at all")
        with pytest.raises(OSError, match=r"text\.tif"):
            open_scene(tmp_path / "text.tif")

    @pytest.mark.parametrize("share", [0.3, 0.9])
    def test_truncated(self, path, share):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(OSError, match=r"scene\.tif.*truncated"):
            open_scene(path)

    def test_damage_shows_when_it_is_read(self, path):
        damaged = bytearray(path.read_bytes())
        damaged[-4000:-2000] = bytes(2000)
        path.write_bytes(damaged)
        opened = open_scene(path)
        with pytest.raises(OSError, match=r"rows .*scene\.tif.*truncated or damaged"):
            opened.compute()

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    @pytest.mark.parametrize(
        ("profile", "message"),
        [
            ({"crs": None}, r"no CRS.*write_crs.*gdal_edit"),
            ({"transform": None}, "no geotransform.*a_ullr"),
            ({"transform": GRID * Affine.rotation(10)}, "rotated.*gdalwarp"),
            ({"transform": Affine(10, 0, 0, 0, 10, 0)}, "north to south"),
        ],
    )
    def test_grids_that_no_map_can_have(self, tmp_path, profile, message):
        path = _write(tmp_path / "odd.tif", np.ones((4, 5), np.uint8), **profile)
        with pytest.raises(ValueError, match=rf"(?s)odd\.tif.*{message}"):
            open_scene(path)

    def test_complex_numbers(self, tmp_path):
        path = _write(tmp_path / "radar.tif", np.ones((4, 5), np.complex64))
        with pytest.raises(ValueError, match=r"complex64.*np\.abs"):
            open_scene(path)

    def test_arrays_without_crs(self, scene):
        with pytest.raises(ValueError, match=r"no CRS.*write_crs"):
            open_scene(scene.drop_vars("spatial_ref"))

    def test_names(self, path):
        with pytest.raises(ValueError, match="did you mean 'B8A'"):
            open_scene(path, bands=["b8A"])
        with pytest.raises(ValueError, match="taken once"):
            open_scene(path, bands=["B02", "B02"])
        with pytest.raises(ValueError, match="10 names"):
            open_scene(path, band_names=["a"])
        with pytest.raises(ValueError, match="differ"):
            open_scene(path, band_names=["a"] * 10)

    def test_one_file_twice(self, path):
        with pytest.raises(ValueError, match="differ from each other"):
            open_scene([path, path])

    def test_files_on_different_grids_or_nodata(self, tmp_path):
        values = np.ones((4, 5), np.uint8)
        one = _write(tmp_path / "one.tif", values, nodata=0)
        cases = {
            "CRSs": _write(tmp_path / "crs.tif", values, crs="EPSG:32634"),
            "shapes": _write(tmp_path / "shape.tif", values[1:]),
            "transforms": _write(
                tmp_path / "moved.tif", values, transform=GRID * Affine.translation(1, 0)
            ),
            "missing data differently": _write(tmp_path / "nodata.tif", values, nodata=3),
        }
        for word, other in cases.items():
            with pytest.raises(ValueError, match=rf"(?s)one\.tif.*{other.name}.*{word}"):
                open_scene([one, other])


@given(st.floats(-0.02, 0.02), st.floats(-0.02, 0.02), st.floats(-0.02, 0.02))
def test_grids_agree_to_a_hundredth_of_a_pixel(right, down, wider):
    height, width = 6, 8
    moved = GRID * Affine.translation(right, down) * Affine.scale(1 + wider / width, 1)
    a, b = (place(np.zeros((height, width)), "EPSG:32633", grid) for grid in (GRID, moved))
    gap = max(abs(right), abs(down), abs(right + wider))
    if gap < 0.0099:
        require_same_grid(a, b, "a", "b")
    elif gap > 0.0101:
        with pytest.raises(ValueError, match="a and b have different transforms"):
            require_same_grid(a, b, "a", "b")


def test_a_scaling_must_fit_the_bands(scene):
    assert band_scaling(scene.drop_attrs(deep=False)) == ((1.0,) * 10, (0.0,) * 10)
    factor = scene.drop_attrs(deep=False).assign_attrs(scale_factor=0.5, add_offset=-1.0)
    assert band_scaling(factor) == ((0.5,) * 10, (-1.0,) * 10)
    with pytest.raises(ValueError, match="2 numbers for 10 bands"):
        band_scaling(scene.assign_attrs(scales=(1.0, 2.0)))


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="the real imagery is not there")
def test_real_files():
    landsat = open_scene(DATA / "nc_landsat7" / "lsat7_2002.tif")
    assert (landsat.shape, landsat.dtype, landsat.rio.nodata) == ((7, 474, 526), np.uint8, None)
    sentinel = open_scene(DATA / "lataseno_s2_clc" / "s2_lataseno_ex.tif", chunks=100)
    with rasterio.open(DATA / "lataseno_s2_clc" / "s2_lataseno_ex.tif") as file:
        assert np.array_equal(sentinel, file.read())
        assert np.allclose(sentinel.rio.transform()[:6], file.transform[:6], rtol=1e-12)
    assert isinstance(sentinel, xr.DataArray)


def test_scaling_that_a_file_has_lost_can_be_given():
    scene = synthetic_sentinel2((32, 32))[0]
    bands = len(SENTINEL2_BANDS)
    given = open_scene(scene, scale=2e-4, offset=-0.1)
    assert band_scaling(given) == ((2e-4,) * bands, (-0.1,) * bands)
    assert band_scaling(open_scene(scene, offset=-0.1))[0] == band_scaling(scene)[0]
    np.testing.assert_array_equal(given, scene)
    with pytest.raises(ValueError, match="scale must not be 0"):
        open_scene(scene, scale=0.0)


def test_opening_a_file_says_nothing_of_other_libraries(tmp_path):
    synthetic_sentinel2((64, 64))[0].rio.to_raster(tmp_path / "scene.tif")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        open_scene(tmp_path / "scene.tif").compute()
    assert [str(one.message) for one in said if one.category is not ResourceWarning] == []
