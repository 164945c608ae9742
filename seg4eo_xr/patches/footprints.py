"""Windows of any scene as boxes on the plane of a reference grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.geometry.footprints import Footprints
from seg4eo_xr.scenes.grid import crs_text, same_crs
from seg4eo_xr.scenes.turns import turn_of

if TYPE_CHECKING:
    from affine import Affine
    from numpy.typing import NDArray

    Boxes = tuple[
        NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]
    ]

# Edges of grids that coincide do so to a hair; this much of a pixel is rounded away.
_HAIR = 1e-3
# Points along each edge of a window that are reprojected.
_POINTS = 5


def on_reference(
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    transform: Affine,
    crs: Any,
    reference_transform: Affine,
    reference_crs: Any,
) -> Boxes:
    """Say where windows of a scene lie, in pixels of a reference grid.

    Parameters
    ----------
    rows, cols, heights, widths
        Windows in pixels of the scene, ``(patch,)``.
    transform, crs
        The scene's north-up transform and its CRS, as anything that rasterio takes for one.
    reference_transform, reference_crs
        Those of the reference grid.

    Returns
    -------
    tuple of four ndarrays of float64, ``(patch,)``
        Rows, columns, heights and widths. Whole numbers where the two grids coincide; in another
        CRS the bounds of the reprojected window, which are never too small.

    Raises
    ------
    ValueError
        If a window cannot be expressed in the reference CRS.

    Examples
    --------
    >>> from affine import Affine
    >>> fine, coarse = Affine(10, 0, 300, 0, -10, 900), Affine(20, 0, 0, 0, -20, 900)
    >>> windows = [np.array([number]) for number in (4, 6, 8, 8)]
    >>> on_reference(*windows, fine, "EPSG:32633", coarse, "EPSG:32633")
    (array([2.]), array([18.]), array([4.]), array([4.]))
    """
    from rasterio.crs import CRS

    own, reference = CRS.from_user_input(crs), CRS.from_user_input(reference_crs)
    if same_crs(own, reference):
        step = ~reference_transform @ transform
        top, bottom = (_snapped(step.f + step.e * edge) for edge in (rows, rows + heights))
        left, right = (_snapped(step.c + step.a * edge) for edge in (cols, cols + widths))
        return top, left, bottom - top, right - left
    across, down = _outlines(rows, cols, heights, widths)
    x, y = transform.c + transform.a * across, transform.f + transform.e * down
    x, y = _reprojected(x, y, own, reference)
    turn = turn_of(reference)
    if turn:  # the outline of a window across 180° stays in one piece
        x -= turn * np.rint((x - x[:, :1, :1]) / turn)
    top, bottom = _bounds((y - reference_transform.f) / reference_transform.e)
    left, right = _bounds((x - reference_transform.c) / reference_transform.a)
    return top, left, bottom - top, right - left


def footprints_of(
    windows: tuple[NDArray[np.int64], ...],
    scenes: NDArray[np.int64],
    grids: list[tuple[Affine, str]],
    splits: NDArray[np.str_],
) -> Footprints:
    """Put the windows of several scenes onto the grid of the first.

    Parameters
    ----------
    windows
        Rows, columns, heights and widths in pixels of the patches' own scenes, ``(patch,)``.
    scenes
        Number of each patch's scene, ``(patch,)``.
    grids
        Transform and CRS of each scene.
    splits
        Split of each patch, ``(patch,)``.
    """
    boxes = np.zeros((4, len(scenes)))
    for number in np.unique(scenes):
        own = scenes == number
        rows, cols, heights, widths = (side[own] for side in windows)
        transform, crs = grids[number]
        boxes[:, own] = on_reference(rows, cols, heights, widths, transform, crs, *grids[0])
    turn = columns_of_a_turn(*grids[0])
    return Footprints.of(*boxes, scenes=scenes, fixed=splits, windows=windows, turn=turn)


def columns_of_a_turn(transform: Affine, crs: Any) -> float:
    """Pixels of a whole turn around the earth on a grid; 0 where its CRS does not come round."""
    from rasterio.crs import CRS

    return turn_of(CRS.from_user_input(crs)) / transform.a


def _snapped(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = np.rint(edges)
    return np.where(np.abs(edges - whole) < _HAIR, whole, edges)


def _outlines(
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows of points along the four edges of each window, ``(patch, edge, point)``."""
    along, zero = np.linspace(0, 1, _POINTS), np.zeros(_POINTS)
    across = np.stack([along, along, zero, zero + 1])
    down = np.stack([zero, zero + 1, along, along])
    top, left, height, width = (
        side.astype(np.float64)[:, None, None] for side in (rows, cols, heights, widths)
    )
    return left + width * across, top + height * down


def _reprojected(
    x: NDArray[np.float64], y: NDArray[np.float64], crs: Any, reference: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import pyproj

    source, target = (pyproj.CRS.from_wkt(system.to_wkt()) for system in (crs, reference))
    moved_x, moved_y = pyproj.Transformer.from_crs(source, target, always_xy=True).transform(x, y)
    if not (np.isfinite(moved_x) & np.isfinite(moved_y)).all():
        raise ValueError(
            f"a scene in {crs_text(crs)} has windows that cannot be expressed in "
            f"{crs_text(reference)}, the CRS of the store's first scene; check the scene's CRS, or "
            "put it into a store of its own"
        )
    return moved_x, moved_y


def _bounds(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of edges ``(patch, edge, point)`` that bend between the points."""
    # An edge strays from the chord between two points by an eighth of this where it bends evenly.
    bend = np.abs(np.diff(points, 2)).max(axis=(1, 2))
    return points.min(axis=(1, 2)) - bend, points.max(axis=(1, 2)) + bend
