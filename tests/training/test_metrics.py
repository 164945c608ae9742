from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix, jaccard_score, precision_recall_fscore_support

from seg4eo_xr.training.metrics import METRICS, scores

matrices = st.integers(1, 6).flatmap(
    lambda n: hnp.arrays(np.int64, (n, n), elements=st.integers(0, 10**9))
)


@given(st.data(), st.integers(2, 5))
def test_scores_agree_with_scikit_learn(data: st.DataObject, classes: int) -> None:
    pixels = hnp.arrays(np.int64, 30, elements=st.integers(0, classes - 1))
    truth, found = data.draw(pixels), data.draw(pixels)
    result = scores(confusion_matrix(truth, found, labels=range(classes)))
    occurring = np.union1d(truth, found)
    expected = precision_recall_fscore_support(truth, found, labels=occurring, zero_division=0)
    iou = jaccard_score(truth, found, labels=occurring, average=None, zero_division=0)
    np.testing.assert_allclose(result.precision[occurring], expected[0])
    np.testing.assert_allclose(result.recall[occurring], expected[1])
    np.testing.assert_allclose(result.f1[occurring], expected[2])
    np.testing.assert_allclose(result.iou[occurring], iou)
    assert result.miou == pytest.approx(iou[np.isin(occurring, truth)].mean())
    assert result.accuracy == pytest.approx((truth == found).mean())
    assert result.micro["iou"] == pytest.approx(jaccard_score(truth, found, average="micro"))


@given(matrices)
def test_scores_lie_between_nothing_and_all(matrix: np.ndarray) -> None:
    result = scores(matrix)
    for name in METRICS:
        each = getattr(result, name)
        assert ((each >= 0) & (each <= 1) | np.isnan(each)).all()
    known = ~np.isnan(result.iou)
    np.testing.assert_allclose(result.f1[known], 2 * result.iou[known] / (1 + result.iou[known]))


@given(matrices, st.randoms())
def test_the_order_of_the_classes_does_not_matter(matrix: np.ndarray, random: object) -> None:
    order = np.random.default_rng(len(matrix)).permutation(len(matrix))
    turned = scores(matrix[np.ix_(order, order)])
    np.testing.assert_array_equal(turned.iou, scores(matrix).iou[order])


@given(matrices)
def test_an_absent_class_is_nan_and_counts_in_no_mean(matrix: np.ndarray) -> None:
    wider = np.pad(matrix, ((0, 1), (0, 1)))
    assert all(np.isnan(getattr(scores(wider), name)[-1]) for name in METRICS)
    np.testing.assert_equal(scores(wider).macro, scores(matrix).macro)
    np.testing.assert_equal(scores(wider).micro, scores(matrix).micro)


def test_a_stray_pixel_of_a_class_that_is_not_there_does_not_change_what_is_averaged() -> None:
    without, stray = (
        scores([[90, 0, 0], [0, 10, 0], [0, 0, 0]]),
        [[89, 0, 1], [0, 10, 0], [0, 0, 0]],
    )
    assert without.miou == 1
    assert scores(stray).iou[2] == 0
    assert scores(stray).miou == pytest.approx((89 / 90 + 1) / 2)


def test_a_class_never_found_scores_nothing_rather_than_vanishing() -> None:
    result = scores([[5, 0], [5, 0]])
    assert result.precision[1] == result.recall[1] == result.iou[1] == result.f1[1] == 0
    assert result.miou == pytest.approx(0.25)


def test_no_pixel_at_all_is_nan_throughout() -> None:
    result = scores(np.zeros((3, 3)))
    assert np.isnan([result.miou, result.accuracy, result.micro_iou, *result.iou]).all()


def test_counts_beyond_32_bits_are_exact() -> None:
    huge = np.diag([2**40, 2**41]).astype(np.uint64)
    assert scores(huge).accuracy == 1
    assert scores(huge).support.tolist() == [2**40, 2**41]


def test_scores_as_plain_numbers() -> None:
    content = scores([[3, 1], [0, 4]]).to_dict(["water", "land"])
    assert json.loads(json.dumps(content)) == content
    assert content["per_class"]["water"] == {
        "iou": 0.75,
        "f1": pytest.approx(6 / 7),
        "precision": 1.0,
        "recall": 0.75,
        "support": 4,
    }
    assert set(scores([[1]]).to_dict()["per_class"]) == {"0"}


@pytest.mark.parametrize("matrix", [[1, 2], [[1, 2]], [[[1]]], np.zeros((0, 0))])
def test_a_matrix_of_another_shape_is_refused(matrix: object) -> None:
    with pytest.raises(ValueError, match="square"):
        scores(matrix)  # type: ignore[arg-type]


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="got -1"):
        scores([[1, -1], [0, 1]])


def test_one_name_a_class_is_asked_for() -> None:
    with pytest.raises(ValueError, match="1 names for 2 classes"):
        scores(np.eye(2)).to_dict(["water"])
