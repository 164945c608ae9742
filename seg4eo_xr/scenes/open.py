"""Scenes from files, Zarr stores and arrays: named bands, CRS, transform and nodata, all lazy."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

from seg4eo_xr.scenes.grid import (
    as_band_y_x,
    grid_transform,
    missing_crs,
    place,
    require_real_dtype,
    require_same_grid,
)
from seg4eo_xr.scenes.rasters import (
    Chunks,
    chunk_sides,
    is_remote,
    read_raster,
    require_local_path,
)

__all__ = ["band_scaling", "open_scene", "require_same_grid", "select_bands"]

# rewritten by _from_array, so not copied from the source
_OWN_ATTRS = {
    *("scales", "offsets", "scale_factor", "add_offset"),
    *("_FillValue", "missing_value", "grid_mapping", "long_name", "transform", "AREA_OR_POINT"),
}

SceneSource = str | Path | Sequence[str | Path] | xr.DataArray | xr.Dataset


def open_scene(
    source: SceneSource,
    *,
    band_names: Sequence[str] | None = None,
    bands: Sequence[str] | None = None,
    nodata: float | None = None,
    chunks: Chunks = "auto",
) -> xr.DataArray:
    """Open a scene.

    Parameters
    ----------
    source
        A raster file (GeoTIFF, COG, VRT, ...), several files on one grid, a Zarr store that holds
        one variable ``(band, y, x)`` or one 2-D variable a band, or the like as an array.
    band_names
        New names of all bands. By default: the file's band descriptions; of several files without
        descriptions their stems; else ``band_1``, ``band_2`` and so on.
    bands
        Bands to keep, by name, in the wanted order; all by default.
    nodata
        Stored number that marks missing data; by default what the source says.
    chunks
        Side of a dask chunk in pixels, or sides by dimension. ``auto`` takes multiples of the
        file's blocks of about 32 MB, and leaves arrays as they are; None the same.

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
        If there is no CRS, the grid is rotated or uneven, files lie on different grids, or names do
        not fit.
    """
    if isinstance(source, xr.DataArray):
        scene = _from_array(source, "the array")
    elif isinstance(source, xr.Dataset):
        scene = _from_dataset(source, "the dataset")
    elif isinstance(source, (str, Path)):
        scene = _from_zarr(source, chunks) if is_zarr(source) else _from_file(source, chunks)
    elif isinstance(source, Sequence):
        scene = _from_files(source, chunks)
    else:
        raise TypeError(
            "source must be a path, a list of paths, a DataArray or a Dataset, "
            f"got {type(source).__name__}"
        )
    if nodata is not None:
        scene = _with_nodata(scene, nodata)
    if band_names is not None:
        scene = _with_names(scene, band_names)
    if bands is not None:
        scene = select_bands(scene, bands)
    if scene.chunks is not None or isinstance(chunks, (int, dict)):
        scene = scene.chunk({"band": -1, **_wanted_chunks(chunks)})
    return scene.rename("scene")


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
        close = get_close_matches(missing[0], names, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"bands {missing} are not in the scene, which has {names}{hint}")
    if len(set(bands)) != len(bands):
        raise ValueError(f"each band can be taken once, got {list(bands)}")
    positions = [names.index(band) for band in bands]
    scales, offsets = band_scaling(scene)
    picked = scene.isel(band=positions)
    return _with_band_attrs(picked, [scales[i] for i in positions], [offsets[i] for i in positions])


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
        _numbers_by_band(scene, ("scales", "scale_factor"), 1.0),
        _numbers_by_band(scene, ("offsets", "add_offset"), 0.0),
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


def is_zarr(source: str | Path) -> bool:
    """Tell whether a path or URL leads to a Zarr store."""
    if str(source).rstrip("/").endswith(".zarr"):
        return True
    markers = ("zarr.json", ".zgroup", ".zmetadata")
    return not is_remote(source) and any((Path(source) / name).exists() for name in markers)


def _from_file(path: str | Path, chunks: Chunks) -> xr.DataArray:
    return _from_array(read_raster(path, chunks=chunks), f"scene {str(path)!r}")


def _from_files(paths: Sequence[str | Path], chunks: Chunks) -> xr.DataArray:
    if not paths:
        raise ValueError("the list of files is empty; give at least one path")
    scenes = [_from_file(path, chunks) for path in paths]
    for path, scene in zip(paths[1:], scenes[1:], strict=True):
        what = repr(str(paths[0])), repr(str(path))
        require_same_grid(scenes[0], scene, *what)
        found = [_nodata_text(other) for other in (scenes[0], scene)]
        if found[0] != found[1]:
            raise ValueError(
                f"{what[0]} and {what[1]} mark missing data differently ({found[0]} and "
                f"{found[1]}); pass nodata= after making them alike, as with gdal_edit.py"
            )
    names = [name for scene in scenes for name in band_names_of(scene)]
    if len(set(names)) < len(names) or any(name.startswith("band_") for name in names):
        names = [
            Path(path).stem if scene.sizes["band"] == 1 else f"{Path(path).stem}_{index + 1}"
            for path, scene in zip(paths, scenes, strict=True)
            for index in range(scene.sizes["band"])
        ]
    return _stacked(scenes, names)


def _stacked(scenes: Sequence[xr.DataArray], names: Sequence[str]) -> xr.DataArray:
    """One scene of the bands of several on one grid."""
    _require_distinct(names)
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
    return _with_band_attrs(stack.assign_coords(band=list(names)), scales, offsets)


def _from_zarr(path: str | Path, chunks: Chunks) -> xr.DataArray:
    what = f"scene {str(path)!r}"
    require_local_path(path, "scene")
    try:
        store = xr.open_zarr(str(path), chunks=None, mask_and_scale=False, decode_coords="all")
    except (OSError, ValueError, KeyError) as error:
        raise OSError(f"cannot open {what} as a Zarr store: {error}") from error
    cubes = [str(name) for name, variable in store.data_vars.items() if variable.ndim >= 3]
    if len(cubes) > 1:
        raise ValueError(
            f"{what} holds several variables of three dimensions, {cubes}; open the store with "
            "xarray.open_zarr and pass one of them"
        )
    scene = _from_array(store[cubes[0]], what) if cubes else _from_dataset(store, what)
    stored = store[cubes[0] if cubes else next(iter(store.data_vars))].encoding
    blocks = (stored.get("shards") or stored.get("chunks") or (1, 1))[-2:]
    sizes = {str(name): size for name, size in scene.sizes.items()}
    return scene.chunk({"band": -1, **chunk_sides(sizes, blocks, scene.dtype.itemsize, chunks)})


def _from_dataset(dataset: xr.Dataset, what: str) -> xr.DataArray:
    planes = {str(name): array for name, array in dataset.data_vars.items() if array.ndim == 2}
    if not planes:
        raise ValueError(
            f"{what} holds no 2-D variable that could be a band; its variables are "
            f"{ {str(name): array.dims for name, array in dataset.data_vars.items()} }"
        )
    scenes = [
        _from_array(_with_crs_of(dataset, array), f"variable {name!r} of {what}")
        for name, array in planes.items()
    ]
    found = {name: _nodata_text(scene) for name, scene in zip(planes, scenes, strict=True)}
    if len(set(found.values())) > 1:
        raise ValueError(f"the bands of {what} mark missing data differently: {found}")
    return _stacked(scenes, list(planes))


def _with_crs_of(dataset: xr.Dataset, array: xr.DataArray) -> xr.DataArray:
    if array.rio.crs is None and dataset.rio.crs is not None:
        array = array.rio.write_crs(dataset.rio.crs)
    return array


def _nodata_text(scene: xr.DataArray) -> str:
    return "no nodata value" if scene.rio.nodata is None else f"nodata {scene.rio.nodata}"


def _from_array(array: xr.DataArray, what: str) -> xr.DataArray:
    """Bring an array into the form of a scene."""
    require_real_dtype([str(array.dtype)], what)
    array = as_band_y_x(array, what)
    crs = array.rio.crs
    if crs is None:
        raise ValueError(missing_crs(what))
    transform = grid_transform(array, what)
    array = array.assign_coords(band=_names_of_source(array))
    scales, offsets = band_scaling(array)
    nodata = array.rio.nodata
    kept = {key: value for key, value in array.attrs.items() if key not in _OWN_ATTRS}
    scene = place(array.variable.data, crs, transform).assign_attrs(kept)
    scene = scene.assign_coords(band=array["band"].values)
    scene = _with_band_attrs(scene, scales, offsets)
    return scene if nodata is None else _with_nodata(scene, nodata)


def _names_of_source(array: xr.DataArray) -> list[str]:
    """Names that the source gives its bands, or ``band_1`` and so on."""
    count = array.sizes["band"]
    numbers = list(range(1, count + 1))
    if "band" in array.coords:
        given = array["band"].values
        if given.dtype.kind in "UOT":
            return [str(name) for name in given]
        numbers = given.astype(np.int64).tolist()
    described = array.attrs.get("long_name")
    described = [described] if isinstance(described, str) else list(described or ())
    found = [name or f"band_{number}" for name, number in zip(described, numbers, strict=False)]
    if len(found) == count == len(set(found)):
        return found
    return [f"band_{number}" for number in numbers]


def _with_names(scene: xr.DataArray, names: Sequence[str]) -> xr.DataArray:
    if isinstance(names, str) or len(names) != scene.sizes["band"]:
        raise ValueError(f"band_names needs {scene.sizes['band']} names, got {names!r}")
    _require_distinct(names)
    scales, offsets = band_scaling(scene)
    return _with_band_attrs(scene.assign_coords(band=list(names)), scales, offsets)


def _require_distinct(names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"band names must differ from each other, got {list(names)}")


def _with_band_attrs(
    scene: xr.DataArray, scales: Sequence[float], offsets: Sequence[float]
) -> xr.DataArray:
    """Write scaling, and names as rioxarray writes them into files, into the attributes."""
    attrs: dict[str, object] = {"long_name": tuple(band_names_of(scene))}
    if any(scale != 1 for scale in scales) or any(offsets):
        attrs |= {"scales": tuple(scales), "offsets": tuple(offsets)}
    return scene.assign_attrs(attrs)


def _with_nodata(scene: xr.DataArray, nodata: float) -> xr.DataArray:
    try:
        marked: xr.DataArray = scene.rio.write_nodata(nodata)
    except (OverflowError, ValueError) as error:
        raise ValueError(
            f"nodata {nodata} cannot be stored in {scene.dtype}; give a number of that dtype"
        ) from error
    return marked


def _wanted_chunks(chunks: Chunks) -> dict[str, int]:
    if isinstance(chunks, dict):
        return {dim: side for dim, side in chunks.items() if dim != "band"}
    return {"y": chunks, "x": chunks} if isinstance(chunks, int) else {}
