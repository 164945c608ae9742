"""Folding changes no function, takes what it may, and leaves the rest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seg4eo_xr.inference.folding import fold_batch_norms
from seg4eo_xr.models.zoo import ModelSpec, build_model


def used(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Statistics and weights as training leaves them."""
    generator = torch.Generator().manual_seed(norm.num_features)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) + 0.5)
    return norm


def norms(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


def trained(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            used(layer)
    return module.eval()


def example(bands: int = 2) -> torch.Tensor:
    return torch.rand((1, bands, 64, 64), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("model", "encoder"),
    [
        ("unet", "resnet18"),
        ("fpn", "mobilenet_v2"),
        ("deeplabv3+", "resnet18"),
        ("segformer", "mit_b0"),
        ("unet", "efficientnet-b0"),
    ],
)
def test_networks_of_the_zoo_answer_the_same_with_fewer_layers(model, encoder):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = trained(build_model(ModelSpec(model, encoder, 2, 3)))
    before = norms(module)
    image = torch.rand((2, 2, 96, 64), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = module(image)
        answer = fold_batch_norms(module, example())(image)
    limit = 1e-3 * float(expected.abs().max())
    torch.testing.assert_close(answer, expected, atol=limit, rtol=0)
    assert norms(module) < before
    assert (norms(module) == 0) or encoder != "resnet18"


class Odd(nn.Module):
    """A convolution whose output is used twice, and one that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.again, self.again_norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raw = self.first(image)
        image = self.first_norm(raw) + raw
        return self.again_norm(self.again(self.again(image)))


class Dropping(nn.BatchNorm2d):
    """A norm that does more than its name says."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image).relu()


@pytest.mark.parametrize(
    "module",
    [
        Odd(),
        nn.Sequential(nn.Conv2d(2, 3, 1), Dropping(3)),
        nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
        nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1)),
        nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
    ],
)
def test_what_cannot_be_folded_stays_as_it_is(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats:
            used(layer)
    module.eval()
    before = norms(module)
    with torch.inference_mode():
        expected = module(example())
        assert torch.equal(fold_batch_norms(module, example())(example()), expected)
    assert norms(module) == before


def test_the_watching_leaves_no_hook():
    module = trained(nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)))
    fold_batch_norms(module, example())
    assert not any(layer._forward_hooks for layer in module.modules())
