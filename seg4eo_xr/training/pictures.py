"""Pictures of a training: its course over the epochs, and what it is worth for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.canvas import new_canvas, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.training.intervals import Interval
    from seg4eo_xr.training.metrics import Scores

Log = dict[str, "NDArray[np.float64]"]

_TRAIN, _VALIDATION = "#0072b2", "#d55e00"
_GREY = "0.45"
NAME_WIDTH = 24
"""Letters of a line that fit beside an axis."""

_MATRIX_CLASSES = 12  # as many can be told in a matrix with numbers in it


def draw_training(
    log: Log, classes: ClassTable, *, title: str = "", best_epoch: int = 0, shown: bool = True
) -> Figure:
    """Draw loss, mIoU, learning rate and the IoU of each class over the epochs.

    Parameters
    ----------
    log
        Columns of the log, ``(epoch,)`` each, as `read_log` gives them.
    classes
        Names and colours.
    title
        A line above the panels.
    best_epoch
        Epoch to mark, from 1; 0 marks none.
    shown
        Whether the figure is pyplot's own, or one for a file alone.
    """
    figure = new_canvas((10.5, 7.2), shown=shown)
    axes = figure.subplots(2, 2, sharex=True)
    epochs = log["epoch"]
    loss, miou, rate, ious = axes.ravel()
    for name, label, color in (
        ("train_loss", "training", _TRAIN),
        ("val_loss", "validation", _VALIDATION),
    ):
        _line(loss, epochs, log[name], color, label)
    _line(miou, epochs, log["val_miou"], _VALIDATION, "validation")
    _line(rate, epochs, log["learning_rate"], _GREY, "")
    rate.set_yscale("log")
    for name, color in zip(classes.names, classes.colors, strict=True):
        values = log[f"iou_{name}"]
        absent = " (absent)" if np.isnan(values).all() else ""
        _line(ious, epochs, values, color, wrapped(name, NAME_WIDTH) + absent)
    best = log["val_miou"][epochs == best_epoch]
    told = f": {best[0]:.3f} in epoch {best_epoch}, the best" if len(best) else ""
    titles = ("loss", f"mean IoU{told}", "learning rate", "IoU of each class")
    for ax, text in zip(axes.ravel(), titles, strict=True):
        ax.set_title(text, fontsize="medium")
        ax.grid(alpha=0.25)
        if len(best):
            ax.axvline(best_epoch, color="0.7", linewidth=1, linestyle="--", zorder=0)
    for ax in (miou, ious):
        ax.set_ylim(0, 1)
    _label_epochs(axes[1], epochs)
    loss.legend(frameon=False)
    ious.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    if title:
        figure.suptitle(title)
    return figure


def draw_classes(
    found: Mapping[str, Scores],
    matrix: NDArray[np.int64],
    classes: ClassTable,
    *,
    title: str = "",
    shown: bool = True,
) -> Figure:
    """Draw the IoU of each class as bars, and the confusion matrix beside them.

    Parameters
    ----------
    found
        Scores by the name of the split.
    matrix
        Pixel counts of the last split, ``(class, class)``: a row for each class of the labels.
    classes
        Names and colours.
    title
        A line above the panels.
    shown
        Whether the figure is pyplot's own, or one for a file alone.
    """
    figure = new_canvas(classes_size(classes), shown=shown)
    fill_classes(figure, found, matrix, classes)
    if title:
        figure.suptitle(title)
    return figure


def classes_size(classes: ClassTable) -> tuple[float, float]:
    """Width and height in inches that `fill_classes` needs for so many classes."""
    side = float(np.clip(0.55 * len(classes) + 2, 4.2, 9))
    return 2.2 * side + 1, side


def fill_classes(
    figure: Figure | SubFigure,
    found: Mapping[str, Scores],
    matrix: NDArray[np.int64],
    classes: ClassTable,
) -> None:
    """Draw what `draw_classes` draws into a figure that is there."""
    bars, square = figure.subplots(1, 2)
    _draw_bars(bars, found, classes)
    _draw_matrix(square, matrix, classes, split=list(found)[-1])


def draw_folds(
    intervals: Mapping[str, Interval],
    values: Mapping[str, NDArray[np.float64]],
    colors: Mapping[str, str],
    *,
    title: str = "",
    shown: bool = True,
) -> Figure:
    """Draw scores over folds: a dot a fold, the mean and its interval as a bar.

    Parameters
    ----------
    intervals
        Of each score, by its name.
    values
        One a fold, ``(fold,)``, by the names of `intervals`.
    colors
        As ``#rrggbb``; scores without one are grey.
    title
        A line above the panel.
    shown
        Whether the figure is pyplot's own, or one for a file alone.
    """
    figure = new_canvas((8, 0.45 * len(intervals) + 1.4), shown=shown)
    ax = figure.subplots()
    rows = np.arange(len(intervals))[::-1]
    for row, (name, found) in zip(rows, intervals.items(), strict=True):
        color = colors.get(name, _GREY)
        if not np.isnan(found.low):
            ax.plot([found.low, found.high], [row, row], color=color, linewidth=6, alpha=0.35)
        ax.plot(values[name], np.full(len(values[name]), row), "o", color=color, markersize=5)
        ax.plot(found.mean, row, "|", color="0.1", markersize=16, markeredgewidth=2)
        ax.annotate(
            str(found),
            (1.01, row),
            xycoords=("axes fraction", "data"),
            verticalalignment="center",
            fontsize="small",
        )
    ax.set_yticks(rows, [wrapped(name, NAME_WIDTH) for name in intervals])
    ax.set(xlim=(0, 1), ylim=(-0.7, len(rows) - 0.3))
    ax.grid(alpha=0.25, axis="x")
    ax.set_xlabel("dots: folds; line: mean; bar: 95 % t interval of the mean")
    if title:
        ax.set_title(title)
    return figure


def _line(ax: Axes, x: NDArray[Any], y: NDArray[Any], color: str, label: str) -> None:
    marker = "o" if len(x) < 3 else ""  # one epoch alone makes no line
    ax.plot(x, y, color=color, label=label, marker=marker, linewidth=1.8)


def _label_epochs(axes: Any, epochs: NDArray[Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        ax.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)


def _draw_bars(ax: Axes, found: Mapping[str, Scores], classes: ClassTable) -> None:
    from matplotlib.patches import Patch

    rows = np.arange(len(classes))[::-1]
    height = 0.8 / len(found)
    handles = []
    for number, (split, its) in enumerate(found.items()):
        places = rows + 0.4 - height * (number + 0.5)
        last = number == len(found) - 1
        looks: dict[str, Any] = {
            "edgecolor": "0.35",
            "linewidth": 0.6,
            "hatch": "" if last else "///",
            "alpha": 1.0 if last else 0.55,
        }
        lengths = np.nan_to_num(its.iou)
        ax.barh(places, lengths, height * 0.92, color=classes.colors, **looks)
        for place, length, iou in zip(places, lengths, its.iou, strict=True):
            text = "absent" if np.isnan(iou) else f"{iou:.3f}"
            ax.text(length + 0.01, place, text, verticalalignment="center", fontsize=8)
        mean = "" if np.isnan(its.miou) else f" (mean {its.miou:.3f})"
        handles.append(Patch(facecolor="0.8", label=split + mean, **looks))
    ax.set_yticks(rows, [wrapped(name, NAME_WIDTH) for name in classes.names])
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.set(xlim=(0, 1), title="IoU of each class")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        handles=handles,
        frameon=False,
        ncols=len(handles),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.06),
    )


def _draw_matrix(ax: Axes, matrix: NDArray[np.int64], classes: ClassTable, *, split: str) -> None:
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [wrapped(name, NAME_WIDTH) for name in classes.names]
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.set(title=f"{split}: % of the label's pixels", xlabel="found", ylabel="label")
    if len(names) > _MATRIX_CLASSES:
        ax.figure.colorbar(image, ax=ax, label="share of the label's pixels")
        return
    for row, column in np.ndindex(*matrix.shape):
        share = shares[row, column]
        text = "–" if np.isnan(share) else f"{100 * share:.1f}"
        ax.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.55 else "0.15",
        )
