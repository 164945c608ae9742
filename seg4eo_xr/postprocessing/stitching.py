"""What is known of the components of tiles, joined across their borders by union-find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from seg4eo_xr.postprocessing.components import joined, unique_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seg4eo_xr.postprocessing.components import Components, Part

_FACING = (("east", "west", (0, 1)), ("south", "north", (1, 0)))


@dataclass(frozen=True, eq=False)
class Regions:
    """Components of a tile or of the whole map, with what is counted of each.

    Parameters
    ----------
    keys
        Row-major number in the map of each component's first pixel, int64.
    codes
        Class codes.
    sums
        Sums over the pixels, ``(region, quantity)`` int64; the first is the number of pixels.
    """

    keys: np.ndarray
    codes: np.ndarray
    sums: np.ndarray

    @classmethod
    def of(cls, components: Components, part: Part, *weights: np.ndarray) -> Regions:
        """Describe the components of a tile.

        Parameters
        ----------
        components
            The components.
        part
            Where they lie.
        *weights
            Whole numbers of the pixels to add up, ``(y, x)`` float64, which is exact below 2**53.
        """
        labels, count = components.labels.ravel(), len(components)
        sums = [np.bincount(labels, minlength=count)]
        sums += [np.bincount(labels, weight.ravel(), count).astype(np.int64) for weight in weights]
        return cls(part.numbers(components.first), components.codes, np.stack(sums, 1))

    @classmethod
    def together(cls, parts: Sequence[Regions]) -> Regions:
        """Put several one after another."""
        names = ("keys", "codes", "sums")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def sizes(self) -> np.ndarray:
        """Pixels of each region, int64."""
        return self.sums[:, 0]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, chosen: np.ndarray) -> Regions:
        return Regions(self.keys[chosen], self.codes[chosen], self.sums[chosen])

    def heads(self, groups: np.ndarray) -> np.ndarray:
        """Position of the region with the lowest key of each group."""
        order = np.lexsort((self.keys, groups))
        return order[np.flatnonzero(np.diff(groups[order], prepend=-1))]

    def merged(self, groups: np.ndarray) -> Regions:
        """Make one of those of each group: sums are added, the lowest key stays, and its code."""
        heads = self.heads(groups)
        sums = np.zeros((len(heads), self.sums.shape[1]), np.int64)
        np.add.at(sums, groups, self.sums)
        return Regions(self.keys[heads], self.codes[heads], sums)


class TileRegions(Protocol):
    """What a tile tells of those of its regions that others have a say in."""

    @property
    def regions(self) -> Regions:
        """The regions."""

    @property
    def sides(self) -> Mapping[str, np.ndarray]:
        """By side of the tile: which of them each pixel there belongs to, -1 for none."""


@dataclass(frozen=True, eq=False)
class Stitching:
    """Regions of all tiles, and which of them are one across the borders of tiles.

    Parameters
    ----------
    regions
        Those of the tiles one after another.
    starts
        By a tile's place in the grid of tiles: where its regions begin.
    groups
        Group of each region; those of a group are parts of one component of the map.
    borders
        Pairs of regions of different codes that face each other, ``(pair, 2)``.
    """

    regions: Regions
    starts: Mapping[tuple[int, int], int]
    groups: np.ndarray
    borders: np.ndarray

    @classmethod
    def of(cls, tiles: Mapping[tuple[int, int], TileRegions]) -> Stitching:
        """Join what tiles know of their regions."""
        counts = [len(tile.regions) for tile in tiles.values()]
        starts = dict(zip(tiles, np.cumsum([0, *counts]).tolist(), strict=False))
        regions = Regions.together([tile.regions for tile in tiles.values()])
        facing = facing_pairs({place: tile.sides for place, tile in tiles.items()}, starts)
        same = regions.codes[facing[:, 0]] == regions.codes[facing[:, 1]]
        return cls(regions, starts, joined(len(regions), facing[same]), facing[~same])

    def number_of(self, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the tile of some regions, in order of the tiles, and their position there."""
        starts = np.array([*self.starts.values()])
        numbers = np.searchsorted(starts, regions, side="right") - 1
        return numbers, regions - starts[numbers]


def facing_pairs(
    sides: Mapping[tuple[int, int], Mapping[str, np.ndarray]],
    offsets: Mapping[tuple[int, int], int],
) -> np.ndarray:
    """Pairs of nodes that lie opposite each other across the borders of tiles.

    Parameters
    ----------
    sides
        By a tile's place in the grid of tiles, and by side: the node of each pixel, -1 for none.
    offsets
        What is added to the nodes of a tile, so that they differ from those of the others.

    Returns
    -------
    ndarray of int64, ``(pair, 2)``
    """
    found = [np.empty((0, 2), np.int64)]
    for (row, column), own in sides.items():
        for here, there, (down, right) in _FACING:
            other = row + down, column + right
            if other in sides:
                pairs = np.stack([own[here], sides[other][there]], 1).astype(np.int64)
                pairs = pairs[(pairs >= 0).all(1)]
                pairs += np.array([offsets[row, column], offsets[other]])
                found.append(unique_pairs(pairs))
    return np.concatenate(found)
