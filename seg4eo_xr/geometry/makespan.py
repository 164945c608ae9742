"""How long lanes that work side by side take for jobs of unlike length."""

from __future__ import annotations

from heapq import heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# With more jobs than this a lane, the last ones no longer matter.
_MANY_JOBS = 50


def makespan(jobs: Sequence[tuple[int, float]], lanes: int) -> float:
    """Time until all jobs are done, where each lane that is free takes the next one.

    This is list scheduling: Graham 1969, https://doi.org/10.1137/0117039.

    Parameters
    ----------
    jobs
        In their order, how many there are of a kind and how long each takes.
    lanes
        How many run at a time, at least 1.

    Returns
    -------
    float
        In the unit of the jobs' lengths.

    Examples
    --------
    >>> makespan([(3, 2.0)], lanes=2), makespan([(1000, 2.0)], lanes=2)
    (4.0, 1000.0)
    """
    if sum(count for count, _ in jobs) > _MANY_JOBS * lanes:
        return sum(count * length for count, length in jobs) / lanes
    free = [0.0] * lanes
    for count, length in jobs:
        for _ in range(count):
            heapreplace(free, free[0] + length)
    return max(free)
