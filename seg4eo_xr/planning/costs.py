"""What a prediction costs, as arithmetic: windows, tasks, bytes, memory and time.

Nothing here reads, runs or measures; see `seg4eo_xr.planning.timing` for the rates of a
machine, and `seg4eo_xr.planning.plan` for both together.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.geometry.makespan import makespan
from seg4eo_xr.inference.gathering import parts_of
from seg4eo_xr.planning.filled import EVERY_WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seg4eo_xr.geometry.tiles import TileGrid
    from seg4eo_xr.geometry.windows import WindowSpan
    from seg4eo_xr.planning.filled import Filled

    Spans = tuple[Sequence[WindowSpan], Sequence[WindowSpan]]


@dataclass(frozen=True)
class Load:
    """What a prediction handles, whatever the scene's size.

    Parameters
    ----------
    bands, itemsize
        Bands of the scene, and bytes of one number.
    written
        Bytes of all layers of the map, a pixel.
    layers
        Number of layers.
    channels
        Channels that are blended: the network's outputs and the measures.
    batch_size
        Windows a forward pass.
    symmetries
        Forward passes a batch: 1, or 8 with test-time augmentation.
    """

    bands: int
    itemsize: int
    written: int
    layers: int
    channels: int
    batch_size: int
    symmetries: int = 1


@dataclass(frozen=True)
class Work:
    """What one way of predicting a scene does.

    Parameters
    ----------
    windows
        Windows that cover the scene; those that two tiles share count twice.
    windows_with_data
        How many of them run, as an estimate: those without data are skipped.
    passes
        Forward passes for these, each of a full batch.
    chunks
        Chunks of windows, which are computed one at a time.
    tiles
        Independent parts of the scene; 0 where it is one graph.
    tasks
        Tasks that the scheduler in charge sees.
    bytes_read
        Bytes of stored numbers, before compression.
    bytes_written
        Bytes of the map's layers, before compression.
    """

    windows: int
    windows_with_data: int
    passes: int
    chunks: int
    tiles: int
    tasks: int
    bytes_read: int
    bytes_written: int

    @property
    def tasks_per_chunk(self) -> float:
        """Tasks of the scheduler in charge, a chunk."""
        return self.tasks / self.chunks


def lazy_work(
    spans: Spans,
    blocks: Sequence[Sequence[int]],
    scene_tasks: int,
    load: Load,
    filled: Filled = EVERY_WINDOW,
) -> Work:
    """Count what predicting lazily does.

    Parameters
    ----------
    spans
        Windows that each chunk owns, along y and along x.
    blocks
        Lengths of the scene's blocks along y and along x.
    scene_tasks
        Tasks of the scene's own graph.
    load
        What is handled.
    filled
        Which windows hold data.

    Examples
    --------
    >>> from seg4eo_xr.geometry.windows import WindowAxis, chunk_spans
    >>> axis = WindowAxis(size=1000, window=256, overlap=64)
    >>> spans = chunk_spans(axis, axis.windows_per_chunk(2))
    >>> load = Load(bands=4, itemsize=2, written=5, layers=2, channels=3, batch_size=1)
    >>> work = lazy_work((spans, spans), ((1000,), (1000,)), 1, load)
    >>> work.windows, work.chunks, work.tasks, work.bytes_read, work.bytes_written
    (25, 4, 34, 8000000, 5000000)
    """
    rows, columns = (len(axis) for axis in spans)
    pixels = spans[0][0].axis.size * spans[1][0].axis.size
    chunks = rows * columns
    # A chunk is joined, run, cut at its edges and at its side, and folded; the network is a task of
    # its own.
    tasks = scene_tasks + _cuts(spans, blocks) + 1 + (5 + load.layers) * chunks
    return Work(
        windows=sum(s.count for s in spans[0]) * sum(s.count for s in spans[1]),
        windows_with_data=_with_data(spans, filled),
        passes=_passes(spans, load, filled),
        chunks=chunks,
        tiles=0,
        tasks=tasks,
        bytes_read=pixels * load.bands * load.itemsize,
        bytes_written=pixels * load.written,
    )


def _cuts(spans: Spans, blocks: Sequence[Sequence[int]]) -> int:
    """Count the parts of blocks that regions are put together from."""
    parts, whole = 1, 1
    for axis, lengths in zip(spans, blocks, strict=True):
        found = [part for span in axis for part in parts_of(lengths, span.interval)]
        parts *= len(found)
        whole *= sum(part.whole for part in found)
    return parts - whole


def job_work(grid: TileGrid, load: Load, filled: Filled = EVERY_WINDOW) -> Work:
    """Count what a job does whose tiles read and run all that touches them."""
    spans = tile_spans(grid)
    seen, sizes = 1, 1
    for axis in (grid.vertical, grid.horizontal):
        tiles = [axis.tile(index) for index in range(axis.count)]
        seen *= sum(tile.read_stop - tile.read_start for tile in tiles)
        sizes *= axis.axis.size
    return Work(
        windows=grid.total_windows,
        windows_with_data=_with_data(spans, filled),
        passes=_passes(spans, load, filled),
        chunks=len(spans[0]) * len(spans[1]),
        tiles=len(grid),
        tasks=len(grid),
        bytes_read=seen * load.bands * load.itemsize,
        bytes_written=sizes * load.written,
    )


def tile_spans(grid: TileGrid) -> tuple[list[WindowSpan], list[WindowSpan]]:
    """Windows of all chunks of all tiles, along y and along x."""
    vertical, horizontal = (
        [span for index in range(axis.count) for span in axis.tile(index).spans]
        for axis in (grid.vertical, grid.horizontal)
    )
    return vertical, horizontal


def _with_data(spans: Spans, filled: Filled) -> int:
    return round(float(filled.counts(spans).sum()) * filled.share)


def _passes(spans: Spans, load: Load, filled: Filled) -> int:
    batches = sum(
        n * ceil(windows / load.batch_size) for windows, n, _ in _kinds_of_chunks(spans, filled)
    )
    return ceil(batches * filled.share) * load.symmetries


def _kinds_of_chunks(spans: Spans, filled: Filled) -> Iterator[tuple[int, int, int]]:
    """Yield windows, how many chunks have so many, and their pixels, of each kind of chunk.

    Windows are those that lie where the scene can hold data.
    """
    pixels = np.multiply.outer(*(np.array([span.valid for span in axis]) for axis in spans))
    most = int(pixels.max()) + 1
    kinds, numbers = np.unique(filled.counts(spans) * most + pixels, return_counts=True)
    for kind, n in zip(kinds.tolist(), numbers.tolist(), strict=True):
        windows, size = divmod(kind, most)
        yield windows, n, size


@dataclass(frozen=True)
class Rates:
    """How fast a machine is at one prediction, with `lanes` of each thing going on side by side.

    Parameters
    ----------
    lanes
        Chunks that compute at a time: cores, or 1 of an accelerator.
    readers
        Threads that read and write.
    pass_seconds
        Seconds that a lane takes for one forward pass with all that goes with it.
    read_seconds, write_seconds
        Seconds that a thread takes to read, and to write, one pixel with all its bands and layers.
    start_seconds
        Seconds before the first window runs.
    stored_share
        Bytes that a map takes when it is stored, by its bytes before compression.
    """

    lanes: int
    readers: int
    pass_seconds: float
    read_seconds: float
    write_seconds: float
    start_seconds: float
    stored_share: float


def run_seconds(
    spans: Spans,
    load: Load,
    rates: Rates,
    machines: int = 1,
    filled: Filled = EVERY_WINDOW,
) -> float:
    """Time of a run, from its first task to its last.

    Parameters
    ----------
    spans
        Windows of the chunks, along y and along x.
    load
        What is handled.
    rates
        How fast one machine is at it.
    machines
        How many machines share the work.
    filled
        Which windows hold data. Chunks without any are read, but neither run nor written.

    Returns
    -------
    float
        Seconds. Threads of a processor read, run and write in turn; an accelerator runs while
        other threads read and write, so the slower of both counts.
    """
    kinds = [
        (
            n,
            ceil(windows / load.batch_size) * filled.share * load.symmetries * rates.pass_seconds,
            pixels * (rates.read_seconds + (rates.write_seconds if windows else 0.0)),
        )
        for windows, n, pixels in _kinds_of_chunks(spans, filled)
    ]
    if rates.readers > rates.lanes:
        running = makespan([(n, run) for n, run, _ in kinds], rates.lanes * machines)
        moving = makespan([(n, move) for n, _, move in kinds], rates.readers * machines)
        # The first chunk has to be there before anything can run.
        return rates.start_seconds + max(running, moving) + min(move for *_, move in kinds)
    chunks = [(n, run + move) for n, run, move in kinds]
    return rates.start_seconds + makespan(chunks, rates.lanes * machines)
