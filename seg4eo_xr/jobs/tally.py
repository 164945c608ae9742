"""What of a job is done: statistics of its tiles, and a bar that moves while a tile is made."""

from __future__ import annotations

import logging
import time
import warnings
from contextlib import contextmanager
from functools import reduce
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.geometry.tiles import Tile
from seg4eo_xr.jobs.cluster import may_be_gone
from seg4eo_xr.maps.statistics import MapStatistics
from seg4eo_xr.progress import DELAY_SECONDS, IN_BAR, new_bar
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from seg4eo_xr.geometry.tiles import TileGrid
    from seg4eo_xr.jobs.markers import TileRecord
    from seg4eo_xr.notices import Seg4EOWarning

_LOGGER = logging.getLogger(__name__)


class Tally:
    """Finished tiles: their statistics, and a bar with the speed.

    Parameters
    ----------
    grid
        The tiles of the job.
    title
        What the bar says.
    progress
        Whether to show the bar.
    """

    def __init__(self, grid: TileGrid, title: str, *, progress: bool) -> None:
        self.grid, self.progress, self.done = grid, progress, 0
        self.statistics: list[MapStatistics] = []
        self._warned: set[tuple[str, type[Seg4EOWarning]]] = set()
        self.kept = 0
        self._made = self._settled = 0
        self._made_area = 0.0
        self._begun: dict[Tile, float] = {}
        self._ended = np.zeros(grid.shape, bool)
        self._begin = time.monotonic()
        self._lock = Lock()
        self.bar = new_bar(
            desc=title,
            total=grid.total_windows,
            unit=" windows",
            delay=DELAY_SECONDS,
            disable=not progress,
        )

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def add(self, tile: Tile, record: TileRecord) -> None:
        """Count a tile that is done.

        Parameters
        ----------
        tile
            Which one.
        record
            What its worker says of it; warnings are given here, each once.
        """
        for text, category in record.warned:
            # What follows a colon is of the part of the scene that the worker has seen.
            topic = text.partition(":")[0], category
            if topic not in self._warned:
                self._warned.add(topic)
                warnings.warn(text, category, stacklevel=2)
        statistics = MapStatistics.from_dict(record.statistics)
        # One at most, since figures of tiles are only ever added.
        self.statistics = [reduce(MapStatistics.merge, self.statistics, statistics)]
        self.done += 1
        windows = self.grid.windows(tile)
        with self._lock:
            self._ended[tile] = True
            self._begun.pop(tile, None)
            self._settled += windows
            if record.kept:
                self._skip(windows)
            else:
                self._made += windows
                self._made_area += sum(statistics.areas) / AREA_UNITS / 1e6
            seconds = max(time.monotonic() - self._begin, 1e-9)
            self.bar.set_postfix_str(f"{self._made_area / seconds:.3g} km²/s", refresh=False)
            self._show()
        # A line for each twentieth, so that a log of a hundred thousand tiles can be read.
        tiles = len(self.grid)
        if 20 * self.done // tiles > 20 * (self.done - 1) // tiles:
            kept = f", {self.kept} of them kept" if self.kept else ""
            _LOGGER.info(
                "tiles done: %d of %d%s, %.3g windows/s",
                self.done,
                tiles,
                kept,
                self._made / seconds,
                extra={IN_BAR: self.progress},
            )

    def _skip(self, windows: int) -> None:
        """Count windows that are there already, which say nothing about the speed."""
        self.kept += 1
        if not self._made:
            self._begin = time.monotonic()
        if self.bar.disable:
            return
        self.bar.initial += windows
        self.bar.n += windows
        self.bar.last_print_n += windows
        if not self._made:
            self.bar.start_t = self.bar.last_print_t = time.time()

    def add_pixels(self, tile: Tile, pixels: int) -> None:
        """Count pixels of a tile that is being made.

        Parameters
        ----------
        tile
            Which one; what is told after its end, or twice since it was tried again, is not
            counted.
        pixels
            How many more there are.
        """
        with self._lock:
            if self._ended[tile]:
                return
            share = self._begun.get(tile, 0.0) + pixels / self.grid.pixels(tile)
            self._begun[tile] = min(share, 1.0)
            self._show()

    def _show(self) -> None:
        begun = sum(share * self.grid.windows(tile) for tile, share in self._begun.items())
        self.bar.update(int(self._settled + begun) - self.bar.n)


@contextmanager
def pixels_heard(client: Client, topic: str, tally: Tally) -> Iterator[None]:
    """Count what workers tell of the tiles they are making, for as long as the block runs.

    Parameters
    ----------
    client
        Connected to the workers.
    topic
        Of dask's events, each ``(row of the tile, its column, pixels)``.
    tally
        Where to count them.
    """
    if not tally.progress:
        yield
        return

    def hear(event: tuple[float, tuple[int, int, int]]) -> None:
        row, column, pixels = event[1]
        tally.add_pixels(Tile(row, column), pixels)

    handler: Any = hear
    client.subscribe_topic(topic, handler)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        # A scheduler that is gone is told of elsewhere.
        with may_be_gone(client):
            client.unsubscribe_topic(topic)  # type: ignore[no-untyped-call]
