"""Scenes cut to an area of interest: what lies outside is nodata and is never read."""

from __future__ import annotations

from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import delayed
from dask.highlevelgraph import HighLevelGraph

from seg4eo_xr.scenes.bands import with_nodata
from seg4eo_xr.scenes.cubes import cube_of_array
from seg4eo_xr.scenes.data_bounds import BoundedLayer
from seg4eo_xr.scenes.forms import scene_of_array
from seg4eo_xr.scenes.shapes import Shapes, shapes_on_scene
from seg4eo_xr.scenes.vectors import read_vector

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

_CHUNK = 2048  # pixels
# Pixels by which areas are moved: whether a border through a pixel's very centre takes it in is
# settled by rounding otherwise, which differs from chunk to chunk.
_NUDGE = (1e-6 * 2**0.5, 1e-6 * 3**0.5)
_WIDER = {"uint8": "int16", "int8": "int16", "uint16": "int32", "int16": "int32"}


def clip_scene(
    scene: xr.DataArray, area: gpd.GeoDataFrame | str | Path, *, nodata: float | None = None
) -> xr.DataArray:
    """Crop a scene or time series to polygons, lazily; what lies outside becomes nodata.

    A pixel belongs to the area if its centre does. Chunks that no polygon reaches are not read.

    Parameters
    ----------
    scene
        ``(band, y, x)`` or ``(time, band, y, x)``, NumPy or dask.
    area
        Polygons in any CRS, or a vector file of them.
    nodata
        See `with_room_for_nodata`.

    Returns
    -------
    DataArray
        As `scene`, lazy, on the part of its grid that holds the polygons.

    Raises
    ------
    FileNotFoundError, OSError
        If the file is missing or unreadable.
    ValueError
        If there is no polygon, none lies on the scene, or a CRS is missing.

    Examples
    --------
    >>> import geopandas as gpd
    >>> from shapely import box
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, _ = synthetic_sentinel2((64, 96), nodata_wedge=False)
    >>> west, south, east, north = scene.rio.bounds()
    >>> corner = gpd.GeoSeries([box(west, north - 200, west + 305, north)], crs=scene.rio.crs)
    >>> clip_scene(scene, corner.to_frame("geometry")).shape
    (10, 20, 31)
    """
    form = cube_of_array if "time" in scene.dims else scene_of_array
    name, whole = scene.name, with_room_for_nodata(form(scene, "the scene"), nodata)
    shapes = _shapes(area, whole)
    top, bottom, left, right = shapes.window()
    rows, cols = _within(top, bottom, whole.sizes["y"]), _within(left, right, whole.sizes["x"])
    part = whole.isel(y=slice(*rows), x=slice(*cols))
    if part.chunks is None:
        part = part.chunk({"y": _CHUNK, "x": _CHUNK})
    fill = whole.rio.nodata if whole.rio.nodata is not None else np.nan
    # With the transform of the part, and not of the whole that isel leaves behind.
    data = _clip_blocks(part.data, _nudged(shapes), (rows[0], cols[0]), fill)
    clipped = form(part.copy(data=data), "the clipped scene")
    return clipped.rename(name)


def with_room_for_nodata(scene: xr.DataArray, nodata: float | None = None) -> xr.DataArray:
    """Make sure that pixels of a scene can be marked as missing.

    Parameters
    ----------
    scene
        In any dtype.
    nodata
        Number for missing pixels, where the scene has none and its dtype can store it.

    Returns
    -------
    DataArray
        The scene with its own nodata value, or with `nodata`. If there is neither, real numbers
        stay as they are, since NaN is missing anyway, and integers are stored in a type twice as
        wide, whose lowest number is free.

    Raises
    ------
    ValueError
        If there is no wider type.
    """
    if scene.rio.nodata is not None or (nodata is None and scene.dtype.kind == "f"):
        return scene
    if nodata is not None and _storable(nodata, scene.dtype):
        return with_nodata(scene, nodata)
    wider = _WIDER.get(scene.dtype.name)
    if wider is None:
        raise ValueError(
            f"the scene ({scene.dtype}) has no nodata value for pixels outside; give a number that "
            "no pixel has with nodata= (--nodata)"
        )
    return with_nodata(scene.astype(wider), int(np.iinfo(wider).min))


def _storable(number: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return float(number).is_integer() and limits.min <= number <= limits.max


def _shapes(area: gpd.GeoDataFrame | str | Path, scene: xr.DataArray) -> Shapes:
    """Polygons of an area that lie on a scene, in its pixels."""
    import shapely

    if isinstance(area, str | Path):
        features, what = read_vector(area), f"the polygons of {str(area)!r}"
    else:
        features, what = area, "the polygons of the area"
    polygons = features[shapely.get_dimensions(np.asarray(features.geometry.array)) == 2]
    geometries, _ = shapes_on_scene(polygons, scene, what)
    return Shapes(geometries, np.ones(len(geometries), np.uint8), 0, all_touched=False)


def _nudged(shapes: Shapes) -> Shapes:
    import shapely

    moved = shapely.transform(shapes.geometries, lambda points: points + _NUDGE)
    return Shapes(moved, shapes.codes, shapes.background, shapes.all_touched)


def _within(first: int, last: int, size: int) -> tuple[int, int]:
    """Rows or columns of a span that lie on the scene, at least one."""
    start = min(max(0, first), size - 1)
    return start, max(start + 1, min(size, last))


def _clip_blocks(data: da.Array, shapes: Shapes, origin: tuple[int, int], fill: float) -> da.Array:
    """Mask each block that polygons reach; the others become constants and depend on nothing."""
    token = tokenize(data.name, shapes, origin, fill)
    name, shared = f"clipped-{token}", delayed(shapes, name=f"area-{token}", traverse=False)
    spans = [
        [(start + first, start + last) for first, last in pairwise(accumulate(lengths, initial=0))]
        for start, lengths in zip(origin, data.chunks[-2:], strict=True)
    ]
    reached = shapes.reach(*spans)
    tasks: dict[Any, Any] = {}
    for index in np.ndindex(*data.numblocks):
        row, col = index[-2:]
        if reached[row, col]:
            window = (spans[0][row], spans[1][col])
            tasks[name, *index] = (_mask_block, (data.name, *index), shared.key, *window, fill)
        else:
            shape = tuple(n[i] for n, i in zip(data.chunks, index, strict=True))
            tasks[name, *index] = (np.full, shape, fill, data.dtype)
    kept = [np.array(span)[at] for span, at in zip(spans, np.nonzero(reached), strict=True)]
    bounds = np.stack(kept, 1) - np.array(origin)[:, None]
    layer = BoundedLayer(tasks, bounds, data.shape[-2:], source=data.name)
    graph = HighLevelGraph.merge(data.dask, shared.dask)
    graph = HighLevelGraph(
        {**graph.layers, name: layer},
        {**graph.dependencies, name: {data.name, shared.key}},
    )
    return da.Array(graph, name, data.chunks, meta=data._meta)


def _mask_block(
    values: np.ndarray,
    shapes: Shapes,
    rows: tuple[int, int],
    cols: tuple[int, int],
    fill: float,
) -> np.ndarray:
    inside = shapes.burn(rows, cols) == 1
    return values if inside.all() else np.where(inside, values, np.asarray(fill, values.dtype))
