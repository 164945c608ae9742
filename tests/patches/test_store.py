"""Laws of `seg4eo_xr.patches.store` and `writing`."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.encoding import encode_patches
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.writing import StoreLayout, default_shard_size, size_arrays, write_shard
from seg4eo_xr.scenes.contract import Contract
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    scene, labels = synthetic_sentinel2((100, 100), seed=3)
    path = tmp_path_factory.mktemp("store") / "patches.zarr"
    return extract_patches(
        scene,
        labels,
        path,
        patch_size=16,
        shard_size=8,
        progress=False,
        min_labelled_fraction=0.5,
        edges="drop",
    )


def layout(**changes):
    sizes = {"patches": 5, "bands": 2, "patch_size": 4, "shard_size": 4, "dtype": "uint16"}
    rest = {"label_dtype": "uint8", "nodata": 0.0, "ignore": 255}
    return StoreLayout(**{**sizes, **rest, **changes})


def test_any_zarr_reader_finds_arrays_and_coordinates(store):
    opened = xr.open_zarr(store.path)
    assert opened.images.dims == ("patch", "band", "y", "x")
    assert opened.labels.dims == ("patch", "y", "x")
    assert opened.images.dtype == np.uint16
    assert opened.labels.attrs["flag_values"] == list(store.contract.classes.codes)
    assert set(opened.coords) >= {"split", "id", "row", "col", "scene", "valid_fraction"}
    assert {opened.sizes["patch"]} == {len(opened[name]) for name in ("split", "images", "labels")}


def test_the_dataset_is_lazy_with_one_chunk_a_shard(store):
    assert store.dataset.images.chunks[0] == (8, 8, 8, 8, 4)
    assert store.dataset.labels.chunks[0] == (8, 8, 8, 8, 4)
    assert store.shard_size == 8
    assert store.patch_size == 16
    assert store.dtype == np.uint16


def test_every_patch_is_in_one_split_or_unused(store):
    positions = np.concatenate([store.indices(name) for name in SPLITS])
    assert len(set(positions)) == len(positions)
    unused = np.flatnonzero(store.splits == "unused")
    assert len(unused) > 0
    assert sorted([*positions, *unused]) == list(range(len(store)))
    told, *each = map(
        int, re.findall(r"(\d+) (?:patches|train|validation|test|unused)", repr(store))
    )
    assert told == sum(each) == len(store)
    with pytest.raises(ValueError, match="one of train, validation, test, got 'val'"):
        store.indices("val")


def test_the_contract_survives_the_store(store):
    assert Contract.from_dict(json.loads(json.dumps(store.contract.to_dict()))) == store.contract
    assert open_store(store.path).contract == store.contract
    assert open_store(store) is store


def test_a_nodata_value_that_is_no_number_survives(tmp_path):
    scene, labels = synthetic_sentinel2((64, 64), seed=3)
    scene = scene.where(scene > 0).astype("float32").rio.write_nodata(np.nan)
    path = tmp_path / "a.zarr"
    written = extract_patches(scene, labels, path, patch_size=16, progress=False)
    contract = open_store(path).contract
    assert contract.nodata is None or np.isnan(contract.nodata)
    assert np.isfinite(contract.maximum).all()
    assert np.isnan(written.dataset.images.values).any()


def test_the_description_tells_sizes_classes_bands_and_distances(store):
    text = store.describe()
    assert f"{len(store)} patches of 16 × 16 px, 10 bands of uint16" in text
    for word in (
        "EPSG:32633",
        "B8A",
        "built-up",
        "validation",
        "test and train: they touch",
    ):
        assert word in text
    unused = int((store.splits == "unused").sum())
    assert f"unused: {unused} patches" in text
    assert "windows that reach past the edge" in text
    assert all(len(line) < 120 for line in text.splitlines() if str(store.path) not in line)


def test_a_shard_of_nothing_but_fill_values_is_written_all_the_same(tmp_path):
    size_arrays(tmp_path / "a", layout())
    for patches in layout().shards:
        count = patches.stop - patches.start
        write_shard(
            UPath(tmp_path / "a"),
            patches,
            encode_patches(np.zeros((count, 2, 4, 4)), "uint16"),
            encode_patches(np.full((count, 4, 4), 255), "uint8"),
        )
    files = sorted(str(f.relative_to(tmp_path / "a")) for f in (tmp_path / "a").rglob("[0-9]*"))
    assert {"images/c/0/0/0/0", "images/c/1/0/0/0", "labels/c/0/0/0", "labels/c/1/0/0"} <= set(
        files
    )


def test_what_is_not_committed_cannot_be_opened(store, tmp_path):
    size_arrays(tmp_path / "begun", layout())
    with pytest.raises(ValueError, match=r"begun is not complete.*--overwrite"):
        open_store(tmp_path / "begun")
    copy = tmp_path / "copy"
    shutil.copytree(store.path, copy)
    metadata = json.loads((copy / "zarr.json").read_text())
    del metadata["consolidated_metadata"]
    (copy / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="copy is not complete"):
        open_store(copy)


def test_what_is_no_store_is_named(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.zarr does not exist"):
        open_store(tmp_path / "none.zarr")
    (tmp_path / "text").write_text("no store")
    (tmp_path / "empty").mkdir()
    for name in ("text", "empty"):
        with pytest.raises(ValueError, match=f"{name} is no patch store"):
            open_store(tmp_path / name)
    zarr.create_group(tmp_path / "other")
    with pytest.raises(ValueError, match="other is Zarr but no patch store"):
        open_store(tmp_path / "other")
    copy = tmp_path / "copy"
    shutil.copytree(store.path, copy)
    text = (copy / "zarr.json").read_text()
    (copy / "zarr.json").write_text(text.replace('"schema_version": 2', '"schema_version": 99'))
    with pytest.raises(ValueError, match="schema version 99, but this release reads version 2"):
        open_store(copy)


@pytest.mark.parametrize(
    ("patches", "bands", "side", "dtype", "expected"),
    [
        (10_000, 10, 256, "uint16", 64),
        (10_000, 10, 512, "uint16", 16),
        (10_000, 10, 224, "uint16", 128),
        (10_000, 400, 1024, "float64", 1),
        (5, 10, 256, "uint16", 8),
        (1, 10, 256, "uint16", 1),
    ],
)
def test_shards_hold_a_power_of_two_of_at_most_128_mb(patches, bands, side, dtype, expected):
    assert default_shard_size(patches, bands, side, np.dtype(dtype)) == expected


@given(st.integers(1, 20), st.integers(1, 2048), st.integers(0, 12))
def test_patches_at_once_divide_a_shard(bands, patch_size, exponent):
    sizes = layout(bands=bands, patch_size=patch_size, shard_size=2**exponent)
    assert sizes.shard_size % sizes.patches_at_once == 0
    raw = sizes.patches_at_once * bands * patch_size**2 * 2
    assert raw <= 2**25 or sizes.patches_at_once == 1


def test_the_contract_of_an_older_store_takes_dark_numbers_from_its_scenes(store):
    described = {**store.attrs["contract"]}
    del described["dark"]
    old = replace(store, attrs={**store.attrs, "contract": described})
    assert len(store.contract.dark) == len(store.contract.bands)
    assert old.contract == store.contract
    scenes = [{**scene, "dark": None} for scene in store.attrs["scenes"]]
    older = replace(old, attrs={**old.attrs, "scenes": scenes})
    assert older.contract == replace(store.contract, dark=())
    with pytest.raises(ValueError, match="dark has 1 numbers for 10 bands"):
        replace(store.contract, dark=(1.0,))
