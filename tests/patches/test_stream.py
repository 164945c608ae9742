"""Laws of `seg4eo_xr.patches.stream`."""

from __future__ import annotations

import json
import shutil
import threading

import numpy as np
import pytest
import torch

from seg4eo_xr.geometry.splits import RandomSplit
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.order import sampling_order
from seg4eo_xr.patches.reading import PatchReader
from seg4eo_xr.patches.shards import ShardReader
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.testing import synthetic_sentinel2

CHOICES = {"patch_size": 16, "shard_size": 8, "edges": "drop", "progress": False}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    scene, labels = synthetic_sentinel2((100, 100), seed=3)
    # a label where the scene has no data must not count
    labels = labels.where(labels != 255, 3).astype("uint8").rio.write_nodata(255)
    labels[40:44] = 255
    path = tmp_path_factory.mktemp("stream") / "patches.zarr"
    return extract_patches(scene, labels, path, **CHOICES)


def batches(store, split="train", **options):
    stream = PatchStream(store, split, **{"batch_size": 5, "shuffle": True, **options})
    return list(stream)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [1, 7])
def test_the_stream_does_not_depend_on_threads(threads, prefetch, store):
    expected = batches(store, threads=0)
    assert len(expected) == -(-len(store.indices("train")) // 5)
    same(batches(store, threads=threads, prefetch=prefetch), expected)


def same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours["image"].to(torch.int32), theirs["image"].to(torch.int32))
        assert torch.equal(ours["label"], theirs["label"])


def test_shards_are_read_as_zarr_reads_them(store, monkeypatch):
    found = batches(store)
    monkeypatch.setattr(ShardReader, "knows", lambda _: False)
    same(found, batches(store))


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


@pytest.mark.parametrize(("options", "most"), [({"prefetch": 3}, 3), ({"prefetch_bytes": 1}, 1)])
def test_no_more_is_read_ahead_than_asked_for(options, most, store, monkeypatch):
    begun = []
    read_into = PatchReader.read_into

    def counted(reader, *arguments):
        begun.append(1)
        read_into(reader, *arguments)

    monkeypatch.setattr(PatchReader, "read_into", counted)
    stream = PatchStream(store, "train", batch_size=2, shuffle=True, threads=2, **options)
    for given, _ in enumerate(stream):
        assert len(begun) <= given + most


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_processes_share_out_each_batch(world_size, drop_last, store):
    options = {"batch_size": 6, "drop_last": drop_last}
    alone = batches(store, **options)
    shares = [
        batches(store, **options, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    assert {len(share) for share in shares} == {len(alone)}
    for step, whole in enumerate(alone):
        parts = [share[step] for share in shares]
        count = len(whole["label"])
        for part in parts[count:]:  # processes that have no patch of their own
            assert len(part["label"]) == 1
            assert (part["label"] == 255).all()
        sizes = [len(part["label"]) for part in parts[:count]]
        assert max(sizes) - min(sizes) <= 1
        joined = {name: torch.cat([part[name] for part in parts[:count]]) for name in whole}
        same([joined], [whole])


@pytest.mark.parametrize("threads", [0, 2])
def test_a_stream_goes_on_where_another_stood(threads, store, monkeypatch):
    def stream():
        return PatchStream(store, "train", batch_size=9, shuffle=True, threads=threads)

    def counted(reader, positions, *arguments):
        read.extend(positions.tolist())
        read_into(reader, positions, *arguments)

    read_into, read = PatchReader.read_into, []
    interrupted = stream()
    interrupted.set_epoch(2)
    expected = list(interrupted)
    order, states = interrupted.order(), [{**interrupted.state_dict(), "delivered": 0}]
    states += [interrupted.state_dict() for _ in interrupted]
    monkeypatch.setattr(PatchReader, "read_into", counted)
    for step, state in enumerate(states):
        resumed = stream()
        resumed.load_state_dict(json.loads(json.dumps(state)))
        assert resumed.state_dict() == state
        assert len(resumed) == len(expected)
        read.clear()
        resumed.set_epoch(2)  # the same epoch: nothing is forgotten
        same(list(resumed), expected[step:])
        assert sorted(read) == sorted(order[9 * step :].tolist())
        same(list(resumed), expected)  # the pass after it is whole again
    assert resumed.state_dict() == states[-1]
    resumed.set_epoch(3)
    assert resumed.state_dict() == {**states[-1], "epoch": 3, "delivered": 0}


def test_another_number_of_processes_may_go_on(store):
    two = PatchStream(store, "train", batch_size=8, shuffle=True, rank=1, world_size=2)
    next(iter(two))
    one = PatchStream(store, "train", batch_size=8, shuffle=True)
    one.load_state_dict(two.state_dict())
    same(list(one), batches(store, batch_size=8)[1:])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"batch_size": 3}, "batch_size"),
        ({"shuffle": False}, "shuffle"),
        ({"run_length": 2}, "run_length"),
        ({"drop_last": True}, "drop_last"),
        ({"split": "validation"}, "patches"),
    ],
)
def test_a_state_of_other_options_is_refused(options, name, store):
    same_options = {"split": "train", "batch_size": 5, "shuffle": True}
    state = PatchStream(store, **same_options).state_dict()
    other = PatchStream(store, **{**same_options, **options})
    with pytest.raises(ValueError, match=rf"cannot go on from that state: {name} was"):
        other.load_state_dict(state)


