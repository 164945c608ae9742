"""Pixels of each pair of codes of two rasters, counted chunk by chunk, whatever the codes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask.delayed import Delayed

    Array = np.ndarray | da.Array | xr.DataArray

_MERGED_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Pixels of each pair of codes that occur.

    Parameters
    ----------
    reference, prediction
        Codes of rows and columns, int64, ascending.
    counts
        Pixels, ``(reference, prediction)`` int64.
    """

    reference: np.ndarray
    prediction: np.ndarray
    counts: np.ndarray

    def relabelled(self, codes: Mapping[int, int]) -> PairCounts:
        """Give codes of the reference other numbers; rows of one number are added up."""
        moved = np.array([codes.get(int(code), int(code)) for code in self.reference], np.int64)
        rows, position = np.unique(moved, return_inverse=True)
        counts = np.zeros((len(rows), len(self.prediction)), np.int64)
        np.add.at(counts, position, self.counts)
        return PairCounts(rows, self.prediction, counts)

    def matrix(self, codes: Sequence[int]) -> np.ndarray:
        """Square matrix over some classes, ``(class, class)`` int64.

        Raises
        ------
        ValueError
            If another code has pixels.
        """
        for what, found, pixels in (
            ("the reference", self.reference, self.counts.sum(1)),
            ("the map", self.prediction, self.counts.sum(0)),
        ):
            strange = ~np.isin(found, codes)
            if pixels[strange].any():
                raise ValueError(
                    f"{what} holds the class codes {', '.join(map(str, found[strange]))} "
                    f"({int(pixels[strange].sum())} pixels), which are not among the classes "
                    f"{list(codes)}; set those pixels to the ignored code, or give a class table "
                    "that has them"
                )
        matrix = np.zeros((len(codes), len(codes)), np.int64)
        rows, columns = (np.isin(found, codes) for found in (self.reference, self.prediction))
        place = {code: index for index, code in enumerate(codes)}
        into = np.ix_(
            [place[code] for code in self.reference[rows].tolist()],
            [place[code] for code in self.prediction[columns].tolist()],
        )
        matrix[into] = self.counts[np.ix_(rows, columns)]
        return matrix


def count_block(
    predicted: np.ndarray, labels: np.ndarray, nodata: float | None, ignore: float | None
) -> PairCounts:
    """Count the pairs of one block; pixels without data or label do not count.

    Examples
    --------
    >>> counts = count_block(np.array([[311, 9]]), np.array([[111, 255]]), None, 255)
    >>> counts.reference, counts.prediction, counts.counts
    (array([111]), array([311]), array([[1]]))
    """
    counted = np.ones(labels.shape, bool)
    for values, missing in ((predicted, nodata), (labels, ignore)):
        if missing is not None:
            counted &= values != missing
    (rows, row), (columns, column) = (_indexed(array[counted]) for array in (labels, predicted))
    shape = len(rows), len(columns)
    counts = np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1])
    return PairCounts(rows, columns, counts.reshape(shape))


def _indexed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes that occur, and the position of each value's code among them."""
    if values.dtype.itemsize > 2:
        codes, position = np.unique(values, return_inverse=True)
        return codes.astype(np.int64), position
    # a table of all numbers of 16 bits is far faster than sorting the pixels
    lowest = np.iinfo(values.dtype).min
    shifted = values.astype(np.intp) - lowest
    occurs = np.zeros(256**values.dtype.itemsize, bool)
    occurs[shifted] = True
    return np.flatnonzero(occurs) + lowest, (np.cumsum(occurs) - 1)[shifted]


def merge_pairs(parts: Sequence[PairCounts]) -> PairCounts:
    """Add up the counts of several blocks."""
    rows, columns = (
        np.unique(np.concatenate([getattr(part, name) for part in parts]))
        for name in ("reference", "prediction")
    )
    counts = np.zeros((len(rows), len(columns)), np.int64)
    for part in parts:
        place = np.searchsorted(rows, part.reference), np.searchsorted(columns, part.prediction)
        counts[np.ix_(*place)] += part.counts
    return PairCounts(rows, columns, counts)


def count_pairs(
    prediction: Array, reference: Array, nodata: float | None, ignore: float | None
) -> Delayed:
    """Count pairs of codes lazily, chunk by chunk of the prediction.

    Parameters
    ----------
    prediction, reference
        Integer codes of the same shape, ``(y, x)``.
    nodata, ignore
        Codes of missing pixels in the prediction and in the reference; None where there are none.

    Returns
    -------
    Delayed
        Of `PairCounts`.

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
    count, merge = delayed(count_block, pure=True), delayed(merge_pairs, pure=True)
    blocks = zip(predicted.to_delayed().ravel(), labels.to_delayed().ravel(), strict=True)
    level: list[Any] = [count(*pair, nodata, ignore) for pair in blocks]
    while len(level) > 1:
        level = [
            merge(level[i : i + _MERGED_AT_ONCE]) for i in range(0, len(level), _MERGED_AT_ONCE)
        ]
    counts: Delayed = level[0]
    return counts
