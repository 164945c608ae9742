from __future__ import annotations

from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg4eo_xr.evaluation.pairs import PairCounts, count_block, merge_pairs
from seg4eo_xr.evaluation.tallies import count_pairs
from seg4eo_xr.testing import chunkings, raising_scheduler


def _codes(dtype):
    limits = np.iinfo(dtype)
    some = st.sampled_from([limits.min, 0, 1, 7, limits.max])
    return arrays(dtype, (6, 8), elements=some)


DTYPES = st.sampled_from([np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64])
RASTERS = DTYPES.flatmap(_codes)


def _as_counter(counts: PairCounts) -> Counter[tuple[int, int]]:
    return Counter(
        {
            (int(row), int(column)): int(counts.counts[i, j])
            for i, row in enumerate(counts.reference)
            for j, column in enumerate(counts.prediction)
            if counts.counts[i, j]
        }
    )


@given(RASTERS, RASTERS, chunkings(6), chunkings(8))
@settings(deadline=None, max_examples=50)
def test_counts_of_chunks_are_those_of_a_loop(predicted, labels, rows, cols):
    expected = Counter(
        (label, code)
        for label, code in zip(labels.ravel().tolist(), predicted.ravel().tolist(), strict=True)
        if label != 7 and code != 1
    )
    lazy = da.from_array(predicted, chunks=(rows, cols))
    counts = count_pairs(lazy, labels, nodata=1, ignore=7).compute(scheduler="sync")
    assert _as_counter(counts) == expected


@given(RASTERS, RASTERS)
def test_merging_halves_gives_the_whole(predicted, labels):
    parts = [count_block(predicted[i : i + 2], labels[i : i + 2], 0, None) for i in (0, 2, 4)]
    assert _as_counter(merge_pairs(parts)) == _as_counter(count_block(predicted, labels, 0, None))


def test_rows_of_one_number_are_added_up():
    counts = PairCounts(np.array([1, 2, 9]), np.array([5]), np.array([[1], [10], [100]]))
    moved = counts.relabelled({1: 9, 2: -4})
    assert moved.reference.tolist() == [-4, 9]
    assert moved.counts.tolist() == [[10], [101]]


def test_a_matrix_has_the_classes_asked_for_in_their_order():
    counts = PairCounts(np.array([311, 523]), np.array([311]), np.array([[4], [2]]))
    assert counts.matrix([523, 111, 311]).tolist() == [[0, 0, 2], [0, 0, 0], [0, 0, 4]]
    with pytest.raises(ValueError, match=r"reference holds the class codes 523 \(2 pixels\)"):
        counts.matrix([311])


def test_building_reads_nothing_and_names_are_deterministic():
    with dask.config.set(scheduler=raising_scheduler):
        one, two = (
            count_pairs(da.zeros((8, 8), chunks=3, dtype=int), da.zeros((8, 8), dtype=int), 0, 0)
            for _ in range(2)
        )
    assert one.key == two.key
