"""Several scenes as one, so that no border of a scene leaves a seam in the map."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, floor
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from rasterio.crs import CRS

from seg4eo_xr.options import changed
from seg4eo_xr.scenes.bands import (
    band_names_of,
    band_scaling,
    joined_nodata,
    nodata_text,
    select_bands,
    with_nodata,
)
from seg4eo_xr.scenes.clipping import with_room_for_nodata
from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.scenes.data_bounds import BoundedLayer
from seg4eo_xr.scenes.grid import place, same_crs
from seg4eo_xr.scenes.harmonize import of_one_convention, unmarked
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.scenes.resampling import Grid, bounds_in, resample
from seg4eo_xr.scenes.scene_options import SceneOptions
from seg4eo_xr.scenes.turns import turn_of, turns_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from seg4eo_xr.scenes.open import SceneSource

_BLOCK = 1024  # pixels
# Pixels by which grids may differ and still be one.
_TOLERANCE = 0.01
# Relative; a scene of other pixels than the first is not meant to be one of its neighbours.
_SIZES_DIFFER = 1e-6


def open_mosaic(
    sources: Sequence[SceneSource],
    options: SceneOptions | None = None,
    *,
    like: xr.DataArray | None = None,
    **changes: Any,
) -> xr.DataArray:
    """Open several scenes as one, lazily: where they overlap, the first that holds data counts.

    A chunk of the mosaic reads the scenes that it touches and no others, so memory does not grow
    with their number. Pixels of scenes on one lattice are taken as they are; scenes of another CRS
    or pixel size are resampled.

    Parameters
    ----------
    sources
        Scenes, as `open_scene` takes them; the first counts first.
    options
        Bands, nodata, resolution and resampling of all of them; see `SceneOptions`. A resolution is
        that of the mosaic.
    like
        Scene whose grid the mosaic takes; by default the lattice of the first scene, in its CRS,
        extended to all scenes.
    **changes
        Fields of `SceneOptions` to set, as ``resampling="bilinear"``.

    Returns
    -------
    DataArray (band, y, x)
        A scene in the dtype of the first; nodata where no scene holds data.

    Raises
    ------
    ValueError
        If there is no scene, or scenes differ in bands, dtype, nodata or scaling.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, _ = synthetic_sentinel2((64, 96), nodata_wedge=False)
    >>> mosaic = open_mosaic([scene[..., :50], scene[..., 40:]])
    >>> mosaic.shape, bool((mosaic == scene).all())
    ((10, 64, 96), True)
    """
    if not sources:
        raise ValueError("the list of scenes is empty; give at least one")
    chosen = changed(options, SceneOptions, changes)
    own_grids = replace(chosen, resolution=None)
    scenes = [open_scene(source, own_grids) for source in sources]
    names = [str(scene.encoding.get("source", n)) for n, scene in enumerate(scenes, 1)]
    lowered = of_one_convention(scenes, names)
    scenes = joined_nodata(scenes)
    scenes = [with_room_for_nodata(scene, chosen.nodata) for scene in scenes]
    scenes = [_like_first(scenes[0], scene, number) for number, scene in enumerate(scenes, 1)]
    grid = _common_grid(scenes) if like is None else Grid.of(like)
    if chosen.resolution == "finest":
        grid = grid.with_pixel(min(min(size) for size in _pixel_sizes(scenes, grid)))
    elif chosen.resolution is not None:
        grid = grid.with_pixel(float(chosen.resolution))
    elif like is None:
        _require_one_size(scenes, grid)
    turn = turn_of(grid.crs)
    shifts = (-turn, 0.0, turn) if turn else (0.0,)
    every = (_Part.of(scene, grid, chosen, shift) for scene in scenes for shift in shifts)
    parts = [part for part in every if part]
    data = _merge_parts(parts, grid, scenes[0])
    mosaic = place(data, grid.crs, grid.transform).assign_attrs(scenes[0].attrs)
    mosaic = mosaic.assign_coords(band=scenes[0]["band"].values).rename("scene")
    if not lowered:
        mosaic = unmarked(mosaic)
    nodata = scenes[0].rio.nodata
    return mosaic if nodata is None else with_nodata(mosaic, nodata)


def _like_first(first: xr.DataArray, scene: xr.DataArray, number: int) -> xr.DataArray:
    """A scene with the first one's order of bands, if it is of its kind."""
    names = [band_names_of(one) for one in (first, scene)]
    if set(names[0]) != set(names[1]):
        raise ValueError(
            f"scene {number} of the mosaic has the bands {names[1]}, but the first has {names[0]}; "
            "pick those that all scenes have with bands=[...] (--bands)"
        )
    scene = select_bands(scene, names[0])
    # NaN is missing whether it is said or not
    alike = np.array_equal([_nodata(first)], [_nodata(scene)], equal_nan=True)
    if first.dtype != scene.dtype or not alike:
        kinds = [f"{one.dtype} with {nodata_text(one)}" for one in (first, scene)]
        raise ValueError(
            f"scene {number} of the mosaic is {kinds[1]}, but the first is {kinds[0]}; make them "
            "alike with scene.astype(...) and nodata= (--nodata)"
        )
    if band_scaling(scene) != band_scaling(first):
        raise ValueError(
            f"scene {number} of the mosaic and the first differ in scale or offset: "
            f"{band_scaling(scene)} and {band_scaling(first)}; bring Sentinel-2 to one convention "
            "with --harmonize auto (harmonize='auto')"
        )
    return scene


