from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from places import CRS, HEIGHT, WIDTH, ZONES, points_at, raster, square

import seg4eo_xr as seg
from seg4eo_xr.evaluation.confusion import evaluate
from seg4eo_xr.scenes.grid import place


@pytest.mark.parametrize("chunks", [None, (7, 11)])
@pytest.mark.parametrize("crs", [CRS, "EPSG:4326"])
def test_the_pixel_under_each_point_is_compared_and_the_others_are_told(chunks, crs):
    codes = np.full((HEIGHT, WIDTH), 1, np.uint8)
    codes[:, 20:] = 2
    codes[0, 0] = 255
    places = [
        (5.5, 5.5),
        (5.6, 5.6),
        (25.5, 9.5),
        (30.5, 9.5),
        (0.5, 0.5),
        (-3, 4),
        (99, 4),
        (9, 9.4),
    ]
    classes = ["water", "water", "forest", "water", "water", "forest", "water", None]
    points = points_at(places, classes, crs)
    result = evaluate(
        raster(codes, chunks), points, column="cover", zones=ZONES, zone_column="name"
    )
    assert result.matrix.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert result.points.to_dict() == {"compared": 4, "outside": 2, "nodata": 1, "unlabelled": 1}
    assert result.zones["west"].matrix.sum() == 2
    text = repr(result)
    assert "4 points compared, 2 outside the map, 1 on nodata, 1 without a class" in text
    assert result.to_dict()["points"]["outside"] == 2


def test_points_of_a_file_are_compared_too(tmp_path):
    codes = np.full((HEIGHT, WIDTH), 1, np.uint8)
    points = points_at([(3, 3), (8, 8)], [1, 5])
    points.to_file(tmp_path / "points.gpkg")
    result = evaluate(raster(codes), tmp_path / "points.gpkg", column="cover")
    assert result.matrix.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("name", ["points.gpkg", "points.parquet", "points.geojson"])
def test_a_first_feature_without_a_place_does_not_hide_points_and_mixtures(tmp_path, name):
    codes = raster(np.full((HEIGHT, WIDTH), 1, np.uint8))
    points = points_at([(1, 1), (3, 3), (8, 8)], [1, 1, 5], "EPSG:4326")
    points.loc[0, "geometry"] = None
    mixed = gpd.GeoDataFrame(
        {"cover": [1, 2]}, geometry=[square(0, 0, 9, 9), points_at([(20, 20)], [1]).geometry[0]]
    )
    mixed = mixed.set_crs(CRS).to_crs(4326)
    path = tmp_path / name
    write = {True: "to_parquet", False: "to_file"}[path.suffix == ".parquet"]
    getattr(points, write)(path)
    assert evaluate(codes, path, column="cover").points.compared == 2
    getattr(mixed, write)(path)
    for reference in (path, mixed):
        with pytest.raises(ValueError, match="hold points and Polygon"):
            evaluate(codes, reference, column="cover")


@pytest.mark.parametrize("side", [10, 0.1, 1 / 3600])
def test_a_point_on_an_edge_is_of_the_next_pixel_here_and_in_a_sample(side):
    crs = CRS if side > 1 else "EPSG:4326"
    places = np.arange(1000)
    codes = (places % 2 + 1).astype(np.uint8)[:, None].repeat(3, 1)
    mapped = place(codes, crs, Affine(side, 0, 7, 0, -side, 48))
    shapes = gpd.points_from_xy(np.full(1000, 7 + side), 48 - side * places, crs=crs)
    points = gpd.GeoDataFrame({"cover": codes[:, 0]}, geometry=shapes)
    assert evaluate(mapped, points, column="cover").accuracy == 1
    assert seg.sample_of_points(points, mapped, column="cover")["row"].tolist() == places.tolist()


@pytest.mark.parametrize(
    ("points", "options", "says"),
    [
        ([(3, 3)], {}, "name the column"),
        ([(3, 3)], {"column": "cover", "border_widths": (1,)}, "border_widths"),
        ([(3, 3)], {"column": "cover", "ignore_border": 2}, "ignore_border"),
        ([(3, 3)], {"column": "cover", "warp": True, "all_touched": True}, "warp.*all_touched"),
        ([(-3, 3)], {"column": "cover"}, "1 outside the map"),
    ],
)
def test_points_that_cannot_be_compared_are_an_error(points, options, says):
    codes = np.ones((HEIGHT, WIDTH), np.uint8)
    with pytest.raises(ValueError, match=says):
        evaluate(raster(codes), points_at(points, [1] * len(points)), **options)
