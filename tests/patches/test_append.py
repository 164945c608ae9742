"""Laws of appending: what was there stays, byte for byte, and what does not fit is refused."""

from __future__ import annotations

import hashlib
import shutil
import warnings

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.errors import ZarrUserWarning

from seg4eo_xr.geometry.splits import RandomSplit, SpatialSplit
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.testing import synthetic_sentinel2

SIZE = 16


@pytest.fixture(scope="module")
def scenes():
    made = [synthetic_sentinel2((70, 90), seed=seed) for seed in (1, 2, 3)]
    return [(scene.isel(band=slice(2)), labels) for scene, labels in made]


def extract(pair, path, **options):
    options = {
        "patch_size": SIZE,
        "shard_size": 8,
        "progress": False,
        "split": RandomSplit(1, 0, 0),
        **options,
    }
    return extract_patches(*pair, path, **options)


def digest(path):
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_what_is_appended_follows_what_was_there(scenes, tmp_path):
    path = tmp_path / "a.zarr"
    first = extract(scenes[0], path)
    before = first.dataset.compute()
    old = open_store(path)
    second = extract(scenes[1], path, append=True)
    alone = extract(scenes[1], tmp_path / "b.zarr")
    assert len(second) == len(first) + len(alone)
    after, other = second.dataset.compute(), alone.dataset.compute()
    for name in ("images", "labels", "split", "id", "row", "class_pixels", "digest", "patch_x"):
        values = after[name].values
        np.testing.assert_array_equal(values[: len(first)], before[name].values)
        np.testing.assert_array_equal(values[len(first) :], other[name].values)
    assert after["scene"].values.tolist() == [0] * len(first) + [1] * len(alone)
    counts = [store.statistics("train")["count"].values for store in (first, alone, second)]
    np.testing.assert_array_equal(counts[0] + counts[1], counts[2])
    assert len(old) == len(first)
    for name in ("images", "labels", "split"):
        np.testing.assert_array_equal(old.dataset[name].values, before[name].values)


@given(order=st.permutations([0, 1, 2]), shard_size=st.sampled_from([1, 2, 8, 64]))
@settings(max_examples=6, deadline=None)
def test_the_bytes_of_earlier_patches_stay_where_they_are(
    order, shard_size, scenes, tmp_path_factory
):
    path = tmp_path_factory.mktemp("prefix") / "a.zarr"
    for number in order:
        old = {
            file: file.read_bytes()
            for name in ("images", "labels")
            for file in path.glob(f"{name}/c/**/0")
            if file.is_file()
        }
        extract(scenes[number], path, append=True, shard_size=shard_size)
        index = 16 * shard_size + 4
        for file, content in old.items():
            assert file.read_bytes().startswith(content[:-index])


def test_an_appended_split_keeps_its_distance_to_what_is_there(scenes, tmp_path):
    path, split = tmp_path / "a.zarr", SpatialSplit(32, 4)
    extract(scenes[0], path, split=split)
    scene, labels = scenes[0]
    shifted = scene.isel(x=slice(7, None)), labels.isel(x=slice(7, None))
    store = extract(shifted, path, split=split, append=True)
    assert store.leakage.overlapping["test-train"] == 0
    assert store.leakage.distances["test-train"] > 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 8}, "its patch_size is 8, that of the store 16"),
        ({"shard_size": 4}, "its shard_size is 4, that of the store 8"),
        ({"normalization": "standard"}, "its normalization is standard"),
    ],
)
def test_what_does_not_fit_is_not_appended(options, message, scenes, tmp_path):
    path = tmp_path / "a.zarr"
    extract(scenes[0], path)
    before = digest(path)
    with pytest.raises(ValueError, match=message):
        extract(scenes[1], path, append=True, **options)
    scene, labels = scenes[1]
    with pytest.raises(ValueError, match="its bands is"):
        extract((scene.isel(band=[0]), labels), path, append=True)
    assert digest(path) == before


def kelvins(pair, mean):
    scene, labels = pair
    noise = np.random.default_rng(mean).normal(mean, 1, scene.shape)
    scene = scene.copy(data=noise.astype(np.float32)).assign_attrs(scales=(1.0, 1.0))
    return scene.rio.write_nodata(np.nan), labels


def test_real_numbers_far_from_0_are_normalised_by_their_own_range(scenes, tmp_path):
    warm, cool = kelvins(scenes[0], 300), kelvins(scenes[1], 299)
    store = extract(warm, tmp_path / "a.zarr")
    chunked = (warm[0].chunk(y=20, x=33), warm[1])
    assert extract(chunked, tmp_path / "b.zarr").contract == store.contract
    both = extract(cool, store.path, append=True)
    for one, low, high in ((store, 297.7, 302.3), (both, 296.9, 302.0)):
        rule = one.contract.normalization
        assert rule.lower == pytest.approx((low, low), abs=0.15)
        assert rule.upper == pytest.approx((high, high), abs=0.15)
    assert both.statistics("train")["p01"].values == pytest.approx(rule.lower)


def test_a_store_with_coarse_counts_of_real_numbers_can_be_added_to(scenes, tmp_path):
    path = extract(kelvins(scenes[0], 300), tmp_path / "a.zarr").path
    for name in ("shifts", "keys", "fine"):
        shutil.rmtree(f"{path}/about/histogram_{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(str(path))
    old = open_store(path)
    assert old.statistics("train")["p01"].values == pytest.approx([297.7] * 2, rel=0.004)
    both = extract(kelvins(scenes[1], 299), path, append=True)
    assert both.statistics("train")["p01"].values == pytest.approx([296.9] * 2, rel=0.004)
    assert both.statistics("train")["count"].values[0] > old.statistics("train")["count"].values[0]
