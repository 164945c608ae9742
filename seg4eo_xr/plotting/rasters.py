"""Scenes, labels, maps and confidence drawn where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.plotting.figures import class_entries, draw_legend, extent, finish_axes, new_figure
from seg4eo_xr.plotting.pixels import (
    WHITE,
    band_limits,
    choose_bands,
    class_colors,
    stretched,
    thinned,
)
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.contract import valid_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_scene(
    scene: xr.DataArray, *, bands: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw three bands of a scene as red, green and blue, or one band in grey.

    Each band is stretched from its 2nd to its 98th percentile; nodata is white. Large scenes are
    thinned before anything is computed.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``.
    bands
        Names of one or three bands. By default red, green and blue where the names tell them
        (``B04``, ``red``, ...), else the first three.
    ax
        Where to draw; a new pyplot figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If a band does not exist, or there are neither one nor three.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> plot_scene(scene).get_title()
    'scene (B04, B03, B02)'
    """
    names = [str(name) for name in scene["band"].values]
    chosen = choose_bands(names, bands)
    values = thinned(scene.isel(band=chosen)).transpose("band", "y", "x").values
    valid = valid_mask(values, scene.rio.nodata)
    image = stretched(values, valid, band_limits(values, valid), WHITE)
    if ax is None:
        ax = new_figure(1, scene)[1][0]
    shown = image if len(chosen) == 3 else image[..., 0]
    ax.imshow(shown, extent=extent(scene), interpolation="nearest", cmap="gray", vmin=0, vmax=1)
    finish_axes(ax, scene, f"scene ({', '.join(names[i] for i in chosen)})")
    return ax


def plot_map(
    classes: xr.DataArray, *, ax: Axes | None = None, legend: bool = True, title: str | None = None
) -> Axes:
    """Draw labels or a map of classes in the colours of its class table.

    Parameters
    ----------
    classes
        Codes ``(y, x)``; names and colours from its attributes (`ClassTable.to_attrs`), or a
        default palette for the codes that occur. Nodata is white.
    ax
        Where to draw; a new pyplot figure by default.
    legend
        Whether to draw the names of the classes below.
    title
        Title; the array's name by default.

    Returns
    -------
    Axes
    """
    codes = thinned(classes).transpose("y", "x").values
    table = table_of(classes, codes)
    place: Figure | Axes | None = ax
    if ax is None:
        place, (ax,) = new_figure(1, classes, legend=legend)
    colors, _ = class_colors(codes, table)
    ax.imshow(colors, extent=extent(classes), interpolation="nearest")
    finish_axes(ax, classes, title or str(classes.name or "classes"))
    if legend:
        draw_legend(place, class_entries([table]))
    return ax


def plot_labels(labels: xr.DataArray, **options: Any) -> Axes:
    """Draw labels, as `plot_map` draws maps."""
    return plot_map(labels, **{"title": "labels", **options})


def plot_confidence(confidence: xr.DataArray, *, ax: Axes | None = None) -> Axes:
    """Draw how sure the model is of its class, from 0 to 1, with a colour bar.

    Parameters
    ----------
    confidence
        Probability of the class given, ``(y, x)``; NaN is white.
    ax
        Where to draw; a new pyplot figure by default.

    Returns
    -------
    Axes
    """
    values = thinned(confidence).transpose("y", "x").values
    if ax is None:
        ax = new_figure(1, confidence)[1][0]
    image = ax.imshow(
        values, extent=extent(confidence), interpolation="nearest", cmap="viridis", vmin=0, vmax=1
    )
    figure: Any = ax.get_figure(root=True)
    figure.colorbar(image, ax=ax, shrink=0.8, label="probability of the class")
    finish_axes(ax, confidence, "confidence")
    return ax


def table_of(classes: xr.DataArray, codes: np.ndarray) -> ClassTable:
    """Class table of a layer's attributes, or one of the codes that occur."""
    table = ClassTable.from_attrs(classes.attrs)
    if table is not None:
        return table
    nodata = nodata_of(classes)
    found = [int(code) for code in np.unique(codes) if code != nodata]
    return ClassTable.from_codes(found or [0])
