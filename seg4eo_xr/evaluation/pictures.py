"""Pictures of an evaluation: classes, zones, and agreement near borders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.canvas import new_canvas, wrapped
from seg4eo_xr.training.pictures import NAME_WIDTH, classes_size, fill_classes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from seg4eo_xr.evaluation.result import Evaluation

_BARS = ("#0072b2", "#e69f00", "#999999")
_MOST_ZONES = 15  # bars that can be read beside each other


def draw_evaluation(result: Evaluation, *, title: str = "", shown: bool = True) -> Figure:
    """Draw the scores of the classes, and below them those of zones and near borders.

    Parameters
    ----------
    result
        What to draw.
    title
        A line above the panels.
    shown
        Whether the figure is pyplot's own, or one for a file alone.
    """
    panels = _panels(result)
    width, height = classes_size(result.classes)
    rows = max((len(names) * len(scores) for _, names, scores in panels), default=0)
    below = 1.4 + 0.24 * rows if panels else 0.0
    figure = new_canvas((width, height + below), shown=shown)
    if title:
        figure.suptitle(title)
    if not panels:
        fill_classes(figure, {"map": result.scores}, result.matrix, result.classes)
        return figure
    parts: Any = figure.subfigures(2, 1, height_ratios=(height, below))
    upper, lower = parts
    fill_classes(upper, {"map": result.scores}, result.matrix, result.classes)
    for ax, panel in zip(lower.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_panel(ax, *panel)
    return figure


def _panels(result: Evaluation) -> list[tuple[str, list[str], dict[str, list[float]]]]:
    """Title, names of the rows and scores by name of each panel."""
    panels = []
    if result.zones:
        worst = sorted(result.zones.items(), key=lambda zone: np.nan_to_num(zone[1].miou, nan=2))
        drawn = worst[:_MOST_ZONES] if len(worst) > _MOST_ZONES else list(result.zones.items())
        told = "zones" if drawn == list(result.zones.items()) else f"the {_MOST_ZONES} worst zones"
        scores = {
            "mean IoU": [zone.miou for _, zone in drawn],
            "accuracy": [zone.accuracy for _, zone in drawn],
        }
        panels.append((told, [wrapped(name, NAME_WIDTH) for name, _ in drawn], scores))
    if result.borders:
        found = result.borders.values()
        scores = {
            "boundary IoU": [one.miou for one in found],
            "accuracy near": [one.accuracy_near for one in found],
            "accuracy beyond": [one.accuracy_beyond for one in found],
        }
        panels.append(("borders of classes", [f"{width} px" for width in result.borders], scores))
    return panels


def _draw_panel(
    ax: Axes, title: str, names: Sequence[str], scores: Mapping[str, Sequence[float]]
) -> None:
    rows = np.arange(len(names))[::-1]
    height = 0.8 / len(scores)
    for number, ((name, lengths), color) in enumerate(zip(scores.items(), _BARS, strict=False)):
        places = rows + 0.4 - height * (number + 0.5)
        bars: Any = ax.barh(places, np.nan_to_num(lengths), height * 0.92, color=color, label=name)
        told = ["absent" if np.isnan(length) else f"{length:.3f}" for length in lengths]
        ax.bar_label(bars, told, padding=3, fontsize=8)
    ax.set_yticks(rows, list(names))
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.set(xlim=(0, 1), title=title)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=len(scores), loc="upper center", bbox_to_anchor=(0.5, -0.1))
