"""Mean, deviation and confidence interval of a score over folds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Interval:
    """A score over folds.

    Parameters
    ----------
    mean
        Mean of the folds in which the score exists; NaN if there is none.
    std
        Standard deviation of the sample (``ddof=1``); NaN below two folds.
    low, high
        Bounds of the interval that holds the true mean with `level`, within 0..1; NaN below two
        folds.
    count
        Folds in which the score exists.
    level
        Confidence of the interval, between 0 and 1.
    """

    mean: float
    std: float
    low: float
    high: float
    count: int
    level: float = 0.95

    def __str__(self) -> str:
        if not self.count:
            return "–"
        if self.count == 1:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ± {self.std:.3f}  [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain numbers, fit for JSON: what does not exist is None."""
        return {
            name: None if isinstance(number, float) and math.isnan(number) else number
            for name, number in asdict(self).items()
        }


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Take mean, deviation and Student's t interval of the mean of scores from 0 to 1.

    The interval ends where the scores do. Of two folds it says almost nothing: with one degree of
    freedom it reaches some nine standard deviations to either side.

    The folds of a cross-validation share training patches, so their scores vary less than those of
    independent trainings would; the interval is a lower bound of the uncertainty
    (https://www.jmlr.org/papers/v5/grandvalet04a.html).

    Parameters
    ----------
    values
        One score a fold, ``(fold,)``; NaN where there is none.
    level
        Confidence, between 0 and 1.

    Examples
    --------
    >>> print(t_interval([0.6, 0.7, 0.8]))
    0.700 ± 0.100  [0.452, 0.948]
    """
    from scipy import stats

    numbers = np.asarray(values, np.float64)
    numbers = numbers[~np.isnan(numbers)]
    count, nan = len(numbers), float("nan")
    if count < 2:
        return Interval(float(numbers[0]) if count else nan, nan, nan, nan, count, level)
    mean, std = float(numbers.mean()), float(numbers.std(ddof=1))
    reach = float(stats.t.ppf((1 + level) / 2, count - 1)) * std / math.sqrt(count)
    return Interval(mean, std, max(mean - reach, 0.0), min(mean + reach, 1.0), count, level)
