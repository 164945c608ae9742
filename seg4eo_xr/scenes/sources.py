"""Scenes from one file, several files or a Zarr store."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr
import zarr

from seg4eo_xr.scenes.bands import (
    band_names_of,
    has_nodata,
    joined_nodata,
    nodata_text,
    stack_bands,
    with_nodata,
    with_scaling,
)
from seg4eo_xr.scenes.forms import scene_of_array, scene_of_dataset
from seg4eo_xr.scenes.grid import grid_difference, plane_dims, require_same_grid, same_crs
from seg4eo_xr.scenes.harmonize import harmonize_files, of_one_convention, unmarked
from seg4eo_xr.scenes.rasters import (
    chunk_sides,
    is_remote,
    name_of,
    read_scene,
    require_local_path,
)
from seg4eo_xr.scenes.resampling import Grid, resample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seg4eo_xr.scenes.rasters import Chunks
    from seg4eo_xr.scenes.scene_options import SceneOptions

_RESAMPLE = (
    "Resample them onto one grid with resolution='finest' (--resolution finest), resolution=20 (a "
    "pixel size in CRS units) or like=scene"
)

_SHOWN = 12  # groups in a message


def is_zarr(source: str | Path) -> bool:
    """Tell whether a path or URL leads to a Zarr store."""
    if str(source).rstrip("/").endswith(".zarr"):
        return True
    if is_remote(source):  # a group within a store
        return ".zarr/" in str(source) and not Path(str(source).partition("?")[0]).suffix
    markers = ("zarr.json", ".zgroup", ".zmetadata")
    return any((Path(source) / name).exists() for name in markers)


def scene_of_file(path: str | Path, options: SceneOptions) -> xr.DataArray:
    """Open one raster file."""
    read = read_scene(path, options.chunks, nodata=options.nodata, keep_alpha=options.keep_alpha)
    return scene_of_array(read, f"scene {str(path)!r}")


def stacked_files(
    paths: Sequence[str | Path], options: SceneOptions, like: xr.DataArray | None
) -> xr.DataArray:
    """Open several raster files as the bands of one scene."""
    if not paths:
        raise ValueError("the list of files is empty; give at least one path")
    scenes = opened_alike(paths, options, like)
    if options.nodata is not None:
        scenes = [with_nodata(scene, options.nodata) for scene in scenes]
    scenes = joined_nodata(scenes)
    _require_same_nodata(paths, scenes)
    names = _names_of_files(paths, scenes)
    scenes = [
        with_scaling(_named_by_file(scene, path), options.scale, options.offset)
        for path, scene in zip(paths, scenes, strict=True)
    ]
    if options.harmonize == "auto":
        given = options.band_names or ()
        scenes = harmonize_files(scenes, given if len(given) == len(names) else names)
    lowered = of_one_convention(scenes, [str(path) for path in paths])
    stack = stack_bands(one_grid(scenes, options, like), names)
    return stack if lowered else unmarked(stack)


def _named_by_file(scene: xr.DataArray, path: str | Path) -> xr.DataArray:
    """A scene that is called by its file, from whose name the processing baseline is known."""
    named = scene.rename(str(path))
    named.encoding["source"] = str(path)
    return named


def opened_alike(
    paths: Sequence[str | Path], options: SceneOptions, like: xr.DataArray | None
) -> list[xr.DataArray]:
    """Open files in chunks of one size on the ground, the finest one's.

    A large chunk of a coarse file feeds many chunks of the scene, which dask would make, and hold,
    all at once.
    """
    scenes = [scene_of_file(path, options) for path in paths]
    if (like is None and options.resolution is None) or options.chunks not in ("auto", None):
        return scenes
    finest = min(scenes, key=lambda scene: Grid.of(scene).pixel)
    return [
        _in_chunks_of(finest, scene, path, options)
        for path, scene in zip(paths, scenes, strict=True)
    ]


def _in_chunks_of(
    finest: xr.DataArray, scene: xr.DataArray, path: str | Path, options: SceneOptions
) -> xr.DataArray:
    """A file that may be coarser, in chunks that span the ground of the finest one's."""
    sides = {}
    for axis, dim in enumerate(("x", "y")):
        factor = Grid.of(scene).pixel[axis] / Grid.of(finest).pixel[axis]
        sides[dim] = min(scene.sizes[dim], max(1, int(finest.chunksizes[dim][0] / factor)))
    if not same_crs(scene.rio.crs, finest.rio.crs) or factor <= 1:
        return scene
    return scene_of_file(path, replace(options, chunks=sides))


