"""Pixels of each pair of codes of two rasters, whatever the codes are; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# So many keys and what is made of them stay in a processor's cache.
_PIXELS_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Pixels of each pair of codes that occur.

    Parameters
    ----------
    reference, prediction
        Codes of rows and columns, int64, ascending.
    counts
        Pixels, ``(reference, prediction)`` int64.
    labelled, unlabelled
        All pixels with and without a label, whatever the prediction is there.
    """

    reference: np.ndarray
    prediction: np.ndarray
    counts: np.ndarray
    labelled: int = 0
    unlabelled: int = 0

    def relabelled(self, codes: Mapping[int, int]) -> PairCounts:
        """Give codes of the reference other numbers; rows of one number are added up."""
        moved = np.array([codes.get(int(code), int(code)) for code in self.reference], np.int64)
        rows, position = np.unique(moved, return_inverse=True)
        counts = np.zeros((len(rows), len(self.prediction)), np.int64)
        np.add.at(counts, position, self.counts)
        return replace(self, reference=rows, counts=counts)

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

    Parameters
    ----------
    predicted, labels
        Codes of one shape, of any integer type.
    nodata, ignore
        Codes of missing pixels in `predicted` and `labels`; None where there are none.

    Examples
    --------
    >>> counts = count_block(np.array([[311, 9]]), np.array([[111, 255]]), None, 255)
    >>> counts.reference, counts.prediction, counts.counts
    (array([111]), array([311]), array([[1]]))
    """
    if not labels.size:
        nothing = np.empty(0, np.int64)
        return PairCounts(nothing, nothing, np.empty((0, 0), np.int64))
    (rows, row), (columns, column) = _indexed(labels, ignore), _indexed(predicted, nodata)
    counts = _count_keys(row, column, len(rows), len(columns))
    row_kept, column_kept = rows != ignore, columns != nodata
    labelled = int(counts[row_kept].sum())
    counts = counts[np.ix_(row_kept, column_kept)]
    seen = counts.any(1), counts.any(0)
    rows, columns = rows[row_kept][seen[0]], columns[column_kept][seen[1]]
    order = np.argsort(rows), np.argsort(columns)
    counts = counts[np.ix_(*seen)][np.ix_(*order)]
    rest = labels.size - labelled
    return PairCounts(rows[order[0]], columns[order[1]], counts, labelled, rest)


def _indexed(values: np.ndarray, missing: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Codes that may occur, int64, and the position of each pixel's code among them, flat."""
    values = np.ravel(values)
    if values.dtype.itemsize > 2 or values.dtype.kind not in "iu":
        codes, position = np.unique(values, return_inverse=True)
        return codes.astype(np.int64), position.ravel()
    if values.dtype.itemsize == 1:
        # Counted from the missing code, which is 255 most often, positions are as small as codes.
        first = 0 if missing is None else int(missing) % 256
        steps = values.view(np.uint8) - np.uint8(first)
        codes = np.arange(first, first + int(steps.max()) + 1).astype(np.uint8)
        return codes.view(values.dtype).astype(np.int64), steps
    # A table of all numbers of 16 bits is far faster than sorting the pixels.
    numbers = values.view(np.uint16)
    occurs = np.zeros(1 << 16, bool)
    occurs[numbers] = True
    found = np.flatnonzero(occurs).astype(np.uint16)
    places = np.zeros(1 << 16, np.min_scalar_type(len(found)))
    places[found] = np.arange(len(found))
    return found.view(values.dtype).astype(np.int64), places[numbers]


def _count_keys(row: np.ndarray, column: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Count the pairs of positions, ``(rows, columns)`` int64."""
    size = rows * columns
    dtype = np.min_scalar_type(size) if size < 1 << 16 else np.dtype(np.int64)
    total = np.zeros(size, np.int64)
    # Two keys of a byte are counted at once, as one key of two bytes, where there are many.
    by_two = dtype.itemsize == 1 and len(row) >= _PIXELS_AT_ONCE
    twos = np.zeros(1 << 16 if by_two else 0, np.int64)
    for first in range(0, len(row), _PIXELS_AT_ONCE):
        part = slice(first, first + _PIXELS_AT_ONCE)
        keys = row[part].astype(dtype)
        keys *= dtype.type(columns)
        keys += column[part].astype(dtype, copy=False)
        if by_two:
            even = len(keys) // 2 * 2
            np.add.at(twos, keys[:even].view(np.uint16), 1)
            keys = keys[even:]
        np.add.at(total, keys, 1)
    if by_two:
        square = twos.reshape(1 << 8, 1 << 8)
        total += (square.sum(0) + square.sum(1))[:size]
    return total.reshape(rows, columns)


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
    labelled, unlabelled = (sum(getattr(p, n) for p in parts) for n in ("labelled", "unlabelled"))
    return PairCounts(rows, columns, counts, labelled, unlabelled)
