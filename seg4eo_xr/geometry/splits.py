"""Training, validation and test: which patch goes where, and how far apart they lie.

Distances are those between pixel centres, in pixels of the scene: 0 for patches that share a pixel,
1 for patches that touch along a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class Split(Protocol):
    """A rule that deals patches to the splits."""

    def assign(
        self,
        rows: NDArray[np.int64],
        cols: NDArray[np.int64],
        heights: NDArray[np.int64],
        widths: NDArray[np.int64],
    ) -> NDArray[np.str_]:
        """Name each patch's split; an empty name leaves the patch out."""
        ...


@dataclass(frozen=True)
class RandomSplit:
    """Deal patches to the splits at random, wherever they lie.

    Neighbouring patches look alike, so scores on such a test split flatter the model;
    `SpatialSplit` keeps the splits apart.

    Parameters
    ----------
    train_ratio, val_ratio, test_ratio
        Shares of the patches; they sum to 1.
    random_seed
        Seed of the shuffle, at least 0.

    Examples
    --------
    >>> grid = np.arange(20) * 8
    >>> names = RandomSplit(0.6, 0.2, 0.2).assign(grid, grid, grid * 0 + 8, grid * 0 + 8)
    >>> [int((names == split).sum()) for split in SPLITS]
    [12, 4, 4]
    """

    train_ratio: float = 0.75
    val_ratio: float = 0.15
    test_ratio: float = 0.10
    random_seed: int = 42

    def __post_init__(self) -> None:
        _check_ratios(self.ratios, self.random_seed)

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Shares of train, validation and test."""
        return self.train_ratio, self.val_ratio, self.test_ratio

    def assign(
        self,
        rows: NDArray[np.int64],
        cols: NDArray[np.int64],
        heights: NDArray[np.int64],
        widths: NDArray[np.int64],
    ) -> NDArray[np.str_]:
        """Name each patch's split.

        Parameters
        ----------
        rows, cols, heights, widths
            Windows of the patches in pixels of the scene, ``(patch,)``.

        Returns
        -------
        ndarray of str, ``(patch,)``
            ``train``, ``validation`` or ``test``. Each split with a share gets at least one patch
            where there are enough, in this order.
        """
        counts = _patches_per_split(len(rows), self.ratios)
        names = np.repeat(np.array(SPLITS), counts)
        return np.asarray(np.random.default_rng(self.random_seed).permutation(names))


@dataclass(frozen=True)
class SpatialSplit:
    """Deal whole blocks of the scene to the splits, and keep the splits a buffer apart.

    A patch belongs to the block that holds its centre. Of two patches of different splits that lie
    within the buffer of each other, one is left out: the training patch, or the validation patch if
    the other is for testing.

    Parameters
    ----------
    block
        Side of a block in pixels of the scene; ten patches or more is a good start.
    buffer
        No pixel of a split lies within this distance of a pixel of another split, in pixels. With 0
        they merely share none.
    train_ratio, val_ratio, test_ratio
        Shares of the patches; they sum to 1. Blocks are dealt whole, so they are met roughly.
    random_seed
        Seed of the deal, at least 0.

    References
    ----------
    Roberts et al. 2017, Cross-validation strategies for data with temporal, spatial, hierarchical,
    or phylogenetic structure. https://doi.org/10.1111/ecog.02881
    """

    block: int
    buffer: float = 0
    train_ratio: float = 0.75
    val_ratio: float = 0.15
    test_ratio: float = 0.10
    random_seed: int = 42

    def __post_init__(self) -> None:
        _check_ratios(self.ratios, self.random_seed)
        if self.block < 1:
            raise ValueError(f"block must be at least 1 pixel, got {self.block}")
        if not 0 <= self.buffer < np.inf:
            raise ValueError(f"buffer must be 0 pixels or more, got {self.buffer}")

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Shares of train, validation and test."""
        return self.train_ratio, self.val_ratio, self.test_ratio

    def assign(
        self,
        rows: NDArray[np.int64],
        cols: NDArray[np.int64],
        heights: NDArray[np.int64],
        widths: NDArray[np.int64],
    ) -> NDArray[np.str_]:
        """Name each patch's split; the name is empty where the buffer takes the patch.

        Parameters
        ----------
        rows, cols, heights, widths
            Windows of the patches in pixels of the scene, ``(patch,)``.

        Returns
        -------
        ndarray of str, ``(patch,)``
            ``train``, ``validation``, ``test`` or an empty string.

        Raises
        ------
        ValueError
            If there are fewer blocks than splits, or the buffer leaves a split empty.
        """
        centres = np.stack([2 * rows + heights, 2 * cols + widths], axis=1)
        blocks, block_of = np.unique(centres // (2 * self.block), axis=0, return_inverse=True)
        dealt = self._deal(np.bincount(block_of.ravel(), minlength=len(blocks)))
        names = dealt[block_of.ravel()]
        windows = (rows, cols, heights, widths)
        for yielding, standing in (("validation", ("test",)), ("train", ("validation", "test"))):
            near = _within(windows, names == yielding, np.isin(names, standing), self.buffer)
            names[near] = ""
        for name, ratio in zip(SPLITS, self.ratios, strict=True):
            if ratio > 0 and not (names == name).any():
                raise ValueError(
                    f"a buffer of {self.buffer:g} px between blocks of {self.block} px leaves no "
                    f"{name} patch; choose a smaller buffer, larger blocks or another random_seed"
                )
        return names

    def _deal(self, sizes: NDArray[np.int64]) -> NDArray[np.str_]:
        """Name each block's split, given how many patches each block holds."""
        wanted = [i for i, ratio in enumerate(self.ratios) if ratio > 0]
        if len(sizes) < len(wanted):
            raise ValueError(
                f"blocks of {self.block} px cut the patches into {len(sizes)} blocks, too few for "
                f"{len(wanted)} splits; choose a smaller block"
            )
        missing = np.array(self.ratios) * sizes.sum()
        names = np.empty(len(sizes), f"<U{max(map(len, SPLITS))}")
        order = np.random.default_rng(self.random_seed).permutation(len(sizes))
        without = set(wanted)
        for place, block in enumerate(order):
            must_fill = len(without) == len(order) - place
            candidates = sorted(without) if must_fill else wanted
            split = max(candidates, key=lambda i: missing[i])
            names[block] = SPLITS[split]
            missing[split] -= sizes[block]
            without.discard(split)
        return names


def nearest_distance(
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    splits: NDArray[np.str_],
    pair: tuple[SplitName, SplitName] = ("test", "train"),
) -> float:
    """Measure how near two splits come to each other.

    Parameters
    ----------
    rows, cols, heights, widths
        Windows of the patches in pixels of the scene, ``(patch,)``.
    splits
        Name of each patch's split.
    pair
        The two splits.

    Returns
    -------
    float
        Smallest distance between pixel centres, in pixels: 0 where the splits share a pixel; NaN
        where one of them is empty.

    Examples
    --------
    >>> rows, cols, size = np.array([0, 0]), np.array([0, 20]), np.array([8, 8])
    >>> nearest_distance(rows, cols, size, size, np.array(["train", "test"]))
    13.0
    """
    import shapely

    boxes = _boxes((rows, cols, heights, widths))
    first, second = (boxes[splits == name] for name in pair)
    if not len(first) or not len(second):
        return float("nan")
    _, distances = shapely.STRtree(second).query_nearest(
        first, return_distance=True, all_matches=False
    )
    return float(distances.min())


_Windows = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]"]


