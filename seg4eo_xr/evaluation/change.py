"""Two maps of one place held against each other: what became of each class, and on what area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.delayed import delayed

from seg4eo_xr.evaluation.transitions import MapChange
from seg4eo_xr.maps.counting import class_indices, count_pixels
from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.store import class_layer
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import cut_to, grid_difference, require_crs, require_same_grid
from seg4eo_xr.scenes.matching import is_numbered, joined
from seg4eo_xr.scenes.pixel_areas import PixelAreas
from seg4eo_xr.scenes.resampling import Grid, require_cover, resample

if TYPE_CHECKING:
    from os import PathLike

    import xarray as xr

    Map = xr.Dataset | xr.DataArray | str | PathLike[str]

# Rows that are counted together: few enough to stay in a processor's cache.
_ROWS = 128
_MOST_CODED = 16
"""Classes whose transitions a byte can tell apart, nodata besides."""
_UNCHANGED = "#d9d9d9"
_NODATA = (
    "say what stands for nodata outside of it with after['classes'].rio.write_nodata(...), or cut "
    "the first map to it"
)
_WARP = "Warp the second map onto the first with warp=True (--warp)"


@dataclass(frozen=True)
class _Pair:
    """Two class layers on one grid, and the classes of both.

    Codes of each map are looked up in a table of its own, whose classes have their place among
    those of both.
    """

    layers: tuple[xr.DataArray, xr.DataArray]
    tables: tuple[ClassTable, ClassTable]
    places: tuple[np.ndarray, np.ndarray]
    nodata: tuple[int | None, int | None]
    classes: ClassTable

    @property
    def arrays(self) -> tuple[da.Array, da.Array]:
        """Codes of both maps in the chunks of the first."""
        before, after = (da.asarray(layer.data) for layer in self.layers)
        return before, after.rechunk(before.chunks, method="tasks")

    @property
    def coding(self) -> _Coding:
        """What turns codes into transitions."""
        return _Coding(self.tables, self.places, self.nodata, len(self.classes))


@dataclass(frozen=True)
class _Coding:
    """Tables and nodata of two maps, and the place of each class among `count` of both."""

    tables: tuple[ClassTable, ClassTable]
    places: tuple[np.ndarray, np.ndarray]
    nodata: tuple[int | None, int | None]
    count: int

    def indices(self, *codes: np.ndarray) -> list[np.ndarray]:
        """Place of each pixel's class before and after; `count` stands for nodata."""
        return [
            places[class_indices(values, table, nodata)]
            for values, table, places, nodata in zip(
                codes, self.tables, self.places, self.nodata, strict=True
            )
        ]


def map_change(before: Map, after: Map, *, warp: bool = False) -> MapChange:
    """Tell what became of each class between two maps, in one pass and in bounded memory.

    Pixels that are nodata in either map do not count. Areas are those of the pixels on the ground,
    whatever the CRS; what two maps disagree about is change and error of both together.

    Parameters
    ----------
    before, after
        Maps, or what `open_map` opens; of a Dataset the layer ``classes``. The second may cover
        more than the first.
    warp
        Bring the second map onto the first's grid by its nearest pixels; otherwise another grid is
        an error.

    Returns
    -------
    MapChange

    Raises
    ------
    ValueError
        If a map has no CRS, the grids differ, a code is not in its map's class table, no pixel is
        left, or a second map without nodata is warped and does not cover the first.
    FileNotFoundError, OSError
        If a file is missing or unreadable.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, before = synthetic_sentinel2((64, 64), nodata_wedge=False)
    >>> after = before.where(before != 2, 4).assign_attrs(before.attrs).astype("uint8")
    >>> [transition[:2] for transition in map_change(before, after).transitions()]
    [('forest', 'cropland')]
    """
    pair = _pair_of(before, after, warp=warp, count=True)
    arrays = pair.arrays
    parts = da.map_blocks(
        _count_block,
        *arrays,
        counted=delayed((pair.coding, PixelAreas(Grid.of(pair.layers[0]))), traverse=False),
        dtype=object,
        chunks=tuple((1,) * count for count in arrays[0].numblocks),
        meta=np.empty((0, 0), object),
    )
    total = sum(parts.compute().ravel().tolist())
    pixels, areas = total[0].astype(np.int64), total[1]
    change = MapChange(
        pair.classes,
        pixels[:-1, :-1],
        areas[:-1, :-1],
        int(pixels[-1].sum() + pixels[:-1, -1].sum()),
    )
    if not change.pixels.any():
        raise ValueError(
            "there is no pixel to compare: wherever one map has a class, the other is nodata; do "
            "the two overlap?"
        )
    return change


