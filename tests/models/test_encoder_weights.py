from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
import safetensors.torch
import torch
from segmentation_models_pytorch.encoders._utils import patch_first_conv

from seg4eo_xr.models.zoo import ModelSpec, build_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def source() -> torch.nn.Module:
    """A network of three bands, whose encoder is what is asked for below."""
    torch.manual_seed(1)
    return build_model(ModelSpec("unet", "resnet18", 3, 2))


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {**state, "fc.weight": torch.ones(9, 512), "fc.bias": torch.ones(9)},
    ],
    ids=["alone", "under a name", "data parallel", "with a classifier's head"],
)
def test_an_encoder_takes_a_local_file(source, wrap, tmp_path: Path) -> None:
    path = saved(wrap(source.encoder.state_dict()), tmp_path / "encoder.pth")
    network = build_model(ModelSpec("fpn", "resnet18", 3, 4), encoder_weights=str(path))
    assert same(network.encoder, source.encoder)


def test_the_encoder_of_a_whole_network_is_taken(source, tmp_path: Path) -> None:
    path = saved({"model_state_dict": source.state_dict()}, tmp_path / "network.pth")
    network = build_model(ModelSpec("fpn", "resnet18", 3, 4), encoder_weights=path)
    assert same(network.encoder, source.encoder)


def test_safetensors_are_read(source, tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    safetensors.torch.save_file(source.encoder.state_dict(), path)
    network = build_model(ModelSpec("unet", "resnet18", 3, 4), encoder_weights=path)
    assert same(network.encoder, source.encoder)


@pytest.mark.parametrize("bands", [1, 2, 4, 10])
def test_three_bands_become_more_as_in_the_library(source, bands: int, tmp_path: Path) -> None:
    path = saved(source.encoder.state_dict(), tmp_path / "encoder.pth")
    network = build_model(ModelSpec("unet", "resnet18", bands, 4), encoder_weights=path)
    stem = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 7, bias=False))
    stem[0].weight = torch.nn.Parameter(source.encoder.conv1.weight.clone())
    patch_first_conv(stem, bands)
    torch.testing.assert_close(network.encoder.conv1.weight, stem[0].weight)


def test_torchvisions_network_takes_a_resnet50(tmp_path: Path) -> None:
    donor = build_model(ModelSpec("fpn", "resnet50", 3, 2)).encoder
    path = saved(donor.state_dict(), tmp_path / "resnet50.pth")
    spec = ModelSpec("deeplabv3_resnet50", "", 5, 2)
    found = build_model(spec, encoder_weights=path).encoder
    assert torch.equal(found.layer4[2].conv3.weight, donor.layer4[2].conv3.weight)


@pytest.mark.parametrize(("model", "encoder"), [("unet-dropout", ""), ("unet", "tu-resnet18")])
def test_other_encoders_take_their_own(model: str, encoder: str, tmp_path: Path) -> None:
    donor = build_model(ModelSpec(model, encoder, 3, 2)).encoder
    path = saved(donor.state_dict(), tmp_path / "encoder.pth")
    found = build_model(ModelSpec(model, encoder, 3, 5), encoder_weights=path).encoder
    assert same(found, donor)


def test_weights_of_another_encoder_are_listed(source, tmp_path: Path) -> None:
    path = saved(source.encoder.state_dict(), tmp_path / "encoder.pth")
    said = r"encoder\.pth does not fit.*layer1\.2\.conv1\.weight is missing.*more.*--no_pretrained"
    with pytest.raises(ValueError, match=said):
        build_model(ModelSpec("unet", "resnet34", 3, 2), encoder_weights=path)


def test_weights_of_another_number_of_bands_are_named(tmp_path: Path) -> None:
    donor = build_model(ModelSpec("unet", "resnet18", 4, 2)).encoder
    path = saved(donor.state_dict(), tmp_path / "encoder.pth")
    said = r"conv1\.weight has the shape \(64, 4, 7, 7\), not \(64, 10, 7, 7\)"
    with pytest.raises(ValueError, match=said):
        build_model(ModelSpec("unet", "resnet18", 10, 2), encoder_weights=path)


@pytest.mark.parametrize("name", ["encoder.pth", "encoder.safetensors"])
def test_files_that_hold_no_weights_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match=f"no file of encoder weights .*{name}"):
        build_model(ModelSpec("unet", "resnet18", 3, 2), encoder_weights=path)
    path.write_bytes(b"a text\n")
    with pytest.raises(ValueError, match=rf"{name}.*--no_pretrained"):
        build_model(ModelSpec("unet", "resnet18", 3, 2), encoder_weights=path)


def test_a_file_of_other_things_is_refused(tmp_path: Path) -> None:
    path = saved({"epoch": 3}, tmp_path / "encoder.pth")
    with pytest.raises(ValueError, match=r"holds no encoder weights.*epoch.*--no_pretrained"):
        build_model(ModelSpec("unet", "resnet18", 3, 2), encoder_weights=path)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_without_a_network_published_weights_are_tried_once_and_in_silence(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tries: list[str] = []

    class Session:
        def head(self, url: str, **_: Any) -> None:
            tries.append(url)
            raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.utils, "get_session", Session)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    begun = time.monotonic()
    with pytest.raises(OSError, match=r"cannot be reached.*--encoder_weights.*--no_pretrained"):
        build_model(ModelSpec("unet", encoder, 3, 2), encoder_weights="imagenet")
    assert time.monotonic() - begun < 5
    assert len(tries) == 1
    assert not huggingface_hub.constants.HF_HUB_OFFLINE
    assert capfd.readouterr().err == ""