def _boxes(windows: _Windows, reach: float = 0.0) -> NDArray[np.object_]:
    """Rectangles through the outermost pixel centres of each window, grown by `reach`."""
    import shapely

    rows, cols, heights, widths = windows
    boxes: NDArray[np.object_] = shapely.box(
        cols - reach, rows - reach, cols + widths - 1 + reach, rows + heights - 1 + reach
    )
    return boxes


def _within(
    windows: _Windows,
    asking: NDArray[np.bool_],
    others: NDArray[np.bool_],
    distance: float,
) -> NDArray[np.int64]:
    """Positions of the `asking` patches that lie within `distance` of one of the `others`."""
    import shapely

    boxes, positions = _boxes(windows), np.flatnonzero(asking)
    first, second = shapely.STRtree(boxes[others]).query(_boxes(windows, reach=distance)[asking])
    # Not the tree's own "dwithin": it errs on windows one pixel wide, whose boxes have no area.
    near = shapely.dwithin(boxes[asking][first], boxes[others][second], distance)
    return np.asarray(positions[np.unique(first[near])])


def _check_ratios(ratios: tuple[float, float, float], random_seed: int) -> None:
    train, validation, test = ratios
    if not all(0 <= ratio <= 1 for ratio in ratios) or train == 0:
        raise ValueError(
            "train_ratio must be above 0, val_ratio and test_ratio 0 or more, "
            f"got {train}, {validation} and {test}"
        )
    if not np.isclose(sum(ratios), 1.0, atol=1e-6):
        raise ValueError(
            f"train_ratio + val_ratio + test_ratio must make 1, got {train} + {validation} + {test}"
            f" = {sum(ratios):g}"
        )
    if random_seed < 0:
        raise ValueError(f"random_seed must be 0 or more, got {random_seed}")


def _patches_per_split(count: int, ratios: tuple[float, ...]) -> NDArray[np.int64]:
    """Share out `count` patches: largest remainders, and one each before any gets its second."""
    exact = np.array(ratios) * count
    counts = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(counts - exact, kind="stable")
    counts[by_remainder[: count - counts.sum()]] += 1
    for split in np.flatnonzero((counts == 0) & (np.array(ratios) > 0)):
        richest = int(np.argmax(counts))
        if counts[richest] > 1:
            counts[richest] -= 1
            counts[split] += 1
    return np.asarray(counts)
