"""Pixels for a picture: few of many, wherever they are stored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.errors import RasterioIOError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

LARGEST_SIDE = 1024  # pixels of a picture's longer side; more cannot be told apart


def read_thinned(array: xr.DataArray, bands: Sequence[int] | None = None) -> np.ndarray:
    """Read as few pixels of an array as a picture needs.

    A file that was opened and not changed is read through GDAL at the picture's size, from its
    overviews where it has them. Of anything else every n-th pixel is computed, chunk by chunk.

    Parameters
    ----------
    array
        ``(..., y, x)``, in any order, NumPy or dask.
    bands
        Positions along ``band``; None for an array without bands.

    Returns
    -------
    ndarray, ``(..., y, x)``
        At most 1024 px a side, of the ground of all of `array`.
    """
    read = _from_file(array, [0] if bands is None else list(bands))
    if read is not None:
        return read if bands is not None else read[0]
    chosen = array if bands is None else array.isel(band=list(bands))
    return np.asarray(thinned(chosen).transpose(..., "y", "x").values)


def thinned(array: Any) -> Any:
    """Take every n-th pixel of an array or Dataset, so that the longer side fits a picture."""
    step = _step(array)
    if step == 1:
        return array
    # The middle of each step, so that the picture does not shift; a side may be shorter than one.
    middles = {dim: slice(min(step, array.sizes[dim]) // 2, None, step) for dim in ("y", "x")}
    return array.isel(middles)


def _step(array: Any) -> int:
    longer: int = max(array.sizes["y"], array.sizes["x"])
    return math.ceil(longer / LARGEST_SIDE)


def _from_file(array: xr.DataArray, bands: list[int]) -> np.ndarray | None:
    """Pixels of the file that an array is, if it is one and too large to be read whole."""
    source, step = array.encoding.get("source"), _step(array)
    if step == 1 or source is None or not _is_untouched(array):
        return None
    shape = tuple(math.ceil(array.sizes[dim] / step) for dim in ("y", "x"))
    try:
        with rasterio.open(source) as file:
            same_size = file.shape == (array.sizes["y"], array.sizes["x"])
            if not same_size or file.count != array.sizes.get("band", 1):
                return None
            if not np.allclose(file.bounds, array.rio.bounds(recalc=True)):
                return None
            values: np.ndarray = file.read([band + 1 for band in bands], out_shape=shape)
            return values
    except RasterioIOError:
        return None  # the chunks' own reader tells what is wrong, and what to do


def _is_untouched(array: xr.DataArray) -> bool:
    """Whether an array's graph reads a file, and does nothing but pick the only band."""
    if array.chunks is None:
        return False
    layers = [str(name).removeprefix("original-") for name in array.data.dask.layers]
    others = [name for name in layers if not name.startswith("raster-")]
    picked = len(others) == 1 and others[0].startswith("getitem-") and "band" not in array.dims
    return len(layers) > len(others) and (not others or picked)
