"""Time series ``(time, band, y, x)``: opened, taken apart into scenes, and composited."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from seg4eo_xr.options import changed
from seg4eo_xr.scenes.bands import (
    band_names_of,
    band_scaling,
    joined_nodata,
    nodata_text,
    select_bands,
    with_band_attrs,
    with_names,
    with_nodata,
)
from seg4eo_xr.scenes.forms import as_stated_sign, only_cube, scene_of_array, with_crs_of
from seg4eo_xr.scenes.grid import place, require_same_grid, spatial_names
from seg4eo_xr.scenes.harmonize import harmonize, of_one_convention, unmarked
from seg4eo_xr.scenes.naming import date_of_name
from seg4eo_xr.scenes.open import SceneOptions, SceneSource, is_zarr, open_scene
from seg4eo_xr.scenes.rasters import chunk_sides
from seg4eo_xr.scenes.sources import read_zarr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

CubeSource = str | Path | xr.DataArray | xr.Dataset | Sequence[SceneSource]


def open_cube(
    source: CubeSource,
    times: ArrayLike | None = None,
    options: SceneOptions | None = None,
    *,
    like: xr.DataArray | None = None,
    **changes: Any,
) -> xr.DataArray:
    """Open a time series.

    `scenes_of` takes it apart into scenes, one a date, and `composite` makes one scene of it; both
    go wherever a scene goes. Smaller chunks suit long series: a composite holds one chunk of all
    dates at a time.

    Parameters
    ----------
    source
        A list of scenes, each of them what `open_scene` takes; or a Zarr store, an array
        ``(time, band, y, x)``, or a dataset of one variable ``(time, y, x)`` a band.
    times
        A date for each scene of a list, as ``["2021-06-03", "2021-06-13"]``; by default the dates
        in the names of the files, such as ``S2A_20210603.tif``.
    options
        Names, bands, nodata, chunks and resolution; see `SceneOptions`. In a time series
        `resolution` and `resampling` apply to lists alone.
    like
        Scene onto whose grid the scenes of a list are resampled.
    **changes
        Single fields of `SceneOptions`.

    Returns
    -------
    DataArray (time, band, y, x)
        Named "cube", in the order of time, in the source's dtype; bands, CRS, nodata and scaling as
        in `open_scene`.

    Raises
    ------
    FileNotFoundError, OSError
        If a file is missing or unreadable.
    ValueError
        If a date is missing or occurs twice, or the scenes differ in grid, bands, dtype, nodata or
        scaling.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scenes = [synthetic_sentinel2((32, 48), seed=seed)[0] for seed in range(3)]
    >>> cube = open_cube(scenes, ["2021-06-03", "2021-06-13", "2021-06-23"])
    >>> cube.dims, cube.shape
    (('time', 'band', 'y', 'x'), (3, 10, 32, 48))
    """
    chosen = changed(options, SceneOptions, changes)
    if isinstance(source, (str, Path, xr.DataArray, xr.Dataset)):
        if times is not None or like is not None:
            raise ValueError(
                "times= and like= go with a list of scenes; a time series has dates and a grid"
            )
        return _whole_cube(source, chosen)
    if not source:
        raise ValueError("the list of scenes is empty; give at least one")
    scenes = [open_scene(scene, chosen, like=like) for scene in source]
    return stack_times(scenes, _dates(source, times), _names(source))


def stack_times(
    scenes: Sequence[xr.DataArray], times: ArrayLike, names: Sequence[str]
) -> xr.DataArray:
    """Stack scenes along time, in the order of time.

    Parameters
    ----------
    scenes
        ``(band, y, x)`` on one grid, with the same bands in any order, dtype, nodata and scaling.
    times
        A date for each.
    names
        What error messages call them.

    Raises
    ------
    ValueError
        If the scenes differ, or a date occurs twice.
    """
    dates = np.asarray(times, "datetime64[ns]")
    if dates.shape != (len(scenes),):
        raise ValueError(f"{len(scenes)} scenes need as many times, got {dates.size}")
    bands, scenes = band_names_of(scenes[0]), joined_nodata(scenes)
    alike = [
        _like_first(scenes[0], scene, names[0], name, bands)
        for scene, name in zip(scenes, names, strict=True)
    ]
    order = np.argsort(dates, kind="stable")
    _require_different(dates[order], [names[index] for index in order])
    stack = xr.concat(
        [alike[index] for index in order],
        xr.Variable("time", dates[order]),
        combine_attrs="override",
        join="override",
        coords="minimal",
        compat="override",
    )
    cube: xr.DataArray = stack.rename("cube")
    return cube if of_one_convention(scenes, names) else unmarked(cube)


def scenes_of(cube: xr.DataArray) -> dict[str, xr.DataArray]:
    """Take a time series apart into scenes, one a date.

    Parameters
    ----------
    cube
        ``(time, band, y, x)``.

    Returns
    -------
    dict of str to DataArray (band, y, x)
        By date, as ``2021-06-03``, or to the second where a day occurs twice.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scenes = [synthetic_sentinel2((32, 48), seed=seed)[0] for seed in range(2)]
    >>> list(scenes_of(open_cube(scenes, ["2021-06-03", "2021-06-13"])))
    ['2021-06-03', '2021-06-13']
    """
    cube = cube_of_array(cube, "the array")
    dates = cube["time"].values
    days = np.datetime_as_string(dates, "D")
    keys = days if len(set(days)) == len(days) else np.datetime_as_string(dates, "s")
    if len(set(keys)) < len(keys):
        keys = np.datetime_as_string(dates, "ns")
    planes = [cube.isel(time=index, drop=True).rename("scene") for index in range(len(keys))]
    return dict(zip(map(str, keys), planes, strict=True))


def cube_of_array(array: xr.DataArray, what: str) -> xr.DataArray:
    """Bring an array into the form of a time series: the order of its dimensions, names, CRS."""
    if "time" not in array.dims and {"band", "y", "x"} >= set(array.dims):
        raise ValueError(
            f"{what} is one scene already, with the dimensions {tuple(array.dims)}: use it as it "
            "is, or make a time series of several scenes with open_cube(scenes, times)"
        )
    if "time" not in array.dims:
        raise ValueError(
            f"{what} has the dimensions {tuple(array.dims)}, but a time series has time, band, y "
            "and x; rename them with cube.rename(...), or open it with open_scene"
        )
    if "time" not in array.coords or array["time"].dtype.kind != "M":
        raise ValueError(
            f"{what} has no dates along time; set them with "
            "cube.assign_coords(time=['2021-06-03', ...]) as datetime64"
        )
    if not array.sizes["time"]:
        raise ValueError(f"{what} is empty: its shape is {array.shape}")
    array = as_stated_sign(array)
    first = scene_of_array(array.isel(time=0, drop=True), what)
    dates = array["time"].values
    _require_different(np.sort(dates), [what] * dates.size)
    planes = spatial_names(array).transpose("time", "band", "y", "x").sortby("time")
    cube = place(planes.variable.data, first.rio.crs, first.rio.transform())
    cube = cube.assign_coords(time=planes["time"].values, band=first["band"].values)
    return cube.assign_attrs(first.attrs).rename("cube")


def cube_of_dataset(dataset: xr.Dataset, what: str) -> xr.DataArray:
    """Bring a dataset of one variable ``(time, y, x)`` a band into the form of a time series."""
    planes = {
        str(name): array
        for name, array in dataset.data_vars.items()
        if array.ndim == 3 and "time" in array.dims
    }
    if not planes:
        raise ValueError(
            f"{what} holds no variable (time, y, x) that could be a band; its variables are "
            f"{ {str(name): array.dims for name, array in dataset.data_vars.items()} }"
        )
    cubes = [
        cube_of_array(with_crs_of(dataset, array), f"variable {name!r} of {what}")
        for name, array in planes.items()
    ]
    cubes = joined_nodata(cubes)
    first, scalings = cubes[0], [band_scaling(cube) for cube in cubes]
    for name, cube in zip(planes, cubes, strict=True):
        _require_alike(first, cube, f"band {next(iter(planes))!r}", f"band {name!r}")
    stack = xr.concat(
        cubes,
        "band",
        combine_attrs="override",
        join="override",
        coords="minimal",
        compat="override",
    ).assign_coords(band=list(planes))
    scales, offsets = ([numbers[0] for numbers in column] for column in zip(*scalings, strict=True))
    return with_band_attrs(stack.transpose("time", "band", "y", "x"), scales, offsets)


def _whole_cube(
    source: str | Path | xr.DataArray | xr.Dataset, options: SceneOptions
) -> xr.DataArray:
    """A time series that lies in one place already."""
    if options.resolution is not None:
        raise ValueError(
            "resolution= goes with a list of scenes; of a time series resample the scenes, as in "
            "open_cube(list(scenes_of(cube).values()), cube.time, resolution=20)"
        )
    what, blocks = "the array", None
    if isinstance(source, (str, Path)):
        what = f"time series {str(source)!r}"
        if not is_zarr(source):
            raise ValueError(
                f"{what} is one file, which has no dates; give a list of files, one a date, or a "
                "Zarr store"
            )
        source, blocks = read_zarr(source, what)
    if isinstance(source, xr.Dataset):
        source = _only_series(source, what)
    if isinstance(source, xr.DataArray):
        cube = cube_of_array(source, what)
    else:
        cube = cube_of_dataset(source, what)
    if options.nodata is not None:
        cube = with_nodata(cube, options.nodata)
    if options.band_names is not None:
        cube = with_names(cube, options.band_names)
    if options.bands is not None:
        cube = select_bands(cube, options.bands)
    if options.harmonize is not None:
        cube = harmonize(cube, shift=None if options.harmonize == "auto" else options.harmonize)
    return _chunked(cube, blocks, options)


def _only_series(dataset: xr.Dataset, what: str) -> xr.DataArray | xr.Dataset:
    """The variable ``(time, band, y, x)`` of a dataset; without one, all of its planes."""
    cube = only_cube(dataset, what, dims=4)
    return dataset if cube is None else with_crs_of(dataset, cube)


def _chunked(
    cube: xr.DataArray, blocks: tuple[int, int] | None, options: SceneOptions
) -> xr.DataArray:
    """One date and all bands a chunk."""
    sides: dict[str, int] = {}
    if blocks is not None or isinstance(options.chunks, (int, dict)):
        sizes = {str(name): size for name, size in cube.sizes.items()}
        sides = chunk_sides(sizes, blocks or (1, 1), cube.dtype.itemsize, options.chunks)
    elif cube.chunks is None:
        return cube
    return cube.chunk({"time": 1, "band": -1, **sides})


def _dates(source: Sequence[SceneSource], times: ArrayLike | None) -> ArrayLike:
    if times is not None:
        return times
    names = _names(source)
    dates = [date_of_name(name) for name in names]
    lacking = [name for name, date in zip(names, dates, strict=True) if date is None]
    if lacking:
        raise ValueError(
            f"no date such as 20210603 or 2021-06-03 is in the name of {lacking[:3]}; rename "
            "the files so, or give the dates with times=[...] (in Python)"
        )
    return np.array(dates, "datetime64[ns]")


def _names(sources: Sequence[SceneSource]) -> list[str]:
    """What messages call scenes: their path, or their number."""
    names = []
    for number, source in enumerate(sources, start=1):
        if isinstance(source, (xr.DataArray, xr.Dataset)):
            names.append(f"scene {number}")
        else:
            names.append(str(source if isinstance(source, (str, Path)) else source[0]))
    return names


def _like_first(
    first: xr.DataArray, scene: xr.DataArray, what: str, name: str, bands: Sequence[str]
) -> xr.DataArray:
    """A scene with the first one's order of bands, if it is of its kind."""
    if set(band_names_of(scene)) != set(bands):
        raise ValueError(
            f"{name!r} has the bands {band_names_of(scene)}, but {what!r} has {list(bands)}; pick "
            "those that all scenes have with bands=[...]"
        )
    ordered = select_bands(scene, bands)
    _require_alike(first, ordered, repr(what), repr(name))
    if band_scaling(ordered) != band_scaling(first):
        raise ValueError(
            f"{name!r} and {what!r} differ in scale or offset: {band_scaling(ordered)} and "
            f"{band_scaling(first)}; bring Sentinel-2 to one convention with harmonize(scene) or "
            "--harmonize auto (harmonize='auto')"
        )
    return ordered


def _require_alike(a: xr.DataArray, b: xr.DataArray, what_a: str, what_b: str) -> None:
    """Raise ValueError unless two arrays agree in grid, dtype and nodata."""
    require_same_grid(
        a, b, what_a, what_b, remedy="Resample them onto one grid with like=scene or resolution="
    )
    found = [f"{array.dtype} with {nodata_text(array)}" for array in (a, b)]
    if found[0] != found[1]:
        raise ValueError(
            f"{what_a} is {found[0]}, but {what_b} is {found[1]}; make them alike with "
            "scene.astype(...) and nodata=, or open flags apart from reflectances with bands=[...]"
        )


def _require_different(dates: np.ndarray, names: Sequence[str]) -> None:
    """Raise ValueError where one of the sorted dates occurs twice."""
    twice = np.flatnonzero(dates[1:] == dates[:-1])
    if twice.size:
        first = int(twice[0])
        raise ValueError(
            f"the date {np.datetime_as_string(dates[first], 's')} occurs twice, in "
            f"{names[first]} and {names[first + 1]}; merge them first, or give their times to the "
            "second"
        )
