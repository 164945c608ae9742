"""Maps of 30 × 40 pixels, and polygons and points on them."""

from __future__ import annotations

import dask.array as da
import geopandas as gpd
import numpy as np
from affine import Affine
from shapely import Point, box

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place

CRS, NORTH, SIDE = "EPSG:32633", 5_300_000, 10
TABLE = ClassTable.from_codes([1, 2, 5], ["water", "forest", "meadow"])
HEIGHT, WIDTH = 30, 40


def raster(codes, chunks=None, table=TABLE):
    data = codes if chunks is None else da.from_array(codes, chunks=chunks)
    attrs = {} if table is None else table.to_attrs()
    placed = place(data, CRS, Affine(SIDE, 0, 400_000, 0, -SIDE, NORTH)).assign_attrs(attrs)
    return placed.rename("classes").rio.write_nodata(255)


def square(left, top, right, bottom):
    """A polygon given in pixels."""
    x, y = 400_000 + SIDE * np.array([left, right]), NORTH - SIDE * np.array([top, bottom])
    return box(x[0], y[1], x[1], y[0])


ZONES = gpd.GeoDataFrame(
    {"name": ["west", "middle", "west", "far"]},
    geometry=[
        square(0, 0, 15, 30),
        square(10, 5, 33, 26),
        square(12, 0, 18, 9),  # overlaps the first of its name, counted once
        square(200, 0, 210, 9),
    ],
    crs=CRS,
)


def points_at(places, classes, crs=CRS):
    geometry = [Point(400_000 + SIDE * x, NORTH - SIDE * y) for x, y in places]
    return gpd.GeoDataFrame({"cover": classes}, geometry=geometry, crs=CRS).to_crs(crs)
