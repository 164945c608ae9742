from __future__ import annotations

import dask
import dask.array as da
import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Point, Polygon, box

from seg4eo_xr.scenes.clipping import clip_scene, with_room_for_nodata
from seg4eo_xr.scenes.cubes import open_cube, scenes_of
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.labels import open_labels

CRS, NORTH_WEST = 32633, (4e5, 5e6)
TRANSFORM = Affine(10, 0, NORTH_WEST[0], 0, -10, NORTH_WEST[1])


def make_scene(shape=(60, 80), chunks=16, dtype="uint16", nodata=0):
    values = np.random.default_rng(0).integers(1, 200, (2, *shape)).astype(dtype)
    scene = place(da.from_array(values, chunks=(2, chunks, chunks)), CRS, TRANSFORM)
    scene = scene.assign_coords(band=["red", "nir"])
    return scene if nodata is None else scene.rio.write_nodata(nodata)


def area_of(*shapes, crs=CRS):
    return gpd.GeoDataFrame(geometry=list(shapes), crs=crs)


def rectangle(left, top, right, bottom):
    """A box in pixels of the scene."""
    (west, north), (east, south) = TRANSFORM @ (left, top), TRANSFORM @ (right, bottom)
    return box(west, south, east, north)


def inside(area, scene):
    """The pixels that the labels of the area would hold."""
    labels = open_labels(area.assign(code=1), like=scene, column="code", background=0)
    return labels.values == 1


@settings(max_examples=12)
@given(
    corners=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 60)), min_size=3, max_size=6),
    chunks=st.sampled_from([7, 16, 60]),
)
def test_pixels_inside_stay_and_all_others_are_nodata(corners, chunks):
    triangle = Polygon([TRANSFORM @ (x + 0.3123, y + 0.2718) for x, y in corners]).convex_hull
    if triangle.area < 1000:
        return
    scene, area = make_scene(chunks=chunks), area_of(triangle)
    clipped = clip_scene(scene, area)
    expected = np.where(inside(area, scene), scene, 0)
    rows, cols = (np.flatnonzero(np.isin(scene[d], clipped[d])) for d in ("y", "x"))
    assert (rows.size, cols.size) == clipped.shape[1:]
    np.testing.assert_array_equal(clipped, expected[:, rows[0] : rows[-1] + 1][..., cols])
    assert expected.sum() == int(clipped.astype(np.int64).sum())
    assert clipped.rio.transform() == TRANSFORM @ Affine.translation(cols[0], rows[0])
    assert (clipped.dtype, clipped.rio.nodata, clipped.rio.crs) == (np.uint16, 0, CRS)


def test_chunks_that_no_polygon_reaches_are_not_read():
    read = []

    def note(block, block_id):
        read.append(block_id[1:])
        return block

    scene = make_scene()
    noted = da.map_blocks(note, scene.data, dtype=scene.dtype, meta=scene.data._meta)
    corners = MultiPolygon([rectangle(0, 0, 10, 10), rectangle(70, 50, 78, 58)])
    clipped = clip_scene(scene.copy(data=noted), area_of(corners))
    assert clipped.shape == (2, 58, 78)
    clipped.compute(scheduler="synchronous")
    assert sorted(read) == [(0, 0), (3, 4)]


def test_polygons_of_another_crs_and_of_a_file(tmp_path):
    area = area_of(rectangle(10.2, 5.2, 40.4, 33.3))
    expected = clip_scene(make_scene(), area)
    area.to_crs(4326).to_file(tmp_path / "area.gpkg")
    np.testing.assert_array_equal(clip_scene(make_scene(), tmp_path / "area.gpkg"), expected)


def test_a_cube_is_clipped_date_by_date():
    scenes = [make_scene(), make_scene() + 1]
    dated = [scene.assign_attrs(_FillValue=0) for scene in scenes]
    cube = open_cube([make_scene(), make_scene()[:, ::1]], ["2021-06-03", "2021-06-13"])
    area = area_of(Point(*(TRANSFORM @ (40, 30))).buffer(150))
    clipped = clip_scene(cube, area)
    assert clipped.dims == ("time", "band", "y", "x")
    for scene in scenes_of(clipped).values():
        np.testing.assert_array_equal(scene, clip_scene(dated[0], area))


def test_clipping_reads_nothing():
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("it computed")):
        clip_scene(make_scene(), area_of(rectangle(3, 3, 20, 20)))


@pytest.mark.parametrize(
    ("dtype", "given", "stored", "nodata"),
    [
        ("uint8", None, "int16", -32768),
        ("uint16", None, "int32", -(2**31)),
        ("uint16", 65535, "uint16", 65535),
        ("uint8", -9999, "int16", -32768),
        ("float32", None, "float32", None),
        ("float32", -1, "float32", -1),
    ],
)
def test_room_for_nodata_takes_no_number_that_a_pixel_may_have(dtype, given, stored, nodata):
    scene = make_scene(dtype=dtype, nodata=None)
    roomy = with_room_for_nodata(scene, given)
    assert (roomy.dtype, roomy.rio.nodata) == (np.dtype(stored), nodata)
    np.testing.assert_array_equal(roomy, scene)
    outside = clip_scene(
        scene, area_of(rectangle(0, 0, 5, 5), rectangle(9, 9, 14, 14)), nodata=given
    )
    expected = np.nan if nodata is None else nodata
    np.testing.assert_array_equal(outside[:, 0, 13], [expected, expected])


@pytest.mark.parametrize(
    ("area", "says"),
    [
        (area_of(Point(0, 0)), "hold no geometry"),
        (area_of(rectangle(500, 500, 600, 600)), "do not overlap the scene"),
        (area_of(rectangle(0, 0, 5, 5), crs=None), "have no CRS"),
    ],
)
def test_what_is_no_area_is_refused(area, says):
    with pytest.raises(ValueError, match=says):
        clip_scene(make_scene(), area)
