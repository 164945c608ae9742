"""What the C library does with memory that networks use and free many times a second.

glibc gives large blocks back to the system when they are freed, and every thread a heap of its own.
A network on a processor allocates the same blocks again for each window, so a tenth of the time
would go into fresh pages, and the heaps of all threads add up. Elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# Parameters of mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# The largest blocks that stay in the heap, and how much of it may lie free at its end.
_LARGEST_KEPT = 128 << 20
_MOST_FREE = 512 << 20


@cache
def keep_blocks() -> bool:
    """Keep freed blocks for the next window, in one heap for all threads that start from now on.

    Returns
    -------
    bool
        Whether the C library has such a setting. It holds for the rest of the process.
    """
    mallopt = getattr(_library(), "mallopt", None)
    if mallopt is None:
        return False
    wishes = {
        _MMAP_THRESHOLD: _LARGEST_KEPT,
        _TRIM_THRESHOLD: _MOST_FREE,
        _ARENA_MAX: 1,
    }
    return all(mallopt(name, value) for name, value in wishes.items())


def release_free_memory() -> bool:
    """Give free memory back to the system.

    Returns
    -------
    bool
        Whether there was any.
    """
    trim = getattr(_library(), "malloc_trim", None)
    return trim is not None and bool(trim(0))


def _library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
