"""Classes over the scene, and a map beside its reference with the differences marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.canvas import write_figure
from seg4eo_xr.evaluation.confusion import reference_layer
from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.store import class_layer
from seg4eo_xr.plotting.figures import class_entries, draw_legend, extent, finish_axes, new_figure
from seg4eo_xr.plotting.pixels import class_colors
from seg4eo_xr.plotting.rasters import plot_map, plot_scene, table_of
from seg4eo_xr.plotting.reading import read_thinned, thinned
from seg4eo_xr.scenes.grid import crs_text
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.matching import is_numbered, joined

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import geopandas as gpd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from seg4eo_xr.plotting.rasters import Size
    from seg4eo_xr.scenes.classes import ClassTable

_ALIKE, _DIFFERENT = ("alike", "#d9d9d9"), ("different", "#111111")


def plot_overlay(
    scene: xr.DataArray,
    classes: xr.Dataset | xr.DataArray | str | PathLike[str],
    *,
    opacity: float = 0.5,
    bands: Sequence[str] | None = None,
    ax: Axes | None = None,
    figsize: Size | None = None,
) -> Axes:
    """Draw the classes of a map or of labels over the scene.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``.
    classes
        A map, labels, or the path of a map; it may cover a part of the scene, or pixels of another
        size. Its nodata lets the scene through.
    opacity
        Of the classes, 0 (the scene alone) to 1.
    bands, ax, figsize
        As in `seg4eo_xr.plotting.plot_scene`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the two have another CRS, or `opacity` lies outside of 0 to 1.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> len(plot_overlay(scene, labels, opacity=0.4).images)
    2
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity lies from 0 to 1, got {opacity}")
    layer = class_layer(classes)
    if layer.rio.crs != scene.rio.crs:
        raise ValueError(
            f"the scene is in {crs_text(scene.rio.crs)}, the classes in {crs_text(layer.rio.crs)}; "
            "bring them onto the scene: open_labels(..., like=scene, warp=True)"
        )
    codes = read_thinned(layer)
    table = table_of(layer, codes)
    place: Figure | Axes | None = ax
    if ax is None:
        place, (ax,) = new_figure(1, scene, size=figsize, legend=True)
    plot_scene(scene, bands=bands, ax=ax)
    window = ax.get_xlim(), ax.get_ylim()
    picture = classes_picture(codes, table, opacity)
    ax.imshow(picture, extent=extent(layer), interpolation="nearest")
    ax.set(xlim=window[0], ylim=window[1], title=f"{layer.name or 'classes'} over the scene")
    draw_legend(place, class_entries([(table, codes)]))
    return ax


def classes_picture(codes: np.ndarray, table: ClassTable, opacity: float = 1.0) -> np.ndarray:
    """Picture of classes that lets through what has no class.

    Parameters
    ----------
    codes
        Class codes, ``(y, x)``.
    table
        The classes.
    opacity
        Of pixels with a class, 0 to 1.

    Returns
    -------
    ndarray of uint8, ``(y, x, 4)``
    """
    colors, known = class_colors(codes, table)
    alpha = np.where(known, round(255 * opacity), 0).astype(np.uint8)
    return np.concatenate([colors, alpha[..., None]], axis=-1)


def plot_comparison(
    prediction: xr.Dataset | xr.DataArray | str | PathLike[str],
    reference: xr.DataArray | xr.Dataset | gpd.GeoDataFrame | str | PathLike[str],
    *,
    scene: xr.DataArray | None = None,
    figsize: Size | None = None,
    path: str | PathLike[str] | None = None,
    **changes: Any,
) -> Figure:
    """Draw a map beside its reference, and where they differ.

    Of large maps every n-th pixel is compared, so the picture is one of single pixels, not of
    means; `seg4eo_xr.evaluate` counts all of them.

    Parameters
    ----------
    prediction
        A map, or the path of one.
    reference
        Labels, another map, polygons, or what `seg4eo_xr.open_labels` opens.
    scene
        Drawn as a first panel.
    figsize
        Width and height of the figure, in inches.
    path
        Write the picture there, usually as ``.png``, and make no figure of pyplot.
    **changes
        Fields of `seg4eo_xr.LabelOptions`, as ``column="class"`` or ``warp=True``.

    Returns
    -------
    Figure
        A new one.

    Raises
    ------
    ValueError
        If the grids differ and ``warp=True`` is not set, or the map has none of the names of a
        column.
    FileNotFoundError, OSError
        If a file is missing or unreadable, or the picture cannot be written.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> [ax.get_title() for ax in plot_comparison(labels, labels).axes]
    ['reference', 'map', 'different: 0.0 % of the pixels shown']
    """
    layer = class_layer(prediction)
    labels = open_labels(reference_layer(reference), like=layer, **changes)
    found, wanted = thinned(layer).compute(), thinned(labels).compute()
    tables = [table_of(wanted, wanted.values), table_of(found, found.values)]
    differences = _differences(found, wanted, tables)
    figure, axes = new_figure(
        3 + (scene is not None), layer, size=figsize, legend=True, shown=path is None
    )
    panels = iter(axes)
    if scene is not None:
        plot_scene(scene, ax=next(panels))
    for name, drawn in (("reference", wanted), ("map", found)):
        plot_map(drawn, ax=next(panels), legend=False, title=name)
    _draw_differences(next(panels), layer, differences)
    pictures = zip(tables, (wanted.values, found.values), strict=True)
    draw_legend(figure, [*class_entries(pictures), _ALIKE, _DIFFERENT])
    if path is not None:
        write_figure(figure, path)
    return figure


def _differences(found: xr.DataArray, wanted: xr.DataArray, tables: list[ClassTable]) -> np.ndarray:
    """1 where the classes differ, 0 where they are alike, NaN where one of them has none."""
    moved = joined(tables[1], tables[0], by_name=is_numbered(wanted.attrs))[1]
    labels = wanted.values.astype(np.int64)
    same = np.zeros(labels.shape, bool)
    for code in tables[0].codes:
        same |= (labels == code) & (found.values == moved[code])
    known = (found.values != nodata_of(found)) & (labels != nodata_of(wanted))
    return np.where(known, ~same, np.nan)


def _draw_differences(ax: Axes, layer: xr.DataArray, differences: np.ndarray) -> None:
    from matplotlib.colors import ListedColormap

    colors = ListedColormap([_ALIKE[1], _DIFFERENT[1]])
    ax.imshow(
        differences, extent=extent(layer), interpolation="nearest", cmap=colors, vmin=0, vmax=1
    )
    compared = int(np.isfinite(differences).sum())
    share = np.nansum(differences) / compared if compared else np.nan
    finish_axes(ax, layer, f"different: {100 * share:.1f} % of the pixels shown")
