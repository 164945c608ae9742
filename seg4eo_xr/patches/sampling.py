"""Windows at random, and windows that show each class equally often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from dask.base import compute
from dask.delayed import Delayed, delayed

from seg4eo_xr.geometry.hashing import mixed, pixel_numbers, salt_of, split_numbers
from seg4eo_xr.patches.grids import require_room, square_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from seg4eo_xr.patches.grids import Edges, PatchWindows

    Draws = dict[int, NDArray[np.uint64]]
    """Pixels drawn of each class: hash and position, ``(2, pixel)``, the hashes ascending."""

_PIXELS_AT_ONCE = 1 << 20
_MERGED_AT_ONCE = 8


def random_windows(
    shape: tuple[int, int], patch_size: int, count: int, seed: int, *, edges: Edges = "pad"
) -> PatchWindows:
    """Draw square windows of a scene at random, each position as likely as any other.

    They lie inside the scene. Along an axis that is no longer than a window, there is one position,
    at the scene's start; such a scene gives fewer windows where it has fewer than `count`.

    Parameters
    ----------
    shape
        Height and width of the scene in pixels.
    patch_size
        Side of a window in pixels.
    count
        How many windows; no two are the same, though they may overlap.
    seed
        At least 0.
    edges
        With ``drop`` a scene smaller than a window is an error.

    Returns
    -------
    PatchWindows
        In rows from top to bottom, named ``<row>_<column>`` by their upper left pixel.

    Raises
    ------
    ValueError
        If a number is out of range, the scene is smaller than a window and `edges` is ``drop``, or
        a larger scene has fewer positions than `count`.

    Examples
    --------
    >>> random_windows((100, 130), patch_size=64, count=3, seed=1).ids.tolist()
    ['17_33', '18_62', '27_63']
    """
    _check_draw(shape, patch_size, count, seed, edges)
    positions = [max(1, side - patch_size + 1) for side in shape]
    if min(shape) <= patch_size:
        count = min(count, positions[0] * positions[1])
    if count > positions[0] * positions[1]:
        raise ValueError(
            f"a scene of {shape[0]} × {shape[1]} pixels has {positions[0] * positions[1]} windows "
            f"of {patch_size} × {patch_size}, fewer than the {count} asked for; ask for fewer"
        )
    drawn = np.random.default_rng(seed).choice(
        positions[0] * positions[1], count, replace=False, shuffle=False
    )
    rows, cols = np.divmod(np.sort(drawn), positions[1])
    return square_windows(rows, cols, patch_size)


def balanced_windows(
    labels: xr.DataArray,
    patch_size: int,
    count: int,
    seed: int,
    *,
    ignore: int,
    edges: Edges = "pad",
) -> PatchWindows:
    """Draw square windows so that each class is aimed at equally often, rare ones included.

    Pixels are drawn equally from each class that occurs; the window of a pixel holds it near its
    centre, and is moved inside at the edges of the scene; where the scene is smaller than a window,
    it begins at the scene's start and reaches past its end. The labels are read once, chunk by
    chunk, and the same windows come of any chunks.

    Parameters
    ----------
    labels
        Class codes ``(y, x)``, of NumPy or dask.
    patch_size
        Side of a window in pixels.
    count
        How many windows. A class of few pixels has no more windows than pixels; others make up for
        it where they can.
    seed
        At least 0.
    ignore
        Code of pixels without a label.
    edges
        With ``drop`` a scene smaller than a window is an error.

    Returns
    -------
    PatchWindows
        In rows from top to bottom, named ``<row>_<column>`` by their upper left pixel; no two are
        the same. Every class is in one of them.

    Raises
    ------
    ValueError
        If a number is out of range, no pixel has a label, or there are more classes than windows.

    Examples
    --------
    >>> import xarray as xr
    >>> codes = np.zeros((100, 130), np.uint8)
    >>> codes[70, 100] = 1
    >>> windows = balanced_windows(xr.DataArray(codes, dims=("y", "x")), 32, 20, 1, ignore=255)
    >>> any(1 in codes[r : r + 32, c : c + 32] for r, c in zip(windows.rows, windows.cols))
    True
    """
    shape = labels.sizes["y"], labels.sizes["x"]
    _check_draw(shape, patch_size, count, seed, edges)
    draws = _drawn(labels.data, count, seed, ignore)
    if not draws:
        raise ValueError(
            f"no pixel of the labels has a class: all are {ignore} (ignored); check that the "
            "labels cover the scene"
        )
    if len(draws) > count:
        raise ValueError(
            f"the labels hold {len(draws)} classes, more than the {count} windows asked for; ask "
            f"for {len(draws)} or more"
        )
    return _windows_of(draws, shape, patch_size, count)


def _check_draw(
    shape: tuple[int, int], patch_size: int, count: int, seed: int, edges: Edges
) -> None:
    for name, number, least in (
        ("patch_size", patch_size, 1),
        ("count", count, 1),
        ("seed", seed, 0),
    ):
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {number}")
    require_room(shape, patch_size, edges)


def _drawn(codes: Any, count: int, seed: int, ignore: int) -> Draws:
    """Draw `count` pixels of each class that occurs, or all where there are fewer."""
    salt = int(salt_of(seed))
    if isinstance(codes, np.ndarray):
        return _lowest(codes, (0, 0), count, salt, ignore)
    rows, cols = (np.cumsum((0, *lengths)).tolist() for lengths in codes.chunks)
    lowest, merge = delayed(_lowest, pure=True), delayed(_merged, pure=True)
    level: list[Delayed] = [
        lowest(block, (row, col), count, salt, ignore)
        for row, line in zip(rows, codes.to_delayed(), strict=False)
        for col, block in zip(cols, line, strict=False)
    ]
    while len(level) > 1:
        level = [
            merge(level[i : i + _MERGED_AT_ONCE], count)
            for i in range(0, len(level), _MERGED_AT_ONCE)
        ]
    (draws,) = compute(level[0])
    found: Draws = draws
    return found


def _lowest(
    block: NDArray[Any], origin: tuple[int, int], count: int, salt: int, ignore: int
) -> Draws:
    """Draw the pixels of each class in one chunk whose hashes are lowest."""
    draws: Draws = {}
    for codes, positions in _slabs(block, origin):
        hashes = mixed(positions ^ np.uint64(salt))
        for code in np.unique(codes).tolist():
            if code == ignore:
                continue
            of_class = codes == code
            found = np.stack([hashes[of_class], positions[of_class]])
            draws[code] = _first([draws[code], found] if code in draws else [found], count)
    return draws


def _slabs(
    block: NDArray[Any], origin: tuple[int, int]
) -> Iterator[tuple[NDArray[Any], NDArray[np.uint64]]]:
    """Codes of a few rows at a time, and where each lies: the row above bit 32, the column below.

    So that a large chunk does not stand in memory eight times as hashes.
    """
    height, width = block.shape
    step = max(1, _PIXELS_AT_ONCE // width)
    cols = np.arange(origin[1], origin[1] + width)
    for start in range(0, height, step):
        codes = block[start : start + step]
        rows = np.arange(len(codes)) + (origin[0] + start)
        yield codes.ravel(), pixel_numbers(rows[:, None], cols).ravel()


def _first(parts: Sequence[NDArray[np.uint64]], count: int) -> NDArray[np.uint64]:
    """Keep the `count` pixels of lowest hash, in order."""
    pixels = np.concatenate(parts, axis=1)
    if pixels.shape[1] > count:
        pixels = pixels[:, np.argpartition(pixels[0], count - 1)[:count]]
    return pixels[:, np.argsort(pixels[0])]


def _merged(parts: Sequence[Draws], count: int) -> Draws:
    codes = sorted({code for part in parts for code in part})
    return {code: _first([part[code] for part in parts if code in part], count) for code in codes}


def _windows_of(draws: Draws, shape: tuple[int, int], patch_size: int, count: int) -> PatchWindows:
    """Turn pixels into windows: the first of each class, then the second, and so on."""
    corners, turns = [], []
    for hashes, positions in sorted(draws.values(), key=lambda pixels: pixels.shape[1]):
        # A pixel always in the very centre would teach a model that rare classes sit there.
        shifts = mixed(~hashes)
        starts = [
            np.clip(
                at - patch_size // 4 - shift % max(1, patch_size // 2), 0, max(0, side - patch_size)
            )
            for at, shift, side in zip(
                split_numbers(positions), split_numbers(shifts), shape, strict=True
            )
        ]
        own = _distinct(starts[0] * shape[1] + starts[1])
        corners.append(own)
        turns.append(np.arange(len(own)))
    in_turn = np.argsort(np.concatenate(turns), kind="stable")
    chosen = np.sort(_distinct(np.concatenate(corners)[in_turn])[:count])
    rows, cols = np.divmod(chosen, shape[1])
    return square_windows(rows, cols, patch_size)


def _distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop numbers that came before."""
    _, first = np.unique(numbers, return_index=True)
    return numbers[np.sort(first)]
