"""Laws of `seg4eo_xr.patches.extract`, `planning` and `description`."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import dask
import dask.array as da
import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.geometry.splits import RandomSplit, SpatialSplit
from seg4eo_xr.patches.assembly import Resampling, resample
from seg4eo_xr.patches.extract import LeakageWarning, extract_patches
from seg4eo_xr.patches.options import ExtractOptions
from seg4eo_xr.patches.planning import plan_extraction, shard_graph
from seg4eo_xr.patches.sources import ResamplingWarning, plan_scene
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.scenes.grid import grid_transform
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2

SIZE = 16


@pytest.fixture(scope="module")
def scene_and_labels():
    scene, labels = synthetic_sentinel2((150, 170), seed=3)
    return scene.isel(band=slice(0, 3)), labels


@pytest.fixture(scope="module")
def reference(scene_and_labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "patches.zarr"
    with dask.config.set(scheduler="synchronous"):
        return extract(scene_and_labels, path)


def extract(pair, path, **options):
    scene, labels = pair
    options = {"patch_size": SIZE, "shard_size": 16, "progress": False, **options}
    if scene.chunks is None:
        scene = scene.chunk({"band": -1, "y": 40, "x": 61})
    return extract_patches(scene, labels, path, **options)


def digest(path):
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def left_behind(folder):
    return sorted(entry.name for entry in folder.iterdir())


def windows_of(store):
    return np.stack([store.coordinate(name) for name in ("row", "col", "height", "width")], 1)


def test_a_patch_is_the_scene_window_byte_for_byte_and_so_is_its_label(scene_and_labels, reference):
    scene, labels = scene_and_labels
    dataset = reference.dataset.compute()
    windows, transform = windows_of(reference), grid_transform(scene, "scene")
    assert len(windows) == -(-150 // SIZE) * -(-170 // SIZE)
    for i, (row, col, height, width) in enumerate(windows):
        rows, cols = slice(row, row + height), slice(col, col + width)
        image, label = scene[:, rows, cols], labels[rows, cols]
        inside = np.s_[: label.shape[0], : label.shape[1]]
        np.testing.assert_array_equal(dataset.images[i][:, *inside], image)
        np.testing.assert_array_equal(dataset.labels[i][inside], label)
        assert (np.delete(dataset.images[i], inside[0], axis=1) == scene.rio.nodata).all()
        assert (np.delete(dataset.labels[i], inside[1], axis=1) == labels.rio.nodata).all()
        x, y = transform @ (col + width / 2, row + height / 2)
        assert float(dataset.patch_x[i]) == pytest.approx(x)
        assert float(dataset.patch_y[i]) == pytest.approx(y)
    assert dataset.images.dtype == scene.dtype
    assert dataset.band.values.tolist() == scene.band.values.tolist()


def test_building_the_graph_reads_no_pixel(scene_and_labels, tmp_path):
    def refuse(block):
        raise AssertionError("a pixel was read")

    scene, labels = (
        array.copy(
            data=da.from_array(array.values, chunks=50).map_blocks(refuse, dtype=array.dtype)
        )
        for array in scene_and_labels
    )
    with dask.config.set(scheduler=raising_scheduler):
        options = ExtractOptions(patch_size=SIZE)
        source = plan_scene(scene, labels, options)
        job = plan_extraction([source], options, split=RandomSplit())
        graphs = [shard_graph(job, task, tmp_path, tmp_path) for task in job.shards]
        assert len(graphs) == len(job.layout.shards)
        assert all(len(graph.dask) > 1 for graph in graphs)


@pytest.mark.parametrize("chunks", [(150, 170), (17, 23), (64, 64)])
def test_the_store_depends_on_no_scheduler_and_patches_on_no_chunks(
    chunks, scene_and_labels, reference, tmp_path
):
    scene, labels = scene_and_labels
    lazy = scene.chunk(dict(zip(("y", "x"), chunks, strict=True)))
    with dask.config.set(scheduler="threads"):
        again = extract(scene_and_labels, tmp_path / "again.zarr")
        other = extract((lazy, labels.chunk({"y": 33})), tmp_path / "other.zarr")
    assert digest(again.path) == digest(reference.path)
    assert other.contract == replace(reference.contract)
    order, expected = (np.argsort(store.coordinate("id")) for store in (other, reference))
    for name in ("images", "labels", "split", "labelled_fraction", "class_pixels", "digest"):
        np.testing.assert_array_equal(
            other.dataset[name].values[order], reference.dataset[name].values[expected]
        )


@given(
    shape=st.tuples(st.integers(SIZE, 70), st.integers(SIZE, 70)),
    chunk=st.integers(7, 70),
    workers=st.integers(2, 5),
    shard_size=st.sampled_from([1, 2, 8]),
)
@settings(max_examples=8, deadline=None)
def test_many_workers_write_the_store_of_one(
    shape, chunk, workers, shard_size, scene_and_labels, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("workers")
    pair = tuple(
        array.isel(y=slice(-shape[0], None), x=slice(-shape[1], None)).chunk(
            {"y": chunk, "x": chunk}
        )
        for array in scene_and_labels
    )
    options = {"shard_size": shard_size, "split": RandomSplit(1, 0, 0)}
    with dask.config.set(scheduler="threads", num_workers=workers):
        many = extract(pair, folder / "many.zarr", **options)
    with dask.config.set(scheduler="synchronous"):
        one = extract(pair, folder / "one.zarr", **options)
    assert digest(many.path) == digest(one.path)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_cluster_of_processes_writes_the_same_store(scene_and_labels, reference, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        store = extract(scene_and_labels, tmp_path / "patches.zarr", progress=True)
    assert digest(store.path) == digest(reference.path)
    assert left_behind(tmp_path) == ["patches.zarr"]


def test_each_chunk_is_read_once(scene_and_labels, tmp_path):
    scene, labels = scene_and_labels
    reads: list[tuple[slice, ...]] = []

    class Counted:
        shape, dtype, ndim = scene.shape, scene.dtype, 3

        def __getitem__(self, key):
            reads.append(key)
            return scene.values[key]

    # named, since dask would pickle the class with its list to find a name
    lazy = da.from_array(
        Counted(),
        chunks=(3, 40, 61),
        name="counted",
        asarray=False,
        meta=np.empty((0, 0, 0), scene.dtype),
    )
    with pytest.warns(LeakageWarning, match="share ground"):
        extract((scene.copy(data=lazy), labels), tmp_path / "a.zarr", stride=8)
    assert len(reads) == len(set(map(str, reads))) == lazy.npartitions


def test_statistics_come_from_training_pixels_with_data(scene_and_labels, reference):
    scene, labels = scene_and_labels
    dataset = reference.dataset.compute()
    train = reference.indices("train")
    images = dataset.images.values
    valid = valid_mask(images, scene.rio.nodata)
    assert not valid[train].all()
    numbers = np.moveaxis(images[train], 1, -1)[valid[train]]
    contract = reference.contract
    scale = np.array(contract.scale)
    expected = np.percentile(numbers, 99, axis=0) * scale
    assert contract.normalization.upper == pytest.approx(expected)
    assert contract.minimum == pytest.approx(numbers.min(axis=0) * scale)
    assert reference.statistics("train")["count"].values.tolist() == [len(numbers)] * 3
    labelled = valid & (dataset.labels.values != 255)
    np.testing.assert_allclose(dataset.valid_fraction, valid.mean(axis=(1, 2)))
    np.testing.assert_allclose(dataset.labelled_fraction, labelled.mean(axis=(1, 2)))
    for split in ("train", "validation", "test"):
        chosen = dataset.labels.values[reference.indices(split)][labelled[reference.indices(split)]]
        counts = {code: int((chosen == code).sum()) for code in contract.classes.codes}
        assert reference.class_counts(split) == counts
    assert contract.classes == ClassTable.from_attrs(labels.attrs)


def test_patches_of_no_use_are_in_no_split(scene_and_labels, reference, tmp_path):
    fraction = reference.coordinate("labelled_fraction")
    assert ((fraction == 0) == (reference.splits == "unused")).all()
    assert (fraction == 0).any()
    strict = extract(scene_and_labels, tmp_path / "a.zarr", min_labelled_fraction=0.9)
    assert ((fraction < 0.9) == (strict.splits == "unused")).all()
    assert (strict.splits == "unused").sum() > (reference.splits == "unused").sum()


def test_a_spatial_split_leaves_its_buffer_out_and_says_so(scene_and_labels, tmp_path):
    split = SpatialSplit(block=48, buffer=10)
    store = extract(scene_and_labels, tmp_path / "a.zarr", split=split)
    dropped = store.attrs["dropped"]["the split leaves out"]
    assert len(store) + dropped == -(-150 // SIZE) * -(-170 // SIZE)
    assert store.leakage.distances["test-train"] > 10
    assert store.attrs["split"] == {"rule": "SpatialSplit", **vars(split)}
    assert f"left out: {dropped} windows" in store.describe()


def test_cells_of_a_grid_are_resampled_to_one_size(scene_and_labels, tmp_path):
    scene, labels = scene_and_labels
    transform = grid_transform(scene, "scene")
    cells = [(0, 0, SIZE, SIZE), (30, 70, 24, 20), (80, 80, 10, 10), (40, 100, 24, 20)]
    boxes = []
    for row, col, height, width in cells:
        x, y = transform.c + col * transform.a, transform.f + row * transform.e
        boxes.append(shapely.box(x, y + height * transform.e, x + width * transform.a, y))
    grid = gpd.GeoDataFrame({"name": list("abcd")}, geometry=boxes, crs=scene.rio.crs)
    with pytest.warns(ResamplingWarning, match="cells are 20 × 18 px and are resampled to 16 × 16"):
        store = extract(
            scene_and_labels,
            tmp_path / "a.zarr",
            grid=grid,
            id_column="name",
            interpolation="bilinear",
            split=RandomSplit(1, 0, 0),
        )
    ids = store.coordinate("id").tolist()
    for name, (row, col, height, width) in zip("abcd", cells, strict=True):
        rows, cols = slice(row, row + height), slice(col, col + width)
        patch = store.dataset.isel(patch=ids.index(name)).compute()
        kernel = Resampling(SIZE, "bilinear", 0)
        np.testing.assert_array_equal(patch.images, resample(scene.values[:, rows, cols], kernel))
        expected = resample(labels.values[rows, cols], Resampling(SIZE, "nearest", 255))
        np.testing.assert_array_equal(patch.labels, expected)


def test_classes_come_from_the_argument_the_labels_or_the_codes_that_occur(
    scene_and_labels, reference, tmp_path
):
    scene, labels = scene_and_labels
    bare = labels.drop_attrs(deep=False).rio.write_nodata(255)
    found = extract((scene, bare), tmp_path / "found.zarr").contract.classes
    assert set(found.codes) <= set(range(1, 7))
    table = ClassTable.from_codes(range(0, 9))
    store = extract((scene, bare), tmp_path / "given.zarr", classes=table)
    assert store.contract.classes == table
    assert store.class_counts("train")[8] == 0
    assert store.class_counts("train")[2] == reference.class_counts("train")[2]
