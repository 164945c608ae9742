"""Missing pixels that nobody has declared: a margin of one constant number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.notices import warn
from seg4eo_xr.scenes.missing import SceneWarning

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_LOOKED_AT = 32  # pixels along a side, for the share
# Below this share of the pixels a margin is not worth a word.
_LEAST_SHARE = 0.01


def constant_margin(values: np.ndarray, valid: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Find valid pixels that look missing: of one usual number, along a whole side, in all bands.

    A single band of signed or real numbers may well be 0 along a side: heights are, at the sea.

    Parameters
    ----------
    values
        Stored numbers ``(band, y, x)``.
    valid
        Which pixels hold data by what is declared, ``(y, x)``.

    Returns
    -------
    number, share : float
        The number, and the share of the pixels that have it in all bands; None where there is no
        such margin.

    Examples
    --------
    >>> values = np.full((3, 4, 4), 7, np.uint8)
    >>> values[:, :, 0] = 255
    >>> constant_margin(values, np.ones((4, 4), bool))
    (255.0, 0.25)
    """
    for row, col in ((0, 0), (-1, -1)):
        number = values[0, row, col]
        if (values[:, row, col] != number).any() or not _is_usual(number):
            continue
        if len(values) == 1 and number == 0 and values.dtype.kind != "u":
            continue
        for side in ((slice(None), row, slice(None)), (slice(None), slice(None), col)):
            if valid[side[1:]].all() and (values[side] == number).all():
                return _with_share(values, valid, number)
    return None


def is_suspicious(share: float) -> bool:
    """Tell whether a margin is worth a word: not a trace, and not all there is."""
    return _LEAST_SHARE <= share < 1


def margin_text(number: float, share: float, where: str) -> str:
    """Say how many pixels of a margin look missing, and how to declare them.

    Parameters
    ----------
    number
        The number of the margin.
    share
        Its share of the pixels.
    where
        What the share is of.
    """
    return (
        f"{share:.0%} of the pixels of {where} are {number:g} in all bands, up to the edge: they "
        "look like missing pixels that are not declared and count as data; if they are missing, "
        f"say so with --nodata {number:g} (nodata={number:g})"
    )


class MarginCheck:
    """Warns once of a chunk whose margin looks like missing pixels that are not declared."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, values: np.ndarray, valid: NDArray[np.bool_]) -> None:
        """Look at the numbers of a chunk ``(band, y, x)``, of which `valid` hold data."""
        if self._told or not valid.size:
            return
        margin = constant_margin(values, valid)
        if margin is not None and is_suspicious(margin[1]):
            self._told = True
            warn(margin_text(*margin, "one part of the scene"), SceneWarning, stacklevel=2)


def _with_share(values: np.ndarray, valid: NDArray[np.bool_], number: Any) -> tuple[float, float]:
    steps = (max(1, side // _MOST_LOOKED_AT) for side in valid.shape)
    thin = tuple(slice(None, None, step) for step in steps)
    found = (values[:, *thin] == number).all(axis=0) & valid[thin]
    return float(number), float(found.mean())


def _is_usual(number: Any) -> bool:
    """Tell whether a number often marks missing pixels."""
    if number.dtype.kind == "f":
        return bool(number in (0, -9999, -32768, 255, 65535) or abs(number) > 1e20)
    if number.dtype.kind not in "iu":
        return False
    limits = np.iinfo(number.dtype)
    return bool(number in (0, -9999, limits.min, limits.max))
