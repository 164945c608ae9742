"""Colour tables of raster files: what the indices of a scene stand for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from rasterio.enums import ColorInterp

from seg4eo_xr.scenes.missing import default_mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rasterio import DatasetReader

    from seg4eo_xr.scenes.missing import Missing


@dataclass(frozen=True, eq=False)
class Palette:
    """A colour table.

    Parameters
    ----------
    colors
        Red, green and blue of each index, ``(index, 3)`` in uint8.
    hidden
        Which indices mark missing pixels, ``(index,)``.
    """

    colors: np.ndarray
    hidden: np.ndarray

    def missing(self, of_indices: Missing, nodata: float | None) -> Missing:
        """How the expanded bands mark missing pixels; `nodata` is a user's number of a colour."""
        mark = nodata
        if mark is None and (self.hidden.any() or of_indices.mark is not None):
            mark = default_mark(self.colors.dtype)
        return replace(of_indices, mark=mark, nodata=(nodata,) * self.colors.shape[1])


def palette_of(file: DatasetReader, bands: Sequence[int], what: str) -> Palette | None:
    """Read the colour table of a file's only band, of integers; None where there is none.

    Raises
    ------
    ValueError
        If one of several bands has a colour table.
    """
    of_all = file.colorinterp
    kinds = [of_all[band - 1] for band in bands]
    if ColorInterp.palette not in kinds or file.dtypes[bands[0] - 1] not in ("uint8", "uint16"):
        return None
    if len(bands) > 1:
        raise ValueError(
            f"band {bands[kinds.index(ColorInterp.palette)]} of {what} holds indices of a colour "
            "table, which are no measurements; leave it out, as with `gdal_translate -b 1 ...`"
        )
    try:
        table = file.colormap(bands[0])
    except ValueError:
        return None
    entries = np.zeros((2 ** (8 * np.dtype(file.dtypes[bands[0] - 1]).itemsize), 4), np.uint8)
    entries[list(table)] = list(table.values())
    hidden = np.zeros(len(entries), bool)
    hidden[[index for index, color in table.items() if color[3] == 0]] = True
    stated = file.nodatavals[bands[0] - 1]
    if stated is not None and float(stated).is_integer() and 0 <= stated < len(entries):
        hidden[int(stated)] = True
    return Palette(entries[:, :3].copy(), hidden)
