"""Laws of `seg4eo_xr.geometry.shares`."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.geometry.shares import deal_units, share_out

thirds = st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(0, 5))
ratios = thirds.map(lambda weights: tuple(weight / sum(weights) for weight in weights))
no_patches = st.tuples(*(st.integers(0, 40),) * 3).map(np.array)


@given(count=st.integers(0, 300), shares=ratios, held=no_patches)
def test_what_is_shared_out_brings_the_whole_as_near_the_ratios_as_it_can(count, shares, held):
    counts = share_out(count, shares, held)
    assert counts.sum() == count
    assert counts.min() >= 0
    wanted = np.array(shares) * (count + held.sum())
    # who has too many already gets none, but for the one that every split with a share is to have
    assert (counts[held > wanted] <= 1).all()
    assert (counts <= np.maximum(wanted - held, 0) + 2).all()
    if count >= 3:
        assert ((counts + held > 0) | (np.array(shares) == 0)).all()


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=30).map(np.array),
    shares=ratios,
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_units_are_dealt_whole_and_each_split_gets_one(sizes, shares, seed, data):
    held = np.zeros((len(sizes), 3), int)
    for unit in data.draw(st.sets(st.integers(0, len(sizes) - 1), max_size=4)):
        held[unit, data.draw(st.integers(0, 2))] = 1
    wanted = {i for i, share in enumerate(shares) if share}
    splits = deal_units(sizes, held, shares, seed)
    taken = held.any(axis=1)
    lacking = wanted - set(held.argmax(axis=1)[taken].tolist())
    if (~taken).sum() < len(lacking):
        assert splits is None
        return
    assert (splits[taken] == held.argmax(axis=1)[taken]).all()
    assert wanted <= set(splits.tolist())
    assert set(splits[~taken].tolist()) <= wanted


def test_a_unit_held_by_two_splits_alike_is_for_the_later():
    held = np.array([[2, 0, 2], [3, 1, 0], [1, 1, 0]])
    assert deal_units(np.ones(3, int), held, (0.5, 0.25, 0.25), 0).tolist() == [2, 0, 1]


def test_many_small_units_meet_the_ratios():
    splits = deal_units(np.full(400, 5), np.zeros((400, 3), int), (0.6, 0.3, 0.1), 0)
    assert np.bincount(splits).tolist() == [240, 120, 40]
