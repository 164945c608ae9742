"""Laws of `seg4eo_xr.patches.extract` where it refuses: a message, and no half a store."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from toy_jobs import digest

from seg4eo_xr.geometry.splits import SpatialSplit
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def scene_and_labels():
    scene, labels = synthetic_sentinel2((150, 170), seed=3)
    return scene.isel(band=slice(0, 3)).chunk({"band": -1, "y": 40, "x": 61}), labels


def extract(pair, path, **options):
    options = {"patch_size": 16, "shard_size": 16, "progress": False, **options}
    return extract_patches(*pair, path, **options)


def left_behind(folder):
    return sorted(entry.name for entry in folder.iterdir())


def blank(scene):
    return scene.copy(data=np.zeros_like(scene.values))


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (
            {},
            {"patch_size": 151, "edges": "drop"},
            ValueError,
            r"151 × 151; choose patch_size 150 or less, or edges='pad' \(--edges pad\)",
        ),
        ({"labels": lambda a: a[:-1]}, {}, ValueError, "different shapes"),
        (
            {"labels": lambda a: a.assign_coords(x=a.x + 5)},
            {},
            ValueError,
            "different transforms",
        ),
        (
            {},
            {"classes": ClassTable.from_codes([1, 2])},
            ValueError,
            r"patch \S+ of array at row \d+, column \d+: labels hold the class codes \[.*\], which",
        ),
        ({"scene": blank}, {}, ValueError, "all nodata in its 110 patches"),
        (
            {"labels": lambda a: a.copy(data=np.full_like(a.values, 255))},
            {},
            ValueError,
            "no pixel with data has a label",
        ),
        ({}, {"min_valid_fraction": 1.0, "patch_size": 140}, ValueError, "no training patch"),
        ({}, {"shard_size": 12}, ValueError, "power of two"),
        ({}, {"interpolation": "cubic"}, ValueError, "one of nearest"),
        ({}, {"edges": "reflect"}, ValueError, "edges must be one of pad, shift, drop"),
        ({}, {"patchsize": 3}, TypeError, "unknown option 'patchsize'; did you mean 'patch_size'"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    change, options, error, message, scene_and_labels, tmp_path
):
    scene, labels = scene_and_labels
    pair = (
        change.get("scene", xr.DataArray.copy)(scene),
        change.get("labels", xr.DataArray.copy)(labels),
    )
    with pytest.raises(error, match=message):
        extract(pair, tmp_path / "a.zarr", **options)
    assert left_behind(tmp_path) == []


def test_an_existing_store_stays_until_its_successor_is_complete(scene_and_labels, tmp_path):
    scene, labels = scene_and_labels
    path = tmp_path / "a.zarr"
    extract(scene_and_labels, path)
    before = digest(path)
    with pytest.raises(FileExistsError, match="overwrite"):
        extract(scene_and_labels, path)
    with pytest.raises(ValueError, match="all nodata"):
        extract((blank(scene), labels), path, overwrite=True)
    assert digest(path) == before
    extract(scene_and_labels, path, overwrite=True, stride=20)
    assert len(open_store(path)) == 8 * 9
    assert left_behind(tmp_path) == ["a.zarr"]


def test_polygons_leave_nothing_to_sampling(scene_and_labels, tmp_path):
    scene, _ = scene_and_labels
    grid = gpd.GeoDataFrame(geometry=[shapely.box(*scene.rio.bounds())], crs=scene.rio.crs)
    for options in ({"stride": 8}, {"sampling": "random", "samples": 3}):
        with pytest.raises(ValueError, match="leave stride and sampling away"):
            extract(scene_and_labels, tmp_path / "a.zarr", grid=grid, **options)


def test_a_scene_is_added_once(scene_and_labels, tmp_path):
    scene, labels = scene_and_labels
    scene.encoding["source"] = "s2.tif"
    try:
        extract((scene, labels), tmp_path / "a.zarr")
        with pytest.raises(ValueError, match=r"holds s2\.tif already"):
            extract((scene, labels), tmp_path / "a.zarr", append=True)
    finally:
        del scene.encoding["source"]


@pytest.mark.parametrize("split", ["spatial", SpatialSplit])
def test_a_split_is_a_rule(scene_and_labels, tmp_path, split):
    with pytest.raises(TypeError, match=r"split must be a rule, as .*SpatialSplit\(block=2560\)"):
        extract(scene_and_labels, tmp_path / "a.zarr", split=split)


def test_nothing_else_is_overwritten(scene_and_labels, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no patch store"):
        extract(scene_and_labels, tmp_path, overwrite=True)
    with pytest.raises(OSError, match=r"cannot write the patch store .*notes\.txt"):
        extract(scene_and_labels, tmp_path / "notes.txt" / "a.zarr")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_chunk_that_cannot_be_read_leaves_no_store_and_says_what_is_kept(
    scene_and_labels, tmp_path
):
    scene, labels = scene_and_labels

    def broken(block, block_info=None):
        if block_info[0]["chunk-location"][1:] == (2, 1):
            raise OSError("cannot read rows 80..120 of 'scene.tif'")
        return block

    lazy = scene.copy(data=scene.data.map_blocks(broken, dtype=scene.dtype))
    with pytest.raises(OSError, match=r"scene\.tif") as caught:
        extract((lazy, labels), tmp_path / "a.zarr")
    (kept,) = left_behind(tmp_path)
    assert kept in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="not complete"):
        open_store(tmp_path / kept)
    with pytest.raises(OSError, match=r"scene\.tif"):
        extract((lazy, labels), tmp_path / "b.zarr", shard_size=128)
    assert left_behind(tmp_path) == [kept]
