"""Where the patches lie: windows of a scene from a regular grid or from polygons."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seg4eo_xr.scenes.grid import crs_text, grid_transform, require_crs, require_degrees
from seg4eo_xr.scenes.vectors import read_vector

if TYPE_CHECKING:
    from collections.abc import Mapping

    import geopandas as gpd
    import xarray as xr
    from affine import Affine
    from numpy.typing import NDArray

Edges = Literal["pad", "shift", "drop"]
# A cell drawn on the pixel grid comes back from its file a hair off; this much of a pixel is no
# reason to round it to the neighbour.
_HAIR = 1e-3


@dataclass(frozen=True, eq=False)
class PatchWindows:
    """Windows of a scene, in pixels; they may reach past its right and its lower edge.

    Parameters
    ----------
    rows, cols
        Upper left pixel of each window, ``(patch,)`` int64.
    heights, widths
        Size of each window, ``(patch,)`` int64.
    ids
        A name a window, ``(patch,)`` str.
    groups
        Value of the grid's column that a split goes by, ``(patch,)`` str; empty where there is
        none.
    dropped
        Windows left out, by reason.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: NDArray[np.int64]) -> PatchWindows:
        """Return the windows at `positions`, in that order."""
        return PatchWindows(
            self.rows[positions],
            self.cols[positions],
            self.heights[positions],
            self.widths[positions],
            self.ids[positions],
            self.groups[positions],
            self.dropped,
        )

    def within(self, shape: tuple[int, int]) -> PatchWindows:
        """Return the parts of the windows that lie inside a scene of that height and width."""
        return replace(
            self,
            heights=np.minimum(self.heights, shape[0] - self.rows),
            widths=np.minimum(self.widths, shape[1] - self.cols),
        )


