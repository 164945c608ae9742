"""Points for strata: the paper's table, and laws that hold of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.areas.allocation import allocate, sample_size
from seg4eo_xr.areas.sample_options import AreaOptions, SampleOptions

# Olofsson et al. 2014, section 5.1 and table 5
WEIGHTS, RIGHT = [0.020, 0.015, 0.320, 0.645], [0.70, 0.60, 0.90, 0.95]
MANY = [10**6] * 4


def test_the_papers_sample_has_641_points():
    assert sample_size(WEIGHTS, RIGHT, 0.01) == 641
    assert allocate(641, WEIGHTS, MANY, RIGHT).tolist() == [13, 10, 205, 413]
    assert allocate(640, WEIGHTS, MANY, RIGHT, rule="equal").tolist() == [160] * 4


@pytest.mark.parametrize("minimum", [50, 75, 100])
def test_rare_classes_have_the_minimum_and_the_others_the_rest_in_proportion(minimum):
    counts = allocate(641, WEIGHTS, MANY, RIGHT, minimum=minimum)
    assert counts[:2].tolist() == [minimum, minimum]
    rest = 641 - 2 * minimum
    np.testing.assert_allclose(counts[2:], rest * np.array([0.32, 0.645]) / 0.965, atol=1)


def test_the_optimal_rule_is_neymans():
    counts = allocate(1000, WEIGHTS, MANY, RIGHT, rule="optimal")
    deviation = np.array(WEIGHTS) * np.sqrt(np.array(RIGHT) * (1 - np.array(RIGHT)))
    np.testing.assert_allclose(counts, 1000 * deviation / deviation.sum(), atol=1)


def test_where_no_error_is_expected_the_optimal_rule_is_the_proportional_one():
    counts = allocate(500, WEIGHTS, MANY, [1, 1, 1, 1], rule="optimal")
    assert counts.tolist() == allocate(500, WEIGHTS, MANY, RIGHT).tolist()


def variance(counts):
    right = np.array(RIGHT)
    return (np.array(WEIGHTS) ** 2 * right * (1 - right) / counts).sum()


def test_no_exchange_of_a_point_betters_the_optimal_rule():
    best = allocate(300, WEIGHTS, MANY, RIGHT, rule="optimal")
    for give in range(4):
        for take in range(4):
            moved = best.copy()
            moved[give] -= 1
            moved[take] += 1
            assert variance(moved) >= variance(best) * (1 - 1e-3)


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=8),
    st.sampled_from(["proportional", "equal", "optimal"]),
    st.integers(2, 60),
    st.integers(0, 500),
    st.integers(0, 99),
)
def test_points_sum_to_the_size_and_keep_within_bounds(pixels, rule, minimum, extra, seed):
    pixels = np.array(pixels)
    least = int(np.minimum(minimum, pixels).sum())
    size = min(least + extra, int(pixels.sum()))
    right = np.random.default_rng(seed).random(len(pixels))
    counts = allocate(size, pixels / pixels.sum(), pixels, right, rule=rule, minimum=minimum)
    assert counts.sum() == size
    assert (counts <= pixels).all()
    assert (counts >= np.minimum(minimum, pixels)).all()


@given(
    st.lists(st.integers(1, 10**4), min_size=1, max_size=8),
    st.sampled_from(["proportional", "equal", "optimal"]),
    st.integers(2, 20),
    st.integers(0, 99),
)
def test_a_point_more_takes_none_from_any_stratum(pixels, rule, minimum, seed):
    pixels = np.array(pixels)
    right = np.random.default_rng(seed).random(len(pixels))
    least, most = int(np.minimum(minimum, pixels).sum()), int(pixels.sum())
    before = np.zeros(len(pixels))
    for size in range(least, min(least + 60, most) + 1):
        counts = allocate(size, pixels / most, pixels, right, rule=rule, minimum=minimum)
        assert (counts >= before).all()
        before = counts


def test_too_many_and_too_few_points_are_told():
    with pytest.raises(ValueError, match="make 200; raise size to that, or lower minimum"):
        allocate(100, WEIGHTS, MANY, RIGHT, minimum=50)
    with pytest.raises(ValueError, match="the strata have 40 pixels"):
        allocate(100, WEIGHTS, [10] * 4, RIGHT)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"allocation": "neyman"}, "allocation must be one of"),
        ({"size": 1}, "size"),
        ({"standard_error": 2.0}, "standard_error"),
        ({"minimum": 1}, "minimum"),
        ({"seed": -1}, "seed"),
        ({"accuracy": 85}, "accuracy"),
        ({"accuracies": {"forest": 95}}, "forest"),
    ],
)
def test_options_that_cannot_be_are_told(options, says):
    with pytest.raises(ValueError, match=says):
        SampleOptions(**options)


def test_levels_lie_between_0_and_1():
    with pytest.raises(ValueError, match="level"):
        AreaOptions(level=1.0)
