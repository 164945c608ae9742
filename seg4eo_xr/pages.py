"""Arrays of megabytes that live through many others, kept apart from the heap.

A heap that networks fill and empty for every window keeps its holes: a chunk that lies among their
tensors holds back all the memory beside it. Pages of its own go back to the system with the chunk.
"""

from __future__ import annotations

import math
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# Fewer bytes than this do little harm in the heap, and a mapping costs some microseconds.
_FEWEST_BYTES = 1 << 20


def empty_pages(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Make an array as `numpy.empty` does, in pages of its own where it is large.

    Parameters
    ----------
    shape, dtype
        Of the array.

    Returns
    -------
    ndarray
        Writable, in C order; its numbers are anything.

    Examples
    --------
    >>> empty_pages((3, 1000, 1000), "uint16").shape
    (3, 1000, 1000)
    """
    count, kind = math.prod(shape), np.dtype(dtype)
    if count * kind.itemsize < _FEWEST_BYTES:
        return np.empty(shape, kind)
    pages = mmap.mmap(-1, count * kind.itemsize)
    return np.frombuffer(pages, kind, count).reshape(shape)


def copy_to_pages(array: np.ndarray[Any, Any]) -> np.ndarray:
    """Copy an array, or a part of one, into memory of its own; see `empty_pages`."""
    copied = empty_pages(array.shape, array.dtype)
    copied[...] = array
    return copied
