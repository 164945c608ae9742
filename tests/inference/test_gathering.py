"""Regions of a dask array: the same pixels as its slices, and blocks that are let go of early."""

import dask
import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback
from hypothesis import given
from hypothesis import strategies as st
from toys import make_setup

from seg4eo_xr.inference.gathering import gather_regions, parts_of
from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.inference.window_runner import ChunkResult
from seg4eo_xr.running import run_to_the_end
from seg4eo_xr.testing import raising_scheduler


@st.composite
def axes(draw):
    """Lengths of blocks, and intervals within their sum."""
    chunks = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    size = sum(chunks)
    bounds = st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)
    intervals = draw(st.lists(bounds.map(sorted).map(tuple), min_size=1, max_size=4))
    return tuple(chunks), intervals


@given(axes())
def test_the_parts_of_an_interval_cover_it_once(axis):
    chunks, intervals = axis
    values = np.arange(sum(chunks))
    blocks = np.split(values, np.cumsum(chunks)[:-1])
    for begin, end in intervals:
        found = np.full(end - begin, -1)
        for part in parts_of(chunks, (begin, end)):
            found[part.target] = blocks[part.block][part.source]
            assert part.whole == (part.source == slice(0, len(blocks[part.block])))
        np.testing.assert_array_equal(found, values[begin:end])


@given(axes(), axes(), st.sampled_from([(3,), (1, 2)]))
def test_each_block_is_its_region_whatever_the_chunks(vertical, horizontal, bands):
    shape = (3, sum(vertical[0]), sum(horizontal[0]))
    values = np.arange(np.prod(shape)).reshape(shape)
    array = da.from_array(values, chunks=(bands, vertical[0], horizontal[0]))
    with dask.config.set(scheduler=raising_scheduler):
        regions = gather_regions(array, vertical[1], horizontal[1])
    for i, rows in enumerate(vertical[1]):
        for j, columns in enumerate(horizontal[1]):
            found = regions.blocks[0, i, j].compute(scheduler="sync")
            np.testing.assert_array_equal(found, values[:, slice(*rows), slice(*columns)])


def test_a_region_outside_is_refused():
    with pytest.raises(ValueError, match=r"region 2\.\.9 does not lie within 0\.\.8"):
        gather_regions(da.zeros((1, 8, 8)), [(2, 9)], [(0, 8)])


@pytest.mark.parametrize("block", [48, 64, 40, 90])
def test_what_waits_grows_with_the_shorter_side_of_a_scene_and_not_with_the_other(block):
    small, tall = (most_alive(rows, 4, block) for rows in (4, 16))
    # Of 64 chunks; the exact number varies with how dask breaks ties.
    assert tall["results"] <= 8
    assert tall["blocks"] <= 10
    assert tall["bytes"] <= 2 * small["bytes"]


def most_alive(rows: int, columns: int, block: int) -> dict[str, int]:
    """Most results, blocks of the scene, and bytes of all, that are alive at a time."""
    setup = make_setup(
        tuple(48 * n + 4 for n in (rows, columns)),
        (16, 16),
        (4, 4),
        batch_size=1,
        layers=("classes", "confidence"),
    )
    stored = setup.scene
    source = da.map_blocks(
        _read,
        chunks=da.core.normalize_chunks((-1, block, block), stored.shape),
        stored=stored.copy,
        dtype=stored.dtype,
        meta=np.empty((0, 0, 0), stored.dtype),
        name="reading",
    )
    layers = predict_chunks(source, setup.runner((4, 4)))
    most = dict.fromkeys(("results", "blocks", "bytes"), 0)

    class Watch(Callback):
        def _posttask(self, _key, _result, _graph, state, _worker):
            alive = state["cache"]
            now = {
                "results": sum(isinstance(value, ChunkResult) for value in alive.values()),
                "blocks": sum(str(key).startswith("('reading") for key in alive),
                "bytes": sum(size_of(value) for value in alive.values()),
            }
            most.update({name: max(most[name], now[name]) for name in most})

    stores = [
        da.map_blocks(_written, layer, chunks=tuple((1,) * n for n in layer.numblocks), dtype=bool)
        for layer in layers.values()
    ]
    with Watch(), dask.config.set(scheduler="sync"):
        run_to_the_end(stores)
    return most


def _read(stored=None, block_info=None):
    place = block_info[None]["array-location"]
    return stored()[tuple(slice(*bounds) for bounds in place)].copy()


def _written(values):
    return np.ones((1, 1), bool)


def size_of(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if isinstance(value, tuple):
        return sum(map(size_of, value))
    return value.nbytes if isinstance(value, np.ndarray) else 0
