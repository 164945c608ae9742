"""The memory model: what it depends on, and that runs stay below it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peaks import last_line_of_child

from seg4eo_xr.planning.costs import Load
from seg4eo_xr.planning.memory import ChunkShape, NetworkMemory, peak_memory

LOAD = Load(bands=10, itemsize=2, written=5, layers=2, channels=6, batch_size=1)
CHUNK = ChunkShape((1664, 1664), (512, 512), (128, 128), (1280, 1280), columns=8)
NETWORK = NetworkMemory(weights=98_000_000, forward=111_000_000)


@given(st.integers(1, 64), st.booleans(), st.integers(0, 10**9))
def test_more_of_anything_takes_more(lanes, on_device, held):
    def total(chunk=CHUNK, load=LOAD, network=NETWORK, lanes=lanes):
        memory = peak_memory(chunk, load, network, lanes=lanes, on_device=on_device, held=held)
        return memory.host_bytes + memory.device_bytes

    usual = total()
    assert usual > held
    assert total(lanes=lanes + 1) > usual
    assert total(replace(CHUNK, columns=9)) > usual
    assert total(replace(CHUNK, reach=(2048, 1664))) > usual
    assert total(load=replace(LOAD, bands=11)) > usual
    assert total(load=replace(LOAD, written=29)) > usual
    assert total(network=replace(NETWORK, forward=2 * NETWORK.forward)) > usual


def test_an_accelerator_takes_the_network_off_the_host():
    host = peak_memory(CHUNK, LOAD, NETWORK, lanes=4)
    device = peak_memory(CHUNK, LOAD, NETWORK, lanes=4, on_device=True)
    assert host.device_bytes == 0
    assert device.host_bytes < host.host_bytes
    assert device.device_bytes > NETWORK.weights + NETWORK.forward
    assert "network" not in device.host


def test_processes_each_have_a_host_and_a_device():
    one = peak_memory(CHUNK, LOAD, NETWORK, lanes=1, on_device=True, held=7)
    assert one.times(3).host_bytes == 3 * one.host_bytes
    assert one.times(3).device == one.device


# A run and its plan.
_CASE = """
import json, sys, tempfile
from pathlib import Path

import dask
import seg4eo_xr as seg
from harness import peak_megabytes
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import plain_contract, synthetic_sentinel2

way, size, window, encoder = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
scene = synthetic_sentinel2((size, size), nodata_wedge=False, chunks=512)[0]
bands = tuple(scene["band"].values)
contract = plain_contract(bands, ClassTable.from_codes(range(1, 7)), bright=5000.0)
spec = ModelSpec("unet", encoder, len(bands), 6)
network = build_model(spec).state_dict()
checkpoint = seg.Checkpoint(network, spec, contract, window, "multiclass")
with tempfile.TemporaryDirectory() as folder:
    scene.rio.to_raster(f"{folder}/scene.tif", tiled=True, blockxsize=512, blockysize=512)
    seg.save_checkpoint(checkpoint, f"{folder}/network.pth")
    del scene, network, checkpoint
    words = (seg.open_scene(f"{folder}/scene.tif"), f"{folder}/network.pth")
    planned = seg.plan(*words, calibrate=False)
    if way == "lazy":
        seg.predict(*words).seg4eo.to_zarr(f"{folder}/map.zarr")
    else:
        seg.predict_to_zarr(*words, f"{folder}/map.zarr", progress=False)
estimate = getattr(planned, way).memory.host_bytes
held = planned.held_bytes
print(json.dumps([peak_megabytes() * 1e6, estimate, held]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["lazy", "job"])
@pytest.mark.parametrize("case", [("1536", "256", "resnet18"), ("3000", "256", "resnet34")])
def test_runs_stay_below_the_estimate_and_not_far_below(way, case):
    peak, estimate, held = json.loads(last_line_of_child(_CASE, way, *case))
    assert held < peak <= estimate <= 2 * peak
