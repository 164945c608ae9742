"""Rasters resampled lazily onto another grid, one chunk of the target at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import ceil, floor, isfinite
from typing import TYPE_CHECKING, Any, Literal, get_args

import dask.array as da
import numpy as np
from affine import Affine

from seg4eo_xr.options import require_choice
from seg4eo_xr.scenes.grid import grid_transform, place, same_crs
from seg4eo_xr.scenes.turns import ordered, turn_of, turns_to

if TYPE_CHECKING:
    import xarray as xr

Resampling = Literal["nearest", "bilinear", "cubic", "lanczos", "average", "mode"]
Bounds = tuple[float, float, float, float]

# Pixels on each side that a kernel reaches, at equal resolutions.
_REACH = {"nearest": 1, "bilinear": 1, "cubic": 2, "lanczos": 3, "average": 1, "mode": 1}
_MARGIN = 2  # source pixels: what rounding at the edges of a window may need
_ROUNDING = 1e-6  # source pixels
_TILE_SIDE = 1024  # target pixels
_MOST_SOURCE = 4096  # source pixels a side of a tile
_FILL = "give a nodata value for what lies outside with nodata= (--nodata), or crop the target"
_POINTS = 21  # a side of a window: bends of a projection between its corners


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie.

    Parameters
    ----------
    crs
        WKT of its CRS, or another text that names one.
    transform
        North-up transform from pixels to CRS units.
    height, width
        Pixels.
    """

    crs: str
    transform: Affine
    height: int
    width: int

    @classmethod
    def of(cls, raster: xr.DataArray) -> Grid:
        """Take the grid of a georeferenced raster."""
        height, width = raster.shape[-2:]
        transform = grid_transform(raster, "the raster")
        return cls(raster.rio.crs.to_wkt(), transform, int(height), int(width))

    @property
    def pixel(self) -> tuple[float, float]:
        """Width and height of a pixel, in CRS units."""
        return self.transform.a, -self.transform.e

    @property
    def bounds(self) -> Bounds:
        """West, south, east and north, in CRS units."""
        west, north = self.transform @ (0, 0)
        east, south = self.transform @ (self.width, self.height)
        return west, south, east, north

    def window(self, rows: tuple[int, int], cols: tuple[int, int]) -> Grid:
        """Cut out rows and columns, from the first up to and without the last."""
        moved = self.transform @ Affine.translation(cols[0], rows[0])
        return replace(self, transform=moved, height=rows[1] - rows[0], width=cols[1] - cols[0])

    def moved(self, x: float) -> Grid:
        """The same grid, moved along x in CRS units."""
        return replace(self, transform=Affine.translation(x, 0) @ self.transform) if x else self

    def with_pixel(self, size: float) -> Grid:
        """The same extent in square pixels of `size` CRS units, rounded up to whole pixels.

        Examples
        --------
        >>> grid = Grid("EPSG:32633", Affine(10, 0, 0, 0, -10, 0), 5, 8)
        >>> coarse = grid.with_pixel(20)
        >>> coarse.height, coarse.width, coarse.pixel
        (3, 4, (20.0, 20.0))
        """
        if not (isfinite(size) and size > 0):
            raise ValueError(f"a pixel must be larger than 0 CRS units, got {size}")
        west, south, east, north = self.bounds
        # a rounding error in the extent must not add a row
        height, width = (ceil(side / size - 1e-6) for side in (north - south, east - west))
        transform = Affine(size, 0.0, west, 0.0, -size, north)
        return replace(self, transform=transform, height=max(1, height), width=max(1, width))


