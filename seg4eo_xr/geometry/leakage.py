"""What a split lets through: how near its parts come, what they share, what occurs in both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.geometry.footprints import near, nearest
from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.html import card_html, lines_html, warnings_html

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from seg4eo_xr.geometry.footprints import Footprints
    from seg4eo_xr.geometry.splits import SplitName

# The later split first: of its patches it is asked whether the earlier split gives them away.
PAIRS: tuple[tuple[SplitName, SplitName], ...] = tuple(
    (later, earlier) for earlier, later in combinations(SPLITS, 2)
)


@dataclass(frozen=True, repr=False)
class LeakageReport:
    """How far apart the splits of a patch store are.

    Keys name two splits, as ``"test-train"``.

    Parameters
    ----------
    distances
        Smallest distance between pixel centres, in pixels of the reference grid; 0 where the two
        share ground, None where one of them is empty.
    overlapping
        Number of patches of the first split that share ground with a patch of the second.
    duplicates
        Number of patches of the first split whose image occurs in the second, byte for byte;
        without images whose pixels are all alike.
    """

    distances: Mapping[str, float | None]
    overlapping: Mapping[str, int]
    duplicates: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and numbers, as for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> LeakageReport:
        """Rebuild a report from what `to_dict` gave."""
        return cls(**numbers)

    def lines(self) -> list[str]:
        """Tell the report, one line a pair of splits that both have patches.

        Examples
        --------
        >>> pair = "test-train"
        >>> LeakageReport({pair: 13.0}, {pair: 0}, {pair: 2}).lines()
        ['test and train: 13 px apart, 2 test patches are duplicates']
        """
        return [
            f"{' and '.join(pair.split('-'))}: {_distance_text(distance)}, "
            + _counts_text(pair.split("-")[0], self.overlapping[pair], self.duplicates[pair])
            for pair, distance in self.distances.items()
            if distance is not None
        ]

    def __repr__(self) -> str:
        told = [*self.lines(), *(f"warning: {problem}" for problem in self.problems())]
        return "\n".join(told) or "no two splits have patches"

    def _repr_html_(self) -> str:
        lines = self.lines() or ["no two splits have patches"]
        return card_html("leakage", "", lines_html(lines), warnings_html(self.problems()))

    def problems(self) -> list[str]:
        """Name what makes scores on validation or test patches look better than they are.

        Returns
        -------
        list of str
            Sentences that a warning may hold; empty where training shares nothing with the others.
        """
        found = []
        for pair in self.distances:
            first, second = pair.split("-")
            if second != "train":
                continue
            for count, fault, remedy in (
                (
                    self.overlapping[pair],
                    "share ground with training patches",
                    "SpatialSplit(block=..., buffer=...) keeps them apart "
                    "(--split_block, --split_buffer)",
                ),
                (
                    self.duplicates[pair],
                    "have the image of a training patch, byte for byte",
                    "check whether a scene was given twice",
                ),
            ):
                if count:
                    found.append(
                        f"{count} {first} patches {fault}, which flatters the scores; {remedy}"
                    )
        return found


def leakage(
    patches: Footprints, splits: NDArray[np.str_], digests: NDArray[np.uint64]
) -> LeakageReport:
    """Report how near the splits come to each other, and what they share.

    Parameters
    ----------
    patches
        Where the patches lie.
    splits
        Name of each patch's split, ``(patch,)``; others than train, validation and test are passed
        over.
    digests
        A number that stands for each patch's image, ``(patch,)`` uint64; 0 for an image that is
        no duplicate whatever else is alike, as one of nothing but water.

    Returns
    -------
    LeakageReport

    Examples
    --------
    >>> from seg4eo_xr.geometry.footprints import Footprints
    >>> patches = Footprints.of(0, [0, 4, 8], 8, 8)
    >>> splits, digests = np.array(["train", "test", "test"]), np.array([1, 2, 1], np.uint64)
    >>> report = leakage(patches, splits, digests)
    >>> report.distances["test-train"], report.overlapping["test-train"]
    (0.0, 1)
    """
    distances: dict[str, float | None] = {}
    overlapping, duplicates = {}, {}
    for first, second in PAIRS:
        pair, one, other = f"{first}-{second}", splits == first, splits == second
        overlapping[pair] = int(near(patches, one, other).sum())
        distances[pair] = 0.0 if overlapping[pair] else nearest(patches, one, other)
        duplicates[pair] = int((np.isin(digests[one], digests[other]) & (digests[one] > 0)).sum())
    return LeakageReport(distances, overlapping, duplicates)


def _distance_text(distance: float) -> str:
    if not distance:
        return "they share ground"
    # Neighbours' outermost pixel centres are a pixel apart, or the diagonal of one.
    return "they touch" if distance < 1.5 else f"{distance:.4g} px apart"


def _counts_text(split: str, overlapping: int, duplicates: int) -> str:
    told = [
        f"{count} {split} patches {what}"
        for count, what in ((overlapping, "overlap"), (duplicates, "are duplicates"))
        if count
    ]
    return ", ".join(told) or "nothing in common"
