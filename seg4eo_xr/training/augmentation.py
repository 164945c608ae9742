"""Random flips and quarter turns of image and label together, on the device."""

from __future__ import annotations

import numpy as np
import torch

_TRANSPOSE, _FLIP_ROWS, _FLIP_COLUMNS = 1, 2, 4


def augmentation_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """Make the source of random numbers of one step: a function of its place in the training.

    Parameters
    ----------
    seed, epoch, step
        Each at least 0.
    """
    state = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def augment(
    image: torch.Tensor, label: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give each sample one of the eight symmetries of a square, its label the same.

    Parameters
    ----------
    image
        ``(N, band, y, x)``.
    label
        ``(N, y, x)``.
    generator
        Source of the choice, on the CPU, so that every device sees the same.

    Returns
    -------
    image, label
        New tensors of the same shapes and memory formats; patches that are not square are flipped
        but not turned.
    """
    symmetries = torch.randint(0, 8, (len(image),), generator=generator).tolist()
    images, labels = torch.empty_like(image), torch.empty_like(label)
    for i, symmetry in enumerate(symmetries):
        images[i] = apply_symmetry(image[i], symmetry)
        labels[i] = apply_symmetry(label[i], symmetry)
    return images, labels


def apply_symmetry(values: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Apply one of the eight symmetries of a square to the last two axes.

    Parameters
    ----------
    values
        ``(..., y, x)``.
    symmetry
        Number from 0 (none) to 7: the sum of 1 for swapping the axes, 2 for flipping the rows and 4
        for flipping the columns. Swapping is left out where the axes differ in length.
    """
    if symmetry & _TRANSPOSE and values.shape[-1] == values.shape[-2]:
        values = values.transpose(-1, -2)
    axes = [axis for bit, axis in ((_FLIP_ROWS, -2), (_FLIP_COLUMNS, -1)) if symmetry & bit]
    return values.flip(axes) if axes else values
