"""Reliability diagrams: how often confidences are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.canvas import new_canvas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from seg4eo_xr.calibration.reliability import Reliability

_RIGHT, _GAP = "#0072b2", "#d55e00"


def draw_reliability(
    found: Mapping[str, Reliability], *, title: str = "", shown: bool = True
) -> Figure:
    """Draw reliability diagrams side by side, each above the distribution of its confidences.

    Parameters
    ----------
    found
        What to draw, by its title.
    title
        A line above all.
    shown
        Whether the figure is pyplot's own, or one for a file alone.
    """
    figure = new_canvas((4.4 * len(found) + 0.5, 5.9), shown=shown)
    axes = figure.subplots(2, len(found), sharex=True, squeeze=False, height_ratios=(3.2, 1))
    for (name, reliability), (upper, lower) in zip(found.items(), axes.T, strict=True):
        _draw_bins(upper, reliability)
        _draw_shares(lower, reliability)
        upper.set_title(f"{name}: ECE {reliability.ece():.3f}", fontsize="medium")
    axes[0, 0].set_ylabel("share of pixels that are right")
    axes[1, 0].set_ylabel("% of pixels")
    axes[0, 0].legend(loc="upper left", frameon=False, fontsize="small")
    top = 1.5 * max(ax.get_ylim()[1] for ax in axes[1])  # room for the legend
    for ax in axes[1]:
        ax.set_ylim(0, top)
    if title:
        figure.suptitle(title)
    return figure


def _draw_bins(ax: Axes, reliability: Reliability) -> None:
    bins = reliability.bins()
    widths, middles = bins.high - bins.low, (bins.low + bins.high) / 2
    ax.bar(middles, bins.accuracy, widths, color=_RIGHT, edgecolor="white", label="right")
    ax.bar(
        middles,
        bins.gap,
        bottom=bins.accuracy,
        width=widths,
        facecolor="none",
        edgecolor=_GAP,
        hatch="////",
        linewidth=0.8,
        label="gap to the mean confidence",
    )
    ax.plot([0, 1], [0, 1], color="0.3", linewidth=1, linestyle="--", label="confidence = right")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.grid(alpha=0.25)


def _draw_shares(ax: Axes, reliability: Reliability) -> None:
    bins = reliability.bins()
    middles = (bins.low + bins.high) / 2
    shares = 100 * bins.pixels / max(1, reliability.pixels)
    ax.bar(middles, shares, bins.high - bins.low, color="0.6", edgecolor="white", linewidth=0.8)
    for number, what, color, style in (
        (reliability.accuracy, "right", _RIGHT, "-"),
        (reliability.confidence, "mean confidence", _GAP, "--"),
    ):
        ax.axvline(
            number, color=color, linewidth=1.4, linestyle=style, label=f"{what} {number:.3f}"
        )
    ax.legend(loc="upper left", frameon=False, fontsize="small")
    ax.set_xlabel("confidence")
    ax.grid(alpha=0.25)
