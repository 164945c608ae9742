from __future__ import annotations

import warnings

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from seg4eo_xr.scenes.burning import burn
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.label_options import LabelOptions, LabelWarning
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.testing import chunkings, synthetic_sentinel2

SCENE, _ = synthetic_sentinel2((40, 50), seed=1)
LEFT, TOP = SCENE.rio.transform().c, SCENE.rio.transform().f


def _square(row, col, side):
    x, y = LEFT + 10 * col, TOP - 10 * row
    return shapely.box(x, y - 10 * side, x + 10 * side, y)


def _burn(shapes, like=SCENE, crs="EPSG:32633", columns=None, **options):
    features = gpd.GeoDataFrame(columns or {}, geometry=list(shapes), crs=crs)
    if columns:
        options = {"column": "code", **options}
    return burn(features, like, "the labels", LabelOptions(**options))


NESTED = [_square(0, 0, 10), _square(0, 0, 20), _square(0, 0, 5)]


@pytest.mark.parametrize(
    ("options", "corner"),
    [
        ({}, 3),
        ({"overlap": "first"}, 1),
        ({"overlap": "smallest"}, 3),
        ({"overlap": "largest"}, 2),
        ({"order_by": "rank"}, 1),
        ({"order_by": "age"}, 3),
        ({"order_by": "age", "overlap": "first"}, 1),
        ({"order_by": "age", "overlap": "largest"}, 2),
    ],
)
def test_what_lies_on_top_of_overlapping_features(options, corner):
    columns = {"code": [1, 2, 3], "rank": [5, 1, None], "age": [7, 7, 7]}
    assert _burn(NESTED, columns=columns, **options)[0, 0] == corner


def test_smaller_features_show_on_larger_ones():
    labels = _burn(NESTED, columns={"code": [1, 2, 3]}, overlap="smallest")
    assert [(labels == code).sum() for code in (1, 2, 3)] == [75, 300, 25]


@pytest.mark.parametrize("all_touched", [False, True])
@given(chunkings(40), chunkings(50), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_labels_do_not_depend_on_chunks(all_touched, rows, cols, seed):
    draw = np.random.default_rng(seed)
    shapes = [
        shapely.Point(LEFT + 500 * x, TOP - 400 * y).buffer(5 + 100 * r, quad_segs=2)
        for x, y, r in draw.random((8, 3))
    ]
    codes = draw.integers(1, 9, len(shapes))
    scene = SCENE.chunk({"band": -1, "y": rows, "x": cols})
    labels = _burn(shapes, scene, columns={"code": codes}, all_touched=all_touched)
    assert labels.chunks == (rows, cols)
    whole = rasterize(
        zip(shapes, codes.tolist(), strict=True),
        out_shape=(40, 50),
        fill=255,
        transform=SCENE.rio.transform(),
        all_touched=all_touched,
        dtype="uint8",
    )
    assert np.array_equal(labels.compute(scheduler="sync"), whole)


@given(
    chunkings(40),
    chunkings(50),
    st.lists(st.tuples(st.integers(-10, 60), st.integers(-10, 50)), min_size=3, max_size=5),
)
@settings(max_examples=25, deadline=None)
def test_lines_through_the_corners_of_pixels_do_not_depend_on_chunks(rows, cols, corners):
    points = [(LEFT + 5 * (2 * col + 1), TOP - 10 * row) for col, row in corners]
    shapes = [shapely.LineString(points), shapely.Point(LEFT + 5, TOP - 5)]
    scene = SCENE.chunk({"band": -1, "y": rows, "x": cols})
    lazy = _burn(shapes, scene, all_touched=True)
    assert np.array_equal(lazy.compute(scheduler="sync"), _burn(shapes, all_touched=True))


def test_touched_pixels_hold_those_whose_centre_is_inside():
    shape = shapely.Point(LEFT + 203, TOP - 198).buffer(77)
    touched, inside = _burn([shape], all_touched=True), _burn([shape])
    assert (touched >= inside).all()
    assert touched.sum() > inside.sum()


def test_codes_beyond_a_byte_take_two():
    with pytest.warns(LabelWarning, match="-2 in 1 of 3 features"):
        labels = _burn(NESTED, columns={"code": [-2, 300, 1]}, overlap="smallest")
    assert labels.dtype == np.int16
    assert np.unique(labels).tolist() == [-2, 1, 255, 300]
    with pytest.raises(ValueError, match="16 bits"):
        _burn(NESTED, columns={"code": [70000, 1, 1]})


def test_invalid_polygons_are_repaired_and_counted():
    bow_tie = shapely.Polygon(
        [(LEFT, TOP), (LEFT + 200, TOP - 200), (LEFT + 200, TOP), (LEFT, TOP - 200)]
    )
    with pytest.warns(LabelWarning, match=r"1 of the 2 features.*invalid polygons.*repaired"):
        labels = _burn([bow_tie, _square(30, 30, 5)])
    assert 150 < (labels[:20, :20] == 1).sum() < 250
    assert (labels[30:35, 30:35] == 1).all()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=LabelWarning)
        # only those on the scene count
        _burn([bow_tie])
    assert (_burn([_square(30, 30, 5), shapely.transform(bow_tie, lambda p: p + 1e5)]) == 1).any()


def test_what_collapses_to_a_line_burns_nothing():
    line = shapely.Polygon([(LEFT + 5, TOP - 5), (LEFT + 300, TOP - 5), (LEFT + 5, TOP - 5)])
    with pytest.warns(LabelWarning, match="1 of the 2 features"):
        labels = _burn([line, _square(30, 30, 5)])
    assert (labels == 1).sum() == 25


def test_features_too_wide_for_the_crs_cover_what_they_cover():
    earth = shapely.box(-180, -90, 180, 90)
    assert (_burn([earth], crs="EPSG:4326") == 1).all()
    west, *_ = SCENE.rio.transform_bounds("EPSG:4326")
    half = shapely.box(-180, -90, west + 0.002, 90)
    assert 0 < (_burn([half], crs="EPSG:4326") == 1).mean() < 1


def test_a_feature_that_only_touches_the_scene_is_beside_it():
    with pytest.raises(ValueError, match="do not overlap the scene"):
        _burn([_square(0, -10, 10)])
    assert _burn([shapely.Point(LEFT, TOP)], background=0)[0, 0] == 1


@pytest.mark.parametrize("bounds", [(-61.3, 70, -1.7, 85), (151, 75, 178, 88), (-61, 83.7, -2, 89)])
def test_edges_along_parallels_are_arcs_in_a_polar_crs(bounds):
    grid = Affine(50000, 0, -2400000, 0, -50000, 2400000)
    scene = place(np.ones((1, 96, 96), "u2"), "EPSG:3413", grid).assign_coords(band=["red"])
    to_degrees = pyproj.Transformer.from_crs(3413, 4326, always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(scene.x, scene.y))
    west, south, east, north = bounds
    within = (lon > west) & (lon < east) & (lat > south) & (lat < north)
    features = gpd.GeoDataFrame({"class": [1]}, geometry=[shapely.box(*bounds)], crs=4326)
    labels = open_labels(features, like=scene, column="class", background=0).values
    assert np.count_nonzero((labels == 1) != within) <= 0.02 * within.sum()
