"""Whole turns around the earth: 180° east and 180° west are one place."""

from __future__ import annotations

from functools import lru_cache
from math import pi
from typing import Any

# Projections in which x is proportional to the longitude.
_CYLINDRICAL = {
    "Popular Visualisation Pseudo Mercator",
    "Mercator (variant A)",
    "Mercator (variant B)",
    "Equidistant Cylindrical",
    "Equidistant Cylindrical (Spherical)",
    "Lambert Cylindrical Equal Area",
    "Lambert Cylindrical Equal Area (Spherical)",
}


def turn_of(crs: Any) -> float:
    """Length of a whole turn along x, in units of a CRS; 0 where x does not come round.

    Examples
    --------
    >>> turn_of("EPSG:4326"), round(turn_of("EPSG:3857")), turn_of("EPSG:32660")
    (360.0, 40075017, 0.0)
    """
    return _turn(crs if isinstance(crs, str) else crs.to_wkt())


@lru_cache(maxsize=256)
def _turn(text: str) -> float:
    import pyproj

    crs = pyproj.CRS.from_user_input(text).to_2d()
    if crs.is_geographic:
        return round(2 * pi / crs.axis_info[0].unit_conversion_factor, 9)
    operation = crs.coordinate_operation
    if crs.geodetic_crs is None or operation is None or operation.method_name not in _CYLINDRICAL:
        return 0.0
    transformer = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    # one of the two pairs lies apart from where x jumps
    x, _ = transformer.transform([0, 1, 90, 91], [0, 0, 0, 0])
    return 360.0 * float(min(abs(x[1] - x[0]), abs(x[3] - x[2])))


def turns_to(x: float, centre: float, turn: float) -> float:
    """Whole turns, in CRS units, that bring a place nearest to another along x.

    Examples
    --------
    >>> turns_to(-179.5, 179.5, 360.0), turns_to(10.0, 40.0, 360.0), turns_to(5.0, 900.0, 0.0)
    (360.0, 0.0, 0.0)
    """
    return turn * round((centre - x) / turn) if turn else 0.0


def ordered(west: float, east: float, turn: float) -> tuple[float, float]:
    """West and east of bounds that may cross 180°, where west is written as the larger one.

    Examples
    --------
    >>> ordered(179.0, -179.0, 360.0), ordered(4.0, 5.0, 360.0)
    ((179.0, 181.0), (4.0, 5.0))
    """
    return (west, east + turn) if east < west else (west, east)
