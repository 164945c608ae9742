"""Laws of labels on another grid: warped on request, as one reprojection of the whole does."""

from __future__ import annotations

import pickle
from pathlib import Path

import dask
import numpy as np
import pytest
from rasterio.enums import Resampling
from rasterio.warp import reproject

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2

DATA = Path(__file__).parents[3] / "shared" / "data" / "lataseno_s2_clc"
SCENE, LABELS = synthetic_sentinel2((60, 80), seed=1)


def _warped_whole(labels, like, resampling, ignore=255):
    whole = np.full(like.shape[-2:], ignore, labels.dtype)
    reproject(
        labels.values,
        whole,
        src_transform=labels.rio.transform(),
        src_crs=labels.rio.crs,
        dst_transform=like.rio.transform(),
        dst_crs=like.rio.crs,
        src_nodata=ignore,
        dst_nodata=ignore,
        resampling=Resampling[resampling],
    )
    return whole


@pytest.mark.parametrize("resampling", ["nearest", "mode"])
@pytest.mark.parametrize("chunks", [None, {"y": 17, "x": 31}])
def test_labels_of_another_crs_equal_one_reprojection(resampling, chunks):
    away = LABELS.rio.reproject("EPSG:3035", resolution=23, nodata=255)
    scene = SCENE if chunks is None else SCENE.chunk(chunks)
    labels = open_labels(away, like=scene, warp=True, warp_resampling=resampling)
    assert np.array_equal(labels, _warped_whole(away, SCENE, resampling))
    assert (labels == LABELS).mean() > 0.5
    assert labels.rio.transform() == SCENE.rio.transform()
    assert ClassTable.from_attrs(labels.attrs) == ClassTable.from_attrs(LABELS.attrs)
    if chunks:
        assert labels.chunks == scene.chunks[1:]


def test_pixels_outside_the_labels_are_ignored():
    part = LABELS[10:30, 20:50].chunk(7)
    labels = open_labels(part, like=SCENE.chunk(25), warp=True)
    expected = np.full((60, 80), 255)
    expected[10:30, 20:50] = part
    assert np.array_equal(labels, expected)


def test_labels_on_the_grid_stay_as_they_are():
    assert open_labels(LABELS, like=SCENE, warp=True).identical(LABELS)


def test_building_reads_nothing(tmp_path):
    LABELS[5:].rio.to_raster(tmp_path / "labels.tif")
    with dask.config.set(scheduler=raising_scheduler):
        one, two = (
            open_labels(tmp_path / "labels.tif", like=SCENE.chunk(), warp=True) for _ in range(2)
        )
    assert one.data.name == two.data.name


def test_every_step_travels_to_other_processes():
    table = ClassTable.from_attrs(LABELS.attrs)
    options = {"warp": True, "ignore_border": 1, "unlabelled": (0,), "classes": table}
    labels = open_labels(LABELS[5:].chunk(20), like=SCENE.chunk(16), **options)
    assert pickle.loads(pickle.dumps(labels)).identical(labels.compute())


def test_labels_elsewhere_are_refused():
    away = LABELS.assign_coords(x=LABELS.x + 5000)
    with pytest.raises(ValueError, match=r"do not overlap.*EPSG:32633"):
        open_labels(away.drop_vars("spatial_ref").rio.write_crs(32633), like=SCENE, warp=True)


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="the real imagery is not there")
class TestRealLabels:
    def test_they_are_refused(self):
        scene = open_scene(DATA / "s2_lataseno_ex.tif")
        # Two codes fit what the scene's file says, and which one is found depends on PROJ.
        with pytest.raises(
            ValueError, match=r"TM35FIN\(E,N\)\); .*EPSG:\d+ \(Transverse Mercator\)"
        ):
            open_labels(DATA / "clc_2018_lataseno.tif", like=scene)

    @pytest.mark.parametrize("resampling", ["nearest", "mode"])
    def test_warped_on_request_they_equal_one_reprojection(self, resampling):
        source = DATA / "clc_2018_lataseno.tif"
        scene = open_scene(DATA / "s2_lataseno_ex.tif", chunks=100)
        labels = open_labels(source, like=scene, warp=True, warp_resampling=resampling)
        assert labels.chunks == scene.chunks[1:]
        assert np.array_equal(labels, _warped_whole(open_labels(source), scene, resampling))
        assert len(np.unique(labels)) >= 15
