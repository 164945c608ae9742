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
    # t(0.975, 4) = 2.776; the deviation of 0.1..0.5 is 0.1581
    found = t_interval([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found.mean == pytest.approx(0.3)
    assert found.high == pytest.approx(0.3 + 2.776 * 0.15811 / math.sqrt(5), abs=1e-4)


def test_it_ends_where_scores_do() -> None:
    assert (t_interval([0.05, 0.2]).low, t_interval([0.8, 0.95]).high) == (0, 1)
    assert str(t_interval([0.05, 0.2])) == "0.125 ± 0.106  [0.000, 1.000]"


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