def resample(
    array: xr.DataArray,
    grid: Grid,
    *,
    resampling: Resampling = "nearest",
    fill: float | None = None,
) -> xr.DataArray:
    """Resample a raster onto a grid, lazily, with the same result for every chunking.

    It runs in tiles that follow from the two grids and nothing else, so that even the last bit of
    a sum does not depend on how the source is chunked.

    Parameters
    ----------
    array
        ``(y, x)``, ``(band, y, x)`` or ``(time, y, x)``, NumPy or dask.
    grid
        Where the result lies.
    resampling
        How pixels are derived: ``nearest`` keeps the stored numbers; ``bilinear``, ``cubic`` and
        ``lanczos`` interpolate; ``average`` and ``mode`` suit coarser grids. Nodata takes no part.
    fill
        Number outside of the raster; by default its nodata, or NaN for real numbers.

    Returns
    -------
    DataArray
        As `array` in dtype, bands, name and attributes; on `grid`, in dask chunks of at most 1024
        pixels a side.

    Raises
    ------
    ValueError
        If there is no such resampling, or nothing to fill uncovered pixels with.
    """
    from rasterio.crs import CRS

    require_choice("resampling", resampling, get_args(Resampling))
    source, nodata = Grid.of(array), array.rio.nodata
    if same_crs(CRS.from_user_input(source.crs), CRS.from_user_input(grid.crs)):
        source = replace(source, crs=grid.crs)  # without heights, for instance
    if fill is None:
        fill = np.nan if nodata is None and array.dtype.kind == "f" else nodata
    if fill is None:
        require_cover(source, grid, str(array.name or "the raster"))
        fill = 0
    job = _Job(source, grid, resampling, nodata, fill, _scale(source, grid))
    sides = [max(1, min(_TILE_SIDE, int(_MOST_SOURCE * ratio))) for ratio in job.scale[::-1]]
    rows, cols = da.core.normalize_chunks(tuple(sides), (grid.height, grid.width))
    data = array.data if array.chunks is not None else da.from_array(array.data, chunks=-1)
    blocks = [[_target_block(data, job, row, col) for col in _spans(cols)] for row in _spans(rows)]
    placed = place(da.block(blocks), grid.crs, grid.transform).assign_attrs(array.attrs)
    placed = placed.rename(dict(zip(placed.dims[:-2], array.dims[:-2], strict=True)))
    kept = {str(dim): array[dim].values for dim in array.dims[:-2] if dim in array.coords}
    return placed.assign_coords(kept).rename(array.name)


def require_cover(source: Grid, target: Grid, what: str, *, remedy: str = _FILL) -> None:
    """Raise ValueError unless every pixel centre of `target` lies within `source`."""
    half = Affine.translation(0.5, 0.5)
    centres = replace(
        target,
        transform=target.transform @ half,
        height=target.height - 1,
        width=target.width - 1,
    )
    west, south, east, north = bounds_in(source.crs, centres)
    left, bottom, right, top = source.bounds
    # far below a pixel: what rounding may shift
    slack_x, slack_y = (1e-6 * side for side in source.pixel)
    turn = turn_of(source.crs)
    shift = turns_to((west + east) / 2, (left + right) / 2, turn)
    within = west + shift >= left - slack_x and east + shift <= right + slack_x
    within = within or (bool(turn) and right - left >= turn - slack_x)
    if not (within and south >= bottom - slack_y and north <= top + slack_y):
        raise ValueError(
            f"{what} does not cover the target grid: in its CRS it spans {source.bounds}, the "
            f"target {bounds_in(source.crs, target)}; {remedy}"
        )


def resample_block(values: np.ndarray, source: Grid, target: Grid, job: _Job) -> np.ndarray:
    """Resample one block ``(..., y, x)``: the kernel.

    Parameters
    ----------
    values
        Source pixels, which lie on `source`.
    source, target
        Grids of the block and of the result.
    job
        How.
    """
    from rasterio.enums import Resampling as Method
    from rasterio.warp import reproject

    result = np.full((*values.shape[:-2], target.height, target.width), job.fill, values.dtype)
    for index in np.ndindex(values.shape[:-2]):
        reproject(
            np.ascontiguousarray(values[index]),
            result[index],
            src_transform=source.transform,
            src_crs=source.crs,
            dst_transform=target.transform,
            dst_crs=target.crs,
            src_nodata=job.nodata,
            dst_nodata=job.fill,
            resampling=Method[job.resampling],
            tolerance=0,  # an approximate transform would show the tiles
            XSCALE=job.scale[0],
            YSCALE=job.scale[1],
        )
    return result


@dataclass(frozen=True)
class _Job:
    """What all blocks of one resampling share."""

    source: Grid
    target: Grid
    resampling: Resampling
    nodata: float | None
    fill: float
    # Target pixels a source pixel. GDAL would guess them from a tile, and tiles would show.
    scale: tuple[float, float]


