"""Maps as Zarr stores, and opening maps again, whatever they were written as."""

from __future__ import annotations

import base64
import math
import struct
import warnings
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import rasterio
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

from seg4eo_xr.maps.layers import (
    CHUNK,
    SMALLEST_BLOCK,
    checked_map,
    nodata_of,
    plain_attrs,
    rechunked,
)
from seg4eo_xr.maps.mosaic import decode_tag
from seg4eo_xr.running import run_to_the_end
from seg4eo_xr.scenes.rasters import read_raster
from seg4eo_xr.staging import commit, staging

if TYPE_CHECKING:
    from os import PathLike

_GRID = "spatial_ref"
_GDAL_TAGS = ("AREA_OR_POINT", "OVR_RESAMPLING_ALG", "TIFFTAG_", "STATISTICS_")


def write_zarr(
    prediction: xr.Dataset, path: str | PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a map with all its layers as a Zarr store of format 3.

    All layers are computed together in one pass, by whatever scheduler dask is set to; every task
    writes whole chunks, so nothing is locked. The store appears under its final name when it is
    complete.

    Parameters
    ----------
    prediction
        Layers ``(..., y, x)`` with a CRS, as ``predict`` gives them.
    path
        Folder of the store, usually ending in ``.zarr``; the workers of a cluster must see it.
    overwrite
        Whether an existing store may be replaced.

    Returns
    -------
    Path
        Where the store is.

    Raises
    ------
    FileExistsError
        If something exists at `path` and `overwrite` is False, or it is no Zarr store.
    FileNotFoundError, OSError
        If `path` cannot be written.
    ValueError
        If there is no layer or no CRS.

    Examples
    --------
    >>> write_zarr(prediction, "map.zarr")  # doctest: +SKIP
    """
    path = Path(path)
    dataset = checked_map(prediction)
    if path.exists() and not _is_zarr(path):
        raise FileExistsError(f"{path} exists and is no Zarr store; choose another name")
    with staging(path, overwrite=overwrite) as folder:
        unfinished = folder / "store"
        layers, arrays = _create(dataset, unfinished)
        run_to_the_end([da.store(layers, arrays, lock=False, compute=False)])
        with warnings.catch_warnings():
            # Format 3 has no final text about consolidated metadata; xarray and GDAL read it.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(unfinished)
        commit(unfinished, path)
    return path


def _is_zarr(path: Path) -> bool:
    return (path / "zarr.json").is_file() or (path / ".zgroup").is_file()


def _create(dataset: xr.Dataset, folder: Path) -> tuple[list[da.Array], list[Any]]:
    """Create the store with its coordinates and the empty arrays of its layers."""
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    group.attrs.update(dataset.attrs)
    for name, coordinate in dataset.coords.items():
        array = group.create_array(
            str(name),
            shape=coordinate.shape,
            # Text of any length has a settled type in Zarr, text of a fixed length has none.
            dtype=str if coordinate.dtype.kind in "UO" else coordinate.dtype,
            dimension_names=[str(dim) for dim in coordinate.dims],
            attributes=_json_ready(coordinate.attrs),
        )
        array[...] = coordinate.values
    layers, arrays = [], []
    for name, layer in dataset.data_vars.items():
        layer, chunks = _in_whole_chunks(layer)
        layers.append(layer.data)
        arrays.append(
            group.create_array(
                str(name),
                shape=layer.shape,
                chunks=chunks,
                dtype=layer.dtype,
                # Without it a chunk of nothing but nodata, which is not written, reads as class 0.
                fill_value=layer.attrs.get("_FillValue", 0),
                compressors=ZstdCodec(level=3),
                dimension_names=[str(dim) for dim in layer.dims],
                # The second attribute makes the CRS a coordinate for plain xr.open_zarr too.
                attributes={
                    **_layer_attributes(layer),
                    "grid_mapping": _GRID,
                    "coordinates": _GRID,
                },
            )
        )
    return layers, arrays


def _in_whole_chunks(layer: xr.DataArray) -> tuple[xr.DataArray, tuple[int, ...]]:
    """Choose the Zarr chunks of a layer, and rechunk it only where its blocks do not fill them."""
    rows, cols = (_chunk_side(layer.chunksizes[dim]) for dim in ("y", "x"))
    if rows is None or cols is None:
        rows, cols = (min(CHUNK, layer.sizes[dim]) for dim in ("y", "x"))
        layer = rechunked(layer, {"y": rows, "x": cols})
    layer = rechunked(layer, dict.fromkeys(layer.dims[:-2], -1))
    return layer, (*layer.shape[:-2], rows, cols)


def _chunk_side(blocks: tuple[int, ...]) -> int | None:
    """Side of the Zarr chunks that dask blocks fill wholly, about 2048 px; None if there is none.

    Examples
    --------
    >>> _chunk_side((1920, 1920, 2112)), _chunk_side((4096, 4096, 100)), _chunk_side((700, 801, 9))
    (1920, 2048, None)
    """
    if len(blocks) == 1:
        return min(CHUNK, blocks[0])
    common = math.gcd(*accumulate(blocks[:-1]))
    sides = [side for side in range(SMALLEST_BLOCK, CHUNK + 1) if common % side == 0]
    return max(sides, default=None)


def _layer_attributes(layer: xr.DataArray) -> dict[str, Any]:
    attrs = _json_ready(layer.attrs)
    if "_FillValue" in attrs and layer.dtype.kind == "f":
        # xarray's spelling of a float fill value in format 3, where JSON has no NaN.
        number = struct.pack("<d", attrs["_FillValue"])
        attrs["_FillValue"] = base64.standard_b64encode(number).decode()
    return attrs


def _json_ready(attrs: dict[Any, Any]) -> dict[str, Any]:
    kept = {"_FillValue": attrs["_FillValue"]} if "_FillValue" in attrs else {}
    return {**plain_attrs(attrs), **kept}


def open_map(path: str | PathLike[str]) -> xr.Dataset:
    """Open a map, lazily: a Zarr store with all its layers or a GeoTIFF with one.

    Parameters
    ----------
    path
        What `write_zarr` or `write_cog` wrote, or any single-band GeoTIFF.

    Returns
    -------
    Dataset
        Layers ``(y, x)`` in the dtype of the file, nodata in ``_FillValue``, CRS and transform as
        rioxarray keeps them. A GeoTIFF's layer bears the band's description; without one it is
        ``classes`` if it holds integers, else ``confidence``.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    OSError
        If it is a file that cannot be read as a raster, or was cut short.
    ValueError
        If it has several bands, or is a store that is no map or was not finished.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no map at {path}")
    return _open_store(path) if path.is_dir() else _open_geotiff(path)


def _open_store(path: Path) -> xr.Dataset:
    try:
        dataset: xr.Dataset = xr.open_zarr(
            path, chunks={}, consolidated=True, mask_and_scale=False, decode_coords="all"
        )
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise ValueError(
            f"{path} is no map: a folder has to be a finished Zarr store (consolidated)"
        ) from error
    if not any({"y", "x"} <= set(layer.dims) for layer in dataset.data_vars.values()):
        raise ValueError(f"{path} holds no layer with the dimensions 'y' and 'x'; is it a map?")
    return dataset


def _open_geotiff(path: Path) -> xr.Dataset:
    raster = read_raster(path, what="map")
    if raster.sizes["band"] != 1:
        raise ValueError(
            f"{path} has {raster.sizes['band']} bands, a layer of a map has one; "
            "open imagery with open_scene"
        )
    with rasterio.open(path) as file:
        name, attrs, tags = file.descriptions[0], file.tags(1), file.tags()
    layer = raster.isel(band=0, drop=True)
    nodata = nodata_of(layer)
    layer.attrs = _attributes(attrs) | ({} if nodata is None else {"_FillValue": nodata})
    fallback = "confidence" if layer.dtype.kind == "f" else "classes"
    dataset = layer.to_dataset(name=name or fallback)
    dataset.attrs = _attributes(tags)
    return dataset


def _attributes(tags: dict[str, str]) -> dict[str, Any]:
    return {k: decode_tag(text) for k, text in tags.items() if not k.startswith(_GDAL_TAGS)}
