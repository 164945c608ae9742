"""Where the patches lie: windows of a scene from a regular grid or from polygons."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.scenes.grid import crs_text, grid_transform, missing_crs
from seg4eo_xr.scenes.vectors import read_vector

if TYPE_CHECKING:
    from collections.abc import Mapping

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

# A cell drawn on the pixel grid comes back from its file a hair off; this much of a pixel is no
# reason to round it to the neighbour.
_HAIR = 1e-3


@dataclass(frozen=True, eq=False)
class PatchWindows:
    """Windows of a scene, in pixels.

    Parameters
    ----------
    rows, cols
        Upper left pixel of each window, ``(patch,)`` int64.
    heights, widths
        Size of each window, ``(patch,)`` int64.
    ids
        A name a window, ``(patch,)`` str.
    dropped
        Windows left out, by reason.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    ids: NDArray[np.str_]
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
            self.dropped,
        )


def regular_windows(
    shape: tuple[int, int], patch_size: int, stride: int | None = None
) -> PatchWindows:
    """Lay square windows over a scene, from its upper left corner.

    Windows that would reach past the right or lower edge are left out and counted in `dropped`: a
    patch holds the scene's own pixels only.

    Parameters
    ----------
    shape
        Height and width of the scene in pixels.
    patch_size
        Side of a window in pixels.
    stride
        Distance between the starts of neighbouring windows in pixels; None for `patch_size`, which
        makes them touch.

    Returns
    -------
    PatchWindows
        In rows from top to bottom, named ``<row>_<column>`` by their upper left pixel.

    Raises
    ------
    ValueError
        If the scene is smaller than one patch.

    Examples
    --------
    >>> windows = regular_windows((100, 130), patch_size=64, stride=32)
    >>> len(windows), windows.ids[:3].tolist(), dict(windows.dropped)
    (6, ['0_0', '0_32', '0_64'], {'reach past the edge of the scene': 6})
    """
    stride = patch_size if stride is None else stride
    for name, number in (("patch_size", patch_size), ("stride", stride)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1 pixel, got {number}")
    height, width = shape
    if min(shape) < patch_size:
        raise ValueError(
            f"the scene has {height} × {width} pixels and is smaller than one patch of "
            f"{patch_size} × {patch_size}; choose patch_size {min(shape)} or less"
        )
    starts = [np.arange(0, size - patch_size + 1, stride, dtype=np.int64) for size in shape]
    rows, cols = (axis.ravel() for axis in np.meshgrid(*starts, indexing="ij"))
    size = np.full(len(rows), patch_size, np.int64)
    covering = [1 + -(-max(0, side - patch_size) // stride) for side in shape]
    partial = covering[0] * covering[1] - len(rows)
    return PatchWindows(
        rows,
        cols,
        size,
        size,
        np.array([f"{row}_{col}" for row, col in zip(rows, cols, strict=True)]),
        {"reach past the edge of the scene": partial} if partial else {},
    )


def polygon_windows(
    grid: gpd.GeoDataFrame | str | Path, scene: xr.DataArray, id_column: str | None = None
) -> PatchWindows:
    """Turn the polygons of a vector file into windows of a scene, one a polygon.

    A polygon is reprojected to the scene's CRS; its window is its bounding box, the upper left
    corner and the size each rounded to whole pixels. Polygons that do not lie inside the scene with
    their whole box are left out and counted in `dropped`.

    Parameters
    ----------
    grid
        Polygons, or a vector file that GeoPandas reads.
    scene
        Array with dimensions ``y`` and ``x``, a CRS and a north-up transform.
    id_column
        Column that names the patches; None numbers them by their row in the grid, from 0.

    Returns
    -------
    PatchWindows
        In the order of the grid.

    Raises
    ------
    FileNotFoundError, OSError
        If the file does not exist or is no vector file.
    ValueError
        If it has no CRS, no such column, or no polygon inside the scene.
    """
    import shapely

    is_path = isinstance(grid, str | Path)
    name = f"grid {str(grid)!r}" if is_path else "the grid"
    frame = _in_crs_of(scene, read_vector(grid) if is_path else grid, name)
    if id_column is not None and id_column not in frame.columns:
        raise ValueError(
            f"{name} has no column {id_column!r}; it has "
            f"{[column for column in frame.columns if column != frame.geometry.name]}"
        )
    ids = np.arange(len(frame)) if id_column is None else frame[id_column].to_numpy()
    transform = grid_transform(scene, "the scene")
    left, bottom, right, top = shapely.bounds(frame.geometry.to_numpy()).T
    rows = (np.array([top, bottom]) - transform.f) / transform.e
    cols = (np.array([left, right]) - transform.c) / transform.a
    edges = np.sort([rows, cols], axis=1)
    sizes = edges[:, 1] - edges[:, 0]
    usable = np.isfinite(edges).all(axis=(0, 1)) & (sizes >= 0.5).all(axis=0)
    starts, lengths = (
        np.floor(np.where(usable, numbers, 0) + 0.5 + _HAIR).astype(np.int64)
        for numbers in (edges[:, 0], sizes)
    )
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
        told = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "it is empty"
        raise ValueError(
            f"{name} has no polygon inside the scene ({told}); the scene covers "
            f"{tuple(round(edge, 6) for edge in scene.rio.bounds())} in {crs_text(scene.rio.crs)}"
        )
    return PatchWindows(
        starts[0], starts[1], lengths[0], lengths[1], ids.astype(str), dropped
    ).take(np.flatnonzero(inside))


def _in_crs_of(scene: xr.DataArray, frame: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    if frame.crs is None:
        raise ValueError(f"{name} has no CRS; set it with .set_crs('EPSG:...') and save it again")
    if scene.rio.crs is None:
        raise ValueError(missing_crs("the scene"))
    return frame.to_crs(scene.rio.crs)
