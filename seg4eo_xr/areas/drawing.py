"""The pixels of a stratified random sample, drawn in one pass over the chunks of a map.

Each pixel has a random number that follows from its place and the seed alone, and each stratum
keeps the pixels of the lowest: so the sample does not depend on chunks, and a larger one holds the
smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.base import compute
from dask.delayed import delayed

from seg4eo_xr.geometry.hashing import mixed, pixel_numbers
from seg4eo_xr.maps.counting import count_pixels
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS, PixelAreas

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    from numpy.typing import NDArray

# Rows that are drawn from together: those of one cell of `PixelAreas`.
_ROWS = 128
_MERGED_AT_ONCE = 8
_POINT = np.dtype([("key", np.float64), ("pixel", np.uint64), ("map", np.int64)])


@dataclass(frozen=True)
class Draw:
    """What is drawn, and of how much.

    Parameters
    ----------
    count
        Points that each stratum keeps at most.
    salt
        Number that stands for the seed.
    areas
        What the pixels of the map cover.
    nodata, no_stratum
        Codes of missing pixels in the map and in the strata; None where there are none.
    """

    count: int
    salt: int
    areas: PixelAreas
    nodata: float | None
    no_stratum: float | None


@dataclass(frozen=True, eq=False)
class Drawn:
    """One stratum, or the part of it in some chunks.

    Parameters
    ----------
    pixels
        Its pixels.
    area
        What they cover, in whole `AREA_UNITS`.
    points
        Those of the lowest keys, in order: ``key``, number of the ``pixel`` (see `pixel_numbers`),
        and code in the ``map``.
    """

    pixels: int
    area: int
    points: NDArray[Any]


def draw_pixels(strata: da.Array, mapped: da.Array, draw: Draw) -> dict[int, Drawn]:
    """Draw from each stratum, and measure it, in one pass.

    A pixel's chance is in proportion to its area on the ground (Ohlsson's sequential Poisson
    sampling, Journal of Official Statistics 14, 1998), so that points stand for equal areas in a
    CRS of degrees too.

    Parameters
    ----------
    strata
        Codes of the strata, ``(y, x)``.
    mapped
        Codes of the map, ``(y, x)``, in the same chunks.
    draw
        What is drawn.

    Returns
    -------
    dict
        By the code of the stratum, ascending. Pixels that are missing in either do not count.
    """
    rows, cols = (np.cumsum((0, *lengths)).tolist() for lengths in mapped.chunks)
    of_block, merge = delayed(draw_block, pure=True), delayed(merge_draws, pure=True)
    blocks = zip(strata.to_delayed().ravel(), mapped.to_delayed().ravel(), strict=True)
    origins = [(row, col) for row in rows[:-1] for col in cols[:-1]]
    level: list[Any] = [
        of_block(*pair, origin, draw) for pair, origin in zip(blocks, origins, strict=True)
    ]
    while len(level) > 1:
        level = [
            merge(level[i : i + _MERGED_AT_ONCE], draw.count)
            for i in range(0, len(level), _MERGED_AT_ONCE)
        ]
    found: dict[int, Drawn] = compute(level[0])[0]
    return found


def draw_block(
    strata: NDArray[Any], mapped: NDArray[Any], origin: tuple[int, int], draw: Draw
) -> dict[int, Drawn]:
    """Draw from one chunk, whose first pixel lies at the row and column `origin`."""
    found: dict[int, Drawn] = {}
    for first, last in _slabs(origin[0], len(mapped)):
        place = (origin[0] + first, origin[1])
        part = _draw_rows(strata[first:last], mapped[first:last], place, draw, found)
        found = merge_draws([found, part], draw.count)
    return found


def _draw_rows(
    strata: NDArray[Any],
    mapped: NDArray[Any],
    origin: tuple[int, int],
    draw: Draw,
    found: dict[int, Drawn],
) -> dict[int, Drawn]:
    """Draw from a few rows what may still come before the points that were found above them."""
    rows, cols = (
        np.arange(start, start + side) for start, side in zip(origin, mapped.shape, strict=True)
    )
    areas = draw.areas.block((origin[0], int(rows[-1]) + 1), (origin[1], int(cols[-1]) + 1))
    sizes = _pixel_sizes(areas)
    counted = sizes > 0  # what lies beyond the earth has no area
    for values, missing in ((mapped, draw.nodata), (strata, draw.no_stratum)):
        if missing is not None:
            counted &= values != missing
    codes, index = _indexed(strata, counted)
    pixels, ground = count_pixels(index, areas, len(codes) + 1)
    numbers = pixel_numbers(rows[:, None], cols)
    keys = (mixed(numbers ^ np.uint64(draw.salt)) >> np.uint64(11)) * 2.0**-53
    np.divide(keys, sizes, out=keys, where=counted)
    bounds = [_last_key(found.get(code), draw.count) for code in codes]
    near = keys <= np.array([*bounds, -1.0])[index]
    points = np.empty(np.count_nonzero(near), _POINT)
    points["key"], points["pixel"], points["map"] = keys[near], numbers[near], mapped[near]
    index = index[near]
    return {code: Drawn(pixels[i], ground[i], points[index == i]) for i, code in enumerate(codes)}


def merge_draws(parts: Sequence[dict[int, Drawn]], count: int) -> dict[int, Drawn]:
    """Join what was drawn of several chunks; the order does not matter."""
    merged = {}
    for code in sorted({code for part in parts for code in part}):
        same = [part[code] for part in parts if code in part]
        merged[code] = Drawn(
            sum(drawn.pixels for drawn in same),
            sum(drawn.area for drawn in same),
            _lowest(np.concatenate([drawn.points for drawn in same]), count),
        )
    return merged


def _slabs(row: int, height: int) -> list[tuple[int, int]]:
    """Rows that are drawn from together; they end where cells of areas do."""
    bounds = [0, *range(_ROWS - row % _ROWS, height, _ROWS), height]
    return list(pairwise(bounds))


def _pixel_sizes(areas: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]) -> NDArray[np.float64]:
    """Area of each pixel in m², ``(y, x)``, from what `PixelAreas.block` gives."""
    rows, cols, by_cell = areas
    return np.asarray((by_cell / AREA_UNITS).astype(np.float64)[rows[:, None], cols])


def _indexed(values: NDArray[Any], counted: NDArray[np.bool_]) -> tuple[list[int], NDArray[Any]]:
    """Codes that occur, and the index of each pixel's; their number for what is not counted."""
    if values.dtype.itemsize > 2:
        codes, places = np.unique(values, return_inverse=True)
        kept = np.zeros(len(codes), bool)
        kept[places.reshape(values.shape)[counted]] = True
    else:
        # A table of all numbers of 16 bits is far quicker than sorting; those below 0 count from
        # its end, as indices of NumPy do.
        codes, places = np.arange(1 << 16).astype(values.dtype).astype(np.int64), values
        kept = np.zeros(1 << 16, bool)
        kept[values[counted]] = True
    found = codes[kept]
    index = np.cumsum(kept)[places].reshape(values.shape) - 1
    order = np.argsort(found)
    rank = np.append(np.argsort(order), len(found))
    return found[order].tolist(), rank[np.where(counted, index, len(found))]


def _last_key(drawn: Drawn | None, count: int) -> float:
    """Key above which no further pixel is drawn."""
    full = drawn is not None and len(drawn.points) >= count
    return float(drawn.points["key"][-1]) if full and drawn is not None else np.inf


def _lowest(points: NDArray[Any], count: int) -> NDArray[Any]:
    """Keep the points of lowest keys, in order; the place decides between equal ones."""
    if len(points) > count:
        bound = np.partition(points["key"], count - 1)[count - 1]
        points = points[points["key"] <= bound]
    return points[np.lexsort((points["pixel"], points["key"]))][:count]
