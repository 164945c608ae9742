"""Labels from rasters and vectors, on the grid of a scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import as_band_y_x, grid_transform, missing_crs, place
from seg4eo_xr.scenes.open import is_zarr, open_scene, require_same_grid
from seg4eo_xr.scenes.rasters import read_raster
from seg4eo_xr.scenes.vectors import VECTOR_SUFFIXES, burn, read_vector

if TYPE_CHECKING:
    import geopandas as gpd


def open_labels(
    source: str | Path | xr.DataArray | gpd.GeoDataFrame,
    *,
    like: xr.DataArray | None = None,
    column: str | None = None,
    background: int | None = None,
    ignore: int = 255,
    layer: str | None = None,
) -> xr.DataArray:
    """Open labels, and hold them against a scene's grid.

    Parameters
    ----------
    source
        A raster of one band, a Zarr store of one variable, a vector file (GeoPackage, GeoJSON,
        shapefile, GeoParquet, ...), or the like as an array or GeoDataFrame.
    like
        The scene. Rasters must lie on its grid; vectors are reprojected to its CRS and burned into
        its pixels, chunk by chunk, where a pixel's centre lies inside.
    column
        Column of the vector data that holds the class: whole numbers are codes, texts get the codes
        1..N in alphabetical order. By default features are code 1.
    background
        Code of pixels outside all features: 0 where there is no `column`, else `ignore`.
    ignore
        Code of unlabelled pixels; the raster's own nodata value becomes it too.
    layer
        Layer of the vector file; the first by default.

    Returns
    -------
    DataArray (y, x), uint8 or int16
        Named "labels"; `ignore` is its nodata value, and the class table, where known, stands in
        the attributes (`ClassTable.from_attrs`). Rasters of uint8 stay so, wider ones become
        int16.

    Raises
    ------
    FileNotFoundError, OSError
        If the file is missing or unreadable.
    ValueError
        If grids differ, nothing overlaps, the column is unknown, or codes are no whole numbers of
        16 bits (of wide rasters that shows when they are computed).
    """
    what = f"labels {str(source)!r}" if isinstance(source, (str, Path)) else "the labels"
    opened = _open(source, what, layer=layer, as_vector=column is not None or layer is not None)
    if isinstance(opened, xr.DataArray):
        labels = _from_raster(opened, like, what, ignore)
    elif like is None:
        raise ValueError(f"{what} are vector data: pass the scene as like= to give them a grid")
    else:
        labels = burn(opened, like, what, column=column, background=background, ignore=ignore)
    marked: xr.DataArray = labels.rename("labels").rio.write_nodata(ignore)
    return marked


def _open(
    source: str | Path | xr.DataArray | gpd.GeoDataFrame,
    what: str,
    *,
    layer: str | None,
    as_vector: bool,
) -> xr.DataArray | gpd.GeoDataFrame:
    if isinstance(source, (str, Path)):
        if as_vector or Path(source).suffix.lower() in VECTOR_SUFFIXES:
            return read_vector(source, layer=layer)
        return open_scene(source) if is_zarr(source) else read_raster(source, what=what)
    if isinstance(source, xr.DataArray) or hasattr(source, "geometry"):
        return source
    raise TypeError(
        f"source must be a path, a DataArray or a GeoDataFrame, got {type(source).__name__}"
    )


def _from_raster(
    raster: xr.DataArray, like: xr.DataArray | None, what: str, ignore: int
) -> xr.DataArray:
    raster = as_band_y_x(raster, what)
    if raster.sizes["band"] != 1:
        raise ValueError(
            f"{what} have {raster.sizes['band']} bands, but labels are one band of class codes; "
            "are image and labels swapped?"
        )
    if raster.rio.crs is None:
        raise ValueError(missing_crs(what))
    if raster.dtype.kind not in "biuf":
        raise ValueError(f"{what} have the dtype {raster.dtype}, but class codes are whole numbers")
    plane = raster.isel(band=0, drop=True)
    nodata = plane.rio.nodata
    dtype = np.dtype(np.uint8 if _fits_byte(plane.dtype) and 0 <= ignore <= 255 else np.int16)
    codes = xr.apply_ufunc(
        _as_codes,
        plane.variable,
        kwargs={"nodata": nodata, "ignore": ignore, "dtype": dtype, "what": what},
        dask="parallelized",
        output_dtypes=[dtype],
    )
    labels = place(codes.data, plane.rio.crs, grid_transform(raster, what))
    table = _class_table(raster.attrs)
    if table is not None:
        labels = labels.assign_attrs(table.to_attrs())
    if like is None:
        return labels
    require_same_grid(labels, like, what, "the scene")
    if like.chunks is not None:
        # a rechunk by shuffling would read all labels for one window
        lazy = labels.chunk().data.rechunk(like.chunks[-2:], method="tasks")
        labels = labels.copy(data=lazy)
    # coordinates that differ in the last bits would make xarray align to nothing
    return labels.assign_coords(y=like["y"], x=like["x"])


def _fits_byte(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "b" or dtype == np.uint8


def _as_codes(
    values: np.ndarray, *, nodata: float | None, ignore: int, dtype: np.dtype[Any], what: str
) -> np.ndarray:
    """Class codes in `dtype`, with nodata and NaN as `ignore`."""
    missing = np.zeros(values.shape, bool)
    if nodata is not None and not np.isnan(nodata):
        missing = values == nodata
    if values.dtype.kind == "f":
        missing |= np.isnan(values)
    known = values[~missing]
    limits = np.iinfo(dtype)
    if known.size and values.dtype != dtype:
        if values.dtype.kind == "f" and (known % 1 != 0).any():
            raise ValueError(
                f"{what} hold fractions such as {known[known % 1 != 0][0]}, but class codes are "
                "whole numbers; round or classify the raster first"
            )
        if known.min() < limits.min or known.max() > limits.max:
            raise ValueError(
                f"{what} hold codes from {known.min()} to {known.max()}, but labels are stored in "
                f"{dtype} ({limits.min}..{limits.max}); renumber the classes, or set the raster's "
                "nodata value"
            )
    codes = np.full(values.shape, ignore, dtype)
    codes[~missing] = known
    return codes


def _class_table(attrs: dict[Any, Any]) -> ClassTable | None:
    """Class table of a file's tags; None where they are somebody else's and make none."""
    try:
        return ClassTable.from_attrs(attrs)
    except ValueError:
        return None
