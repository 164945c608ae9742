"""One scene of a time series: the median of its dates and its like, nodata left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import dask.array as da
import numpy as np

from seg4eo_xr.options import require_choice
from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.scenes.cubes import cube_of_array
from seg4eo_xr.scenes.grid import place

if TYPE_CHECKING:
    import xarray as xr

Composite = Literal["median", "mean", "minimum", "maximum", "first", "last"]


def composite(cube: xr.DataArray, how: Composite = "median") -> xr.DataArray:
    """Make one scene of a time series, lazily.

    A date counts at a pixel where all its bands hold data, so that all bands of a pixel come from
    the same dates. `mask_scene` takes out clouds first.

    Parameters
    ----------
    cube
        ``(time, band, y, x)``.
    how
        ``median``, ``mean``, ``minimum`` or ``maximum`` of the valid dates, band by band, or the
        ``first`` or ``last`` valid date. Integers are rounded.

    Returns
    -------
    DataArray (band, y, x)
        A scene in the cube's dtype; nodata (NaN where a cube of real numbers has none) where no
        date is valid. A chunk holds as many pixels as the cube's; while it is made, all dates.

    Raises
    ------
    ValueError
        If there is no such way, or `cube` is no time series.

    Examples
    --------
    >>> from seg4eo_xr.scenes.cubes import open_cube
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scenes = [synthetic_sentinel2((32, 48), seed=seed)[0] for seed in range(3)]
    >>> cube = open_cube(scenes, ["2021-06-03", "2021-06-13", "2021-06-23"])
    >>> scene = composite(cube)
    >>> scene.shape, str(scene.dtype)
    ((10, 32, 48), 'uint16')
    """
    require_choice("how", how, get_args(Composite))
    cube = cube_of_array(cube, "the array")
    nodata = cube.rio.nodata
    if cube.chunks is None:
        data = composite_block(cube.values, nodata, how)
    else:
        whole = cube.data.rechunk({0: -1, 1: -1}, method="tasks")
        data = da.map_blocks(
            composite_block,
            whole,
            nodata,
            how,
            drop_axis=0,
            dtype=cube.dtype,
            meta=np.empty((0, 0, 0), cube.dtype),
        )
    scene = place(data, cube.rio.crs, cube.rio.transform()).assign_attrs(cube.attrs)
    return scene.assign_coords(band=cube["band"].values).rename("scene")


def composite_block(values: np.ndarray, nodata: float | None, how: Composite) -> np.ndarray:
    """Composite one block: the kernel.

    Parameters
    ----------
    values
        Stored numbers ``(time, band, y, x)``.
    nodata
        Number that marks missing data.
    how
        As in `composite`.

    Returns
    -------
    ndarray (band, y, x)
        In the dtype of `values`.

    Examples
    --------
    >>> dates = np.array([0, 4, 7, 5], np.uint8).reshape(4, 1, 1, 1)
    >>> composite_block(dates, 0, "median").item(), composite_block(dates, 0, "first").item()
    (5, 4)
    """
    valid = valid_mask(values, nodata)
    empty = np.nan if nodata is None and values.dtype.kind == "f" else nodata or 0
    if how in ("first", "last"):
        steps = valid if how == "first" else valid[::-1]
        date = steps.argmax(axis=0)
        date = date if how == "first" else len(values) - 1 - date
        result = np.take_along_axis(values, date[None, None], axis=0)[0]
    else:
        result = _reduced(values, valid, how)
        if nodata is not None and values.dtype.kind in "ui":
            result = _beside(result, int(nodata))
    return np.where(valid.any(axis=0), result, np.asarray(empty, values.dtype))


def _reduced(values: np.ndarray, valid: np.ndarray, how: Composite) -> np.ndarray:
    """Median, mean, minimum or maximum of the valid dates; anything where there is none."""
    count = np.maximum(valid.sum(axis=0), 1)
    seen = valid[:, None]
    if how == "mean":
        total = np.where(seen, values, 0).sum(axis=0, dtype=np.float64)
        return _as_stored(total / count, values.dtype)
    is_real = values.dtype.kind == "f"
    limits = np.finfo(values.dtype) if is_real else np.iinfo(values.dtype)
    if how == "maximum":
        return np.asarray(np.where(seen, values, limits.min).max(axis=0))
    # missing dates sort behind all others
    filled = np.where(seen, values, np.inf if is_real else limits.max).astype(values.dtype)
    if how == "minimum":
        return np.asarray(filled.min(axis=0))
    ranked = np.sort(filled, axis=0)
    below, above = (
        np.take_along_axis(ranked, rank[None, None], axis=0)[0].astype(np.float64)
        for rank in ((count - 1) // 2, count // 2)
    )
    return _as_stored(below / 2 + above / 2, values.dtype)


def _as_stored(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # where no date is valid anything may stand
        return (np.rint(numbers) if dtype.kind in "ui" else numbers).astype(dtype)


def _beside(numbers: np.ndarray, nodata: int) -> np.ndarray:
    """Move rounded results that happen to hit nodata, which lies between two measured numbers."""
    step = 1 if nodata < np.iinfo(numbers.dtype).max else -1
    return np.where(numbers == nodata, np.asarray(nodata + step, numbers.dtype), numbers)
