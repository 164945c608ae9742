"""The cost of a prediction from the command line."""

import json

import pytest
import torch

from seg4eo_xr.cli import main
from seg4eo_xr.models.checkpoint import Checkpoint, save_checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.open import select_bands
from seg4eo_xr.testing import plain_contract, synthetic_sentinel2


@pytest.fixture
def words(tmp_path) -> list[str]:
    scene = synthetic_sentinel2((150, 150), seed=1)[0]
    select_bands(scene, ["B02", "B03"]).rio.to_raster(tmp_path / "scene.tif")
    contract = plain_contract(("band_1", "band_2"), ClassTable.from_codes([1, 2, 3]), bright=3000.0)
    spec = ModelSpec("unet", "resnet18", 2, 3)
    with torch.random.fork_rng():
        weights = build_model(spec).state_dict()
    checkpoint = Checkpoint(weights, spec, contract, 64, "multiclass")
    save_checkpoint(checkpoint, tmp_path / "network.pth")
    return [
        *("plan", "--model", f"{tmp_path}/network.pth"),
        *("--input", f"{tmp_path}/scene.tif", "--band_names", "band_1", "band_2"),
    ]


def test_a_plan_is_printed_and_written(words, tmp_path, capsys):
    more = ["--no_calibration", "--overlap", "32", "--output", f"{tmp_path}/plan.json"]
    assert main([*words, *more]) == 0
    printed = capsys.readouterr().out
    assert "2 bands of 150 × 150 px" in printed
    assert "forward passes" in printed
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["lazy"]["work"]["windows"] == 16
    assert written["lazy"]["seconds"] is None


def test_options_of_windows_and_of_jobs_are_taken(words, capsys):
    assert main([*words, "--no_calibration", "--tile_size", "64", "--machines", "3"]) == 0
    assert "3 machines like this" in capsys.readouterr().out
    assert main([*words, "--no_calibration", "--overlap", "64"]) == 2
    assert "overlap" in capsys.readouterr().err
