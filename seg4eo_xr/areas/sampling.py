"""A sample of a map for people to judge: pixels drawn at random, stratum by stratum."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from seg4eo_xr.areas.allocation import allocate, sample_size
from seg4eo_xr.areas.drawing import Draw, draw_pixels
from seg4eo_xr.areas.sample_options import SampleOptions, SampleWarning
from seg4eo_xr.areas.sample_table import first_of, sample_table
from seg4eo_xr.areas.strata import Strata
from seg4eo_xr.geometry.hashing import mixed, salt_of
from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.store import class_layer
from seg4eo_xr.options import changed
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import require_crs, require_same_grid
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS, PixelAreas
from seg4eo_xr.scenes.resampling import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

    from seg4eo_xr.areas.drawing import Drawn

    Raster = xr.Dataset | xr.DataArray | str | PathLike[str]

_SAME_GRID = (
    "Warp the strata onto the map with open_labels(strata, like=map, warp=True), or in a shell "
    "with `rio warp STRATA.tif WARPED.tif --like MAP.tif`"
)


def draw_sample(
    prediction: Raster,
    options: SampleOptions | None = None,
    *,
    strata: Raster | None = None,
    classes: ClassTable | None = None,
    **changes: Any,
) -> gpd.GeoDataFrame:
    """Draw pixels of a map at random, stratum by stratum, for people to judge.

    The map is read once, in bounded memory, and the points do not depend on its chunks. With the
    same seed a larger sample holds the smaller. Write it with `write_sample`, have the column
    ``reference`` filled, and hand the file to `estimate_areas`.

    Parameters
    ----------
    prediction
        A map, or what `open_map` opens; of a Dataset the layer ``classes``.
    options
        How many points there are, and how they are shared among the strata.
    strata
        Raster of whole numbers on the map's grid whose codes are the strata; the classes of the map
        if not given.
    classes
        The classes of the map; by default those of its attributes, else the codes that occur.
    **changes
        Fields of `SampleOptions` to set, as ``size=400``.

    Returns
    -------
    GeoDataFrame
        A point at the centre of each pixel, in random order, with ``id`` (``row_column``, the same
        in any sample of this grid), ``stratum`` and ``map`` (codes), ``row``, ``col``, and the
        empty columns ``reference``, ``interpreter`` and ``remarks``. The attributes hold the strata
        with their sizes, and the classes. A pixel that is nodata in the map or belongs to no
        stratum is never drawn.

    Raises
    ------
    ValueError
        If grids differ, a code is not among the classes, there is no pixel, or the points cannot be
        shared out as asked.
    FileNotFoundError, OSError
        If a file is missing or unreadable.

    Warns
    -----
    SampleWarning
        If a stratum that has a name has no pixel.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64))
    >>> sample = draw_sample(labels, size=60, minimum=5)
    >>> len(sample), sample.loc[sample["stratum"] == 1, "map"].unique().tolist()
    (60, [1])
    """
    options = changed(options, SampleOptions, changes)
    mapped, layer = map_and_strata(prediction, strata)
    names = classes if strata is None else None
    draws = _draw(mapped, layer, _most_points(options), options.seed)
    found = measured_strata(draws, names or ClassTable.from_attrs(layer.attrs))
    counts = _allocation(found, options)
    points = np.concatenate(
        [draws[code].points[:count] for code, count in zip(found.codes, counts, strict=True)]
    )
    stratum = np.repeat(np.array(found.codes, np.int64), counts)
    table = map_classes(mapped, classes, found.codes if strata is None else points["map"])
    # so that nobody sees the strata one after the other
    order = np.argsort(mixed(~mixed(points["pixel"] ^ salt_of(options.seed))))
    points, stratum = points[order], stratum[order]
    return sample_table(mapped, found, table, points["pixel"], (stratum, points["map"]))


def map_and_strata(prediction: Raster, strata: Raster | None) -> tuple[xr.DataArray, xr.DataArray]:
    """Open a map and the raster of its strata, which is the map itself where none is given.

    Raises
    ------
    ValueError
        If one has no CRS, or the two differ in their grids.
    """
    mapped = class_layer(prediction, count=True)
    layer = mapped if strata is None else class_layer(strata, count=True)
    for raster, what in ((mapped, "the map"), (layer, "the raster of strata")):
        require_crs(raster, what)
    require_same_grid(layer, mapped, "the strata", "the map", remedy=_SAME_GRID)
    return mapped, layer


def strata_sizes(mapped: xr.DataArray, layer: xr.DataArray, names: ClassTable | None) -> Strata:
    """Measure the strata of a map in one pass."""
    return measured_strata(_draw(mapped, layer, 1, 0), names)


def _most_points(options: SampleOptions) -> int:
    """Points that any allocation may ask of one stratum."""
    if options.size is not None:
        return options.size
    # no stratum deviates by more than one half, whatever its accuracy
    return max(math.ceil(0.25 / options.standard_error**2), options.minimum)


def _draw(mapped: xr.DataArray, layer: xr.DataArray, count: int, seed: int) -> dict[int, Drawn]:
    areas = PixelAreas(Grid.of(mapped))
    draw = Draw(count, int(salt_of(seed)), areas, nodata_of(mapped), nodata_of(layer))
    codes, strata = da.asarray(mapped.data), da.asarray(layer.data)
    return draw_pixels(strata.rechunk(codes.chunks, method="tasks"), codes, draw)


def measured_strata(draws: dict[int, Drawn], names: ClassTable | None) -> Strata:
    """Strata that have pixels, with their sizes.

    Warns
    -----
    SampleWarning
        If a stratum that has a name has no pixel.
    """
    if not draws:
        raise ValueError(
            "the map has no pixel to draw: wherever it has a class, the strata are nodata, or all "
            "of it is nodata"
        )
    name_of = {} if names is None else dict(zip(names.codes, names.names, strict=True))
    empty = [f"{name} ({code})" for code, name in name_of.items() if code not in draws]
    if empty:
        warnings.warn(
            f"the strata {first_of(empty)} have no pixel, so no point is drawn of them; of what "
            "the map never shows, only points of other strata can tell the area",
            SampleWarning,
            stacklevel=3,
        )
    return Strata(
        tuple(draws),
        tuple(name_of.get(code, f"stratum {code}") for code in draws),
        tuple(drawn.pixels for drawn in draws.values()),
        tuple(drawn.area / AREA_UNITS for drawn in draws.values()),
    )


def map_classes(
    mapped: xr.DataArray, classes: ClassTable | None, codes: Sequence[int] | NDArray[np.int64]
) -> ClassTable:
    """Classes of a map: those given, or of its attributes, or the codes.

    Raises
    ------
    ValueError
        If a code is not among them.
    """
    found = np.unique(codes).tolist()
    table = classes or ClassTable.from_attrs(mapped.attrs) or ClassTable.from_codes(found)
    unknown = sorted(set(found) - set(table.codes))
    if unknown:
        raise ValueError(
            f"the map holds the codes {first_of(unknown)}, which are not among the classes "
            f"{list(table.codes)}; give classes= (--classes) a table that has them"
        )
    return table


def _allocation(strata: Strata, options: SampleOptions) -> NDArray[np.int64]:
    strange = sorted(set(options.accuracies) - set(strata.names))
    if strange:
        raise ValueError(
            f"accuracies speak of {first_of(strange)}, but the strata are: "
            f"{', '.join(strata.names)}"
        )
    right = [options.accuracies.get(name, options.accuracy) for name in strata.names]
    pixels = np.array(strata.pixels)
    least = int(np.minimum(options.minimum, pixels).sum())
    size = options.size
    if size is None:
        wanted = sample_size(strata.weights, right, options.standard_error)
        size = min(max(wanted, least), int(pixels.sum()))
    return allocate(
        size, strata.weights, pixels, right, rule=options.allocation, minimum=options.minimum
    )