def regular_windows(
    shape: tuple[int, int], patch_size: int, stride: int | None = None, edges: Edges = "pad"
) -> PatchWindows:
    """Lay square windows over a scene, from its upper left corner.

    Parameters
    ----------
    shape
        Height and width of the scene in pixels.
    patch_size
        Side of a window in pixels.
    stride
        Distance between the starts of neighbouring windows in pixels; None for `patch_size`, which
        makes them touch.
    edges
        What becomes of windows that reach past the right or lower edge: ``pad`` keeps them,
        ``shift`` moves them inside, where they overlap their neighbours, and ``drop`` leaves them
        out and counts them in `dropped`. A scene smaller than a window has one that reaches past
        its edge, with ``shift`` too.

    Returns
    -------
    PatchWindows
        In rows from top to bottom, named ``<row>_<column>`` by their upper left pixel. Each holds
        a pixel of the scene.

    Raises
    ------
    ValueError
        If a number is out of range, or the scene is smaller than one patch and `edges` is ``drop``.

    Examples
    --------
    >>> regular_windows((100, 130), patch_size=64).ids.tolist()
    ['0_0', '0_64', '0_128', '64_0', '64_64', '64_128']
    >>> regular_windows((100, 130), patch_size=64, edges="shift").ids.tolist()
    ['0_0', '0_64', '0_66', '36_0', '36_64', '36_66']
    >>> windows = regular_windows((100, 130), patch_size=64, edges="drop")
    >>> windows.ids.tolist(), dict(windows.dropped)
    (['0_0', '0_64'], {'reach past the edge of the scene': 4})
    """
    stride = patch_size if stride is None else stride
    for name, number in (("patch_size", patch_size), ("stride", stride)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1 pixel, got {number}")
    require_room(shape, patch_size, edges)
    starts = [_starts(size, patch_size, stride, edges) for size in shape]
    rows, cols = (axis.ravel() for axis in np.meshgrid(*starts, indexing="ij"))
    dropped = {}
    if edges == "drop":
        every = [len(_starts(size, patch_size, stride, "pad")) for size in shape]
        if every[0] * every[1] > len(rows):
            dropped = {"reach past the edge of the scene": every[0] * every[1] - len(rows)}
    return square_windows(rows, cols, patch_size, dropped)


def _starts(size: int, window: int, stride: int, edges: Edges) -> NDArray[np.int64]:
    """First pixels of the windows along one axis."""
    inside = np.arange(0, size - window + 1, stride, dtype=np.int64)
    following = int(inside[-1]) + stride if len(inside) else 0
    covered = int(inside[-1]) + window if len(inside) else 0
    if edges == "drop" or covered >= size or following >= size:
        return inside
    last = following if edges == "pad" else max(0, size - window)
    return np.append(inside, np.int64(last))


def require_room(shape: tuple[int, int], patch_size: int, edges: Edges) -> None:
    """Raise a ValueError where a scene is smaller than one patch and is not to be padded."""
    if edges == "drop" and min(shape) < patch_size:
        raise ValueError(
            f"the scene has {shape[0]} × {shape[1]} pixels and is smaller than one patch of "
            f"{patch_size} × {patch_size}; choose patch_size {min(shape)} or less, or "
            "edges='pad' (--edges pad)"
        )


def square_windows(
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    patch_size: int,
    dropped: Mapping[str, int] | None = None,
) -> PatchWindows:
    """Make windows of one size, named ``<row>_<column>`` by their upper left pixel."""
    size = np.full(len(rows), patch_size, np.int64)
    ids = np.array([f"{row}_{col}" for row, col in zip(rows, cols, strict=True)], np.str_)
    return PatchWindows(rows, cols, size, size, ids, np.full(len(rows), ""), dropped or {})


def polygon_windows(
    grid: gpd.GeoDataFrame | str | Path,
    scene: xr.DataArray,
    id_column: str | None = None,
    group_column: str | None = None,
) -> PatchWindows:
    """Turn the polygons of a vector file into windows of a scene, one a polygon.

    A polygon is reprojected to the scene's CRS; its window is its bounding box, rotated cells
    included, with the upper left corner and the size each rounded to whole pixels. Polygons that do
    not lie inside the scene with their whole box are left out and counted in `dropped`.

    Parameters
    ----------
    grid
        Polygons, or a vector file that GeoPandas reads.
    scene
        Array with dimensions ``y`` and ``x``, a CRS and a north-up transform.
    id_column
        Column that names the patches; None numbers them by their row in the grid, from 0, as does
        a missing name.
    group_column
        Column that becomes `groups`.

    Returns
    -------
    PatchWindows
        In the order of the grid.

    Raises
    ------
    FileNotFoundError, OSError
        If the file does not exist or is no vector file.
    ValueError
        If it is empty, has no CRS or a CRS that its numbers contradict, no such column, invalid
        polygons, other geometries than polygons, or no polygon inside the scene.
    """
    if isinstance(grid, str | Path):
        name, frame = f"grid {str(grid)!r}", read_vector(grid)
    else:
        name, frame = "the grid", grid
    if frame.empty:
        raise ValueError(f"{name} has no rows; draw one polygon a patch, or leave the grid away")
    ids = _as_text(frame, id_column, name)
    ids = np.where(ids == "", np.arange(len(frame)).astype(str), ids)
    groups = _as_text(frame, group_column, name)
    _require_polygons(frame, name)
    bounds = _bounds_in_crs_of(scene, frame, name)
    starts, lengths, usable = _whole_pixels(bounds, grid_transform(scene, "the scene"))
    limits = np.array([[scene.sizes["y"]], [scene.sizes["x"]]])
    touching = usable & ((starts < limits) & (starts + lengths > 0)).all(axis=0)
    inside = touching & ((starts >= 0) & (starts + lengths <= limits)).all(axis=0)
    reasons = {
        "are empty or smaller than a pixel": int((~usable).sum()),
        "lie outside the scene": int((usable & ~touching).sum()),
        "reach past the edge of the scene": int((touching & ~inside).sum()),
    }
    dropped = {reason: count for reason, count in reasons.items() if count}
    if not inside.any():
        told = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise ValueError(
            f"{name} has no polygon inside the scene ({told}); the scene covers "
            f"{tuple(round(edge, 6) for edge in scene.rio.bounds())} in {crs_text(scene.rio.crs)}, "
            f"the polygons {tuple(np.round(_total(bounds), 6).tolist())}"
        )
    windows = PatchWindows(starts[0], starts[1], lengths[0], lengths[1], ids, groups, dropped)
    return windows.take(np.flatnonzero(inside))


def _as_text(frame: gpd.GeoDataFrame, column: str | None, name: str) -> NDArray[np.str_]:
    """Values of a column as text: empty where missing, whole numbers without a fraction."""
    if column is None:
        return np.full(len(frame), "")
    if column not in frame.columns:
        raise ValueError(
            f"{name} has no column {column!r}; it has "
            f"{[str(known) for known in frame.columns if known != frame.geometry.name]}"
        )
    values, missing = frame[column], frame[column].isna()
    # missing values make a file's integers floats
    texts = [
        "" if lacks else str(int(value) if _is_whole(value) else value)
        for value, lacks in zip(values, missing, strict=True)
    ]
    return np.array(texts, np.str_)


def _is_whole(value: Any) -> bool:
    return isinstance(value, float | np.floating) and float(value).is_integer()


def _require_polygons(frame: gpd.GeoDataFrame, name: str) -> None:
    """Raise ValueError for geometries that are no polygons, or invalid ones."""
    import shapely

    shapes = frame.geometry.to_numpy()
    drawn = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    # of a collection, as mending makes them of spiky polygons, it is the largest that counts
    others = drawn & (shapely.get_dimensions(shapes) != 2)
    if others.any():
        kinds = sorted({shape.geom_type for shape in shapes[others]})
        raise ValueError(
            f"{name} holds {int(others.sum())} geometries that are no polygons ({', '.join(kinds)};"
            f" {_first_rows(others)}); a grid has one polygon a patch: draw boxes around them with "
            "grid.buffer(distance, cap_style='square')"
        )
    invalid = drawn & ~shapely.is_valid(shapes)
    if invalid.any():
        reason = shapely.is_valid_reason(shapes[np.argmax(invalid)])
        raise ValueError(
            f"{name} holds {int(invalid.sum())} invalid polygons ({_first_rows(invalid)}; the "
            f"first: {reason}); mend them with grid.geometry = shapely.make_valid(grid.geometry), "
            "or with `ogr2ogr -makevalid`"
        )


def _first_rows(chosen: NDArray[np.bool_]) -> str:
    rows = np.flatnonzero(chosen)
    told = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    return f"row{'s' if len(rows) > 1 else ''} {told}, counted from 0"


def _bounds_in_crs_of(
    scene: xr.DataArray, frame: gpd.GeoDataFrame, name: str
) -> NDArray[np.float64]:
    """Left, bottom, right and top of each polygon in the scene's CRS, ``(4, polygon)``."""
    import shapely

    if frame.crs is None:
        raise ValueError(f"{name} has no CRS; set it with .set_crs('EPSG:...') and save it again")
    require_crs(scene, "the scene")
    require_degrees(tuple(frame.total_bounds), frame.crs, f"the cells of {name}")
    moved = frame.geometry.to_crs(scene.rio.crs)
    bounds: NDArray[np.float64] = shapely.bounds(moved.to_numpy()).T
    return bounds


def _total(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    known = bounds[:, np.isfinite(bounds).all(axis=0)]
    if not known.size:
        return np.full(4, np.nan)
    return np.concatenate([known[:2].min(axis=1), known[2:].max(axis=1)])


def _whole_pixels(
    bounds: NDArray[np.float64], transform: Affine
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Start and length of each polygon along y and x, ``(2, polygon)``, and whether it has any."""
    left, bottom, right, top = bounds
    rows = (np.array([top, bottom]) - transform.f) / transform.e
    cols = (np.array([left, right]) - transform.c) / transform.a
    edges = np.stack([rows, cols], axis=1)
    sizes = edges[1] - edges[0]
    usable = np.isfinite(edges).all(axis=(0, 1)) & (sizes >= 0.5).all(axis=0)
    starts, lengths = (
        np.floor(np.where(usable, numbers, 0) + 0.5 + _HAIR).astype(np.int64)
        for numbers in (edges[0], sizes)
    )
    return starts, lengths, usable