def _pixel_sizes(scenes: Sequence[xr.DataArray], grid: Grid) -> list[tuple[float, float]]:
    """Pixel sizes of the scenes whose CRS is that of the mosaic."""
    own = [Grid.of(scene) for scene in scenes]
    return [one.pixel for one in own if _same_crs(one, grid)]


def _same_crs(one: Grid, other: Grid) -> bool:
    """Whether the CRSs of two grids are one; heights play no part."""
    if one.crs == other.crs:
        return True
    return same_crs(CRS.from_user_input(one.crs), CRS.from_user_input(other.crs))


def _require_one_size(scenes: Sequence[xr.DataArray], grid: Grid) -> None:
    sizes = _pixel_sizes(scenes, grid)
    if not np.allclose(sizes, sizes[0], rtol=_SIZES_DIFFER):
        told = sorted({f"{width:g} × {height:g}" for width, height in sizes})
        raise ValueError(
            f"the scenes of the mosaic have pixels of {' and '.join(told)}; name the size that the "
            "mosaic takes, in units of its CRS or as the finest: resolution='finest' "
            "(--resolution finest)"
        )


def _nodata(scene: xr.DataArray) -> float:
    """Number of missing pixels: NaN where nothing else is said of real numbers."""
    return np.nan if scene.rio.nodata is None else float(scene.rio.nodata)


def _common_grid(scenes: Sequence[xr.DataArray]) -> Grid:
    """The lattice of the first scene, as far as all scenes reach."""
    first = Grid.of(scenes[0])
    spans = [_span_on(first, Grid.of(scene)) for scene in scenes]
    rows, cols = zip(*spans, strict=True)
    (top, bottom), (left, right) = _reach(rows), _reach(cols)
    half = turn_of(first.crs) / 2 / first.pixel[0]
    if half and right - left > half:  # nearest to the first, they may be closer together
        nearest = [_moved(span, turns_to(sum(span), first.width, 4 * half) / 2) for span in cols]
        if (closer := _reach(nearest))[1] - closer[0] <= half:
            left, right = closer
    return first.window((top, bottom), (left, right))


