"""A map held against points: the pixel under each is compared with the point's class."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from seg4eo_xr.evaluation.pairs import count_block
from seg4eo_xr.evaluation.tallies import WHOLE, Counting, Tally
from seg4eo_xr.scenes.coding import code_features
from seg4eo_xr.scenes.shapes import drawable, points_in_pixels
from seg4eo_xr.scenes.vectors import VECTOR_SUFFIXES, read_vector, stated_geometry

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.coding import Coding
    from seg4eo_xr.scenes.label_options import LabelOptions

_POINTS = {"Point", "MultiPoint"}


@dataclass(frozen=True)
class PointCounts:
    """What became of the points of a reference.

    Parameters
    ----------
    compared
        Points whose class was compared with the map's.
    outside
        Points beyond the edge of the map.
    nodata
        Points on pixels of the map that are nodata.
    unlabelled
        Points without a class.
    """

    compared: int
    outside: int
    nodata: int
    unlabelled: int

    def __str__(self) -> str:
        told = [f"{self.compared:,} point{'s' * (self.compared != 1)} compared"]
        for number, where in (
            (self.outside, "outside the map"),
            (self.nodata, "on nodata"),
            (self.unlabelled, "without a class"),
        ):
            told += [f"{number:,} {where}"] if number else []
        return ", ".join(told)

    def to_dict(self) -> dict[str, int]:
        """Plain numbers by name."""
        return asdict(self)


def read_points(
    reference: object, options: LabelOptions
) -> tuple[gpd.GeoDataFrame, str] | tuple[None, str]:
    """Read a reference if it is made of points.

    Parameters
    ----------
    reference
        Anything that `evaluate` takes.
    options
        Layer of a vector file.

    Returns
    -------
    GeoDataFrame or None
        A point a row; None where the reference is something else.
    str
        What error messages call it.

    Raises
    ------
    ValueError
        If there are points and other shapes.
    """
    what = "the labels"
    features: Any = reference
    if isinstance(reference, str) or hasattr(reference, "__fspath__"):
        path, what = Path(str(reference)), f"labels {str(reference)!r}"
        if path.suffix.lower() not in VECTOR_SUFFIXES:
            return None, what
        stated = stated_geometry(path, layer=options.layer)
        if stated is not None and stated not in _POINTS:
            return None, what
        features = read_vector(path, layer=options.layer, encoding=options.encoding)
    if not hasattr(features, "geom_type"):
        return None, what
    kinds = set(features.geom_type.dropna())
    if not kinds & _POINTS:
        return None, what
    if not kinds <= _POINTS:
        raise ValueError(
            f"{what} hold points and {', '.join(sorted(kinds - _POINTS))}; evaluate points and "
            "areas one after the other"
        )
    return features.explode(index_parts=False, ignore_index=True), what


def tally_points(
    points: gpd.GeoDataFrame,
    predicted: xr.DataArray,
    what: str,
    options: LabelOptions,
    counting: Counting,
    classes: ClassTable | None = None,
) -> tuple[Tally, PointCounts, Coding]:
    """Compare points with the pixels under them.

    Parameters
    ----------
    points
        In any CRS.
    predicted
        The map, ``(y, x)``; only chunks that a point lies in are read.
    what
        What error messages call the points.
    options
        Column of the class, and which classes mean "no label".
    counting
        Missing codes and zones; borders are not for points.
    classes
        Table that gives names their codes; see `seg4eo_xr.scenes.coding.code_features`.

    Returns
    -------
    Tally
        In all and by zone.
    PointCounts
        How many points were compared, and how many were not, and why.
    Coding
        The classes of the points.

    Raises
    ------
    ValueError
        If no column is named, options are given that mean nothing for points, or there is no point
        or no CRS.
    """
    if options.column is None:
        raise ValueError(
            f"{what} are points: name the column that holds their class with column= (--column)"
        )
    asked = {"border_widths": counting.widths, "ignore_border": options.ignore_border}
    asked |= {"warp": options.warp, "all_touched": options.all_touched}
    strange = [f"{name} (--{name})" for name, value in asked.items() if value]
    if strange:
        raise ValueError(
            f"{what} are points, but {', '.join(strange)} need polygons or a raster as reference; "
            "leave them away"
        )
    drawn = drawable(points, what)
    coding = code_features(drawn, what, options, classes)
    row, column = points_in_pixels(drawn, predicted, "the map")
    inside = (row >= 0) & (row < predicted.shape[0]) & (column >= 0) & (column < predicted.shape[1])
    labels, row, column = coding.codes[inside], row[inside], column[inside]
    pixels = _pixels_at(predicted, row.astype(np.int64), column.astype(np.int64))
    missing = counting.nodata, coding.ignore
    tally: Tally = {WHOLE: count_block(pixels, labels, *missing)}
    if counting.zones is not None:
        for name, held in counting.zones.holding(row, column):
            tally["zone", name] = count_block(pixels[held], labels[held], *missing)
    labelled = labels != coding.ignore
    seen = np.ones(len(pixels), bool) if counting.nodata is None else pixels != counting.nodata
    told = PointCounts(
        compared=int((labelled & seen).sum()),
        outside=int((~inside).sum()),
        nodata=int((labelled & ~seen).sum()),
        unlabelled=int((~labelled).sum()),
    )
    return tally, told, coding


def _pixels_at(predicted: xr.DataArray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    if not len(row):
        return np.empty(0, predicted.dtype)
    data = da.asarray(predicted.data)
    pixels: np.ndarray = data.vindex[row, column].compute()
    return pixels
