from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch

from seg4eo_xr.models import zoo
from seg4eo_xr.models.zoo import ModelSpec, build_model, list_encoders, list_models


def encoder_of(model: str) -> str:
    return "tu-vit_tiny_patch16_224" if model == "dpt" else "resnet18"


@pytest.mark.parametrize("model", list_models())
def test_every_model_answers_each_pixel_with_one_logit_a_class(model: str) -> None:
    network = build_model(ModelSpec(model, encoder_of(model), in_channels=5, out_channels=3)).eval()
    side = 128 if model == "pan" else 64
    with torch.inference_mode():
        assert network(torch.rand(1, 5, side, side)).shape == (1, 3, side, side)


@pytest.mark.parametrize("model", ["unet", "manet", "segformer"])
def test_channels_last_memory_is_accepted(model: str) -> None:
    network = build_model(ModelSpec(model, "resnet18", 4, 2)).to(memory_format=torch.channels_last)
    image = torch.rand(2, 4, 64, 64).contiguous(memory_format=torch.channels_last)
    network(image).mean().backward()


@pytest.mark.parametrize(
    ("model", "suggestion"),
    [("u-net", "'unet'"), ("Unet++", "'unet\\+\\+'"), ("nothing", "known:")],
)
def test_an_unknown_model_meets_the_nearest_names(model: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=f"unknown model.*{suggestion}"):
        build_model(ModelSpec(model, "resnet18", 3, 2))


@pytest.mark.parametrize(
    ("name", "near"), [("resnet-34", "resnet34"), ("tu-resnet_18", "tu-resnet18")]
)
def test_an_unknown_encoder_meets_the_nearest_names(name: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"unknown encoder.*{near}"):
        build_model(ModelSpec("unet", name, 3, 2))


def test_an_encoder_that_a_model_cannot_use_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'linknet' cannot be built with the encoder 'mit_b0'.*choose"
    ):
        build_model(ModelSpec("linknet", "mit_b0", 3, 2))


def test_weights_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="weights 'moonlight'"):
        build_model(ModelSpec("unet", "resnet18", 3, 2), encoder_weights="moonlight")


def test_weights_that_cannot_be_fetched_name_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", offline)
    with pytest.raises(OSError, match=r"no route to host.*--no_pretrained"):
        build_model(ModelSpec("unet", "resnet18", 3, 2), encoder_weights="imagenet")


def test_each_encoder_has_published_weights() -> None:
    assert zoo.pretrained_weights("resnet34") == "imagenet"
    assert all(zoo.pretrained_weights(name) for name in list_encoders())


@pytest.mark.parametrize(
    ("spec", "patch_size", "batch_size"),
    [
        (ModelSpec("fpn", "resnet18", 3, 2), 100, 4),
        (ModelSpec("pan", "resnet18", 3, 2), 64, 4),
        (ModelSpec("deeplabv3", "resnet18", 3, 2), 64, 1),
    ],
)
def test_patches_that_a_model_cannot_train_on_are_refused(
    spec: ModelSpec, patch_size: int, batch_size: int
) -> None:
    with pytest.raises(ValueError, match=f"patches of {patch_size} px.*multiple of 32"):
        zoo.require_patch_size(build_model(spec), spec, patch_size, batch_size)


def test_trying_a_patch_size_leaves_network_and_generator_as_they_were() -> None:
    spec = ModelSpec("deeplabv3+", "resnet18", 3, 2)
    network = build_model(spec)
    before = pickle.dumps(network.state_dict())
    state = torch.get_rng_state()
    zoo.require_patch_size(network, spec, 64)
    assert pickle.dumps(network.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_channels_are_checked() -> None:
    with pytest.raises(ValueError, match="in_channels must be at least 1, got 0"):
        ModelSpec("unet", "resnet18", 0, 2)


def test_names_and_options_load_no_torch() -> None:
    code = (
        "import sys, seg4eo_xr.models.zoo, seg4eo_xr.training.config, seg4eo_xr.training.metrics;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
