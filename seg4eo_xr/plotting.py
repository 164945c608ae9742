"""Pictures of scenes, labels and maps; they never touch pyplot's global state."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.staging import commit, staging
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.contract import valid_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Names that red, green and blue bands go by, most telling first; compared in lower case.
_RED_GREEN_BLUE = (
    ("red", "green", "blue"),
    ("b04", "b03", "b02"),
    ("b4", "b3", "b2"),
    ("r", "g", "b"),
)
_LARGEST_SIDE = 1024  # pixels of a picture's longer side; more cannot be told apart
_PANEL_INCHES = 4.6
_MISSING = 1.0  # white
_GAMMA = 0.75  # lifts dark surfaces, as woods, beside bright ones


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
    chosen = list(bands) if bands is not None else _natural_colors(names)
    unknown = [name for name in chosen if name not in names]
    if unknown or len(chosen) not in (1, 3):
        raise ValueError(f"bands must be one or three of {names}, got {chosen}")
    picked = _thinned(scene.isel(band=[names.index(name) for name in chosen]))
    values = picked.transpose("band", "y", "x").values
    image = _stretched(values, valid_mask(values, scene.rio.nodata))
    if ax is None:
        ax = _new_figure(1, scene)[1][0]
    shown = image if len(chosen) == 3 else image[..., 0]
    ax.imshow(shown, extent=_extent(scene), interpolation="nearest", cmap="gray", vmin=0, vmax=1)
    _finish_axes(ax, scene, f"scene ({', '.join(chosen)})")
    return ax


def _natural_colors(names: list[str]) -> list[str]:
    by_lower_case = {name.lower(): name for name in names}
    for triple in _RED_GREEN_BLUE:
        if set(triple) <= set(by_lower_case):
            return [by_lower_case[name] for name in triple]
    return names[:3] if len(names) >= 3 else names[:1]


def _stretched(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Scale bands to 0..1, ``(y, x, band)``; what is missing is white."""
    image = np.full((*values.shape[1:], values.shape[0]), _MISSING, np.float32)
    if not valid.any():
        return image
    for index, band in enumerate(values.astype(np.float32)):
        low, high = np.percentile(band[valid], (2, 98))
        stretched = (band - low) / max(high - low, 1e-12)
        image[valid, index] = np.clip(stretched[valid], 0, 1) ** _GAMMA
    return image


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
    codes = _thinned(classes).transpose("y", "x").values
    table = _table_of(classes, codes)
    palette = np.full((len(table) + 1, 3), 255, np.uint8)
    palette[:-1] = table.rgb()
    position = np.searchsorted(table.codes, codes).clip(max=len(table) - 1)
    known = np.asarray(table.codes)[position] == codes
    place: Figure | Axes | None = ax
    if ax is None:
        place, (ax,) = _new_figure(1, classes, legend=legend)
    ax.imshow(
        palette[np.where(known, position, len(table))],
        extent=_extent(classes),
        interpolation="nearest",
    )
    _finish_axes(ax, classes, title or str(classes.name or "classes"))
    if legend:
        _draw_legend(place, [table])
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
    values = _thinned(confidence).transpose("y", "x").values
    if ax is None:
        ax = _new_figure(1, confidence)[1][0]
    image = ax.imshow(
        values, extent=_extent(confidence), interpolation="nearest", cmap="viridis", vmin=0, vmax=1
    )
    figure: Any = ax.get_figure(root=True)
    figure.colorbar(image, ax=ax, shrink=0.8, label="probability of the class")
    _finish_axes(ax, confidence, "confidence")
    return ax


