"""README's table of troubles: each is provoked, and its message says what the table says."""

from __future__ import annotations

import re
import shlex
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import torch
from readme_tools import code, table
from toy_files import SIDE, scene_and_labels, write_old_checkpoints, write_old_folders, write_scene
from toy_network import tiny_network

import seg4eo_xr as seg
from seg4eo_xr.cli import main
from seg4eo_xr.geometry.windows import WindowAxis
from seg4eo_xr.inference.advice import speed_advice
from seg4eo_xr.inference.hardware import Hardware

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Warnings are what is asked for here.
pytestmark = pytest.mark.filterwarnings("always::seg4eo_xr.Seg4EOWarning")
ROWS = {problem: (message, remedy) for problem, message, remedy in table("Troubleshooting")}
TRAIN = "train --dataset_root OUT.zarr --model unet --encoder_name resnet18 --save_dir @R"
QUICK = f"{TRAIN} --no_pretrained --epochs 1 --batch_size 4"
MAP = "predict --model M/unet++_final.pth --input I.tif --output @X.tif"
EXTRACT = f"extract single --image I.tif --output @X.zarr --patch_size {SIDE}"

LINES = {
    "no images found": "extract batch --data_dir EMPTY --output @X.zarr",
    "dataset not detected": "import --data_dir EMPTY --output @X.zarr",
    "dataset is a folder of GeoTIFFs": TRAIN.replace("OUT.zarr", "OUT"),
    "channel mismatch in training": f"{TRAIN} --in_channels 4",
    "channel mismatch in mapping": MAP.replace("I.tif", "L.tif"),
    "borders of patches visible": f"{MAP} --patch_size 32 --overlap 0",
    "model fails to load: no checkpoint": MAP.replace("M/unet++_final.pth", "I.tif"),
    "model fails to load: another network": f"{MAP} --architecture fpn",
    "too few patches": f"{TRAIN} --batch_size 1000",
    "no GPU": f"{MAP} --device cuda",
    "labels on another grid": f"{EXTRACT} --label SHIFTED.tif",
    "scene without CRS": f"{EXTRACT.replace('I.tif', 'NOCRS.tif')} --label L.tif",
    "the test is too easy": f"{EXTRACT} --label L.tif --stride 16",
    "output exists": MAP.replace("@X.tif", "L.tif"),
}
TRAININGS = {
    "class imbalance": QUICK.replace("OUT.zarr", "RARE.zarr"),
    "a class is never seen": QUICK.replace("OUT.zarr", "UNSEEN.zarr"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files that are in order, and files that are not."""
    found = tmp_path_factory.mktemp("troubles")
    write_scene(found)
    write_old_folders(found)
    write_old_checkpoints(found)
    (found / "EMPTY").mkdir()
    scene, labels = scene_and_labels()
    shifted = labels.assign_coords(x=labels["x"] + 30).drop_vars("spatial_ref")
    shifted.rio.write_crs(scene.rio.crs).rio.to_raster(found / "SHIFTED.tif")
    with rasterio.open(found / "I.tif") as source:
        profile = {**source.profile, "crs": None}
        with rasterio.open(found / "NOCRS.tif", "w", **profile) as target:
            target.write(source.read())
    classes = seg.ClassTable.from_codes([1, 2, 6])
    for name, rare in {"RARE": 6, "UNSEEN": 2}.items():
        codes = np.where(np.isin(labels, (1, 255)), labels, 2).astype(np.uint8)
        codes[::50, ::50] = rare
        cut = labels.copy(data=codes)
        seg.extract_patches(
            scene, cut, found / f"{name}.zarr", patch_size=SIDE, classes=classes, progress=False
        )
    return found


@pytest.fixture
def said(folder, tmp_path, monkeypatch, capsys) -> Callable[[str], str]:
    """Run a line, with @ for a folder that is empty, and give back all it says on one line."""
    monkeypatch.chdir(folder)

    def run(line: str) -> str:
        main(shlex.split(line.replace("@", f"{tmp_path}/")))
        out, err = capsys.readouterr()
        return " ".join((out + err).split())

    return run


def require_row(problem: str, text: str) -> None:
    """Hold what was said against the table: its message, and each option that the remedy names."""
    message, remedy = ROWS[problem]
    (fragment,) = code(message)
    assert fragment in text
    options = re.findall(r"--(\w+)", " ".join(code(remedy)))
    assert not [option for option in options if option not in text]


@pytest.mark.parametrize("problem", LINES)
def test_a_line_that_goes_wrong_says_what_the_table_says(problem, said):
    require_row(problem, said(LINES[problem]))


@pytest.mark.parametrize("problem", TRAININGS)
def test_a_training_that_goes_wrong_says_what_the_table_says(problem, said):
    with tiny_network("seg4eo_xr.training.fit"):
        text = said(TRAININGS[problem])
    require_row(problem, text)


def test_published_weights_without_a_network(said, monkeypatch):
    def offline(*_: object) -> None:
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("seg4eo_xr.models.zoo._library_network", offline)
    require_row("no network for encoder weights", said(f"{TRAIN} --batch_size 4"))


def out_of_memory(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_training_without_memory(said, monkeypatch):
    monkeypatch.setattr("seg4eo_xr.training.task.SegmentationTask.training_step", out_of_memory)
    with tiny_network("seg4eo_xr.training.fit"):
        text = said(QUICK)
    require_row("out of memory in training", text)


def test_a_map_without_memory(said, monkeypatch):
    monkeypatch.setattr("seg4eo_xr.inference.network.Network.probabilities", out_of_memory)
    text = said(f"{MAP} --precision float32 --batch_size 2 --retries 0")
    require_row("out of memory in mapping", text)


def test_a_job_that_was_stopped(said, monkeypatch):
    def stop(*_: object) -> None:
        raise OSError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr("seg4eo_xr.jobs.order.finish_store", stop)
        assert "--resume" in said(MAP)
    require_row("job was stopped", said(MAP))
    assert "error" not in said(f"{MAP} --resume")


def test_every_row_is_provoked():
    others = {
        "no network for encoder weights",
        "out of memory in training",
        "out of memory in mapping",
        "job was stopped",
        "slow inference",
    }
    assert {*LINES, *TRAININGS, *others} == set(ROWS)


def network(**changes: object) -> SimpleNamespace:
    plain = {"tta": False, "device": "cpu", "precision": "float32", "compile": False}
    return SimpleNamespace(**(plain | changes))


def runner(size: int, overlap: int, **changes: object) -> SimpleNamespace:
    axis = WindowAxis(size, 64, overlap)
    spans = (SimpleNamespace(axis=axis),)
    return SimpleNamespace(network=network(**changes), spans=(spans, spans))


def test_a_plan_says_what_would_be_faster(said, monkeypatch):
    fast = Hardware("cpu", ("bfloat16",), compiler=True)
    monkeypatch.setattr("seg4eo_xr.inference.advice.this_machine", lambda _: fast)
    monkeypatch.setattr("seg4eo_xr.inference.advice.MANY_WINDOWS", 2)
    line = "plan --model M/unet++_final.pth --input I.tif --no_calibration --precision float32"
    text = said(line)
    require_row("slow inference", text)
    assert "--precision auto" in text
    assert "without --tta" not in text


def test_a_long_job_says_what_would_be_faster(said, monkeypatch):
    monkeypatch.setattr("seg4eo_xr.jobs.order.MANY_WINDOWS", 2)
    assert "what would be faster: an accelerator" in said(MAP)


@pytest.mark.parametrize(
    ("kernel", "told"),
    [
        (runner(64, 16, device="cuda"), []),
        (runner(64, 16, device="cuda", tta=True), ["without --tta"]),
        (runner(64, 16), ["an accelerator", "--precision auto"]),
        (runner(64, 16, precision="bfloat16"), ["an accelerator"]),
        (runner(64, 32, device="cuda"), ["--overlap 16 leaves 44% of the windows"]),
        (runner(6400, 16, device="cuda", compile=True), ["--scheduler"]),
        (runner(6400, 16, device="cuda"), ["--compile", "--scheduler"]),
    ],
)
def test_advice_is_only_what_helps(kernel, told, monkeypatch):
    fast = Hardware("cpu", ("bfloat16",), compiler=True)
    monkeypatch.setattr("seg4eo_xr.inference.advice.this_machine", lambda _: fast)
    advice = speed_advice(kernel)
    assert len(advice) == len(told)
    assert all(text in clause for text, clause in zip(told, advice, strict=True))
