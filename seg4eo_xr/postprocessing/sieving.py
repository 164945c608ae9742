"""A minimum mapping unit: components that are too small go to their largest neighbour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import delayed

from seg4eo_xr.postprocessing.components import Components, Part, joined, unique_pairs
from seg4eo_xr.postprocessing.rereading import read_again
from seg4eo_xr.postprocessing.stitching import Regions, Stitching

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def absorb(regions: Regions, pairs: np.ndarray, min_pixels: int) -> np.ndarray:
    """Choose the code that each region bears once none is too small.

    Every region that is too small joins its largest neighbour, of several the one with the lowest
    key. Those that are too small even together do so again, until none with a neighbour is left. A
    region that is large enough keeps its code, and the size that it has at the start.

    Parameters
    ----------
    regions
        The regions.
    pairs
        Those that share a border, ``(pair, 2)``; pairs of two large ones are of no account.
    min_pixels
        Pixels from which a region is large enough.

    Returns
    -------
    ndarray
        Codes, one a region.

    Examples
    --------
    >>> regions = Regions(np.arange(3), np.array([5, 6, 7]), np.array([[9], [2], [30]]))
    >>> absorb(regions, np.array([[0, 1], [1, 2]]), 4)
    array([5, 7, 7])
    """
    head, sizes, keys = np.arange(len(regions)), regions.sizes.copy(), regions.keys.copy()
    while True:
        links = head[pairs]
        links = links[links[:, 0] != links[:, 1]]
        links = np.concatenate([links, links[:, ::-1]])
        links = links[sizes[links[:, 0]] < min_pixels]
        if not len(links):
            codes: np.ndarray = regions.codes[head]
            return codes
        taker = _takers(Regions(keys, regions.codes, sizes[:, None]), links)
        joining = np.flatnonzero(taker != np.arange(len(taker)))
        growing = joining[sizes[taker[joining]] < min_pixels]
        np.add.at(sizes, taker[growing], sizes[growing])
        np.minimum.at(keys, taker[growing], keys[growing])
        head = taker[head]


def _takers(regions: Regions, links: np.ndarray) -> np.ndarray:
    """Region that each is to be part of, itself if it stays; links lead away from small ones."""
    source, target = links.T
    kin = regions.codes[source] == regions.codes[target]
    # Small ones that have come to bear a neighbour's code are one with it before all else.
    order = np.lexsort((-regions.keys[target], regions.sizes[target], kin, source))
    last = order[np.flatnonzero(np.diff(source[order], append=-1))]
    taker = np.arange(len(regions))
    taker[source[last]] = target[last]
    # Since all follow one order, the only cycles are pairs; the better of a pair stays.
    mutual = np.flatnonzero(taker[taker] == np.arange(len(taker)))
    partner = taker[mutual]
    better = (regions.sizes[mutual] > regions.sizes[partner]) | (
        (regions.sizes[mutual] == regions.sizes[partner])
        & (regions.keys[mutual] < regions.keys[partner])
    )
    taker[mutual[better]] = mutual[better]
    while (taker[taker] != taker).any():
        taker = taker[taker]
    return taker


@dataclass(frozen=True, eq=False)
class _Decisions:
    """What a tile is told about its regions that the rest of the map has a say in.

    Parameters
    ----------
    regions
        Those regions with the keys and sizes that they have in the whole map.
    codes
        The codes that they get.
    """

    regions: Regions
    codes: np.ndarray


class _TileRegions:
    """Components of a tile, and which of them cannot be judged by the tile alone.

    Those are the ones that touch other tiles, the small ones that small ones link with these, and
    all neighbours of both.
    """

    def __init__(self, codes: np.ndarray, part: Part, nodata: float | None, small: int) -> None:
        self.components = Components.of(codes)
        self.regions = Regions.of(self.components, part)
        valid = np.ones(len(self.components), bool)
        if nodata is not None:
            valid = self.regions.codes != nodata
        self.small = valid & (self.regions.sizes < small)
        pairs = self.components.neighbours(self.small)
        self.pairs = pairs[valid[pairs].all(1)]
        labels = self.components.sides(part.inner_sides)
        rim = np.zeros(len(self.components), bool)
        rim[np.concatenate([*labels.values(), np.empty(0, np.int32)]).astype(np.int64)] = True
        rim &= valid
        clusters = joined(len(rim), self.pairs[self.small[self.pairs].all(1)])
        self.open = self.small & np.isin(clusters, clusters[rim & self.small])
        self.open_pairs = self.pairs[self.open[self.pairs].any(1)]
        shared = rim | self.open
        shared[self.open_pairs] = True
        self.shared = np.flatnonzero(shared)
        self._labels, self._rim = labels, rim

    def summary(self) -> _TileSummary:
        """What the rest of the map has to know of the tile."""
        node = np.full(len(self.components), -1)
        node[self.shared] = np.arange(len(self.shared))
        on_rim = np.where(self._rim, node, -1)
        sides = {side: on_rim[labels] for side, labels in self._labels.items()}
        return _TileSummary(self.regions[self.shared], node[self.open_pairs], sides)

    def sieved(self, decided: _Decisions, min_pixels: int) -> np.ndarray:
        """Codes of the tile's pixels once all is decided."""
        regions, codes = self.regions, self.regions.codes.copy()
        regions.keys[self.shared] = decided.regions.keys
        regions.sizes[self.shared] = decided.regions.sizes
        pairs = self.pairs[(self.small & ~self.open)[self.pairs].any(1)]
        nodes, numbered = np.unique(pairs, return_inverse=True)
        codes[nodes] = absorb(regions[nodes], numbered.reshape(-1, 2), min_pixels)
        codes[self.shared] = decided.codes
        pixels: np.ndarray = codes[self.components.labels]
        return pixels


