"""Scenes, labels, maps and confidence drawn where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.plotting.figures import class_entries, draw_legend, extent, finish_axes, new_figure
from seg4eo_xr.plotting.pixels import WHITE, band_limits, choose_bands, class_colors, stretched
from seg4eo_xr.plotting.reading import read_thinned
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.contract import valid_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Size = tuple[float, float]
# What the colour bar of a layer counts. All run from 0 to 1; others from 0 to their largest.
_MEASURES = {
    "confidence": "probability of the class",
    "entropy": "entropy (1: all classes alike)",
    "margin": "probability of the best class less the next",
}


def plot_scene(
    scene: xr.DataArray,
    *,
    bands: Sequence[str] | None = None,
    ax: Axes | None = None,
    figsize: Size | None = None,
    title: str | None = None,
) -> Axes:
    """Draw three bands of a scene as red, green and blue, or one band in grey.

    Each band is stretched from its 2nd to its 98th percentile; nodata is white. Of a large scene as
    few pixels are read as the picture needs; see `seg4eo_xr.plotting.reading.read_thinned`.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``.
    bands
        Names of one or three bands. By default red, green and blue where the names tell them
        (``B04``, ``red``, ...), else the first three.
    ax
        Where to draw; a new pyplot figure by default.
    figsize
        Width and height of the new figure, in inches.
    title
        Title; by default the bands' names.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If a band does not exist, there are neither one nor three, or the scene has dates.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> plot_scene(scene).get_title()
    'scene (B04, B03, B02)'
    """
    image, _, chosen = scene_picture(scene, bands)
    if ax is None:
        ax = new_figure(1, scene, size=figsize)[1][0]
    shown = image if len(chosen) == 3 else image[..., 0]
    ax.imshow(shown, extent=extent(scene), interpolation="nearest", cmap="gray", vmin=0, vmax=1)
    finish_axes(ax, scene, f"scene ({', '.join(chosen)})" if title is None else title)
    return ax


def scene_picture(
    scene: xr.DataArray, bands: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Make the picture of a scene that `plot_scene` draws.

    Parameters
    ----------
    scene, bands
        As in `plot_scene`.

    Returns
    -------
    image : ndarray of float32, ``(y, x, band)``
        From 0 to 1, thinned.
    valid : ndarray of bool, ``(y, x)``
        Which of its pixels hold data.
    names : tuple of str
        The three bands, or the one, that it shows.
    """
    if extra := set(scene.dims) - {"band", "y", "x"}:
        name = sorted(map(str, extra))[0]
        raise ValueError(f"a picture shows one {name}; choose it, as with scene.isel({name}=0)")
    names = [str(name) for name in scene["band"].values]
    chosen = choose_bands(names, bands)
    values = read_thinned(scene, chosen)
    valid = valid_mask(values, scene.rio.nodata)
    image = stretched(values, valid, band_limits(values, valid), WHITE)
    return image, valid, tuple(names[i] for i in chosen)


def plot_map(
    classes: xr.DataArray,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
    legend: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw labels or a map of classes in the colours of its class table.

    Parameters
    ----------
    classes
        Codes ``(y, x)``; names and colours from its attributes (`ClassTable.to_attrs`), or a
        default palette for the codes that occur. Nodata is white.
    ax
        Where to draw; a new pyplot figure by default.
    figsize
        Width and height of the new figure, in inches.
    legend
        Whether to draw the names of the classes: below a new figure, beside axes that are given.
    title
        Title; the array's name by default.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> plot_map(labels, legend=False).get_title()
    'labels'
    """
    codes = read_thinned(classes)
    table = table_of(classes, codes)
    place: Figure | Axes | None = ax
    if ax is None:
        place, (ax,) = new_figure(1, classes, size=figsize, legend=legend)
    colors, _ = class_colors(codes, table)
    ax.imshow(colors, extent=extent(classes), interpolation="nearest")
    finish_axes(ax, classes, _name(classes) if title is None else title)
    if legend:
        draw_legend(place, class_entries([(table, codes)]))
    return ax


def _name(layer: xr.DataArray, otherwise: str = "classes") -> str:
    return str(layer.attrs.get("long_name") or layer.name or otherwise)


def plot_labels(labels: xr.DataArray, **options: Any) -> Axes:
    """Draw labels, as `plot_map` draws maps.

    Parameters
    ----------
    labels
        Codes ``(y, x)``.
    **options
        Options of `plot_map`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> plot_labels(labels).get_xlabel()
    'easting (km)'
    """
    return plot_map(labels, **{"title": _name(labels, "labels"), **options})


def plot_confidence(
    confidence: xr.DataArray,
    *,
    ax: Axes | None = None,
    figsize: Size | None = None,
    title: str | None = None,
) -> Axes:
    """Draw how sure the model is, from 0 to 1, with a colour bar.

    Parameters
    ----------
    confidence
        A layer of real numbers, ``(y, x)``: probability of the class given, or entropy, margin or
        disagreement; NaN is white.
    ax
        Where to draw; a new pyplot figure by default.
    figsize
        Width and height of the new figure, in inches.
    title
        Title; the array's name by default.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> sure = labels.where(labels != 255) / 10
    >>> plot_confidence(sure.rename("confidence"), figsize=(5, 4)).get_title()
    'confidence'
    """
    name = str(confidence.name or "confidence")
    values = read_thinned(confidence)
    if ax is None:
        ax = new_figure(1, confidence, size=figsize)[1][0]
    image = ax.imshow(
        values,
        extent=extent(confidence),
        interpolation="nearest",
        cmap="viridis",
        vmin=0,
        vmax=1 if name in _MEASURES else None,
    )
    figure: Any = ax.get_figure(root=True)
    figure.colorbar(image, ax=ax, shrink=0.8, label=_MEASURES.get(name, name))
    finish_axes(ax, confidence, name if title is None else title)
    return ax


def table_of(classes: xr.DataArray, codes: np.ndarray) -> ClassTable:
    """Class table of a layer's attributes, or one of the codes that occur."""
    table = ClassTable.from_attrs(classes.attrs)
    if table is not None:
        return table
    nodata = nodata_of(classes)
    found = [int(code) for code in np.unique(codes) if code != nodata]
    return ClassTable.from_codes(found or [0])
