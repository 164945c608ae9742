"""Borders between classes: pixels there are mixed, or drawn a little beside the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr


def near_border(codes: np.ndarray, width: int, ignore: float | None) -> np.ndarray:
    """Find the pixels that have another class nearby.

    Parameters
    ----------
    codes
        Class codes of at most 16 bits, ``(y, x)``, whatever their dtype.
    width
        Distance in pixels, the same along rows, columns and diagonals.
    ignore
        Code of unlabelled pixels, if there is one; a border to them is none.

    Returns
    -------
    ndarray of bool, ``(y, x)``
        True where a pixel has a class and one of another class lies within `width`.

    Examples
    --------
    >>> near_border(np.array([[1, 1, 1, 2, 2, 2, 255, 3]]), 1, ignore=255)
    array([[False, False,  True,  True, False, False, False, False]])
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    # before the cast: the code of what has no label may be wider than those of classes
    unlabelled = np.zeros(codes.shape, bool) if ignore is None else codes == ignore
    wide = codes.astype(np.int32)
    limits = np.iinfo(np.int32)
    side = 2 * width + 1
    highest = maximum_filter(np.where(unlabelled, limits.min, wide), side, mode="nearest")
    lowest = minimum_filter(np.where(unlabelled, limits.max, wide), side, mode="nearest")
    return np.asarray((highest != lowest) & ~unlabelled)


def _ignored_borders(codes: np.ndarray, width: int, ignore: int) -> np.ndarray:
    return np.where(near_border(codes, width, ignore), codes.dtype.type(ignore), codes)


def ignore_borders(labels: xr.DataArray, width: int, ignore: int) -> xr.DataArray:
    """Set pixels near another class to `ignore`, lazily where the labels are lazy.

    Parameters
    ----------
    labels
        Class codes, ``(y, x)``.
    width, ignore
        As in `near_border`.

    Returns
    -------
    DataArray
        The same for every chunking, in the chunks of `labels`.
    """
    if labels.chunks is None:
        return labels.copy(data=_ignored_borders(labels.values, width, ignore))
    return labels.copy(data=_by_chunk(_ignored_borders, labels.data, width, ignore, labels.dtype))


def near_borders(codes: da.Array, width: int, ignore: float | None) -> da.Array:
    """Find the pixels near another class lazily, as `near_border` does, whatever the chunks.

    Parameters
    ----------
    codes
        Class codes of at most 16 bits, ``(y, x)``.
    width, ignore
        As in `near_border`.

    Returns
    -------
    dask array of bool, ``(y, x)``
        In the chunks of `codes`.
    """
    return _by_chunk(near_border, codes, width, ignore, np.dtype(bool))


def _by_chunk(
    function: Callable[..., np.ndarray],
    codes: da.Array,
    width: int,
    ignore: float | None,
    dtype: np.dtype[Any],
) -> da.Array:
    found: da.Array = da.map_overlap(
        function,
        codes,
        depth=tuple(min(width, side) for side in codes.shape),
        boundary="none",
        width=width,
        ignore=ignore,
        dtype=dtype,
        meta=np.empty((0, 0), dtype),
    )
    # chunks narrower than the border are merged meanwhile
    merged_back: da.Array = found.rechunk(codes.chunks, method="tasks")
    return merged_back