@dataclass(frozen=True, eq=False)
class _TileSummary:
    """Regions of a tile that others have a say in, their pairs, and those along its sides."""

    regions: Regions
    pairs: np.ndarray
    sides: Mapping[str, np.ndarray]


def _decide(summaries: np.ndarray, min_pixels: int) -> np.ndarray:
    """Judge what tiles cannot judge alone.

    Parameters
    ----------
    summaries
        `_TileSummary` of each tile, ``(row, column)``.
    min_pixels
        Pixels of the smallest region that stays.

    Returns
    -------
    ndarray of `_Decisions`, ``(row, column)``
    """
    tiles = {(i, j): summary for (i, j), summary in np.ndenumerate(summaries)}
    stitching = Stitching.of(tiles)
    inside = [tile.pairs + stitching.starts[place] for place, tile in tiles.items()]
    whole = stitching.regions.merged(stitching.groups)
    pairs = unique_pairs(stitching.groups[np.concatenate([stitching.borders, *inside])])
    codes = absorb(whole, pairs, min_pixels)
    decisions = np.empty(summaries.shape, object)
    for place, start in stitching.starts.items():
        mine = stitching.groups[start : start + len(tiles[place].regions)]
        decisions[place] = _Decisions(whole[mine], codes[mine])
    return decisions


def _part_of(block_info: Any) -> Part:
    (row, height), (column, width) = (
        (start, stop - start) for start, stop in block_info[0]["array-location"]
    )
    return Part(row, column, height, width, *block_info[0]["shape"])


def _summarise_block(
    codes: np.ndarray, nodata: float | None, min_pixels: int, block_info: Any = None
) -> np.ndarray:
    summary = np.empty((1, 1), object)
    summary[0, 0] = _TileRegions(codes, _part_of(block_info), nodata, min_pixels).summary()
    return summary


def _sieve_block(
    codes: np.ndarray,
    decisions: np.ndarray,
    nodata: float | None,
    min_pixels: int,
    block_info: Any = None,
) -> np.ndarray:
    regions = _TileRegions(codes, _part_of(block_info), nodata, min_pixels)
    return regions.sieved(decisions[block_info[0]["chunk-location"]], min_pixels)


def sieve_layers(
    codes: Any, others: Sequence[Any], nodata: float | None, min_pixels: int
) -> tuple[Any, list[Any]]:
    """Sieve an array of class codes; see `seg4eo_xr.sieve`.

    Parameters
    ----------
    codes
        ``(y, x)``, NumPy or dask.
    others
        Dask arrays that are computed along with the result. The source is read twice; this sees to
        it that they wait for the second time, and nothing is held in between.
    nodata
        Code of missing pixels, if there is one.
    min_pixels
        Pixels of the smallest component that stays.

    Returns
    -------
    ndarray or dask array
        The like of `codes`.
    list
        The like of `others`.
    """
    if not isinstance(codes, da.Array):
        regions = _TileRegions(codes, Part(0, 0, *codes.shape, *codes.shape), nodata, min_pixels)
        nothing = regions.regions[regions.shared]
        return regions.sieved(_Decisions(nothing, nothing.codes), min_pixels), list(others)
    rules = {"nodata": nodata, "min_pixels": min_pixels}
    summaries = da.map_blocks(
        _summarise_block,
        codes,
        **rules,
        dtype=object,
        chunks=tuple((1,) * count for count in codes.numblocks),
        meta=np.empty((0, 0), object),
    )
    decisions = delayed(_decide, pure=True)(summaries, min_pixels)
    seed = tokenize(codes, rules)
    again, *others = (read_again(array, decisions, seed) for array in (codes, *others))
    sieved = da.map_blocks(
        _sieve_block, again, decisions=decisions, **rules, dtype=codes.dtype, meta=codes._meta
    )
    return sieved, others
