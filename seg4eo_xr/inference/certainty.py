"""How sure a network is of a pixel: the leading class, its margin, and the entropy of all.

Everything is integer arithmetic on blended probabilities × `FIXED_POINT`. Logarithms of real
numbers differ in the last bit with the place of a pixel in an array, and a map must not.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from seg4eo_xr.geometry.blending import FIXED_POINT

# A table of the entropy in 2¹⁶ steps; between them it runs straight, to within 6 · 10⁻⁶.
_STEP_BITS = 8
_STEPS = FIXED_POINT >> _STEP_BITS


def leading_class(sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest sum of each pixel, and the first class that has it.

    Parameters
    ----------
    sums
        Non-negative int32, ``(class, y, x)``, of at most 256 classes.

    Returns
    -------
    Tensor of int64, Tensor of int64
        ``(y, x)``.

    Examples
    --------
    >>> leading_class(torch.tensor([[[3]], [[5]], [[5]]], dtype=torch.int32))
    (tensor([[5]]), tensor([[1]]))
    """
    # The maximum of numbers that hold both takes a third of the time of comparing and choosing.
    best = sums[0].to(torch.int64).mul_(256).add_(255)
    for index in range(1, len(sums)):
        best = torch.maximum(best, sums[index].to(torch.int64).mul_(256).add_(255 - index))
    return best >> 8, 255 - (best & 255)


def margin(sums: torch.Tensor) -> torch.Tensor:
    """Distance between the largest and the second largest sum of each pixel.

    Parameters
    ----------
    sums
        int32, ``(class, y, x)``, of two classes at least.

    Returns
    -------
    Tensor of int32, ``(y, x)``
    """
    best, second = torch.maximum(sums[0], sums[1]), torch.minimum(sums[0], sums[1])
    for further in sums[2:]:
        second = torch.maximum(second, torch.minimum(best, further))
        best = torch.maximum(best, further)
    return best - second


def entropy(sums: torch.Tensor) -> torch.Tensor:
    """Entropy of the classes of each pixel, as a share of the largest possible.

    Parameters
    ----------
    sums
        int32, ``(class, y, x)``, of two classes at least.

    Returns
    -------
    Tensor of int32, ``(y, x)``
        × `FIXED_POINT`: 0 where one class is certain, `FIXED_POINT` where all are alike; off by
        less than 6 · 10⁻⁶ a class.
    """
    table = torch.from_numpy(_entropy_table(len(sums))).to(sums.device)
    total = torch.zeros(sums.shape[1:], dtype=torch.int32, device=sums.device)
    for one in sums:
        one = one.clamp(0, FIXED_POINT)
        place = (one >> _STEP_BITS).long()
        begin = table[place]
        rise = (table[place + 1] - begin) * (one & ((1 << _STEP_BITS) - 1))
        total += begin + (rise >> _STEP_BITS)
    return total


@lru_cache
def _entropy_table(classes: int) -> np.ndarray:
    shares = np.arange(1, _STEPS) / _STEPS
    inner = -shares * np.log(shares) / np.log(classes)
    # one more at the end, which certain pixels look up and multiply by 0
    table = np.concatenate([[0.0], inner, [0.0, 0.0]]) * FIXED_POINT
    return np.asarray(np.rint(table), np.int32)
