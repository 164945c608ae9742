import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.geometry.windows import WindowAxis, chunk_spans


@st.composite
def axes(draw: st.DrawFn) -> WindowAxis:
    window = draw(st.integers(1, 40))
    return WindowAxis(draw(st.integers(1, 400)), window, draw(st.integers(0, window - 1)))


@given(axes())
def test_windows_cover_the_axis_and_the_last_one_is_needed(axis):
    assert axis.padded_size >= axis.size
    if axis.count > 1:
        assert axis.padded_size - axis.stride < axis.size


@given(axes(), st.integers(1, 12))
def test_chunks_partition_pixels_and_windows(axis, wanted):
    windows = axis.windows_per_chunk(wanted)
    sizes = axis.chunk_sizes(windows)
    spans = chunk_spans(axis, windows)
    assert sum(windows) == axis.count
    assert sum(sizes) == axis.size
    assert min(sizes) > 0
    assert [span.valid for span in spans] == list(sizes)
    starts = np.cumsum([0, *sizes])[:-1]
    assert [axis.start(span.first) for span in spans] == list(starts)


@given(axes(), st.integers(1, 12))
def test_only_direct_neighbours_share_pixels(axis, wanted):
    sizes = axis.chunk_sizes(axis.windows_per_chunk(wanted))
    if len(sizes) > 1:
        assert min(sizes) >= axis.overlap


@given(axes(), st.integers(1, 12))
def test_reflection_at_the_edge_stays_inside_the_last_chunk(axis, wanted):
    sizes = axis.chunk_sizes(axis.windows_per_chunk(wanted))
    if len(sizes) > 1:
        assert axis.padded_size - axis.size < sizes[-1]


@pytest.mark.parametrize(
    ("size", "window", "overlap", "named"),
    [(0, 8, 2, "size"), (8, 0, 0, "window"), (8, 8, 8, "overlap"), (8, 8, -1, "overlap")],
)
def test_impossible_grids_are_refused_by_name(size, window, overlap, named):
    with pytest.raises(ValueError, match=named):
        WindowAxis(size, window, overlap)


def test_spans_must_own_every_window():
    with pytest.raises(ValueError, match="own 3 windows"):
        chunk_spans(WindowAxis(1000, 256, 64), (1, 2))


def test_the_grid_has_a_stable_token():
    tokens = {dask.base.tokenize(WindowAxis(1000, 256, 64)) for _ in range(2)}
    assert len(tokens) == 1
    assert dask.base.tokenize(WindowAxis(1000, 256, 63)) not in tokens
