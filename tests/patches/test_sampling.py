"""Laws of `seg4eo_xr.patches.sampling`."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.patches import sampling
from seg4eo_xr.patches.sampling import balanced_windows, random_windows
from seg4eo_xr.testing import chunkings

SHAPE = 45, 60


def rare_classes(seed, dtype=np.uint8):
    """Mostly 10, some 20 and unlabelled, few 30, one pixel of 40."""
    rng = np.random.default_rng(seed)
    codes = rng.choice([10, 20, 255], SHAPE, p=[0.8, 0.1, 0.1]).astype(dtype)
    codes[tuple(rng.integers(0, SHAPE, (5, 2)).T)] = 30
    codes[tuple(rng.integers(0, SHAPE))] = 40
    return codes


def as_labels(codes):
    return xr.DataArray(codes, dims=("y", "x"))


def corners(windows):
    return list(zip(windows.rows.tolist(), windows.cols.tolist(), strict=True))


def hits(codes, windows, code):
    size = windows.heights[0]
    return sum(code in codes[r : r + size, c : c + size] for r, c in corners(windows))


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.integers(1, 12),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_random_windows_are_distinct_and_inside(shape, size, share, seed):
    size = min(size, *shape)
    positions = (shape[0] - size + 1) * (shape[1] - size + 1)
    count = max(1, round(share * positions))
    windows = random_windows(shape, size, count, seed)
    assert len(set(corners(windows))) == len(set(windows.ids)) == len(windows) == count
    assert windows.rows.min() >= 0
    assert windows.cols.min() >= 0
    assert (windows.rows + size).max() <= shape[0]
    assert (windows.cols + size).max() <= shape[1]
    assert corners(random_windows(shape, size, count, seed)) == corners(windows)


def test_random_windows_lie_everywhere_alike():
    windows = random_windows((1007, 1007), 8, 10_000, 3)
    counts, *_ = np.histogram2d(windows.rows, windows.cols, bins=(4, 5), range=[[0, 1000]] * 2)
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500)
    assert corners(windows) != corners(random_windows((1007, 1007), 8, 10_000, 4))


@settings(deadline=None, max_examples=25)
@given(
    rows=chunkings(SHAPE[0]),
    cols=chunkings(SHAPE[1]),
    seed=st.integers(0, 50),
    dtype=st.sampled_from([np.uint8, np.int16]),
)
def test_the_draw_is_the_same_for_every_chunking(rows, cols, seed, dtype):
    codes = rare_classes(seed, dtype)
    lazy = as_labels(da.from_array(codes, chunks=(rows, cols)))
    with dask.config.set(scheduler="sync"):
        windows = balanced_windows(lazy, 8, 30, seed, ignore=255)
    expected = balanced_windows(as_labels(codes), 8, 30, seed, ignore=255)
    assert corners(windows) == corners(expected)
    assert windows.ids.tolist() == [f"{row}_{col}" for row, col in corners(windows)]


def test_large_chunks_are_drawn_from_in_slabs(monkeypatch):
    expected = balanced_windows(as_labels(rare_classes(1)), 8, 30, 1, ignore=255)
    monkeypatch.setattr(sampling, "_PIXELS_AT_ONCE", 200)
    windows = balanced_windows(as_labels(rare_classes(1)), 8, 30, 1, ignore=255)
    assert corners(windows) == corners(expected)


@settings(deadline=None)
@given(seed=st.integers(0, 500), size=st.integers(1, 45), count=st.integers(4, 60))
def test_every_class_is_in_some_window_and_windows_are_distinct_and_inside(seed, size, count):
    codes = rare_classes(seed)
    windows = balanced_windows(as_labels(codes), size, count, seed, ignore=255)
    assert 1 <= len(windows) <= count
    assert len(set(corners(windows))) == len(windows)
    assert windows.rows.min() >= 0
    assert windows.cols.min() >= 0
    assert (windows.rows + size).max() <= SHAPE[0]
    assert (windows.cols + size).max() <= SHAPE[1]
    for code in set(np.unique(codes)) - {255}:
        assert hits(codes, windows, code)


def test_each_class_is_aimed_at_equally_often():
    codes = np.full((400, 400), 1, np.uint8)
    codes[100:140, 100:140] = 2
    codes[300:320, 50:70] = 3
    windows = balanced_windows(as_labels(codes), 16, 300, 0, ignore=255)
    assert len(windows) == 300
    # by chance alone three windows would hold class 2, and one class 3
    assert 100 <= hits(codes, windows, 2) <= 112
    assert 100 <= hits(codes, windows, 3) <= 108


def test_the_pixel_that_is_aimed_at_lies_anywhere_near_the_centre():
    codes = np.zeros((4000, 8), np.uint8)
    aims = np.arange(8, 4000, 16)
    codes[aims, 4] = 1
    windows = balanced_windows(as_labels(codes), 8, 10_000, 5, ignore=0)
    assert sorted(set(aims - windows.rows)) == [2, 3, 4, 5]


def test_a_class_of_few_pixels_leaves_its_turns_to_the_others():
    codes = np.zeros(SHAPE, np.uint8)
    codes[20, 20] = 1
    windows = balanced_windows(as_labels(codes), 4, 50, 2, ignore=255)
    assert len(windows) == 50


def test_a_scene_smaller_than_a_window_gives_what_it_has():
    assert random_windows((8, 8), 9, 5, 1).ids.tolist() == ["0_0"]
    assert random_windows((8, 10), 9, 5, 1).ids.tolist() == ["0_0", "0_1"]
    windows = balanced_windows(as_labels(np.eye(8, 12, dtype=int)), 9, 5, 1, ignore=255)
    assert set(windows.rows) == {0}
    assert set(windows.cols) <= {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: random_windows((8, 8), 0, 5, 1), "patch_size must be at least 1"),
        (lambda: random_windows((8, 8), 4, 0, 1), "count must be at least 1"),
        (lambda: random_windows((8, 8), 4, 5, -1), "seed must be at least 0"),
        (lambda: random_windows((8, 8), 9, 5, 1, edges="drop"), "choose patch_size 8 or less"),
        (lambda: random_windows((8, 8), 7, 5, 1), "has 4 windows of 7 × 7, fewer than the 5"),
        (
            lambda: balanced_windows(as_labels(np.full((8, 8), 255)), 4, 5, 1, ignore=255),
            "no pixel of the labels has a class: all are 255",
        ),
        (
            lambda: balanced_windows(as_labels(np.eye(8, dtype=int)), 4, 1, 1, ignore=255),
            "hold 2 classes, more than the 1 windows asked for; ask for 2 or more",
        ),
        (
            lambda: balanced_windows(
                as_labels(np.eye(8, dtype=int)), 9, 5, 1, ignore=255, edges="drop"
            ),
            "smaller than one patch",
        ),
    ],
)
def test_bad_arguments_are_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
