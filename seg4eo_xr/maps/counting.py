"""Pixels of a block of a map, counted by class and by what they cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.geometry.blending import FIXED_POINT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seg4eo_xr.scenes.classes import ClassTable

_UNSURE, _SURE = 0.5, 0.8


@dataclass(frozen=True)
class ConfidenceSums:
    """Sums of the confidence of pixels; probabilities are × `FIXED_POINT`.

    Parameters
    ----------
    totals
        Sum a class.
    lowest, highest
        Smallest and largest.
    unsure, sure
        Pixels below 0.5, and above 0.8.
    """

    totals: tuple[int, ...]
    lowest: int
    highest: int
    unsure: int
    sure: int

    def __add__(self, other: ConfidenceSums) -> ConfidenceSums:
        return ConfidenceSums(
            added(self.totals, other.totals),
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            self.unsure + other.unsure,
            self.sure + other.sure,
        )


def added(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """Add two rows of numbers."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def class_indices(codes: np.ndarray, classes: ClassTable, nodata: int | None) -> np.ndarray:
    """Find the index of each pixel's class; the number of classes stands for nodata.

    Parameters
    ----------
    codes
        Integers of any shape.
    classes
        The classes.
    nodata
        Code of missing pixels, if there is one.

    Returns
    -------
    ndarray of int64
        As `codes` in shape.

    Raises
    ------
    ValueError
        If a code is neither in `classes` nor `nodata`.
    """
    position = {code: index for index, code in enumerate(classes.codes)}
    if nodata is not None:
        position[nodata] = len(classes)
    if codes.dtype.itemsize > 2:
        found, places = np.unique(codes, return_inverse=True)
        table = np.array([position.get(code, -1) for code in found.tolist()], np.int64)
    else:
        # A table of all numbers of 16 bits is far quicker than a search; those below 0 count from
        # its end, as indices of NumPy do.
        table, places = np.full(1 << 16, -1, np.int64), codes
        limits = np.iinfo(codes.dtype)
        for code, index in position.items():
            if limits.min <= code <= limits.max:
                table[code] = index
    indices: np.ndarray = table[places].reshape(codes.shape)
    if indices.min(initial=0) < 0:
        unknown = np.unique(codes[indices < 0]).tolist()
        raise ValueError(
            f"the map holds the codes {unknown}, which are neither classes {classes.codes} nor "
            f"nodata ({nodata}); give the table of the map's classes"
        )
    return indices


def count_pixels(
    indices: np.ndarray, areas: tuple[np.ndarray, np.ndarray, np.ndarray], kinds: int
) -> tuple[list[int], list[int]]:
    """Count the pixels of each kind, and add up what they cover.

    Parameters
    ----------
    indices
        Kind of each pixel, ``(y, x)``.
    areas
        What `PixelAreas.block` gives for these pixels.
    kinds
        How many kinds there are.

    Returns
    -------
    list of int, list of int
        Pixels, and areas in the units of `areas`.
    """
    rows, columns, by_cell = areas
    cells = rows[:, None] * by_cell.shape[1] + columns
    counts = np.bincount((cells * kinds + indices).ravel(), minlength=by_cell.size * kinds)
    counts = counts.reshape(by_cell.size, kinds)
    covered = by_cell.ravel() @ counts.astype(object)
    return counts.sum(0).tolist(), covered.tolist()


def no_confidence(classes: int) -> ConfidenceSums:
    """Sums of no pixel."""
    return ConfidenceSums((0,) * classes, FIXED_POINT, 0, 0, 0)


def require_probabilities(confidence: np.ndarray) -> None:
    """Raise ValueError where confidences, of any shape, lie outside of 0 to 1."""
    if confidence.size and not (confidence.min() >= 0 and confidence.max() <= 1):
        raise ValueError(
            f"confidences lie from 0 to 1, got {confidence.min():.4g} to {confidence.max():.4g}; "
            "divide percentages by 100, and bytes by their scale"
        )


def sum_confidence(confidence: np.ndarray, indices: np.ndarray, classes: int) -> ConfidenceSums:
    """Add up the confidence of the pixels that have one.

    Parameters
    ----------
    confidence
        Probabilities of any shape; NaN counts for nothing.
    indices
        Class of each pixel; `classes` and more count for nothing.
    classes
        How many classes there are.
    """
    seen = np.isfinite(confidence) & (indices < classes)
    if not seen.any():
        return no_confidence(classes)
    values = confidence[seen]
    require_probabilities(values)
    # Whole numbers of a size that float64 adds without rounding.
    fixed = np.rint(values.astype(np.float64) * FIXED_POINT)
    totals = np.bincount(indices[seen], fixed, classes)
    return ConfidenceSums(
        tuple(int(total) for total in totals),
        int(fixed.min()),
        int(fixed.max()),
        int(np.count_nonzero(values < _UNSURE)),
        int(np.count_nonzero(values > _SURE)),
    )
