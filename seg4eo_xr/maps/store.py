"""Maps as Zarr stores, and opening maps again, whatever they were written as."""

from __future__ import annotations

import math
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rasterio
import xarray as xr

from seg4eo_xr.maps.arrays import create_coordinates, create_layer, finish_store
from seg4eo_xr.maps.layers import (
    CHUNK,
    SMALLEST_BLOCK,
    checked_map,
    nodata_of,
    rechunked,
    with_class_255,
)
from seg4eo_xr.maps.mosaic import STACK_TAG, decode_tag
from seg4eo_xr.patches.building import locate
from seg4eo_xr.running import run_to_the_end
from seg4eo_xr.scenes.class_files import named_classes
from seg4eo_xr.scenes.classes import CLASS_ATTRS
from seg4eo_xr.scenes.rasters import is_remote, read_raster
from seg4eo_xr.staging import commit, staging

if TYPE_CHECKING:
    from os import PathLike

    from upath import UPath

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
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64), seed=2)
    >>> with TemporaryDirectory() as folder:
    ...     path = write_zarr(labels.to_dataset(name="classes"), f"{folder}/map.zarr")
    ...     bool((open_map(path)["classes"] == labels).all())
    True
    """
    path = Path(path)
    dataset = checked_map(prediction)
    if path.exists() and not _is_zarr(path):
        raise FileExistsError(f"{path} exists and is no Zarr store; choose another name")
    with staging(path, overwrite=overwrite) as folder:
        unfinished = folder / "store"
        layers, arrays = _create(dataset, unfinished)
        run_to_the_end([_written(*pair) for pair in zip(layers, arrays, strict=True)])
        finish_store(str(unfinished), dataset.attrs)
        commit(unfinished, path)
    return path


def _written(layer: da.Array, target: Any) -> da.Array:
    """Write each block, as a task that nothing follows.

    dask puts off what a task shared by all blocks, as that of `da.store`, has to wait for anyway,
    and would keep most windows' results until the end.
    """
    written: da.Array = da.map_blocks(
        _write_block,
        layer,
        target=target,
        dtype=bool,
        chunks=tuple((1,) * n for n in layer.numblocks),
        meta=np.empty((0,) * layer.ndim, bool),
    )
    return written


def _write_block(values: np.ndarray, target: Any, block_info: Any = None) -> np.ndarray:
    place = block_info[0]["array-location"]
    target[tuple(slice(*bounds) for bounds in place)] = values
    return np.ones((1,) * values.ndim, bool)


def _is_zarr(path: Path) -> bool:
    return (path / "zarr.json").is_file() or (path / ".zgroup").is_file()


def _create(dataset: xr.Dataset, folder: Path) -> tuple[list[da.Array], list[Any]]:
    """Create the coordinates of a store and the empty arrays of its layers."""
    create_coordinates(str(folder), dataset.coords)
    layers, arrays = [], []
    for layer in dataset.data_vars.values():
        layer, chunks = _in_whole_chunks(layer)
        layers.append(layer.data)
        arrays.append(create_layer(str(folder), layer, chunks))
    return layers, arrays


def _in_whole_chunks(layer: xr.DataArray) -> tuple[xr.DataArray, tuple[int, ...]]:
    """Choose the Zarr chunks of a layer, and rechunk it only where its blocks do not fill them."""
    rows, cols = (_chunk_side(layer.chunksizes[dim]) for dim in ("y", "x"))
    if rows is None or cols is None:
        rows, cols = (min(CHUNK, layer.sizes[dim]) for dim in ("y", "x"))
        layer = rechunked(layer, {"y": rows, "x": cols})
    # A class or a date is a chunk of its own: whoever wants one does not read the others.
    return layer, (*(1,) * (layer.ndim - 2), rows, cols)


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


def open_map(path: str | PathLike[str] | UPath) -> xr.Dataset:
    """Open a map, lazily: a Zarr store with all its layers or a GeoTIFF with one.

    Parameters
    ----------
    path
        What `write_zarr`, `write_cog` or `predict_to_zarr` wrote, on disk or on S3, or any
        single-band GeoTIFF.

    Returns
    -------
    Dataset
        Layers ``(..., y, x)`` in the dtype of the file, nodata in ``_FillValue``, CRS and transform
        as rioxarray keeps them. A GeoTIFF's layer bears the band's description; without one it is
        ``classes`` if it holds integers, else ``confidence``. Names of classes are those of the
        map's own tags, else the category names or the attribute table that GDAL finds.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    OSError
        If it is a file that cannot be read as a raster, or was cut short.
    ValueError
        If it has several bands that are no layer of a map, or is a store that is no map or was not
        finished.
    """
    place = locate(str(path))
    if not place.exists():
        raise FileNotFoundError(f"there is no map at {path}")
    return _open_store(str(place)) if place.is_dir() else _open_geotiff(str(place))


def _open_store(path: str) -> xr.Dataset:
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
    for name, layer in dataset.data_vars.items():
        dataset[name] = with_class_255(layer, f"the map {path}", remote=is_remote(path))
    return dataset


def _open_geotiff(path: str) -> xr.Dataset:
    raster = read_raster(path, what="map", keep_alpha=True)
    with rasterio.open(path) as file:
        names, attrs, tags = file.descriptions, file.tags(1), file.tags()
    if STACK_TAG in tags:
        name, dim = decode_tag(STACK_TAG, tags.pop(STACK_TAG))
        steps = np.array(names, "datetime64[ns]") if dim == "time" else list(names)
        layer = raster.rename(band=dim).assign_coords({dim: steps})
    elif raster.sizes["band"] == 1:
        name, layer = names[0], raster.isel(band=0, drop=True)
    else:
        raise ValueError(
            f"{path} has {raster.sizes['band']} bands, a layer of a map has one; "
            "open imagery with open_scene"
        )
    described, whole = _attributes(attrs), _attributes(tags)
    if layer.dtype.kind in "iu" and "flag_values" not in described:
        # Of a single layer, as labels are, rioxarray writes the attributes as those of the file.
        described |= {name: whole.pop(name) for name in CLASS_ATTRS if name in whole}
        # what other tools call the codes, as in map.tif.aux.xml
        named = None if "flag_values" in described else named_classes(path)
        described |= {} if named is None else named.to_attrs()
    layer.attrs = described | {k: v for k, v in layer.attrs.items() if k == "_FillValue"}
    layer = with_class_255(layer, f"the map {path}", remote=is_remote(path))
    nodata = nodata_of(layer)
    layer.attrs |= {} if nodata is None else {"_FillValue": nodata}
    fallback = "confidence" if layer.dtype.kind == "f" else "classes"
    dataset = layer.to_dataset(name=name or fallback)
    dataset.attrs = whole
    return dataset


def _attributes(tags: dict[str, str]) -> dict[str, Any]:
    return {k: decode_tag(k, text) for k, text in tags.items() if not k.startswith(_GDAL_TAGS)}


def class_layer(
    prediction: xr.Dataset | xr.DataArray | str | PathLike[str], *, count: bool = False
) -> xr.DataArray:
    """Class layer of a map: ``classes``, or the only layer, whatever its name.

    Parameters
    ----------
    prediction
        A map, or what `open_map` opens.
    count
        Whether a lazy layer of bytes without a nodata value is read, to see whether 255 is a class
        of it; others never are.

    Raises
    ------
    ValueError
        If there is none, it has several bands or dates, or it does not hold integers.
    """
    if not isinstance(prediction, xr.Dataset | xr.DataArray):
        prediction = open_map(prediction)
    if isinstance(prediction, xr.Dataset):
        # A raster of somebody else's making may call its only layer as it likes.
        name = "classes" if "classes" in prediction else next(iter(prediction), "classes")
        if name not in prediction or (name != "classes" and len(prediction) > 1):
            raise ValueError(
                f"the prediction has no layer 'classes'; its layers are {list(prediction)}"
            )
        prediction = prediction[name]
    prediction = _plane(prediction)
    if prediction.dtype.kind not in "iu":
        raise ValueError(
            f"a map of classes holds integers, but layer {str(prediction.name)!r} holds "
            f"{prediction.dtype}; give the map of the classes, in Python opened with "
            "seg4eo_xr.open_map, which leaves the numbers as they are stored; or if these numbers "
            "are class codes, make them integers first, as with `gdalwarp -ot Int16 -dstnodata "
            "-32768 FILE NEW`"
        )
    if count or prediction.chunks is None:
        prediction = with_class_255(prediction, "the map")
    return prediction.transpose("y", "x")


def _plane(layer: xr.DataArray) -> xr.DataArray:
    """Drop bands and dates of length one, as rioxarray's ``band``, from a layer of a map."""
    if not {"y", "x"} <= set(layer.dims):
        raise ValueError(
            f"a map of classes has the dimensions y and x, but layer {str(layer.name)!r} has "
            f"{list(layer.dims)}; rename them, as with prediction.rename(lat='y', lon='x')"
        )
    others = {dim: size for dim, size in layer.sizes.items() if dim not in ("y", "x")}
    longer = {str(dim): size for dim, size in others.items() if size != 1}
    if longer:
        choice = ", ".join(f"{dim}=0" for dim in longer)
        raise ValueError(
            f"a map of classes has the dimensions y and x, but layer {str(layer.name)!r} also has "
            f"{longer}; take one of them, as with prediction.isel({choice})"
        )
    return layer.isel(dict.fromkeys(others, 0), drop=True)
