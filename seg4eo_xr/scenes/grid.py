"""Where a raster lies: dimensions, CRS and transform, brought into one form and compared."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from affine import Affine
from rasterio.windows import Window

from seg4eo_xr.notices import warn
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.turns import ordered, turn_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

_DIMS = ("band", "y", "x")
_SPATIAL_NAMES = {"latitude": "y", "longitude": "x", "lat": "y", "lon": "x"}
_PIXEL_TOLERANCE = 0.01
# A turn and a half: longitudes run from 0 to 360 in some data, and bounds may stick out a little.
_MOST_DEGREES = 540.0
_KILOMETRES = {"km", "kilometer", "kilometers", "kilometre", "kilometres"}
_RADIANS = {"rad", "radian", "radians"}
_WARP_LABELS = "Warp the labels onto the scene: warp=True (--warp)"


def require_same_grid(
    a: xr.DataArray, b: xr.DataArray, what_a: str, what_b: str, *, remedy: str = _WARP_LABELS
) -> None:
    """Raise ValueError unless two rasters share CRS, transform and shape.

    Transforms may differ by a hundredth of a pixel at the corners. Where they
    differ because one has no CRS, the error says so.
    """
    problem = grid_difference(a, b)
    if problem:
        for array, what in ((a, what_a), (b, what_b)):
            require_crs(array, what)
        grids = [f"{what} is {_grid_text(array)}" for what, array in ((what_a, a), (what_b, b))]
        if not _overlap(a, b):
            raise ValueError(
                f"{what_a} and {what_b} have {problem} and do not overlap: {'; '.join(grids)}. "
                "Check that they belong together, and the CRS of both"
            )
        raise ValueError(f"{what_a} and {what_b} have {problem}: {'; '.join(grids)}. {remedy}")


def grid_difference(a: xr.DataArray, b: xr.DataArray) -> str:
    """In what two rasters' grids differ; empty where they are one."""
    shapes = [tuple(array.shape[-2:]) for array in (a, b)]
    if not same_crs(a.rio.crs, b.rio.crs):
        return "different CRSs"
    if shapes[0] != shapes[1]:
        return "different shapes"
    # By coordinates: a selection of every nth pixel leaves the stated transform as it was.
    first, second = (grid_transform(array, "the raster") for array in (a, b))
    same = corners_agree(first, second, shapes[0])
    return "" if same else "different transforms"


def same_crs(one: Any, other: Any) -> bool:
    """Whether two CRSs of rasterio, or None, give a place the same coordinates x and y.

    A compound CRS is the same as its horizontal part. The order of axes plays no part, since x
    always goes first here.
    """
    if one is None or other is None:
        return one is other
    return bool(one == other) or _same_horizontally(one.to_wkt(), other.to_wkt())


@lru_cache(maxsize=256)
def _same_horizontally(one: str, other: str) -> bool:
    import pyproj

    flat = [pyproj.CRS.from_wkt(wkt).to_2d() for wkt in (one, other)]
    return flat[0].equals(flat[1], ignore_axis_order=True)


