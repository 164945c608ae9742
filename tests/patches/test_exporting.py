"""Laws of `seg4eo_xr.patches.exporting`: a file is its patch, and lies where the patch lay."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.exporting import export_patches, plan_files, safe_stems
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.testing import synthetic_sentinel2

SIZE = 16


@pytest.fixture(scope="module")
def pair():
    return synthetic_sentinel2((80, 96), seed=3)


@pytest.fixture(scope="module")
def store(pair, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "patches.zarr"
    return extract_patches(*pair, path, patch_size=SIZE, shard_size=8, progress=False)


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    return export_patches(store, tmp_path_factory.mktemp("export") / "Patch", progress=False)


def test_each_used_patch_is_written_once_into_its_split(store, folder):
    for split in SPLITS:
        ids = sorted(store.coordinate("id")[store.indices(split)])
        for kind in ("images", "labels"):
            assert sorted(path.stem for path in (folder / split / kind).iterdir()) == ids
    assert sorted(path.name for path in folder.iterdir()) == sorted(SPLITS)


def test_a_file_is_its_window_of_the_scene_with_all_that_the_scene_says(pair, store, folder):
    scene, labels = pair
    for position in np.concatenate([store.indices(split) for split in SPLITS]).tolist():
        row, col = (int(store.coordinate(name)[position]) for name in ("row", "col"))
        window = {"y": slice(row, row + SIZE), "x": slice(col, col + SIZE)}
        name = f"{store.coordinate('id')[position]}.tif"
        base = folder / str(store.splits[position])
        image, label = open_scene(base / "images" / name), open_labels(base / "labels" / name)
        np.testing.assert_array_equal(image, scene.isel(window))
        np.testing.assert_array_equal(label, labels.isel(window))
        for written, original in ((image, scene), (label, labels)):
            assert written.rio.crs == original.rio.crs
            np.testing.assert_allclose(written.x, original.x.isel(x=window["x"]))
            np.testing.assert_allclose(written.y, original.y.isel(y=window["y"]))
            assert written.rio.nodata == original.rio.nodata
    assert image.dtype == scene.dtype
    assert image.band.values.tolist() == scene.band.values.tolist()
    assert image.attrs["scales"] == scene.attrs["scales"]
    assert ClassTable.from_attrs(label.attrs) == store.contract.classes


def test_labels_show_the_colours_of_their_classes(store, folder):
    path = next((folder / "train" / "labels").iterdir())
    with rasterio.open(path) as raster:
        colors = raster.colormap(1)
    classes = store.contract.classes
    for code, color in zip(classes.codes, classes.rgb().tolist(), strict=True):
        assert colors[code] == (*color, 255)


@pytest.mark.filterwarnings("ignore::seg4eo_xr.patches.sources.ResamplingWarning")
def test_resampled_cells_lie_where_the_cells_lay(pair, tmp_path):
    scene, labels = pair
    left, _, _, top = scene.rio.bounds()
    cells = [
        box(left + 10 * x, top - 10 * y - 320, left + 10 * x + 320, top - 10 * y)
        for x, y in ((0, 0), (40, 8), (60, 45))
    ]
    grid = gpd.GeoDataFrame({"name": ["a/b", "a b", "c"]}, geometry=cells, crs=scene.rio.crs)
    store = extract_patches(
        scene,
        labels,
        tmp_path / "p.zarr",
        grid=grid,
        id_column="name",
        patch_size=SIZE,
        progress=False,
    )
    files = {file.position: file for file in plan_files(store, SPLITS)}
    bounds = sorted(cell.bounds for cell in cells)
    found = []
    for file in files.values():
        a, _, c, _, e, f = file.transform
        found.append((c, f + e * SIZE, c + a * SIZE, f))
    np.testing.assert_allclose(sorted(found), bounds)
    assert {file.stem for file in files.values()} in ({"a_b", "a_b-2", "c"},)


@given(st.lists(st.text(max_size=12), max_size=12))
def test_file_names_are_safe_and_differ(ids):
    stems = safe_stems(ids)
    assert len({stem.casefold() for stem in stems}) == len(ids)
    for stem in stems:
        assert stem
        assert not set(stem) & set('/\\:*?"<>| \n')
        assert stem not in (".", "..")


def test_splits_are_chosen_and_bad_ones_named(store, tmp_path):
    assert {file.split for file in plan_files(store, ["test"])} == {"test"}
    with pytest.raises(ValueError, match="val"):
        export_patches(store, tmp_path / "a", splits=["val"])
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(store, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="exists already"):
        export_patches(store, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_failure_leaves_nothing_behind(store, tmp_path, monkeypatch):
    from seg4eo_xr.patches import exporting

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(exporting, "_write_label", fail)
    with pytest.raises(OSError, match=r"cannot write patch .* is the disk full"):
        export_patches(store, tmp_path / "a", progress=False)
    assert not list(tmp_path.iterdir())
