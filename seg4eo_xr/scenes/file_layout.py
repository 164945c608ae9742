"""What of a raster file becomes the bands of an array, and how its pixels are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.base import tokenize
from rasterio.windows import Window

from seg4eo_xr.pages import empty_pages
from seg4eo_xr.scenes.missing import (
    Missing,
    alpha_band,
    common_dtype,
    fits,
    free_mark,
    mark_missing,
    missing_of,
)
from seg4eo_xr.scenes.palette import Palette, palette_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rasterio import DatasetReader

_MOST_LOOKED_AT = 256  # pixels
# Transparency is 0 or full nearly everywhere, with some numbers between at soft edges.
_MOST_OPACITIES = 40
# Attributes of an array that hold something for each band, and those of a single band.
BY_BAND = {
    "long_name": "long_name",
    "units": "units",
    "scales": "scale_factor",
    "offsets": "add_offset",
}


@dataclass(frozen=True)
class ReadRules:
    """How a file is read.

    Parameters
    ----------
    nodata
        Nodata value that replaces those that the file states.
    mark
        Number that marks missing pixels in the array; by default the file's nodata value.
    keep_alpha
        Whether a band that is marked as alpha is a band like the others.
    codes
        Whether the numbers are codes: they stay what they are, and colour tables do not count.
    """

    nodata: float | None = None
    mark: float | None = None
    keep_alpha: bool = False
    codes: bool = False


@dataclass(frozen=True, eq=False)
class FileLayout:
    """What of a file becomes the bands of an array, and how.

    Parameters
    ----------
    blocks
        Height and width of the file's blocks.
    bands
        Numbers of the file's bands that are read.
    dtype
        Dtype of the array.
    missing
        How missing pixels are marked.
    palette
        Colours that replace indices.
    mixed
        Whether the bands differ in dtype.
    """

    blocks: tuple[int, int]
    bands: tuple[int, ...]
    dtype: np.dtype[Any]
    missing: Missing
    palette: Palette | None = None
    mixed: bool = False

    @property
    def count(self) -> int:
        """Number of bands of the array."""
        return len(self.missing.nodata)

    def attrs_of(self, attrs: Mapping[Any, Any]) -> dict[Any, Any]:
        """Attributes of the file, with those of the bands that are left and one nodata value."""
        kept = {key: value for key, value in attrs.items() if key != "_FillValue"}
        if self.palette is not None:
            kept.pop("long_name", None)
        for key, value in kept.items():
            if key in BY_BAND and isinstance(value, (tuple, list)):
                kept[key] = tuple(value[band - 1] for band in self.bands)
        return kept if self.missing.mark is None else {**kept, "_FillValue": self.missing.mark}

    @property
    def changes_numbers(self) -> bool:
        """Whether the array holds other numbers than the file."""
        return self.palette is not None or self.missing.changes_numbers

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return "FileLayout", self.bands, str(self.dtype), self.missing, tokenize(self.palette)


def read_window(
    file: DatasetReader, layout: FileLayout, bands: Sequence[int], window: Any
) -> np.ndarray:
    """Read some bands of a window; missing pixels have the layout's nodata value.

    Parameters
    ----------
    file
        An open file.
    layout
        Its layout.
    bands
        Positions of the bands in the array.
    window
        Rows and columns, ``((top, bottom), (left, right))``.
    """
    missing = layout.missing
    shape = (len(bands), *(max(0, stop - start) for start, stop in window))
    values = empty_pages(shape, layout.dtype)
    if 0 in shape:
        return values
    if layout.palette is not None:
        indices = file.read(layout.bands[0], window=window)
        values[...] = layout.palette.colors[indices][..., list(bands)].transpose(2, 0, 1)
        hidden = layout.palette.hidden[indices] | missing.hidden(file, bands, window)
    else:
        chosen = [layout.bands[band] for band in bands]
        if layout.mixed:
            for number, plane in zip(chosen, values, strict=True):
                file.read(number, window=window, out=plane)
        else:
            file.read(chosen, window=window, out=values)
        if not missing.changes_numbers:
            return values
        hidden = missing.hidden(file, bands, window)
    if missing.mark is not None:
        mark_missing(values, hidden, [missing.nodata[band] for band in bands], missing.mark)
    return values


def layout_of(file: DatasetReader, what: str, rules: ReadRules) -> FileLayout:
    """Find out what of an open file becomes the bands of an array.

    Parameters
    ----------
    file
        An open file.
    what
        What error messages call it.
    rules
        How it is read.

    Raises
    ------
    ValueError
        If one of several bands has a colour table.
    """
    alpha = None if rules.keep_alpha else alpha_band(file)
    bands = tuple(number for number in range(1, file.count + 1) if number != alpha)
    dtype = common_dtype(file, bands)
    missing = missing_of(file, bands, dtype, nodata=rules.nodata, alpha=alpha)
    dtypes = file.dtypes
    mixed = len({dtypes[band - 1] for band in bands}) > 1
    height, width = file.block_shapes[0]
    layout = FileLayout((int(height), int(width)), bands, dtype, missing, mixed=mixed)
    palette = None if rules.codes else palette_of(file, bands, what)
    if palette is not None:
        missing = palette.missing(missing, rules.nodata)
        layout = replace(layout, dtype=palette.colors.dtype, missing=missing, palette=palette)
    elif rules.codes and missing.hides and missing.nodata[0] is None:
        dtype, mark = free_mark(dtype)
        layout = replace(layout, dtype=dtype, missing=replace(missing, mark=mark))
    if rules.mark is not None:
        layout = replace(layout, missing=replace(layout.missing, mark=rules.mark))
    return layout


def notices_of(file: DatasetReader, layout: FileLayout, rules: ReadRules) -> Iterator[str]:
    """What a user should know of a scene that is read with a layout."""
    stated = file.nodatavals[layout.bands[0] - 1]
    if layout.missing.alpha is not None:
        yield (
            f"band {layout.missing.alpha} of the scene's {file.count} bands is marked as alpha: it "
            f"says which pixels are missing, and is no band of the scene; {_advice(file, layout)}"
        )
    if layout.palette is not None:
        yield (
            "the scene holds indices of a colour table; they become red, green and blue (maps of "
            "classes are opened with open_map or open_labels)"
        )
    elif rules.nodata is None and stated is not None and not fits(stated, layout.dtype):
        yield (
            f"the scene's nodata value {stated:g} fits no pixel of {layout.dtype}, so it marks "
            "nothing; give the right one with nodata= (--nodata)"
        )
    if layout.mixed:
        found = sorted({file.dtypes[band - 1] for band in layout.bands})
        yield (
            f"the bands of the scene have different dtypes, {', '.join(found)}; all of them are "
            f"read as {layout.dtype}"
        )


def _advice(file: DatasetReader, layout: FileLayout) -> str:
    """What to do about an alpha band, by the numbers in the middle of the file."""
    assert layout.missing.alpha is not None
    height, width = (min(side, _MOST_LOOKED_AT) for side in layout.blocks)
    top, left = (file.height - height) // 2, (file.width - width) // 2
    looked = Window(max(0, left), max(0, top), width, height)
    values = np.unique(file.read(layout.missing.alpha, window=looked))
    keep = "with keep_alpha=True (--keep_alpha)"
    if values.size > _MOST_OPACITIES:
        return (
            f"its {values.size} different numbers in the middle of the file look like data, such "
            f"as near infrared: if so, keep it {keep}"
        )
    return f"if it holds data, such as near infrared, keep it {keep}"
