"""What a shard tells about its patches while it is in memory: no second pass is ever needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.scenes.statistics import BandHistogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.contract import NodataRule


@dataclass(frozen=True)
class SummaryRules:
    """What counts as a pixel with data, as a label and as a patch of use.

    Parameters
    ----------
    nodata
        Stored number that marks missing data, or None.
    nodata_rule
        A pixel is missing where ``any`` or where ``all`` of its bands are.
    ignore
        Label code of unlabelled pixels.
    min_valid_fraction
        Least share of a patch's pixels that must have data and a label; a patch without any such
        pixel is of no use in any case.
    classes
        The only codes that labels may hold; None where any may occur.
    """

    nodata: float | None
    nodata_rule: NodataRule
    ignore: int
    min_valid_fraction: float
    classes: ClassTable | None

    def usable(self, valid_fraction: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which patches are of use."""
        return (valid_fraction > 0) & (valid_fraction >= self.min_valid_fraction)


@dataclass(frozen=True, eq=False)
class ShardSummary:
    """Statistics of consecutive patches.

    Parameters
    ----------
    histogram
        Counts of the training patches of use; None where there are none.
    data_fraction, valid_fraction
        Share of pixels with data, and with data and a label, ``(patch,)``.
    codes
        Class codes that occur, ascending.
    class_pixels
        Labelled pixels with data, ``(patch, code)``.
    """

    histogram: BandHistogram | None
    data_fraction: NDArray[np.float64]
    valid_fraction: NDArray[np.float64]
    codes: NDArray[np.int64]
    class_pixels: NDArray[np.int64]


def summarize(
    images: np.ndarray,
    labels: np.ndarray,
    training: NDArray[np.bool_],
    names: Sequence[str],
    rules: SummaryRules,
) -> ShardSummary:
    """Take the statistics of the patches of one shard.

    Parameters
    ----------
    images
        Stored numbers, ``(patch, band, y, x)``.
    labels
        Class codes, ``(patch, y, x)``.
    training
        Which patches belong to the training split, ``(patch,)``.
    names
        What error messages call the patches.
    rules
        What counts.

    Raises
    ------
    ValueError
        If a label is not in the class table.
    """
    valid = valid_mask(images, rules.nodata, rules.nodata_rule)
    labelled = valid & (labels != rules.ignore)
    data_fraction, valid_fraction = valid.mean(axis=(1, 2)), labelled.mean(axis=(1, 2))
    counted = training & rules.usable(valid_fraction)
    histogram = None
    if counted.any():
        histogram = BandHistogram.of_block(images[counted], valid[counted], rules.nodata)
    codes, class_pixels = _count_codes(labels, labelled)
    if rules.classes is not None:
        _require_known(codes, class_pixels, names, rules.classes, rules.ignore)
    return ShardSummary(histogram, data_fraction, valid_fraction, codes, class_pixels)


def merge_summaries(parts: Sequence[ShardSummary]) -> ShardSummary:
    """Join the statistics of consecutive shards."""
    histograms = [part.histogram for part in parts if part.histogram is not None]
    total = histograms[0] if histograms else None
    for histogram in histograms[1:]:
        assert total is not None
        total = total + histogram
    codes = np.unique(np.concatenate([part.codes for part in parts]))
    return ShardSummary(
        total,
        np.concatenate([part.data_fraction for part in parts]),
        np.concatenate([part.valid_fraction for part in parts]),
        codes,
        np.concatenate([class_columns(part, codes) for part in parts]),
    )


def class_columns(summary: ShardSummary, codes: Sequence[int] | NDArray[np.int64]) -> np.ndarray:
    """Arrange `class_pixels` by the given codes, which include all that occur."""
    columns = np.zeros((len(summary.class_pixels), len(codes)), np.int64)
    columns[:, np.searchsorted(codes, summary.codes)] = summary.class_pixels
    return columns


def _count_codes(
    labels: np.ndarray, counted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes that occur among the `counted` pixels, and how often in each patch."""
    lowest = int(labels.min())
    span = int(labels.max()) - lowest + 1
    table = np.stack(
        [
            np.bincount(patch[chosen].astype(np.int64) - lowest, minlength=span)
            for patch, chosen in zip(labels, counted, strict=True)
        ]
    )
    found = np.flatnonzero(table.any(axis=0))
    return found + lowest, table[:, found]


def _require_known(
    codes: NDArray[np.int64],
    class_pixels: NDArray[np.int64],
    names: Sequence[str],
    classes: ClassTable,
    ignore: int,
) -> None:
    unknown = ~np.isin(codes, classes.codes)
    if not unknown.any():
        return
    first = int(np.flatnonzero(class_pixels[:, unknown].any(axis=1))[0])
    try:
        classes.encode(codes, ignore)
    except ValueError as error:
        raise ValueError(f"{names[first]}: {error}") from None
