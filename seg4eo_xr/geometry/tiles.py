"""Tiles of a large scene: independent parts of whole chunks, each with all windows that touch it.

A job writes one tile at a time. A tile runs every window of the global grid that touches it, so the
windows along its upper and left edge run for two tiles; the price of tiles that need nothing from
each other is about one extra window a side. Tiles and chunks begin at multiples of the stride.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from seg4eo_xr.geometry.windows import WindowSpan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seg4eo_xr.geometry.windows import WindowAxis


class Tile(NamedTuple):
    """Position of a tile in the grid of tiles."""

    row: int
    column: int


@dataclass(frozen=True)
class TileSpan:
    """One tile along one axis.

    Parameters
    ----------
    start, stop
        Pixels of the scene that the tile writes.
    spans
        Windows that touch the tile, cut where chunks begin. The first span begins `lead` pixels
        before the tile, and the last may end past it; what lies there belongs to other tiles.
    """

    start: int
    stop: int
    spans: tuple[WindowSpan, ...]

    @property
    def read_start(self) -> int:
        """First pixel of the scene that the tile's windows see."""
        return self.spans[0].start

    @property
    def read_stop(self) -> int:
        """End of the pixels of the scene that the tile's windows see."""
        return self.spans[-1].interval[1]

    @property
    def lead(self) -> int:
        """Pixels between the first window's start and the tile's."""
        return self.start - self.read_start

    @property
    def windows(self) -> int:
        """Number of windows that touch the tile."""
        return sum(span.count for span in self.spans)


@dataclass(frozen=True)
class TileAxis:
    """One axis of a scene, cut into chunks and tiles.

    Parameters
    ----------
    axis
        The axis of the global window grid.
    windows
        Windows a chunk; fewer than `WindowAxis.min_windows_per_chunk` are raised to that.
    chunks
        Chunks a tile, at least 1.

    Examples
    --------
    >>> from seg4eo_xr.geometry.windows import WindowAxis
    >>> tiles = TileAxis(WindowAxis(size=1000, window=64, overlap=16), windows=4, chunks=2)
    >>> tiles.chunk, tiles.count, [(t.start, t.stop) for t in map(tiles.tile, range(3))]
    (192, 3, [(0, 384), (384, 768), (768, 1000)])
    >>> tiles.tile(1).windows, tiles.tile(1).lead
    (9, 48)
    """

    axis: WindowAxis
    windows: int
    chunks: int

    @property
    def windows_per_chunk(self) -> int:
        """Windows a chunk, as many as are needed at least."""
        return max(self.windows, self.axis.min_windows_per_chunk)

    @property
    def chunk(self) -> int:
        """Side of a chunk in pixels; that of the scene where it is smaller."""
        return min(self.axis.size, self.windows_per_chunk * self.axis.stride)

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels, save that of the last one."""
        return max(1, self.chunks) * self.windows_per_chunk * self.axis.stride

    @property
    def count(self) -> int:
        """Number of tiles; the last one takes a rest of less than half a tile."""
        return max(1, (2 * self.axis.size + self.tile_size) // (2 * self.tile_size))

    def tile(self, index: int) -> TileSpan:
        """Return one tile along this axis."""
        if not 0 <= index < self.count:
            raise IndexError(f"tile {index} is not one of the {self.count} of this axis")
        axis, side = self.axis, self.tile_size // self.axis.stride
        own, is_last = index * side, index == self.count - 1
        end = axis.count if is_last else min(axis.count, own + side)
        # Padding by reflection at the scene's end needs two windows, as it has without tiles.
        first = max(0, min(own - ceil(axis.overlap / axis.stride), axis.count - 2))
        borders = [
            border
            for border in range(own + self.windows_per_chunk, end, self.windows_per_chunk)
            if end - border >= axis.min_windows_per_chunk
        ]
        bounds = [first, *borders, end]
        spans = tuple(WindowSpan(axis, begin, stop - begin) for begin, stop in pairwise(bounds))
        stop = axis.size if is_last else axis.start(own + side)
        return TileSpan(axis.start(own), stop, spans)


@dataclass(frozen=True)
class TileGrid:
    """All tiles of a scene.

    Parameters
    ----------
    vertical, horizontal
        The axes.
    """

    vertical: TileAxis
    horizontal: TileAxis

    def __len__(self) -> int:
        return self.vertical.count * self.horizontal.count

    def __iter__(self) -> Iterator[Tile]:
        """Yield all tiles, row by row."""
        for row in range(self.vertical.count):
            for column in range(self.horizontal.count):
                yield Tile(row, column)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tiles along y and x."""
        return self.vertical.count, self.horizontal.count

    @property
    def chunk(self) -> tuple[int, int]:
        """Height and width of a chunk in pixels."""
        return self.vertical.chunk, self.horizontal.chunk

    def spans(self, tile: Tile) -> tuple[TileSpan, TileSpan]:
        """Return a tile along y and along x."""
        return self.vertical.tile(tile.row), self.horizontal.tile(tile.column)

    def windows(self, tile: Tile) -> int:
        """Number of windows that a tile runs, those that it shares with its neighbours included."""
        vertical, horizontal = self.spans(tile)
        return vertical.windows * horizontal.windows

    def pixels(self, tile: Tile) -> int:
        """Number of pixels that a tile writes."""
        vertical, horizontal = self.spans(tile)
        return (vertical.stop - vertical.start) * (horizontal.stop - horizontal.start)

    @property
    def total_windows(self) -> int:
        """Windows that all tiles run together."""
        rows, columns = (
            sum(axis.tile(index).windows for index in range(axis.count))
            for axis in (self.vertical, self.horizontal)
        )
        return rows * columns


