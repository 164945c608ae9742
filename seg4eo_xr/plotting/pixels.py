"""Numbers to colours: which bands are shown, how they are stretched, what colour a class has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.options import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from seg4eo_xr.scenes.classes import ClassTable

# Names that red, green and blue bands go by, most telling first; compared in lower case.
_RED_GREEN_BLUE = (
    ("red", "green", "blue"),
    ("b04", "b03", "b02"),
    ("b4", "b3", "b2"),
    ("r", "g", "b"),
)
_GAMMA = 0.75  # lifts dark surfaces, as woods, beside bright ones
WHITE = 1.0


def choose_bands(names: Sequence[str], bands: Sequence[str] | None) -> list[int]:
    """Find the bands to show.

    Parameters
    ----------
    names
        Names of all bands.
    bands
        Names of one or three of them; None takes red, green and blue where the names tell them,
        else the first three, or the first where there are fewer.

    Returns
    -------
    list of int
        Positions in `names`.

    Raises
    ------
    ValueError
        If a band does not exist, or there are neither one nor three.

    Examples
    --------
    >>> choose_bands(["B02", "B03", "B04", "B08"], None)
    [2, 1, 0]
    """
    names = list(names)
    chosen = _natural_colors(names) if bands is None else list(bands)
    for name in chosen:
        if name not in names:
            raise ValueError(f"no band {name!r} among {names}{suggestion(name, names)}")
    if len(chosen) not in (1, 3):
        raise ValueError(f"bands must be one or three of {names}, got {chosen}")
    return [names.index(name) for name in chosen]


def _natural_colors(names: list[str]) -> list[str]:
    by_lower_case = {name.lower(): name for name in names}
    for triple in _RED_GREEN_BLUE:
        if set(triple) <= set(by_lower_case):
            return [by_lower_case[name] for name in triple]
    return names[:3] if len(names) >= 3 else names[:1]


def band_limits(values: np.ndarray, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """2nd and 98th percentile of each band, ``(band, 2)``; 0 and 1 where nothing is valid.

    Parameters
    ----------
    values
        Stored numbers, ``(band, y, x)``.
    valid
        Which pixels hold data, ``(y, x)``.
    """
    if not valid.any():
        return np.tile([0.0, 1.0], (len(values), 1))
    return np.array([np.percentile(band[valid], (2, 98)) for band in values], np.float64)


def stretched(
    values: np.ndarray, valid: NDArray[np.bool_], limits: NDArray[np.float64], missing: float
) -> NDArray[np.float32]:
    """Scale bands to 0..1, dark tones lifted.

    Parameters
    ----------
    values
        Stored numbers, ``(band, y, x)``.
    valid
        Which pixels hold data, ``(y, x)``.
    limits
        Numbers that become 0 and 1, ``(band, 2)``.
    missing
        Grey, 0..1, of pixels without data.

    Returns
    -------
    ndarray of float32, ``(y, x, band)``
    """
    image = np.full((*values.shape[1:], values.shape[0]), missing, np.float32)
    for index, (band, (low, high)) in enumerate(zip(values, limits, strict=True)):
        scaled = (band[valid].astype(np.float32) - low) / max(high - low, 1e-12)
        image[valid, index] = np.clip(scaled, 0, 1) ** _GAMMA
    return image


def class_colors(codes: np.ndarray, table: ClassTable) -> tuple[np.ndarray, NDArray[np.bool_]]:
    """Colour of each pixel's class; white where a code is in no class.

    Parameters
    ----------
    codes
        Class codes, ``(y, x)``.
    table
        The classes.

    Returns
    -------
    colors : ndarray of uint8, ``(y, x, 3)``
    known : ndarray of bool, ``(y, x)``
        Where a code is that of a class.
    """
    palette = np.full((len(table) + 1, 3), 255, np.uint8)
    palette[:-1] = table.rgb()
    position = np.searchsorted(table.codes, codes).clip(max=len(table) - 1)
    known = np.asarray(table.codes)[position] == codes
    return palette[np.where(known, position, len(table))], known
