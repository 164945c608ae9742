"""What an evaluation found, as text, HTML, JSON and picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from seg4eo_xr.canvas import write_figure
from seg4eo_xr.html import (
    card_html,
    details_html,
    lines_html,
    table_html,
    table_text,
    with_chips,
)
from seg4eo_xr.staging import write_report
from seg4eo_xr.training.metrics import METRICS, Scores, scores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from pathlib import Path

    import numpy as np
    from matplotlib.figure import Figure

    from seg4eo_xr.evaluation.boundaries import BorderScores
    from seg4eo_xr.evaluation.points import PointCounts
    from seg4eo_xr.evaluation.split_zones import SplitCheck
    from seg4eo_xr.scenes.classes import ClassTable

_HEADS = {"iou": "IoU", "f1": "F1", "precision": "precision", "recall": "recall"}


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How well a map agrees with a reference.

    Parameters
    ----------
    matrix
        Pixels or points, ``(class, class)`` int64: a row for each class of the reference, a column
        for each class of the map.
    classes
        The classes of both axes.
    zones
        The same for each zone, by its name; a pixel in several zones counts in each.
    borders
        Agreement near borders of classes, by the width in pixels.
    points
        What became of the points, where the reference was made of points.
    splits
        How far apart the splits of a patch store are, where the zones are these.
    scenes
        The same for each map, by its name, where several maps were evaluated together.
    """

    matrix: np.ndarray
    classes: ClassTable
    zones: Mapping[str, Evaluation] = field(default_factory=dict)
    borders: Mapping[int, BorderScores] = field(default_factory=dict)
    points: PointCounts | None = None
    splits: SplitCheck | None = None
    scenes: Mapping[str, Evaluation] = field(default_factory=dict)

    @cached_property
    def scores(self) -> Scores:
        """Every score of the matrix, as arrays over the classes."""
        return scores(self.matrix)

    @property
    def miou(self) -> float:
        """Mean intersection over union of the classes that occur."""
        return self.scores.miou

    @property
    def accuracy(self) -> float:
        """Share of the pixels whose class is right."""
        return self.scores.accuracy

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond what chance would give."""
        return self.scores.kappa

    @property
    def pixels(self) -> int:
        """Pixels or points that were compared."""
        return int(self.matrix.sum())

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """IoU, F1, precision, recall and reference pixels (``support``) by class name.

        A class that occurs neither in the map nor in the reference has NaN.
        """
        result: dict[str, dict[str, float]] = self.scores.to_dict(self.classes.names)["per_class"]
        return result

    @property
    def _unit(self) -> str:
        return "pixels" if self.points is None else "points"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON: scores that do not exist are None."""
        report: dict[str, Any] = {**self._figures(), "classes": self.classes.to_dict()}
        for part, evaluations in (("scenes", self.scenes), ("zones", self.zones)):
            if evaluations:
                report[part] = {name: one._figures() for name, one in evaluations.items()}
        if self.borders:
            report["borders"] = [
                found.to_dict(self.classes.names) for found in self.borders.values()
            ]
        if self.points is not None:
            report["points"] = self.points.to_dict()
        if self.splits is not None:
            report["leakage"] = self.splits.to_dict()
        plain: dict[str, Any] = _without_nan(report)
        return plain

    def _figures(self) -> dict[str, Any]:
        return {
            **self.scores.to_dict(self.classes.names),
            "pixels": self.pixels,
            "confusion_matrix": self.matrix.tolist(),
        }

    def to_json(self, path: str | PathLike[str]) -> Path:
        """Write `to_dict` as a JSON file, replacing what stands there."""
        return write_report(self.to_dict(), path)

    def plot(self, *, path: str | PathLike[str] | None = None, title: str = "") -> Figure:
        """Draw the IoU of each class and the confusion matrix, and zones and borders below them.

        Parameters
        ----------
        path
            Write the picture there, usually as ``.png``, and make no figure of pyplot.
        title
            A line above; accuracy, kappa and what was compared by default.

        Returns
        -------
        Figure
            A new one.

        Raises
        ------
        FileNotFoundError, OSError
            If the picture cannot be written.
        ValueError
            If matplotlib knows no format of that suffix.
        """
        from seg4eo_xr.evaluation.pictures import draw_evaluation

        figure = draw_evaluation(self, title=title or self._facts()[0], shown=path is None)
        if path is not None:
            write_figure(figure, path)
        return figure

    def _facts(self) -> list[str]:
        compared = f"{self.pixels:,} pixels" if self.points is None else str(self.points)
        numbers = f"accuracy {_three_digits(self.accuracy)}, kappa {_three_digits(self.kappa)}"
        return [f"{numbers}, {compared}"]

    def _class_table(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [name, *(_three_digits(row[metric]) for metric in METRICS), f"{row['support']:,}"]
            for name, row in self.per_class.items()
        ]
        macro = self.scores.macro
        rows.append(["mean", *(_three_digits(macro[name]) for name in METRICS), f"{self.pixels:,}"])
        return ["class", *(_HEADS[name] for name in METRICS), self._unit], rows

    def _table_of(
        self, what: str, parts: Mapping[str, Evaluation]
    ) -> tuple[list[str], list[list[str]]]:
        rows = [
            [
                name,
                *(_three_digits(number) for number in (part.miou, part.accuracy, part.kappa)),
                f"{part.pixels:,}",
            ]
            for name, part in parts.items()
        ]
        return [what, "mIoU", "accuracy", "kappa", self._unit], rows

    def _border_table(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [
                f"{width} px",
                *map(_three_digits, (found.miou, found.accuracy_near, found.accuracy_beyond)),
                f"{int(found.near.sum()):,}",
            ]
            for width, found in self.borders.items()
        ]
        return ["borders", "boundary IoU", "accuracy near", "beyond", "pixels near"], rows

    def _parts(self) -> list[tuple[str, tuple[list[str], list[list[str]]]]]:
        parts = []
        if self.scenes:
            parts.append(("scenes", self._table_of("scene", self.scenes)))
        if self.zones:
            parts.append(("zones", self._table_of("zone", self.zones)))
        if self.borders:
            parts.append(("borders of classes", self._border_table()))
        return parts

    def __repr__(self) -> str:
        texts = ["\n".join([table_text(*self._class_table()), *self._facts()])]
        texts += [table_text(*table) for _, table in self._parts()]
        texts += [] if self.splits is None else ["\n".join(self.splits.lines())]
        return "\n\n".join(texts)

    def _repr_html_(self) -> str:
        head, rows = self._class_table()
        matrix = [
            [name, *(f"{count:,}" for count in counts)]
            for name, counts in zip(self.classes.names, self.matrix.tolist(), strict=True)
        ]
        folded = [
            ("confusion matrix", (["reference \\ map", *self.classes.names], matrix)),
            *self._parts(),
        ]
        return card_html(
            "evaluation",
            f"mean IoU {_three_digits(self.miou)}",
            table_html(head, with_chips(self.classes.colors, rows)),
            lines_html(self._facts()),
            *(details_html(name, table_html(*table)) for name, table in folded),
            *([] if self.splits is None else [lines_html(self.splits.lines())]),
        )


def _three_digits(number: float) -> str:
    return "–" if math.isnan(number) else f"{number:.3f}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
