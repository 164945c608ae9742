"""The one number that turns a network's logits into probabilities that hold; NumPy and SciPy only.

Temperature scaling, Guo et al. 2017, https://arxiv.org/abs/1706.04599: all logits are divided by
one temperature, which changes how sure the network is and not which class it finds.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from seg4eo_xr.calibration.reliability import STEPS, Reliability, count_confidences
from seg4eo_xr.notices import Seg4EOWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

LOWEST, HIGHEST = 0.05, 20.0
"""Bounds of a temperature."""

# Pixels whose logits are handled in double precision at a time.
_AT_ONCE = 1 << 17


class CalibrationWarning(Seg4EOWarning):
    """A temperature that the pixels do not settle."""


@dataclass(frozen=True, eq=False)
class LabelledLogits:
    """What a network said of some pixels whose class is known.

    Parameters
    ----------
    logits
        Before any temperature, ``(pixel, class)`` float32; a binary network has 0 for its first
        class, so that softmax and sigmoid are one.
    labels
        Positions of the right classes, ``(pixel,)`` of any integer type.
    total
        Labelled pixels that these stand for.
    """

    logits: np.ndarray
    labels: np.ndarray
    total: int

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield logits, float64, and labels of some pixels at a time."""
        for first in range(0, len(self.labels), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            yield self.logits[part].astype(np.float64), self.labels[part].astype(np.int64)


@dataclass(frozen=True)
class TemperatureScores:
    """How good the probabilities of one temperature are.

    Parameters
    ----------
    nll
        Negative log-likelihood of the right class, mean over the pixels, in nats.
    brier
        Squared distance of the probabilities from the right class, summed over the classes, mean
        over the pixels: 0 to 2.
    reliability
        How often each confidence is right.
    """

    nll: float
    brier: float
    reliability: Reliability

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON; the Brier score of all classes is ``brier_of_classes``."""
        return {
            "nll": self.nll,
            "brier_of_classes": self.brier,
            **self.reliability.to_dict(),
        }


def fit_temperature(pixels: LabelledLogits) -> float:
    """Find the temperature with the least negative log-likelihood.

    Parameters
    ----------
    pixels
        Logits and right classes.

    Returns
    -------
    float
        From `LOWEST` to `HIGHEST`.

    Raises
    ------
    ValueError
        If there is no pixel, or a logit is not finite.

    Warns
    -----
    CalibrationWarning
        If the least lies beyond the bounds: every pixel is right, or the network knows nothing.

    Notes
    -----
    The negative log-likelihood is convex in the inverse β of the temperature, so its slope, the
    mean of ``Σ pₖ zₖ - z_right``, has one root at most.

    Examples
    --------
    >>> logits = np.repeat(np.array([[0.0, 4.0]], np.float32), 10, axis=0)
    >>> pixels = LabelledLogits(logits, np.array([1] * 8 + [0] * 2), 10)
    >>> print(f"{fit_temperature(pixels):.4f}")  # 4 / log(0.8 / 0.2)
    2.8854
    """
    if not len(pixels.labels):
        raise ValueError("there is no labelled pixel to fit a temperature to")

    def slope(log_beta: float) -> float:
        return _slope(pixels, math.exp(log_beta))

    low, high = -math.log(HIGHEST), -math.log(LOWEST)
    if not math.isfinite(slope(0.0)):
        raise ValueError("the network answered NaN or infinity; its weights may be damaged")
    for bound, beyond, reason in (
        (low, slope(low) >= 0, "the network's probabilities tell nothing about these pixels"),
        (high, slope(high) <= 0, "nearly every pixel is right, which bounds no confidence"),
    ):
        if beyond:
            warnings.warn(
                f"the temperature stops at {math.exp(-bound):.4g}, since {reason}; calibrate with "
                "more patches, or ones that the network has not learnt by heart",
                CalibrationWarning,
                stacklevel=2,
            )
            return math.exp(-bound)
    return math.exp(-float(brentq(slope, low, high, xtol=1e-10)))


def _slope(pixels: LabelledLogits, beta: float) -> float:
    """Derivative of the mean negative log-likelihood by the inverse temperature."""
    total = 0.0
    for logits, labels in pixels.parts():
        shares = _softmax(logits * beta)
        right = np.take_along_axis(logits, labels[:, None], 1).sum()
        total += float((shares * logits).sum() - right)
    return total / len(pixels.labels)


def score_temperature(pixels: LabelledLogits, temperature: float) -> TemperatureScores:
    """Judge the probabilities that a temperature gives.

    Parameters
    ----------
    pixels
        Logits and right classes, of one pixel at least.
    temperature
        Divides the logits.
    """
    nll = brier = 0.0
    counts = np.zeros((2, STEPS + 1), np.int64)
    for logits, labels in pixels.parts():
        scaled = logits / temperature
        chosen = np.arange(len(labels)), labels
        nll += float((logsumexp(scaled, axis=1) - scaled[chosen]).sum())
        shares = _softmax(scaled)
        best = shares.argmax(1)
        counts += count_confidences(np.minimum(shares.max(1), 1.0), best == labels)
        shares[chosen] -= 1
        brier += float((shares**2).sum())
    size = len(pixels.labels)
    return TemperatureScores(nll / size, brier / size, Reliability(counts))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
