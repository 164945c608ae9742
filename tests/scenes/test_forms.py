from __future__ import annotations

import numpy as np
import pytest
import rioxarray
import xarray as xr
from rasterio.transform import from_origin

from seg4eo_xr.scenes.cubes import open_cube
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.testing import synthetic_sentinel2

DAY = np.array(["2021-06-03"], "M8[ns]")


@pytest.fixture
def scene():
    scene = synthetic_sentinel2((24, 32), seed=1, nodata_wedge=False)[0]
    return open_scene(scene, bands=["B02", "B8A"])


@pytest.fixture
def path(scene, tmp_path):
    scene.rio.to_raster(tmp_path / "scene.tif")
    return tmp_path / "scene.tif"


class TestBandNames:
    @pytest.mark.parametrize(
        ("given", "names"),
        [
            ([442.3, 442.9], ["band_442.3", "band_442.9"]),
            ([0.4423, 0.56], ["band_0.4423", "band_0.56"]),
            (np.array([442.3, 442.9], "f4"), ["band_442.3", "band_442.9"]),
            ([442.3, 560.1], ["band_442", "band_560"]),
            ([1, 1], ["band_1", "band_2"]),  # files of one band, put together
            (np.array(["nir", "red"], object), ["nir", "red"]),
        ],
    )
    def test_differ_from_each_other(self, scene, given, names):
        numbered = scene.drop_attrs(deep=False).assign_coords(band=given)
        assert open_scene(numbered).band.values.tolist() == names

    def test_that_do_not_are_refused_unless_others_are_given(self, scene):
        alike = scene.assign_coords(band=["nir", "nir"])
        with pytest.raises(ValueError, match=r"differ.*'nir', 'nir'.*--band_names"):
            open_scene(alike)
        assert open_scene(alike, band_names=["a", "b"]).band.values.tolist() == ["a", "b"]


class TestDatasets:
    def test_of_rasterio(self, scene, path):
        decoded = xr.open_dataset(path, engine="rasterio")
        opened = open_scene(decoded)
        assert opened.shape == scene.shape
        assert opened.dtype == np.float32
        stored = xr.open_dataset(path, engine="rasterio", mask_and_scale=False)
        assert np.array_equal(open_scene(stored), scene)
        assert open_scene(stored).rio.nodata == 0

    def test_of_one_date(self, scene, path):
        dated = xr.open_dataset(path, engine="rasterio", mask_and_scale=False)
        assert np.array_equal(open_scene(dated.expand_dims(time=DAY)), scene)
        planes = scene.drop_attrs(deep=False).to_dataset("band").expand_dims(time=DAY)
        assert open_scene(planes).band.values.tolist() == ["B02", "B8A"]
        twice = xr.concat([planes, planes], "time")
        with pytest.raises(ValueError, match="time series of 2 dates"):
            open_scene(twice)

    def test_a_variable_of_bands_goes_before_planes(self, scene):
        both = xr.Dataset({"clouds": scene[0].drop_vars("band"), "reflectance": scene})
        assert open_scene(both).shape == scene.shape
        with pytest.raises(ValueError, match=r"several.*'a', 'b'.*dataset\['NAME'\]"):
            open_scene(xr.Dataset({"a": scene, "b": scene}))

    def test_a_series_of_all_bands(self, scene):
        series = scene.expand_dims(time=DAY).rename("reflectance").to_dataset()
        assert np.array_equal(open_cube(series)[0], scene)


def test_nodata_that_the_encoding_states(path, scene):
    whole = rioxarray.open_rasterio(path, masked=True).fillna(0).astype("uint16")
    whole.encoding["_FillValue"] = 0
    assert open_scene(whole).rio.nodata == 0
    codes = whole[0].copy(data=np.where(scene[0] > 700, 1, 0).astype("uint16"))
    codes.encoding["_FillValue"] = 0
    labels = open_labels(codes, like=scene)
    assert (labels.rio.nodata, set(np.unique(labels))) == (0, {0, 1})


def test_a_crs_variable_that_no_variable_names(scene, tmp_path):
    planes = scene.drop_attrs(deep=False).to_dataset("band").reset_coords("spatial_ref")
    for name in planes.data_vars:
        planes[name].encoding.pop("grid_mapping", None)
    planes.to_zarr(tmp_path / "planes.zarr", zarr_format=2)
    assert planes["B02"].rio.crs is planes.rio.crs is None
    for opened in (open_scene(planes), open_scene(tmp_path / "planes.zarr")):
        assert opened.rio.crs == scene.rio.crs
        assert opened.band.values.tolist() == ["B02", "B8A"]
        assert np.array_equal(opened, scene)