def test_a_state_belongs_to_a_store_and_its_commit_wherever_it_lies(store, tmp_path):
    options = {"batch_size": 5, "shuffle": True}
    stream = PatchStream(store, [0, 1, 2], **options)
    shutil.copytree(store.path, tmp_path / "moved")
    PatchStream(tmp_path / "moved", [0, 1, 2], **options).load_state_dict(stream.state_dict())
    scene, labels = synthetic_sentinel2((100, 100), seed=4)
    other = extract_patches(scene, labels, tmp_path / "other.zarr", **CHOICES)
    with pytest.raises(ValueError, match="patches was"):
        PatchStream(other, [0, 1, 2], **options).load_state_dict(stream.state_dict())
    extract_patches(scene, labels, tmp_path / "moved", append=True, **CHOICES)
    longer = PatchStream(tmp_path / "moved", [0, 1, 2], **options)
    with pytest.raises(ValueError, match="commit was 1 and is 2"):
        longer.load_state_dict(stream.state_dict())
    with pytest.raises(ValueError, match="at most 3 patches delivered, got 0 and 4"):
        stream.load_state_dict({**stream.state_dict(), "delivered": 4})


def test_positions_may_be_chosen(store):
    positions = np.array([7, 3, 30])
    (batch,) = batches(store, positions, shuffle=False)
    np.testing.assert_array_equal(
        batch["image"].numpy(), store.dataset.images.isel(patch=positions)
    )
    assert sorted(PatchStream(store, positions, batch_size=2, shuffle=True).order()) == [3, 7, 30]


def test_runs_of_neighbours_stay_near_each_other(store):
    stream = PatchStream(store, "train", batch_size=5, shuffle=True, run_length=4)
    expected = sampling_order(stream.indices, seed=42, epoch=0, run_length=4, shard_size=8)
    np.testing.assert_array_equal(stream.order(), expected)
    assert PatchStream(store, "train", batch_size=5, shuffle=True).options.run_length == 1


def test_nothing_is_learned_where_numbers_are_missing(tmp_path):
    scene, labels = synthetic_sentinel2((64, 64), seed=3, nodata_wedge=False)
    scene = scene.astype("float32").rio.write_nodata(np.nan)
    scene[:, 5:9, 7] = np.nan
    path, split = tmp_path / "a.zarr", RandomSplit(1, 0, 0)
    extract_patches(scene, labels, path, patch_size=32, split=split, progress=False)
    (batch,) = batches(path, batch_size=4, shuffle=False)
    missing = batch["image"].isnan().any(1)
    assert missing.sum() == 4
    assert (batch["label"][missing] == 255).all()
    assert (batch["label"][~missing] != 255).any()


def test_labels_of_two_bytes_become_indices(tmp_path):
    scene, labels = synthetic_sentinel2((64, 64), seed=3, nodata_wedge=False)
    wide = labels.drop_attrs(deep=False).astype("int16") * 100 - 250
    wide = wide.rio.write_nodata(-1)
    path = tmp_path / "a.zarr"
    split = RandomSplit(1, 0, 0)
    with pytest.warns(LabelWarning, match=r"-50 in 1,425 of 4,096 pixels.*--unlabelled -150 -50"):
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
        ({"prefetch_bytes": 0}, "prefetch_bytes must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"run_length": 0}, "run_length must be at least 1"),
        ({"rank": -1}, "rank must be at least 0"),
        ({"rank": 2, "world_size": 2, "batch_size": 4}, "rank must be below world_size 2, got 2"),
        ({"world_size": 2}, "batch_size 5 cannot be shared out evenly among 2 processes"),
        ({"split": "val"}, "split must be one of"),
        ({"split": []}, "split must be one of train.* or positions in .*, got"),
        ({"split": [0.5]}, "split must be one of train.* or positions in .*, got"),
        ({"split": [1, 2, 1]}, "give each patch once"),
        ({"split": [-1, 2]}, "positions must be from 0 to"),
        ({"split": [0, 5000]}, "positions must be from 0 to"),
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
