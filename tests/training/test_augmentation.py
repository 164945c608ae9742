from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.training.augmentation import apply_symmetry, augment, augmentation_generator


def numbered(n: int = 16, rows: int = 4, columns: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose pixels say where they were; the label says it too."""
    place = torch.arange(rows * columns).reshape(rows, columns)
    image = torch.stack([place, place + 100]).expand(n, 2, rows, columns).float()
    return image, place.expand(n, rows, columns).to(torch.uint8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), epoch=st.integers(0, 99), step=st.integers(0, 999))
def test_image_and_label_move_together(seed: int, epoch: int, step: int) -> None:
    image, label = numbered()
    images, labels = augment(image, label, augmentation_generator(seed, epoch, step))
    assert torch.equal(images[:, 0], labels.float())
    assert torch.equal(images[:, 1], labels.float() + 100)


def test_there_are_eight_symmetries_and_all_of_them_occur() -> None:
    image, label = numbered(200)
    images, _ = augment(image, label, augmentation_generator(0, 0, 0))
    found = {tuple(one.flatten().tolist()) for one in images}
    assert found == {tuple(apply_symmetry(image[0], k).flatten().tolist()) for k in range(8)}
    assert len(found) == 8


def test_the_choice_is_a_function_of_seed_epoch_and_step() -> None:
    image, label = numbered(64)
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    first = [augment(image, label, augmentation_generator(*place))[0] for place in places]
    again = [augment(image, label, augmentation_generator(*place))[0] for place in places]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(first[0], other) for other in first[1:])


def test_torchs_own_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    augment(*numbered(), augmentation_generator(1, 2, 3))
    assert torch.equal(torch.get_rng_state(), state)


def test_patches_that_are_not_square_keep_their_shape() -> None:
    image, label = numbered(32, 2, 6)
    images, labels = augment(image, label, augmentation_generator(0, 0, 0))
    assert images.shape == image.shape
    assert torch.equal(images[:, 0], labels.float())


def test_inputs_stay_and_memory_formats_are_kept() -> None:
    image, label = numbered()
    image = image.contiguous(memory_format=torch.channels_last)
    before = image.clone()
    images, labels = augment(image, label, augmentation_generator(0, 0, 0))
    assert torch.equal(image, before)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.uint8


@pytest.mark.parametrize("symmetry", range(8))
def test_a_symmetry_can_be_undone(symmetry: int) -> None:
    values = numbered()[0][0]
    turned = apply_symmetry(values, symmetry)
    assert any(torch.equal(apply_symmetry(turned, back), values) for back in range(8))
