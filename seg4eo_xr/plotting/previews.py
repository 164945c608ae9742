"""A scene, its labels and its map side by side, as one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seg4eo_xr.canvas import write_figure
from seg4eo_xr.plotting.figures import class_entries, draw_legend, new_figure
from seg4eo_xr.plotting.rasters import plot_confidence, plot_map, plot_scene, table_of
from seg4eo_xr.plotting.reading import thinned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from pathlib import Path

    import xarray as xr


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

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> with TemporaryDirectory() as folder:
    ...     preview(scene, None, labels.to_dataset(name="classes"), f"{folder}/p.png").name
    'p.png'
    """
    wanted = [name for name in ("classes", "confidence") if name in prediction]
    shown = thinned(prediction[wanted]).compute()
    figure, axes = new_figure(
        1 + (labels is not None) + len(wanted), scene, legend=True, shown=False
    )
    panels = iter(axes)
    plot_scene(scene, bands=bands, ax=next(panels))
    pictures = []
    for name, layer in (("labels", labels), ("map", shown.get("classes"))):
        if layer is not None:
            plot_map(layer, ax=next(panels), legend=False, title=name)
            codes = thinned(layer).values
            pictures.append((table_of(layer, codes), codes))
    if "confidence" in shown:
        plot_confidence(shown["confidence"], ax=next(panels))
    draw_legend(figure, class_entries(pictures))
    if title:
        figure.suptitle(title)
    return write_figure(figure, path)
