"""Laws of patches that reach past the edge of their scene, and of the ground that a store shows."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import dask
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr

from seg4eo_xr.cli import main
from seg4eo_xr.evaluation.split_zones import split_areas
from seg4eo_xr.geometry.splits import RandomSplit, SceneSplit, SpatialSplit
from seg4eo_xr.patches import coverage
from seg4eo_xr.patches.batch import extract_batch
from seg4eo_xr.patches.coverage import labelled_ground
from seg4eo_xr.patches.exporting import export_patches
from seg4eo_xr.patches.extract import LeakageWarning, extract_patches
from seg4eo_xr.patches.importing import import_patches
from seg4eo_xr.patches.options import ExtractOptions
from seg4eo_xr.patches.pairs import ScenePair
from seg4eo_xr.patches.sources import plan_scene
from seg4eo_xr.patches.stream import PatchStream

SIZE = 16
ALL = RandomSplit(1, 0, 0)


def scene_of(shape, dtype="uint8", nodata=None, east=0.0):
    """Noise above 0 in two bands, and labels of two classes with some unlabelled pixels."""
    rng = np.random.default_rng(int(east))
    x, y = 500000 + east + 10 * np.arange(shape[1]), 5000000 - 10 * np.arange(shape[0])
    values = rng.integers(1, 120, (2, *shape)).astype(dtype)
    scene = xr.DataArray(
        values, dims=("band", "y", "x"), coords={"band": ["a", "b"], "y": y, "x": x}
    ).rio.write_crs(32633)
    codes = rng.integers(1, 3, shape).astype("uint8")
    codes[rng.random(shape) < 0.1] = 255
    labels = xr.DataArray(codes, dims=("y", "x"), coords={"y": y, "x": x}).rio.write_crs(32633)
    scene = scene if nodata is None else scene.rio.write_nodata(nodata)
    return scene, labels.rio.write_nodata(255)


def extract(pair, path, **options):
    options = {"patch_size": SIZE, "split": ALL, "progress": False, **options}
    return extract_patches(*pair, path, **options)


KINDS = [
    ("uint8", None),
    ("uint16", 0),
    ("int16", -9999),
    ("float32", None),
    ("float32", -9999),
    ("float64", np.nan),
]


@pytest.mark.parametrize("shape", [(20, 40), (5, 37), (2, 3)])
@pytest.mark.parametrize(("dtype", "nodata"), KINDS)
def test_a_patch_is_the_window_and_beyond_the_scene_there_is_no_data(
    dtype, nodata, shape, tmp_path
):
    scene, labels = scene_of(shape, dtype, nodata)
    store = extract((scene, labels), tmp_path / "a.zarr")
    images, codes = (array[:] for array in store.arrays())
    assert len(store) == -(-shape[0] // SIZE) * -(-shape[1] // SIZE)
    for i in range(len(store)):
        row, col = (int(store.coordinate(name)[i]) for name in ("row", "col"))
        window = scene.values[:, row : row + SIZE, col : col + SIZE]
        _, height, width = window.shape
        np.testing.assert_array_equal(images[i][:, :height, :width], window)
        own = labels.values[row : row + SIZE, col : col + SIZE]
        np.testing.assert_array_equal(codes[i][:height, :width], own)
        outside = np.ones((SIZE, SIZE), bool)
        outside[:height, :width] = False
        assert (codes[i][outside] == 255).all()
        padded = images[i][:, outside]
        if dtype == "uint8":  # no number can mark it
            mirrored = np.pad(window, [(0, 0), (0, SIZE - height), (0, SIZE - width)], "reflect")
            np.testing.assert_array_equal(images[i], mirrored)
        elif nodata is None or np.isnan(nodata):
            assert np.isnan(padded).all()
        else:
            assert (padded == nodata).all()
        assert store.coordinate("valid_fraction")[i] == height * width / SIZE**2


@pytest.mark.parametrize(("dtype", "nodata"), KINDS)
def test_what_lies_beyond_the_scene_counts_nowhere(dtype, nodata, tmp_path):
    scene, labels = scene_of((20, 40), dtype, nodata)
    store = extract((scene, labels), tmp_path / "a.zarr")
    statistics = store.statistics("train")
    values = scene.values.astype(float)
    assert (statistics["count"].values == 20 * 40).all()
    np.testing.assert_allclose(statistics["mean"].values, values.mean(axis=(1, 2)))
    np.testing.assert_allclose(statistics["std"].values, values.std(axis=(1, 2)))
    counts = {code: int((labels == code).sum()) for code in (1, 2)}
    assert store.class_counts("train") == counts
    batches = list(PatchStream(store, "train", batch_size=2, threads=0))
    seen = sum(int((batch["label"] != 255).sum()) for batch in batches)
    assert seen == sum(counts.values())


def test_padded_patches_do_not_depend_on_chunks(tmp_path):
    scene, labels = scene_of((37, 50))
    found = []
    for name, chunks in (("a", (37, 50)), ("b", (7, 11)), ("c", (16, 16))):
        lazy = scene.chunk({"band": -1, "y": chunks[0], "x": chunks[1]})
        pair = lazy, labels.chunk({"y": chunks[1], "x": chunks[0]})
        found.append(extract(pair, tmp_path / f"{name}.zarr").dataset.load().sortby(["row", "col"]))
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_shifted_patches_lie_inside_and_show_all_of_the_scene(tmp_path):
    scene, labels = scene_of((37, 50))
    store = extract((scene, labels), tmp_path / "a.zarr", edges="shift")
    row, col, height, width = store.shown_windows()
    assert (height == SIZE).all()
    assert (width == SIZE).all()
    assert set(row) == {0, 16, 21}
    assert set(col) == {0, 16, 32, 34}
    assert (store.coordinate("valid_fraction") == 1).all()
    assert store.labelled_share == 1


def test_chips_smaller_than_a_patch_are_one_padded_patch_each(tmp_path):
    sizes = [(5, 9), (16, 16), (3, 30), (20, 33)]
    pairs = []
    for number, shape in enumerate(sizes):
        image, label = (tmp_path / f"{kind}_{number}.tif" for kind in ("image", "label"))
        for array, path in zip(scene_of(shape, east=9000 * number), (image, label), strict=True):
            array.rio.to_raster(path)
        pairs.append(ScenePair(str(number), image, label))
    options = {"patch_size": SIZE, "split": ALL, "progress": False}
    result = extract_batch(pairs, tmp_path / "a.zarr", **options)
    assert not result.failed
    assert np.bincount(result.store.coordinate("scene")).tolist() == [1, 1, 2, 6]
    assert result.store.contract.ground_sample_distance == pytest.approx((10, 10), rel=1e-3)
    assert result.store.labelled_share == 1
    sampled = extract_batch(
        pairs, tmp_path / "b.zarr", sampling="random", samples=2, min_valid_fraction=0.0, **options
    )
    assert np.bincount(sampled.store.coordinate("scene")).tolist() == [1, 1, 2, 2]


def test_padding_over_another_scene_is_no_common_ground(tmp_path):
    """Two scenes that touch: the first one's patches reach over the second one's ground."""
    pairs = [
        ScenePair(name, *scene_of((32, 40), east=east)) for name, east in (("a", 0), ("b", 400))
    ]
    split = SceneSplit(0.5, 0.5, 0)
    options = {"patch_size": SIZE, "progress": False, "split": split}
    store = extract_batch(pairs, tmp_path / "a.zarr", **options).store
    assert store.leakage.overlapping["validation-train"] == 0
    assert store.leakage.distances["validation-train"] == 1
    areas = split_areas(store)
    assert areas.area.sum() == pytest.approx(2 * 32 * 40 * 100)
    first, second = (areas[areas["split"] == name].union_all() for name in ("train", "validation"))
    assert first.intersection(second).area == 0
    # added later it is judged by the same ground
    one = extract_batch(pairs[:1], tmp_path / "b.zarr", **{**options, "split": ALL}).store
    split = RandomSplit(0.5, 0.5, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeakageWarning)
        both = extract_batch(
            pairs[1:], one.path, **{**options, "split": split, "append": True}
        ).store
    assert both.leakage.overlapping["validation-train"] == 0


def test_padded_patches_are_exported_in_their_place_and_come_back(tmp_path):
    scene, labels = scene_of((20, 40), "int16", -9999)
    store = extract((scene, labels), tmp_path / "a.zarr")
    folder = export_patches(store, tmp_path / "Patch", progress=False)
    with rasterio.open(folder / "train" / "images" / "16_32.tif") as raster:
        assert raster.shape == (SIZE, SIZE)
        assert raster.nodata == -9999
        left, top = scene.rio.bounds()[0], scene.rio.bounds()[3]
        assert (raster.transform.c, raster.transform.f) == (left + 320, top - 160)
    back = import_patches(folder, tmp_path / "b.zarr", progress=False)
    assert back.statistics("train").identical(store.statistics("train"))
    assert back.class_counts("train") == store.class_counts("train")


def share(labels, rows, cols):
    labelled = labels.values != 255
    return labelled[:rows, :cols].sum() / labelled.sum()


def test_the_share_of_the_labelled_ground_is_told(tmp_path, capsys):
    scene, labels = scene_of((40, 40))
    labels[:, 33:] = 255  # nothing is lost where nothing is labelled
    for array, name in ((scene, "image"), (labels, "label")):
        array.rio.to_raster(tmp_path / f"{name}.tif")
    words = ["--image", f"{tmp_path}/image.tif", "--label", f"{tmp_path}/label.tif", "--quiet"]
    words = ["extract", "single", *words, "--patch_size", "32", "--val_ratio", "0"]
    words += ["--train_ratio", "1", "--test_ratio", "0", "--json"]
    expected = {"pad": 1, "shift": 1, "drop": share(labels, 32, 32)}
    counts = {"pad": 4, "shift": 4, "drop": 1}
    for edges, wanted in expected.items():
        more = ["--output", f"{tmp_path}/{edges}.zarr", "--edges", edges]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeakageWarning)
            assert main([*words, *more]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["labelled_share"] == pytest.approx(wanted)
        assert told["patches"] == counts[edges]
        assert main(["info", "--dataset_root", f"{tmp_path}/{edges}.zarr"]) == 0
        assert f"{100 * wanted:.1f} % of the labelled ground" in capsys.readouterr().out
    assert main([*words, "--output", f"{tmp_path}/a.zarr"]) == 0
    assert json.loads(capsys.readouterr().out)["patches"] == 4


def test_the_share_counts_the_patches_that_are_used(tmp_path):
    scene, labels = scene_of((40, 40))
    labels[:16, :10] = 255
    store = extract((scene, labels), tmp_path / "a.zarr", min_labelled_fraction=0.5)
    used = store.splits != "unused"
    assert 0 < used.sum() < len(store)
    shown = np.zeros((40, 40), bool)
    for row, col, height, width in np.stack(store.shown_windows(), axis=1)[used].tolist():
        shown[row : row + height, col : col + width] = True
    wanted = (shown & (labels.values != 255)).sum() / (labels.values != 255).sum()
    assert store.labelled_share == pytest.approx(wanted)
    assert f"{100 * wanted:.1f} % of the labelled ground" in repr(store)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 20},
        {"stride": 7, "edges": "drop"},
        {"sampling": "random", "samples": 5},
        {"split": SpatialSplit(24, 4, 0.5, 0.5, 0)},
    ],
)
def test_the_share_is_that_of_the_union_of_the_windows(options, tmp_path, monkeypatch):
    scene, labels = scene_of((70, 65))
    labels = labels.chunk({"y": 16, "x": 30})
    store = extract((scene, labels), tmp_path / "a.zarr", **options)
    shown = np.zeros(labels.shape, bool)
    for row, col, height, width in np.stack(store.shown_windows(), axis=1).tolist():
        shown[row : row + height, col : col + width] = True
    labelled = labels.values != 255
    assert store.labelled_share == pytest.approx((shown & labelled).sum() / labelled.sum())
    # of a scene that is too large to be read again, the ground stands for the labels
    monkeypatch.setattr(coverage, "_MOST_PIXELS", 100)
    again = extract((scene, labels), tmp_path / "b.zarr", **options)
    assert again.labelled_share == pytest.approx(shown.mean(), abs=1e-3)


@pytest.mark.parametrize("most", [2**28, 1])
def test_a_scene_that_the_split_leaves_out_shows_nothing(most, tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "_MOST_PIXELS", most)
    scene, labels = scene_of((20, 40))
    source = plan_scene(scene, labels, ExtractOptions(patch_size=SIZE))
    nothing = np.zeros(0, np.int64)
    shown, total = labelled_ground(source.take(nothing), nothing, nothing.astype(bool))
    assert shown == 0
    assert total == (int((labels != 255).sum()) if most > 1 else 0)


def test_the_share_reads_no_label_where_the_windows_cover_the_scene(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the labels were read again")

    monkeypatch.setattr(coverage, "_counted", refuse)
    scene, labels = scene_of((40, 40))
    with dask.config.set(scheduler="synchronous"):
        assert extract((scene, labels), tmp_path / "a.zarr").labelled_share == 1
        assert extract((scene, labels), tmp_path / "b.zarr", stride=9).labelled_share == 1


def test_labels_that_cannot_be_read_outside_the_windows_do_no_harm(tmp_path):
    def broken(block, block_info=None):
        if block_info and block_info[0]["chunk-location"][1] == 1:
            raise OSError("a block is damaged")
        return block

    scene, labels = scene_of((32, 64))
    labels = labels.chunk({"y": -1, "x": 32})
    labels = labels.copy(data=labels.data.map_blocks(broken, dtype=labels.dtype))
    left, _, _, top = scene.rio.bounds()
    boxes = [shapely.box(left, top - 160, left + 160, top)]
    store = extract(
        (scene, labels), tmp_path / "a.zarr", grid=gpd.GeoDataFrame(geometry=boxes, crs=32633)
    )
    assert store.labelled_share == pytest.approx(1 / 8)


def test_a_store_without_the_figure_says_nothing_of_it(tmp_path):
    store = extract(scene_of((20, 20)), tmp_path / "a.zarr")
    scenes = [{k: v for k, v in s.items() if k != "labelled"} for s in store.attrs["scenes"]]
    old = replace(store, attrs={**store.attrs, "scenes": scenes})
    assert old.labelled_share is None
    assert "labelled ground" not in repr(old) + old.describe()
    assert "labelled ground" in repr(store)
