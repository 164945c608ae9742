from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.contract import Normalization
from seg4eo_xr.testing import plain_contract
from seg4eo_xr.training.augmentation import (
    PROBABILITY,
    Changes,
    apply_symmetry,
    augment,
    augmentation_generator,
    draw_changes,
)

CONTRACT = plain_contract(["red", "nir"], ClassTable.from_codes([0, 1]))


def numbered(n: int = 16, rows: int = 4, columns: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose pixels say where they were; the label says it too."""
    place = torch.arange(1, 1 + rows * columns).reshape(rows, columns)
    image = torch.stack([place / 100, place / 50]).expand(n, 2, rows, columns).float()
    return image, place.expand(n, rows, columns).to(torch.uint8)


def drawn(samples: int, *place: int) -> Changes:
    return draw_changes(samples, 2, augmentation_generator(*(place or (0, 0, 0))))


def moved_only(changes: Changes) -> Changes:
    none = torch.zeros_like(changes.shift)
    return replace(changes, gain=torch.ones_like(changes.gain), shift=none, noise=none)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), epoch=st.integers(0, 99), step=st.integers(0, 999))
def test_image_and_label_move_together(seed: int, epoch: int, step: int) -> None:
    image, label = numbered()
    changes = moved_only(drawn(16, seed, epoch, step))
    images, labels = augment(image, label, changes, CONTRACT)
    torch.testing.assert_close(images[:, 0] * 100, labels.float())
    torch.testing.assert_close(images[:, 1] * 50, labels.float())


@settings(max_examples=25)
@given(seed=st.integers(0, 999), kind=st.sampled_from(["percentile", "standard", "none"]))
def test_nodata_and_ignored_pixels_stay_so_and_no_label_is_new(seed: int, kind: str) -> None:
    image, label = numbered(8)
    image, label = image + 0.4, label.clone()
    image[:, :, 1, 2] = 0
    label[:, 1, 2] = 255
    contract = replace(CONTRACT, normalization=Normalization(kind, (0.0, 0.0), (1.0, 1.0)))
    images, labels = augment(image, label, drawn(8, seed, 0, 0), contract)
    assert torch.equal((images == 0).all(1), labels == 255)
    assert torch.equal(labels.flatten(1).sort(1).values, label.flatten(1).sort(1).values)


def test_there_are_eight_symmetries_and_all_of_them_occur() -> None:
    image, label = numbered(300)
    _, labels = augment(image, label, drawn(300), CONTRACT)
    found = {tuple(one.flatten().tolist()) for one in labels}
    assert found == {tuple(apply_symmetry(label[0], k).flatten().tolist()) for k in range(8)}
    assert len(found) == 8


def test_four_samples_in_five_are_changed_and_each_way_occurs() -> None:
    changes = drawn(4000)
    ways = torch.stack(
        [
            changes.symmetry != 0,
            (changes.gain != 1).any(1),
            changes.shift != 0,
            changes.noise != 0,
        ]
    )
    # one in 64 of the changed samples is changed in no way
    assert ways.any(0).float().mean() == pytest.approx(PROBABILITY * 63 / 64, abs=0.02)
    assert ways[0].float().mean() == pytest.approx(PROBABILITY * 7 / 8, abs=0.03)
    for way in ways[1:]:
        assert way.float().mean() == pytest.approx(PROBABILITY / 2, abs=0.03)


def test_bands_are_scaled_each_and_shifted_together() -> None:
    image, label = numbered(64)
    changes = drawn(64)
    changes = replace(changes, symmetry=torch.zeros_like(changes.symmetry), noise=changes.noise * 0)
    images, _ = augment(image, label, changes, CONTRACT)
    expected = image * changes.gain[:, :, None, None] + changes.shift[:, None, None, None]
    torch.testing.assert_close(images, expected.clamp(0, 1))
    assert (changes.gain[:, 0] != changes.gain[:, 1]).any()


def test_noise_has_the_deviation_that_was_drawn_and_is_no_bands_own() -> None:
    image = torch.full((2, 2, 64, 64), 0.5)
    changes = replace(moved_only(drawn(2)), noise=torch.tensor([0.02, 0.0]))
    images, _ = augment(image, torch.zeros(2, 64, 64), changes, CONTRACT)
    assert images[0].std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(images[1], image[1])
    assert not torch.equal(images[0, 0], images[0, 1])


@pytest.mark.parametrize(("kind", "most"), [("percentile", 1.0), ("standard", 1.2)])
def test_clipped_images_stay_within_0_and_1(kind: str, most: float) -> None:
    contract = replace(CONTRACT, normalization=Normalization(kind, (0.0, 0.0), (1.0, 1.0)))
    images, _ = augment(torch.ones(64, 2, 4, 4), torch.zeros(64, 4, 4), drawn(64), contract)
    assert images.min() >= 0
    assert images.max() <= most
    assert (images.max() > 1) == (most > 1)


def test_numbers_that_are_not_normalised_change_in_proportion_to_their_band() -> None:
    plain = Normalization("none", (0.0, 0.0), (1.0, 1.0))
    contract = replace(CONTRACT, normalization=plain, maximum=(1.0, 10000.0))
    image, label = torch.ones(64, 2, 4, 4), torch.zeros(64, 4, 4)
    image[:, 1] = 10000
    images, _ = augment(image, label, replace(drawn(64), gain=torch.ones(64, 2)), contract)
    shifts = (images - image).mean((2, 3)) / torch.tensor([1.0, 10000.0])
    torch.testing.assert_close(shifts[:, 0], shifts[:, 1], atol=0.03, rtol=0)
    assert shifts.abs().max() > 0.05


def test_what_is_drawn_is_a_function_of_seed_epoch_and_step() -> None:
    image, label = numbered(64)
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    first = [augment(image, label, drawn(64, *place), CONTRACT)[0] for place in places]
    again = [augment(image, label, drawn(64, *place), CONTRACT)[0] for place in places]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(first[0], other) for other in first[1:])


def test_the_parts_of_a_batch_are_changed_as_the_whole_is() -> None:
    image, label = numbered(16)
    whole = augment(image, label, drawn(16), CONTRACT)
    for rows in (slice(0, 8), slice(8, 16), slice(1, None, 2)):
        part = augment(image[rows], label[rows], drawn(16).part(rows), CONTRACT)
        assert all(torch.equal(a, b[rows]) for a, b in zip(part, whole, strict=True))


def test_torchs_own_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    augment(*numbered(), drawn(16, 1, 2, 3), CONTRACT)
    assert torch.equal(torch.get_rng_state(), state)


def test_patches_that_are_not_square_keep_their_shape() -> None:
    image, label = numbered(32, 2, 6)
    images, labels = augment(image, label, moved_only(drawn(32)), CONTRACT)
    assert images.shape == image.shape
    torch.testing.assert_close(images[:, 0] * 100, labels.float())


def test_inputs_stay_and_memory_formats_are_kept() -> None:
    image, label = numbered()
    image = image.contiguous(memory_format=torch.channels_last)
    before = image.clone()
    images, labels = augment(image, label, drawn(16), CONTRACT)
    assert torch.equal(image, before)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.uint8


@pytest.mark.gpu
def test_a_gpu_moves_samples_as_a_cpu_does() -> None:
    image, label = numbered(64)
    changes = replace(drawn(64), noise=torch.zeros(64))
    here = augment(image, label, changes, CONTRACT)
    there = augment(image.cuda(), label.cuda(), changes, CONTRACT)
    assert torch.equal(here[1], there[1].cpu())
    torch.testing.assert_close(here[0], there[0].cpu())


@pytest.mark.parametrize("symmetry", range(8))
def test_a_symmetry_can_be_undone(symmetry: int) -> None:
    values = numbered()[0][0]
    turned = apply_symmetry(values, symmetry)
    assert any(torch.equal(apply_symmetry(turned, back), values) for back in range(8))
