"""What a cross-validation found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from seg4eo_xr.canvas import write_figure
from seg4eo_xr.html import table_html
from seg4eo_xr.training.intervals import Interval, t_interval
from seg4eo_xr.training.metrics import Scores, scores
from seg4eo_xr.training.pictures import draw_folds

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray


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
    """

    file_name: ClassVar[str] = "cross_validation.json"

    save_dir: Path
    names: tuple[str, ...]
    colors: tuple[str, ...]
    matrices: NDArray[np.int64]

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

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON; scores that do not exist are None or NaN."""
        return {
            "scores": {
                name: {**found.to_dict(), "folds": self.values[name].tolist()}
                for name, found in self.intervals.items()
            },
            "pooled": self.pooled.to_dict(self.names),
            "confusion_matrices": self.matrices.tolist(),
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
            f"figures  {self.path}",
            f"picture  {self.plot_path}",
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            (name, *(f"{value:.3f}" for value in self.values[name]), str(found))
            for name, found in self.intervals.items()
        ]
        numbers = [f"fold {number + 1}" for number in range(len(self.matrices))]
        return table_html(("score", *numbers, "mean ± std [95 % t interval]"), rows)

    def _draw(self, *, shown: bool) -> Figure:
        colors = {f"IoU {name}": c for name, c in zip(self.names, self.colors, strict=True)}
        title = f"cross-validation over {len(self.matrices)} folds"
        return draw_folds(self.intervals, self.values, colors, title=title, shown=shown)
