"""A map as polygons: tiles in parallel, joined where they meet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import dask.array as da
import xarray as xr
from dask.delayed import delayed

from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.store import class_layer, open_map
from seg4eo_xr.options import changed
from seg4eo_xr.postprocessing.components import parts_of
from seg4eo_xr.postprocessing.polygon_files import writer_for
from seg4eo_xr.postprocessing.polygon_options import PolygonOptions
from seg4eo_xr.postprocessing.polygon_tiles import PolygonRules, joined_polygons, polygonize_tile
from seg4eo_xr.postprocessing.sieving import sieve_layers
from seg4eo_xr.running import run_to_the_end
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import require_crs
from seg4eo_xr.scenes.resampling import Grid
from seg4eo_xr.staging import commit, staging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    import geopandas as gpd


@overload
def to_polygons(
    prediction: xr.Dataset | xr.DataArray | str | PathLike[str],
    output: None = None,
    options: PolygonOptions | None = None,
    *,
    overwrite: bool = False,
    **changes: Any,
) -> gpd.GeoDataFrame: ...


@overload
def to_polygons(
    prediction: xr.Dataset | xr.DataArray | str | PathLike[str],
    output: str | PathLike[str],
    options: PolygonOptions | None = None,
    *,
    overwrite: bool = False,
    **changes: Any,
) -> Path: ...


def to_polygons(
    prediction: xr.Dataset | xr.DataArray | str | PathLike[str],
    output: str | PathLike[str] | None = None,
    options: PolygonOptions | None = None,
    *,
    overwrite: bool = False,
    **changes: Any,
) -> gpd.GeoDataFrame | Path:
    """Turn a map into polygons, one for each connected part of a class.

    Pixels belong together that share a side and a class; nodata has no polygon. Tiles are outlined
    in parallel, by whatever scheduler dask is set to, and polygons are joined across their borders:
    the result is that of the whole image, however the map is chunked.

    Parameters
    ----------
    prediction
        A map, or what `open_map` opens; of a Dataset the layers ``classes`` and ``confidence``. A
        lazy prediction is computed here and not kept, with `min_pixels` even twice: write it first.
    output
        File to write: GeoParquet (.parquet, .geoparquet) or GeoPackage (.gpkg). It appears under
        this name when it is complete; what is written tile by tile on the way lies beside it, where
        the workers of a cluster must see it. None returns the polygons instead.
    options
        Minimum mapping unit, simplification, tiles.
    overwrite
        Whether an existing file may be replaced.
    **changes
        Fields of `PolygonOptions` to set, as ``min_pixels=25``.

    Returns
    -------
    GeoDataFrame or Path
        The polygons in the map's CRS, or where they are. Columns: ``id`` (row-major number of the
        polygon's first pixel in the map), ``code`` and ``class``, ``pixels``, ``area_m2`` (of these
        pixels on the ellipsoid, m²), and ``confidence``, the mean of the pixels', where the map has
        it. In memory they are sorted by ``id``, in a file by tiles.

    Raises
    ------
    FileExistsError
        If the output exists and `overwrite` is False.
    FileNotFoundError, OSError
        If the map is missing or unreadable, or the output cannot be written.
    ValueError
        If there is no class layer ``(y, x)`` or no CRS, a code is not among the map's classes, or
        the output's suffix is unknown.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> labels = synthetic_sentinel2((64, 64), seed=1)[1]
    >>> polygons = to_polygons(labels, min_pixels=20)
    >>> int(polygons["pixels"].min()) >= 20
    True
    """
    options = changed(options, PolygonOptions, changes)
    codes, confidence = _layers(prediction)
    if output is None:
        import pandas as pd

        tables = _tables(codes, confidence, options, None)
        return pd.concat(list(tables)).sort_values("id", ignore_index=True)
    path = Path(output)
    write = writer_for(path)
    with staging(path, overwrite=overwrite) as folder:
        unfinished = folder / f"finished{path.suffix}"
        write(_tables(codes, confidence, options, folder), unfinished, path.stem)
        commit(unfinished, path)
    return path


def _layers(
    prediction: xr.Dataset | xr.DataArray | str | PathLike[str],
) -> tuple[xr.DataArray, da.Array | None]:
    """Class layer of a map, and its confidence on the same chunks if it has one."""
    if not isinstance(prediction, xr.Dataset | xr.DataArray):
        prediction = open_map(prediction)
    codes = class_layer(prediction)
    require_crs(codes, "the map")
    codes = codes.copy(data=da.asarray(codes.data))
    if not isinstance(prediction, xr.Dataset) or "confidence" not in prediction:
        return codes, None
    confidence = prediction["confidence"].transpose("y", "x")
    if confidence.dtype.kind != "f":
        raise ValueError(
            f"the layer 'confidence' holds {confidence.dtype}, but probabilities are real numbers; "
            "scale it, or leave it out with prediction[['classes']]"
        )
    return codes, da.asarray(confidence.data)


def _tables(
    codes: xr.DataArray, confidence: da.Array | None, options: PolygonOptions, folder: Path | None
) -> Iterator[gpd.GeoDataFrame]:
    nodata = nodata_of(codes)
    rules = PolygonRules(
        grid=Grid.of(codes),
        nodata=nodata,
        classes=ClassTable.from_attrs(codes.attrs),
        simplify=options.simplify,
        confident=confidence is not None,
        folder=folder,
    )
    arrays = [codes.data] if confidence is None else [codes.data, confidence]
    if options.min_pixels > 1:
        sieved, others = sieve_layers(codes.data, arrays[1:], nodata, options.min_pixels)
        arrays = [sieved, *others]
    arrays = [array.rechunk(options.tile_size, method="tasks") for array in arrays]
    parts = parts_of(arrays[0].chunks)
    if options.simplify:
        arrays[0] = da.overlap.overlap(arrays[0], depth=1, boundary="none")
    blocks = [array.to_delayed(optimize_graph=False).ravel() for array in arrays]
    shared = delayed(rules, traverse=False)
    outline = delayed(polygonize_tile, pure=True)
    tasks = [
        outline(block, block_confidence, part, shared)
        for block, block_confidence, part in zip(
            blocks[0],
            blocks[1] if confidence is not None else [None] * len(parts),
            parts.values(),
            strict=True,
        )
    ]
    return joined_polygons(dict(zip(parts, run_to_the_end(tasks), strict=True)), rules)
