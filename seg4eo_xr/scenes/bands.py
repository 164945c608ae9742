"""Bands of a scene: their names, scaling and nodata, picked, renamed and stacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from seg4eo_xr.notices import warn
from seg4eo_xr.options import suggestion
from seg4eo_xr.scenes.missing import SceneWarning, fits, mark_missing

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCALE_KEYS = ("scales", "scale_factor")
_OFFSET_KEYS = ("offsets", "add_offset")


def band_names_of(scene: xr.DataArray) -> list[str]:
    """Names of a scene's bands, in order."""
    return [str(name) for name in scene["band"].values]


def band_scaling(scene: xr.DataArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and offset a band: physical value = stored number × scale + offset.

    They come from the attributes ``scales`` and ``offsets``, or ``scale_factor`` and
    ``add_offset``; 1 and 0 where there are none. Where ``long_name`` lists band names, the numbers
    belong to those names, so that they stay right after ``scene.sel(band=[...])``.

    Returns
    -------
    scales, offsets : tuple of float
        One number a band.

    Raises
    ------
    ValueError
        If there are more or fewer numbers than bands.
    """
    return (
        _numbers_by_band(scene, _SCALE_KEYS, 1.0),
        _numbers_by_band(scene, _OFFSET_KEYS, 0.0),
    )


def _numbers_by_band(
    scene: xr.DataArray, keys: tuple[str, str], default: float
) -> tuple[float, ...]:
    names = band_names_of(scene)
    value = next((scene.attrs[key] for key in keys if scene.attrs.get(key) is not None), default)
    numbers = [float(number) for number in np.atleast_1d(value)]
    described = scene.attrs.get("long_name")
    if len(set(numbers)) == 1:
        return tuple(numbers[:1] * len(names))
    if isinstance(described, (tuple, list)) and len(described) == len(numbers):
        by_name = dict(zip(map(str, described), numbers, strict=True))
        if set(names) <= set(by_name):
            return tuple(by_name[name] for name in names)
    if len(numbers) != len(names):
        raise ValueError(
            f"the attribute {keys[0]} has {len(numbers)} numbers for {len(names)} bands; set one "
            "number a band, as in scene.attrs['scales'] = (0.0001,) * 10"
        )
    return tuple(numbers)


def select_bands(scene: xr.DataArray, bands: Sequence[str]) -> xr.DataArray:
    """Pick bands by name, in the given order.

    Raises
    ------
    ValueError
        If a band is missing or wanted twice.
    """
    names = band_names_of(scene)
    missing = [band for band in bands if band not in names]
    if missing:
        hint = suggestion(missing[0], names)
        raise ValueError(f"bands {missing} are not in the scene, which has {names}{hint}")
    if len(set(bands)) != len(bands):
        raise ValueError(f"each band can be taken once, got {list(bands)}")
    positions = [names.index(band) for band in bands]
    scales, offsets = band_scaling(scene)
    picked = scene.isel(band=positions)
    return with_band_attrs(picked, [scales[i] for i in positions], [offsets[i] for i in positions])


def with_names(scene: xr.DataArray, names: Sequence[str]) -> xr.DataArray:
    """Give all bands new names."""
    if isinstance(names, str) or len(names) != scene.sizes["band"]:
        raise ValueError(
            f"band_names (--band_names) needs {scene.sizes['band']} names, got {names!r}"
        )
    require_distinct(names)
    scales, offsets = band_scaling(scene)
    return with_band_attrs(scene.assign_coords(band=list(names)), scales, offsets)


def require_distinct(names: Sequence[str]) -> None:
    """Raise ValueError where two bands bear one name."""
    if len(set(names)) != len(names):
        raise ValueError(
            f"band names must differ from each other, got {list(names)}; give others with "
            "band_names= (--band_names)"
        )


def with_band_attrs(
    scene: xr.DataArray, scales: Sequence[float], offsets: Sequence[float]
) -> xr.DataArray:
    """Write scaling, and names as rioxarray writes them into files, into the attributes."""
    attrs: dict[str, object] = {"long_name": tuple(band_names_of(scene))}
    # also over what the scene said before, which may be of other bands or of another scaling
    known = any(key in scene.attrs for key in (*_SCALE_KEYS, *_OFFSET_KEYS))
    if known or any(scale != 1 for scale in scales) or any(offsets):
        attrs |= {"scales": tuple(scales), "offsets": tuple(offsets)}
    return scene.assign_attrs(attrs)


def with_scaling(scene: xr.DataArray, scale: float | None, offset: float | None) -> xr.DataArray:
    """Give all bands another scale or offset; None keeps what the scene says."""
    if scale is None and offset is None:
        return scene
    scales, offsets = band_scaling(scene)
    if scale is not None:
        scales = (scale,) * len(scales)
    if offset is not None:
        offsets = (offset,) * len(offsets)
    return with_band_attrs(scene, scales, offsets)


def stated_nodata(array: xr.DataArray) -> float | None:
    """Number of missing pixels that an array states; integers may state it in their encoding."""
    encoded = array.rio.encoded_nodata
    if encoded is not None and array.dtype.kind in "iu":
        return float(encoded)
    stated: float | None = array.rio.nodata
    return stated


def with_nodata(scene: xr.DataArray, nodata: float) -> xr.DataArray:
    """Mark a stored number as missing data."""
    try:
        marked: xr.DataArray = scene.rio.write_nodata(nodata)
    except (OverflowError, ValueError) as error:
        raise ValueError(
            f"nodata {nodata} cannot be stored in {scene.dtype}; give a number of that dtype"
        ) from error
    return marked


def nodata_text(scene: xr.DataArray) -> str:
    """What a scene says of missing data, for messages."""
    return "no nodata value" if scene.rio.nodata is None else f"nodata {scene.rio.nodata:g}"


def joined_nodata(scenes: Sequence[xr.DataArray]) -> list[xr.DataArray]:
    """Give scenes that state no nodata value that of the others, lazily.

    All their pixels are valid and stay so: numbers that equal the nodata value move by one. Where
    the others state different values, or one that fits no pixel, nothing changes.
    """
    stated = {str(float(one.rio.nodata)): one.rio.nodata for one in scenes if has_nodata(one)}
    if len(stated) != 1:
        return list(scenes)
    (mark,) = stated.values()
    return [
        with_free_nodata(scene, mark)
        if not has_nodata(scene) and fits(mark, scene.dtype)
        else scene
        for scene in scenes
    ]


def has_nodata(scene: xr.DataArray) -> bool:
    """Tell whether a scene states a nodata value."""
    return scene.rio.nodata is not None


def with_free_nodata(scene: xr.DataArray, nodata: float) -> xr.DataArray:
    """Give a scene of valid pixels a nodata value, from which equal numbers move by one."""
    marked = with_nodata(scene, nodata)
    if np.isnan(nodata):
        return marked
    if scene.chunks is None:
        return marked.copy(data=_moved(scene.values, nodata))
    moved = scene.data.map_blocks(_moved, nodata, dtype=scene.dtype, meta=scene.data._meta)
    return marked.copy(data=moved)


def _moved(values: np.ndarray, nodata: float) -> np.ndarray:
    result = values.copy()
    mark_missing(result.reshape(1, -1), np.zeros((1, 1), bool), [None], nodata)
    return result


def stack_bands(scenes: Sequence[xr.DataArray], names: Sequence[str]) -> xr.DataArray:
    """One scene of the bands of several on one grid."""
    require_distinct(names)
    _tell_of_dtypes(scenes)
    stack = xr.concat(
        scenes,
        "band",
        combine_attrs="override",
        join="override",
        coords="minimal",
        compat="override",
    )
    scalings = [band_scaling(scene) for scene in scenes]
    scales = [scale for found, _ in scalings for scale in found]
    offsets = [offset for _, found in scalings for offset in found]
    stack = with_band_attrs(stack.assign_coords(band=list(names)), scales, offsets)
    stated = next((scene.rio.nodata for scene in scenes if has_nodata(scene)), None)
    return stack if stated is None else with_nodata(stack, stated)


def _tell_of_dtypes(scenes: Sequence[xr.DataArray]) -> None:
    """Warn where bands of several dtypes become bands of one."""
    found = sorted({str(scene.dtype) for scene in scenes})
    if len(found) > 1:
        warn(
            f"the bands of the scene have different dtypes, {', '.join(found)}; all of them are "
            f"read as {np.result_type(*found)}",
            SceneWarning,
            stacklevel=3,
        )