def _reach(spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(start for start, _ in spans), max(stop for _, stop in spans)


def _moved(span: tuple[int, int], by: float) -> tuple[int, int]:
    return span[0] + round(by), span[1] + round(by)


def _span_on(lattice: Grid, grid: Grid) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of a lattice, which may be negative, that another grid covers."""
    west, south, east, north = bounds_in(lattice.crs, grid)
    if not np.isfinite([west, south, east, north]).all():
        raise ValueError(
            "a scene of the mosaic lies where the CRS of the first is not defined; name a grid "
            "that suits all of them with like=scene"
        )
    left, top = ~lattice.transform @ (west, north)
    right, bottom = ~lattice.transform @ (east, south)
    (top, bottom), (left, right) = (
        (floor(start + _TOLERANCE), ceil(stop - _TOLERANCE))
        for start, stop in ((top, bottom), (left, right))
    )
    return (top, bottom), (left, right)


class _Part(NamedTuple):
    """Pixels of one scene on the grid of the mosaic, in the blocks of the mosaic."""

    data: da.Array
    row: int
    col: int
    bounds: tuple[tuple[int, int], ...]
    """Rows and columns of the mosaic that the scene covers."""

    @classmethod
    def of(
        cls, scene: xr.DataArray, grid: Grid, options: SceneOptions, shift: float
    ) -> _Part | None:
        """Bring a scene, moved along x by whole turns, onto the mosaic; None where it is beside."""
        rows, cols = _span_on(grid, Grid.of(scene))
        spans = rows, _moved(cols, shift / grid.pixel[0])
        sides = grid.height, grid.width
        inside = [
            (max(0, start), min(side, stop))
            for (start, stop), side in zip(spans, sides, strict=True)
        ]
        if any(start >= stop for start, stop in inside):
            return None
        blocks = [(start // _BLOCK, -(-stop // _BLOCK)) for start, stop in inside]
        window = grid.window(
            *(
                (first * _BLOCK, min(side, last * _BLOCK))
                for (first, last), side in zip(blocks, sides, strict=True)
            )
        )
        data = _aligned(scene, window, shift)
        if data is None:
            resampled = resample(scene, window, resampling=options.resampling, fill=_nodata(scene))
            data = resampled.data
        data = data.rechunk({0: -1, 1: _BLOCK, 2: _BLOCK}, method="tasks")
        return cls(data, blocks[0][0], blocks[1][0], tuple(inside))


def _aligned(scene: xr.DataArray, window: Grid, shift: float) -> da.Array | None:
    """Pixels of a scene on a window of its own lattice; None where it has another."""
    grid = Grid.of(scene).moved(shift)
    if not _same_crs(grid, window) or not np.allclose(grid.pixel, window.pixel, rtol=1e-9):
        return None
    left, top = ~grid.transform @ (window.transform.c, window.transform.f)
    if max(abs(left - round(left)), abs(top - round(top))) > _TOLERANCE:
        return None
    first = round(top), round(left)
    last = first[0] + window.height, first[1] + window.width
    data = da.asarray(scene.data)
    data = data[
        :, max(0, first[0]) : min(grid.height, last[0]), max(0, first[1]) : min(grid.width, last[1])
    ]
    lacking = [
        (max(0, -start), max(0, stop - side))
        for start, stop, side in zip(first, last, (grid.height, grid.width), strict=True)
    ]
    padded: da.Array = da.pad(data, [(0, 0), *lacking], constant_values=_nodata(scene))
    return padded


def _merge_parts(parts: Sequence[_Part], grid: Grid, like: xr.DataArray) -> da.Array:
    """Assemble the mosaic, block by block, from the scenes that reach into it."""
    bands, dtype, fill = like.sizes["band"], like.dtype, _nodata(like)
    rows, cols = da.core.normalize_chunks((_BLOCK, _BLOCK), (grid.height, grid.width))
    reaching: dict[tuple[int, int], list[Any]] = {}
    for part in parts:
        for row, col in np.ndindex(*part.data.numblocks[1:]):
            key = (part.data.name, 0, row, col)
            reaching.setdefault((part.row + row, part.col + col), []).append(key)
    name = f"mosaic-{tokenize([part.data.name for part in parts], grid, fill)}"
    nodata = None if np.isnan(fill) else fill
    tasks: dict[Any, Any] = {}
    for row, col in np.ndindex(len(rows), len(cols)):
        shape = (bands, rows[row], cols[col])
        keys = reaching.get((row, col))
        tasks[name, 0, row, col] = (
            (np.full, shape, fill, dtype) if keys is None else (first_valid, keys, nodata)
        )
    bounds = np.array([part.bounds for part in parts], np.int64).reshape(-1, 2, 2)
    layer = BoundedLayer(tasks, bounds, (grid.height, grid.width))
    graph = HighLevelGraph.merge(*(part.data.dask for part in parts))
    graph = HighLevelGraph(
        {**graph.layers, name: layer},
        {**graph.dependencies, name: {part.data.name for part in parts}},
    )
    return da.Array(graph, name, ((bands,), rows, cols), meta=np.empty((0, 0, 0), dtype))


def first_valid(blocks: Sequence[np.ndarray], nodata: float | None) -> np.ndarray:
    """Merge blocks of several scenes: the kernel.

    Parameters
    ----------
    blocks
        Stored numbers ``(band, y, x)`` of one shape, the first to count first.
    nodata
        Number that marks missing data; None where NaN does.

    Returns
    -------
    ndarray (band, y, x)
        All bands of a pixel from the first block that holds all of them.

    Examples
    --------
    >>> blocks = [np.array([[[0, 4]]]), np.array([[[7, 5]]])]
    >>> first_valid(blocks, 0)
    array([[[7, 4]]])
    """
    if len(blocks) == 1:
        return blocks[0]
    merged = blocks[-1].copy()
    for block in reversed(blocks[:-1]):
        np.copyto(merged, block, where=valid_mask(block, nodata))
    return merged
