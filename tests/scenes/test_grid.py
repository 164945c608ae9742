from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from seg4eo_xr.scenes.grid import place, require_same_grid, same_crs
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene

GRID = Affine(10, 0, 5e5, 0, -10, 5e6)


def _write(path, transform=GRID, crs="EPSG:32633", **profile):
    form = {"driver": "GTiff", "count": 1, "height": 40, "width": 50, "dtype": "uint8"}
    with rasterio.open(path, "w", transform=transform, crs=crs, **form, **profile) as file:
        file.write(np.ones((1, 40, 50), np.uint8))
    return path


@pytest.mark.parametrize("shear", [1e-12, 4e-19, 0.0015])
def test_a_shear_that_moves_no_pixel_is_none(tmp_path, shear):
    sheared = Affine(10, shear, 5e5, shear, -10, 5e6)
    path = _write(tmp_path / "sheared.tif", sheared)
    assert open_scene(path).rio.transform() == GRID
    plain = open_scene(_write(tmp_path / "plain.tif"))
    assert open_labels(path, like=plain).shape == (40, 50)


def test_a_shear_that_moves_pixels_is_refused(tmp_path):
    path = _write(tmp_path / "sheared.tif", Affine(10, 0.003, 5e5, 0, -10, 5e6))
    with pytest.raises(ValueError, match=r"rotated.*gdalwarp"):
        open_scene(path)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("EPSG:32633+5773", "EPSG:32633", True),
        ("EPSG:4979", "EPSG:4326", True),
        ("OGC:CRS84", "EPSG:4326", True),
        ("EPSG:32633+5773", "EPSG:32634", False),
        ("EPSG:4326", "EPSG:4258", False),
    ],
)
def test_heights_and_the_order_of_axes_make_no_other_crs(one, other, same):
    assert same_crs(CRS.from_user_input(one), CRS.from_user_input(other)) is same
    a, b = (place(np.zeros((4, 5)), crs, GRID) for crs in (one, other))
    if same:
        require_same_grid(a, b, "a", "b")
    else:
        with pytest.raises(ValueError, match="different CRSs"):
            require_same_grid(a, b, "a", "b")


def test_a_compound_crs_goes_with_its_horizontal_part(tmp_path):
    scene = _write(tmp_path / "scene.tif", crs="EPSG:32633+5773")
    labels = _write(tmp_path / "labels.tif")
    opened = open_scene(scene)
    for warp in (False, True):
        assert (open_labels(labels, like=opened, warp=warp) == 1).all()
    assert open_scene([scene, labels]).shape == (2, 40, 50)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_control_points_and_sensor_models_call_for_gdalwarp(tmp_path):
    corners = [(0, 0), (0, 50), (40, 0)]
    points = [GroundControlPoint(r, c, 5e5 + 10 * c, 5e6 - 10 * r) for r, c in corners]
    path = _write(tmp_path / "points.tif", transform=None, gcps=points)
    with pytest.raises(ValueError, match=r"3 ground control points.*gdalwarp -tps.*points\.tif"):
        open_scene(path)
    twenty = " ".join(["1"] * 20)
    model = {f"{part}_{kind}_COEFF": twenty for part in ("LINE", "SAMP") for kind in ("NUM", "DEN")}
    for name in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT"):
        model |= {f"{name}_OFF": "1", f"{name}_SCALE": "1"}
    path = _write(tmp_path / "model.tif", transform=None, crs=None)
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="RPC", **model)
    with pytest.raises(ValueError, match=r"RPCs.*gdalwarp -rpc.*model\.tif"):
        open_scene(path)


def test_rasters_whose_tag_says_that_pixels_are_points(tmp_path):
    path = _write(tmp_path / "points.tif")
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(path) as file:
        assert open_scene(path).rio.bounds() == tuple(file.bounds)
