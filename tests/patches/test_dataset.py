"""Laws of `seg4eo_xr.patches.dataset`."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from seg4eo_xr.patches.dataset import PatchDataset
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    scene, labels = synthetic_sentinel2((100, 100), seed=3)
    path = tmp_path_factory.mktemp("dataset") / "patches.zarr"
    return extract_patches(scene, labels, path, patch_size=16, shard_size=8, progress=False)


@pytest.fixture(scope="module")
def expected(store):
    stream = PatchStream(store, "validation", batch_size=1000, shuffle=False)
    return next(iter(stream))


def same(found, expected):
    for name in ("image", "label"):
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name].numpy(), expected[name].numpy())


def test_patches_are_those_of_the_stream(store, expected):
    dataset = PatchDataset(store.path, "validation")
    assert len(dataset) == len(expected["label"])
    for number in range(len(dataset)):
        same(dataset[number], {name: tensor[number] for name, tensor in expected.items()})
    same(dataset[-1], dataset[len(dataset) - 1])
    for number in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match=f"patch {number} of {len(dataset)} patches"):
            dataset[number]


def test_a_copy_in_another_process_reads_the_same(store, expected):
    dataset = pickle.loads(pickle.dumps(PatchDataset(store, "validation")))
    same(next(iter(DataLoader(dataset, batch_size=len(dataset)))), expected)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_of_a_loader_may_be_spawned(method, store, expected):
    dataset = PatchDataset(store, "validation")
    dataset[0]  # its files are open when it is sent
    loader = DataLoader(
        dataset, batch_size=4, num_workers=1, multiprocessing_context=method, timeout=120
    )
    found = list(loader)
    same({name: torch.cat([batch[name] for batch in found]) for name in expected}, expected)


def test_positions_may_be_chosen(store):
    dataset = PatchDataset(store, np.array([9, 2]))
    assert len(dataset) == 2
    np.testing.assert_array_equal(dataset[1]["image"].numpy(), store.dataset.images[2])
    with pytest.raises(ValueError, match="split must be one of"):
        PatchDataset(store, "val")