def one_grid(
    scenes: Sequence[xr.DataArray], options: SceneOptions, like: xr.DataArray | None
) -> list[xr.DataArray]:
    """Bring scenes onto one grid where that is asked for, and check that they lie on one."""
    if like is None and options.resolution is None:
        for scene in scenes[1:]:
            what = repr(scenes[0].name), repr(scene.name)
            require_same_grid(scenes[0], scene, *what, remedy=_RESAMPLE)
        return list(scenes)
    target = like if like is not None else _finest(scenes)
    grid = Grid.of(target)
    if options.resolution not in (None, "finest"):
        grid = grid.with_pixel(float(options.resolution))
    return [_onto(scene, grid, target, options) for scene in scenes]


def _onto(
    scene: xr.DataArray, grid: Grid, target: xr.DataArray, options: SceneOptions
) -> xr.DataArray:
    on_target = Grid.of(target) == grid
    if on_target and not grid_difference(scene, target):
        return scene
    moved = resample(scene, grid, resampling=options.resampling)
    if on_target and target.chunks is not None:  # so that stacking cuts no chunk
        moved = moved.chunk(dict(zip(("y", "x"), target.chunks[-2:], strict=True)))
    return moved


def _finest(scenes: Sequence[xr.DataArray]) -> xr.DataArray:
    """The scene with the smallest pixels."""
    for scene in scenes[1:]:
        if not same_crs(scene.rio.crs, scenes[0].rio.crs):
            raise ValueError(
                f"{scenes[0].name!r} and {scene.name!r} have different CRSs, so that their pixels "
                "do not compare; name the grid to take with like=scene"
            )
    return min(scenes, key=lambda scene: Grid.of(scene).pixel)


def _require_same_nodata(paths: Sequence[str | Path], scenes: Sequence[xr.DataArray]) -> None:
    stating = [(path, one) for path, one in zip(paths, scenes, strict=True) if has_nodata(one)]
    for path, scene in stating[1:]:
        first = nodata_text(stating[0][1])
        if nodata_text(scene) != first:
            raise ValueError(
                f"{str(stating[0][0])!r} and {str(path)!r} mark missing data differently ({first} "
                f"and {nodata_text(scene)}); make them alike first, as with "
                "`gdalwarp -dstnodata 0 IN OUT`; nodata= (--nodata) is for files in which nothing "
                "but that number is missing"
            )


def _names_of_files(paths: Sequence[str | Path], scenes: Sequence[xr.DataArray]) -> list[str]:
    names = [name for scene in scenes for name in band_names_of(scene)]
    if len(set(names)) == len(names) and not any(name.startswith("band_") for name in names):
        return names
    return [
        name_of(path) if scene.sizes["band"] == 1 else f"{name_of(path)}_{index + 1}"
        for path, scene in zip(paths, scenes, strict=True)
        for index in range(scene.sizes["band"])
    ]


def scene_of_zarr(path: str | Path, chunks: Chunks) -> xr.DataArray:
    """Open a Zarr store in whole stored chunks."""
    what = f"scene {str(path)!r}"
    opened, blocks = read_zarr(path, what)
    scene = scene_of_dataset(opened, what)
    sizes = {str(name): size for name, size in scene.sizes.items()}
    return scene.chunk({"band": -1, **chunk_sides(sizes, blocks, scene.dtype.itemsize, chunks)})


def read_zarr(path: str | Path, what: str) -> tuple[xr.Dataset, tuple[int, int]]:
    """Open a store, and measure the height and width of its chunks.

    Variables of a store without consolidated metadata come in the order of their names: a file
    system lists them in any.
    """
    require_local_path(path, "scene")
    opening = partial(xr.open_zarr, str(path), chunks={}, mask_and_scale=False, decode_coords="all")
    try:
        try:
            store = opening(consolidated=True)
        except (ValueError, KeyError):
            store = opening(consolidated=False)
            store = store[sorted(map(str, store.data_vars), key=str.casefold)]
    except (OSError, ValueError, KeyError) as error:
        raise OSError(f"cannot open {what} as a Zarr store: {error}") from error
    rasters = [array for array in store.data_vars.values() if array.ndim > 1]
    if not rasters:
        raise ValueError(_no_raster(str(path).rstrip("/"), what))
    largest = max(rasters, key=lambda array: array.ndim)
    stored = largest.encoding.get("shards") or largest.encoding.get("chunks")
    sides = dict(zip(largest.dims, stored or (1,) * largest.ndim, strict=True))
    height, width = (sides[dim] for dim in plane_dims(largest))
    return store, (height, width)


def _no_raster(path: str, what: str) -> str:
    """Text of the error for a store whose root holds no raster: its groups may."""
    found = sorted(
        {
            name.rpartition("/")[0]
            for name, member in zarr.open_group(path, mode="r").members(max_depth=None)
            if isinstance(member, zarr.Array) and member.ndim > 1
        }
    )
    if not found:
        return f"{what} holds no array of two dimensions or more"
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    names = ", ".join(repr(f"{path}/{name}") for name in found[:_SHOWN])
    return f"{what} holds groups of arrays; open one of them by its path: {names}{more}"
