"""Laws of tiles: they share out the scene, keep to whole chunks and see every window they need."""

from dataclasses import replace
from itertools import pairwise

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_setup

from seg4eo_xr.geometry.tiles import TileAxis, TileGrid, tile_grid
from seg4eo_xr.geometry.windows import WindowAxis
from seg4eo_xr.inference.overlap_add import predict_chunks


@st.composite
def tile_axes(draw: st.DrawFn, longest: int = 3000):
    window = draw(st.integers(1, 100))
    axis = WindowAxis(draw(st.integers(1, longest)), window, draw(st.integers(0, window - 1)))
    return TileAxis(axis, draw(st.integers(1, 8)), draw(st.integers(1, 6)))


@given(tile_axes())
def test_tiles_share_out_the_scene_in_whole_chunks(tiles):
    spans = [tiles.tile(index) for index in range(tiles.count)]
    assert spans[0].start == 0
    assert spans[-1].stop == tiles.axis.size
    for before, after in pairwise(spans):
        assert before.stop == after.start
        assert after.start % tiles.chunk == 0
    sizes = [span.stop - span.start for span in spans]
    assert all(size == tiles.tile_size for size in sizes[:-1])
    assert len(spans) == 1 or tiles.tile_size / 2 <= sizes[-1] < 1.5 * tiles.tile_size


@given(tile_axes())
def test_a_tile_runs_the_windows_that_touch_it(tiles):
    axis = tiles.axis
    for tile in map(tiles.tile, range(tiles.count)):
        first, last = tile.spans[0].first, tile.spans[-1].first + tile.spans[-1].count
        assert [a.first + a.count for a in tile.spans[:-1]] == [b.first for b in tile.spans[1:]]
        touching = [
            index
            for index in range(axis.count)
            if axis.start(index) < tile.stop and axis.start(index) + axis.window > tile.start
        ]
        assert first <= touching[0]
        assert touching[-1] < last <= touching[-1] + 1
        # One more at the scene's end at most, for reflection.
        assert touching[0] - first <= 1
        assert (tile.read_start, tile.read_start + tile.lead) == (axis.start(first), tile.start)
        for span in tile.spans[:-1]:
            assert (span.start + span.count * axis.stride - tile.start) % tiles.chunk == 0


@settings(max_examples=40)
@given(st.data())
def test_tiles_together_are_the_whole_image(data):
    windows = tuple(data.draw(st.integers(2, 20)) for _ in "yx")
    setup = make_setup(
        shape=tuple(data.draw(st.integers(1, 80)) for _ in "yx"),
        window=windows,
        overlap=tuple(data.draw(st.integers(0, window - 1)) for window in windows),
        classes=data.draw(st.integers(1, 3)),
        missing=data.draw(st.sampled_from([0.0, 0.4])),
        blending=data.draw(st.sampled_from(["hann", "linear", "gaussian"])),
        seed=data.draw(st.integers(0, 2**16)),
    )
    grid = TileGrid(
        *(
            TileAxis(axis, data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3)))
            for axis in setup.axes
        )
    )
    expected = setup.reference()
    result = {name: np.zeros_like(values) for name, values in expected.items()}
    scene = da.from_array(setup.scene, chunks=(1, 25, 30))
    for tile in grid:
        y, x = grid.spans(tile)
        runner = replace(setup.runner((2, 2)), spans=(y.spans, x.spans))
        part = scene[:, y.read_start : y.read_stop, x.read_start : x.read_stop]
        layers = dask.compute(predict_chunks(part, runner), scheduler="sync")[0]
        for name, values in layers.items():
            own = values[
                ..., y.lead : y.lead + y.stop - y.start, x.lead : x.lead + x.stop - x.start
            ]
            result[name][..., y.start : y.stop, x.start : x.stop] = own
    for name, values in expected.items():
        np.testing.assert_array_equal(result[name], values, err_msg=name)


def test_windows_are_counted():
    axis = WindowAxis(20_000, 512, 128)
    grid = tile_grid(axis, axis, tile_size=8192)
    assert grid.total_windows == sum(grid.windows(tile) for tile in grid)
    assert sum(grid.pixels(tile) for tile in grid) == 20_000**2
    assert grid.total_windows < 1.12 * axis.count**2


@given(st.integers(1, 60_000), st.integers(1000, 10_000))
def test_tiles_are_like_each_other_so_that_workers_end_together(size, tile_size):
    axis = WindowAxis(size, 256, 64)
    grid = tile_grid(axis, axis, tile_size=tile_size)
    sides = [grid.vertical.tile(index) for index in range(grid.vertical.count)]
    lengths = [side.stop - side.start for side in sides]
    assert len(set(lengths[:-1])) <= 1
    assert lengths[-1] <= 1.5 * max(lengths[0], grid.chunk[0]) + grid.chunk[0]
    assert len(lengths) == 1 or lengths[-1] >= lengths[0] / 2


def test_a_small_scene_has_enough_chunks_for_some_cores():
    axis = WindowAxis(3000, 256, 64)
    grid = tile_grid(axis, axis, tile_size=8192)
    assert len(grid) == 1
    spans = grid.vertical.tile(0).spans
    assert len(spans) >= 3
    with pytest.raises(IndexError, match="tile 1 is not one of the 1"):
        grid.vertical.tile(1)
