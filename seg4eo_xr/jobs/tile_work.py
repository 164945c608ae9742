"""The workers' side of a job: one tile, from the scene to whole chunks of the map and a marker."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.threaded
import numpy as np
import zarr
from dask.base import compute, optimize
from dask.delayed import delayed
from distributed import Reschedule, WorkerPlugin, get_worker

from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.jobs.markers import (
    TileRecord,
    digest_chunks,
    join_digests,
    read_marker,
    write_marker,
)
from seg4eo_xr.maps.statistics import MapStatistics
from seg4eo_xr.notices import listeners
from seg4eo_xr.patches.building import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import dask.array as da

    from seg4eo_xr.geometry.tiles import Tile, TileGrid
    from seg4eo_xr.inference.window_runner import WindowRunner
    from seg4eo_xr.notices import Seg4EOWarning
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.pixel_areas import PixelAreas

    Origin = tuple[int, int]
    Arrays = Mapping[str, zarr.Array[Any]]

_LOGGER = logging.getLogger(__name__)
# Threads that read ahead while an accelerator computes.
_THREADS_BESIDE_AN_ACCELERATOR = 4
# Jobs up to so many tiles tell of each block.
_FEW_TILES = 200


@dataclass(frozen=True, eq=False)
class TileWork:
    """All that a worker needs to make any tile of a map.

    Parameters
    ----------
    scene
        Stored numbers of the whole scene, ``(band, y, x)``, lazy.
    runner
        The kernel; its layers include ``classes`` and ``confidence``, which statistics need.
    grid
        The tiles.
    layers
        Layers to store.
    classes, areas
        What statistics are about.
    store, markers
        Where the arrays of the map and the markers lie: folders that every worker sees, or URLs.
    """

    scene: da.Array
    runner: WindowRunner
    grid: TileGrid
    layers: tuple[str, ...]
    classes: ClassTable
    areas: PixelAreas
    store: str
    markers: str

    def __call__(
        self, tile: Tile, pool: ThreadPoolExecutor, on_block: Callable[[int], None]
    ) -> TileRecord:
        """Make a tile, or find it made.

        Parameters
        ----------
        tile
            Which one.
        pool
            Threads to compute with.
        on_block
            Called with the number of pixels of each block that is stored, from any thread.

        Raises
        ------
        OSError
            If the scene cannot be read or the map cannot be written.
        """
        begin, folder = time.monotonic(), locate(self.markers)
        arrays = {
            layer: zarr.open_array(f"{self.store}/{layer}", mode="r+") for layer in self.layers
        }
        record = read_marker(folder, tile)
        if record is not None and record.digest == self._stored_digest(tile, arrays, pool):
            _LOGGER.debug("tile %d.%d: kept", tile.row, tile.column)
            return record
        # dask would look inside, find the scene and compute all of it.
        write = delayed(_BlockWriter(self, arrays, on_block), pure=False, traverse=False)
        tasks = [write(origin, layers) for origin, layers in self._blocks(tile)]
        blocks: list[_Block] = _run(tasks, pool)
        record = TileRecord(
            join_digests(_joined(block.digests for block in blocks)),
            sum(block.valid for block in blocks),
            reduce(MapStatistics.merge, (block.statistics for block in blocks)).to_dict(),
        )
        write_marker(folder, tile, record)
        seconds = time.monotonic() - begin
        _LOGGER.debug("tile %d.%d: made in %.1f s", tile.row, tile.column, seconds)
        return record

    def _blocks(self, tile: Tile) -> Iterator[tuple[Origin, dict[str, Any]]]:
        """Yield the place and the layers, not yet computed, of each block of a tile."""
        spans = self.grid.spans(tile)
        seen, own = (
            tuple(slice(first, last) for first, last in bounds)
            for bounds in (
                [(span.read_start, span.read_stop) for span in spans],
                [(span.lead, span.lead + span.stop - span.start) for span in spans],
            )
        )
        runner = replace(self.runner, spans=(spans[0].spans, spans[1].spans))
        layers = predict_chunks(self.scene[:, *seen], runner)
        # Together, so that layers go on sharing their windows.
        (cropped,) = optimize({name: layer[..., *own] for name, layer in layers.items()})
        sizes = next(iter(cropped.values())).chunks[-2:]
        starts = [
            list(accumulate(axis[:-1], initial=span.start))
            for axis, span in zip(sizes, spans, strict=True)
        ]
        parts = {name: layer.to_delayed(optimize_graph=False) for name, layer in cropped.items()}
        for i, top in enumerate(starts[0]):
            for j, left in enumerate(starts[1]):
                yield (
                    (top, left),
                    {name: blocks[..., i, j].item() for name, blocks in parts.items()},
                )

    def _stored_digest(self, tile: Tile, arrays: Arrays, pool: ThreadPoolExecutor) -> str | None:
        """Digest what is stored of a tile; None where it cannot be read."""
        rows, columns = (
            [(first, min(first + side, span.stop)) for first in range(span.start, span.stop, side)]
            for span, side in zip(self.grid.spans(tile), self.grid.chunk, strict=True)
        )

        def digest(row: tuple[int, int], column: tuple[int, int]) -> dict[str, list[str]]:
            place = (..., slice(*row), slice(*column))
            return {
                layer: digest_chunks(np.asarray(array[place]), (row[0], column[0]), self.grid.chunk)
                for layer, array in arrays.items()
            }

        tasks = [delayed(digest, pure=False)(row, column) for row in rows for column in columns]
        try:
            return join_digests(_joined(_run(tasks, pool)))
        except (OSError, ValueError, RuntimeError):
            # A chunk that does not decode: the tile is made again, which tells what is wrong if
            # more is wrong than that.
            return None


class _Block(NamedTuple):
    digests: dict[str, list[str]]
    valid: int
    statistics: MapStatistics


@dataclass(frozen=True, eq=False)
class _BlockWriter:
    """Stores a block of all layers, and counts it."""

    work: TileWork
    arrays: Arrays
    on_block: Callable[[int], None]

    def __dask_tokenize__(self) -> str:
        return "BlockWriter"  # never compared

    def __call__(self, origin: Origin, layers: Mapping[str, np.ndarray]) -> _Block:
        digests = {}
        for name, array in self.arrays.items():
            values = layers[name]
            rows, columns = (
                slice(first, first + size)
                for first, size in zip(origin, values.shape[-2:], strict=True)
            )
            array[..., rows, columns] = values
            digests[name] = digest_chunks(values, origin, self.work.grid.chunk)
        encoding = self.work.runner.encoding
        statistics = MapStatistics.of_block(
            layers, self.work.classes, encoding.nodata, self.work.areas, origin
        )
        self.on_block(layers["classes"].size)
        return _Block(digests, sum(statistics.pixels), statistics)


def _run(tasks: list[Any], pool: ThreadPoolExecutor) -> list[Any]:
    # Named, since dask would send them to the cluster that this very task runs on.
    return list(compute(*tasks, scheduler=dask.threaded.get, pool=pool))


def _joined(parts: Iterable[Mapping[str, list[str]]]) -> dict[str, list[str]]:
    joined: dict[str, list[str]] = {}
    for part in parts:
        for layer, digests in part.items():
            joined.setdefault(layer, []).extend(digests)
    return joined


def tiles_at_once(grid: TileGrid, threads: int) -> int:
    """Tiles that a worker makes side by side, so that none of its threads waits for work.

    One more than have a chunk for every thread: where one tile ends, the next is under way.

    Examples
    --------
    >>> from seg4eo_xr.geometry.windows import WindowAxis
    >>> from seg4eo_xr.geometry.tiles import tile_grid
    >>> axis = WindowAxis(size=100_000, window=512, overlap=128)
    >>> grid = tile_grid(axis, axis, tile_size=8192)
    >>> [tiles_at_once(grid, threads) for threads in (1, 2, 16, 64)]
    [2, 2, 2, 5]
    """
    chunks = grid.vertical.chunks * grid.horizontal.chunks
    return 1 + -(-threads // chunks)


_here: weakref.WeakValueDictionary[str, TileWork] = weakref.WeakValueDictionary()


class TilePlugin(WorkerPlugin):
    """Brings the work to every worker once, those that join later included.

    Parameters
    ----------
    name
        Name of the job.
    work
        What to do.
    threads
        Threads to compute with; as many as the worker has if None.
    here
        Whether the worker is this very process, which then needs no copy.
    """

    def __init__(self, name: str, work: TileWork, *, threads: int | None, here: bool) -> None:
        self.name, self.work = name, work
        self.threads, self.here = threads, here
        # In the order in which they came; the values say nothing.
        self.warned: dict[tuple[str, type[Seg4EOWarning]], None] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        if self.here:
            _here[self.name] = self.work
        work = None if self.here else self.work
        return _revived, (self.name, work, self.threads)

    def setup(self, worker: Any) -> None:
        """Start the threads that the worker's tiles share, so that no core waits for a tile's end.

        Parameters
        ----------
        worker
            The worker.
        """
        self.worker, self.ended = worker, False
        threads = self.threads or worker.state.nthreads
        if self.work.runner.network.device != "cpu":
            threads = max(threads, _THREADS_BESIDE_AN_ACCELERATOR)
        # Tiles that wait for their turn have read nothing.
        self.turns = threading.Semaphore(tiles_at_once(self.work.grid, threads))
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="seg4eo-tile")
        if not self.here:
            listeners.append(self._note)

    def teardown(self, worker: Any) -> None:
        """Wait for what is being written; what has not begun never will."""
        self.ended = True
        self.pool.shutdown(wait=True, cancel_futures=True)
        if not self.here:
            listeners.remove(self._note)

    def run(self, tile: Tile) -> TileRecord:
        """Make a tile when it is its turn."""
        try:
            with self.turns:
                record = self.work(tile, self.pool, partial(self._tell, tile))
        except (RuntimeError, CancelledError) as error:
            if self.ended:
                raise Reschedule from error  # which dask does not log; nobody waits for the tile
            raise
        return replace(record, warned=tuple(self.warned))

    def _note(self, text: str, category: type[Seg4EOWarning]) -> None:
        """Keep a warning for the user, who does not see what a worker prints."""
        self.warned[text, category] = None

    def _tell(self, tile: Tile, pixels: int) -> None:
        """Tell the client what is done of a tile; a bar of many tiles moves without it."""
        if len(self.work.grid) <= _FEW_TILES:
            self.worker.log_event(self.name, (*tile, pixels))


def _revived(name: str, work: TileWork | None, threads: int | None) -> TilePlugin:
    return TilePlugin(
        name, _here[name] if work is None else work, threads=threads, here=work is None
    )


def run_tile(name: str, tile: Tile) -> TileRecord:
    """Make a tile of the job `name`, inside a task of a worker that has its plugin."""
    plugin = get_worker().plugins[name]
    assert isinstance(plugin, TilePlugin)  # what the job has registered under its name
    return plugin.run(tile)
