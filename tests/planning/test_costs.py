"""Costs by arithmetic equal what graphs and tiles hold when they are built."""

from math import ceil

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_setup

from seg4eo_xr.geometry.tiles import tile_grid
from seg4eo_xr.geometry.windows import WindowAxis
from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.planning.costs import (
    Load,
    Rates,
    job_work,
    lazy_work,
    run_seconds,
    tile_spans,
)

LOAD = Load(bands=2, itemsize=2, written=5, layers=2, channels=3, batch_size=3)


@given(
    st.tuples(st.integers(1, 150), st.integers(1, 150)),
    st.integers(0, 15),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
@settings(max_examples=40)
def test_tasks_are_those_of_the_graph(shape, overlap, per_chunk, block):
    setup = make_setup(shape, (16, 16), (overlap, overlap), layers=("classes", "confidence"))
    runner = setup.runner(per_chunk)
    scene = da.zeros((2, *shape), chunks=(2, *block), dtype=np.uint16)
    work = lazy_work(runner.spans, scene.chunks[1:], len(scene.__dask_graph__()), LOAD)
    layers = predict_chunks(scene, runner).values()
    keys = {key for layer in layers for key in layer.__dask_graph__()}
    assert work.tasks == len(keys)
    assert work.chunks == next(iter(layers)).npartitions
    assert work.windows == setup.axes[0].count * setup.axes[1].count
    assert work.bytes_read == scene.nbytes
    assert work.bytes_written == sum(layer.nbytes for layer in layers)


@given(
    st.tuples(st.integers(20, 900), st.integers(20, 900)),
    st.integers(0, 15),
    st.integers(1, 300),
    st.integers(1, 5),
)
def test_a_job_is_the_sum_of_its_tiles(shape, overlap, tile_size, batch_size):
    axes = [WindowAxis(size, 16, overlap) for size in shape]
    grid = tile_grid(*axes, tile_size=tile_size, windows_per_chunk=3)
    load = Load(2, 2, 5, 2, 3, batch_size, symmetries=8)
    work = job_work(grid, load)
    assert work.tiles == work.tasks == len(grid)
    assert work.windows == sum(grid.windows(tile) for tile in grid)
    assert work.windows >= axes[0].count * axes[1].count
    batches = seen = 0
    for tile in grid:
        rows, columns = grid.spans(tile)
        batches += sum(
            ceil(row.count * column.count / batch_size)
            for row in rows.spans
            for column in columns.spans
        )
        seen += (rows.read_stop - rows.read_start) * (columns.read_stop - columns.read_start)
    assert work.passes == 8 * batches
    assert work.bytes_read == seen * 4
    assert work.bytes_written == shape[0] * shape[1] * 5


def rates(**changes) -> Rates:
    usual = {
        "lanes": 2,
        "readers": 2,
        "pass_seconds": 1.0,
        "read_seconds": 0.0,
        "write_seconds": 0.0,
        "start_seconds": 0.0,
        "stored_share": 0.5,
    }
    return Rates(**(usual | changes))


def spans_of(size: int):
    grid = tile_grid(*(WindowAxis(size, 16, 4),) * 2, tile_size=48, windows_per_chunk=2)
    return tile_spans(grid)


def test_time_is_that_of_the_passes_over_the_lanes():
    spans = spans_of(1200)
    load = Load(2, 2, 5, 2, 3, batch_size=1)
    windows = sum(s.count for s in spans[0]) * sum(s.count for s in spans[1])
    assert run_seconds(spans, load, rates()) == pytest.approx(windows / 2)
    assert run_seconds(spans, load, rates(), machines=4) == pytest.approx(windows / 8, rel=0.01)
    assert run_seconds(spans, load, rates(start_seconds=7)) == pytest.approx(windows / 2 + 7)


def test_a_lane_that_ends_last_is_waited_for():
    axis = WindowAxis(16 * 3, 16, 0)
    spans = tile_spans(tile_grid(axis, axis, tile_size=48, windows_per_chunk=2))
    load = Load(2, 2, 5, 2, 3, batch_size=1)
    windows = sum(s.count for s in spans[0]) * sum(s.count for s in spans[1])
    assert run_seconds(spans, load, rates(lanes=64, readers=64)) <= windows
    assert run_seconds(spans, load, rates(lanes=64, readers=64)) >= windows / len(spans[0]) ** 2


def test_an_accelerator_hides_reading_behind_running_and_a_processor_does_not():
    spans, load = spans_of(600), Load(2, 2, 5, 2, 3, batch_size=1)
    pixels = sum(s.valid for s in spans[0]) * sum(s.valid for s in spans[1])
    running = run_seconds(spans, load, rates(lanes=1, readers=1))
    read = 0.1 * running / pixels
    alone = run_seconds(spans, load, rates(lanes=1, readers=1, read_seconds=read))
    beside = run_seconds(spans, load, rates(lanes=1, readers=4, read_seconds=read))
    assert alone == pytest.approx(1.1 * running)
    assert beside == pytest.approx(running, rel=0.01)
