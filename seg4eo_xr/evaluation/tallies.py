"""A map and a reference counted in one pass: in all, by zone and near borders of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from seg4eo_xr.evaluation.pairs import PairCounts, count_block, merge_pairs
from seg4eo_xr.scenes.borders import near_borders

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dask.delayed import Delayed

    from seg4eo_xr.evaluation.zones import Zones

    Array = np.ndarray | da.Array | xr.DataArray

Part = tuple[str, ...]
"""What is counted: `WHOLE`, ``("zone", name)`` or ``("border", width, whose)``."""
Tally = dict[Part, PairCounts]

WHOLE: Part = ("whole",)
BORDERS = ("both", "reference", "map")
"""Whose border is near: that of the reference and the map, or that of one of them alone."""


@dataclass(frozen=True)
class Counting:
    """What is counted, and what counts for nothing.

    Parameters
    ----------
    nodata, ignore
        Codes of missing pixels in the map and in the reference; None where there are none.
    widths
        Distances from borders of classes, in pixels.
    zones
        Areas to count apart.
    """

    nodata: float | None
    ignore: float | None
    widths: tuple[int, ...] = ()
    zones: Zones | None = None


def tally_blocks(prediction: Array, reference: Array, counting: Counting) -> da.Array:
    """Count lazily, chunk by chunk of the prediction.

    Parameters
    ----------
    prediction, reference
        Integer codes of the same shape, ``(y, x)``.
    counting
        What is counted.

    Returns
    -------
    dask array of object, ``(chunk, chunk)``
        A `Tally` a chunk; `merge_tallies` adds them up.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    predicted, labels = (
        da.asarray(array.data if isinstance(array, xr.DataArray) else array)
        for array in (prediction, reference)
    )
    if predicted.shape != labels.shape:
        raise ValueError(
            f"the map has {predicted.shape} pixels and the reference {labels.shape}; "
            "warp the reference onto the map's grid with reference.rio.reproject_match(map)"
        )
    labels = labels.rechunk(predicted.chunks, method="tasks")
    near = [
        near_borders(codes, width, missing)
        for width in counting.widths
        for codes, missing in ((labels, counting.ignore), (predicted, counting.nodata))
    ]
    tallies: da.Array = da.map_blocks(
        _tally_block,
        predicted,
        labels,
        *near,
        # one key of the graph, so that a cluster ships the zones once a worker
        counting=delayed(counting, traverse=False, pure=True),
        dtype=object,
        chunks=tuple((1,) * count for count in predicted.numblocks),
        meta=np.empty((0, 0), object),
    )
    return tallies


def _tally_block(
    predicted: np.ndarray,
    labels: np.ndarray,
    *near: np.ndarray,
    counting: Counting,
    block_info: Any = None,
) -> np.ndarray:
    missing = counting.nodata, counting.ignore
    tally = {WHOLE: count_block(predicted, labels, *missing)}
    for width, of_labels, of_map in zip(counting.widths, near[::2], near[1::2], strict=True):
        sides = (of_labels & of_map, of_labels & ~of_map, of_map & ~of_labels)
        for whose, side in zip(BORDERS, sides, strict=True):
            part = ("border", str(width), whose)
            tally[part] = count_block(predicted[side], labels[side], *missing)
    if counting.zones is not None:
        rows, cols = block_info[0]["array-location"]
        for name, window, inside in counting.zones.masks(rows, cols):
            pair = predicted[window][inside], labels[window][inside]
            tally["zone", name] = count_block(*pair, *missing)
    result = np.empty((1, 1), object)
    result[0, 0] = tally
    return result


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """Add up tallies, part by part."""
    parts: dict[Part, list[PairCounts]] = {}
    for tally in tallies:
        for part, counts in tally.items():
            parts.setdefault(part, []).append(counts)
    return {part: merge_pairs(counts) for part, counts in parts.items()}


def count_pairs(
    prediction: Array, reference: Array, nodata: float | None, ignore: float | None
) -> Delayed:
    """Count pairs of codes lazily, as `tally_blocks` does, and all of them.

    Returns
    -------
    Delayed
        Of `PairCounts`.
    """
    tallies = tally_blocks(prediction, reference, Counting(nodata, ignore))
    counts: Delayed = delayed(_whole_of, pure=True)(tallies)
    return counts


def _whole_of(tallies: np.ndarray) -> PairCounts:
    return merge_pairs([tally[WHOLE] for tally in tallies.ravel()])
