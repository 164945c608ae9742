from __future__ import annotations

import json
import pickle
import sys

import dask
import numpy as np
import pytest
import rasterio
from affine import Affine

from seg4eo_xr.scenes.cubes import scenes_of
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.harmonize import harmonize
from seg4eo_xr.scenes.masks import mask_scene
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.open import band_scaling, open_scene
from seg4eo_xr.scenes.stac import open_stac
from seg4eo_xr.scenes.stac_items import read_items
from seg4eo_xr.testing import raising_scheduler

pystac = pytest.importorskip("pystac")
pytest.importorskip("odc.stac")
# what odc-geo calls, shapely would like to retire
pytestmark = pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")

CRS = "EPSG:32633"
GRID = Affine(10, 0, 500_000, 0, -10, 5_200_000)
SIDE = 24
RASTER = {"data_type": "uint16", "nodata": 0, "scale": 0.0001}


def _values(seed, side=SIDE):
    return np.random.default_rng(seed).integers(1, 4000, (side, side)).astype(np.uint16)


def _item(folder, name, time, *, column=0, raised=False, described=True, **properties):
    """An item of two bands of 10 m and 20 m, and its GeoTIFFs."""
    transform = GRID @ Affine.translation(column * SIDE, 0)
    assets = {}
    for seed, (band, factor) in enumerate({"B04": 1, "B11": 2, "SCL": 2}.items()):
        grid = transform @ Affine.scale(factor)
        values = _values([seed, column], SIDE // factor)
        if band == "SCL":
            values = (values % 12).astype(np.uint8)
        plane = place(values + (1000 if raised and band != "SCL" else 0), CRS, grid)
        plane = plane.astype(values.dtype)
        path = folder / f"{name}_{band}.tif"
        plane.rio.write_nodata(0).rio.to_raster(path)
        height, width = values.shape
        told = {"data_type": "uint8", "nodata": 0} if band == "SCL" else RASTER
        assets[band] = {
            "href": str(path),
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
            "proj:shape": [height, width],
            "proj:transform": list(grid)[:6],
        }
        if described:
            assets[band]["raster:bands"] = [told]
    bounds = place(_values(0), CRS, transform).rio.transform_bounds("EPSG:4326")
    west, south, east, north = bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": "s2",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(bounds),
        "properties": {"datetime": time, "proj:epsg": 32633, **properties},
        "links": [],
        "assets": assets,
    }


@pytest.fixture
def items(tmp_path):
    """Two tiles of one day, one of another."""
    return [
        _item(tmp_path, "a", "2021-06-03T10:10:00Z"),
        _item(tmp_path, "b", "2021-06-03T10:10:20Z", column=1),
        _item(tmp_path, "c", "2021-06-13T10:10:00Z", column=1),
    ]


