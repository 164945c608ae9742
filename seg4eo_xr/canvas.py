"""Figures and picture files, for every part that draws; matplotlib is loaded when one is made."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from seg4eo_xr.staging import commit, staging

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.figure import Figure

_DOTS_PER_INCH = 110


def new_canvas(size: tuple[float, float], *, shown: bool) -> Figure:
    """Make an empty figure of a size in inches: pyplot's own, or one for a file alone."""
    if shown:
        from matplotlib import pyplot

        return pyplot.figure(figsize=size, layout="constrained")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def require_picture(path: str | PathLike[str]) -> None:
    """Raise ValueError where matplotlib knows no format of a path's suffix, or it is a raster's."""
    from matplotlib.backend_bases import FigureCanvasBase

    # What ends in .tif is a map or a scene, which a picture must not replace.
    known = set(FigureCanvasBase.get_supported_filetypes()) - {"tif", "tiff"}
    if Path(path).suffix[1:].lower() not in known:
        raise ValueError(
            f"cannot write a picture as {path}: its name must end in one of "
            f"{', '.join(f'.{suffix}' for suffix in sorted(known))}; .png is a good choice"
        )


def wrapped(text: str, width: int) -> str:
    """Break a text into lines between its words, which underscores part as blanks do.

    Nothing is left out, so that different names stay different.

    Examples
    --------
    >>> wrapped("broadleaved_evergreen_forest", 24).splitlines()
    ['broadleaved_evergreen_', 'forest']
    """
    return fill(text.replace("_", "_ "), width).replace("_ ", "_")


def write_figure(figure: Figure, path: str | PathLike[str]) -> Path:
    """Write a figure whole or not at all; what stands at `path` is replaced.

    Raises
    ------
    FileNotFoundError, OSError
        If the folder does not exist or cannot be written to.
    ValueError
        If matplotlib knows no format of that suffix.
    """
    path = Path(path)
    require_picture(path)
    with staging(path, overwrite=True) as folder:
        unfinished = folder / f"picture{path.suffix}"
        figure.savefig(unfinished, dpi=_DOTS_PER_INCH)
        commit(unfinished, path)
    return path
