"""Polygons of a tile, and those of all tiles joined across their borders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely

from seg4eo_xr.geometry.blending import FIXED_POINT
from seg4eo_xr.maps.counting import require_probabilities
from seg4eo_xr.postprocessing.components import Components
from seg4eo_xr.postprocessing.outlines import (
    junctions,
    located,
    moved,
    outlines,
    simplified,
    without_straight_vertices,
)
from seg4eo_xr.postprocessing.stitching import Regions, Stitching
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS, PixelAreas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import geopandas as gpd

    from seg4eo_xr.postprocessing.components import Part
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.resampling import Grid


@dataclass(frozen=True)
class PolygonRules:
    """What all tiles of a map have in common.

    Parameters
    ----------
    grid
        Where the map's pixels lie.
    nodata
        Code of missing pixels, if there is one.
    classes
        Names of the codes; None names them by their numbers.
    simplify
        Tolerance of the outlines in pixels; 0 leaves them as they are.
    confident
        Whether there is a confidence.
    folder
        Where tiles leave their polygons; None keeps them in memory.
    """

    grid: Grid
    nodata: float | None
    classes: ClassTable | None
    simplify: float
    confident: bool
    folder: Path | None

    @property
    def area_unit(self) -> float:
        """Square metres that areas are counted in: a small part of the pixel in the middle.

        Sums of whole numbers have the same bits in whatever order they are made.
        """
        row, column = self.grid.height // 2, self.grid.width // 2
        _, _, areas = PixelAreas(self.grid).block((row, row + 1), (column, column + 1))
        return float(areas[0, 0] / AREA_UNITS or 1.0) / FIXED_POINT

    def weights(self, part: Part, confidence: np.ndarray | None) -> list[np.ndarray]:
        """Whole numbers of the pixels that make up areas and mean confidence, ``(y, x)`` float64.

        Areas in `area_unit`; where there is a confidence, also that times `FIXED_POINT`, and 1
        where it is known.
        """
        rows, columns = (part.row, part.row + part.height), (part.column, part.column + part.width)
        row, column, areas = PixelAreas(self.grid).block(rows, columns)
        units = np.round((areas / AREA_UNITS).astype(np.float64) / self.area_unit)
        weights = [units[np.ix_(row, column)]]
        if confidence is not None:
            known = np.isfinite(confidence)
            require_probabilities(confidence[known])
            scaled = np.where(known, confidence, 0).astype(np.float64) * FIXED_POINT
            weights += [np.round(scaled), known.astype(np.float64)]
        return weights

    def features(self, regions: Regions, polygons: np.ndarray) -> gpd.GeoDataFrame:
        """Table of regions whose polygons are given in pixels of the map.

        Raises
        ------
        ValueError
            If a code is not among the classes.
        """
        import geopandas as gpd
        import pandas as pd

        columns = {
            "id": regions.keys,
            "code": regions.codes.astype(np.int32),
            "class": pd.Series(self._names(regions.codes), dtype="str"),
            "pixels": regions.sizes,
            "area_m2": regions.sums[:, 1] * self.area_unit,
        }
        if self.confident:
            sums, known = regions.sums[:, 2], regions.sums[:, 3]
            mean = np.full(len(regions), np.nan, np.float64)
            np.divide(sums / FIXED_POINT, known, out=mean, where=known > 0)
            columns["confidence"] = mean.astype(np.float32)
        outlined = located(polygons, self.grid.transform)
        return gpd.GeoDataFrame(columns, geometry=outlined, crs=self.grid.crs)

    def _names(self, codes: np.ndarray) -> list[str]:
        if self.classes is None:
            return [f"class {code}" for code in codes.tolist()]
        name_of = dict(zip(self.classes.codes, self.classes.names, strict=True))
        unknown = sorted(set(codes.tolist()) - set(name_of))
        if unknown:
            raise ValueError(
                f"the map holds the class codes {unknown}, which are not among its classes "
                f"{list(name_of)}; mend its attributes with ClassTable.to_attrs, or set them to "
                "its nodata code with seg4eo_xr.reclassify"
            )
        return [name_of[code] for code in codes.tolist()]

    def keep(self, features: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame | Path:
        """Put polygons into the folder, if there is one."""
        if self.folder is None:
            return features
        path = self.folder / f"{name}.parquet"
        features.to_parquet(path)
        return path


def fetch(kept: gpd.GeoDataFrame | Path) -> gpd.GeoDataFrame:
    """Take what `PolygonRules.keep` kept."""
    import geopandas as gpd

    return gpd.read_parquet(kept) if isinstance(kept, Path) else kept


@dataclass(frozen=True, eq=False)
class TilePolygons:
    """Polygons of a tile: those that are whole, and pieces that may go on in other tiles.

    Parameters
    ----------
    regions
        The pieces.
    sides
        By side of the tile: the piece that each pixel there belongs to, -1 for nodata.
    whole
        Table of the whole ones.
    pieces
        Polygons of the pieces, in pixels of the map.
    """

    regions: Regions
    sides: Mapping[str, np.ndarray]
    whole: gpd.GeoDataFrame | Path
    pieces: gpd.GeoDataFrame | Path


def polygonize_tile(
    codes: np.ndarray, confidence: np.ndarray | None, part: Part, rules: PolygonRules
) -> TilePolygons:
    """Outline the components of a tile.

    Parameters
    ----------
    codes
        Class codes, ``(y, x)``; where outlines are simplified, with a margin of one pixel on the
        sides beyond which the map goes on.
    confidence
        Confidence ``(y, x)``, float.
    part
        Where the tile lies.
    rules
        What all tiles have in common.
    """
    import geopandas as gpd

    inner = _without_margin(codes, part) if rules.simplify else codes
    components = Components.of(inner)
    polygons = outlines(components.labels)
    if rules.simplify:
        nodes = junctions(_with_margin(codes, part))
        polygons = simplified(polygons, nodes, rules.simplify)
    polygons = moved(polygons, part.row, part.column)
    regions = Regions.of(components, part, *rules.weights(part, confidence))
    valid = np.ones(len(regions), bool) if rules.nodata is None else regions.codes != rules.nodata
    sides = components.sides(part.inner_sides)
    cut = np.zeros(len(regions), bool)
    for labels in sides.values():
        cut[labels] = True
    cut &= valid
    piece = np.where(cut, np.cumsum(cut) - 1, -1)
    name = f"{part.row}-{part.column}"
    return TilePolygons(
        regions[cut],
        {side: piece[labels] for side, labels in sides.items()},
        rules.keep(rules.features(regions[valid & ~cut], polygons[valid & ~cut]), f"whole-{name}"),
        rules.keep(gpd.GeoDataFrame(geometry=polygons[cut]), f"pieces-{name}"),
    )


def _without_margin(codes: np.ndarray, part: Part) -> np.ndarray:
    top, left = (int(side in part.inner_sides) for side in ("north", "west"))
    return codes[top : top + part.height, left : left + part.width]


def _with_margin(codes: np.ndarray, part: Part) -> np.ndarray:
    """Give a tile a margin on the sides where the map ends too: of a code that is none."""
    margins = [
        [int(side not in part.inner_sides) for side in sides]
        for sides in (("north", "south"), ("west", "east"))
    ]
    codes = codes.astype(np.int64)
    return np.pad(codes, margins, constant_values=codes.min() - 1)


def joined_polygons(
    tiles: Mapping[tuple[int, int], TilePolygons], rules: PolygonRules
) -> Iterator[gpd.GeoDataFrame]:
    """Join the pieces of all tiles, and hand out all polygons, tile by tile.

    Those of several tiles come with the tile of their first pixel. Tables are sorted by ``id``;
    if the map has no polygon at all, one empty table comes.
    """
    import pandas as pd

    stitching = Stitching.of(tiles)
    regions = stitching.regions.merged(stitching.groups)
    home = stitching.number_of(stitching.regions.heads(stitching.groups))[0]
    polygons_of = _Joiner(tiles, stitching, rules)
    nothing = True
    for place, groups in zip(tiles, _positions(home, len(tiles)), strict=True):
        tables = [fetch(tiles[place].whole)]
        if len(groups):
            tables.append(rules.features(regions[groups], polygons_of(groups)))
        tables = [table for table in tables if len(table)]
        if tables:
            nothing = False
            yield pd.concat(tables).sort_values("id", ignore_index=True)
    if nothing:
        yield fetch(next(iter(tiles.values())).whole)


class _Joiner:
    """Makes the polygons of groups out of the pieces of several tiles."""

    def __init__(
        self,
        tiles: Mapping[tuple[int, int], TilePolygons],
        stitching: Stitching,
        rules: PolygonRules,
    ) -> None:
        pieces = [tile.pieces for tile in tiles.values()]
        columns = 1 + max(column for _, column in tiles)
        # Most groups lie in two rows of tiles, which come one after another.
        self._pieces = lru_cache(maxsize=2 * columns + 2)(lambda number: _polygons(pieces[number]))
        self._stitching = stitching
        self._members = _positions(stitching.groups, stitching.groups.max(initial=-1) + 1)
        self._straight = not rules.simplify

    def __call__(self, groups: np.ndarray) -> np.ndarray:
        joined = np.empty(len(groups), object)
        several = np.zeros(len(groups), bool)
        for position, group in enumerate(groups.tolist()):
            members = self._members[group]
            numbers, own = self._stitching.number_of(members)
            found = [
                self._pieces(number)[piece]
                for number, piece in zip(numbers.tolist(), own.tolist(), strict=True)
            ]
            several[position] = len(found) > 1
            joined[position] = shapely.union_all(found) if len(found) > 1 else found[0]
        if self._straight and several.any():
            joined[several] = without_straight_vertices(joined[several])
        return joined


def _polygons(kept: gpd.GeoDataFrame | Path) -> np.ndarray:
    polygons: np.ndarray = fetch(kept).geometry.to_numpy()
    return polygons


def _positions(values: np.ndarray, count: int) -> list[np.ndarray]:
    """Where each of the numbers from 0 to `count` - 1 stands in an array."""
    order = np.argsort(values, kind="stable")
    return np.split(order, np.cumsum(np.bincount(values, minlength=count))[: count - 1])
