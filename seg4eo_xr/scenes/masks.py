"""Clouds, shadows and other flagged pixels of a scene turned into nodata, lazily."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import dask.array as da
import numpy as np
import xarray as xr

from seg4eo_xr.scenes.bands import nodata_text, with_nodata
from seg4eo_xr.scenes.cubes import cube_of_array
from seg4eo_xr.scenes.forms import scene_of_array
from seg4eo_xr.scenes.grid import grid_difference, require_overlap
from seg4eo_xr.scenes.rasters import read_raster
from seg4eo_xr.scenes.resampling import Grid, resample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SclClass = Literal[
    "nodata", "saturated", "dark", "shadow", "vegetation", "bare", "water", "unclassified",
    "cloud_medium", "cloud_high", "cirrus", "snow",
]  # fmt: skip
QaFlag = Literal["fill", "dilated_cloud", "cirrus", "cloud", "shadow", "snow", "clear", "water"]

_SCL: tuple[SclClass, ...] = get_args(SclClass)
_QA: tuple[QaFlag, ...] = get_args(QaFlag)


@dataclass(frozen=True)
class Hidden:
    """Which numbers of a mask hide a pixel.

    Parameters
    ----------
    values
        Numbers that hide a pixel.
    bits
        Bits any of which hides a pixel where it is set; 0 is the lowest.
    """

    values: tuple[int, ...] = ()
    bits: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.values and not self.bits:
            raise ValueError("nothing would be hidden: name values or bits of the mask")
        if any(bit not in range(64) for bit in self.bits):
            raise ValueError(f"bits must lie in 0..63, got {self.bits}")

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        """Tell which pixels of a mask are hidden."""
        hidden = np.isin(mask, self.values)
        if self.bits:
            hidden |= (mask.astype(np.int64) & sum(1 << bit for bit in set(self.bits))) != 0
        return hidden


def sentinel2_scl(*classes: SclClass) -> Hidden:
    """Hide classes of Sentinel-2's scene classification (the band SCL).

    Parameters
    ----------
    *classes
        Names of classes; by default nodata, saturated, shadow, cloud_medium, cloud_high and cirrus.

    Returns
    -------
    Hidden
        What `mask_scene` takes.

    Examples
    --------
    >>> sentinel2_scl("cloud_high", "snow")
    Hidden(values=(9, 11), bits=())
    """
    chosen = classes or (
        "nodata", "saturated", "shadow", "cloud_medium", "cloud_high", "cirrus",
    )  # fmt: skip
    return Hidden(values=_positions(chosen, _SCL, "class of SCL"))


def landsat_qa(*flags: QaFlag) -> Hidden:
    """Hide flags of Landsat's quality band (QA_PIXEL of Collection 2).

    Parameters
    ----------
    *flags
        Names of flags; by default fill, dilated_cloud, cirrus, cloud and shadow.

    Returns
    -------
    Hidden
        What `mask_scene` takes.

    Examples
    --------
    >>> landsat_qa("cloud", "snow")
    Hidden(values=(), bits=(3, 5))
    """
    chosen = flags or ("fill", "dilated_cloud", "cirrus", "cloud", "shadow")
    return Hidden(bits=_positions(chosen, _QA, "flag of QA_PIXEL"))


def mask_scene(
    scene: xr.DataArray,
    mask: xr.DataArray | str | Path,
    hidden: Hidden | Sequence[int],
    *,
    nodata: float | None = None,
) -> xr.DataArray:
    """Turn flagged pixels of a scene or time series into nodata, in all bands, lazily.

    Parameters
    ----------
    scene
        ``(band, y, x)`` or ``(time, band, y, x)``.
    mask
        Flags ``(y, x)``, for a time series also ``(time, y, x)``; or a raster file of one band. A
        mask of other resolution, as SCL of 20 m, is brought onto the scene by its nearest pixel;
        what lies outside of a smaller mask is hidden.
    hidden
        Numbers of the mask that hide a pixel, or `sentinel2_scl`, `landsat_qa`, `Hidden`.
    nodata
        Stored number for hidden pixels, where the scene has none. Real numbers get NaN without it.

    Returns
    -------
    DataArray
        As `scene`, hidden pixels being nodata.

    Raises
    ------
    TypeError
        If `hidden` is none of these, as ``sentinel2_scl`` without its parentheses.
    ValueError
        If the mask does not overlap the scene or has other dates, or there is no nodata value.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, _ = synthetic_sentinel2((4, 4), nodata_wedge=False)
    >>> flags = scene[0].copy(data=np.eye(4, dtype=np.uint8) * 9)
    >>> int((mask_scene(scene, flags, [9]) == 0).sum())
    40
    """
    name, is_cube = scene.name, "time" in scene.dims
    scene = cube_of_array(scene, "the cube") if is_cube else scene_of_array(scene, "the scene")
    rule = _rule(hidden)
    scene = _with_fill(scene, nodata)
    fill = scene.rio.nodata if scene.rio.nodata is not None else np.nan
    flags, rule = _on_scene(_flags(mask), scene, rule)
    if scene.chunks is None:
        return scene.copy(data=mask_block(scene.values, flags.values, rule, fill)).rename(name)
    # a mask without dates holds for all of them
    lazy = da.asarray(flags.data).rechunk(
        {axis: scene.chunksizes[dim] for axis, dim in enumerate(flags.dims)}
    )
    letters = {"time": "t", "band": "b", "y": "y", "x": "x"}
    data = da.blockwise(
        mask_block,
        [letters[str(dim)] for dim in scene.dims],
        scene.data,
        [letters[str(dim)] for dim in scene.dims],
        lazy,
        [letters[str(dim)] for dim in flags.dims],
        rule=rule,
        fill=fill,
        dtype=scene.dtype,
        meta=np.empty((0,) * scene.ndim, scene.dtype),
    )
    return scene.copy(data=data).rename(name)


def mask_block(values: np.ndarray, flags: np.ndarray, rule: Hidden, fill: float) -> np.ndarray:
    """Hide pixels of one block: the kernel.

    Parameters
    ----------
    values
        ``(..., band, y, x)``.
    flags
        ``(y, x)`` or ``(time, y, x)``.
    rule
        Which flags hide a pixel.
    fill
        Number of hidden pixels.
    """
    hidden = np.expand_dims(rule(flags), -3)
    return np.where(hidden, np.asarray(fill, values.dtype), values)


def _positions(chosen: Sequence[str], known: Sequence[str], what: str) -> tuple[int, ...]:
    for name in chosen:
        if name not in known:
            raise ValueError(f"{name!r} is no {what}; known: {', '.join(known)}")
    return tuple(known.index(name) for name in chosen)


def _rule(hidden: Hidden | Sequence[int]) -> Hidden:
    if isinstance(hidden, Hidden):
        return hidden
    if callable(hidden):
        name = getattr(hidden, "__name__", "hidden")
        raise TypeError(f"hidden is the function {name} itself; call it, as in {name}()")
    try:
        return Hidden(values=tuple(operator.index(value) for value in hidden))
    except TypeError as error:
        raise TypeError(
            "hidden must be numbers of the mask, as [3, 8, 9], or sentinel2_scl(), landsat_qa() or "
            f"Hidden(...), got {hidden!r}"
        ) from error


def _with_fill(scene: xr.DataArray, nodata: float | None) -> xr.DataArray:
    """A scene that has a number for hidden pixels."""
    own = scene.rio.nodata
    if nodata is not None and own is not None and own != nodata:
        raise ValueError(
            f"nodata is {nodata}, but the scene has {nodata_text(scene)}; leave it out"
        )
    if own is None and nodata is None and scene.dtype.kind != "f":
        raise ValueError(
            f"the scene ({scene.dtype}) has no nodata value for hidden pixels; give a number that "
            "no pixel has with nodata="
        )
    return scene if nodata is None else with_nodata(scene, nodata)


def _flags(mask: xr.DataArray | str | Path) -> xr.DataArray:
    """A mask ``(y, x)`` or ``(time, y, x)`` of integers."""
    if not isinstance(mask, xr.DataArray):
        mask = read_raster(mask, what="mask")
    form = cube_of_array if "time" in mask.dims else scene_of_array
    mask = form(mask, "the mask")
    if mask.sizes["band"] != 1:
        raise ValueError(
            f"the mask has {mask.sizes['band']} bands, {mask['band'].values.tolist()}; pick the "
            "one that holds the flags, as with scene.sel(band='SCL')"
        )
    if mask.dtype.kind not in "uib":
        raise ValueError(f"the mask must hold integers, got {mask.dtype}")
    return mask.isel(band=0, drop=True)


def _on_scene(
    flags: xr.DataArray, scene: xr.DataArray, rule: Hidden
) -> tuple[xr.DataArray, Hidden]:
    """A mask on the scene's pixels and dates, and a rule that hides what lies outside of it."""
    if "time" in flags.dims:
        if "time" not in scene.dims:
            raise ValueError(
                "the mask has dates, but the scene has none; pick one with mask.isel(time=0)"
            )
        missing = np.setdiff1d(scene["time"].values, flags["time"].values)
        if missing.size:
            raise ValueError(
                f"the mask lacks {missing.size} of the {scene.sizes['time']} dates of the time "
                f"series, the first of them {np.datetime_as_string(missing[0], 's')}"
            )
        flags = flags.sel(time=scene["time"].values)
    if not grid_difference(flags, scene):
        return flags, rule
    require_overlap(flags, scene, "the pixels of the mask")
    wide = np.int32 if flags.dtype.itemsize < 4 else np.int64
    outside = int(np.iinfo(wide).min)  # a number that no mask holds
    # its own nodata would be taken for what lies outside
    moved = flags.astype(wide).drop_attrs(deep=False)
    onto = resample(moved, Grid.of(scene), fill=outside)
    return onto, replace(rule, values=(*rule.values, outside))
