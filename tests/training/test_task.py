from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.contract import normalize
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.task import SegmentationTask

if TYPE_CHECKING:
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.contract import Contract

BANDS = 10


class Linear(torch.nn.Module):
    """A network of one pixel, so that what a test expects can be worked out."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(BANDS, outputs, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(image)
        return result


def make_task(contract: Contract, **options: Any) -> SegmentationTask:
    config = TrainConfig(**options)
    outputs = 1 if config.resolve_mode(len(contract.classes)) == "binary" else len(contract.classes)
    return SegmentationTask(Linear(outputs), contract, config, steps_per_epoch=4)


def make_batch(classes: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(seed)
    image = generator.integers(1, 5000, (3, BANDS, 8, 8)).astype(np.uint16)
    label = generator.integers(0, classes, (3, 8, 8)).astype(np.uint8)
    label[generator.random(label.shape) < 0.1] = 255
    image[:, :, :3] = 0
    label[:, :3] = 255
    return {"image": torch.from_numpy(image), "label": torch.from_numpy(label)}


def validate(task: SegmentationTask, *batches: dict[str, torch.Tensor]) -> tuple[float, np.ndarray]:
    """Loss and confusion matrix of some batches."""
    task.on_validation_epoch_start()
    for batch in batches:
        task.validation_step(batch, 0)
    return float(task._val_loss.compute()), task._confusion.compute().numpy()


@pytest.fixture(params=[2, 6])
def contract(request: pytest.FixtureRequest, patches: PatchStore) -> Contract:
    return replace(patches.contract, classes=ClassTable.from_codes(range(request.param)))


def test_ignored_pixels_count_neither_in_the_loss_nor_in_the_scores(contract: Contract) -> None:
    task = make_task(contract)
    batch = make_batch(len(contract.classes))
    labelled = (batch["label"] != 255)[:, None]
    other = torch.where(labelled, batch["image"].int(), 77).to(torch.uint16)
    loss, matrix = validate(task, batch)
    again, same = validate(task, {"image": other, "label": batch["label"]})
    assert again == loss
    np.testing.assert_array_equal(same, matrix)
    assert matrix.sum() == labelled.sum()


def test_the_scores_are_those_of_the_normalised_images(contract: Contract) -> None:
    task = make_task(contract)
    batch = make_batch(len(contract.classes))
    _, matrix = validate(task, batch)
    image = torch.from_numpy(normalize(batch["image"].numpy(), contract))
    logits = task.network(image)
    found = (logits[:, 0] > 0) if task.mode == "binary" else logits.argmax(1)
    expected = np.zeros_like(matrix)
    for truth, answer in zip(batch["label"].flatten(), found.flatten(), strict=True):
        if truth != 255:
            expected[truth, int(answer)] += 1
    np.testing.assert_array_equal(matrix, expected)


def test_an_epochs_loss_is_weighted_by_labelled_pixels(contract: Contract) -> None:
    task = make_task(contract)
    full, half, empty = (make_batch(len(contract.classes), seed) for seed in range(3))
    half["label"][:, :, :4] = 255
    empty["label"][:] = 255
    weights = [(batch["label"] != 255).sum().item() for batch in (full, half)]
    alone = [validate(task, batch)[0] for batch in (full, half)]
    together, _ = validate(task, full, empty, half, empty)
    assert together == pytest.approx(np.average(alone, weights=weights), rel=1e-5)


def test_a_loss_that_is_no_number_is_not_hidden(contract: Contract) -> None:
    task = make_task(contract)
    torch.nn.init.constant_(task.network.layer.bias, float("nan"))
    assert np.isnan(validate(task, make_batch(len(contract.classes)))[0])


def test_images_reach_the_network_in_channels_last_memory(contract: Contract) -> None:
    task = make_task(contract)
    image = task._input(make_batch(2))
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert image.dtype == torch.float32


def test_augmentation_follows_from_the_place_in_the_training_alone(contract: Contract) -> None:
    batch = make_batch(len(contract.classes))
    steps = (0, 0, 1)
    changed = [make_task(contract).training_step(batch, step).item() for step in steps]
    same = make_task(contract, data_augmentation=False)
    plain = [same.training_step(batch, step).item() for step in steps]
    assert changed[0] == changed[1] != changed[2]
    assert plain[0] == plain[1] == plain[2] != changed[0]
