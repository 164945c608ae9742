"""Plans: nothing is read without calibration, continents are counted, and times come true."""

import json
import time

import dask
import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

import seg4eo_xr as seg
from seg4eo_xr.inference.job_options import JobOptions
from seg4eo_xr.inference.network import Network
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.planning import planning
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.open import select_bands
from seg4eo_xr.testing import plain_contract, raising_scheduler, synthetic_sentinel2

BANDS = ("B02", "B03", "B04")


@pytest.fixture(scope="module")
def checkpoint() -> seg.Checkpoint:
    table = ClassTable.from_codes(range(1, 5))
    contract = plain_contract(
        BANDS, table, bright=0.3, scale=(1e-4,) * len(BANDS), maximum=(1.6,) * len(BANDS)
    )
    spec = ModelSpec("unet", "resnet18", len(BANDS), 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = build_model(spec).state_dict()
    return seg.Checkpoint(weights, spec, contract, 64, "multiclass")


@pytest.fixture(scope="module")
def scene() -> xr.DataArray:
    whole = synthetic_sentinel2((200, 260), seed=3)[0]
    return whole.sel(band=list(BANDS)).chunk(y=100, x=100)


def continent(side: int) -> xr.DataArray:
    """A lazy scene of which no chunk could be held, let alone all."""
    values = da.zeros((3, side, side), chunks=(-1, 10_000, 10_000), dtype=np.uint16)
    places = {"y": 6e6 - 10.0 * np.arange(side), "x": 4e5 + 10.0 * np.arange(side)}
    scene = xr.DataArray(values, {"band": list(BANDS), **places}, ("band", "y", "x"))
    return scene.rio.write_crs("EPSG:3035")


def test_without_calibration_nothing_is_read_and_time_stays_open(scene, checkpoint):
    with dask.config.set(scheduler=raising_scheduler):
        planned = scene.seg4eo.plan(checkpoint, calibrate=False, overlap=16)
    assert planned.lazy.work.windows == 4 * 6
    assert planned.lazy.seconds is planned.job.seconds is planned.rates is None
    assert planned.lazy.work.bytes_read == scene.nbytes
    assert planned.lazy.memory.host_bytes > planned.held_bytes > 0


def test_tasks_and_windows_are_those_of_the_prediction(scene, checkpoint):
    planned = seg.plan(scene, checkpoint, calibrate=False, windows_per_chunk=2)
    layers = seg.predict(scene, checkpoint, windows_per_chunk=2)
    keys = set(layers["classes"].__dask_graph__()) | set(layers["confidence"].__dask_graph__())
    assert planned.lazy.work.tasks == len(keys)


def test_a_continent_is_counted_at_once(checkpoint):
    began = time.perf_counter()
    planned = seg.plan(
        continent(400_000), checkpoint, calibrate=False, patch_size=512, job=JobOptions(8192)
    )
    assert time.perf_counter() - began < 30
    assert planned.job.work.tiles == 52**2
    assert planned.lazy.work.windows < planned.job.work.windows < 1.15 * planned.lazy.work.windows
    assert planned.job.work.bytes_written == 5 * 400_000**2
    # One graph keeps edges of a row of chunks, and a job those of a tile.
    assert planned.job.memory.host_bytes < planned.lazy.memory.host_bytes


def test_options_change_what_is_counted(scene, checkpoint):
    usual = seg.plan(scene, checkpoint, calibrate=False, batch_size=1)
    turned = seg.plan(scene, checkpoint, calibrate=False, batch_size=1, tta=True)
    assert turned.lazy.work.passes == 8 * usual.lazy.work.passes
    more = seg.plan(scene, checkpoint, calibrate=False, layers=("classes", "probabilities"))
    assert more.lazy.work.bytes_written == (1 + 4 * 4) * scene[0].size


def test_a_calibrated_plan_tells_time_and_storage(scene, checkpoint):
    planned = seg.plan(scene, checkpoint)
    assert planned.lazy.seconds > 0
    assert 0 < planned.job.stored_bytes <= 2 * planned.job.work.bytes_written
    shared = seg.plan(scene, checkpoint, machines=4, calibrate=False)
    assert "4 machines like this" in repr(shared)
    for text in (repr(planned), planned._repr_html_()):
        for word in ("windows", "memory", "machine hours", "as a job", "3 bands of 200 × 260 px"):
            assert word in text
    assert json.loads(json.dumps(planned.to_dict()))["window"] == 64


def test_processes_take_time_to_start(scene, checkpoint, monkeypatch):
    monkeypatch.setattr(planning, "process_seconds", lambda processes: 1000.0 * processes)
    planned = seg.plan(scene, checkpoint, job=JobOptions(workers=2))
    assert planned.lazy.seconds < 1000
    assert 2000 < planned.job.seconds < 3000


def test_missing_data_do_not_make_a_machine_look_fast(scene, checkpoint):
    empty = (scene * 0).astype(np.uint16).rio.write_nodata(0)
    assert seg.plan(empty, checkpoint).rates.pass_seconds > 1e-4


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"machines": 0}, "machines must be at least 1, got 0"),
        ({"overlap": 64}, "overlap must lie in 0..63"),
        ({"precison": "float32"}, "did you mean 'precision'"),
    ],
)
def test_what_does_not_fit_is_refused(scene, checkpoint, wrong, told):
    with pytest.raises((ValueError, TypeError), match=told):
        seg.plan(scene, checkpoint, calibrate=False, **wrong)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["lazy", "job"])
def test_a_run_takes_the_time_that_was_planned(way, checkpoint, tmp_path, monkeypatch):
    whole = synthetic_sentinel2((1000, 1000), nodata_wedge=False)[0]
    select_bands(whole, list(BANDS)).rio.to_raster(tmp_path / "scene.tif", tiled=True)
    scene = seg.open_scene(tmp_path / "scene.tif", band_names=BANDS)
    answer = Network.probabilities

    def slow_answer(network, batch):
        """Wait rather than compute, which takes as long on a busy machine as on an idle one."""
        time.sleep(0.2)
        return answer(network, batch)

    monkeypatch.setattr(Network, "probabilities", slow_answer)
    planned = seg.plan(scene, checkpoint, patch_size=128)
    began = time.perf_counter()
    if way == "lazy":
        seg.write_zarr(seg.predict(scene, checkpoint, patch_size=128), tmp_path / "map.zarr")
    else:
        seg.predict_to_zarr(
            scene, checkpoint, tmp_path / "map.zarr", patch_size=128, progress=False
        )
    taken = time.perf_counter() - began
    assert 0.75 * taken <= getattr(planned, way).seconds <= 1.25 * taken
