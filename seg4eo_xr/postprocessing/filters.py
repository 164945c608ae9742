"""A map made calmer or coarser, lazily and with the same result for every chunking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import dask.array as da
import numpy as np
import xarray as xr
from scipy import ndimage

from seg4eo_xr.inference.layers import map_format
from seg4eo_xr.maps.layers import nodata_of, without_job
from seg4eo_xr.maps.store import class_layer
from seg4eo_xr.postprocessing.polygon_options import require_min_pixels
from seg4eo_xr.postprocessing.sieving import sieve_layers
from seg4eo_xr.scenes.classes import ClassTable, default_color

if TYPE_CHECKING:
    from collections.abc import Mapping

Map = TypeVar("Map", xr.Dataset, xr.DataArray)


def majority_filter(prediction: Map, size: int) -> Map:
    """Give each pixel the class that is most frequent in a square around it.

    Nodata is not counted and stays. Of several classes that are as frequent, the pixel's own
    stays, or else the lowest code goes before. At the map's edge the square is cut.

    Parameters
    ----------
    prediction
        Class codes ``(y, x)``, NumPy or dask; of a Dataset the layer ``classes``.
    size
        Side of the square in pixels, odd.

    Returns
    -------
    DataArray or Dataset
        The like of `prediction`; other layers stay as they are.

    Raises
    ------
    ValueError
        If `size` is no odd positive number, or there is no class layer.

    Examples
    --------
    >>> codes = xr.DataArray(np.array([[1, 1, 1], [1, 2, 1], [1, 1, 1]]), dims=("y", "x"))
    >>> int(majority_filter(codes, 3)[1, 1])
    1
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(
            "size (--majority) must be an odd number of pixels, so that the square has a middle, "
            f"got {size}"
        )
    codes = class_layer(prediction)
    nodata, data = nodata_of(codes), codes.data
    if not isinstance(data, da.Array):
        return _with_classes(prediction, codes.copy(data=majority(data, size, nodata)))
    reach = [min(size // 2, side - 1) for side in data.shape]
    filtered = da.map_overlap(
        majority,
        data,
        size=size,
        nodata=nodata,
        depth=dict(enumerate(reach)),
        boundary="none",
        meta=data._meta,
    )
    return _with_classes(prediction, codes.copy(data=filtered))


def majority(codes: np.ndarray, size: int, nodata: float | None) -> np.ndarray:
    """Filter one array; see `majority_filter`."""
    found = np.unique(codes)
    best, most = codes.copy(), np.zeros(codes.shape, np.int32)
    for code in found[found != nodata] if nodata is not None else found:
        own = codes == code
        count = own.astype(np.int32)
        for axis in (0, 1):
            count = ndimage.correlate1d(count, np.ones(size, np.int32), axis, mode="constant")
        # codes ascend, so an equal count wins for the pixel's own class alone
        better = (count > most) | (own & (count == most))
        best[better], most[better] = code, count[better]
    if nodata is not None:
        best[codes == nodata] = nodata
    return best


def sieve(prediction: Map, min_pixels: int) -> Map:
    """Give components of fewer pixels the class of a neighbour, exactly across all chunks.

    Components are made of pixels of a class that share sides. Each that is too small joins its
    largest neighbour, of several the one whose first pixel comes first, row by row; those that are
    too small even together do so again. What is too small in the end has no neighbour but nodata.
    Nodata stays.

    Parameters
    ----------
    prediction
        Class codes ``(y, x)``, NumPy or dask; of a Dataset the layer ``classes``.
    min_pixels
        Pixels of the smallest component that stays: the minimum mapping unit.

    Returns
    -------
    DataArray or Dataset
        The like of `prediction`; other layers keep their numbers. With dask it stays lazy, and
        computing it computes the codes twice: first to learn how large components are, then to
        change them. Memory is bounded by chunks and by what lies on their borders. A lazy
        prediction is better written first.

    Raises
    ------
    ValueError
        If `min_pixels` is less than 1, or there is no class layer.

    Notes
    -----
    Where each component that is too small reaches a large one by way of largest neighbours, this
    is the rule of ``gdal_sieve`` with 4 neighbours, which leaves the others as they are.

    Examples
    --------
    >>> codes = xr.DataArray(np.array([[1, 1, 1, 3], [1, 2, 1, 3]]), dims=("y", "x"))
    >>> sieve(codes, 2).values
    array([[1, 1, 1, 3],
           [1, 1, 1, 3]])
    """
    require_min_pixels(min_pixels)
    codes = class_layer(prediction)
    lazy: dict[Any, xr.DataArray] = {}
    if isinstance(prediction, xr.Dataset) and isinstance(codes.data, da.Array):
        lazy = {
            name: layer
            for name, layer in prediction.data_vars.items()
            if name != codes.name and isinstance(layer.data, da.Array)
        }
    others = [layer.data for layer in lazy.values()]
    sieved, others = sieve_layers(codes.data, others, nodata_of(codes), min_pixels)
    result = _with_classes(prediction, codes.copy(data=sieved))
    if isinstance(result, xr.Dataset):
        pairs = zip(lazy.items(), others, strict=True)
        result = result.assign({name: layer.copy(data=data) for (name, layer), data in pairs})
    return result


def reclassify(
    prediction: Map,
    codes: Mapping[int | str, int | None],
    *,
    names: Mapping[int, str] | None = None,
) -> Map:
    """Give classes other codes, several the same one, or none; what is forgotten is an error.

    Parameters
    ----------
    prediction
        Class codes ``(y, x)``, NumPy or dask; of a Dataset the layer ``classes``.
    codes
        New code of each old one, or of each class by name; None makes it nodata.
    names
        Names of the new classes by code. Others keep theirs, that of a class which had the code
        already and stays, or those of all that became it, joined by " / "; colours go along.

    Returns
    -------
    DataArray or Dataset
        The like of `prediction`, in the same dtype where that holds the new codes; other layers
        stay as they are.

    Raises
    ------
    ValueError
        If a class of the map's table is not in `codes`, or has two new codes, a new code is the
        nodata code, nodata becomes a class, a name belongs to no new code; when computed, if an old
        code is not in `codes`.

    Examples
    --------
    >>> labels = xr.DataArray(np.array([[1, 2, 9]], np.uint8), dims=("y", "x"))
    >>> labels = labels.assign_attrs(ClassTable.from_codes([1, 2, 9]).to_attrs())
    >>> coarse = reclassify(labels, {1: 10, 2: 10, 9: None}, names={10: "vegetation"})
    >>> coarse.values, coarse.attrs["class_names"]
    (array([[ 10,  10, 255]], dtype=uint8), 'vegetation')
    """
    layer = class_layer(prediction)
    table = ClassTable.from_attrs(layer.attrs)
    new_of = _by_code(codes, table)
    nodata = nodata_of(layer)
    nodata = None if nodata is None else int(nodata)
    if nodata is not None and new_of.get(nodata) is not None:
        raise ValueError(
            f"codes gives the code {nodata} a class, but it is the map's nodata; fill it first, as "
            "with classes.where(classes != nodata, code)"
        )
    kept = sorted({new for new in new_of.values() if new is not None})
    if not kept:
        raise ValueError("codes leaves no class: give at least one of them a new code")
    strange = sorted(set(names or {}) - set(kept))
    if strange:
        raise ValueError(f"names has the codes {strange}, but the new codes are {kept}")
    if nodata is None and None in new_of.values():
        raise ValueError(
            "codes makes classes nodata (None), but the map has no nodata code; set one with "
            "prediction['classes'].rio.write_nodata(...)"
        )
    dtype = _dtype_for(layer.dtype, kept, nodata)
    lookup = {old: nodata if new is None else new for old, new in new_of.items()}
    if nodata is not None:
        lookup[nodata] = nodata
    changed = xr.apply_ufunc(
        _looked_up,
        layer,
        kwargs={"lookup": lookup, "dtype": dtype},
        dask="parallelized",
        output_dtypes=[dtype],
        keep_attrs=True,
    )
    dtypes = ("dtype", "rasterio_dtype")
    changed.encoding = {k: value for k, value in layer.encoding.items() if k not in dtypes}
    if table is not None or names:
        changed = changed.assign_attrs(_new_table(new_of, kept, table, names or {}).to_attrs())
    return _with_classes(prediction, changed)


def _by_code(
    codes: Mapping[int | str, int | None], table: ClassTable | None
) -> dict[int, int | None]:
    """New codes by old ones, whether these are given by number or by name."""
    by_name = table.code_of if table is not None else {}
    strange = [old for old in codes if isinstance(old, str) and old not in by_name]
    if strange:
        raise ValueError(f"codes names {strange}, but the map's classes are {list(by_name)}")
    new_of: dict[int, int | None] = {}
    for given, new in codes.items():
        old = by_name[given] if isinstance(given, str) else int(given)
        if new_of.setdefault(old, new) != new:
            raise ValueError(
                f"codes gives the class {old} by its code and by its name, the codes {new_of[old]} "
                f"and {new}; give it once"
            )
    forgotten = sorted(set(by_name.values()) - set(new_of))
    if forgotten:
        raise ValueError(
            f"codes does not say what becomes of the classes {forgotten}; give each a new code, "
            "its own to leave it, or None to make it nodata"
        )
    return new_of


def _dtype_for(dtype: np.dtype[Any], codes: list[int], nodata: int | None) -> np.dtype[Any]:
    if nodata in codes:
        raise ValueError(f"the new code {nodata} is the map's nodata code; choose another")
    limits = np.iinfo(dtype)
    if limits.min <= codes[0] and codes[-1] <= limits.max:
        return dtype
    return map_format(codes, nodata)[0]


def _looked_up(values: np.ndarray, lookup: Mapping[int, int], dtype: np.dtype[Any]) -> np.ndarray:
    found, position = np.unique(values, return_inverse=True)
    unknown = [code for code in found.tolist() if code not in lookup]
    if unknown:
        raise ValueError(
            f"the map holds the class codes {unknown}, but codes only says what becomes of "
            f"{sorted(lookup)}; give them new codes too, or None to make them nodata"
        )
    return np.array([lookup[code] for code in found.tolist()], dtype)[position].reshape(
        values.shape
    )


def _new_table(
    new_of: Mapping[int, int | None],
    kept: list[int],
    table: ClassTable | None,
    names: Mapping[int, str],
) -> ClassTable:
    """Classes of the new codes, in the names and colours of those that became them."""
    olds = sorted(new_of)
    named = {old: f"class {old}" for old in olds}
    colored = {old: default_color(place) for place, old in enumerate(olds)}
    if table is not None:
        named |= dict(zip(table.codes, table.names, strict=True))
        colored |= dict(zip(table.codes, table.colors, strict=True))
    new_names, colors = [], []
    for code in kept:
        sources = [old for old in olds if new_of[old] == code]
        sources = [code] if code in sources else sources
        new_names.append(names.get(code, " / ".join(named[old] for old in sources)))
        colors.append(colored[sources[0]])
    return ClassTable.from_codes(kept, new_names, colors)


def _with_classes(prediction: Map, classes: xr.DataArray) -> Map:
    """Put a class layer in the place of the old one."""
    if isinstance(prediction, xr.Dataset):
        return without_job(prediction).assign({classes.name: classes})
    return classes
