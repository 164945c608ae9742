from __future__ import annotations

import pickle
import subprocess
import sys
from unittest import mock

import pytest
import torch

from seg4eo_xr.models import zoo
from seg4eo_xr.models.zoo import ModelSpec, build_model, list_encoders, list_models


def encoder_of(model: str) -> str:
    return "tu-vit_tiny_patch16_224" if model == "dpt" else "resnet18"


@pytest.mark.parametrize("model", list_models())
def test_every_model_answers_each_pixel_with_one_logit_a_class(model: str) -> None:
    network = build_model(ModelSpec(model, encoder_of(model), in_channels=5, out_channels=3)).eval()
    with torch.inference_mode():
        for height, width in ((64, 64), (50, 37)):
            assert network(torch.rand(1, 5, height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize("model", list_models())
def test_every_model_learns_from_patches_of_any_size_and_has_an_encoder_to_hold(model: str) -> None:
    network = build_model(ModelSpec(model, encoder_of(model), in_channels=2, out_channels=1))
    network.encoder.requires_grad_(False)
    network(torch.rand(2, 2, 34, 34)).mean().backward()
    assert all(weights.grad is None for weights in network.encoder.parameters())
    assert any(weights.grad is not None for weights in network.parameters())


def test_models_with_an_encoder_of_their_own_say_which() -> None:
    assert ModelSpec("deeplabv3_resnet50", "resnet34", 3, 2).encoder_name == "resnet50"
    assert ModelSpec("unet-dropout", "resnet34", 3, 2).encoder_name == "plain"


@pytest.mark.parametrize("model", ["unet", "manet", "segformer", "unet-dropout"])
def test_channels_last_memory_is_accepted(model: str) -> None:
    network = build_model(ModelSpec(model, "resnet18", 4, 2)).to(memory_format=torch.channels_last)
    image = torch.rand(2, 4, 64, 64).contiguous(memory_format=torch.channels_last)
    network(image).mean().backward()


@pytest.mark.parametrize(
    ("model", "suggestion"),
    [("u-net", "'unet'"), ("Unet++", "'unet\\+\\+'"), ("nothing", "Known:")],
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

    monkeypatch.setattr("huggingface_hub.utils.get_session", mock.MagicMock())  # which answers
    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", offline)
    with pytest.raises(OSError, match=r"no route to host.*--no_pretrained"):
        build_model(ModelSpec("unet", "resnet18", 3, 2), encoder_weights="imagenet")


def test_each_encoder_has_published_weights() -> None:
    assert zoo.pretrained_weights("resnet34") == "imagenet"
    assert all(zoo.pretrained_weights(name) for name in list_encoders())
    assert zoo.pretrained_weights(ModelSpec("unet-dropout", "resnet34", 3, 2).encoder_name) is None


def test_weights_that_a_model_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no published weights 'imagenet'.*--no_pretrained"):
        build_model(ModelSpec("unet-dropout", "", 3, 2), encoder_weights="imagenet")


@pytest.mark.parametrize("model", ["deeplabv3", "deeplabv3_resnet50"])
def test_patches_that_a_model_cannot_train_on_are_refused(model: str) -> None:
    spec = ModelSpec(model, "resnet18", 3, 2)
    with pytest.raises(ValueError, match=r"batches of 1 patches of 64 px.*at least 2"):
        zoo.require_patch_size(build_model(spec), spec, 64, batch_size=1)


def test_patches_of_a_size_that_an_encoder_refuses_are_refused_with_one_that_fits() -> None:
    spec = ModelSpec("unet", "tu-coat_tiny", 3, 2)
    network = build_model(spec)
    with pytest.raises(ValueError, match=r"patches of 96 px: .*extract patches of 224 px"):
        zoo.require_patch_size(network, spec, 96)
    zoo.require_patch_size(network, spec, 224)


def test_trying_a_patch_size_leaves_network_and_generator_as_they_were() -> None:
    spec = ModelSpec("deeplabv3+", "resnet18", 3, 2)
    network = build_model(spec)
    before = pickle.dumps(network.state_dict())
    state = torch.get_rng_state()
    zoo.require_patch_size(network, spec, 64)
    assert pickle.dumps(network.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_channels_and_dropout_are_checked() -> None:
    with pytest.raises(ValueError, match="in_channels must be at least 1, got 0"):
        ModelSpec("unet", "resnet18", 0, 2)
    with pytest.raises(ValueError, match=r"dropout_rate must be at least 0 and below 1, got 1\.5"):
        ModelSpec("unet-dropout", "", 3, 2, dropout_rate=1.5)


def test_names_and_options_load_no_torch() -> None:
    code = (
        "import sys, seg4eo_xr.models.hints, seg4eo_xr.training.config, seg4eo_xr.training.metrics;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
