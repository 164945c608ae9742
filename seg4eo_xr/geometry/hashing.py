"""Random numbers that follow from a pixel's place and a seed alone, in whatever order it is met."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMN_BITS = np.uint64(32)


def salt_of(seed: int) -> np.uint64:
    """Number by which the draws of a seed differ from those of any other.

    Examples
    --------
    >>> salt_of(0) == salt_of(1)
    np.False_
    """
    return np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


def pixel_numbers(rows: NDArray[np.integer], cols: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Number of each pixel, the row above bit 32 and the column below.

    Parameters
    ----------
    rows, cols
        Places from 0, of shapes that broadcast.

    Examples
    --------
    >>> split_numbers(pixel_numbers(np.array([7]), np.array([3])))
    (array([7]), array([3]))
    """
    return (rows.astype(np.uint64) << _COLUMN_BITS) | cols.astype(np.uint64)


def split_numbers(numbers: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Upper and lower 32 bits: row and column of pixels."""
    low = numbers & np.uint64(0xFFFFFFFF)
    return (numbers >> _COLUMN_BITS).astype(np.int64), low.astype(np.int64)


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash integers, no two to the same number.

    The last step of SplitMix64, Steele et al. 2014. https://doi.org/10.1145/2660193.2660195
    """
    state = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))
