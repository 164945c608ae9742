"""Laws of `seg4eo_xr.patches.batch`: scenes from real files, some of them broken."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from seg4eo_xr.geometry.splits import ColumnSplit, RandomSplit, SceneSplit
from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.patches.batch import FailedSceneWarning, extract_batch
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.pairs import find_pairs
from seg4eo_xr.scenes.bands import select_bands
from seg4eo_xr.scenes.harmonize import OffsetWarning
from seg4eo_xr.scenes.label_options import LabelOptions
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.testing import synthetic_sentinel2

SIZE = 16
SHAPES = {"1": (70, 90), "2": (100, 64), "north/3": (64, 64)}


def write(array, path, *, east=0, **options):
    """Write a raster, `east` metres from where it lies: scenes of a batch lie side by side."""
    path.parent.mkdir(exist_ok=True)
    transform = Affine.translation(east, 0) @ array.rio.transform()
    array = array.assign_coords(x=array.x + east).rio.write_transform(transform)
    array.rio.to_raster(path, tiled=True, blockxsize=32, blockysize=32, **options)


@pytest.fixture
def folder(tmp_path):
    for seed, (name, shape) in enumerate(SHAPES.items()):
        scene, labels = synthetic_sentinel2(shape, seed=seed)
        crs = "EPSG:32634" if name == "2" else "EPSG:32633"
        where = tmp_path / "data" / name
        image = select_bands(scene, ["B02", "B03"]).rio.write_crs(crs)
        write(image, where.with_name(f"Image_{where.name}.tif"), east=5000 * seed)
        write(
            labels.rio.write_crs(crs), where.with_name(f"Label_{where.name}.tif"), east=5000 * seed
        )
    return tmp_path / "data"


def run(folder, path, **options):
    options = {"patch_size": SIZE, "shard_size": 8, "progress": False, **options}
    return extract_batch(find_pairs(folder, recursive=True), path, **options)


def require_window_bytes(store, folder):
    """Each patch is the window of its own scene."""
    scenes = [entry["name"] for entry in store.attrs["scenes"]]
    opened = {
        name: open_scene(
            folder / name.replace(name.split("/")[-1], f"Image_{name.split('/')[-1]}.tif")
        )
        for name in scenes
    }
    images = store.dataset.images.values
    for i in range(len(store)):
        scene = opened[scenes[store.coordinate("scene")[i]]]
        row, col = (int(store.coordinate(name)[i]) for name in ("row", "col"))
        window = scene[:, row : row + SIZE, col : col + SIZE].values
        _, height, width = window.shape
        np.testing.assert_array_equal(images[i][:, :height, :width], window)
        assert (images[i][:, height:] == scene.rio.nodata).all()
        assert (images[i][:, :, width:] == scene.rio.nodata).all()


def test_scenes_of_different_crs_and_size_share_a_store(folder, tmp_path):
    result = run(folder, tmp_path / "a.zarr")
    store = result.store
    assert result.failed == {}
    assert [entry["name"] for entry in store.attrs["scenes"]] == list(SHAPES)
    assert len(store) == sum(-(-h // SIZE) * -(-w // SIZE) for h, w in SHAPES.values())
    assert len(store.attrs["crs"]) == 2
    require_window_bytes(store, folder)


def test_a_scene_that_fails_is_reported_and_the_others_go_on(folder, tmp_path):
    good = run(folder, tmp_path / "good.zarr", split=RandomSplit(1, 0, 0)).store
    scene, labels = synthetic_sentinel2((64, 64), seed=9)
    write(select_bands(scene, ["B02", "B03", "B04"]), folder / "Image_0.tif")
    write(labels, folder / "Label_0.tif")
    write(select_bands(scene, ["B02", "B03"]), folder / "Image_1b.tif", compress="deflate")
    write(labels, folder / "Label_1b.tif")
    content = bytearray((folder / "Image_1b.tif").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    (folder / "Image_1b.tif").write_bytes(content)
    write(select_bands(scene, ["B02", "B03"]), folder / "Image_5.tif")
    write(labels.isel(x=slice(32)), folder / "Label_5.tif")
    pairs = find_pairs(folder, recursive=True)
    pairs = sorted(pairs, key=lambda pair: pair.name == "0")  # the odd one out comes last
    with pytest.warns(FailedSceneWarning, match="scene (0|1b|5) fails: ") as told:
        result = extract_batch(
            pairs,
            tmp_path / "a.zarr",
            patch_size=SIZE,
            shard_size=8,
            progress=False,
            split=RandomSplit(1, 0, 0),
        )
    assert sum(issubclass(warning.category, FailedSceneWarning) for warning in told) == 3
    assert set(result.failed) == {"0", "1b", "5"}
    assert "bands" in result.failed["0"]
    assert "Image_1b.tif" in result.failed["1b"]
    assert "different shapes" in result.failed["5"]
    require_window_bytes(result.store, folder)
    np.testing.assert_array_equal(result.store.dataset.images, good.dataset.images)
    np.testing.assert_array_equal(result.store.coordinate("digest"), good.coordinate("digest"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zarr", "data", "good.zarr"]


def test_the_same_call_with_append_tries_only_what_is_missing(folder, tmp_path):
    label = folder / "Label_2.tif"
    hidden = label.rename(tmp_path / "hidden.tif")
    write(synthetic_sentinel2((8, 8))[1], label)
    path = tmp_path / "a.zarr"
    with pytest.warns(FailedSceneWarning, match="scene 2 fails"):
        assert set(run(folder, path).failed) == {"2"}
    label.unlink()
    hidden.rename(label)
    again = run(folder, path, append=True)
    assert again.failed == {}
    assert again.skipped == ("1", "north/3")
    assert [entry["name"] for entry in again.store.attrs["scenes"]] == ["1", "north/3", "2"]
    require_window_bytes(again.store, folder)
    assert set(run(folder, path, append=True).skipped) == set(SHAPES)


def test_one_class_table_serves_vectors_with_different_names(tmp_path):
    for name, classes in (("1", ["forest", "water"]), ("2", ["crop", "forest"])):
        scene, _ = synthetic_sentinel2((64, 64), seed=int(name))
        write(select_bands(scene, ["B02", "B03"]), tmp_path / f"Image_{name}.tif")
        left, bottom, right, top = scene.rio.bounds()
        half = (left + right) / 2
        boxes = [shapely.box(left, bottom, half, top), shapely.box(half, bottom, right, top)]
        frame = gpd.GeoDataFrame({"kind": classes}, geometry=boxes, crs=scene.rio.crs)
        frame.to_file(tmp_path / f"Label_{name}.gpkg")
    store = run(
        tmp_path,
        tmp_path / "a.zarr",
        labels=LabelOptions(column="kind"),
        split=RandomSplit(1, 0, 0),
    ).store
    assert store.contract.classes.names == ("crop", "forest", "water")
    pixels = store.class_counts("train")
    assert pixels[2] > pixels[1] > 0


def test_splits_by_scene_and_by_column(folder, tmp_path):
    store = run(folder, tmp_path / "a.zarr", split=SceneSplit(0.4, 0.3, 0.3)).store
    by_scene = {
        number: set(store.splits[store.coordinate("scene") == number]) - {"unused"}
        for number in range(3)
    }
    assert sorted(len(found) for found in by_scene.values()) == [1, 1, 1]
    assert set.union(*by_scene.values()) == {"train", "validation", "test"}
    scene = open_scene(folder / "Image_1.tif")
    left, _, _, top = scene.rio.bounds()
    boxes = [shapely.box(left + 160 * i, top - 160, left + 160 * (i + 1), top) for i in range(5)]
    frame = gpd.GeoDataFrame(
        {"fold": ["Train", "val", "testing", None, "training"]}, geometry=boxes, crs=scene.rio.crs
    )
    labels = folder / "Label_1.tif"
    store = extract_patches(
        scene,
        labels,
        tmp_path / "b.zarr",
        grid=frame,
        split=ColumnSplit("fold"),
        patch_size=SIZE,
        progress=False,
    )
    assert dict(zip(store.coordinate("id").tolist(), store.splits.tolist(), strict=True)) == {
        "0": "train",
        "1": "validation",
        "2": "test",
        "4": "train",
    }


@pytest.mark.parametrize("zeros", ["declared", "undeclared"])
def test_scenes_of_both_offset_conventions_are_noticed(folder, tmp_path, zeros):
    raised = open_scene(folder / "Image_1.tif").load()
    raised[:, :, :30] = 0
    write(raised.where(raised == 0, raised + 1000), folder / "Image_1.tif")
    if zeros == "undeclared":
        for path in folder.rglob("Image_*.tif"):
            with rasterio.open(path, "r+") as file:
                file.nodata = None
    with pytest.warns(Seg4EOWarning) as caught:
        run(folder, tmp_path / "a.zarr")
    texts = {
        one.category: str(one.message) for one in caught if issubclass(one.category, Seg4EOWarning)
    }
    assert "1 of 3 scenes seem to hold numbers raised by 1000: 1" in texts.pop(OffsetWarning)
    assert [*texts] == ([] if zeros == "declared" else [SceneWarning])


@pytest.mark.filterwarnings("ignore::seg4eo_xr.FailedSceneWarning")
def test_no_usable_scene_is_an_error_that_names_them(folder, tmp_path):
    for name in ("1", "2", "north/3"):
        stem = name.split("/")[-1]
        (folder / name).with_name(f"Image_{stem}.tif").write_text("no raster")
    with pytest.raises(ValueError, match=r"none of the 3 scenes can be used: 1: .*Image_1\.tif"):
        run(folder, tmp_path / "a.zarr")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data"]
