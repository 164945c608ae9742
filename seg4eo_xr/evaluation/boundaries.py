"""How well a map follows the borders between classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.training.metrics import scores

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, eq=False)
class BorderScores:
    """Agreement of a map and a reference within a distance of class borders.

    A pixel is near a border if another class of the same raster lies within `width` pixels of it,
    along rows, columns or diagonals. Missing pixels and the edge of the map are no borders.

    Parameters
    ----------
    width
        The distance in pixels.
    both, reference, prediction
        Pixels near a border of both rasters, of the reference alone and of the map alone, each
        ``(class, class)`` int64 with a row for each class of the reference.
    whole
        All pixels, in the same form.

    Notes
    -----
    Boundary IoU of a class takes of its pixels those near a border, in the reference and in the
    map, and divides their intersection by their union (Cheng et al. 2021,
    https://doi.org/10.1109/CVPR46437.2021.01508).

    Examples
    --------
    >>> near, none = np.array([[2, 1], [0, 3]]), np.zeros((2, 2), int)
    >>> BorderScores(1, near, none, none, near).iou
    array([0.66666667, 0.75      ])
    """

    width: int
    both: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray
    whole: np.ndarray

    @property
    def near(self) -> np.ndarray:
        """Pixels within the distance of a border of the reference, ``(class, class)`` int64."""
        return np.asarray(self.both + self.reference)

    @property
    def beyond(self) -> np.ndarray:
        """The other pixels, ``(class, class)`` int64."""
        return np.asarray(self.whole - self.near)

    @property
    def iou(self) -> np.ndarray:
        """Boundary IoU of each class, ``(class,)``; NaN for those without a border."""
        hits = np.diag(self.both)
        union = self.near.sum(1) + (self.both + self.prediction).sum(0) - hits
        return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    @property
    def miou(self) -> float:
        """Mean boundary IoU of the classes that have a border in the reference."""
        found = self.iou[self.near.sum(1) > 0]
        return float(found.mean()) if found.size else float("nan")

    @property
    def accuracy_near(self) -> float:
        """Share of the pixels within the distance whose class is right; NaN without pixels."""
        return scores(self.near).accuracy

    @property
    def accuracy_beyond(self) -> float:
        """Share of the pixels beyond the distance whose class is right; NaN without pixels."""
        return scores(self.beyond).accuracy

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain numbers; NaN stands for what does not exist."""
        return {
            "width": self.width,
            "boundary_miou": self.miou,
            "boundary_iou": dict(zip(names, self.iou.tolist(), strict=True)),
            "pixels_near": int(self.near.sum()),
            "accuracy_near": self.accuracy_near,
            "accuracy_beyond": self.accuracy_beyond,
        }
