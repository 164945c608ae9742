"""Areas of which each is evaluated for itself: pixels of the map inside named polygons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.scenes.coding import column_of
from seg4eo_xr.scenes.shapes import Shapes, shapes_on_scene
from seg4eo_xr.scenes.vectors import read_vector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    import geopandas as gpd
    import xarray as xr

    Span = tuple[int, int]


class Zones:
    """Named areas on the pixels of a map; areas may overlap.

    Parameters
    ----------
    shapes
        Polygons by the name of their zone; several of one name are one zone.
    """

    def __init__(self, shapes: Mapping[str, Shapes]) -> None:
        self._shapes = dict(shapes)

    @property
    def names(self) -> list[str]:
        """Names of the zones."""
        return list(self._shapes)

    def __dask_tokenize__(self) -> tuple[object, ...]:
        parts = ((name, *shapes.__dask_tokenize__()) for name, shapes in self._shapes.items())
        return "zones", *parts

    def masks(
        self, rows: Span, cols: Span
    ) -> Iterator[tuple[str, tuple[slice, slice], np.ndarray]]:
        """Burn the zones that reach into a window of the map.

        Parameters
        ----------
        rows, cols
            First pixel of the window and the one past its last.

        Yields
        ------
        str
            Name of a zone.
        tuple of slice
            The part of the window that the zone may lie in.
        ndarray of bool
            Which pixels of that part have their centre in the zone.
        """
        for name, shapes in self._shapes.items():
            top, bottom, left, right = shapes.window()
            span_y = max(top, rows[0]), min(bottom, rows[1])
            span_x = max(left, cols[0]), min(right, cols[1])
            if span_y[0] >= span_y[1] or span_x[0] >= span_x[1]:
                continue
            part = (
                slice(span_y[0] - rows[0], span_y[1] - rows[0]),
                slice(span_x[0] - cols[0], span_x[1] - cols[0]),
            )
            yield name, part, shapes.burn(span_y, span_x).astype(bool)

    def holding(self, row: np.ndarray, column: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Find which places lie in each zone.

        Parameters
        ----------
        row, column
            Places in pixels of the map, real numbers, ``(place,)``.

        Yields
        ------
        str
            Name of a zone.
        ndarray of bool, ``(place,)``
            Whether a place lies in it.
        """
        for name, shapes in self._shapes.items():
            yield name, shapes.hold(row, column)


def zones_of(
    source: str | PathLike[str] | gpd.GeoDataFrame, column: str | None, like: xr.DataArray
) -> Zones:
    """Take zones from polygons.

    Parameters
    ----------
    source
        A vector file or its features, in any CRS.
    column
        Column of the names; if None, the column ``name`` where there is one that names all
        features, else their positions, from 1.
    like
        The map.

    Returns
    -------
    Zones
        Those of which some feature meets the map.

    Raises
    ------
    FileNotFoundError, OSError
        If the file is missing or unreadable.
    ValueError
        If the column is unknown, a zone has no name, features are no polygons, or none meets the
        map.
    """
    features: Any = source
    what = "the zones"
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        features, what = read_vector(str(source)), f"zones {str(source)!r}"
    if column is None and "name" in features and features["name"].notna().all():
        column = "name"
    if column is None:
        names = np.arange(1, len(features) + 1).astype(str).astype(object)
    else:
        values = column_of(features, column, f"{what} (zone_column, --zone_column)")
        if values.isna().any():
            raise ValueError(
                f"{what} have {int(values.isna().sum())} features without a name in the column "
                f"{column!r}; name or remove them"
            )
        names = values.astype(str).to_numpy(object)
    _require_polygons(features, what)
    geometries, positions = shapes_on_scene(features, like, what)
    found = names[positions]
    return Zones(
        {
            name: Shapes(geometries[mine], np.ones(mine.sum(), np.uint8), 0, all_touched=False)
            for name in dict.fromkeys(found.tolist())
            for mine in [found == name]
        }
    )


def _require_polygons(features: gpd.GeoDataFrame, what: str) -> None:
    kinds = set(features.geometry.geom_type.dropna())
    if not kinds <= {"Polygon", "MultiPolygon"}:
        raise ValueError(f"{what} must be polygons, got {', '.join(sorted(kinds))}")