def change_layer(before: Map, after: Map, *, warp: bool = False) -> xr.DataArray:
    """Map what changed, lazily: a code for each transition between two classes.

    Parameters
    ----------
    before, after, warp
        As in `map_change`.

    Returns
    -------
    DataArray (y, x), uint8
        Named "classes", as the layer of a map: 0 where the class is the same, a code for each pair
        of classes, 255 where either map is nodata. The class table in its attributes names them, as
        "forest → water", in the colour of what the class became.

    Raises
    ------
    ValueError
        If the grids differ, or there are more classes than transitions fit a byte.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, before = synthetic_sentinel2((64, 64), nodata_wedge=False)
    >>> after = before.where(before != 2, 4).assign_attrs(before.attrs).astype("uint8")
    >>> layer = change_layer(before, after)
    >>> "forest → cropland" in layer.attrs["class_names"]
    True
    """
    pair = _pair_of(before, after, warp=warp)
    count = len(pair.classes)
    if count > _MOST_CODED:
        raise ValueError(
            f"the maps have {count} classes, but transitions of at most {_MOST_CODED} fit a byte; "
            "join classes first"
        )
    layer = pair.layers[0]
    codes = da.map_blocks(
        _code_block,
        *pair.arrays,
        coding=pair.coding,
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
    )
    names, colors = ["unchanged"], [_UNCHANGED]
    for row, column in _transitions(count):
        names.append(f"{pair.classes.names[row]} → {pair.classes.names[column]}")
        colors.append(pair.classes.colors[column])
    table = ClassTable.from_codes(range(len(names)), names, colors)
    changed = layer.copy(data=codes).rename("classes")
    about = {"_FillValue": 255, "long_name": "change"}
    changed.attrs, changed.encoding = table.to_attrs() | about, {}
    return changed


def _transitions(count: int) -> list[tuple[int, int]]:
    return [(row, column) for row, column in np.ndindex(count, count) if row != column]


def _pair_of(before: Map, after: Map, *, warp: bool, count: bool = False) -> _Pair:
    first, second = (class_layer(one, count=count) for one in (before, after))
    require_crs(first, "the first map")
    require_crs(second, "the second map")
    second = cut_to(second, first)
    if warp and grid_difference(first, second):
        second = _warped(second, Grid.of(first))
    layers = first, second
    require_same_grid(*layers, "the first map", "the second map", remedy=_WARP)
    nodata = _whole(nodata_of(layers[0])), _whole(nodata_of(layers[1]))
    tables = _table_of(layers[0], nodata[0]), _table_of(layers[1], nodata[1])
    classes, codes = joined(*tables, by_name=any(is_numbered(layer.attrs) for layer in layers))
    position = {code: index for index, code in enumerate(classes.codes)}
    places = (
        np.array([*(position[code] for code in tables[0].codes), len(classes)]),
        np.array([*(position[codes[code]] for code in tables[1].codes), len(classes)]),
    )
    return _Pair(layers, tables, places, nodata, classes)


def _warped(second: xr.DataArray, grid: Grid) -> xr.DataArray:
    nodata = nodata_of(second)
    if nodata is None:
        require_cover(Grid.of(second), grid, "the second map", remedy=_NODATA)
    return resample(second.rio.write_nodata(nodata), grid)


def _whole(nodata: float | None) -> int | None:
    return None if nodata is None else int(nodata)


def _table_of(layer: xr.DataArray, nodata: int | None) -> ClassTable:
    table = ClassTable.from_attrs(layer.attrs)
    if table is not None:
        return table
    found = da.unique(da.asarray(layer.data)).compute().tolist()
    return ClassTable.from_codes([code for code in found if code != nodata] or [0])


def _count_block(
    *codes: np.ndarray, counted: tuple[_Coding, PixelAreas], block_info: Any = None
) -> np.ndarray:
    """Pixels and areas of each transition, ``(2, class + 1, class + 1)``; nodata comes last."""
    coding, areas = counted
    (first_row, _), columns = block_info[0]["array-location"]
    side = coding.count + 1
    total = np.zeros((2, side * side), object)
    for first in range(0, len(codes[0]), _ROWS):
        parts = [values[first : first + _ROWS] for values in codes]
        row, column = coding.indices(*parts)
        rows = first_row + first, first_row + first + len(parts[0])
        total += np.array(
            count_pixels(row * side + column, areas.block(rows, columns), side * side), object
        )
    result = np.empty((1, 1), object)
    result[0, 0] = total.reshape(2, side, side)
    return result


def _code_block(*codes: np.ndarray, coding: _Coding) -> np.ndarray:
    row, column = coding.indices(*codes)
    table = np.full((coding.count + 1, coding.count + 1), 255, np.uint8)
    np.fill_diagonal(table[:-1, :-1], 0)
    for code, place in enumerate(_transitions(coding.count), start=1):
        table[place] = code
    return np.asarray(table[row, column])
