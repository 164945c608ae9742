"""What a pixel covers on the ground, whatever the CRS.

Pixels of a grid in degrees shrink towards the poles, and those of Web Mercator are several times
too large in Europe; even UTM is off by up to a tenth of a percent. Areas are whole numbers of a
small unit, so that a sum has the same bits in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyproj

    from seg4eo_xr.scenes.resampling import Grid

AREA_UNITS = 10**12
"""Units of an area in a square metre: areas are counted in square micrometres."""

# The pixel in the middle of a cell stands for all of it. The scale of a projection changes by about
# 0.05 % over half of such a distance, so that coarse pixels have small cells, or none at all.
_CELL_PIXELS, _CELL_METRES = 128, 5_000


@dataclass(frozen=True)
class PixelAreas:
    """Ground areas of the pixels of a grid, on the ellipsoid of its CRS.

    Parameters
    ----------
    grid
        Where the pixels lie.

    Notes
    -----
    In degrees, the pixels of a row have one area, which is exact: that of the zone between two
    parallels, by the cylindrical equal-area projection. In a projected CRS it is the geodesic area
    of the pixel in the middle of a cell of at most 128 × 128 pixels and 5 km × 5 km. Cells are
    counted from the corner of the grid, so that areas do not depend on which part is asked for.

    Examples
    --------
    >>> from affine import Affine
    >>> from seg4eo_xr.scenes.resampling import Grid
    >>> grid = Grid("EPSG:4326", Affine(0.1, 0, 10, 0, -0.1, 60), 200, 300)
    >>> rows, columns, areas = PixelAreas(grid).block((0, 2), (0, 300))
    >>> rows, [round(area / AREA_UNITS / 1e6, 3) for area in areas[:, 0]]
    (array([0, 1]), [62.261, 62.448])
    """

    grid: Grid

    def block(
        self, rows: tuple[int, int], columns: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Areas of a part of the grid, given by cells of pixels of one area.

        Parameters
        ----------
        rows, columns
            First pixel and the one past the last.

        Returns
        -------
        ndarray of int64, ``(row,)``
            Cell of each row, from 0.
        ndarray of int64, ``(column,)``
            Cell of each column, from 0.
        ndarray of object, ``(cell, cell)``
            Area of a pixel, by cells of rows and columns; Python integers of `AREA_UNITS`.
        """
        height, width = rows[1] - rows[0], columns[1] - columns[0]
        crs = self._crs()
        if crs.is_geographic:
            return np.arange(height), np.zeros(width, np.int64), self._of_zones(crs, rows)
        side = self._cell(crs)
        cells = [np.arange(*span) // side for span in (rows, columns)]
        row, column = (np.arange(cell[0], cell[-1] + 1) for cell in cells)
        areas = self._of_cells(crs, *np.broadcast_arrays(row[:, None], column))
        return cells[0] - cells[0][0], cells[1] - cells[1][0], areas

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Areas of single pixels, as `block` gives them.

        Parameters
        ----------
        rows, columns
            Where they are, ``(pixel,)``.

        Returns
        -------
        ndarray of object, ``(pixel,)``
            Python integers of `AREA_UNITS`.
        """
        crs = self._crs()
        if crs.is_geographic:
            first = int(rows.min(initial=0))
            zones = self._of_zones(crs, (first, int(rows.max(initial=first)) + 1))
            return np.asarray(zones[rows - first, 0])
        side = self._cell(crs)
        cells, place = np.unique(np.stack([rows, columns]) // side, axis=1, return_inverse=True)
        return self._of_cells(crs, *cells)[place.ravel()]

    def _crs(self) -> pyproj.CRS:
        """Made for each block: objects of PROJ are not to be shared among threads."""
        import pyproj

        return pyproj.CRS.from_user_input(self.grid.crs)

    def _cell(self, crs: pyproj.CRS) -> int:
        """Pixels on a side of a cell, a power of two."""
        transform = self.grid.transform
        metres = max(abs(transform.a), abs(transform.e)) * _metres_per_unit(crs)
        pixels = int(min(max(_CELL_METRES / metres, 1), _CELL_PIXELS))
        return 1 << (pixels.bit_length() - 1)

    def _of_cells(self, crs: pyproj.CRS, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Areas of the pixels in the middle of cells, which are given by their numbers."""
        side = self._cell(crs)
        middles = (
            np.minimum(cell * side + side // 2, length - 1)
            for cell, length in zip((row, column), (self.grid.height, self.grid.width), strict=True)
        )
        return self._of_pixels(crs, *middles)

    def _of_zones(self, crs: pyproj.CRS, rows: tuple[int, int]) -> np.ndarray:
        import pyproj

        transform, geod = self.grid.transform, crs.get_geod() or pyproj.Geod(ellps="WGS84")
        north = transform.f + transform.e * np.arange(rows[0], rows[1] + 1)
        # the unit of a geographic CRS may be the grad
        unit = np.degrees(crs.axis_info[0].unit_conversion_factor)
        cylinder = pyproj.Proj(proj="cea", a=geod.a, b=geod.b)
        x, _ = cylinder(unit * transform.a, 0.0)
        _, y = cylinder(np.zeros(len(north)), np.clip(unit * north, -90, 90))
        return _in_units(-np.diff(y)[:, None] * x)

    def _of_pixels(self, crs: pyproj.CRS, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        import pyproj

        transform, geod = self.grid.transform, crs.get_geod()
        if crs.geodetic_crs is None or geod is None:
            plane = abs(transform.a * transform.e) * _metres_per_unit(crs) ** 2
            return _in_units(np.full(rows.shape, plane))
        # corners run around each pixel
        down, right = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
        row, column = rows[..., None] + down, columns[..., None] + right
        to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        x, y = transform.c + transform.a * column, transform.f + transform.e * row
        corners = to_degrees.transform(x, y)
        longitudes, latitudes = (np.reshape(angles, (-1, 4)) for angles in corners)
        areas = [
            abs(geod.polygon_area_perimeter(*pixel)[0])
            for pixel in zip(longitudes, latitudes, strict=True)
        ]
        return _in_units(np.reshape(areas, rows.shape))


def _metres_per_unit(crs: pyproj.CRS) -> float:
    return float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0


def _in_units(areas: np.ndarray) -> np.ndarray:
    """Round areas in square metres to whole units; those of no place on the earth are 0."""
    whole = [round(area * AREA_UNITS) if np.isfinite(area) else 0 for area in areas.ravel()]
    return np.array(whole, object).reshape(areas.shape)
