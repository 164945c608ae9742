"""Statistics of maps that exist: every chunk counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.statistics import MapStatistics
from seg4eo_xr.maps.store import class_layer, open_map
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.pixel_areas import PixelAreas
from seg4eo_xr.scenes.resampling import Grid

if TYPE_CHECKING:
    from os import PathLike


def map_statistics(
    prediction: xr.Dataset | xr.DataArray | str | PathLike[str],
    *,
    classes: ClassTable | None = None,
) -> MapStatistics:
    """Count a map, chunk by chunk and in bounded memory.

    A lazy prediction is computed here and not kept: write it first if the map is wanted too.

    Parameters
    ----------
    prediction
        A map, or what `open_map` opens; of a Dataset the layers ``classes`` and ``confidence``.
    classes
        The classes; by default those that the map names, else the codes that occur.

    Returns
    -------
    MapStatistics

    Raises
    ------
    ValueError
        If there is no class layer ``(y, x)``, or a code is not among the classes.
    FileNotFoundError, OSError
        If a file is missing or unreadable.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64), seed=2)
    >>> sum(map_statistics(labels).pixels)
    3853
    """
    if not isinstance(prediction, xr.Dataset | xr.DataArray):
        prediction = open_map(prediction)
    layer = _one_date(prediction)
    nodata = nodata_of(layer)
    arrays = [da.asarray(layer.data)]
    if isinstance(prediction, xr.Dataset) and "confidence" in prediction:
        confidence = da.asarray(prediction["confidence"].transpose("y", "x").data)
        arrays.append(confidence.rechunk(arrays[0].chunks, method="tasks"))
    table = classes or ClassTable.from_attrs(layer.attrs) or _table_of_codes(arrays[0], nodata)
    parts = da.map_blocks(
        _count_block,
        *arrays,
        counted=delayed((table, nodata, PixelAreas(Grid.of(layer))), traverse=False),
        dtype=object,
        chunks=tuple((1,) * count for count in arrays[0].numblocks),
        meta=np.empty((0, 0), object),
    )
    first, *others = parts.compute().ravel()
    whole: MapStatistics = first.merge(*others)
    return whole


def _one_date(prediction: xr.Dataset | xr.DataArray) -> xr.DataArray:
    if "time" in prediction.dims:
        raise ValueError(
            f"the map has {prediction.sizes['time']} dates, statistics are those of one; take it "
            "with prediction.isel(time=0)"
        )
    return class_layer(prediction, count=True)


def _count_block(
    *layers: np.ndarray, counted: tuple[ClassTable, int | None, PixelAreas], block_info: Any = None
) -> np.ndarray:
    origin = [start for start, _ in block_info[0]["array-location"]]
    named = dict(zip(("classes", "confidence"), layers, strict=False))
    result = np.empty((1, 1), object)
    result[0, 0] = MapStatistics.of_block(named, *counted, (origin[0], origin[1]))
    return result


def _table_of_codes(codes: da.Array, nodata: float | None) -> ClassTable:
    found = da.unique(codes).compute().tolist()
    return ClassTable.from_codes([code for code in found if code != nodata] or [0])
