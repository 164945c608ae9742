"""Weights of the classes in the loss, from how often they occur; NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from seg4eo_xr.training.config import ClassWeightRule, TrainConfig


def class_weights(pixels: ArrayLike, rule: ClassWeightRule) -> NDArray[np.float64]:
    """Turn the classes' numbers of pixels into weights.

    Parameters
    ----------
    pixels
        Labelled training pixels a class, ``(class,)``.
    rule
        ``inverse_frequency``: a class weighs by one over its pixels. ``effective_number``: by one
        over the effective number of its samples, (1 - βⁿ) / (1 - β) for n pixels
        (https://doi.org/10.1109/CVPR.2019.00949), where β leaves the mean number of pixels a class
        as the most that a class can count: rare classes weigh by inverse frequency, the common
        ones nearly alike.

    Returns
    -------
    ndarray of float64, ``(class,)``
        Weights, on average 1 over the classes that occur; 0 for those that do not.

    Raises
    ------
    ValueError
        If no class has a pixel.

    Examples
    --------
    >>> class_weights([300, 100, 0], "inverse_frequency")
    array([0.5, 1.5, 0. ])
    """
    counts = np.asarray(pixels, np.float64)
    occurs = counts > 0
    if not occurs.any():
        raise ValueError("no class has a labelled pixel, so there is nothing to weigh")
    if rule == "effective_number":
        most = counts[occurs].mean()
        # (1 - β^n) / (1 - β) with β = 1 - 1/most; the logarithm keeps the digits of a β close to 1
        effective = -np.expm1(counts * np.log1p(-1 / max(most, 2.0))) * most
    else:
        effective = counts
    weights = np.where(occurs, 1 / np.where(occurs, effective, 1.0), 0.0)
    result: NDArray[np.float64] = weights / weights[occurs].mean()
    return result


def resolve_weights(pixels: ArrayLike, config: TrainConfig) -> tuple[float, ...] | None:
    """Weights that the options ask for: those given, those by a rule, or none.

    Raises
    ------
    ValueError
        If there is not one given weight a class.
    """
    given, classes = config.class_weights, len(np.asarray(pixels))
    if given:
        if len(given) != classes:
            raise ValueError(
                f"class_weights has {len(given)} numbers, the store has {classes} classes: give "
                "one a class, in the order of their codes"
            )
        return given
    if not config.use_class_weights:
        return None
    return tuple(class_weights(pixels, config.class_weight_rule).tolist())