def cut_to(raster: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Cut a raster ``(..., y, x)`` to the extent of another where it has all of the other's pixels.

    Pixels are the same ones up to a hundredth of their size at the corners. Otherwise the raster
    is given back as it is.
    """
    pixel = grid_transform(raster, "the raster")
    # By coordinates, which follow any selection; a transform in attributes may not.
    row = round(float(like["y"][0] - raster["y"][0]) / pixel.e)
    column = round(float(like["x"][0] - raster["x"][0]) / pixel.a)
    height, width = like.shape[-2:]
    if min(row, column) < 0 or row + height > raster.shape[-2] or column + width > raster.shape[-1]:
        return raster
    cut = raster.rio.isel_window(Window(column, row, width, height))
    return raster if grid_difference(cut, like) else cut


def require_overlap(raster: xr.DataArray, scene: xr.DataArray, what: str) -> None:
    """Raise ValueError where the bounds of a raster, which `what` names in plural, miss a scene."""
    if _overlap(raster, scene):
        return
    there = scene.rio.transform_bounds(raster.rio.crs)
    here = raster.rio.bounds()
    spans = [tuple(round(bound, 6) for bound in bounds) for bounds in (here, there)]
    raise ValueError(
        f"{what} do not overlap the scene: in {crs_text(raster.rio.crs)} they span {spans[0]}, the "
        f"scene spans {spans[1]}; check the CRS of both"
    )


def _overlap(a: xr.DataArray, b: xr.DataArray) -> bool:
    """Whether the bounds of two rasters have an area in common."""
    west, south, east, north = b.rio.transform_bounds(a.rio.crs)
    here, turn = a.rio.bounds(), turn_of(a.rio.crs)
    west, east = ordered(west, east, turn)
    shifts = (-turn, 0.0, turn) if turn else (0.0,)
    meet = any(here[0] < east + shift and west + shift < here[2] for shift in shifts)
    return bool(meet and here[1] < north and south < here[3])


def corners_agree(one: Affine, other: Affine, shape: tuple[int, ...]) -> bool:
    """Whether two north-up grids of a shape differ by at most a hundredth of a pixel."""
    height, width = shape
    gaps = [
        (one.c - other.c) / one.a,
        (one.f - other.f) / one.e,
        (one.c - other.c + width * (one.a - other.a)) / one.a,
        (one.f - other.f + height * (one.e - other.e)) / one.e,
    ]
    return max(map(abs, gaps)) <= _PIXEL_TOLERANCE


def _grid_text(array: xr.DataArray) -> str:
    transform = grid_transform(array, "the raster")
    height, width = array.shape[-2:]
    return (
        f"{height} × {width} px of {transform.a:.9g} × {-transform.e:.9g} units "
        f"from ({transform.c:.9g}, {transform.f:.9g}) in {crs_text(array.rio.crs)}"
    )


def crs_text(crs: Any) -> str:
    """Name of a CRS, after its EPSG code where it has one: several definitions may share a code."""
    code, name = crs.to_epsg(), crs.to_wkt().split('"')[1]
    return f"EPSG:{code} ({name})" if code else name


def require_degrees(bounds: Sequence[float], crs: Any, what: str) -> None:
    """Raise ValueError where something in a CRS of degrees spans what can only be metres.

    Parameters
    ----------
    bounds
        West, south, east and north in CRS units.
    crs
        CRS of rasterio or pyproj.
    what
        What the error message calls it.
    """
    west, south, east, north = (float(bound) for bound in bounds)
    if not crs.is_geographic:
        return
    if max(abs(west), abs(east)) > _MOST_DEGREES or max(abs(south), abs(north)) > _MOST_DEGREES:
        spans = tuple(round(bound, 3) for bound in (west, south, east, north))
        raise ValueError(
            f"{what} claim to be in {crs_text(crs)}, whose units are degrees, but span {spans}: "
            "these look like metres. State the CRS that they were made in, as with "
            "features.set_crs('EPSG:...', allow_override=True), `ogr2ogr -a_srs EPSG:...` or, for "
            "rasters, `gdal_edit.py -a_srs EPSG:... FILE`"
        )


def require_crs_units(units: object, crs: Any, what: str) -> None:
    """Raise ValueError where coordinates are not in the units of their projected CRS.

    Parameters
    ----------
    units
        What the coordinates state, by the CF conventions; None where they state nothing.
    crs
        CRS of rasterio.
    what
        What the error message calls the raster.
    """
    unit = str(units).strip().lower()
    if not crs.is_projected or unit not in _KILOMETRES | _RADIANS:
        return
    name, factor = crs.linear_units_factor
    if unit in _KILOMETRES and factor == 1000:
        return
    times = f"{1000 / factor:g}" if unit in _KILOMETRES else "perspective_point_height"
    raise ValueError(
        f"the coordinates of {what} are in {unit}, but its CRS {crs_text(crs)} is in {name}; "
        f"convert them, as with dataset.assign_coords(x=dataset.x * {times}, y=dataset.y * "
        f"{times}) and units '{name}' in the attributes of x and y (of a file after "
        "xarray.open_dataset)"
    )


def place(data: Any, crs: Any, transform: Affine) -> xr.DataArray:
    """Give an array ``(..., y, x)`` pixel-centre coordinates, CRS and transform.

    Parameters
    ----------
    data
        NumPy or dask array, ``(y, x)``, ``(band, y, x)`` or ``(time, band, y, x)``.
    crs
        Anything that rioxarray takes for a CRS.
    transform
        North-up transform from pixels to CRS units.
    """
    height, width = data.shape[-2:]
    coords = {
        "y": transform.f + transform.e * (np.arange(height) + 0.5),
        "x": transform.c + transform.a * (np.arange(width) + 0.5),
    }
    placed = xr.DataArray(data, coords, ("time", *_DIMS)[-data.ndim :])
    placed = placed.rio.write_crs(crs).rio.write_transform(transform)
    located: xr.DataArray = placed.rio.write_coordinate_system()
    return located


def as_band_y_x(array: xr.DataArray, what: str) -> xr.DataArray:
    """Rename and transpose the dimensions to ``band``, ``y``, ``x``; a plane gets a band."""
    require_one_date(array, what)
    if "time" in array.dims:
        array = array.squeeze("time", drop=True)
    known = {*_DIMS, *_SPATIAL_NAMES}
    lengthless = [
        d for d in array.dims if d not in known and array.sizes[d] == 1 and array.ndim > 3
    ]
    array = spatial_names(array.squeeze(lengthless, drop=True))
    if set(array.dims) != set(_DIMS):
        raise ValueError(
            f"{what} has the dimensions {tuple(array.dims)}, but a scene has band, y and x; "
            "rename them with scene.rename(...), and pick of others one with scene.isel(...)"
        )
    if 0 in array.shape:
        raise ValueError(f"{what} is empty: its shape is {array.shape}")
    return array.transpose(*_DIMS)


def require_one_date(data: xr.DataArray | xr.Dataset, what: str) -> None:
    """Raise ValueError where data have several dates."""
    if data.sizes.get("time", 1) != 1:
        raise ValueError(
            f"{what} is a time series of {data.sizes['time']} dates, but one scene is wanted; "
            "take one date with cube.isel(time=0), all dates apart with scenes_of(cube), or one "
            "image of them with composite(cube)"
        )


def plane_dims(array: xr.DataArray) -> tuple[Hashable, Hashable]:
    """Names of an array's dimensions of rows and columns; the last two where no name says so."""
    named = {_SPATIAL_NAMES.get(str(dim), dim): dim for dim in array.dims}
    rows, columns = array.dims[-2:]
    return (named["y"], named["x"]) if {"y", "x"} <= set(named) else (rows, columns)


def spatial_names(array: xr.DataArray) -> xr.DataArray:
    """Name the dimensions ``time``, ``band``, ``y`` and ``x``; a plane gets a band."""
    array = array.rename(
        {d: _SPATIAL_NAMES[str(d)] for d in array.dims if str(d) in _SPATIAL_NAMES}
    )
    if "band" in array.dims:
        return array
    array = array.drop_vars("band", errors="ignore")
    others = [d for d in array.dims if d not in ("time", *_DIMS)]
    return array.rename({others[0]: "band"}) if len(others) == 1 else array.expand_dims("band")


def grid_transform(array: xr.DataArray, what: str) -> Affine:
    """North-up transform of an array's pixels.

    It is the stated one where the coordinates agree, and else that of the coordinates, which follow
    any selection. Coordinates of corners, as stackstac gives them, are recognised by the attribute
    ``transform``.
    """
    shape = array.shape[-2:]
    stated = _stated_transform(array) or Affine.identity()
    found = [_step(array[dim].values, dim, what) for dim in ("x", "y") if dim in array.coords]
    if len(found) < 2:
        return north_up(stated, shape, what)
    (x, dx), (y, dy) = found
    # a single row or column has no step of its own
    dx, dy = dx or stated.a, dy or stated.e
    measured = north_up(Affine(dx, 0.0, x - dx / 2, 0.0, dy, y - dy / 2), shape, what)
    if corners_agree(stated, measured, shape):  # the stated numbers are the exact ones
        return Affine(stated.a, 0.0, stated.c, 0.0, stated.e, stated.f)
    return _of_corners(array, measured, what)


def _stated_transform(array: xr.DataArray) -> Affine | None:
    mapping = array.coords.get(array.rio.grid_mapping)
    numbers = None if mapping is None else mapping.attrs.get("GeoTransform")
    if numbers is not None:
        return Affine.from_gdal(*map(float, str(numbers).split()))
    return _transform_in_attrs(array)


def _transform_in_attrs(array: xr.DataArray) -> Affine | None:
    """The attribute ``transform``, six or nine numbers in the order of `affine.Affine`."""
    with suppress(KeyError, TypeError, ValueError):
        return Affine(*[float(number) for number in array.attrs["transform"]][:6])
    return None


def _of_corners(array: xr.DataArray, measured: Affine, what: str) -> Affine:
    """Transform of coordinates that may be those of upper left corners, not of centres.

    They are where they lie half a pixel from the centres of a stated grid of the same pixels. The
    attribute ``transform`` goes with coordinates of either kind, so it counts. A CRS variable goes
    with centres, and stays as it is where an array is moved, so there the coordinates count.
    """
    in_attrs = _transform_in_attrs(array)
    stated = in_attrs or _stated_transform(array)
    if stated is None or not stated.determinant:
        return measured
    moved = measured @ Affine.translation(0.5, 0.5)
    column, row = (round(number) for number in ~stated @ (moved.c, moved.f))
    corners = stated @ Affine.translation(column, row)
    if not corners_agree(corners, moved, array.shape[-2:]):
        return measured
    taken = "the coordinates are taken for centres"
    if in_attrs:
        taken = "the coordinates are taken for the upper left corners of pixels"
    warn(
        f"the coordinates of {what} and its transform {tuple(stated)[:6]} differ by half a pixel; "
        f"{taken}. Where that is wrong, remove the transform (array.attrs.pop('transform'), or "
        "array.drop_vars('spatial_ref') and rio.write_crs again) or move the coordinates to the "
        "centres of pixels (with stackstac, xy_coords='center')",
        SceneWarning,
        stacklevel=4,
    )
    return corners if in_attrs else measured


def _step(centres: np.ndarray, dim: str, what: str) -> tuple[float, float]:
    """First pixel centre and distance between centres; 0 for a single pixel."""
    centres = np.asarray(centres, np.float64)
    if centres.size == 1:
        return float(centres[0]), 0.0
    step = (centres[-1] - centres[0]) / (centres.size - 1)
    even = centres[0] + step * np.arange(centres.size)
    if not step or np.abs(centres - even).max() > 0.1 * abs(step):
        raise ValueError(
            f"{what} has uneven {dim} coordinates; resample it onto a regular grid, as with "
            "scene.interp(...)"
        )
    return float(centres[0]), float(step)


def missing_crs(what: str, path: str = "FILE") -> str:
    """Text of the error for rasters that lie nowhere."""
    return (
        f"{what} has no CRS; set it with scene.rio.write_crs('EPSG:...'), or in the file with "
        f"`gdal_edit.py -a_srs EPSG:... {path}`"
    )


def require_crs(raster: xr.DataArray, what: str) -> None:
    """Raise ValueError where a raster has no CRS."""
    if raster.rio.crs is None:
        raise ValueError(missing_crs(what))


def north_up(transform: Affine, shape: tuple[int, ...], what: str, path: str = "FILE") -> Affine:
    """Transform without a shear that moves no corner by a hundredth of a pixel.

    Parameters
    ----------
    transform
        From pixels to CRS units.
    shape
        Height and width in pixels.
    what, path
        What error messages call the raster, and its file.

    Raises
    ------
    ValueError
        If the transform is missing, rotated or mirrored.
    """
    if transform.is_identity:
        raise ValueError(
            f"{what} has a CRS but no geotransform; set it with scene.rio.write_transform(...), or "
            f"in the file with `gdal_edit.py -a_ullr WEST NORTH EAST SOUTH {path}`"
        )
    height, width = shape
    shear = abs(transform.b) * height, abs(transform.d) * width
    if shear[0] > _PIXEL_TOLERANCE * abs(transform.a) or (
        shear[1] > _PIXEL_TOLERANCE * abs(transform.e)
    ):
        raise ValueError(
            f"{what} has a rotated geotransform {tuple(transform)[:6]}; warp it to a north-up grid "
            f"with `gdalwarp {path} north_up.tif`"
        )
    if transform.a <= 0 or transform.e >= 0:
        raise ValueError(
            f"{what} has pixels of {transform.a} by {transform.e} CRS units, but rows must run "
            "from north to south and columns from west to east; flip it with "
            f"scene.isel(y=slice(None, None, -1)), or with `gdalwarp {path} north_up.tif`"
        )
    return Affine(transform.a, 0.0, transform.c, 0.0, transform.e, transform.f)


def require_real_dtype(dtypes: Sequence[str], what: str) -> None:
    """Raise ValueError where a dtype is neither integer nor real."""
    for dtype in dtypes:
        if dtype.startswith("complex") or np.dtype(dtype).kind not in "uif":
            raise ValueError(
                f"{what} has the dtype {dtype}, but scenes hold integers or real numbers; of "
                "complex data take the amplitude first, as with np.abs(scene)"
            )
