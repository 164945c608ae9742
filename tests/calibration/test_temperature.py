from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from seg4eo_xr.calibration.temperature import (
    HIGHEST,
    LOWEST,
    CalibrationWarning,
    LabelledLogits,
    fit_temperature,
    score_temperature,
)


def honest(size, classes=3, seed=0):
    """Logits, and labels that are drawn with their very probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (size, classes))
    draws = random.random((size, 1))
    labels = (scipy.special.softmax(logits, 1).cumsum(1) < draws).sum(1)
    return logits, labels.clip(0, classes - 1)


def known(logits, labels):
    return LabelledLogits(logits.astype(np.float32), labels.astype(np.uint8), len(labels))


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_logits_times_k_have_the_temperature_k(factor):
    logits, labels = honest(60_000)
    assert fit_temperature(known(logits * factor, labels)) == pytest.approx(factor, rel=0.02)


@given(st.floats(0.2, 5), st.integers(0, 50))
@settings(max_examples=15)
def test_scaled_logits_have_the_temperature_scaled(factor, seed):
    logits, labels = honest(500, seed=seed)
    plain = fit_temperature(known(logits, labels))
    assert fit_temperature(known(logits * factor, labels)) == pytest.approx(
        plain * factor, rel=1e-4
    )


def test_confidence_08_is_right_eight_times_in_ten_afterwards():
    logits, labels = honest(200_000, seed=1)
    pixels = known(logits * 2.5, labels)
    before = score_temperature(pixels, 1.0)
    after = score_temperature(pixels, fit_temperature(pixels))
    assert before.reliability.ece() > 0.1
    assert after.reliability.ece() < 0.01
    bins = after.reliability.bins(20)
    near = np.abs(bins.confidence - 0.8).argmin()
    assert bins.accuracy[near] == pytest.approx(bins.confidence[near], abs=0.02)
    assert before.reliability.accuracy == after.reliability.accuracy


@given(st.integers(0, 50), st.floats(0.3, 4))
@settings(max_examples=15)
def test_the_fitted_temperature_is_the_best_and_scores_are_scikit_learns(seed, other):
    logits, labels = honest(300, seed=seed)
    pixels = known(logits, labels)
    best = fit_temperature(pixels)
    found = score_temperature(pixels, other)
    shares = scipy.special.softmax(pixels.logits.astype(float) / other, 1)
    assert found.nll == pytest.approx(log_loss(labels, shares, labels=[0, 1, 2]))
    hot = np.eye(3)[labels]
    assert found.brier == pytest.approx(((shares - hot) ** 2).sum(1).mean())
    assert score_temperature(pixels, best).nll <= found.nll + 1e-12


def test_two_classes_are_a_sigmoid():
    logits, labels = honest(400, classes=2, seed=3)
    gap = logits[:, 1] - logits[:, 0]
    alone = np.stack([np.zeros_like(gap), gap], 1)
    one, other = fit_temperature(known(logits, labels)), fit_temperature(known(alone, labels))
    assert one == pytest.approx(other, rel=1e-5)


def test_a_temperature_that_nothing_settles_is_told():
    logits, labels = honest(200)
    with pytest.warns(CalibrationWarning, match="nearly every pixel is right"):
        assert fit_temperature(known(logits, logits.argmax(1))) == pytest.approx(LOWEST)
    with pytest.warns(CalibrationWarning, match="tell nothing"):
        assert fit_temperature(known(logits, logits.argmin(1))) == pytest.approx(HIGHEST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_temperature(known(logits, labels))


def test_bad_logits_are_refused():
    with pytest.raises(ValueError, match="no labelled pixel"):
        fit_temperature(known(np.empty((0, 3)), np.empty(0)))
    with pytest.raises(ValueError, match="NaN"):
        fit_temperature(known(np.array([[np.nan, 1.0]]), np.array([0])))
