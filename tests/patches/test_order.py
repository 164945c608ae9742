"""Laws of `seg4eo_xr.patches.order`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.patches.order import sampling_order

positions = st.sets(st.integers(0, 500), max_size=200).map(lambda found: np.array([*found], int))
options = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**40),
        "epoch": st.integers(0, 1000),
        "run_length": st.integers(1, 20),
        "window": st.integers(1, 64),
        "shard_size": st.one_of(st.none(), st.integers(1, 64)),
    }
)


@settings(deadline=None)
@given(indices=positions, chosen=options)
def test_the_order_is_a_bijection_that_follows_from_its_arguments(indices, chosen):
    order = sampling_order(indices, **chosen)
    assert sorted(order.tolist()) == sorted(indices.tolist())
    np.testing.assert_array_equal(order, sampling_order(indices[::-1], **chosen))


def test_epochs_and_seeds_differ():
    indices = np.arange(100)
    orders = [
        tuple(sampling_order(indices, seed=seed, epoch=epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == 4


def test_single_patches_are_permuted_uniformly():
    hits = np.zeros((6, 6))
    for epoch in range(3000):
        hits[np.arange(6), sampling_order(np.arange(6), seed=5, epoch=epoch)] += 1
    assert np.abs(hits - 500).max() < 100


def test_runs_stay_in_their_shard_and_near_each_other():
    indices = np.arange(0, 256)
    order = sampling_order(indices, seed=1, epoch=0, run_length=8, window=1, shard_size=12)
    runs = np.split(order, np.flatnonzero(np.diff(order) != 1) + 1)
    assert all(len(set(run // 12)) <= 2 for run in runs)
    window = 64
    order = sampling_order(indices, seed=1, epoch=0, run_length=8, window=window, shard_size=64)
    for start in range(0, 256, window):
        assert len(set(order[start : start + window] // 8)) == window // 8


def test_runs_are_whole_wherever_a_split_lacks_some_patches():
    indices = np.delete(np.arange(96), [3, 17, 18, 40])
    order = sampling_order(indices, seed=1, epoch=0, run_length=8, window=1, shard_size=32)
    runs = np.split(order, np.flatnonzero(np.diff(order // 8)) + 1)
    # each run is met once: one request a run
    assert len(runs) == 96 // 8
    assert sorted(run[0] // 8 for run in runs) == list(range(12))


@pytest.mark.parametrize("name", ["seed", "epoch", "run_length", "window"])
def test_bad_numbers_are_named(name):
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        sampling_order(np.arange(3), **{"seed": 0, "epoch": 0, name: -1})
