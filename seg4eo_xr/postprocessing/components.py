"""Connected parts of one class in a tile of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Part:
    """A rectangle of a map's pixels.

    Parameters
    ----------
    row, column
        Pixel of the map in the tile's north-west corner.
    height, width
        Pixels.
    map_height, map_width
        Pixels of the whole map.
    """

    row: int
    column: int
    height: int
    width: int
    map_height: int
    map_width: int

    @property
    def inner_sides(self) -> tuple[str, ...]:
        """The sides beyond which the map goes on."""
        beyond = {
            "north": self.row > 0,
            "east": self.column + self.width < self.map_width,
            "south": self.row + self.height < self.map_height,
            "west": self.column > 0,
        }
        return tuple(side for side, goes_on in beyond.items() if goes_on)

    def numbers(self, positions: np.ndarray) -> np.ndarray:
        """Row-major numbers in the map of pixels given by theirs in the tile, int64.

        Examples
        --------
        >>> Part(10, 20, 2, 2, 50, 100).numbers(np.array([0, 3]))
        array([1020, 1121])
        """
        rows, columns = np.divmod(np.asarray(positions, np.int64), self.width)
        return (rows + self.row) * self.map_width + columns + self.column


def parts_of(
    chunks: tuple[tuple[int, ...], tuple[int, ...]],
) -> dict[tuple[int, int], Part]:
    """Tiles that cut a map as dask chunks do, by their place in the grid of chunks, row by row.

    Examples
    --------
    >>> parts_of(((4, 1), (3,)))[1, 0]
    Part(row=4, column=0, height=1, width=3, map_height=5, map_width=3)
    """
    rows, columns = (np.cumsum((0, *sides)).tolist() for sides in chunks)
    return {
        (i, j): Part(rows[i], columns[j], height, width, rows[-1], columns[-1])
        for i, height in enumerate(chunks[0])
        for j, width in enumerate(chunks[1])
    }


@dataclass(frozen=True, eq=False)
class Components:
    """The 4-connected parts of one code in an array.

    Parameters
    ----------
    labels
        Number of the component of each pixel, ``(y, x)`` int32, from 0.
    first
        Row-major position of each component's first pixel, int64.
    codes
        Code of each component.
    """

    labels: np.ndarray
    first: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> Components:
        """Find the components of an array ``(y, x)`` of integers; nodata has some too.

        Examples
        --------
        >>> Components.of(np.array([[7, 7, 2], [2, 7, 2]])).labels
        array([[0, 0, 1],
               [2, 0, 1]], dtype=int32)
        """
        height, width = codes.shape
        # Between any two pixels stands a cell that is set where they are of one code, so that one
        # call finds the components of all codes.
        linked = np.zeros((2 * height - 1, 2 * width - 1), bool)
        linked[::2, ::2] = True
        linked[1::2, ::2] = codes[1:] == codes[:-1]
        linked[::2, 1::2] = codes[:, 1:] == codes[:, :-1]
        found, count = ndimage.label(linked)
        labels = np.ascontiguousarray(found[::2, ::2], np.int32) - np.int32(1)
        first = np.empty(count, np.int64)
        # where positions repeat, the last one stays
        first[labels.ravel()[::-1]] = np.arange(labels.size - 1, -1, -1)
        return cls(labels, first, codes.ravel()[first])

    def __len__(self) -> int:
        return len(self.first)

    @property
    def sizes(self) -> np.ndarray:
        """Pixels of each component, int64."""
        return np.bincount(self.labels.ravel(), minlength=len(self))

    def neighbours(self, chosen: np.ndarray) -> np.ndarray:
        """Pairs of components that share a border and of which one is among some.

        Parameters
        ----------
        chosen
            Whether a component is one of them, bool.

        Returns
        -------
        ndarray of int64, ``(pair, 2)``
            Each pair once, the lower number first.
        """
        labels, pairs = self.labels, []
        for one, other in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
            border = (one != other) & (chosen[one] | chosen[other])
            pairs.append(np.stack([one[border], other[border]], 1))
        return unique_pairs(np.concatenate(pairs))

    def sides(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Labels along some sides of the array, in the order of rows or columns."""
        edges = {"north": (0,), "south": (-1,), "west": (..., 0), "east": (..., -1)}
        return {name: self.labels[edges[name]] for name in names}


def unique_pairs(pairs: np.ndarray) -> np.ndarray:
    """Sort out which pairs of numbers, ``(pair, 2)``, there are, whichever number comes first."""
    pairs = np.sort(np.asarray(pairs, np.int64).reshape(-1, 2), axis=1)
    if not len(pairs):
        return pairs
    base = int(pairs.max()) + 1
    return np.stack(np.divmod(np.unique(pairs[:, 0] * base + pairs[:, 1]), base), 1)


def joined(count: int, pairs: np.ndarray) -> np.ndarray:
    """Group of each of `count` nodes when pairs of them are joined, numbered from 0.

    Examples
    --------
    >>> joined(4, np.array([[0, 2], [2, 3]])).tolist()
    [0, 1, 0, 0]
    """
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    groups: np.ndarray = connected_components(links, directed=False)[1]
    return groups.astype(np.int64)
