"""How many points each stratum of a sample gets: plain numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from seg4eo_xr.areas.sample_options import Allocation

_DIGITS = 9  # floating point must not decide about a last point
_LEAST = 1e-12


def sample_size(weights: ArrayLike, accuracies: ArrayLike, standard_error: float) -> int:
    """Points that an overall accuracy of a given standard error takes.

    Equation 13 of Olofsson et al. 2014, which neglects the share of the pixels that is sampled.
    https://doi.org/10.1016/j.rse.2014.02.015

    Parameters
    ----------
    weights
        Share of each stratum in the area, ``(stratum,)``.
    accuracies
        Expected share of a stratum's points where the map is right, ``(stratum,)``.
    standard_error
        Of the overall accuracy, a share.

    Examples
    --------
    >>> sample_size([0.02, 0.015, 0.32, 0.645], [0.7, 0.6, 0.9, 0.95], 0.01)
    641
    """
    deviation = float(np.asarray(weights, np.float64) @ _deviations(accuracies))
    return max(2, math.ceil(round((deviation / standard_error) ** 2, _DIGITS)))


def allocate(
    size: int,
    weights: ArrayLike,
    pixels: ArrayLike,
    accuracies: ArrayLike,
    *,
    rule: Allocation = "proportional",
    minimum: int = 2,
) -> NDArray[np.int64]:
    """Share out the points of a sample among strata; one point more takes none from any.

    Points follow the rule as far as every stratum has the minimum and none more than its pixels:
    with ``proportional``, what Olofsson et al. 2014 recommend, who give rare classes 50 to 100
    points and share out the rest in proportion. ``optimal`` is Neyman's allocation, by weight ×
    √(accuracy (1 − accuracy)). https://doi.org/10.1016/j.rse.2014.02.015
    Each point goes where the share is largest for the points that are there, plus a half: Webster's
    method of divisors.

    Parameters
    ----------
    size
        Points in all.
    weights
        Share of each stratum in the area, ``(stratum,)``.
    pixels
        Pixels of each stratum, at least 1, ``(stratum,)``.
    accuracies
        Expected share of a stratum's points where the map is right, ``(stratum,)``.
    rule
        What the points are in proportion to.
    minimum
        Fewest points of a stratum.

    Returns
    -------
    ndarray of int64, ``(stratum,)``
        They sum to `size`.

    Raises
    ------
    ValueError
        If the strata have fewer pixels than `size`, or the minimum takes more points.

    Examples
    --------
    >>> weights, right = [0.02, 0.015, 0.32, 0.645], [0.7, 0.6, 0.9, 0.95]
    >>> allocate(641, weights, [10**6] * 4, right).tolist()
    [13, 10, 205, 413]
    >>> allocate(641, weights, [10**6] * 4, right, minimum=100).tolist()
    [100, 100, 146, 295]
    """
    limits = np.asarray(pixels, np.int64)
    floors = np.minimum(minimum, limits)
    if size > limits.sum():
        raise ValueError(f"size is {size}, but the strata have {limits.sum()} pixels; ask for less")
    if size < floors.sum():
        raise ValueError(
            f"size is {size}, but {minimum} points (minimum) in each of {len(limits)} strata make "
            f"{floors.sum()}; raise size to that, or lower minimum"
        )
    shares = _shares(np.asarray(weights, np.float64), accuracies, rule)
    # a share of nothing still takes what no other stratum has pixels for
    shares = np.maximum(shares / shares.sum(), _LEAST)
    counts = floors.copy()
    for _ in range(size - int(floors.sum())):
        claims = np.where(counts < limits, shares / (counts + 0.5), 0.0)
        counts[np.argmax(claims)] += 1
    return counts


def _deviations(accuracies: ArrayLike) -> NDArray[np.float64]:
    right = np.asarray(accuracies, np.float64)
    return np.sqrt(right * (1 - right))


def _shares(
    weights: NDArray[np.float64], accuracies: ArrayLike, rule: Allocation
) -> NDArray[np.float64]:
    if rule == "equal":
        return np.ones(len(weights))
    if rule == "optimal":
        shares = weights * _deviations(accuracies)
        # where no error is expected anywhere, nothing speaks for one stratum more than for another
        return shares if shares.any() else weights
    return weights
