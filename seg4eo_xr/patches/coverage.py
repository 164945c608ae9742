"""How much of the labelled ground of a scene its patches show."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
from dask.base import compute
from dask.delayed import delayed

from seg4eo_xr.patches.assembly import plan_pieces
from seg4eo_xr.patches.sources import ScenePatches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seg4eo_xr.patches.assembly import Pieces
    from seg4eo_xr.patches.grids import PatchWindows
    from seg4eo_xr.patches.sources import PatchSource

# Reading the labels of a larger scene would take longer than the answer is worth.
_MOST_PIXELS = 2**28
_COARSE_SIDE = 4096  # cells along an axis where larger scenes are estimated


def labelled_ground(
    source: PatchSource, labelled: NDArray[np.int64], used: NDArray[np.bool_]
) -> tuple[int, int]:
    """Count the labelled pixels of a scene that its patches show, and all of them.

    Pixels are read only where the windows do not cover the scene, as they do by default. Scenes of
    more than 2^28 pixels are then estimated by the share of the ground that the windows cover, and
    so are labels that cannot be read there.

    Parameters
    ----------
    source
        The scene and its windows.
    labelled
        Pixels with data and a label in each patch, ``(patch,)``.
    used
        Patches that belong to a split, ``(patch,)``.

    Returns
    -------
    shown, total : int
    """
    shape = source.scene.sizes["y"], source.scene.sizes["x"]
    windows = source.windows.within(shape)
    if not isinstance(source, ScenePatches) or _cover(windows, shape):
        return int(labelled[used].sum()), int(labelled.sum())
    used_ones = windows.take(np.flatnonzero(used))
    if shape[0] * shape[1] <= _MOST_PIXELS:
        # What cannot be read outside the windows does no harm to the patches.
        with contextlib.suppress(OSError):
            return _counted(source, used_ones)
    ground = int((windows.heights * windows.widths).sum())
    total = labelled.sum() / max(ground, 1) * shape[0] * shape[1]
    return round(total * _share_of_ground(used_ones, shape)), round(total)


def _cover(windows: PatchWindows, shape: tuple[int, int]) -> bool:
    """Whether windows are a whole grid of rows and columns that leaves no gap in a scene."""
    rows, cols = np.unique(windows.rows), np.unique(windows.cols)
    if not len(windows) or len(windows) != len(rows) * len(cols):
        return False
    for starts, own, sizes, side in (
        (rows, windows.rows, windows.heights, shape[0]),
        (cols, windows.cols, windows.widths, shape[1]),
    ):
        shortest = np.full(len(starts), side)
        np.minimum.at(shortest, np.searchsorted(starts, own), sizes)
        if starts[0] != 0 or (starts + shortest < np.append(starts[1:], side)).any():
            return False
    return len(np.unique(windows.rows * shape[1] + windows.cols)) == len(windows)


def _counted(source: ScenePatches, windows: PatchWindows) -> tuple[int, int]:
    codes, ignore = source.labels.data, int(source.labels.rio.nodata)
    blocks = codes.to_delayed()
    plans = {plan.chunk: plan for plan in plan_pieces(windows, codes.chunks)}
    count = delayed(_count, pure=False)
    parts = [
        count(blocks[chunk], ignore, plans.get(chunk)) for chunk in np.ndindex(*codes.numblocks)
    ]
    shown, total = np.sum(compute(*parts), axis=0).tolist()
    return shown, total


def _count(codes: np.ndarray, ignore: int, pieces: Pieces | None) -> tuple[int, int]:
    """Labelled pixels of a chunk that a window shows, and all of them."""
    labelled = codes != ignore
    total = int(np.count_nonzero(labelled))
    if pieces is None:
        return 0, total
    for (row, col), (height, width) in zip(
        pieces.source.tolist(), pieces.shape.tolist(), strict=True
    ):
        labelled[row : row + height, col : col + width] = False
    return total - int(np.count_nonzero(labelled)), total


def _share_of_ground(windows: PatchWindows, shape: tuple[int, int]) -> float:
    """Share of a scene's ground that windows show, on coarse cells."""
    cells = [min(side, _COARSE_SIDE) for side in shape]
    seen = np.zeros(cells, bool)
    starts, stops = (
        [
            np.rint(edge * count / side).astype(int)
            for edge, count, side in zip(edges, cells, shape, strict=True)
        ]
        for edges in (
            (windows.rows, windows.cols),
            (windows.rows + windows.heights, windows.cols + windows.widths),
        )
    )
    for top, left, bottom, right in zip(*starts, *stops, strict=True):
        seen[top:bottom, left:right] = True
    return float(np.count_nonzero(seen) / seen.size)
