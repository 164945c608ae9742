"""What a cross-validation found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from seg4eo_xr.canvas import write_figure
from seg4eo_xr.html import card_html, lines_html, table_html, table_text
from seg4eo_xr.training.intervals import Interval, t_interval
from seg4eo_xr.training.metrics import Scores, scores
from seg4eo_xr.training.pictures import draw_folds

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# The least number of folds whose t interval is worth a look.
_FEW_FOLDS = 3


@dataclass(frozen=True, eq=False, repr=False)
class CrossValidation:
    """Scores of a training over folds, each scored by a network that has not seen it.

    Parameters
    ----------
    save_dir
        The folder with the runs.
    names, colors
        Of the classes.
    matrices
        Pixel counts of each fold, ``(fold, class, class)``: a row for each class of the labels.
    distances
        Pixels between the patches of each fold and the nearest that trained for it; 0 where they
        share ground.
    random
        The same training over folds of single patches dealt at random, where it was asked for.
    """

    file_name: ClassVar[str] = "cross_validation.json"

    save_dir: Path
    names: tuple[str, ...]
    colors: tuple[str, ...]
    matrices: NDArray[np.int64]
    distances: tuple[float, ...] = ()
    random: CrossValidation | None = None

    @property
    def path(self) -> Path:
        """All figures, as JSON."""
        return self.save_dir / self.file_name

    @property
    def plot_path(self) -> Path:
        """Picture of the scores over the folds."""
        return self.path.with_suffix(".png")

    @cached_property
    def folds(self) -> tuple[Scores, ...]:
        """Every score of each fold."""
        return tuple(scores(matrix) for matrix in self.matrices)

    @cached_property
    def pooled(self) -> Scores:
        """Scores of all folds' pixels together; each was classified once."""
        return scores(self.matrices.sum(axis=0))

    @cached_property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """Mean IoU, mean F1, accuracy and IoU of each class, ``(fold,)`` each; NaN if absent."""
        found = {
            "mean IoU": [fold.miou for fold in self.folds],
            "mean F1": [fold.macro["f1"] for fold in self.folds],
            "accuracy": [fold.accuracy for fold in self.folds],
        }
        found |= {
            f"IoU {name}": [float(fold.iou[i]) for fold in self.folds]
            for i, name in enumerate(self.names)
        }
        return {name: np.array(numbers) for name, numbers in found.items()}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Mean, deviation and 95 % t interval of each of `values`."""
        return {name: t_interval(numbers) for name, numbers in self.values.items()}

    @cached_property
    def flattery(self) -> dict[str, float]:
        """How much higher each mean score is over random folds than over these; NaN if absent."""
        if self.random is None:
            return {}
        return {
            name: self.random.intervals[name].mean - found.mean
            for name, found in self.intervals.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON; scores that do not exist are None or NaN."""
        compared: dict[str, Any] = {}
        if self.random is not None:
            compared = {"random": self.random.to_dict(), "random_less_spatial": self.flattery}
        return {
            "scores": {
                name: {**found.to_dict(), "folds": self.values[name].tolist()}
                for name, found in self.intervals.items()
            },
            "pooled": self.pooled.to_dict(self.names),
            "confusion_matrices": self.matrices.tolist(),
            "distances_to_training": list(self.distances),
            **compared,
        }

    def plot(self) -> Figure:
        """Draw the scores: a dot a fold, the mean and its interval."""
        return self._draw(shown=True)

    def save_plot(self) -> Path:
        """Write the picture of `plot` beside the figures."""
        return write_figure(self._draw(shown=False), self.plot_path)

    def __repr__(self) -> str:
        width = max(map(len, self.intervals))
        lines = [
            f"cross-validation over {len(self.matrices)} folds",
            f"{'':<{width}}  mean ± std  [95 % t interval]",
            *(f"{name:<{width}}  {found}" for name, found in self.intervals.items()),
            *self._doubts(),
            *self._ground(),
        ]
        if self.random is not None:
            lines += ["", table_text(*self._comparison()), *self.random._ground()]
        return "\n".join([*lines, f"figures  {self.path}", f"picture  {self.plot_path}"])

    def _repr_html_(self) -> str:
        rows = [
            (name, *(f"{value:.3f}" for value in self.values[name]), str(found))
            for name, found in self.intervals.items()
        ]
        numbers = [f"fold {number + 1}" for number in range(len(self.matrices))]
        parts = [table_html(("score", *numbers, "mean ± std [95 % t interval]"), rows)]
        ground = [*self._doubts(), *self._ground()]
        if self.random is not None:
            parts.append(table_html(*self._comparison()))
            ground += self.random._ground()
        return card_html("cross-validation", self.save_dir, *parts, lines_html(ground))

    def _doubts(self) -> list[str]:
        """Tell where the folds are too few for their intervals to mean much."""
        if len(self.matrices) >= _FEW_FOLDS:
            return []
        return [
            f"{len(self.matrices)} folds say almost nothing of how much the scores vary, and their "
            f"intervals little; take {_FEW_FOLDS} or more: n_splits=5 (--n_splits 5)"
        ]

    def _ground(self) -> list[str]:
        """Tell how near the scored patches come to those that trained for them."""
        if not self.distances:
            return []
        nearest = min(self.distances)
        apart = f"lies {nearest:.4g} px or more from" if nearest else "shares ground with"
        return [f"each fold {apart} the patches that trained for it"]

    def _comparison(self) -> tuple[list[str], list[list[str]]]:
        """Spatial and random folds beside each other, with the difference."""
        assert self.random is not None  # as the callers have seen
        rows = [
            [name, *(_told(number) for number in (found.mean, other.mean)), _told(gap, "+.3f")]
            for (name, found), other, gap in zip(
                self.intervals.items(),
                self.random.intervals.values(),
                self.flattery.values(),
                strict=True,
            )
        ]
        return ["mean of the folds", "spatial", "random", "random - spatial"], rows

    def _draw(self, *, shown: bool) -> Figure:
        colors = {f"IoU {name}": c for name, c in zip(self.names, self.colors, strict=True)}
        title = f"cross-validation over {len(self.matrices)} folds"
        return draw_folds(self.intervals, self.values, colors, title=title, shown=shown)


def _told(number: float, form: str = ".3f") -> str:
    return "–" if np.isnan(number) else format(number, form)
