"""Whether all that look at a pixel say the same: the windows that overlap there, and their views.

The measure is the variance of the class probabilities p over those that look, with the weights w
of their blending, summed over the classes: ``Σ w |p|² - |Σ w p|²``. Its first term adds up window
by window as probabilities do, so the sums of one more channel are all that it takes.
"""

from __future__ import annotations

import torch

from seg4eo_xr.geometry.blending import FIXED_POINT


def power(probabilities: torch.Tensor, *, binary: bool) -> torch.Tensor:
    """Sum of the squared probabilities of all classes.

    Parameters
    ----------
    probabilities
        float32, ``(batch, channel, y, x)``.
    binary
        Whether a single channel is the probability of the second of two classes.

    Returns
    -------
    Tensor of float32, ``(batch, 1, y, x)``
        From one over the number of classes, where all are alike, to 1, where one is certain.

    Examples
    --------
    >>> power(torch.tensor([[[[0.5]], [[0.5]]]]), binary=False).item()
    0.5
    >>> power(torch.tensor([[[[1.0]]]]), binary=True).item()
    1.0
    """
    first = probabilities[:, :1]
    total = first * first
    # Class by class, so that the order of the sum, and with it the bits, is always the same.
    channels = probabilities.shape[1]
    others = [1 - first] if binary else [probabilities[:, k : k + 1] for k in range(1, channels)]
    for other in others:
        total += other * other
    return total


def variance(powers: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
    """Variance of the probabilities of those that look at a pixel.

    Parameters
    ----------
    powers
        Blended `power` × `FIXED_POINT`, int32 ``(y, x)``.
    sums
        Blended probabilities of all classes × `FIXED_POINT`, int32 ``(class, y, x)``.

    Returns
    -------
    Tensor of int64, ``(y, x)``
        × `FIXED_POINT`: 0 where all say the same, half where two of equal weight are each certain
        of another class. What is below 10⁻⁶ is rounding.

    Examples
    --------
    >>> half = torch.full((2, 1, 1), FIXED_POINT // 2, dtype=torch.int32)
    >>> variance(torch.full((1, 1), FIXED_POINT, dtype=torch.int32), half) / FIXED_POINT
    tensor([[0.5000]])
    """
    total = powers.to(torch.int64) * FIXED_POINT
    for one in sums:
        share = one.to(torch.int64)
        total -= share * share
    return total.clamp_(min=0) // FIXED_POINT
