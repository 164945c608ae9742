"""Laws of `seg4eo_xr.geometry.splits`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from seg4eo_xr.geometry.splits import SPLITS, RandomSplit, SpatialSplit, nearest_distance

SPATIAL = settings(max_examples=60, deadline=None)


def windows(rows, cols, size):
    grid = np.stack(np.meshgrid(rows, cols, indexing="ij")).reshape(2, -1).astype(np.int64)
    return grid[0], grid[1], np.full(grid.shape[1], size), np.full(grid.shape[1], size)


def grid_of(count, stride, size):
    return windows(np.arange(count) * stride, np.arange(count) * stride, size)


@st.composite
def ratios(draw):
    weights = draw(st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(0, 5)))
    total = sum(weights)
    return tuple(weight / total for weight in weights)


@st.composite
def scattered_windows(draw):
    count = draw(st.integers(4, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return (
        rng.integers(0, 120, count),
        rng.integers(0, 120, count),
        rng.integers(1, 12, count),
        rng.integers(1, 12, count),
    )


def pixels(window_arrays, chosen):
    """Every pixel centre of the chosen windows."""
    return np.concatenate(
        [
            np.stack(
                np.meshgrid(np.arange(r, r + h), np.arange(c, c + w), indexing="ij"), -1
            ).reshape(-1, 2)
            for r, c, h, w in np.stack(window_arrays, 1)[chosen]
        ]
    )


def brute_force_distance(window_arrays, first, second):
    a, b = pixels(window_arrays, first), pixels(window_arrays, second)
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).min()


@given(shares=ratios(), count=st.integers(1, 300), seed=st.integers(0, 99))
def test_a_random_split_takes_every_patch_and_meets_the_ratios(shares, count, seed):
    rows = np.arange(count)
    names = RandomSplit(*shares, seed).assign(rows, rows, rows * 0 + 4, rows * 0 + 4)
    assert set(names) <= set(SPLITS)
    assert len(names) == count
    for name, share in zip(SPLITS, shares, strict=True):
        found = int((names == name).sum())
        assert abs(found - share * count) <= 3
        if count >= 3 and share > 1e-9:
            assert found >= 1


def test_a_split_follows_from_its_seed():
    grid = grid_of(12, 8, 8)
    for rule in (RandomSplit, lambda **k: SpatialSplit(block=24, **k)):
        first = rule(random_seed=1).assign(*grid)
        assert (first == rule(random_seed=1).assign(*grid)).all()
        assert (first != rule(random_seed=2).assign(*grid)).any()


@SPATIAL
@given(
    grid=st.one_of(
        scattered_windows(),
        st.builds(grid_of, st.integers(4, 8), st.integers(3, 10), st.integers(1, 10)),
    ),
    block=st.integers(8, 60),
    buffer=st.floats(0, 20),
    seed=st.integers(0, 20),
)
def test_no_pixel_lies_within_the_buffer_of_another_split(grid, block, buffer, seed):
    try:
        names = SpatialSplit(block, buffer, 0.6, 0.2, 0.2, seed).assign(*grid)
    except ValueError as error:
        assume("choose a smaller" not in str(error))
        raise
    for first, second in (("test", "train"), ("validation", "train"), ("test", "validation")):
        nearest = brute_force_distance(grid, names == first, names == second)
        assert nearest > buffer
        assert nearest_distance(*grid, names, (first, second)) == pytest.approx(nearest)


def test_blocks_stay_whole_and_only_the_buffer_takes_patches():
    grid = grid_of(20, 8, 8)
    names = SpatialSplit(block=32).assign(*grid)
    block_of = (grid[0] // 32) * 100 + grid[1] // 32
    assert "" not in names
    for block in np.unique(block_of):
        assert len(set(names[block_of == block])) == 1
    shares = [(names == split).mean() for split in SPLITS]
    assert shares == pytest.approx([0.75, 0.15, 0.10], abs=0.05)
    buffered = SpatialSplit(block=32, buffer=8).assign(*grid)
    kept = buffered != ""
    assert (buffered[kept] == names[kept]).all()
    assert (buffered[names == "test"] == "test").all()


def test_the_distance_of_an_absent_split_is_not_a_number():
    grid = grid_of(2, 8, 8)
    assert np.isnan(nearest_distance(*grid, np.array(["train"] * 4)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomSplit(0.5, 0.5, 0.5), "must make 1"),
        (lambda: RandomSplit(0.0, 0.5, 0.5), "train_ratio must be above 0"),
        (lambda: RandomSplit(random_seed=-1), "random_seed"),
        (lambda: SpatialSplit(0), "block"),
        (lambda: SpatialSplit(64, -1), "buffer"),
        (lambda: SpatialSplit(1000).assign(*grid_of(4, 8, 8)), "choose a smaller block"),
        (lambda: SpatialSplit(16, 500).assign(*grid_of(8, 8, 8)), "leaves no"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
