"""Where patches lie on one plane, and which of them come near each other.

The plane is that of a reference grid, by custom the first scene's; its unit is that grid's pixel.
Distances are those between outermost pixel centres: 0 for patches that share a pixel, 1 for patches
that touch along a side.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

# Grids that coincide do so to a hair only; less than this, in pixels, is no common ground.
_HAIR = 1e-3
_ASKED_AT_ONCE = 512  # patches; windows that overlap much have thousands of neighbours each


@dataclass(frozen=True, eq=False)
class Footprints:
    """Patches on the plane of the reference grid, and what a split may go by.

    Parameters
    ----------
    rows, cols
        Upper left corner of each patch in pixels of the reference grid, ``(patch,)`` float64. They
        are whole numbers for patches of the reference grid itself, and may be negative.
    heights, widths
        Size of each patch in pixels of the reference grid, ``(patch,)`` float64.
    scenes
        Number of the scene that each patch is cut from, ``(patch,)`` int64.
    groups
        Value of a column of the grid, ``(patch,)`` str; empty where there is none.
    fixed
        Split that each patch has been dealt to before, ``(patch,)`` str; empty where it is to be
        dealt.
    windows
        Row, column, height and width of each patch in pixels of its own scene, ``(patch, 4)``
        float64. By these it is judged whether patches of one scene share ground: on the plane of
        another CRS a patch is turned, and its box overlaps that of its neighbour.
    turn
        Columns of a whole turn around the earth, after which the plane begins again; 0 where it
        does not.
    """

    rows: NDArray[np.float64]
    cols: NDArray[np.float64]
    heights: NDArray[np.float64]
    widths: NDArray[np.float64]
    scenes: NDArray[np.int64]
    groups: NDArray[np.str_]
    fixed: NDArray[np.str_]
    windows: NDArray[np.float64]
    turn: float = field(default=0.0, kw_only=True)

    @classmethod
    def of(
        cls,
        rows: ArrayLike,
        cols: ArrayLike,
        heights: ArrayLike,
        widths: ArrayLike,
        *,
        scenes: ArrayLike = 0,
        groups: ArrayLike = "",
        fixed: ArrayLike = "",
        windows: Sequence[ArrayLike] | None = None,
        turn: float = 0.0,
    ) -> Footprints:
        """Make footprints of numbers that are broadcast against each other; `turn` is one for all.

        `windows` are rows, columns, heights and widths in pixels of the patches' own scenes; None
        stands for those of the reference grid.

        Examples
        --------
        >>> patches = Footprints.of([0, 0, 8], [0, 8, 0], 8, 8, scenes=[0, 0, 1])
        >>> len(patches), patches.widths, patches.fixed
        (3, array([8., 8., 8.]), array(['', '', ''], dtype='<U1'))
        """
        numbers = [np.asarray(side, np.float64) for side in (rows, cols, heights, widths)]
        others = np.asarray(scenes, np.int64), np.asarray(groups, str), np.asarray(fixed, str)
        columns = [np.atleast_1d(a) for a in np.broadcast_arrays(*numbers, *others)]
        own = np.broadcast_arrays(*(columns[:4] if windows is None else windows), columns[0])[:4]
        columns.append(np.stack(own, axis=1).astype(np.float64))
        return cls(*columns, turn=turn)

    @classmethod
    def joined(cls, parts: Sequence[Footprints]) -> Footprints:
        """Put the patches of several footprints into one, in their order."""
        columns = (np.concatenate([getattr(p, name) for p in parts]) for name in _COLUMNS)
        return cls(*columns, turn=parts[0].turn)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: NDArray[np.int64]) -> Footprints:
        """Return the patches at `positions`, in that order."""
        columns = {name: getattr(self, name)[positions] for name in _COLUMNS}
        return replace(self, **columns)


_COLUMNS = tuple(one.name for one in fields(Footprints) if one.name != "turn")


def near(
    patches: Footprints,
    asking: NDArray[np.bool_],
    others: NDArray[np.bool_],
    distance: float | None = None,
) -> NDArray[np.bool_]:
    """Find the patches that lie near one of some other patches.

    Parameters
    ----------
    patches
        All patches.
    asking, others
        Which of them to judge, and which to measure from, ``(patch,)``.
    distance
        Largest distance between pixel centres that counts as near, in pixels of the reference grid.
        Patches that share ground always do; None asks for these alone.

    Returns
    -------
    ndarray of bool, ``(patch,)``
        True for patches of `asking` that lie near one of `others`.

    Examples
    --------
    >>> patches = Footprints.of(0, [0, 8, 15], 8, 8)
    >>> first = np.array([True, False, False])
    >>> near(patches, ~first, first), near(patches, ~first, first, distance=1)
    (array([False, False, False]), array([False,  True, False]))
    """
    import shapely

    edges, found = _edges(patches), np.zeros(len(patches), bool)
    own = patches.windows.T
    own = np.concatenate([own[:2], own[:2] + own[2:]])
    judged, measured = np.flatnonzero(asking), np.flatnonzero(others)
    # Pixel centres of patches that share ground are less than a pixel apart along each axis.
    reach = max(1.0, distance or 0.0)
    there, measured = _around(patches, edges[:, measured]), _repeated(patches, measured)
    tree = shapely.STRtree(_boxes(there, -0.5))
    for start in range(0, len(judged), _ASKED_AT_ONCE):
        part = judged[start : start + _ASKED_AT_ONCE]
        first, second = tree.query(_boxes(edges[:, part], reach - 0.5))
        first, found_at, second = part[first], second, measured[second]
        gaps = _gaps(edges[:, first], there[:, found_at])
        of_one_scene = patches.scenes[first] == patches.scenes[second]
        overlaps = np.where(of_one_scene, _gaps(own[:, first], own[:, second]), gaps) < -_HAIR
        close = np.asarray(overlaps.all(axis=0))
        if distance is not None:
            close |= np.hypot(*np.maximum(gaps + 1, 0)) <= distance
        found[first[close]] = True
    return found


def nearest(
    patches: Footprints, asking: NDArray[np.bool_], others: NDArray[np.bool_]
) -> float | None:
    """Measure how near some patches come to some others.

    Parameters
    ----------
    patches
        All patches.
    asking, others
        The two groups, ``(patch,)``.

    Returns
    -------
    float or None
        Smallest distance between pixel centres, in pixels of the reference grid; None where one of
        the groups is empty.

    Examples
    --------
    >>> patches = Footprints.of(0, [0, 20], 8, 8)
    >>> first = np.array([True, False])
    >>> nearest(patches, first, ~first)
    13.0
    """
    import shapely

    if not asking.any() or not others.any():
        return None
    edges = _edges(patches)
    tree = shapely.STRtree(_boxes(_around(patches, edges[:, others]), -0.5))
    _, distances = tree.query_nearest(
        _boxes(edges[:, asking], -0.5), return_distance=True, all_matches=False
    )
    return float(distances.min())


def _edges(patches: Footprints) -> NDArray[np.float64]:
    """Top, left, bottom and right edge of each patch, ``(4, patch)``."""
    top, left = patches.rows, patches.cols
    return np.stack([top, left, top + patches.heights, left + patches.widths])


def _turns(patches: Footprints) -> list[float]:
    """Columns by which patches are to be moved to find their neighbours: 0, and whole turns."""
    if not patches.turn or np.ptp(patches.cols) < patches.turn / 2:
        return [0.0]
    return [0.0, -patches.turn, patches.turn]


def _around(patches: Footprints, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of patches, and of the same patches a turn away where that may be nearer."""
    moves = [np.array([[0.0], [turn], [0.0], [turn]]) for turn in _turns(patches)]
    return np.concatenate([edges + move for move in moves], axis=1)


def _repeated(patches: Footprints, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the patches whose edges `_around` gives."""
    return np.tile(positions, len(_turns(patches)))


def _gaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Empty pixels between patches along y and x, ``(2, pair)``; negative where they overlap."""
    return np.maximum(one[:2] - other[2:], other[:2] - one[2:])


def _boxes(edges: NDArray[np.float64], reach: float) -> NDArray[np.object_]:
    """Rectangles around patches; a `reach` of -0.5 leads through the outermost pixel centres."""
    import shapely

    # A patch smaller than a pixel of the reference grid shrinks to its centre, not inside out.
    reaches = np.maximum(reach, -(edges[2:] - edges[:2]) / 2)
    (top, left), (bottom, right) = edges[:2] - reaches, edges[2:] + reaches
    boxes: NDArray[np.object_] = shapely.box(left, top, right, bottom)
    return boxes