def _scale(source: Grid, target: Grid) -> tuple[float, float]:
    row, col = target.height // 2, target.width // 2
    west, south, east, north = bounds_in(source.crs, target.window((row, row + 1), (col, col + 1)))
    if not all(map(isfinite, (west, south, east, north))):
        return 1.0, 1.0
    return source.pixel[0] / (east - west), source.pixel[1] / (north - south)


def _target_block(data: Any, job: _Job, row: tuple[int, int], col: tuple[int, int]) -> Any:
    """One dask chunk of the result, which depends on the source pixels below it and no others."""
    target = job.target.window(row, col)
    margin = _MARGIN + ceil(_REACH[job.resampling] * max(1, 1 / job.scale[0], 1 / job.scale[1]))
    if job.resampling == "nearest" and job.source.crs == job.target.crs:
        # centres lie inside; a margin would tie tiles to the chunks beside theirs
        margin = 0
    rows, cols = _source_window(job.source, target, margin)
    shape = (*data.shape[:-2], target.height, target.width)
    found = _cut(data, job, rows, cols)
    if found is None:
        return da.full(shape, job.fill, dtype=data.dtype, chunks=-1)
    pixels, window = found
    return pixels.rechunk(-1, method="tasks").map_blocks(
        resample_block,
        source=window,
        target=target,
        job=job,
        chunks=tuple((length,) for length in shape),
        dtype=data.dtype,
        meta=np.empty((0,) * data.ndim, data.dtype),
    )


def _source_window(
    source: Grid, target: Grid, margin: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows of `source` that `target` needs, clipped; and columns, which may lie a turn away."""
    bounds = bounds_in(source.crs, target)
    # beyond the projection's domain GDAL finds out by pixel
    if not all(map(isfinite, bounds)):
        return (0, source.height), (0, source.width)
    left, bottom = ~source.transform @ bounds[:2]
    right, top = ~source.transform @ bounds[2:]
    (top, bottom), (left, right) = _whole(top, bottom), _whole(left, right)
    rows = _clipped(top - margin, bottom + margin, source.height)
    return rows, (left - margin, right + margin)


def _cut(
    data: da.Array, job: _Job, rows: tuple[int, int], cols: tuple[int, int]
) -> tuple[da.Array, Grid] | None:
    """Pixels of the source in a window, and where they lie; None where there are none.

    Columns go on around the earth: what lies beyond 180° is taken from the other end.
    """
    source, turn = job.source, turn_of(job.source.crs)
    around = round(turn / source.pixel[0])
    if rows[0] >= rows[1]:
        return None
    parts: list[da.Array] = []
    window, last = source, 0
    for turns in (-1, 0, 1) if around >= source.width else (0,):
        left, right = (column - turns * around for column in cols)
        left, right = _clipped(left, right, source.width)
        if left >= right:
            continue
        first = left + turns * around
        if not parts:
            window = source.window(rows, (left, right)).moved(turns * turn)
        elif first > last:
            gap = (*data.shape[:-2], rows[1] - rows[0], first - last)
            parts.append(da.full(gap, job.fill, dtype=data.dtype, chunks=-1))
        parts.append(data[..., slice(*rows), left:right])
        last = right + turns * around
    if not parts:
        return None
    pixels = parts[0] if len(parts) == 1 else da.concatenate(parts, axis=-1)
    return pixels, replace(window, width=pixels.shape[-1])


def _whole(start: float, stop: float) -> tuple[int, int]:
    """Whole pixels about a span; a rounding error adds none."""
    return floor(start + _ROUNDING), ceil(stop - _ROUNDING)


def _clipped(start: int, stop: int, size: int) -> tuple[int, int]:
    return min(max(start, 0), size), min(max(stop, 0), size)


def bounds_in(crs: str, grid: Grid) -> Bounds:
    """Bounds of a grid in another CRS; infinite where that does not know the place.

    East of 180° longitudes go on to 181° and so on where the grid crosses it.
    """
    from rasterio.crs import CRS
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_bounds

    ours, theirs = CRS.from_user_input(grid.crs), CRS.from_user_input(crs)
    if same_crs(ours, theirs):
        return grid.bounds
    try:
        west, south, east, north = transform_bounds(ours, theirs, *grid.bounds, densify_pts=_POINTS)
    except RasterioError:
        return (float("inf"),) * 4
    west, east = ordered(float(west), float(east), turn_of(crs))
    return west, float(south), east, float(north)


def _spans(lengths: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(pairwise(accumulate(lengths, initial=0)))
