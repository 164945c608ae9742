"""Patches out of chunks: which piece of which chunk goes where, and the kernels that move it.

Patches are put together from pieces cut from a scene's chunks. Small pieces are copies, so that a
chunk can leave memory as soon as its pieces are cut, and each chunk is read once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from dask.base import tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from seg4eo_xr.patches.grids import PatchWindows

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_GDAL_NAMES = {"bicubic": "cubic"}


@dataclass(frozen=True)
class Resampling:
    """How windows become patches of one size.

    Parameters
    ----------
    size
        Side of a patch in pixels.
    interpolation
        GDAL's kernel of that name; it sees no pixel outside the window.
    nodata
        Stored number that takes no part, and fills what has no neighbour with data.
    """

    size: int
    interpolation: Interpolation = "nearest"
    nodata: float | None = None


@dataclass(frozen=True, eq=False)
class Pieces:
    """What one chunk gives to the patches of one shard.

    Parameters
    ----------
    chunk
        Row and column of the chunk in the scene's grid of chunks.
    slots
        Position in the shard of the patch that each piece belongs to, ``(piece,)``.
    source
        Row and column of each piece in its chunk, ``(piece, 2)``.
    target
        Row and column of each piece in its patch's window, ``(piece, 2)``.
    shape
        Height and width of each piece, ``(piece, 2)``.
    """

    chunk: tuple[int, int]
    slots: NDArray[np.int64]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    shape: NDArray[np.int64]

    def __dask_tokenize__(self) -> tuple[str, str]:
        # Arrays have to be hashed here: dask goes by their text, which leaves out the middle.
        return "Pieces", tokenize(self.chunk, self.slots, self.source, self.target, self.shape)


def plan_pieces(
    windows: PatchWindows, chunks: tuple[tuple[int, ...], tuple[int, ...]]
) -> list[Pieces]:
    """Find the pieces of chunks that make up some windows.

    Parameters
    ----------
    windows
        Windows of the patches of one shard; what of them lies outside the scene has no piece.
    chunks
        Lengths of the scene's chunks along y and x, as dask gives them.

    Returns
    -------
    list of Pieces
        One a chunk that a window touches, in the order of the chunks.
    """
    rows = _cut_axis(windows.rows, windows.heights, chunks[0])
    cols = _cut_axis(windows.cols, windows.widths, chunks[1])
    found: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for slot, (parts_y, parts_x) in enumerate(zip(rows, cols, strict=True)):
        for chunk_y, source_y, target_y, height in parts_y:
            for chunk_x, source_x, target_x, width in parts_x:
                found.setdefault((chunk_y, chunk_x), []).append(
                    (slot, source_y, source_x, target_y, target_x, height, width)
                )
    tables = {chunk: np.array(found[chunk], np.int64) for chunk in sorted(found)}
    return [
        Pieces(chunk, table[:, 0], table[:, 1:3], table[:, 3:5], table[:, 5:7])
        for chunk, table in tables.items()
    ]


def _cut_axis(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], chunks: tuple[int, ...]
) -> list[list[tuple[int, int, int, int]]]:
    """(chunk, start in chunk, start in window, length) of each window's parts along one axis."""
    edges = np.concatenate([[0], np.cumsum(chunks)]).astype(np.int64)
    first = np.searchsorted(edges, starts, "right") - 1
    last = np.searchsorted(edges[:-1], starts + lengths, "left") - 1
    parts = []
    for start, end, low, high in zip(starts, starts + lengths, first, last, strict=True):
        along = []
        for chunk in range(int(low), int(high) + 1):
            begin, stop = max(start, edges[chunk]), min(end, edges[chunk + 1])
            if stop > begin:
                along.append(
                    (chunk, int(begin - edges[chunk]), int(begin - start), int(stop - begin))
                )
        parts.append(along)
    return parts


def cut(block: np.ndarray, pieces: Pieces) -> list[np.ndarray]:
    """Take the pieces out of a chunk ``(..., y, x)``.

    They are copies, unless they make up most of the chunk: then it may as well stay.
    """
    places = zip(pieces.source.tolist(), pieces.shape.tolist(), strict=True)
    views = [block[..., y : y + height, x : x + width] for (y, x), (height, width) in places]
    if 2 * sum(view.size for view in views) >= block.size:
        return views
    return [view.copy() for view in views]


