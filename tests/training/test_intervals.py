from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from seg4eo_xr.training.intervals import t_interval


def test_it_is_students_interval() -> None:
    values = np.random.default_rng(0).uniform(0.5, 0.9, 5)
    found = t_interval(values)
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.std == pytest.approx(values.std(ddof=1))


def test_by_hand() -> None:
    # t(0.975, 4) = 2.776; the deviation of 1..5 is 1.581
    found = t_interval([1, 2, 3, 4, 5])
    assert found.mean == 3
    assert found.high == pytest.approx(3 + 2.776 * 1.5811 / math.sqrt(5), abs=1e-3)


def test_folds_without_the_score_do_not_count() -> None:
    assert t_interval([0.5, math.nan, 0.7]) == t_interval([0.5, 0.7])
    assert t_interval([0.5, math.nan, 0.7]).count == 2


def test_fewer_than_two_folds_have_no_interval() -> None:
    one, none = t_interval([0.5]), t_interval([math.nan])
    assert (one.mean, one.count) == (0.5, 1)
    assert math.isnan(one.low)
    assert str(one) == "0.500"
    assert str(none) == "–"
    assert none.to_dict()["mean"] is None
