import numpy as np
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from mosaics import chunked_mosaics, noisy_codes

from seg4eo_xr.postprocessing.components import Components
from seg4eo_xr.postprocessing.outlines import (
    junctions,
    located,
    outlines,
    simplified,
    without_straight_vertices,
)


@given(chunked_mosaics())
def test_outlines_are_valid_and_cover_their_pixels(mosaic):
    components = Components.of(mosaic[0])
    polygons = outlines(components.labels)
    assert shapely.is_valid(polygons).all()
    np.testing.assert_array_equal(shapely.area(polygons), components.sizes)
    burned = rasterio.features.rasterize(
        zip(polygons, components.codes.tolist(), strict=True), mosaic[0].shape, dtype=np.uint8
    )
    np.testing.assert_array_equal(burned, mosaic[0])


@given(chunked_mosaics(), st.sampled_from([0.5, 1.0, 2.0, 10.0]))
def test_simplified_outlines_still_cover_the_tile_without_gaps_or_overlaps(mosaic, tolerance):
    codes, _ = mosaic
    polygons = outlines(Components.of(codes).labels)
    nodes = junctions(np.pad(codes, 1))
    fewer = simplified(polygons, nodes, tolerance)
    assert shapely.coverage_is_valid(fewer)
    assert shapely.is_valid(fewer).all()
    assert shapely.area(fewer).sum() == codes.size
    vertices = {tuple(point) for point in shapely.get_coordinates(fewer).astype(int).tolist()}
    inner = np.argwhere(nodes[1:-1, 1:-1]) + 1
    assert {(x, y) for y, x in inner.tolist()} <= vertices


def test_straight_vertices_are_dropped_in_holes_too_and_wherever_a_ring_begins():
    square = [(1, 0), (2, 0), (4, 0), (4, 4), (0, 4), (0, 0)]
    hole = [(1, 2), (1, 1), (2, 1), (3, 1), (3, 3), (1, 3)]
    polygon = np.array([shapely.Polygon(square, [hole]), shapely.box(5, 5, 6, 6)])
    clean = without_straight_vertices(polygon)
    np.testing.assert_array_equal(shapely.get_num_coordinates(clean), [10, 5])
    np.testing.assert_array_equal(shapely.equals(clean, polygon), True)


def test_places_are_those_of_rasterio():
    codes = noisy_codes(0, (20, 20))
    transform = Affine(10 / 3, 0, 1 / 3, 0, -10 / 3, 5e6)
    polygons = located(outlines(Components.of(codes).labels), transform)
    expected = [
        shapely.geometry.shape(shape)
        for shape, _ in rasterio.features.shapes(codes, connectivity=4, transform=transform)
    ]
    ours, theirs = (np.sort([p.wkt for p in shapely.normalize(q)]) for q in (polygons, expected))
    np.testing.assert_array_equal(ours, theirs)
    assert all(polygon.exterior.is_ccw for polygon in polygons)
