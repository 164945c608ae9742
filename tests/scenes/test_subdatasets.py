"""Files and stores that hold several rasters."""

from __future__ import annotations

import os

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin

from seg4eo_xr.cli import main
from seg4eo_xr.scenes.cubes import open_cube
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.testing import synthetic_sentinel2

GRID = from_origin(5e5, 5e6, 10, 10)
DAYS = np.array(["2021-06-03", "2021-06-13"], "M8[ns]")
with rasterio.Env() as env:
    needs_netcdf = pytest.mark.skipif("netCDF" not in env.drivers(), reason="no netCDF driver")


@pytest.fixture
def scene():
    names = ["B08", "B02", "B04"]
    scene = synthetic_sentinel2((24, 32), seed=1, nodata_wedge=False)[0].sel(band=names)
    return scene.drop_attrs(deep=False)


@pytest.fixture
def planes(scene):
    return scene.to_dataset("band").rio.write_crs(32633)


@pytest.fixture
def pages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        with rasterio.open(
            "pages.tif",
            "w",
            driver="GTiff",
            count=1,
            height=64,
            width=64,
            dtype="uint8",
            crs="EPSG:32633",
            transform=GRID,
            APPEND_SUBDATASET=number > 1,
        ) as file:
            file.write(np.full((1, 64, 64), number, np.uint8))
    return tmp_path / "pages.tif"


class TestPages:
    def test_one_is_opened_by_its_name(self, pages, tmp_path):
        for name in ("GTIFF_DIR:2:pages.tif", f"GTIFF_DIR:2:{pages}"):
            opened = open_scene(name)
            assert (opened == 2).all()
            assert (open_labels(name, like=opened) == 2).all()
        before = open_scene("GTIFF_DIR:2:pages.tif").data.name
        os.utime(pages, (1, 1))
        lazy = open_scene("GTIFF_DIR:2:pages.tif")
        assert lazy.data.name != before
        os.chdir(tmp_path.parent)  # as a worker that stands elsewhere
        assert (lazy == 2).all()

    def test_several_are_bands(self, pages):
        opened = open_scene([f"GTIFF_DIR:{number}:pages.tif" for number in (2, 1)])
        assert opened.band.values.tolist() == ["pages_2", "pages_1"]
        assert opened[:, 0, 0].values.tolist() == [2, 1]

    def test_which_one_must_be_said(self, pages):
        for opens in (open_scene, open_labels):
            with pytest.raises(ValueError, match=r"2 rasters, 'GTIFF_DIR:1:.*'GTIFF_DIR:2:.*list"):
                opens(pages)

    def test_missing(self, pages):
        with pytest.raises(FileNotFoundError, match=r"GTIFF_DIR:1:none\.tif.*does not exist"):
            open_scene("GTIFF_DIR:1:none.tif")
        with pytest.raises(OSError, match="GTIFF_DIR:9"):
            open_scene("GTIFF_DIR:9:pages.tif")

    def test_on_the_command_line(self, pages, tmp_path):
        line = "extract single --image GTIFF_DIR:1:pages.tif --label GTIFF_DIR:2:pages.tif"
        assert (
            main([*line.split(), "--output", str(tmp_path / "p.zarr"), "--patch_size", "16"]) == 0
        )


@needs_netcdf
class TestNetcdf:
    def test_variables(self, planes, scene, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        planes.astype("int16").rio.write_crs(32633).to_netcdf("planes.nc", engine="scipy")
        names = ["netcdf:planes.nc:B04", 'NETCDF:"planes.nc":B08']
        opened = open_scene(names)
        assert opened.band.values.tolist() == ["B04", "B08"]
        assert np.array_equal(opened, scene.sel(band=["B04", "B08"]))
        with pytest.raises(ValueError, match=r"holds 3 rasters.*netcdf:\"?planes\.nc\"?:B02"):
            open_scene("planes.nc")

    def test_dates(self, planes, scene, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        series = planes.astype("int16").rio.write_crs(32633).expand_dims(time=DAYS)
        series.isel(time=[0]).to_netcdf("one.nc", engine="scipy")
        assert np.array_equal(open_scene("netcdf:one.nc:B04")[0], scene.sel(band="B04"))
        series.to_netcdf("two.nc", engine="scipy")
        with pytest.raises(ValueError, match="time series of 2 dates"):
            open_scene("netcdf:two.nc:B04")


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.filterwarnings("ignore:The data type")
class TestZarr:
    def test_groups_are_listed(self, planes, scene, tmp_path):
        path = tmp_path / "product.zarr"
        planes.to_zarr(path, group="measurements/r10m")
        scene.rename("bands").to_dataset().to_zarr(path, group="r20m", mode="a")
        with pytest.raises(ValueError, match=r"groups.*product\.zarr/measurements/r10m.*/r20m'"):
            open_scene(path)
        for group in ("measurements/r10m", "r20m"):
            opened = open_scene(path / group, bands=["B08"])
            assert np.array_equal(opened, scene.sel(band=["B08"]))

    def test_a_store_without_rasters(self, tmp_path):
        xr.Dataset({"a": ("time", [1, 2])}).to_zarr(tmp_path / "numbers.zarr")
        with pytest.raises(ValueError, match="no array of two dimensions"):
            open_scene(tmp_path / "numbers.zarr")

    def test_bands_without_consolidated_metadata_come_by_name(self, planes, tmp_path):
        planes.to_zarr(tmp_path / "loose.zarr", consolidated=False)
        opened = open_scene(tmp_path / "loose.zarr")
        assert opened.band.values.tolist() == ["B02", "B04", "B08"]

    @pytest.mark.parametrize("order", [("band", "y", "x"), ("x", "y", "band")])
    def test_dimensions_in_both_orders(self, scene, tmp_path, order):
        sides = {"y": 8, "x": 32, "band": 1}
        turned = scene.transpose(*order).chunk(sides).rename("bands")
        turned.to_dataset().to_zarr(tmp_path / "turned.zarr")
        opened = open_scene(tmp_path / "turned.zarr", chunks={"x": 16})
        assert np.array_equal(opened, scene)
        assert opened.chunks[1][0] % 8 == 0

    def test_a_series_of_planes(self, planes, scene, tmp_path):
        planes.expand_dims(time=DAYS).to_zarr(tmp_path / "series.zarr")
        cube = open_cube(tmp_path / "series.zarr", bands=["B04", "B02"])
        assert cube.sizes["time"] == 2
        assert np.array_equal(cube[1], scene.sel(band=["B04", "B02"]))
