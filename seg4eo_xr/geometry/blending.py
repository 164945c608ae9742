"""How overlapping windows become one picture: tapers, weights that sum to one, and fixed point.

Weights are normalised per axis beforehand, so the sum of all windows' weights is 1 at every pixel,
borders included, and no division follows. Weighted probabilities are rounded to multiples of 2⁻²⁴
and added as integers: integer addition is associative, so the sum has the same bits whatever the
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from seg4eo_xr.geometry.windows import WindowAxis

TaperKind = Literal["hann", "linear", "gaussian"]

FIXED_POINT = 1 << 24
"""Fixed-point representation of probability 1: every integer up to it is exact in float32."""


def taper(kind: TaperKind, window: int, overlap: int) -> np.ndarray:
    """Importance of a window's pixels along one axis, before normalisation.

    Parameters
    ----------
    kind
        ``hann`` and ``linear`` ramp up over the overlap and are flat between; ``gaussian`` is a
        bell over the whole window with a standard deviation of an eighth of its side.
    window, overlap
        Side of a window and pixels shared by neighbours.

    Returns
    -------
    ndarray of float64, ``(window,)``
        Positive and symmetric.

    Raises
    ------
    ValueError
        If `kind` is unknown.

    Examples
    --------
    >>> taper("linear", 6, 2)
    array([0.25, 0.75, 1.  , 1.  , 0.75, 0.25])
    """
    from_edge = np.minimum(np.arange(window), np.arange(window)[::-1]) + 0.5
    ramp = np.minimum(from_edge / max(overlap, 0.5), 1.0)
    if kind == "hann":
        return np.asarray(np.sin(np.pi / 2 * ramp) ** 2)
    if kind == "linear":
        return ramp
    if kind == "gaussian":
        from_centre = np.arange(window) - (window - 1) / 2
        return np.asarray(np.exp(-0.5 * (from_centre / (window / 8)) ** 2))
    raise ValueError(f"taper must be 'hann', 'linear' or 'gaussian', got {kind!r}")


def window_weights(axis: WindowAxis, index: int, profile: np.ndarray) -> np.ndarray:
    """Weights of one window along one axis; over all windows they sum to 1 at every pixel.

    Parameters
    ----------
    axis
        The axis of the global grid.
    index
        Which window.
    profile
        What `taper` gives for this axis.

    Returns
    -------
    ndarray of float32, ``(axis.window,)``
        The window's taper over the sum of the tapers of all windows that cover a pixel.
    """
    total = np.zeros(axis.window)
    reach = axis.window // axis.stride + 1
    for other in range(max(0, index - reach), min(axis.count, index + reach + 1)):
        shift = (other - index) * axis.stride
        begin, end = max(0, shift), min(axis.window, shift + axis.window)
        if begin < end:
            total[begin:end] += profile[begin - shift : end - shift]
    return np.asarray((profile / total).astype(np.float32))


def overlap_add(
    scene: np.ndarray,
    model: Callable[[np.ndarray], np.ndarray],
    axes: tuple[WindowAxis, WindowAxis],
    kind: TaperKind = "hann",
) -> np.ndarray:
    """Blend all windows of a whole scene in one loop: the reference for every other way.

    Parameters
    ----------
    scene
        ``(band, y, x)``.
    model
        Turns one window ``(band, window, window)`` into probabilities ``(class, window, window)``.
    axes
        The window grid along y and x.
    kind
        Taper of the blending weights.

    Returns
    -------
    ndarray of int32, ``(class, y, x)``
        Blended probabilities × `FIXED_POINT`.
    """
    vertical, horizontal = axes
    past_edge = [(0, 0)] + [(0, axis.padded_size - axis.size) for axis in axes]
    padded = np.pad(scene, past_edge, "reflect")
    profiles = [taper(kind, axis.window, axis.overlap) for axis in axes]
    total: np.ndarray | None = None
    for row in range(vertical.count):
        for column in range(horizontal.count):
            ys = slice(vertical.start(row), vertical.start(row) + vertical.window)
            xs = slice(horizontal.start(column), horizontal.start(column) + horizontal.window)
            probabilities = model(padded[:, ys, xs])
            weights = np.outer(
                window_weights(vertical, row, profiles[0]),
                window_weights(horizontal, column, profiles[1]),
            )
            if total is None:
                total = np.zeros((len(probabilities), *padded.shape[1:]), np.int32)
            total[:, ys, xs] += to_fixed_point(probabilities, weights)
    assert total is not None  # every axis has at least one window
    return total[:, : vertical.size, : horizontal.size]


def to_fixed_point(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted probabilities as multiples of 1 / `FIXED_POINT`, rounded half to even, int32."""
    scaled = probabilities * (weights * np.float32(FIXED_POINT))
    return np.asarray(np.rint(scaled).astype(np.int32))
