from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.training.config import ClassWeightRule, TrainConfig
from seg4eo_xr.training.weights import class_weights, resolve_weights

RULES = get_args(ClassWeightRule)
counts = st.lists(st.integers(0, 10**9), min_size=2, max_size=8).filter(any)


@pytest.mark.parametrize("rule", RULES)
@given(pixels=counts)
def test_rarer_classes_weigh_no_less_and_the_mean_is_one(
    rule: ClassWeightRule, pixels: list[int]
) -> None:
    weights = class_weights(pixels, rule)
    there = np.array(pixels) > 0
    assert np.isfinite(weights).all()
    assert (weights[~there] == 0).all()
    assert weights[there].mean() == pytest.approx(1)
    order = np.argsort(np.array(pixels)[there], kind="stable")
    assert (np.diff(weights[there][order]) <= 1e-9).all()


def test_by_inverse_frequency_all_classes_weigh_the_same_in_sum() -> None:
    pixels = np.array([10, 1000, 123456])
    totals = pixels * class_weights(pixels, "inverse_frequency")
    np.testing.assert_allclose(totals, totals[0])


def test_effective_numbers_spare_the_common_classes() -> None:
    pixels = [10_000, 1_000_000, 3_000_000]
    inverse, effective = (class_weights(pixels, rule) for rule in RULES)
    assert effective[1] / effective[2] < 2 < inverse[1] / inverse[2]
    assert effective[0] / effective[1] == pytest.approx(inverse[0] / inverse[1], rel=0.6)


@pytest.mark.parametrize("rule", RULES)
def test_equal_classes_weigh_one(rule: ClassWeightRule) -> None:
    np.testing.assert_allclose(class_weights([7, 7, 7], rule), 1)


def test_the_options_choose_between_none_given_and_a_rule() -> None:
    pixels = [300, 100]
    assert resolve_weights(pixels, TrainConfig()) is None
    assert resolve_weights(pixels, TrainConfig(use_class_weights=True)) == (0.5, 1.5)
    assert resolve_weights(pixels, TrainConfig(class_weights=(1.0, 9.0))) == (1.0, 9.0)
    with pytest.raises(ValueError, match="class_weights has 3 numbers, the store has 2 classes"):
        resolve_weights(pixels, TrainConfig(class_weights=(1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match="nothing to weigh"):
        class_weights([0, 0], "inverse_frequency")
