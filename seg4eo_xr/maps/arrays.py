"""The Zarr arrays of a map: made first, filled by whole chunks, and made a store last.

The metadata of the root come last, since nothing opens a folder without them: a map that was not
finished does not look like one.
"""

from __future__ import annotations

import base64
import struct
import warnings
from typing import TYPE_CHECKING, Any

import zarr
from zarr.codecs import ZstdCodec
from zarr.errors import ArrayNotFoundError

from seg4eo_xr.maps.layers import plain_attrs, smaller_batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

_GRID = "spatial_ref"


def create_coordinates(store: str, coords: Mapping[Any, xr.DataArray]) -> None:
    """Write the coordinates of a map, those that are there already again.

    Parameters
    ----------
    store
        Folder or URL of the map.
    coords
        Coordinates by name.
    """
    for name, coordinate in coords.items():
        array = zarr.create_array(
            f"{store}/{name}",
            shape=coordinate.shape,
            # Text of any length has a settled type in Zarr, text of a fixed length has none.
            dtype=str if coordinate.dtype.kind in "UO" else coordinate.dtype,
            dimension_names=[str(dim) for dim in coordinate.dims],
            attributes=_json_ready(coordinate.attrs),
            overwrite=True,
        )
        array[...] = coordinate.values


def create_layer(store: str, layer: xr.DataArray, chunks: tuple[int, ...]) -> zarr.Array[Any]:
    """Make the empty array of a layer, or open it where it is there already.

    Parameters
    ----------
    store
        Folder or URL of the map.
    layer
        The layer, named, with all its attributes; its numbers are not touched.
    chunks
        Shape of a chunk.
    """
    path = f"{store}/{layer.name}"
    try:
        found = zarr.open_array(path, mode="r+")
    except (FileNotFoundError, ArrayNotFoundError):
        pass
    else:
        return found
    return zarr.create_array(
        path,
        shape=layer.shape,
        chunks=chunks,
        dtype=layer.dtype,
        # Without it a chunk of nothing but nodata, which is not written, reads as class 0.
        fill_value=layer.attrs.get("_FillValue", 0),
        compressors=ZstdCodec(level=3),
        dimension_names=[str(dim) for dim in layer.dims],
        # The second attribute makes the CRS a coordinate for plain xr.open_zarr too.
        attributes={**_layer_attributes(layer), "grid_mapping": _GRID, "coordinates": _GRID},
    )


def finish_store(store: str, attrs: Mapping[str, Any]) -> None:
    """Turn finished arrays into a store that opens.

    Parameters
    ----------
    store
        Folder or URL of the map.
    attrs
        Attributes of the map, fit for JSON.
    """
    zarr.open_group(store, mode="a", zarr_format=3).attrs.put({**attrs, **smaller_batch(attrs)})
    with warnings.catch_warnings():
        # Format 3 has no final text about consolidated metadata; xarray and GDAL read it.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(store)


def _layer_attributes(layer: xr.DataArray) -> dict[str, Any]:
    attrs = _json_ready(layer.attrs)
    if "_FillValue" in attrs and layer.dtype.kind == "f":
        # xarray's spelling of a float fill value in format 3, where JSON has no NaN.
        number = struct.pack("<d", attrs["_FillValue"])
        attrs["_FillValue"] = base64.standard_b64encode(number).decode()
    return attrs


def _json_ready(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    kept = {"_FillValue": attrs["_FillValue"]} if "_FillValue" in attrs else {}
    return {**plain_attrs(attrs), **kept}
