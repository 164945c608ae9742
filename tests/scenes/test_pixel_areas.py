from __future__ import annotations

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.scenes.pixel_areas import AREA_UNITS, PixelAreas
from seg4eo_xr.scenes.resampling import Grid

GEOD = pyproj.Geod(ellps="WGS84")
UTM = Grid("EPSG:32633", Affine(10, 0, 3e5, 0, -10, 5.2e6), 5000, 4000)
DEGREES = Grid("EPSG:4326", Affine(1e-3, 0, 10, 0, -1e-3, 60), 3000, 2000)


def by_pixel(areas, rows, cols):
    """Area of each pixel of a block in square metres."""
    row, col, table = areas.block(rows, cols)
    return table[np.ix_(row, col)].astype(float) / AREA_UNITS


def polygon_area(grid, row, col):
    """The same by corners, along geodesics."""
    corners = [grid.transform @ (col + i, row + j) for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))]
    to_degrees = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    return abs(GEOD.polygon_area_perimeter(*to_degrees.transform(*zip(*corners, strict=True)))[0])


@pytest.mark.parametrize(
    ("grid", "tolerance"),
    [
        (UTM, 1e-5),
        (DEGREES, 1e-5),
        (Grid("EPSG:3857", Affine(10, 0, 1e6, 0, -10, 8e6), 900, 700), 3e-4),
        (Grid("EPSG:3857", Affine(5000, 0, 0, 0, -5000, 8.5e6), 900, 700), 1e-5),
        (Grid("EPSG:3857", Affine(1000, 0, 0, 0, -1000, 8.5e6), 900, 700), 1e-3),
        (Grid("EPSG:3857", Affine(300, 0, 0, 0, -300, 8.5e6), 900, 700), 1e-3),
        (Grid("EPSG:3035", Affine(100, 0, 4e6, 0, -100, 3e6), 900, 700), 1e-6),
        # a pole in the middle, and feet as units
        (Grid("EPSG:3413", Affine(10, 0, -3000, 0, -10, 3000), 600, 600), 1e-6),
        (Grid("EPSG:2263", Affine(30, 0, 9e5, 0, -30, 2.5e5), 600, 600), 1e-6),
    ],
)
def test_areas_are_those_on_the_ellipsoid(grid, tolerance):
    measured = by_pixel(PixelAreas(grid), (0, 300), (0, 300))
    for row, col in ((0, 0), (17, 299), (150, 150), (299, 40)):
        expected = polygon_area(grid, row, col)
        assert measured[row, col] == pytest.approx(expected, rel=tolerance)


@settings(max_examples=20)
@given(
    st.sampled_from([UTM, DEGREES]),
    st.tuples(st.integers(0, 250), st.integers(1, 150)),
    st.tuples(st.integers(0, 250), st.integers(1, 150)),
)
def test_areas_do_not_depend_on_the_part_asked_for(grid, rows, cols):
    areas = PixelAreas(grid)
    part = by_pixel(areas, (rows[0], sum(rows)), (cols[0], sum(cols)))
    whole = by_pixel(areas, (0, 400), (0, 400))
    np.testing.assert_array_equal(part, whole[rows[0] : sum(rows), cols[0] : sum(cols)])


@pytest.mark.parametrize(
    "grid", [UTM, DEGREES, Grid("EPSG:3857", Affine(2000, 0, 0, 0, -2000, 8.5e6), 400, 400)]
)
def test_single_pixels_have_the_areas_of_their_blocks(grid):
    areas, rng = PixelAreas(grid), np.random.default_rng(0)
    rows, columns = rng.integers(0, 400, (2, 50))
    whole = by_pixel(areas, (0, 400), (0, 400))
    np.testing.assert_array_equal(areas.at(rows, columns) / AREA_UNITS, whole[rows, columns])


def test_coarse_pixels_of_web_mercator_cover_the_earth_between_two_parallels():
    north = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    _, top = north.transform(0, 80)
    rows, columns = 512, 16
    size = 2 * top / rows
    grid = Grid("EPSG:3857", Affine(size, 0, 0, 0, -size, top), rows, columns)
    measured = by_pixel(PixelAreas(grid), (0, rows), (0, columns)).sum()
    parallels = Grid("EPSG:4326", Affine(1, 0, 0, 0, -1, 80), 160, 360)
    degrees = np.degrees(size / 6378137)
    zone = by_pixel(PixelAreas(parallels), (0, 160), (0, 1)).sum() * degrees * columns
    assert measured == pytest.approx(zone, rel=2e-4)


def test_the_whole_earth_has_its_area():
    grid = Grid("EPSG:4326", Affine(0.5, 0, -180, 0, -0.5, 90), 360, 720)
    earth = by_pixel(PixelAreas(grid), (0, 360), (0, 720)).sum()
    assert earth == pytest.approx(510.0656e12, rel=1e-6)


def test_a_plane_without_a_place_on_the_earth_is_measured_as_it_is():
    local = (
        'ENGCRS["site",EDATUM["here"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
        'LENGTHUNIT["metre",1]]'
    )
    grid = Grid(local, Affine(0.5, 0, 0, 0, -0.5, 0), 10, 10)
    assert (by_pixel(PixelAreas(grid), (0, 10), (0, 10)) == 0.25).all()
