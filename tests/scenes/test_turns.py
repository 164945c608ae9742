"""Laws of 180°: what lies on both sides of it is one place."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyproj
import pytest
from affine import Affine
from shapely import MultiPolygon, box

from seg4eo_xr import evaluate
from seg4eo_xr.scenes.clipping import clip_scene
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.mosaics import open_mosaic
from seg4eo_xr.scenes.resampling import Grid, resample

PIXEL = 0.05
MISSING = -1


def by_longitude(west, width, rows=60):
    """A raster in degrees from 10° north, whose numbers are the tenths of degrees from 0 to 360."""
    longitudes = west + PIXEL * (np.arange(width) + 0.5)
    values = np.broadcast_to(np.round(longitudes % 360 * 10).astype("i2"), (rows, width)).copy()
    grid = Affine(PIXEL, 0, west, 0, -PIXEL, 10)
    return place(values, "EPSG:4326", grid).rio.write_nodata(MISSING)


def longitudes_of(grid):
    x = grid.transform.c + grid.transform.a * (np.arange(grid.width) + 0.5)
    y = grid.transform.f + grid.transform.e * (np.arange(grid.height) + 0.5)
    moved = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    return moved.transform(*np.meshgrid(x, y))[0] % 360


TARGETS = {
    "utm": Grid("EPSG:32660", Affine(1000, 0, 8e5, 0, -1000, 1e6), 48, 64),
    "beyond 180": Grid("EPSG:4326", Affine(PIXEL, 0, 179, 0, -PIXEL, 10), 40, 40),
    "beyond -180": Grid("EPSG:4326", Affine(PIXEL, 0, -181, 0, -PIXEL, 10), 40, 40),
    "mercator": Grid("EPSG:3857", Affine(5000, 0, 20037508 - 1e5, 0, -5000, 1e6), 30, 40),
}
SOURCES = {
    "both sides": ((170, 400), None),
    "-180 to 180": ((-180, 7200), None),
    "0 to 360": ((0, 7200), None),
    "east of it": ((179, 20), lambda lon: lon < 180),
    "west of it": ((-180, 20), lambda lon: lon > 180),
}


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_raster_is_found_from_both_sides(source, target, resampling):
    extent, covered = SOURCES[source]
    grid = TARGETS[target]
    moved = resample(by_longitude(*extent), grid, resampling=resampling).values
    longitudes = longitudes_of(grid)
    wanted = np.ones(longitudes.shape, bool) if covered is None else covered(longitudes)
    assert np.array_equal(moved != MISSING, wanted)
    assert np.abs(moved - longitudes * 10)[wanted].max() <= 1.001


@pytest.mark.parametrize("west", [179, -180])
def test_labels_of_one_side_are_warped_onto_a_scene_across(west):
    scene = place(np.ones((1, 48, 64), "u2"), "EPSG:32660", TARGETS["utm"].transform)
    scene = scene.assign_coords(band=["red"])
    plane = place(np.ones((40, 20), "u1"), "EPSG:4326", Affine(PIXEL, 0, west, 0, -PIXEL, 10))
    labels = open_labels(plane, like=scene, warp=True)
    side = longitudes_of(TARGETS["utm"]) < 180
    assert np.array_equal(labels == 1, side if west > 0 else ~side)
    elsewhere = plane.assign_coords(x=plane.x - 40).drop_vars("spatial_ref").rio.write_crs(4326)
    with pytest.raises(ValueError, match="do not overlap"):
        open_labels(elsewhere, like=scene, warp=True)


def scene_at(west, value, crs="EPSG:4326", pixel=PIXEL):
    grid = Affine(pixel, 0, west, 0, -pixel, 10)
    scene = place(np.full((1, 20, 20), value, "u2"), crs, grid).rio.write_nodata(0)
    return scene.assign_coords(band=["red"])


class TestMosaics:
    @pytest.mark.parametrize("first", [179, -180])
    def test_across_are_no_turn_wide(self, first):
        pair = [scene_at(179, 1), scene_at(-180, 2)]
        mosaic = open_mosaic(pair if first == 179 else pair[::-1])
        assert mosaic.shape == (1, 20, 40)
        assert mosaic.x[0] == pytest.approx(first + PIXEL / 2 - (1 if first < 0 else 0))
        assert (mosaic[..., :20] == 1).all()
        assert (mosaic[..., 20:] == 2).all()

    def test_of_two_crs_across(self):
        other = place(np.full((1, 30, 30), 2, "u2"), "EPSG:32660", TARGETS["utm"].transform)
        other = other.rio.write_nodata(0).assign_coords(band=["red"])
        mosaic = open_mosaic([scene_at(179, 1), other])
        assert mosaic.sizes["x"] < 60
        assert (mosaic == 2).any()
        assert float(mosaic.x.max()) > 180

    def test_of_more_than_half_a_turn_stay(self):
        mosaic = open_mosaic(
            [scene_at(-170, 1, pixel=1), scene_at(0, 2, pixel=1), scene_at(160, 3, pixel=1)]
        )
        assert mosaic.sizes["x"] == 350

    def test_onto_a_grid_around_the_earth(self):
        grid = place(np.zeros((1, 20, 360), "u2"), "EPSG:4326", Affine(1, 0, -180, 0, -1, 10))
        mosaic = open_mosaic([scene_at(170, 1, pixel=1)], like=grid)
        found = np.flatnonzero((mosaic.values == 1).any(axis=(0, 1)))
        assert found.tolist() == [*range(10), *range(350, 360)]


class TestVectors:
    """Features are written from -180 to 180, and the scene lies from 179 to 181."""

    def scene(self):
        grid = Affine(PIXEL, 0, 179, 0, -PIXEL, 10)
        scene = place(np.ones((1, 20, 40), "u2"), "EPSG:4326", grid)
        return scene.assign_coords(band=["red"])

    @pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
    @pytest.mark.parametrize("together", [False, True])
    def test_polygons(self, crs, together):
        sides = [box(179.5, 9, 180, 10), box(-180, 9, -179.5, 10)]
        features = gpd.GeoDataFrame(
            {"class": [1, 2]}, geometry=[MultiPolygon(sides)] * 2 if together else sides, crs=4326
        ).to_crs(crs)
        labels = open_labels(features, like=self.scene(), column="class", background=0).values
        assert (labels[:, 10:20] == (2 if together else 1)).all()
        assert (labels[:, 20:30] == 2).all()
        assert (labels[:, [*range(10), *range(30, 40)]] == 0).all()

    def test_polygon_all_around(self):
        features = gpd.GeoDataFrame({"class": [1]}, geometry=[box(-180, 0, 180, 20)], crs=4326)
        labels = open_labels(features, like=self.scene(), column="class", background=0).values
        assert (labels == 1).all()

    @pytest.mark.parametrize("first", [0, -181, -90])
    @pytest.mark.parametrize("bounds", [(-10.3, 30.2), (169.6, 200.4), (-90.3, -85.6)])
    def test_polygon_across_the_edge_of_a_whole_turn(self, first, bounds):
        """Longitudes from 0 to 360 have their edge at 0°, where Africa and Europe are."""
        grid = Affine(1, 0, first, 0, -1, 10)
        scene = place(np.ones((1, 20, 360), "u2"), "EPSG:4326", grid).assign_coords(band=["red"])
        features = gpd.GeoDataFrame(
            {"class": [1]}, geometry=[box(bounds[0], -5, bounds[1], 5)], crs=4326
        )
        within = (scene.x.values - bounds[0]) % 360 < bounds[1] - bounds[0]
        labels = open_labels(features, like=scene, column="class", background=0).values
        assert np.array_equal(labels[10] == 1, within)
        area = clip_scene(scene, features, nodata=0).compute()
        assert np.array_equal(np.unique(area.x[(area[0] > 0).any("y")]), scene.x[within])

    def test_points(self):
        scene = self.scene()
        codes = np.where(np.arange(40) < 20, 1, 2).astype("u1") * np.ones((20, 1), "u1")
        classes = place(codes, "EPSG:4326", scene.rio.transform()).rio.write_nodata(255)
        points = gpd.GeoDataFrame(
            {"class": [1, 2]}, geometry=gpd.points_from_xy([179.2, -179.3], [9.5, 9.5]), crs=4326
        )
        result = evaluate(classes, points, column="class")
        assert np.array_equal(result.matrix, [[1, 0], [0, 1]])
