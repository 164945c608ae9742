"""Scenes from files, Zarr stores and arrays: named bands, CRS, transform and nodata, all lazy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

from seg4eo_xr.options import changed
from seg4eo_xr.scenes.bands import (
    band_names_of,
    band_scaling,
    require_distinct,
    select_bands,
    with_names,
    with_nodata,
    with_scaling,
)
from seg4eo_xr.scenes.classes import require_scene
from seg4eo_xr.scenes.forms import scene_of_array, scene_of_dataset
from seg4eo_xr.scenes.grid import require_same_grid
from seg4eo_xr.scenes.harmonize import harmonize
from seg4eo_xr.scenes.scene_options import SceneOptions
from seg4eo_xr.scenes.sources import (
    is_zarr,
    one_grid,
    scene_of_file,
    scene_of_zarr,
    stacked_files,
)

if TYPE_CHECKING:
    from seg4eo_xr.scenes.rasters import Chunks

__all__ = [
    "SceneOptions",
    "SceneSource",
    "band_names_of",
    "band_scaling",
    "is_zarr",
    "open_scene",
    "require_same_grid",
    "select_bands",
]

_LOGGER = logging.getLogger(__name__)

SceneSource = str | Path | Sequence[str | Path] | xr.DataArray | xr.Dataset


def open_scene(
    source: SceneSource,
    options: SceneOptions | None = None,
    *,
    like: xr.DataArray | None = None,
    **changes: Any,
) -> xr.DataArray:
    """Open a scene.

    Parameters
    ----------
    source
        A raster file (GeoTIFF, COG, VRT, JPEG 2000, ...), several files, a Zarr store that holds
        one variable ``(band, y, x)`` or one 2-D variable a band, or the like as an array.
    options
        Names, bands, nodata, chunks and resolution; see `SceneOptions`.
    like
        Scene onto whose grid all bands are resampled, lazily; by default they stay where they are.
    **changes
        Single fields of `SceneOptions`, as ``bands=["B04", "B08"]`` or ``resolution="finest"``.

    Returns
    -------
    DataArray (band, y, x)
        Named "scene", in the source's dtype; CRS, transform and nodata as rioxarray keeps them, the
        scaling in the attributes ``scales`` and ``offsets`` (see `band_scaling`).

    Raises
    ------
    FileNotFoundError, OSError
        If a file is missing or unreadable.
    ValueError
        If there is no CRS, the grid is rotated or uneven, files lie on different grids and no
        resolution is asked for, names do not fit, or the source is a time series.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, _ = synthetic_sentinel2((64, 96))
    >>> open_scene(scene, bands=["B04", "B08"], resolution=20).shape
    (2, 32, 48)
    """
    chosen = changed(options, SceneOptions, changes)
    stacked = not isinstance(source, (str, Path, xr.DataArray, xr.Dataset))
    if isinstance(source, (str, Path, xr.DataArray, xr.Dataset)):
        scene = one_grid([_opened(source, chosen)], chosen, like)[0]
    elif isinstance(source, Sequence):
        scene = stacked_files(source, chosen, like)
    else:
        raise TypeError(
            "source must be a path, a list of paths, a DataArray or a Dataset, "
            f"got {type(source).__name__}"
        )
    if chosen.band_names is not None:
        scene = with_names(scene, chosen.band_names)
    require_distinct(band_names_of(scene))
    if chosen.bands is not None:
        scene = select_bands(scene, chosen.bands)
    if not stacked:
        scene = with_scaling(scene, chosen.scale, chosen.offset)
    if chosen.harmonize is not None and not (stacked and chosen.harmonize == "auto"):
        scene = _harmonized(scene, source, chosen.harmonize)
    if scene.chunks is not None or isinstance(chosen.chunks, (int, dict)):
        scene = scene.chunk({"band": -1, **_wanted_chunks(chosen.chunks)})
    scene = scene.rename("scene")
    if isinstance(source, (str, Path)):
        scene.encoding["source"] = str(source)
    if not isinstance(source, (xr.DataArray, xr.Dataset)):
        _tell(source, scene)
    return scene


def _harmonized(
    scene: xr.DataArray, source: SceneSource, shift: int | Literal["auto"]
) -> xr.DataArray:
    """Take off Sentinel-2's offset; attributes say how much, or else the name of the file."""
    if shift != "auto":
        return harmonize(scene, shift=shift)
    if isinstance(source, (str, Path)):
        scene = scene.copy(deep=False)
        scene.encoding["source"] = str(source)
    return harmonize(scene)


def _tell(source: str | Path | Sequence[str | Path], scene: xr.DataArray) -> None:
    files = [source] if isinstance(source, (str, Path)) else source
    _LOGGER.info(
        "opened %s: %d × %d px, bands %s, %s, %s",
        ", ".join(map(str, files)),
        *scene.shape[-2:],
        ", ".join(band_names_of(scene)),
        scene.dtype,
        scene.rio.crs,
    )


def _opened(source: str | Path | xr.DataArray | xr.Dataset, options: SceneOptions) -> xr.DataArray:
    """One source in the form of a scene, on its own grid."""
    if isinstance(source, xr.DataArray):
        require_scene(source, "the array")
        scene = scene_of_array(source, "the array")
    elif isinstance(source, xr.Dataset):
        scene = scene_of_dataset(source, "the dataset")
    elif is_zarr(source):
        scene = scene_of_zarr(source, options.chunks)
    else:
        scene = scene_of_file(source, options)
    return scene if options.nodata is None else with_nodata(scene, options.nodata)


def _wanted_chunks(chunks: Chunks) -> dict[str, int]:
    if isinstance(chunks, dict):
        return {dim: side for dim, side in chunks.items() if dim != "band"}
    return {"y": chunks, "x": chunks} if isinstance(chunks, int) else {}
