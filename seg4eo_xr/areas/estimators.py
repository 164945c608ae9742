"""Accuracies and areas from a stratified sample: the estimators, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Tables of the normal distribution give three decimals, and so do the papers: 1.960 at 95 %.
_QUANTILE_DIGITS = 3
_ROUNDING = 1e-15


@dataclass(frozen=True, eq=False)
class Estimate:
    """Estimates with their uncertainty.

    Parameters
    ----------
    value
        ``(class,)`` float64; NaN where there is nothing to estimate from.
    standard_error
        ``(class,)`` float64.
    level
        Confidence of the interval.
    """

    value: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    level: float

    @property
    def half_width(self) -> NDArray[np.float64]:
        """What stands behind the ±: a normal quantile times the standard error."""
        return normal_quantile(self.level) * self.standard_error

    @property
    def low(self) -> NDArray[np.float64]:
        """Lower bound of the interval, which may lie below 0.

        Where a class is missed by a few points alone, the interval holds the truth less often than
        its level says.
        """
        return self.value - self.half_width

    @property
    def high(self) -> NDArray[np.float64]:
        """Upper bound of the interval."""
        return self.value + self.half_width

    def __mul__(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.standard_error * factor, self.level)

    def to_dict(self, place: int = 0) -> dict[str, float | None]:
        """Plain numbers of one class, fit for JSON: what does not exist is None."""
        names = ("value", "standard_error", "low", "high")
        numbers = {name: float(getattr(self, name)[place]) for name in names}
        return {name: None if np.isnan(number) else number for name, number in numbers.items()}


def normal_quantile(level: float) -> float:
    """Standard errors on either side of an interval.

    Examples
    --------
    >>> normal_quantile(0.95)
    1.96
    """
    from scipy import stats

    return round(float(stats.norm.ppf((1 + level) / 2)), _QUANTILE_DIGITS)


@dataclass(frozen=True, eq=False)
class SampleCounts:
    """What a stratified sample found.

    Parameters
    ----------
    points
        ``(stratum, map class, reference class)`` int64.
    weights
        Share of each stratum in the area, ``(stratum,)``; they sum to one.
    corrections
        Factor of each stratum's variance: 1, or 1 − points / pixels; 0 where all are sampled.
    level
        Confidence of intervals.
    sums
        Sums of what the points stand for, and of the squares, ``(2, stratum, map class, reference
        class)``, in units of the mean of their stratum; `points` twice where all are alike.
    """

    points: NDArray[np.int64]
    weights: NDArray[np.float64]
    corrections: NDArray[np.float64]
    level: float
    sums: NDArray[np.float64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Points of each stratum."""
        return np.asarray(self.points.sum((1, 2)))

    @property
    def proportions(self) -> NDArray[np.float64]:
        """Shares of the area, ``(map class, reference class)``; they sum to one."""
        shares: NDArray[np.float64] = np.einsum(
            "h,hij->ij", self.weights / self.sizes, self.sums[0]
        )
        return shares

    def ratio(self, part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> Estimate:
        """Estimate which share of some cells of the error matrix others within them have.

        The combined ratio estimator of Stehman 2014 (equations 27 and 28); with the whole matrix
        below, its equations 2 and 25. Where the strata are the classes of the map, they are those
        of Olofsson et al. 2014 (5 to 11). https://doi.org/10.1080/01431161.2014.930207,
        https://doi.org/10.1016/j.rse.2014.02.015

        Where the points of a stratum stand for different areas, means within it are weighted, and
        the variance is that of the linearised ratio (Särndal, Swensson and Wretman 1992, section
        5.7; https://doi.org/10.1007/978-1-4612-4378-6).

        Parameters
        ----------
        part
            ``(share, map class, reference class)``.
        whole
            The same, true wherever `part` is.

        Returns
        -------
        Estimate
            One for each share; NaN where `whole` holds no point.
        """
        sizes = self.sizes.astype(np.float64)
        first, second = self.sums / sizes[:, None, None]
        cells = [one.astype(np.float64) for one in (part, whole)]
        above, below = (np.einsum("hij,kij->kh", first, one) for one in cells)
        above_squared, below_squared = (np.einsum("hij,kij->kh", second, one) for one in cells)
        total = below @ self.weights
        with np.errstate(invalid="ignore", divide="ignore"):
            value = (above @ self.weights) / total
            share = value[:, None]
            # Each point's residual is (in part) − share × (in whole), and part lies within whole.
            squares = above_squared * (1 - 2 * share) + share**2 * below_squared
            mean, weighted = above - share * below, above_squared - share * below_squared
            spread = squares - 2 * mean * weighted + mean**2 * second.sum((1, 2))
            # what is alike everywhere in a stratum has no error, and not one of rounding either
            spread[spread < _ROUNDING] = 0
            scale = np.where(self.corrections > 0, self.corrections / (sizes - 1), 0)
            error = np.sqrt((spread * scale) @ self.weights**2) / total
        return Estimate(value, error, self.level)

    def share_of(self, part: NDArray[np.bool_]) -> Estimate:
        """Estimate which share of the area some cells of the error matrix have."""
        return self.ratio(part, np.ones_like(part))


def class_cells(count: int) -> dict[str, Any]:
    """Cells of the error matrix that speak of each class, ``(class, map class, reference class)``.

    Returns
    -------
    dict
        ``right``: both say the class; ``mapped``: the map does; ``found``: the reference does.
    """
    same = np.eye(count, dtype=bool)
    mapped = np.broadcast_to(same[:, :, None], (count, count, count))
    found = np.broadcast_to(same[:, None, :], (count, count, count))
    return {"right": mapped & found, "mapped": mapped, "found": found}
