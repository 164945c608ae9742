from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg4eo_xr.scenes.borders import ignore_borders, near_border
from seg4eo_xr.testing import chunkings, raising_scheduler

CODES = arrays(np.int16, (11, 13), elements=st.sampled_from([-3, 1, 2, 300, 255]))


def _one_by_one(codes, width, ignore):
    near = np.zeros(codes.shape, bool)
    for row, col in np.ndindex(codes.shape):
        around = codes[max(0, row - width) : row + width + 1, max(0, col - width) : col + width + 1]
        others = set(around.ravel().tolist()) - {ignore, int(codes[row, col])}
        near[row, col] = codes[row, col] != ignore and bool(others)
    return near


@given(CODES, st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_a_pixel_is_near_a_border_where_another_class_is_within_reach(codes, width):
    assert np.array_equal(near_border(codes, width, 255), _one_by_one(codes, width, 255))


@given(CODES, st.integers(1, 15), chunkings(11), chunkings(13))
@settings(max_examples=25, deadline=None)
def test_chunks_do_not_matter_and_stay(codes, width, rows, cols):
    labels = xr.DataArray(codes, dims=("y", "x"))
    whole = ignore_borders(labels, width, 255)
    assert np.array_equal(whole, np.where(near_border(codes, width, 255), 255, codes))
    lazy = ignore_borders(labels.chunk({"y": rows, "x": cols}), width, 255)
    assert lazy.chunks == (rows, cols)
    assert lazy.dtype == np.int16
    assert np.array_equal(lazy.compute(scheduler="sync"), whole)


@pytest.mark.parametrize("ignore", [255, 0])
def test_a_border_to_what_is_unlabelled_is_none(ignore):
    codes = np.array([[1, 1, ignore, 2, 2]], np.uint8)
    assert not near_border(codes, 1, ignore).any()
    assert near_border(codes, 2, ignore).tolist() == [[False, True, False, True, False]]


@pytest.mark.parametrize(("dtype", "ignore"), [(np.uint32, 2**32 - 1), (np.int64, 2**40)])
def test_what_has_no_label_may_have_a_code_of_any_width(dtype, ignore):
    codes = np.array([[1, 1, ignore, 2, 2]], dtype)
    assert not near_border(codes, 1, ignore).any()
    assert near_border(codes, 2, ignore).tolist() == [[False, True, False, True, False]]


def test_nothing_is_read_and_names_are_deterministic():
    labels = xr.DataArray(np.zeros((8, 8), np.uint8), dims=("y", "x")).chunk(3)
    with dask.config.set(scheduler=raising_scheduler):
        names = {ignore_borders(labels, 2, 255).data.name for _ in range(2)}
    assert len(names) == 1
