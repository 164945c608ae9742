"""Plans count the windows that hold data, as a run does that skips the others."""

import json

import dask
import geopandas as gpd
import numpy as np
import pytest
from shapely import box

import seg4eo_xr as seg
from seg4eo_xr.cli import main
from seg4eo_xr.geometry.windows import WindowAxis
from seg4eo_xr.models.checkpoint import save_checkpoint
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2, untrained_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning")


@pytest.fixture(autouse=True)
def _short_rounds(monkeypatch):
    monkeypatch.setattr("seg4eo_xr.planning.timing._ROUND_SECONDS", 0.02)


@pytest.fixture(scope="module")
def chip():
    return synthetic_sentinel2((64, 64), nodata_wedge=False, chunks=64)[0]


@pytest.fixture(scope="module")
def checkpoint(chip):
    return untrained_checkpoint(*synthetic_sentinel2((64, 64), nodata_wedge=False))


@pytest.fixture
def files(chip, tmp_path):
    """Two chips that are 40 chips apart."""
    far = chip.assign_coords(x=chip.x + 10 * 2560, y=chip.y - 10 * 2560)
    far = far.rio.write_transform(far.rio.transform(recalc=True))
    for name, scene in {"near": chip, "far": far}.items():
        scene.rio.to_raster(tmp_path / f"{name}.tif")
    return [tmp_path / "near.tif", tmp_path / "far.tif"]


def counted(scene):
    """Windows of 64 px that hold data, by reading all of them."""
    valid = (scene != scene.rio.nodata).all("band").to_numpy()
    axes = [WindowAxis(size, 64, 16) for size in valid.shape]
    return sum(
        bool(valid[y : y + 64, x : x + 64].any())
        for y in map(axes[0].start, range(axes[0].count))
        for x in map(axes[1].start, range(axes[1].count))
    )


def test_windows_between_the_scenes_of_a_mosaic_are_not_counted(files, checkpoint):
    mosaic = seg.open_mosaic(files)
    assert mosaic.shape[1:] == (2624, 2624)
    with dask.config.set(scheduler=raising_scheduler):
        planned = seg.plan(mosaic, checkpoint, calibrate=False, overlap=16)
    wanted = counted(mosaic)
    assert planned.lazy.work.windows_with_data == planned.lazy.work.passes == wanted < 20
    assert planned.lazy.work.windows == 55**2
    assert wanted <= planned.job.work.windows_with_data < 2 * wanted
    assert f"about {wanted} of 3,025 windows hold data" in repr(planned)
    assert planned.lazy.work.bytes_written == 5 * 2624**2


def test_the_time_of_a_sparse_mosaic_is_that_of_its_scenes(files, checkpoint, chip):
    mosaic = seg.plan(seg.open_mosaic(files), checkpoint)
    passes = mosaic.lazy.work.passes
    assert mosaic.lazy.seconds < 5 + 3 * passes * mosaic.rates.pass_seconds
    assert mosaic.lazy.stored_bytes < 0.02 * mosaic.lazy.work.bytes_written


def test_windows_outside_of_an_area_are_not_counted(chip, checkpoint):
    whole = synthetic_sentinel2((512, 512), nodata_wedge=False, chunks=64)[0]
    west, south, east, north = whole.rio.bounds()
    corners = [box(west, north - 600, west + 600, north), box(east - 600, south, east, south + 600)]
    area = gpd.GeoDataFrame(geometry=corners, crs=whole.rio.crs)
    clipped = seg.clip_scene(whole, area)
    assert clipped.shape == whole.shape
    planned = seg.plan(clipped, checkpoint, calibrate=False, overlap=16)
    assert planned.lazy.work.windows_with_data == counted(clipped) < 10
    # A part of it has other rows and columns, of which the graph says nothing.
    part = seg.plan(clipped[:, 64:, 64:], checkpoint, calibrate=False, overlap=16)
    assert part.lazy.work.windows_with_data == part.lazy.work.windows


def test_a_mosaic_in_a_mosaic_does_not_hide_what_covers_it(chip, checkpoint, files):
    sparse = seg.open_mosaic(files)
    full = (sparse * 0 + 500).astype(sparse.dtype).rio.write_nodata(sparse.rio.nodata)
    full = full.assign_attrs(sparse.attrs)
    both = seg.open_mosaic([sparse, full])
    planned = seg.plan(both, checkpoint, calibrate=False, overlap=16)
    assert planned.lazy.work.windows_with_data == planned.lazy.work.windows


@pytest.mark.parametrize("rows", [0, 128, 256])
def test_a_sample_finds_the_share_of_windows_with_data(rows, checkpoint):
    scene = synthetic_sentinel2((256, 256), nodata_wedge=False, chunks=64)[0]
    scene = scene.where(np.arange(256)[:, None] < rows, scene.rio.nodata).astype(scene.dtype)
    scene = scene.rio.write_nodata(0)
    planned = seg.plan(scene, checkpoint, overlap=16)
    assert planned.lazy.work.windows_with_data == counted(scene)
    assert "25 windows that were read" in repr(planned)
    assert planned.lazy.seconds >= 0


def test_the_command_says_how_many_windows_hold_data(files, checkpoint, tmp_path, capsys):
    save_checkpoint(checkpoint, tmp_path / "model.pth")
    words = ["plan", "--model", str(tmp_path / "model.pth"), "--input", *map(str, files)]
    words += ["--mosaic", "--overlap", "16", "--no_calibration"]
    assert main([*words, "--output", str(tmp_path / "plan.json")]) == 0
    assert "of 3,025 windows hold data (estimated from" in capsys.readouterr().out
    work = json.loads((tmp_path / "plan.json").read_text())["lazy"]["work"]
    assert work["windows_with_data"] < 20 < work["windows"]
