"""Scores of a classification, all from one confusion matrix; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

METRICS = ("iou", "f1", "precision", "recall")


@dataclass(frozen=True, eq=False)
class Scores:
    """What a confusion matrix says of a classification.

    A class that occurs neither in the reference nor in the prediction is absent: all its scores are
    NaN. A class that occurs in one of them only scores 0. Macro means are over the classes of the
    reference, so that they do not jump when a single pixel is taken for a class that is not there.

    Parameters
    ----------
    iou, f1, precision, recall
        One number a class, ``(class,)`` float64.
    support
        Reference pixels a class, ``(class,)`` int64.
    accuracy
        Share of the pixels that are right; NaN where there is no pixel.
    micro_iou
        Intersection over union of all classes pooled. Pooled precision, recall and F1 are one
        number here, the accuracy, since each pixel has one class.
    kappa
        Cohen's kappa (1960, https://doi.org/10.1177/001316446002000104): agreement beyond what
        chance would give two rasters of these class shares. NaN where there is no pixel, or one
        class alone.
    """

    iou: np.ndarray
    f1: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    support: np.ndarray
    accuracy: float
    micro_iou: float
    kappa: float

    @property
    def miou(self) -> float:
        """Mean intersection over union of the reference's classes."""
        return self.macro["iou"]

    @property
    def macro(self) -> dict[str, float]:
        """Mean over the reference's classes, a metric each."""
        return {name: _mean(getattr(self, name)[self.support > 0]) for name in METRICS}

    @property
    def micro(self) -> dict[str, float]:
        """Metrics of all classes pooled."""
        return {name: self.micro_iou if name == "iou" else self.accuracy for name in METRICS}

    def to_dict(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Plain numbers: ``accuracy``, ``kappa``, ``miou``, ``macro``, ``micro``, ``per_class``.

        Parameters
        ----------
        names
            One name a class; the index where not given.

        Returns
        -------
        dict
            NaN stands for the scores of an absent class.

        Raises
        ------
        ValueError
            If there is not one name a class.
        """
        labels = [str(i) for i in range(len(self.iou))] if names is None else list(names)
        if len(labels) != len(self.iou):
            raise ValueError(f"{len(labels)} names for {len(self.iou)} classes: give one a class")
        return {
            "accuracy": self.accuracy,
            "kappa": self.kappa,
            "miou": self.miou,
            "macro": self.macro,
            "micro": self.micro,
            "per_class": {
                label: {metric: float(getattr(self, metric)[i]) for metric in METRICS}
                | {"support": int(self.support[i])}
                for i, label in enumerate(labels)
            },
        }


def scores(matrix: ArrayLike) -> Scores:
    """Compute every score of a confusion matrix.

    Parameters
    ----------
    matrix
        Pixel counts, ``(class, class)``: a row for each class of the reference, a column for each
        class of the prediction.

    Returns
    -------
    Scores

    Raises
    ------
    ValueError
        If the matrix is not square, is empty or holds a negative count.

    Examples
    --------
    >>> result = scores([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    >>> result.iou
    array([0.75, 0.8 ,  nan])
    >>> round(result.miou, 3), result.accuracy
    (0.775, 0.875)
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"a confusion matrix is square and not empty, got shape {counts.shape}")
    counts = counts.astype(np.int64)
    if (counts < 0).any():
        raise ValueError(f"a confusion matrix holds counts of pixels, got {counts.min()}")
    hits, reference, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    union = reference + predicted - hits
    occurs = union > 0
    total, right = counts.sum(), hits.sum()
    return Scores(
        iou=_ratio(hits, union, occurs),
        f1=_ratio(2 * hits, reference + predicted, occurs),
        precision=_ratio(hits, predicted, occurs),
        recall=_ratio(hits, reference, occurs),
        support=reference,
        accuracy=float(right / total) if total else float("nan"),
        micro_iou=float(right / union.sum()) if total else float("nan"),
        kappa=_kappa(int(right), int(total), reference, predicted),
    )


def _kappa(right: int, total: int, reference: np.ndarray, predicted: np.ndarray) -> float:
    # Python's integers: products of pixels of a large map exceed 64 bits.
    chance = sum(a * b for a, b in zip(reference.tolist(), predicted.tolist(), strict=True))
    if chance == total**2:
        return float("nan")
    return float((right * total - chance) / (total**2 - chance))


def _ratio(part: np.ndarray, whole: np.ndarray, occurs: np.ndarray) -> np.ndarray:
    return np.where(occurs, part / np.maximum(whole, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    finite = values[~np.isnan(values)]
    return float(finite.mean()) if finite.size else float("nan")
