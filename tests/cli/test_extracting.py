"""Laws of `seg4eo_xr.cli.extracting`: a folder of scenes, and which split the words ask for."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import box

from seg4eo_xr.cli import main
from seg4eo_xr.cli.extracting import ExtractSingle, SplitChoice
from seg4eo_xr.cli.option import build
from seg4eo_xr.cli.parser import split_words
from seg4eo_xr.geometry.splits import ColumnSplit, RandomSplit, SceneSplit, SpatialSplit
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.scenes.class_files import write_classes
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.open import select_bands
from seg4eo_xr.testing import synthetic_sentinel2

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 32


def write_scene(folder: Path, key: str, seed: int, *, crs: int = 32633) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scene, labels = synthetic_sentinel2((96, 96 + 32 * seed), seed=seed)
    for kind, array in (("Image", select_bands(scene, ["B02", "B03", "B04"])), ("Label", labels)):
        placed = array.assign_coords(x=array["x"] + 5000 * seed).drop_vars("spatial_ref")
        placed.rio.write_crs(crs).rio.to_raster(folder / f"{kind}_{key}.tif")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scene(folder, "1", 1)
    write_scene(folder / "south", "1", 2, crs=32634)
    write_scene(folder / "south", "2", 3)
    return folder


def batch(folder: Path, output: Path, *more: str) -> list[str]:
    words = ["extract", "batch", "--data_dir", f"{folder}", "--output", f"{output}", "--recursive"]
    return [*words, "--patch_size", f"{SIZE}", *more]


def test_a_folder_of_scenes_becomes_one_store(scenes, tmp_path, capsys):
    assert main(batch(scenes, tmp_path / "a.zarr")) == 0
    store = open_store(tmp_path / "a.zarr")
    assert [scene["name"] for scene in store.attrs["scenes"]] == ["1", "south/1", "south/2"]
    assert np.bincount(store.coordinate("scene")).tolist() == [12, 15, 18]
    assert len(store.attrs["crs"]) == 2
    told = capsys.readouterr().out
    assert "3 pairs" in told
    assert "EPSG:32634" in told


def test_a_scene_that_fails_is_reported_and_the_others_are_there(scenes, tmp_path, capsys):
    folder = tmp_path / "scenes"
    shutil.copytree(scenes, folder)
    broken = folder / "Image_1.tif"
    broken.write_bytes(broken.read_bytes()[:5000])
    assert main(batch(folder, tmp_path / "a.zarr")) == 1
    error = capsys.readouterr().err
    assert "1 of 3 scenes failed" in error
    assert "Image_1.tif" in error
    names = [scene["name"] for scene in open_store(tmp_path / "a.zarr").attrs["scenes"]]
    assert names == ["south/1", "south/2"]


def test_scenes_are_added_later_and_are_not_cut_twice(scenes, tmp_path, capsys):
    folder = tmp_path / "scenes"
    shutil.copytree(scenes / "south", folder / "south")
    assert main(batch(folder, tmp_path / "a.zarr")) == 0
    shutil.copytree(scenes, folder, dirs_exist_ok=True)
    assert main(batch(folder, tmp_path / "a.zarr", "--append")) == 0
    assert "skipped" in capsys.readouterr().out
    store = open_store(tmp_path / "a.zarr")
    assert np.bincount(store.coordinate("scene")).tolist() == [15, 18, 12]


def test_a_folder_without_scenes_is_wrong_input(tmp_path, capsys):
    (tmp_path / "scene.tif").touch()
    assert main(batch(tmp_path, tmp_path / "a.zarr")) == 2
    assert "image_pattern" in capsys.readouterr().err


def test_folders_of_images_and_masks_need_no_options(scenes, tmp_path, capsys):
    for name, folder in (("Image_1.tif", "images"), ("Label_1.tif", "masks")):
        (tmp_path / "scenes" / folder).mkdir(parents=True)
        shutil.copy(scenes / name, tmp_path / "scenes" / folder / "north.tif")
    words = [
        word for word in batch(tmp_path / "scenes", tmp_path / "a.zarr") if word != "--recursive"
    ]
    assert main(words) == 0
    assert "images/north.tif + " in capsys.readouterr().out
    assert len(open_store(tmp_path / "a.zarr").contract.classes) > 1


def test_a_scene_is_not_its_own_labels(scenes, tmp_path, capsys):
    words = [word.replace("Image_1", "Label_1") for word in single(scenes, tmp_path / "a.zarr")]
    assert main(words) == 2
    assert "and as its labels (--label)" in capsys.readouterr().err


def single(scenes: Path, output: Path, *more: str) -> list[str]:
    words = ["--image", f"{scenes}/Image_1.tif", "--label", f"{scenes}/Label_1.tif"]
    return ["extract", "single", *words, "--output", f"{output}", "--patch_size", f"{SIZE}", *more]


def test_classes_and_labels_follow_the_options(scenes, tmp_path):
    names = ["lake", "wood", "meadow", "field", "soil", "town"]
    write_classes(ClassTable.from_codes(range(1, 7), names), tmp_path / "classes.csv")
    words = ["--classes", f"{tmp_path}/classes.csv", "--unlabelled", "1", "2"]
    assert main(single(scenes, tmp_path / "a.zarr", *words)) == 0
    store = open_store(tmp_path / "a.zarr")
    assert set(store.contract.classes.names) <= set(names)
    assert not np.isin(store.arrays()[1][:], [1, 2]).any()


def test_the_number_of_bands_is_checked(scenes, tmp_path, capsys):
    words = single(scenes, tmp_path / "a.zarr", "--image_channels", "4")
    assert main(words) == 2
    assert "has 3 bands, but --image_channels asks for 4" in capsys.readouterr().err
    assert main([*words, "--bands", "B02", "--image_channels", "1"]) == 0


def test_a_column_of_the_grid_deals_the_patches(scenes, tmp_path):
    scene, _ = synthetic_sentinel2((96, 128), seed=1)
    left, _, _, top = scene.assign_coords(x=scene["x"] + 5000).rio.bounds(recalc=True)
    corners = [(left + 320 * i, top - 320 * j) for j in range(3) for i in range(4)]
    folds = ["Training", "val", "testing", *["train"] * 9]
    cells = [box(x, y - 320, x + 320, y) for x, y in corners]
    grid = gpd.GeoDataFrame({"fold": folds}, geometry=cells, crs=scene.rio.crs)
    grid.to_file(tmp_path / "grid.gpkg")
    words = ["--grid", f"{tmp_path}/grid.gpkg", "--split_column", "fold"]
    assert main(single(scenes, tmp_path / "a.zarr", *words)) == 0
    splits = open_store(tmp_path / "a.zarr").splits
    assert [int((splits == name).sum()) for name in ("train", "validation", "test")] == [10, 1, 1]


def choice(words: list[str]) -> SplitChoice:
    values, _ = split_words("extract single", ExtractSingle, words)
    return build(SplitChoice, values)


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ([], RandomSplit()),
        (
            ["--train-ratio", "0.5", "--val-ratio", "0.3", "--test-ratio", "0.2"],
            RandomSplit(0.5, 0.3, 0.2),
        ),
        (["--split-block", "640", "--random-seed", "1"], SpatialSplit(640, random_seed=1)),
        (["--split-block", "640", "--split-buffer", "8"], SpatialSplit(640, 8)),
        (["--split-by-scene", "--split-buffer", "8"], SceneSplit(buffer=8)),
        (["--split-column", "fold"], ColumnSplit("fold")),
    ],
)
def test_the_words_choose_the_rule(words, rule):
    assert choice(words).rule() == rule


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--split-buffer", "8"], "split_block"),
        (["--split-column", "fold", "--split-buffer", "8"], "split_block"),
        (["--split-column", "fold", "--split-by-scene"], "choose one"),
    ],
)
def test_words_that_contradict_each_other_are_refused(words, named):
    with pytest.raises(ValueError, match=named):
        choice(words).rule()
