"""Figures of rasters, their axes and legends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.canvas import new_canvas

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from seg4eo_xr.scenes.classes import ClassTable

_PANEL_INCHES = 4.6

# Inches of a legend: a patch with its gaps, and a letter; names count as no shorter than so many.
_LEGEND_MARK, _LETTER, _SHORT = 0.6, 0.085, 9
# Rows of a legend below a picture; more stand at its side.
_MANY_ROWS = 5
# Names of one table that a legend holds at most.
_MANY_CLASSES = 20


def new_figure(
    panels: int,
    like: xr.DataArray,
    *,
    size: tuple[float, float] | None = None,
    legend: bool = False,
    shown: bool = True,
) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels in the raster's proportions, for notebooks or for a file alone.

    Parameters
    ----------
    panels
        How many.
    like
        The raster.
    size
        Width and height of the figure in inches; by default they follow from the raster.
    legend
        Whether a line of names and colours stands below.
    shown
        Whether the figure is pyplot's own, or one for a file alone.
    """
    left, right, bottom, top = extent(like)
    ratio = float(np.clip(abs((top - bottom) / (right - left)), 0.3, 2.5))
    columns = panels if panels < 4 or ratio > 1.5 else 2
    rows = math.ceil(panels / columns)
    # Of a panel, labels take some 0.9 inch of the width and 0.8 of the height.
    height = (_PANEL_INCHES - 0.9) * ratio + 0.8
    natural = (_PANEL_INCHES * columns, height * rows + 0.6 * legend)
    figure = new_canvas(size or natural, shown=shown)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[panels:]:
        unused.remove()
    return figure, axes[:panels]


def class_entries(pictures: Iterable[tuple[ClassTable, np.ndarray]]) -> list[tuple[str, str]]:
    """Name and colour of each class of some pictures, each once.

    Parameters
    ----------
    pictures
        Table and codes of each. Of a table that would hide the picture, the classes with most
        pixels are told.
    """
    return list(dict.fromkeys(entry for picture in pictures for entry in _told(*picture)))


def _told(table: ClassTable, codes: np.ndarray) -> list[tuple[str, str]]:
    entries = list(zip(table.names, table.colors, strict=True))
    if len(table) <= _MANY_CLASSES:
        return entries
    found, pixels = np.unique(codes, return_counts=True)
    most = set(found[np.argsort(pixels)[::-1]][:_MANY_CLASSES].tolist())
    return [entry for code, entry in zip(table.codes, entries, strict=True) if code in most]


def draw_legend(place: Any, entries: Sequence[tuple[str, str]]) -> None:
    """Draw names and colours below a figure of our own, or beside axes that were given."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=color, edgecolor="0.4", linewidth=0.5, label=name)
        for name, color in entries
    ]
    if not isinstance(place, Figure):
        place.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
        return
    longest = max(len(name) for name, _ in entries)
    width = _LEGEND_MARK + _LETTER * max(longest, _SHORT)
    columns = max(1, int(place.get_figwidth() / width))
    if len(handles) > _MANY_ROWS * columns:
        place.set_figwidth(place.get_figwidth() + width)
        place.legend(handles=handles, loc="outside right upper", frameon=False)
        return
    place.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        frameon=False,
    )


def _axis_unit(array: xr.DataArray) -> tuple[str, str, float]:
    """Labels of x and y axis, and CRS units a labelled unit."""
    crs = array.rio.crs
    if crs is None:
        return "column (px)", "row (px)", 1.0
    if crs.is_geographic:
        return "longitude (°)", "latitude (°)", 1.0
    unit = str(crs.linear_units).lower()
    if unit in ("metre", "meter", "m"):
        return "easting (km)", "northing (km)", 1000.0
    return f"easting ({unit})", f"northing ({unit})", 1.0


def extent(array: xr.DataArray) -> tuple[float, float, float, float]:
    """Left, right, bottom and top edge in the axes' unit."""
    left, bottom, right, top = array.rio.bounds(recalc=True)
    unit = _axis_unit(array)[2]
    return left / unit, right / unit, bottom / unit, top / unit


def finish_axes(ax: Axes, array: xr.DataArray, title: str) -> None:
    """Write the title, and what the axes count."""
    from matplotlib.ticker import MaxNLocator

    x_label, y_label, _ = _axis_unit(array)
    ax.set(title=title, xlabel=x_label, ylabel=y_label)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.ticklabel_format(useOffset=False, style="plain")
    ax.tick_params(labelsize="small")
