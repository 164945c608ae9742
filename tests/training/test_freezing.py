from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import torch
from toy_network import TinyNetwork
from toy_training import tiny_network

from seg4eo_xr.models.padding import Padded
from seg4eo_xr.training.checks import require_patches
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.fit import train
from seg4eo_xr.training.freezing import encoder_of, parameter_groups
from seg4eo_xr.training.task import SegmentationTask

if TYPE_CHECKING:
    from pathlib import Path

    from seg4eo_xr.patches.store import PatchStore

CONFIG = TrainConfig(pretrained=False, epochs=3, device="cpu", freeze_encoder=True, freeze_epochs=2)
pytestmark = pytest.mark.filterwarnings("ignore:the encoder starts from random weights")


def test_a_frozen_encoder_stays_bit_for_bit_and_is_trained_afterwards(
    patches: PatchStore, tmp_path: Path
) -> None:
    states: list[dict[str, torch.Tensor]] = []
    heads: list[torch.Tensor] = []
    validate = SegmentationTask.on_validation_epoch_end

    def spy(self: SegmentationTask) -> None:
        encoder = encoder_of(self.network)
        states.append({name: value.clone() for name, value in encoder.state_dict().items()})
        heads.append(self.network.head.weight.clone())
        validate(self)

    with tiny_network(), mock.patch.object(SegmentationTask, "on_validation_epoch_end", spy):
        train(patches, tmp_path, CONFIG, progress=False)
    first, second, third = states
    assert "1.running_mean" in first
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(second[name], third[name]) for name in second)
    assert not torch.equal(heads[0], heads[1])


def test_an_encoder_that_was_frozen_has_a_tenth_of_the_rate() -> None:
    network = TinyNetwork()
    others, encoder = parameter_groups(network, CONFIG)
    assert encoder["lr"] == pytest.approx(others["lr"] / 10)
    assert set(map(id, encoder["params"])) == set(map(id, network.encoder.parameters()))
    together = others["params"] + encoder["params"]
    assert sorted(map(id, together)) == sorted(map(id, network.parameters()))
    (whole,) = parameter_groups(network, replace(CONFIG, freeze_encoder=False))
    assert len(whole["params"]) == len(together)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: Padded(x, 32), torch.nn.Sequential])
def test_the_encoder_is_found_within_whatever_is_around_it(wrap: Any) -> None:
    network = TinyNetwork()
    assert encoder_of(wrap(network)) is network.encoder


def test_a_network_without_an_encoder_says_so() -> None:
    with pytest.raises(ValueError, match=r"Conv2d has no encoder.*--freeze_encoder"):
        encoder_of(torch.nn.Conv2d(1, 1, 1))


@pytest.mark.parametrize(
    ("changes", "warns"),
    [
        ({}, True),
        ({"pretrained": True}, False),
        ({"encoder_weights": "file.pth"}, False),
        ({"pretrained": True, "model": "unet-dropout"}, True),
        ({"freeze_encoder": False}, False),
    ],
)
def test_random_weights_that_are_held_still_are_warned_of(
    patches: PatchStore, changes: dict[str, Any], warns: bool
) -> None:
    positions: Any = {
        "train": patches.indices("train"),
        "validation": patches.indices("validation"),
    }
    config = replace(CONFIG, batch_size=8, loss_type="dice", **changes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        require_patches(patches, positions, config)
    told = [str(one.message) for one in caught]
    assert any("random weights" in one and "--encoder_weights" in one for one in told) == warns