@pytest.mark.parametrize("lazy", [False, True])
def test_integers_that_are_unsigned_by_their_attribute(scene, tmp_path, lazy):
    numbers = (scene.values % 251).astype(np.uint8)
    signed = scene.copy(data=numbers.view(np.int8)).assign_attrs(_Unsigned="true", _FillValue=-1)
    opened = open_scene(signed.chunk(y=5) if lazy else signed)
    assert (opened.dtype, opened.rio.nodata, "_Unsigned" in opened.attrs) == (np.uint8, 255, False)
    assert np.array_equal(opened, numbers)
    signed.to_dataset(name="s").to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=True)
    assert np.array_equal(open_scene(tmp_path / "s.zarr"), numbers)
    cube = open_cube(signed.expand_dims(time=DAY))
    assert (cube.dtype, cube.rio.nodata) == (np.uint8, 255)
    assert np.array_equal(cube[0], numbers)


@pytest.mark.parametrize(
    ("units", "crs", "remedy"),
    [("km", "EPSG:32633", r"x \* 1000,"), ("rad", "+proj=geos +h=35785831", r"x \* perspective")],
)
def test_coordinates_in_other_units_than_the_crs_are_refused(scene, tmp_path, units, crs, remedy):
    near = scene.assign_coords(x=scene.x / 1000, y=scene.y / 1000).drop_vars("spatial_ref")
    near = near.rio.write_crs(crs)
    for dim in "xy":
        near[dim].attrs |= {"units": units, "standard_name": f"projection_{dim}_coordinate"}
    with pytest.raises(ValueError, match=rf"are in {units}, but its CRS .* in metre.*{remedy}"):
        open_scene(near)
    if units == "km":
        near[0].drop_attrs(deep=False).to_netcdf(tmp_path / "near.nc")
        with pytest.raises(ValueError, match=rf"near\.nc' are in {units}, .*{remedy}"):
            open_scene(tmp_path / "near.nc")
        named = near.rio.write_crs("+proj=utm +zone=33 +units=km")
        assert open_scene(named).rio.transform().a == pytest.approx(0.01)


class TestCornersAsCoordinates:
    def corners(self, scene):
        plain = scene.drop_vars("spatial_ref").assign_coords(x=scene.x - 5, y=scene.y + 5)
        plain.attrs = {"crs": "epsg:32633", "transform": scene.rio.transform()}
        return plain

    @pytest.mark.parametrize("form", [tuple, list, lambda transform: transform[:6]])
    def test_are_told_by_the_transform(self, scene, form):
        array = self.corners(scene)
        array.attrs["transform"] = form(array.attrs["transform"])
        with pytest.warns(UserWarning, match=r"half a pixel.*upper left corners"):
            opened = open_scene(array)
        assert opened.rio.transform() == scene.rio.transform()
        with pytest.warns(UserWarning, match="half a pixel"):
            crop = open_scene(array[:, 4:, 6:])
        assert np.array_equal(crop.x, scene.x[6:])
        assert np.array_equal(crop.y, scene.y[4:])

    def test_centres_stay_centres(self, scene):
        array = self.corners(scene).assign_coords(x=scene.x, y=scene.y)
        assert open_scene(array).rio.transform() == scene.rio.transform()
        moved = open_scene(array.assign_coords(x=scene.x + 3))
        assert moved.rio.transform().c == scene.rio.transform().c + 3

    def test_a_crs_variable_that_disagrees_is_reported(self, scene):
        shifted = scene.assign_coords(x=scene.x + 5, y=scene.y + 5)
        with pytest.warns(UserWarning, match=r"half a pixel.*centres"):
            opened = open_scene(shifted)
        assert opened.rio.transform().c == scene.rio.transform().c + 5

    def test_in_labels(self, scene):
        codes = self.corners((scene[0] > 700).astype("u1").drop_vars("band"))
        with pytest.warns(UserWarning, match="upper left corners"):
            labels = open_labels(codes, like=scene)
        assert np.array_equal(labels, codes)


def test_transforms_without_coordinates():
    plain = xr.DataArray(np.ones((1, 4, 5), "u1"), dims=("band", "y", "x"))
    plain.attrs = {"crs": "EPSG:32633", "transform": tuple(from_origin(5e5, 5e6, 10, 10))}
    assert open_scene(plain).rio.bounds() == (5e5, 4999960, 500050, 5e6)


@pytest.mark.parametrize("attrs", [{"proj:epsg": 32633}, {"proj:code": "EPSG:32633"}])
@pytest.mark.parametrize("of_variable", [True, False])
def test_dataset_with_the_crs_of_stac(attrs, of_variable):
    coords = {"y": 5e6 - 10 * np.arange(4.0), "x": 5e5 + 10 * np.arange(5.0)}
    planes = {name: (("y", "x"), np.ones((4, 5), "u2")) for name in ("b02", "b03")}
    dataset = xr.Dataset(planes, coords, {} if of_variable else attrs)
    if of_variable:
        for variable in dataset.data_vars.values():
            variable.attrs = dict(attrs)
    assert open_scene(dataset).rio.crs.to_epsg() == 32633
