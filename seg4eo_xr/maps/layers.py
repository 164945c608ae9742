"""What a map is made of before it is written: layers on one grid, each with its nodata value."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr

from seg4eo_xr.notices import warn
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import grid_transform
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.scenes.unlabelled import USUAL, count_codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affine import Affine

# What the file formats and xarray write by themselves; never copied as free attributes.
_RESERVED = frozenset({"_FillValue", "missing_value", "grid_mapping", "coordinates"})
# By which a map tells what job made it, and what it holds.
JOB_ATTR, STATISTICS_ATTR = "job", "statistics"
CHUNK = 2048
# A file or Zarr chunk of fewer pixels a side costs more in bookkeeping than in pixels.
SMALLEST_BLOCK = 512
# Attribute of a map of bytes that has no missing pixels, since 255 is a class of it.
_CLASS_255 = "class_255"


def checked_map(prediction: xr.Dataset) -> xr.Dataset:
    """Bring a prediction into the form that the writers share, without computing anything.

    Parameters
    ----------
    prediction
        Layers with the dimensions ``y`` and ``x`` last or in any order, a CRS, NumPy or dask.

    Returns
    -------
    Dataset
        Lazy layers ``(..., y, x)`` in blocks of at least 512 px, coordinates ``y``, ``x`` and
        ``spatial_ref`` (with the transform), and ``_FillValue`` in the attributes of each layer.

    Raises
    ------
    TypeError
        If `prediction` is no Dataset.
    ValueError
        If it has no layer, a layer lacks ``y`` or ``x``, or there is no CRS or no regular grid.
    """
    if not isinstance(prediction, xr.Dataset):
        raise TypeError(
            f"a map is an xarray Dataset of layers, got {type(prediction).__name__}; "
            "turn a single array into one with array.to_dataset(name='classes')"
        )
    layers = {str(name): layer for name, layer in prediction.data_vars.items()}
    if not layers:
        raise ValueError("the prediction holds no layer; 'classes' is what a map needs")
    for name, layer in layers.items():
        if not {"y", "x"} <= set(layer.dims) or layer.size == 0:
            raise ValueError(
                f"layer {name!r} has the dimensions {dict(layer.sizes)}; "
                "a map's layers need 'y' and 'x' with at least one pixel"
            )
    crs = prediction.rio.crs
    if crs is None:
        raise ValueError(
            "the prediction has no CRS; set it with prediction.rio.write_crs('EPSG:...')"
        )
    transform = grid_transform(next(iter(layers.values())), "the prediction")
    dataset = xr.Dataset(
        {name: _lazy_layer(layer) for name, layer in layers.items()},
        attrs=plain_attrs(prediction.attrs),
    )
    dataset = dataset.drop_vars([name for name in dataset.coords if name not in dataset.dims])
    if not {"y", "x"} <= set(dataset.coords):
        dataset = dataset.assign_coords(_pixel_centres(transform, dataset.sizes))
    checked: xr.Dataset = dataset.rio.write_crs(crs).rio.write_transform(transform)
    return checked


def _lazy_layer(layer: xr.DataArray) -> xr.DataArray:
    layer = layer.transpose(..., "y", "x")
    attrs = plain_attrs(layer.attrs)
    nodata = nodata_of(layer)
    if nodata is not None:
        attrs["_FillValue"] = nodata
    if layer.chunks is None:
        layer = layer.chunk({"y": CHUNK, "x": CHUNK})
    merged = {
        dim: CHUNK
        for dim in ("y", "x")
        if min(layer.chunksizes[dim][:-1], default=CHUNK) < SMALLEST_BLOCK
    }
    layer = rechunked(layer, merged) if merged else layer.copy(deep=False)
    layer.attrs, layer.encoding = attrs, {}
    return layer


def smaller_batch(attrs: Mapping[Any, Any]) -> dict[str, int]:
    """Attribute that a computed map has to gain where a device ran out of memory; else none.

    Parameters
    ----------
    attrs
        Attributes of the map, as ``predict`` gave them.
    """
    # Where nothing was predicted there is no need to import torch.
    backoff = sys.modules.get("seg4eo_xr.inference.backoff")
    if backoff is None or "model_token" not in attrs:
        return {}
    fitted = backoff.fitted_batch(attrs["model_token"])
    return {} if fitted is None else {"smallest_batch_run": fitted}


def rechunked(layer: xr.DataArray, chunks: Mapping[Any, int]) -> xr.DataArray:
    """Cut a lazy layer anew, block by block: shuffling would hold back all of it until the end."""
    sides = {layer.get_axis_num(dim): side for dim, side in chunks.items()}
    return layer.copy(data=layer.data.rechunk(sides, method="tasks"))


def _pixel_centres(transform: Affine, sizes: Mapping[Any, int]) -> dict[str, np.ndarray]:
    return {
        "y": transform.f + transform.e * (np.arange(sizes["y"]) + 0.5),
        "x": transform.c + transform.a * (np.arange(sizes["x"]) + 0.5),
    }


def nodata_of(layer: xr.DataArray) -> int | float | None:
    """Value that marks missing pixels of a layer.

    Returns
    -------
    int, float or None
        ``_FillValue`` or ``missing_value`` of the attributes or the encoding; where neither is set,
        NaN for floats, 255 for uint8 unless that is a class, and None for other integers.
    """
    stated = _stated_nodata(layer)
    if stated is not None:
        return float(stated) if layer.dtype.kind == "f" else int(stated)
    if layer.dtype.kind == "f":
        return math.nan
    return USUAL if layer.dtype == np.uint8 and not _has_class_255(layer) else None


def with_class_255(layer: xr.DataArray, what: str, *, remote: bool = False) -> xr.DataArray:
    """Keep 255 as a class of a map of bytes that states no nodata value and holds 255.

    Parameters
    ----------
    layer
        Any layer; those that state a nodata value come back as they are, and are not read.
    what
        What the warning calls the map.
    remote
        Whether its pixels come over a network.

    Returns
    -------
    DataArray
        With an attribute by which `nodata_of` knows.

    Warns
    -----
    LabelWarning
        If it holds 255 and has no class table that says what that is.
    """
    plain = layer.dtype == np.uint8 and layer.ndim == 2 and layer.size
    if not plain or _stated_nodata(layer) is not None or _has_class_255(layer):
        return layer
    counts = count_codes(layer.data, remote=remote)
    if USUAL not in counts.pixels:
        return layer
    warn(
        f"{what} holds {USUAL} in {counts.share(USUAL)} and states no nodata value, so {USUAL} is "
        "a class; if these pixels are missing, state the nodata value first, as with "
        f"`gdal_edit.py -a_nodata {USUAL} FILE`, or in Python with layer.rio.write_nodata({USUAL})",
        LabelWarning,
        stacklevel=4,
    )
    return layer.assign_attrs({_CLASS_255: "true"})


def _has_class_255(layer: xr.DataArray) -> bool:
    if _CLASS_255 in layer.attrs:
        return True
    try:
        table = ClassTable.from_attrs(layer.attrs)
    except ValueError:
        return False  # somebody else's attributes
    return table is not None and USUAL in table.codes


def _stated_nodata(layer: xr.DataArray) -> Any:
    """``_FillValue`` or ``missing_value``, as a plain number."""
    for place in (layer.attrs, layer.encoding):
        for key in ("_FillValue", "missing_value"):
            if place.get(key) is not None:
                return np.asarray(place[key]).item()
    return None


def plain_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as lists, numbers and strings, without those that the formats write themselves."""
    return {str(key): _plain(value) for key, value in attrs.items() if key not in _RESERVED}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def without_job(prediction: xr.Dataset) -> xr.Dataset:
    """Drop what a job says of its map: another map is made of it."""
    attrs = {
        name: value
        for name, value in prediction.attrs.items()
        if name not in (JOB_ATTR, STATISTICS_ATTR)
    }
    other = prediction.copy(deep=False)
    other.attrs = attrs
    return other