def test_items_become_a_series_of_mosaics(items):
    with dask.config.set(scheduler=raising_scheduler):
        cube = open_stac(items, bands=("B04", "B11"), resolution=10, chunks=16)
        assert (
            cube.data.name
            == open_stac(items, bands=("B04", "B11"), resolution=10, chunks=16).data.name
        )
    assert cube.dims == ("time", "band", "y", "x")
    assert (cube.dtype, cube.rio.nodata) == (np.uint16, 0)
    assert cube.rio.transform() == GRID
    assert band_scaling(cube) == ((0.0001,) * 2, (0.0,) * 2)
    left, right = (
        np.stack([_values([0, c]), _values([1, c], SIDE // 2).repeat(2, 0).repeat(2, 1)])
        for c in (0, 1)
    )
    assert np.array_equal(cube[0], np.concatenate([left, right], axis=2))
    assert np.array_equal(cube[1], np.concatenate([left * 0, right], axis=2))
    assert list(scenes_of(cube)) == ["2021-06-03", "2021-06-13"]
    assert pickle.loads(pickle.dumps(cube)).identical(cube)
    assert open_scene(cube.isel(time=0)).shape == (2, SIDE, 2 * SIDE)


def test_flags_are_opened_apart_and_hide_pixels(items):
    cube = open_stac(items, bands=("B04",), resolution=10)
    flags = open_stac(items, bands=("SCL",), resolution=20)
    masked = mask_scene(cube, flags, [3])
    hidden = (flags.values[:, 0] == 3).repeat(2, 1).repeat(2, 2)
    assert hidden.any()
    assert np.array_equal(masked[:, 0], np.where(hidden, 0, cube[:, 0]))
    with pytest.raises(ValueError, match=r"B04.*uint16.*SCL.*uint8"):
        open_stac(items, resolution=10)


def test_place_and_grid(items):
    like = open_stac(items, bands=("B04",), resolution=10).isel(time=0)[:, 4:10, 6:20]
    cube = open_stac(items, bands=("B04",), like=like)
    assert np.array_equal(cube[0], like)
    west, south, east, north = like.rio.transform_bounds("EPSG:4326")
    boxed = open_stac(items, bands=("B04",), resolution=20, bbox=(west, south, east, north))
    assert boxed.rio.transform().a == 20
    assert boxed.shape[2] < 7
    ring = [[west, south], [east, south], [east, north], [west, south]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    assert open_stac(items, bands=("B04",), resolution=20, geometry=shape).shape == boxed.shape
    assert len(open_stac(items, bands=("B04",), groupby="id")) == 3


@pytest.mark.parametrize("stated", [False, True])
def test_both_conventions_of_sentinel_2_become_one(tmp_path, stated):
    old = {"platform": "sentinel-2a", "s2:processing_baseline": "03.01"}
    new = {"platform": "sentinel-2a", "s2:processing_baseline": "04.00"}
    lowered = new | {"earthsearch:boa_offset_applied": True}
    items = [
        _item(tmp_path, "old", "2021-06-03T10:10:00Z", **old),
        _item(tmp_path, "new", "2022-06-03T10:10:00Z", raised=True, **new),
        _item(tmp_path, "lowered", "2023-06-03T10:10:00Z", **lowered),
    ]
    if stated:
        for item in items[1:]:
            for band in ("B04", "B11"):
                item["assets"][band]["raster:bands"] = [RASTER | {"offset": -0.1}]
    cube = open_stac(items[::-1], bands=("B04", "B11"), resolution=10)
    assert band_scaling(cube) == ((0.0001,) * 2, (0.0,) * 2)
    assert cube.dtype == np.uint16
    assert np.array_equal(harmonize(cube, shift=1000), cube)  # not again
    for scene in cube[1:]:
        assert np.array_equal(scene, cube[0])
    if stated:
        with pytest.raises(ValueError, match=r"scale or offset.*harmonize"):
            open_stac(items, bands=("B04",), harmonize=False)
    else:
        apart = open_stac(items, bands=("B04",), harmonize=False)
        assert np.array_equal(apart[1], apart[0] + 1000)


def test_other_sensors_keep_their_scaling(tmp_path):
    item = _item(tmp_path, "l8", "2021-06-03T10:10:00Z", platform="landsat-8")
    told = {"data_type": "uint16", "nodata": 0, "scale": 2.75e-05, "offset": -0.2}
    item["assets"]["B04"]["raster:bands"] = [told]
    cube = open_stac(item, bands=("B04",))
    assert band_scaling(cube) == ((2.75e-05,), (-0.2,))
    assert np.array_equal(cube[0, 0], _values([0, 0]))


def test_files_tell_what_items_do_not(tmp_path):
    item = _item(tmp_path, "bare", "2021-06-03T10:10:00Z", described=False)
    cube = open_stac([item], bands=("B04",))
    assert (cube.dtype, cube.rio.nodata) == (np.uint16, 0)
    assert np.array_equal(cube[0, 0], _values([0, 0]))
    assert open_stac([item], bands=("B04",), nodata=9).rio.nodata == 9


@pytest.mark.parametrize("form", [dict, pystac.Item.from_dict])
def test_files_tell_what_items_of_no_collection_do_not(tmp_path, form):
    lone = _item(tmp_path, "lone", "2021-06-03T10:10:00Z", described=False)
    member = _item(tmp_path, "member", "2021-06-13T10:10:00Z", described=False)
    del lone["collection"]
    for items in ([form(lone)], [form(lone), form(member)]):
        cube = open_stac(items, bands=("B04",))
        assert (cube.dtype, cube.rio.nodata) == (np.uint16, 0)
        for scene in cube:
            assert np.array_equal(scene[0], _values([0, 0]))


def test_files_tell_what_items_with_a_dtype_leave_out(tmp_path):
    item = _item(tmp_path, "a", "2021-06-03T10:10:00Z")
    with rasterio.open(item["assets"]["B04"]["href"], "r+") as file:
        file.scales, file.offsets = (0.5,), (-3.0,)
    item["assets"]["B04"]["raster:bands"] = [{"data_type": "uint16"}]
    cube = open_stac([item], bands=("B04",))
    assert (cube.dtype, cube.rio.nodata) == (np.uint16, 0)
    assert band_scaling(cube) == ((0.5,), (-3.0,))
    # what the item states goes first, scale and offset together
    item["assets"]["B04"]["raster:bands"] = [{"data_type": "uint16", "scale": 2.0}]
    assert band_scaling(open_stac([item], bands=("B04",))) == ((2.0,), (0.0,))


@pytest.mark.parametrize("described", [True, False])
def test_items_of_two_dtypes_are_refused(tmp_path, described):
    items = [
        _item(tmp_path, name, f"2021-06-{day}T10:10:00Z", described=described)
        for name, day in (("stored", "03"), ("physical", "13"))
    ]
    asset = items[1]["assets"]["B04"]
    with rasterio.open(asset["href"]) as file:
        values, profile = file.read() / np.float32(1e4), file.profile
    with rasterio.open(asset["href"], "w", **profile | {"dtype": "float32"}) as file:
        file.write(values)
    if described:
        asset["raster:bands"] = [{"data_type": "float32", "nodata": 0}]
    with pytest.raises(ValueError, match=r"'B04' of STAC item 'physical' is float32, .* uint16"):
        open_stac(items, bands=("B04",))
    assert open_stac(items[1], bands=("B04",)).dtype == np.float32


@pytest.mark.parametrize("described", [True, False])
def test_a_mask_of_a_file_that_is_not_read_is_named(tmp_path, described):
    item = _item(tmp_path, "a", "2021-06-03T10:10:00Z", described=described)
    path = item["assets"]["B04"]["href"]
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.nodata = None
        file.write_mask(np.zeros(file.shape, np.uint8))
    with pytest.warns(SceneWarning, match="asset 'B04' of STAC item 'a' has a mask"):
        open_stac([item], bands=("B04",))


@pytest.mark.parametrize("described", [True, False])
def test_bands_answer_to_common_names(tmp_path, described):
    item = _item(tmp_path, "named", "2021-06-03T10:10:00Z", described=described)
    item["stac_extensions"].append("https://stac-extensions.github.io/eo/v1.1.0/schema.json")
    item["assets"]["B04"]["eo:bands"] = [{"name": "B04", "common_name": "red"}]
    cube = open_stac(item, bands=("red",))
    assert cube.band.values.tolist() == ["red"]
    assert cube.dtype == np.uint16
    assert band_scaling(cube)[0] == ((0.0001,) if described else (1.0,))
    assert np.array_equal(cube[0, 0], _values([0, 0]))


def test_a_file_that_is_gone_is_named(tmp_path):
    item = _item(tmp_path, "gone", "2021-06-03T10:10:00Z", described=False)
    (tmp_path / "gone_B04.tif").unlink()
    with pytest.raises(OSError, match=r"asset 'B04' of STAC item 'gone'"):
        open_stac(item, bands=("B04",))


def test_items_come_from_documents_and_objects(items, tmp_path):
    items[0]["assets"]["B04"]["href"] = "a_B04.tif"
    single, several = tmp_path / "item.json", tmp_path / "items.json"
    single.write_text(json.dumps(items[0]))
    several.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    assert np.array_equal(open_stac(single, bands=("B04",))[0, 0], _values([0, 0]))
    assert [item.id for item in read_items(several)] == ["a", "b", "c"]
    objects = [pystac.Item.from_dict(item) for item in items]
    assert [item.id for item in read_items(iter(objects))] == ["a", "b", "c"]
    catalog = pystac.Catalog("catalog", "of tests")
    catalog.add_items(objects[1:])
    catalog.normalize_and_save(str(tmp_path / "catalog"), pystac.CatalogType.SELF_CONTAINED)
    assert [item.id for item in read_items(tmp_path / "catalog" / "catalog.json")] == ["b", "c"]


def test_what_is_no_stac_is_refused(items, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        open_stac(tmp_path / "nowhere.json")
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "other.json").write_text('{"type": "Topology"}')
    (tmp_path / "list.json").write_text("[]")
    for name, message in {"text": "no STAC", "other": "'Topology'", "list": "holds a list"}.items():
        with pytest.raises(ValueError, match=rf"{name}\.json.*{message}"):
            open_stac(tmp_path / f"{name}.json")
    with pytest.raises(ValueError, match="no valid STAC document"):
        open_stac({"type": "Feature"})
    with pytest.raises(ValueError, match="no STAC item"):
        open_stac([])
    with pytest.raises(TypeError, match="got int"):
        open_stac(5)
    with pytest.raises(ValueError, match=r"B99.*assets are \['B04', 'B11', 'SCL'\]"):
        open_stac(items, bands=("B99",))
    for grid in ({}, {"crs": CRS, "resolution": 10}):
        with pytest.raises(ValueError, match=r"no bands \['B4'\].*did you mean 'B04'\?$"):
            open_stac(items, bands=("B04", "B4"), **grid)
    with pytest.raises(ValueError, match="groupby must be one of"):
        open_stac(items, groupby="week")


def test_without_odc_stac_the_extra_is_named(items, monkeypatch):
    monkeypatch.setitem(sys.modules, "odc.stac", None)
    with pytest.raises(ImportError, match=r"the extra 'stac'"):
        open_stac(items)


def test_items_without_projection_need_a_grid(tmp_path):
    item = _item(tmp_path, "nowhere", "2021-06-03T10:10:00Z")
    item["properties"].pop("proj:epsg")
    for asset in item["assets"].values():
        del asset["proj:shape"], asset["proj:transform"]
    with pytest.raises(ValueError, match=r"projection metadata need crs= and resolution="):
        open_stac(item, bands=("B04",))
    assert open_stac(item, bands=("B04",), crs=CRS, resolution=10).rio.crs == CRS
