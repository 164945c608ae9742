"""Vector features burned onto the grid of a scene, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import delayed

from seg4eo_xr.scenes.coding import code_features, column_of
from seg4eo_xr.scenes.grid import grid_transform, place
from seg4eo_xr.scenes.rasters import chunk_sides
from seg4eo_xr.scenes.shapes import Shapes, drawable, pixels_on_scene, repaired

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.label_options import LabelOptions

# Pixels by which features that claim all they touch are moved: a line through the very corner of a
# pixel would touch it or not by rounding, which differs from window to window.
_NUDGE = (1e-6 * 2**0.5, 1e-6 * 3**0.5)


def burn(
    features: gpd.GeoDataFrame,
    like: xr.DataArray,
    what: str,
    options: LabelOptions,
    classes: ClassTable | None = None,
) -> xr.DataArray:
    """Rasterise features onto the pixels of `like`.

    Parameters
    ----------
    features
        In any CRS.
    like
        Scene whose grid and chunks the result takes.
    what
        What error messages call the features.
    options
        Which column, what lies between features, and which of them lies on top.
    classes
        Table that gives the codes; see `seg4eo_xr.scenes.coding.code_features`.

    Returns
    -------
    DataArray (y, x)
        Codes, lazily burned; class table in the attributes.

    Warns
    -----
    LabelWarning
        If polygons on the scene are invalid; they are repaired.
    """
    # a scene without any feature is background alone, where that is a class
    none = features.empty and options.background is not None
    drawn = features if none else drawable(features, what)
    coding = code_features(drawn, what, options, classes)
    nudge = _NUDGE if options.all_touched else (0.0, 0.0)
    pixels, on_scene = np.empty(0, object), np.empty(0, bool)
    if not none:
        pixels, on_scene = pixels_on_scene(drawn, like, what, nudge)
    order = _drawing_order(drawn, what, options)
    order = order[on_scene[order]]
    dtype = _dtype_for([*coding.codes.tolist(), *coding.classes.codes, coding.ignore], what)
    geometries, codes = repaired(pixels[order], coding.codes[order].astype(dtype), what)
    shapes = Shapes(geometries, codes, coding.background, options.all_touched)
    transform = grid_transform(like, "the scene")
    labels = place(_burned_lazily(shapes, like, dtype), like.rio.crs, transform)
    marked: xr.DataArray = labels.rio.write_nodata(coding.ignore)
    return marked.assign_attrs(coding.to_attrs())


def plane_chunks(like: xr.DataArray, itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chunks along y and x of a plane on a scene's grid: the scene's own where it is lazy."""
    if like.chunks is not None:
        rows, cols = like.chunks[-2:]
        return rows, cols
    size = {"band": 1, "y": like.sizes["y"], "x": like.sizes["x"]}
    automatic = chunk_sides(size, (1, 1), itemsize, "auto")
    rows, cols = da.core.normalize_chunks((automatic["y"], automatic["x"]), (size["y"], size["x"]))
    return rows, cols


def _burned_lazily(shapes: Shapes, like: xr.DataArray, dtype: np.dtype[Any]) -> da.Array:
    sides = plane_chunks(like, dtype.itemsize)
    token = tokenize(shapes, sides)
    burned: da.Array = da.map_blocks(
        _burn_block,
        chunks=sides,
        dtype=dtype,
        meta=np.empty((0, 0), dtype),
        name=f"burn-{token}",
        # one key of the graph, so that a cluster ships the geometries once a worker
        shapes=delayed(shapes, name=f"shapes-{token}", traverse=False),
    )
    return burned


def _burn_block(shapes: Shapes, block_info: Any = None) -> np.ndarray:
    return shapes.burn(*block_info[None]["array-location"])


def _drawing_order(features: gpd.GeoDataFrame, what: str, options: LabelOptions) -> np.ndarray:
    """Positions of the features from the lowest to the one on top."""
    import shapely

    if options.overlap == "last":
        order = np.arange(len(features))
    elif options.overlap == "first":
        order = np.arange(len(features))[::-1]
    else:
        area = shapely.area(np.asarray(features.geometry.array))
        order = np.argsort(area if options.overlap == "largest" else -area, kind="stable")
    if options.order_by is None:
        return order
    rank = column_of(features, options.order_by, what).rank(method="dense").to_numpy()
    # features without a value lie below all others
    return np.asarray(order[np.argsort(np.nan_to_num(rank)[order], kind="stable")])


def _dtype_for(codes: list[int], what: str) -> np.dtype[Any]:
    for dtype in (np.uint8, np.int16):
        limits = np.iinfo(dtype)
        if limits.min <= min(codes) and max(codes) <= limits.max:
            return np.dtype(dtype)
    raise ValueError(
        f"{what} have class codes from {min(codes)} to {max(codes)}, but labels are stored in 16 "
        "bits; renumber the classes"
    )