def assemble(
    plans: Sequence[Pieces],
    cuts: Sequence[Sequence[np.ndarray]],
    windows: PatchWindows,
    resampling: Resampling,
    shape: tuple[int, int],
) -> np.ndarray:
    """Put the patches of a shard together from their pieces.

    What of a window lies outside the scene becomes nodata; where the dtype has no mark for that, it
    mirrors the scene, as prediction does.

    Parameters
    ----------
    plans
        What `plan_pieces` returned for these windows.
    cuts
        What `cut` returned for each of the plans.
    windows
        The windows of the shard.
    resampling
        Size of the patches, and how windows of another size get there.
    shape
        Height and width of the scene.

    Returns
    -------
    ndarray ``(patch, ..., y, x)``
        In the dtype of the pieces.
    """
    leading, dtype, size = cuts[0][0].shape[:-2], cuts[0][0].dtype, resampling.size
    patches = np.empty((len(windows), *leading, size, size), dtype)
    shapes = list(zip(windows.heights.tolist(), windows.widths.tolist(), strict=True))
    targets = [
        patch if shape == (size, size) else np.empty((*leading, *shape), dtype)
        for patch, shape in zip(patches, shapes, strict=True)
    ]
    for plan, arrays in zip(plans, cuts, strict=True):
        for slot, (y, x), (height, width), array in zip(
            plan.slots, plan.target, plan.shape, arrays, strict=True
        ):
            targets[slot][..., y : y + height, x : x + width] = array
    inside = windows.within(shape)
    fill = _mark(resampling.nodata, dtype)
    for patch, target, own, height, width in zip(
        patches, targets, shapes, inside.heights.tolist(), inside.widths.tolist(), strict=True
    ):
        if own != (height, width):
            _pad(target, height, width, fill)
        if own != (size, size):
            patch[...] = resample(target, resampling)
    return patches


def _mark(nodata: float | None, dtype: np.dtype[Any]) -> np.generic | None:
    """Stored number for what lies outside the scene; None where no number marks missing data."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinite, and missing as well
            floating: np.generic = dtype.type(np.nan if nodata is None else nodata)
        return floating
    if nodata is None or dtype.kind not in "iu" or not float(nodata).is_integer():
        return None
    limits = np.iinfo(dtype)
    mark: np.generic | None = dtype.type(nodata) if limits.min <= nodata <= limits.max else None
    return mark


def _pad(window: np.ndarray, height: int, width: int, fill: np.generic | None) -> None:
    """Fill a window ``(..., y, x)`` below its first `height` rows and beyond its first columns."""
    if fill is not None:
        window[..., height:, :] = fill
        window[..., :height, width:] = fill
        return
    rows, cols = (
        np.pad(np.arange(valid), (0, side - valid), "reflect")
        for valid, side in zip((height, width), window.shape[-2:], strict=True)
    )
    window[..., height:, :] = window[..., rows[height:], :]
    window[..., width:] = window[..., cols[width:]]


def resample(window: np.ndarray, resampling: Resampling) -> np.ndarray:
    """Bring a window to a patch's size; one that has it already passes as it is.

    Parameters
    ----------
    window
        Stored numbers, ``(y, x)`` or ``(band, y, x)``.
    resampling
        Size and kernel.

    Returns
    -------
    ndarray ``(..., size, size)``
        In the window's dtype.

    Raises
    ------
    ValueError
        If GDAL cannot resample this dtype.
    """
    (height, width), size = window.shape[-2:], resampling.size
    if (height, width) == (size, size):
        return window
    from rasterio.dtypes import in_dtype_range
    from rasterio.enums import Resampling as Kernel
    from rasterio.errors import RasterioError
    from rasterio.transform import Affine
    from rasterio.warp import reproject

    nodata = resampling.nodata
    fill = nodata if nodata is not None and in_dtype_range(nodata, window.dtype) else None
    patch = np.zeros((*window.shape[:-2], size, size), window.dtype)
    try:
        reproject(
            window,
            patch,
            src_transform=Affine.identity(),
            dst_transform=Affine.scale(width / size, height / size),
            src_crs="EPSG:3857",
            dst_crs="EPSG:3857",
            src_nodata=fill,
            dst_nodata=fill,
            resampling=Kernel[_GDAL_NAMES.get(resampling.interpolation, resampling.interpolation)],
            UNIFIED_SRC_NODATA="NO",
        )
    except (RasterioError, TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"cells of {height} × {width} pixels of {window.dtype} cannot be resampled to {size} × "
            f"{size}: {error}; convert the scene to a dtype that GDAL warps, as uint16 or float32, "
            "or make the cells as large as the patches"
        ) from error
    return patch