# A chunk of about this many pixels a side is a good Zarr chunk, and many fill a tile.
_CHUNK_SIDE = 2048
# With fewer chunks than this, cores would wait for each other at the end.
_FEWEST_CHUNKS = 16


def tile_grid(
    vertical: WindowAxis,
    horizontal: WindowAxis,
    *,
    tile_size: int,
    windows_per_chunk: int | None = None,
) -> TileGrid:
    """Cut a scene into like tiles of up to about `tile_size` pixels a side.

    They are the same on every machine, so that a job may go on elsewhere.

    Parameters
    ----------
    vertical, horizontal
        The window grid.
    tile_size
        Wanted side of a tile in pixels; whole chunks are taken.
    windows_per_chunk
        Windows along a side of a chunk; those of about 2048 px if None, fewer in small scenes.

    Examples
    --------
    >>> from seg4eo_xr.geometry.windows import WindowAxis
    >>> axis = WindowAxis(size=100_000, window=512, overlap=128)
    >>> grid = tile_grid(axis, axis, tile_size=8192)
    >>> grid.chunk, grid.vertical.tile_size, len(grid)
    ((1920, 1920), 7680, 169)
    >>> scene = WindowAxis(size=10_980, window=512, overlap=128)
    >>> tile_grid(scene, scene, tile_size=8192).shape
    (2, 2)
    """
    axes = (vertical, horizontal)
    if windows_per_chunk is None:
        windows_per_chunk = max(2, round(_CHUNK_SIDE / vertical.stride))
        while windows_per_chunk > 2 and _chunks(axes, windows_per_chunk) < _FEWEST_CHUNKS:
            windows_per_chunk -= 1
    sides = [windows_per_chunk, windows_per_chunk]
    parts = [TileAxis(axis, side, 1) for axis, side in zip(axes, sides, strict=True)]
    rows, columns = (
        TileAxis(part.axis, part.windows, _chunks_a_tile(part, tile_size)) for part in parts
    )
    return TileGrid(rows, columns)


def _chunks_a_tile(chunks: TileAxis, tile_size: int) -> int:
    """Chunks that tiles of about `tile_size` have where all are as large as each other."""
    most = max(1, round(tile_size / chunks.tile_size))
    return ceil(chunks.count / ceil(chunks.count / most))


def _chunks(axes: tuple[WindowAxis, WindowAxis], windows: int) -> int:
    rows, columns = (ceil(axis.count / max(windows, axis.min_windows_per_chunk)) for axis in axes)
    return rows * columns
