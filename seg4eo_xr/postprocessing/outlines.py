"""Outlines of the components of a tile, in pixels of the map."""

from __future__ import annotations

from itertools import chain

import numpy as np
import shapely
from affine import Affine
from rasterio.features import shapes

# rasterio warns of pixel coordinates, and silences that in a way that other threads can undo.
_AWAY = Affine.translation(1, 1)


def outlines(labels: np.ndarray) -> np.ndarray:
    """Polygon of each component: its pixels' outline, with vertices where it turns.

    Parameters
    ----------
    labels
        Number of the component of each pixel, ``(y, x)`` int32, from 0 and without gaps.

    Returns
    -------
    ndarray of shapely polygons
        One a component, in pixels from the north-west corner, x to the east and y to the south.

    Examples
    --------
    >>> outlines(np.array([[0, 0, 1]], np.int32))[1].bounds
    (2.0, 0.0, 3.0, 1.0)
    """
    traced = shapes(labels, connectivity=4, transform=_AWAY)
    found = [(shape["coordinates"], int(label)) for shape, label in traced]
    rings = [ring for polygon, _ in found for ring in polygon]
    vertices = np.array(list(chain.from_iterable(rings)), np.float64).reshape(-1, 2)
    vertices -= (_AWAY.c, _AWAY.f)
    polygons = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON,
        vertices,
        (_starts([len(ring) for ring in rings]), _starts([len(polygon) for polygon, _ in found])),
    )
    ordered = np.empty(len(polygons), object)
    ordered[[label for _, label in found]] = polygons
    return ordered


def _starts(lengths: list[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def junctions(codes: np.ndarray) -> np.ndarray:
    """Corners of pixels at which more than two borders of classes meet.

    Parameters
    ----------
    codes
        Class codes ``(y, x)`` with a margin of one pixel around them.

    Returns
    -------
    ndarray of bool, ``(y - 1, x - 1)``
        The corner north-west of each pixel within the margin, and those along the far sides.

    Examples
    --------
    >>> junctions(np.array([[1, 1], [2, 3]])), junctions(np.array([[1, 1], [2, 2]]))
    (array([[ True]]), array([[False]]))
    """
    across, down = codes[:, 1:] != codes[:, :-1], codes[1:] != codes[:-1]
    borders = across[:-1].astype(np.int8) + across[1:] + down[:, :-1] + down[:, 1:]
    met: np.ndarray = borders > 2
    return met


def simplified(polygons: np.ndarray, nodes: np.ndarray, tolerance: float) -> np.ndarray:
    """Outlines of a tile with fewer vertices, the same ones on both sides of a border.

    The tile's own frame and the corners where more than two classes meet stay as they are, so that
    the outlines of neighbouring tiles go on fitting.

    Parameters
    ----------
    polygons
        What `outlines` gave; they fill the tile.
    nodes
        What `junctions` gave, ``(y + 1, x + 1)``.
    tolerance
        Square root of the largest triangle that may be cut off or filled in, in pixels.

    Notes
    -----
    Visvalingam and Whyatt 1993, doi:10.1179/000870493786962263, on each border between two
    polygons, as GEOS does it for coverages.
    """
    _, vertices, (rings, parts) = shapely.to_ragged_array(polygons)
    noded, rings = _with_vertices_at(nodes, vertices, rings)
    coverage = shapely.from_ragged_array(shapely.GeometryType.POLYGON, noded, (rings, parts))
    result: np.ndarray = shapely.coverage_simplify(coverage, tolerance, simplify_boundary=False)
    return result


def _with_vertices_at(
    nodes: np.ndarray, vertices: np.ndarray, rings: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add to rings of whole numbers those of `nodes` that they pass without a turn."""
    whole = vertices.astype(np.int64)
    steps = np.diff(whole, axis=0, append=whole[-1:])
    last = rings[1:] - 1
    steps[last] = 0
    lengths = np.maximum(np.abs(steps).sum(1), 1)
    origin = np.repeat(np.arange(len(whole)), lengths)
    along = np.arange(len(origin)) - np.repeat(_starts(lengths)[:-1], lengths)
    points = whole[origin] + along[:, None] * np.sign(steps)[origin]
    kept = (along == 0) | nodes[points[:, 1], points[:, 0]]
    counts = np.bincount(origin[kept], minlength=len(whole))
    return points[kept].astype(np.float64), _starts(counts)[rings]


def without_straight_vertices(polygons: np.ndarray) -> np.ndarray:
    """Drop the vertices at which an outline along pixel sides does not turn.

    Examples
    --------
    >>> polygon = shapely.from_wkt("POLYGON ((0 0, 1 0, 2 0, 2 1, 0 1, 0 0))")
    >>> len(without_straight_vertices(np.array([polygon]))[0].exterior.coords)
    5
    """
    _, vertices, (rings, parts) = shapely.to_ragged_array(polygons)
    before = np.arange(len(vertices)) - 1
    after = before + 2
    # a ring's last vertex repeats its first
    first, last = rings[:-1], rings[1:] - 1
    before[first], after[last] = last - 1, first + 1
    same = [vertices[side] == vertices for side in (before, after)]
    kept = ~(same[0] & same[1]).any(1)
    kept[last] = False
    counts = np.add.reduceat(kept, first, dtype=np.int64)
    starts = _starts(counts)
    corners = vertices[kept]
    # close the rings again
    closed = np.insert(corners, starts[1:], corners[starts[:-1]], axis=0)
    ends = _starts(counts + 1)
    result: np.ndarray = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, closed, (ends, parts)
    )
    return result


def moved(polygons: np.ndarray, row: int, column: int) -> np.ndarray:
    """Shift polygons by whole pixels, to the place of their tile in the map."""
    offset = np.array([column, row])
    result: np.ndarray = shapely.transform(polygons, lambda points: points + offset)
    return result


def located(polygons: np.ndarray, transform: Affine) -> np.ndarray:
    """Bring polygons from pixels to CRS units, ring after ring counter-clockwise outside."""

    def in_crs(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        a, b, c, d, e, f = transform[:6]
        return np.stack([a * x + b * y + c, d * x + e * y + f], 1)

    result: np.ndarray = shapely.orient_polygons(shapely.transform(polygons, in_crs))
    return result
