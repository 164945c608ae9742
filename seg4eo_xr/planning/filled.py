"""Which windows of a scene hold data: the others do not run, so that a plan must not count them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from dask.base import compute

from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.scenes.data_bounds import data_bounds, parts_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da

    from seg4eo_xr.geometry.windows import WindowAxis, WindowSpan
    from seg4eo_xr.inference.window_runner import WindowRunner

# Windows that are read at most, and the seconds after which no more are read.
_SAMPLE = 256
_SECONDS = 3.0
# Windows that are held at a time.
_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class Filled:
    """Windows of a scene that hold data, as an estimate.

    Parameters
    ----------
    covered
        Which windows lie where the scene can hold data, bool ``(row, column)``; None: all do.
    share
        Share of these that holds data.
    read
        How many windows were read to learn the share; 0 where it is not known.
    """

    covered: np.ndarray | None = None
    share: float = 1.0
    read: int = 0

    def counts(self, spans: tuple[Sequence[WindowSpan], Sequence[WindowSpan]]) -> np.ndarray:
        """Count the windows of each chunk that lie where the scene can hold data."""
        rows, columns = (
            np.array([(span.first, span.first + span.count) for span in axis]).T for axis in spans
        )
        if self.covered is None:
            every: np.ndarray = np.multiply.outer(rows[1] - rows[0], columns[1] - columns[0])
            return every
        sums = np.pad(self.covered.cumsum(0, np.int64).cumsum(1), ((1, 0), (1, 0)))
        bands = sums[rows[1]] - sums[rows[0]]
        counted: np.ndarray = bands[:, columns[1]] - bands[:, columns[0]]
        return counted

    @property
    def basis(self) -> str:
        """What the estimate rests on, in words; empty where every window is taken to hold data."""
        known = [] if self.covered is None else ["where its scenes or its area lie"]
        if self.read:
            known.append(f"{self.read:,} windows that were read")
        return " and ".join(known)


EVERY_WINDOW = Filled()


def filled_windows(array: da.Array, runner: WindowRunner, *, read: bool) -> Filled:
    """Estimate which windows hold data, from what the graph says and from a sample of windows.

    Parameters
    ----------
    array
        Stored numbers, ``(band, y, x)``.
    runner
        What will run, with the contract of this scene.
    read
        Whether windows may be read.
    """
    axes = (runner.spans[0][0].axis, runner.spans[1][0].axis)
    covered = None
    for parts in data_bounds(array):
        reached = _reached(parts, axes)
        covered = reached if covered is None else covered & reached
    unmarked = runner.contract.nodata is None and array.dtype.kind in "iub"
    if not read or unmarked:
        return Filled(covered)
    columns = axes[1].count
    places = None if covered is None else np.flatnonzero(covered)
    number = axes[0].count * columns if places is None else len(places)
    drawn = np.random.default_rng(0).choice(number, min(number, _SAMPLE), replace=False)
    chosen = drawn if places is None else places[drawn]
    if not number:
        return Filled(covered)
    hits, seen = _search(array, runner, [divmod(int(index), columns) for index in chosen])
    # Where none of a sample holds data, a few of the rest may.
    least = 0.5 if seen < number else 0.0
    return Filled(covered, max(hits, least) / seen, seen)


def _reached(parts: np.ndarray, axes: tuple[WindowAxis, WindowAxis]) -> np.ndarray:
    """Windows that touch parts of a scene, ``(row, column)``."""
    reached = np.zeros([axis.count for axis in axes], bool)
    spans = []
    for axis, bounds in zip(axes, parts.swapaxes(0, 1), strict=True):
        first = (bounds[:, 0] - axis.window) // axis.stride + 1
        last = np.minimum(-(-bounds[:, 1] // axis.stride), axis.count)
        spans.append(np.maximum([first, last], 0))
    for top, bottom, left, right in zip(*spans[0], *spans[1], strict=True):
        reached[top:bottom, left:right] = True
    return reached


def _search(
    array: da.Array, runner: WindowRunner, windows: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Read windows for some seconds; return how many of them hold data, and how many were read."""
    axes = (runner.spans[0][0].axis, runner.spans[1][0].axis)
    nodata, rule = runner.contract.nodata, runner.contract.nodata_rule
    places = []
    for window in windows:
        starts = [axis.start(index) for axis, index in zip(axes, window, strict=True)]
        sides = (slice(n, n + axis.window) for axis, n in zip(axes, starts, strict=True))
        places.append((slice(None), *sides))
    parts = parts_alone(array, places)
    hits = seen = 0
    until = time.perf_counter() + _SECONDS
    while batch := list(islice(parts, _AT_ONCE)):
        numbers: Sequence[np.ndarray] = compute(*batch, scheduler="threads")
        hits += sum(bool(valid_mask(values, nodata, rule).any()) for values in numbers)
        seen += len(batch)
        if time.perf_counter() > until:
            break
    return hits, seen
