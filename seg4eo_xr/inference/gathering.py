"""Regions of a dask array that overlap each other, each gathered by one task.

dask's own way, rechunking and then sharing borders, copies every pixel twice and takes a task more
for each step. Here a region takes whole blocks as they are and cut-out copies of the others, so
that a block is free as soon as it is cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from seg4eo_xr.pages import copy_to_pages, empty_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

Interval = tuple[int, int]


class Part(NamedTuple):
    """What one block gives to one region, along one axis."""

    block: int
    """Index of the block."""
    source: slice
    """Where in the block."""
    target: slice
    """Where in the region."""
    whole: bool
    """Whether it is all of the block."""


def parts_of(chunks: Sequence[int], interval: Interval) -> list[Part]:
    """Cut an interval of an axis at the borders of its blocks.

    Parameters
    ----------
    chunks
        Lengths of the blocks.
    interval
        First position, and the one behind the last, within the axis.

    Examples
    --------
    >>> [(part.block, part.source, part.target) for part in parts_of((4, 4, 4), (2, 9))]
    [(0, slice(2, 4, None), slice(0, 2, None)), (1, slice(0, 4, None), slice(2, 6, None)),
     (2, slice(0, 1, None), slice(6, 7, None))]
    """
    begin, end = interval
    borders = [0, *accumulate(chunks)]
    parts = []
    block = bisect_right(borders, begin) - 1
    while begin < end:
        stop = min(end, borders[block + 1])
        source = slice(begin - borders[block], stop - borders[block])
        target = slice(begin - interval[0], stop - interval[0])
        if stop > begin:
            parts.append(Part(block, source, target, stop - begin == chunks[block]))
        begin, block = stop, block + 1
    return parts


def gather_regions(
    array: da.Array, rows: Sequence[Interval], columns: Sequence[Interval]
) -> da.Array:
    """Make an array with one block a region, however the regions overlap.

    Parameters
    ----------
    array
        ``(band, y, x)``, of any chunks.
    rows, columns
        First position, and the one behind the last, of each region along y and along x.

    Returns
    -------
    dask array
        ``(band, y, x)`` with as many blocks as regions, each as long as its region. It has the
        blocks of a mosaic of all regions, so only its blocks mean anything.

    Raises
    ------
    ValueError
        If a region does not lie within the array.
    """
    for length, regions in zip(array.shape[1:], (rows, columns), strict=True):
        for begin, end in regions:
            if not 0 <= begin < end <= length:
                raise ValueError(f"region {begin}..{end} does not lie within 0..{length}")
    array = array.rechunk({0: -1}, method="tasks")
    token = tokenize(array.name, rows, columns)
    name, cut = f"region-{token}", f"cut-{token}"
    vertical = [parts_of(array.chunks[1], interval) for interval in rows]
    horizontal = [parts_of(array.chunks[2], interval) for interval in columns]
    tasks: dict[Any, Any] = {}
    # Pieces of each block, of which the first region asks for all: the block can go then.
    cuts: dict[Any, list[Any]] = defaultdict(list)
    joins: list[tuple[Any, list[Any], _Places, tuple[int, ...]]] = []
    for (i, above), (j, beside) in product(enumerate(vertical), enumerate(horizontal)):
        pieces, places = [], []
        for y, x in product(above, beside):
            block = (array.name, 0, y.block, x.block)
            key: Any = (cut, i, j, y.block, x.block)
            if y.whole and x.whole:
                key = block
            else:
                tasks[key] = (_cut, block, y.source, x.source)
                cuts[block].append(key)
            pieces.append(key)
            places.append((y.target, x.target))
        shape = (array.shape[0], *(end - begin for begin, end in (rows[i], columns[j])))
        joins.append(((name, 0, i, j), pieces, _Places(places), shape))
    first = {members[0]: members[1:] for members in cuts.values()}
    for key, pieces, where, shape in joins:
        others = [other for piece in pieces for other in first.get(piece, ())]
        tasks[key] = (_join, pieces, where, shape, array.dtype, others)
    graph = HighLevelGraph(
        {**array.dask.layers, name: tasks}, {**array.dask.dependencies, name: {array.name}}
    )
    sizes = tuple(tuple(end - begin for begin, end in regions) for regions in (rows, columns))
    return da.Array(graph, name, (array.chunks[0], *sizes), meta=array._meta)


class _Places:
    """Where pieces go; a plain list of slices would be searched for keys of the graph."""

    __slots__ = ("places",)

    def __init__(self, places: list[tuple[slice, slice]]) -> None:
        self.places = places


def _cut(block: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    # A view would keep the whole block.
    return copy_to_pages(block[:, rows, columns])


def _join(
    pieces: list[np.ndarray],
    where: _Places,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    _others: list[np.ndarray],
) -> np.ndarray:
    if len(pieces) == 1 and pieces[0].shape == shape:
        return pieces[0]
    region = empty_pages(shape, dtype)
    for piece, (rows, columns) in zip(pieces, where.places, strict=True):
        region[:, rows, columns] = piece
    return region
