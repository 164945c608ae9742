"""Areas of classes, and how right a map is, estimated from a sample that people have judged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.areas.area_estimate import AreaEstimate
from seg4eo_xr.areas.own_points import pixels_of_points, values_at
from seg4eo_xr.areas.sample_files import read_sample
from seg4eo_xr.areas.sample_options import AreaOptions
from seg4eo_xr.areas.sample_table import (
    PIXEL_AREA,
    UNFILLED,
    classes_of,
    first_of,
    reference_codes,
    require_columns,
    require_distinct,
    strata_of,
)
from seg4eo_xr.areas.strata import Strata
from seg4eo_xr.maps.store import class_layer
from seg4eo_xr.options import changed
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.matching import is_numbered, joined

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    import geopandas as gpd
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from seg4eo_xr.areas.sampling import Raster


def estimate_areas(
    sample: gpd.GeoDataFrame | pd.DataFrame | str | PathLike[str],
    options: AreaOptions | None = None,
    *,
    prediction: Raster | None = None,
    strata: Strata | Mapping[int, float] | None = None,
    classes: ClassTable | None = None,
    **changes: Any,
) -> AreaEstimate:
    """Estimate areas and accuracies, with standard errors, from a stratified sample.

    What a map shows of a class is not what there is: errors do not cancel out. The sample tells how
    much there is, and how sure that is. Strata may be the classes of the map (Olofsson et al. 2014,
    https://doi.org/10.1016/j.rse.2014.02.015) or anything else (Stehman 2014,
    https://doi.org/10.1080/01431161.2014.930207), as those of an older map: one estimator serves
    both.

    Parameters
    ----------
    sample
        What `draw_sample` drew, filled in, or the file that `write_sample` wrote; or a table with
        the columns ``id``, ``stratum``, ``map`` and ``reference``. Where it has the column
        ``pixel_area`` (see `sample_of_points`), each point counts for the area of its pixel.
    options
        Level of the intervals, finite population, points that nobody filled in.
    prediction
        Another map to judge by the same points, on any grid; the map that they were drawn from if
        not given. Its classes are matched with those of the sample as in `evaluate`.
    strata
        Pixels of each stratum by its code, or `Strata`; those stored with the sample if not given.
    classes
        The classes of map and reference; those stored with the sample, or with `prediction`, if not
        given, else the codes that occur.
    **changes
        Fields of `AreaOptions` to set, as ``level=0.9``.

    Returns
    -------
    AreaEstimate

    Raises
    ------
    ValueError
        If columns or the sizes of strata are missing, an id stands twice, points are not filled in,
        a class or stratum is unknown, a stratum has fewer than two points, or a point lies outside
        `prediction`.
    FileNotFoundError, OSError
        If a file is missing or unreadable.

    Examples
    --------
    >>> import pandas as pd
    >>> columns = {"stratum": [1, 1, 1, 2, 2, 2], "reference": [1, 1, 2, 2, 2, 2]}
    >>> sample = pd.DataFrame({"id": range(6), **columns, "map": columns["stratum"]})
    >>> print(estimate_areas(sample, strata={1: 600, 2: 300}))
    class    mapped px   area px         user's     producer's            IoU
    class 1        600  400 ± 392  0.667 ± 0.653  1.000 ± 0.000  0.667 ± 0.653
    class 2        300  500 ± 392  1.000 ± 0.000  0.600 ± 0.470  0.600 ± 0.470
    overall accuracy 0.778 ± 0.436; ± is the 95 % interval
    6 points in 2 strata
    """
    options = changed(options, AreaOptions, changes)
    table: Any = sample if hasattr(sample, "columns") else read_sample(sample)
    needed = ("id", "stratum", "reference") if prediction is not None else _NEEDED
    require_columns(table, needed, "the sample")
    require_distinct(table["id"], "the sample")
    sizes = _strata(table, strata)
    classes, mapped = _mapped(table, prediction, classes or classes_of(table))
    reference = _filled(table, reference_codes(table, classes), options)
    kept = reference != UNFILLED
    stratum, mapped, reference = table["stratum"].to_numpy()[kept], mapped[kept], reference[kept]
    if classes is None:
        classes = ClassTable.from_codes(np.union1d(mapped, reference).tolist())
    points = np.zeros((len(sizes), len(classes), len(classes)), np.int64)
    into = (
        _places(stratum, sizes.codes, "stratum", "strata"),
        _places(mapped, classes.codes, "map", "classes"),
        _places(reference, classes.codes, "reference", "classes"),
    )
    np.add.at(points, into, 1)
    sums = None
    if PIXEL_AREA in table.columns and sizes.areas is not None:
        sums = _area_sums(table[PIXEL_AREA].to_numpy(np.float64)[kept], into, points)
    return _checked(AreaEstimate(points, sizes, classes, options, sums))


_NEEDED = ("id", "stratum", "map", "reference")


def areas_from_matrix(
    matrix: ArrayLike,
    pixels: ArrayLike,
    options: AreaOptions | None = None,
    *,
    classes: ClassTable | None = None,
    pixel_area: float | None = None,
    **changes: Any,
) -> AreaEstimate:
    """Estimate areas and accuracies from an error matrix of points; the strata are map classes.

    Parameters
    ----------
    matrix
        Points, ``(map class, reference class)``.
    pixels
        Pixels that the map shows of each class, ``(class,)``.
    options
        Level of the intervals, finite population.
    classes
        Their names; ``class 1`` and so on if not given.
    pixel_area
        What a pixel covers, in m²; areas are in pixels if not given.
    **changes
        Fields of `AreaOptions` to set.

    Returns
    -------
    AreaEstimate

    Raises
    ------
    ValueError
        If the shapes do not fit, there are other than whole numbers of 0 or more, or a class of the
        map has fewer than two points.

    Examples
    --------
    The example of Olofsson et al. 2014, table 8:

    >>> estimate = areas_from_matrix(
    ...     [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]],
    ...     [200_000, 150_000, 3_200_000, 6_450_000],
    ...     pixel_area=900,
    ... )
    >>> (estimate.area.value / 1e4).round(), (estimate.area.half_width / 1e4).round()
    (array([ 21158.,  11686., 285770., 581386.]), array([ 6158.,  3756., 15510., 16282.]))
    """
    counts, sizes = np.asarray(matrix), np.asarray(pixels)
    if counts.ndim != 2 or counts.shape != (len(counts), len(counts)):
        raise ValueError(f"an error matrix is square, got the shape {counts.shape}")
    if sizes.shape != (len(counts),):
        raise ValueError(f"pixels: {len(counts)} classes need as many, got {sizes.shape}")
    for name, numbers in (("matrix", counts), ("pixels", sizes)):
        if (numbers < 0).any() or (numbers % 1 != 0).any():
            raise ValueError(f"{name} holds whole numbers of 0 or more, got {numbers.tolist()}")
    classes = classes or ClassTable.from_codes(range(1, len(counts) + 1))
    if len(classes) != len(counts):
        raise ValueError(f"{len(classes)} classes, but the matrix has {len(counts)} rows")
    strata = Strata.of_sizes(dict(zip(classes.codes, sizes.tolist(), strict=True)), pixel_area)
    strata = Strata(strata.codes, classes.names, strata.pixels, strata.areas)
    points = np.zeros((len(counts),) * 3, np.int64)
    place = np.arange(len(counts))
    points[place, place] = counts
    options = changed(options, AreaOptions, changes)
    return _checked(AreaEstimate(points, strata, classes, options))


def _strata(table: pd.DataFrame, strata: Strata | Mapping[int, float] | None) -> Strata:
    if strata is None:
        return strata_of(table)
    return strata if isinstance(strata, Strata) else Strata.of_sizes(strata)


def _mapped(
    table: pd.DataFrame, prediction: Raster | None, classes: ClassTable | None
) -> tuple[ClassTable | None, NDArray[np.int64]]:
    """Class that the map shows at each point, and the classes there are, those given first."""
    if prediction is None:
        return classes, table["map"].to_numpy()
    if not hasattr(table, "geometry"):
        raise ValueError(
            "another map is judged where the points lie, but the sample has no geometry; read it "
            "with read_sample"
        )
    layer = class_layer(prediction)
    # a point that was deleted from the file has no place, but nobody has judged it either
    placed = table[table.geometry.notna()]
    codes = np.full(len(table), UNFILLED, np.int64)
    names = [str(name) for name in placed["id"]]
    rows, cols = pixels_of_points(placed.set_index("id"), layer)
    codes[table.geometry.notna()] = values_at(layer, rows, cols, names, "map")
    own = ClassTable.from_attrs(layer.attrs)
    if own is None or classes is None:
        return classes or own, codes
    strange = sorted(set(codes.tolist()) - {*own.codes, UNFILLED})
    if strange:
        raise ValueError(
            f"the map holds {first_of(strange)} where points lie, which are not among its classes "
            f"{list(own.codes)}; give its class table the codes that it lacks"
        )
    both, moved = joined(classes, own, by_name=is_numbered(layer.attrs))
    return both, np.array([moved.get(code, code) for code in codes.tolist()], np.int64)


def _filled(
    table: pd.DataFrame, reference: NDArray[np.int64], options: AreaOptions
) -> NDArray[np.int64]:
    missing = table["id"][reference == UNFILLED].tolist()
    if missing and not options.drop_unfilled:
        raise ValueError(
            f"{len(missing)} of {len(table)} points have no reference class: {first_of(missing)}. "
            "Fill the column 'reference', or leave these points out with drop_unfilled=True "
            "(--drop_unfilled) if what kept people from judging them has nothing to do with the "
            "class"
        )
    return reference


def _places(
    values: NDArray[np.int64], codes: tuple[int, ...], column: str, known: str
) -> NDArray[np.int64]:
    """Position of each code among those that are known."""
    strange = sorted(set(values.tolist()) - set(codes))
    if strange:
        raise ValueError(
            f"the column {column!r} of the sample holds {first_of(strange)}, which are not among "
            f"the {known} {list(codes)}; correct the table, or give {known}= what it needs"
        )
    return np.searchsorted(np.array(codes), values)


def _area_sums(
    areas: NDArray[np.float64], into: tuple[NDArray[np.int64], ...], points: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Add up what points stand for, and its squares, in units of the mean of their stratum."""
    if not (areas > 0).all():
        raise ValueError(
            f"the column {PIXEL_AREA!r} of the sample holds {areas[~(areas > 0)][0]}; areas of "
            "pixels are above 0. Correct it, or make the sample again with sample_of_points"
        )
    size = points.sum((1, 2))
    mean = np.bincount(into[0], areas, len(points)) / np.maximum(size, 1)
    relative = areas / mean[into[0]]
    sums = np.zeros((2, *points.shape))
    np.add.at(sums[0], into, relative)
    np.add.at(sums[1], into, relative**2)
    return sums


def _checked(estimate: AreaEstimate) -> AreaEstimate:
    """Leave out strata of no pixel, and require two points of the others."""
    points, strata = estimate.points, estimate.strata
    found = points.sum((1, 2))
    for name, pixels, count in zip(strata.names, strata.pixels, found.tolist(), strict=True):
        if not pixels and count:
            raise ValueError(
                f"stratum {name!r} has no pixel, but {count} points; were they drawn from another "
                "map?"
            )
        if count > pixels:
            raise ValueError(f"stratum {name!r} has {pixels} pixels, but {count} points")
        if count < min(2, pixels):
            raise ValueError(
                f"stratum {name!r} has {pixels:,} pixels and {count} judged "
                f"point{'s' * (count != 1)}, but two are needed to tell an error; judge more of "
                "its points, or join it with another stratum"
            )
    kept = np.flatnonzero(np.array(strata.pixels))
    sums = None if estimate.sums is None else estimate.sums[:, kept]
    return replace(estimate, points=points[kept], strata=strata.take(kept.tolist()), sums=sums)