def preview(
    scene: xr.DataArray,
    labels: xr.DataArray | None,
    prediction: xr.Dataset,
    path: str | PathLike[str],
    *,
    bands: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Write a picture of a scene, its labels, the map and its confidence side by side.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``.
    labels
        Reference codes ``(y, x)``, if there are any.
    prediction
        ``classes`` and perhaps ``confidence``. A lazy prediction is computed, in one pass; better
        give a map that `open_map` opened.
    path
        Where the picture goes, usually ending in ``.png``; what stands there is replaced.
    bands
        As in `plot_scene`.
    title
        A line above the panels.

    Returns
    -------
    Path
        Where the picture is.
    """
    wanted = [name for name in ("classes", "confidence") if name in prediction]
    shown = _thinned(prediction[wanted]).compute()
    figure, axes = _new_figure(
        1 + (labels is not None) + len(wanted), scene, legend=True, shown=False
    )
    panels = iter(axes)
    plot_scene(scene, bands=bands, ax=next(panels))
    tables = []
    for name, layer in (("labels", labels), ("map", shown.get("classes"))):
        if layer is not None:
            plot_map(layer, ax=next(panels), legend=False, title=name)
            tables.append(_table_of(layer, _thinned(layer).values))
    if "confidence" in shown:
        plot_confidence(shown["confidence"], ax=next(panels))
    _draw_legend(figure, tables)
    if title:
        figure.suptitle(title)
    path = Path(path)
    with staging(path, overwrite=True) as folder:
        unfinished = folder / f"picture{path.suffix}"
        figure.savefig(unfinished, dpi=110)
        commit(unfinished, path)
    return path


def _new_figure(
    panels: int, like: xr.DataArray, *, legend: bool = False, shown: bool = True
) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels in the raster's proportions, for notebooks or for a file alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left, right, bottom, top = _extent(like)
    ratio = float(np.clip(abs((top - bottom) / (right - left)), 0.3, 2.5))
    columns = panels if panels < 4 or ratio > 1.5 else 2
    rows = math.ceil(panels / columns)
    # Of a panel, labels take some 0.9 inch of the width and 0.8 of the height.
    height = (_PANEL_INCHES - 0.9) * ratio + 0.8
    size = (_PANEL_INCHES * columns, height * rows + 0.6 * legend)
    if shown:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=size, layout="constrained")
    else:
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[panels:]:
        unused.remove()
    return figure, axes[:panels]


def _thinned(array: Any) -> Any:
    """Take every n-th pixel, so that the longer side fits a picture."""
    step = math.ceil(max(array.sizes["y"], array.sizes["x"]) / _LARGEST_SIDE)
    # The middle of each step, so that the picture does not shift.
    every = slice(step // 2, None, step)
    return array.isel(y=every, x=every) if step > 1 else array


def _table_of(classes: xr.DataArray, codes: np.ndarray) -> ClassTable:
    table = ClassTable.from_attrs(classes.attrs)
    if table is not None:
        return table
    nodata = nodata_of(classes)
    found = [int(code) for code in np.unique(codes) if code != nodata]
    return ClassTable.from_codes(found or [0])


def _draw_legend(place: Any, tables: Sequence[ClassTable]) -> None:
    """Draw the names below a figure of our own, or beside axes that were given."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    entries = {
        (name, color): Patch(facecolor=color, edgecolor="0.4", linewidth=0.5, label=name)
        for table in tables
        for name, color in zip(table.names, table.colors, strict=True)
    }
    handles = list(entries.values())
    if not isinstance(place, Figure):
        place.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
        return
    columns = max(1, int(place.get_figwidth() / 1.5))
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


def _extent(array: xr.DataArray) -> tuple[float, float, float, float]:
    """Left, right, bottom and top edge in the axes' unit."""
    left, bottom, right, top = array.rio.bounds(recalc=True)
    unit = _axis_unit(array)[2]
    return left / unit, right / unit, bottom / unit, top / unit


def _finish_axes(ax: Axes, array: xr.DataArray, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    x_label, y_label, _ = _axis_unit(array)
    ax.set(title=title, xlabel=x_label, ylabel=y_label)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.ticklabel_format(useOffset=False, style="plain")
    ax.tick_params(labelsize="small")
