"""Labels that are pictures: the colour of a pixel stands for its class."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from seg4eo_xr.scenes.bands import stated_nodata
from seg4eo_xr.scenes.missing import free_mark
from seg4eo_xr.scenes.unlabelled import free_code

if TYPE_CHECKING:
    from seg4eo_xr.scenes.classes import ClassTable

_MOST_LISTED = 8  # colours in a message


# How labels of bytes are read where a mask or an alpha band hides some.
_MASKED = free_mark(np.dtype(np.uint8))

ADVICE = (
    "if their colours stand for classes, give a class table with the colours in classes= "
    "(--classes colours.csv, with the columns code, name and color, or red, green and blue); or "
    "are image and labels swapped?"
)
"""What to do about labels of three bands."""


def is_picture(raster: xr.DataArray) -> bool:
    """Whether a raster ``(band, y, x)`` has red, green and blue as bytes, masked or not."""
    masked = (raster.dtype, stated_nodata(raster)) == _MASKED
    return raster.sizes["band"] == 3 and (raster.dtype == np.uint8 or masked)


def code_of_picture(classes: ClassTable) -> tuple[int, np.dtype]:
    """Code of pixels without a label of pictures in the colours of a table, and the dtype."""
    mark = free_code(classes.codes)
    byte = 0 <= min(classes.codes) <= max(*classes.codes, mark) <= 255 and mark >= 0
    return mark, np.dtype(np.uint8 if byte else np.int16)


def codes_of_picture(
    raster: xr.DataArray, nodata: float | None, classes: ClassTable | None, what: str
) -> xr.DataArray:
    """Give the pixels of a picture the codes of their colours, lazily.

    Parameters
    ----------
    raster
        Red, green and blue, ``(band, y, x)``: see `is_picture`.
    nodata
        Number that all bands of a pixel without a label have, or None.
    classes
        Table with the colours.
    what
        What error messages call the picture.

    Returns
    -------
    DataArray (band, y, x)
        One band of codes, with a nodata value that is no class.

    Raises
    ------
    ValueError
        If there is no table, or it has a colour twice; when it is computed, if a colour is not in
        the table.
    """
    if classes is None:
        raise ValueError(f"{what} have 3 bands, but labels are one band of class codes; {ADVICE}")
    keys = _packed(classes.rgb().T)
    if len(set(keys.tolist())) < len(keys):
        raise ValueError(
            f"the class table has a colour more than once ({', '.join(classes.colors)}), so the "
            f"colours of {what} do not say the class; give each class a colour of its own"
        )
    mark, dtype = code_of_picture(classes)
    given = dict(zip(keys.tolist(), classes.codes, strict=True))
    missing = None if nodata is None else int(_packed(np.full((3, 1), int(nodata)))[0])
    if missing is not None:
        given.setdefault(missing, mark)
    codes = xr.apply_ufunc(
        partial(_coded, given=given, dtype=dtype, what=what),
        raster.variable.chunk({"band": -1}) if raster.chunks is not None else raster.variable,
        input_core_dims=[["band"]],
        dask="parallelized",
        output_dtypes=[dtype],
    )
    plane = raster.isel(band=[0]).copy(data=codes.data[None])
    plane.attrs.pop("_FillValue", None)
    plane.encoding = {}
    marked: xr.DataArray = plane.rio.write_nodata(mark)
    return marked


def _packed(bands: np.ndarray) -> np.ndarray:
    """Colours as one number each, from bands along the first axis."""
    red, green, blue = bands.astype(np.int32)
    return np.asarray((red << 16) | (green << 8) | blue)


def _coded(pixels: np.ndarray, given: dict[int, int], dtype: np.dtype, what: str) -> np.ndarray:
    """Codes of colours, ``(y, x)``, of pixels ``(y, x, band)``."""
    found, position = np.unique(_packed(np.moveaxis(pixels, -1, 0)), return_inverse=True)
    strange = [f"#{color:06x}" for color in found.tolist() if color not in given]
    if strange:
        more = f" and {len(strange) - _MOST_LISTED} more" if len(strange) > _MOST_LISTED else ""
        raise ValueError(
            f"{what} hold the colours {', '.join(strange[:_MOST_LISTED])}{more}, which are not in "
            f"the class table ({', '.join(f'#{color:06x}' for color in given)}); add them to the "
            "table, or save the picture without loss and smoothing (PNG or TIFF instead of JPEG)"
        )
    codes = np.array([given[color] for color in found.tolist()], dtype)
    return np.asarray(codes[position].reshape(pixels.shape[:-1]))
