"""Random changes of training samples on the device: where things lie, and how bright they are.

What is drawn is a function of seed, epoch and step alone. It comes from a generator of its own, on
the CPU, so that neither torch's global one nor the kind of device has a part in it (the noise
itself is drawn where the image is).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from seg4eo_xr.scenes.contract import Contract

PROBABILITY = 0.8
"""Probability that a sample is changed at all."""
_EACH = 0.5  # that a changed sample is changed in a certain way of its brightness
_BRIGHTNESS, _SCALING, _NOISE = 0.1, 0.1, 0.02  # at most, in units of the normalised image
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


@dataclass(frozen=True, eq=False)
class Changes:
    """What becomes of each sample of a batch.

    Parameters
    ----------
    symmetry
        One of the eight symmetries of a square, as in `apply_symmetry`, ``(N,)`` int64.
    gain
        Factor of each band, ``(N, band)`` float32.
    shift
        What is added to all bands, ``(N,)`` float32.
    noise
        Standard deviation of the noise, ``(N,)`` float32; 0 where there is none.
    noise_seed
        Seed of the noise, ``(N,)`` int64.
    """

    symmetry: torch.Tensor
    gain: torch.Tensor
    shift: torch.Tensor
    noise: torch.Tensor
    noise_seed: torch.Tensor

    def part(self, rows: slice) -> Changes:
        """Changes of some of the samples, such as those of one process among several."""
        return Changes(*(values[rows] for values in vars(self).values()))


def draw_changes(samples: int, bands: int, generator: torch.Generator) -> Changes:
    """Draw what becomes of each sample of a batch.

    Four samples in five are changed: turned and flipped by any of the eight symmetries of a square,
    and each with a probability of one half made brighter or darker, scaled band by band, and given
    noise.

    Parameters
    ----------
    samples
        Samples of the batch, those of all processes counted.
    bands
        Bands of a sample.
    generator
        Source of the choice, on the CPU.
    """

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    def chosen(probability: float) -> torch.Tensor:
        return uniform(samples) < probability

    changed = chosen(PROBABILITY)
    symmetry = torch.randint(0, 8, (samples,), generator=generator) * changed
    brighter, scaled, noisy = (changed & chosen(_EACH) for _ in range(3))
    return Changes(
        symmetry=symmetry,
        gain=1 + _SCALING * (2 * uniform(samples, bands) - 1) * scaled[:, None],
        shift=_BRIGHTNESS * (2 * uniform(samples) - 1) * brighter,
        noise=_NOISE * uniform(samples) * noisy,
        noise_seed=torch.randint(0, 2**62, (samples,), generator=generator),
    )


def augment(
    image: torch.Tensor, label: torch.Tensor, changes: Changes, contract: Contract
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change the samples of a batch; image and label stay aligned.

    Parameters
    ----------
    image
        Normalised by `contract`, ``(N, band, y, x)`` float32. Where it is exactly 0, as it is where
        data are missing, it stays 0.
    label
        ``(N, y, x)``; its values are moved and never changed.
    changes
        One a sample.
    contract
        Says what the image's numbers mean: clipped ones stay in 0..1, and those that are not
        normalised are changed in proportion to the range of their band.

    Returns
    -------
    image, label
        New tensors of the same shapes and memory formats; patches that are not square are flipped
        but not turned.
    """
    images, labels = torch.empty_like(image), torch.empty_like(label)
    for i, symmetry in enumerate(changes.symmetry.tolist()):
        images[i] = apply_symmetry(image[i], symmetry)
        labels[i] = apply_symmetry(label[i], symmetry)
    return _relight(images, changes, contract), labels


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


def _relight(image: torch.Tensor, changes: Changes, contract: Contract) -> torch.Tensor:
    """Scale the bands, shift them together and add noise, in place."""
    empty = image == 0
    ranges = _ranges(contract)
    gain, shift = changes.gain, changes.shift[:, None] * ranges
    # One operation for all samples, whether they are changed or not.
    image *= gain.to(image.device)[:, :, None, None]
    image += shift.to(image.device)[:, :, None, None]
    noises = zip(changes.noise.tolist(), changes.noise_seed.tolist(), strict=True)
    for sample, (deviation, seed) in zip(image, noises, strict=True):
        if deviation:
            source = torch.Generator(image.device).manual_seed(seed)
            noise = torch.randn(
                sample.shape, generator=source, device=image.device, dtype=image.dtype
            )
            sample += noise * (deviation * ranges).to(image.device)[:, None, None]
    if contract.normalization.clips:
        image.clamp_(0, 1)
    return image.masked_fill_(empty, 0)


def _ranges(contract: Contract) -> torch.Tensor:
    """Size of the image's numbers a band: 1, unless they are not normalised."""
    if contract.normalization.kind != "none":
        return torch.ones(len(contract.bands))
    ranges = np.subtract(contract.maximum, contract.minimum)
    return torch.tensor(ranges, dtype=torch.float32)
