"""Predicting from the command line with checkpoints that do not say all themselves."""

import numpy as np
import pytest
import rasterio
import torch

from seg4eo_xr.cli import main
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.scenes.open import select_bands
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture
def words(tmp_path) -> list[str]:
    scene = synthetic_sentinel2((64, 64), seed=1)[0]
    select_bands(scene, ["B02", "B03", "B04"]).rio.to_raster(tmp_path / "scene.tif")
    network = build_model(ModelSpec("unet", "resnet18", 3, 2))
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "old.pth")
    options = {"model": "old.pth", "input": "scene.tif", "output": "map.tif"}
    paths = [word for name, file in options.items() for word in (f"--{name}", f"{tmp_path}/{file}")]
    return ["predict", *paths, "--training_patch_size", "64"]


def test_hints_name_bands_and_classes(words, tmp_path):
    more = ["--model_bands", "B04", "B02", "B03"]
    more += ["--class_codes", "7", "9", "--class_names", "wet", "dry"]
    assert main([*words, *more]) == 0
    with rasterio.open(tmp_path / "map.tif") as found:
        assert set(np.unique(found.read(1))) <= {7, 9, 255}


def test_a_hint_that_does_not_fit_is_told(words, capsys):
    assert main([*words, "--architecture", "fpn"]) != 0
    assert "weights are not those of" in capsys.readouterr().err
