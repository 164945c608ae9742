"""Laws of `seg4eo_xr.patches.stream`."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import torch

from seg4eo_xr.geometry.splits import RandomSplit
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    scene, labels = synthetic_sentinel2((100, 100), seed=3)
    # a label where the scene has no data must not count
    labels = labels.where(labels != 255, 3).astype("uint8").rio.write_nodata(255)
    labels[40:44] = 255
    path = tmp_path_factory.mktemp("stream") / "patches.zarr"
    return extract_patches(scene, labels, path, patch_size=16, shard_size=8, progress=False)


def batches(store, split="train", **options):
    stream = PatchStream(store, split, **{"batch_size": 5, "shuffle": True, **options})
    return list(stream)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [1, 7])
def test_the_stream_does_not_depend_on_threads(threads, prefetch, store):
    expected = batches(store, threads=0)
    found = batches(store, threads=threads, prefetch=prefetch)
    assert len(found) == len(expected) == -(-len(store.indices("train")) // 5)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours["image"].to(torch.int32), theirs["image"].to(torch.int32))
        assert torch.equal(ours["label"], theirs["label"])


def test_batches_hold_stored_numbers_and_class_indices(store):
    stream = PatchStream(store, "train", batch_size=7, shuffle=True)
    images = np.concatenate([batch["image"].numpy() for batch in stream])
    labels = np.concatenate([batch["label"].numpy() for batch in stream])
    order = stream.order()
    dataset = store.dataset.isel(patch=order).compute()
    np.testing.assert_array_equal(images, dataset.images)
    assert images.dtype == np.uint16
    expected = store.contract.classes.encode(dataset.labels.values, 255)
    missing = ~valid_mask(images, store.contract.nodata)
    assert (expected[missing] != 255).any()
    expected[missing] = 255
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint8


def test_each_epoch_visits_each_patch_once_in_its_own_order(store):
    stream = PatchStream(store, "train", batch_size=4, shuffle=True, seed=9)
    first = stream.order()
    stream.set_epoch(1)
    assert sorted(first) == sorted(stream.order()) == store.indices("train").tolist()
    assert (first != stream.order()).any()
    stream.set_epoch(0)
    assert (first == stream.order()).all()
    plain = PatchStream(store, "validation", batch_size=4, shuffle=False)
    np.testing.assert_array_equal(plain.order(), store.indices("validation"))


def test_the_last_batch_may_be_left_out(store):
    count = len(store.indices("train"))
    size = count // 2 + 1
    assert [len(b["label"]) for b in batches(store, batch_size=size)] == [size, count - size]
    dropped = PatchStream(store, "train", batch_size=size, shuffle=False, drop_last=True)
    assert len(dropped) == len(list(dropped)) == 1


def test_a_stream_that_is_left_early_stops_its_threads(store):
    iterator = iter(PatchStream(store, "train", batch_size=1, shuffle=True, threads=3))
    next(iterator)
    iterator.close()
    for thread in threading.enumerate():
        if thread.name.startswith("patches"):
            thread.join(timeout=10)
            assert not thread.is_alive()


def test_labels_of_two_bytes_become_indices(tmp_path):
    scene, labels = synthetic_sentinel2((64, 64), seed=3, nodata_wedge=False)
    wide = labels.drop_attrs(deep=False).astype("int16") * 100 - 250
    wide = wide.rio.write_nodata(-1)
    path = tmp_path / "a.zarr"
    split = RandomSplit(1, 0, 0)
    store = extract_patches(scene, wide, path, patch_size=32, split=split, progress=False)
    (batch,) = batches(store, batch_size=4, shuffle=False)
    codes = np.array(store.contract.classes.codes)
    assert codes.min() < 0
    np.testing.assert_array_equal(codes[batch["label"].numpy()], store.dataset.labels)


def test_missing_shards_are_found_before_the_first_batch(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "copy")
    (tmp_path / "copy/labels/c/1/0/0").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks the file labels/c/1/0/0"):
        PatchStream(tmp_path / "copy", "train", batch_size=4, shuffle=True)


def test_damaged_shards_raise_in_the_reader_of_the_stream(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "copy")
    (tmp_path / "copy/images/c/1/0/0/0").write_bytes(b"short")
    damaged = open_store(tmp_path / "copy")
    with pytest.raises(OSError, match=r"patch \d+ of the patch store .*copy cannot be read"):
        batches(damaged)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"threads": -1}, "threads must be at least 0"),
        ({"prefetch": 0}, "prefetch must be at least 1"),
        ({"batch_size": 1000, "drop_last": True}, "batch_size 1000 is more than the"),
        ({"split": "val"}, "split must be one of"),
    ],
)
def test_bad_arguments_are_named(options, message, store):
    with pytest.raises(ValueError, match=message):
        batches(store, **options)


def test_an_empty_split_is_named(tmp_path):
    scene, labels = synthetic_sentinel2((64, 64), seed=3)
    path, split = tmp_path / "a.zarr", RandomSplit(1, 0, 0)
    extract_patches(scene, labels, path, patch_size=32, split=split, progress=False)
    with pytest.raises(ValueError, match=r"'validation' of .* has no patch"):
        PatchStream(path, "validation", batch_size=1, shuffle=False)
