"""Missing pixels of a raster file: nodata of each band, masks and alpha, as one nodata value."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags

from seg4eo_xr.notices import Seg4EOWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rasterio import DatasetReader


# What a band of transparency is called, where it is not just numbered
_ALPHA_NAME = re.compile(r"^band[ _]*\d+$|alpha|mask|opacity|transparen")
_WIDER = {
    **{"int8": "int16", "uint8": "int16", "int16": "int32", "uint16": "int32"},
    **{"int32": "int64", "uint32": "int64"},
}


class SceneWarning(Seg4EOWarning):
    """A scene's bands or missing pixels may be others than meant."""


@dataclass(frozen=True)
class Missing:
    """How a file marks its missing pixels, and the number that marks them in the scene.

    Parameters
    ----------
    mark
        The scene's nodata value; None where no pixel can be missing.
    nodata
        Nodata value of each band that its dtype can hold, or None.
    alpha
        Number of the file's band that is 0 where a pixel is missing.
    masks
        Numbers of the file's bands whose masks are read: the first band's for a mask of the whole
        file, those of all bands of the scene where each has its own.
    """

    mark: float | None = None
    nodata: tuple[float | None, ...] = ()
    alpha: int | None = None
    masks: tuple[int, ...] = ()

    @property
    def hides(self) -> bool:
        """Whether there is more than numbers that says which pixels are missing."""
        return bool(self.masks) or self.alpha is not None

    @property
    def changes_numbers(self) -> bool:
        """Whether numbers have to change, since the file needs more than one nodata value."""
        return self.hides or any(not _same(number, self.mark) for number in self.nodata)

    def hidden(self, file: DatasetReader, positions: Sequence[int], window: Any) -> np.ndarray:
        """Read what masks and alpha hide: ``(1, y, x)``, or a plane for each of some bands."""
        numbers = [self.masks[i] for i in positions] if len(self.masks) > 1 else list(self.masks)
        planes = [file.read_masks(numbers, window=window)] if numbers else []
        if self.alpha is not None:
            planes.append(file.read([self.alpha], window=window))
        hidden = np.zeros((1, 1, 1), bool)
        for plane in planes:
            hidden = hidden | (plane == 0)
        return hidden


def missing_of(
    file: DatasetReader,
    bands: Sequence[int],
    dtype: np.dtype[Any],
    *,
    nodata: float | None,
    alpha: int | None,
) -> Missing:
    """Find out how an open file marks the missing pixels of some bands; reads no pixel.

    Parameters
    ----------
    file
        An open file.
    bands
        Numbers of the bands.
    dtype
        What they are read in.
    nodata
        Nodata value that replaces those that the file states.
    alpha
        Number of the alpha band.
    """
    # each of these asks for all bands
    own, kinds_of = file.nodatavals, file.mask_flag_enums
    stated = [own[band - 1] if nodata is None else nodata for band in bands]
    usable = [one if one is not None and fits(one, dtype) else None for one in stated]
    flags = [set(kinds_of[band - 1]) for band in bands]
    masks: tuple[int, ...] = ()
    if any(not kinds for kinds in flags):
        masks = tuple(bands)
    elif any(MaskFlags.per_dataset in kinds and MaskFlags.alpha not in kinds for kinds in flags):
        masks = (bands[0],)
    missing = Missing(None, tuple(usable), alpha, masks)
    default = default_mark(dtype) if missing.hides else None
    return replace(missing, mark=next((one for one in usable if one is not None), default))


def mark_missing(
    values: np.ndarray, hidden: np.ndarray, nodata: Sequence[float | None], mark: float
) -> None:
    """Give missing pixels the nodata value, in place: the kernel.

    A valid number that equals the nodata value moves by one, so that it stays valid.

    Parameters
    ----------
    values
        Stored numbers ``(band, y, x)``; changed.
    hidden
        What masks and alpha hide, of a shape that broadcasts.
    nodata
        Nodata value of each band in the file, or None.
    mark
        The nodata value that all bands get.

    Examples
    --------
    >>> values = np.array([[[0, 5, 7]]], np.uint8)
    >>> mark_missing(values, np.array([[[False, True, False]]]), [7], 0)
    >>> values
    array([[[1, 0, 0]]], dtype=uint8)
    """
    number = _as_type(mark, values.dtype)
    for band, own, hides in zip(values, nodata, np.broadcast_to(hidden, values.shape), strict=True):
        missing = hides
        if not _same(own, mark):
            if own is not None:
                gap = _as_type(own, values.dtype)
                missing = missing | (np.isnan(band) if own != own else band == gap)
            band[band == number] = neighbour_of(number)
        band[missing] = number


def neighbour_of(number: Any) -> Any:
    """Return the number of the same dtype that follows, or the one before the highest."""
    dtype = number.dtype
    if dtype.kind == "f":
        return np.nextafter(number, dtype.type(np.inf))
    return dtype.type(int(number) + (1 if number < np.iinfo(dtype).max else -1))


def default_mark(dtype: np.dtype[Any]) -> float:
    """Nodata value of a scene whose file masks pixels and states no number."""
    if dtype.kind == "f":
        return float("nan")
    return 0 if dtype.kind == "u" else int(np.iinfo(dtype).min)


def free_mark(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], float]:
    """Return a dtype that holds all numbers of `dtype`, and another one that marks missing pixels.

    Examples
    --------
    >>> free_mark(np.dtype("uint8"))
    (dtype('int16'), -32768)
    """
    wider = np.dtype(_WIDER.get(dtype.name, dtype.name))
    return wider, default_mark(wider)


def fits(number: float, dtype: np.dtype[Any]) -> bool:
    """Tell whether pixels of a dtype can have a number."""
    if dtype.kind not in "iu":
        return True
    limits = np.iinfo(dtype)
    return float(number).is_integer() and limits.min <= number <= limits.max


def alpha_band(file: DatasetReader) -> int | None:
    """Return the number of the one band next to others that is marked as alpha.

    GDAL marks the fourth band of any new file of bytes; one with a name of its own is not meant.
    """
    kinds = file.colorinterp
    found = [number for number, kind in enumerate(kinds, start=1) if kind == ColorInterp.alpha]
    if len(found) != 1 or file.count == 1:
        return None
    name = (file.descriptions[found[0] - 1] or "").lower()
    return found[0] if not name or _ALPHA_NAME.search(name) else None


def common_dtype(file: DatasetReader, bands: Sequence[int]) -> np.dtype[Any]:
    """Return the dtype that holds the numbers of all of some bands."""
    dtypes = file.dtypes
    return np.result_type(*{np.dtype(dtypes[band - 1]) for band in bands})


def _as_type(number: float, dtype: np.dtype[Any]) -> np.generic:
    # -1.797e308, a common nodata value, is minus infinity in float32
    with np.errstate(over="ignore"):
        converted: np.generic = dtype.type(number)
    return converted


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or (one != one and other != other)
