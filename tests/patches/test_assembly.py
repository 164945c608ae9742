"""Laws of `seg4eo_xr.patches.assembly`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.patches.assembly import Pieces, Resampling, assemble, cut, plan_pieces, resample
from seg4eo_xr.patches.grids import PatchWindows, square_windows

chunk_lengths = st.lists(st.integers(1, 20), min_size=1, max_size=6).map(tuple)


@st.composite
def windows_in(draw, height, width, size):
    """Windows inside the scene, square ones of the patch's size among them."""
    found = draw(
        st.lists(
            st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)), min_size=1, max_size=6
        )
    )
    sizes = []
    for row, col in found:
        if draw(st.booleans()) and size <= min(height - row, width - col):
            sizes.append((size, size))
        else:
            sizes.append((draw(st.integers(1, height - row)), draw(st.integers(1, width - col))))
    table = np.array([(*start, *size) for start, size in zip(found, sizes, strict=True)], np.int64)
    return PatchWindows(*table.T, np.arange(len(table)).astype(str), np.full(len(table), ""))


@settings(deadline=None)
@given(data=st.data(), chunks=st.tuples(chunk_lengths, chunk_lengths), bands=st.integers(0, 2))
def test_a_patch_is_the_window_whatever_the_chunks(data, chunks, bands):
    height, width = (sum(lengths) for lengths in chunks)
    shape = (*(bands,) * (bands > 0), height, width)
    scene = np.random.default_rng(0).integers(0, 2**16, shape, np.uint16)
    size = data.draw(st.integers(1, 12))
    windows = data.draw(windows_in(height, width, size))
    edges = [np.concatenate([[0], np.cumsum(lengths)]) for lengths in chunks]
    plans = plan_pieces(windows, chunks)
    assert len({plan.chunk for plan in plans}) == len(plans)
    cuts = []
    for plan in plans:
        (top, bottom), (left, right) = (
            edge[index : index + 2] for edge, index in zip(edges, plan.chunk, strict=True)
        )
        cuts.append(cut(scene[..., top:bottom, left:right], plan))
    patches = assemble(plans, cuts, windows, Resampling(size), (height, width))
    for i, patch in enumerate(patches):
        row, col = windows.rows[i], windows.cols[i]
        expected = scene[..., row : row + windows.heights[i], col : col + windows.widths[i]]
        np.testing.assert_array_equal(patch, resample(expected, Resampling(size)))


def test_pieces_are_copies_so_that_chunks_can_leave_memory():
    windows = square_windows(np.array([0]), np.array([0]), 4)
    block = np.zeros((2, 8, 8))
    (plan,) = plan_pieces(windows, ((8,), (8,)))
    assert not np.shares_memory(cut(block, plan)[0], block)


@given(st.integers(0, 2999), st.sampled_from(["slots", "source", "target", "shape"]))
def test_plans_that_differ_in_one_number_have_different_names(place, field):
    """However long they are: tasks of one name are taken for the same."""
    numbers = np.arange(3000)
    pieces = Pieces((0, 0), numbers, *(np.stack([numbers, numbers], axis=1) for _ in range(3)))
    changed = getattr(pieces, field).copy()
    changed[place] += 1
    assert tokenize(pieces) == tokenize(replace(pieces))
    assert tokenize(pieces) != tokenize(replace(pieces, **{field: changed}))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("side", [5, 16, 23, 64])
def test_resampling_keeps_constants_and_nodata(dtype, interpolation, side):
    window = np.full((2, side, side + 1), 7, dtype)
    assert (resample(window, Resampling(16, interpolation, 0)) == 7).all()
    window[0, :, : side // 2] = 0
    patch = resample(window, Resampling(16, interpolation, 0))
    assert patch.shape == (2, 16, 16)
    assert patch.dtype == dtype
    assert set(np.unique(patch)) == {0, 7}
    assert (patch[1] == 7).all()


def test_nearest_doubling_repeats_pixels():
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    np.testing.assert_array_equal(
        resample(labels, Resampling(8, nodata=255)), np.kron(labels, np.ones((2, 2)))
    )
    assert resample(labels, Resampling(4, "bicubic")) is labels


def test_a_dtype_that_gdal_cannot_warp_is_named():
    with pytest.raises(ValueError, match=r"complex256|float128|longdouble"):
        resample(np.zeros((4, 4), np.longdouble), Resampling(8))
