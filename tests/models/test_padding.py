from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seg4eo_xr.models.padding import Padded


class Picky(nn.Module):
    """Answers with its input, and takes only what it says it takes."""

    def __init__(self, multiple: int, smallest: int = 1) -> None:
        super().__init__()
        self.accepted = (multiple, smallest)
        self.encoder = nn.Conv2d(2, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        multiple, smallest = self.accepted
        assert all(side % multiple == 0 and side >= smallest for side in image.shape[-2:])
        return image


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 2, 14, 32]), st.integers(1, 64))
def test_the_network_meets_sizes_that_suit_it_and_the_caller_its_own(
    height: int, width: int, multiple: int, smallest: int
) -> None:
    image = torch.arange(2 * height * width, dtype=torch.float32).reshape(1, 2, height, width)
    assert torch.equal(Padded(Picky(multiple, smallest), multiple, smallest)(image), image)


def test_the_margin_mirrors_the_image() -> None:
    seen = []
    inner = Picky(4)
    inner.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    Padded(inner, 4)(torch.tensor([[[[1.0, 2.0, 3.0]]]]))
    assert seen[0].squeeze(1)[0, 0].tolist() == [1, 2, 3, 2]


def test_images_that_fit_pass_untouched() -> None:
    inner = Picky(8)
    image = torch.rand(1, 2, 16, 24)
    assert Padded(inner, 8)(image) is image


def test_weights_keep_the_names_of_the_bare_network() -> None:
    inner = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    padded = Padded(inner, 4)
    assert list(padded.state_dict()) == list(inner.state_dict())
    outer = nn.ModuleDict({"network": padded})
    assert list(outer.state_dict()) == [f"network.{name}" for name in inner.state_dict()]
    other = Padded(copy.deepcopy(inner), 4)
    nn.init.zeros_(other.network[0].weight)
    other.load_state_dict(padded.state_dict())
    assert torch.equal(other.network[0].weight, inner[0].weight)
    nn.ModuleDict({"network": other}).load_state_dict(outer.state_dict())
    inner.load_state_dict(padded.state_dict())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_keep_names_and_answers(duplicate) -> None:
    padded = Padded(nn.Sequential(nn.Conv2d(2, 3, 1)), 4)
    twin = duplicate(padded)
    assert list(twin.state_dict()) == list(padded.state_dict())
    image = torch.rand(1, 2, 5, 6)
    assert torch.equal(twin(image), padded(image))


def test_gradients_reach_the_weights() -> None:
    padded = Padded(nn.Conv2d(2, 3, 1), 4)
    padded(torch.rand(1, 2, 5, 6)).sum().backward()
    assert padded.network.weight.grad.abs().min() > 0
