"""What a shard tells about its patches while it is in memory: no second pass is ever needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.scenes.harmonize import dark_numbers
from seg4eo_xr.scenes.statistics import BandHistogram, merge_histograms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.contract import NodataRule


_THINNED = 8  # pixels between those that dark numbers are taken from


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
        Least share of a patch's pixels that must have data.
    min_labelled_fraction
        Least share of a patch's pixels that must have data and a label; a patch without any such
        pixel is of no use in any case.
    classes
        The only codes that labels may hold; None where any may occur.
    """

    nodata: float | None
    nodata_rule: NodataRule
    ignore: int
    min_valid_fraction: float
    min_labelled_fraction: float
    classes: ClassTable | None

    def usable(
        self, valid_fraction: NDArray[np.float64], labelled_fraction: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Tell which patches are of use."""
        return (
            (valid_fraction >= self.min_valid_fraction)
            & (labelled_fraction >= self.min_labelled_fraction)
            & (labelled_fraction > 0)
        )


@dataclass(frozen=True, eq=False)
class ShardSummary:
    """Statistics of consecutive patches.

    Parameters
    ----------
    histograms
        Counts of the patches of use, by split; a split without any is absent.
    valid_fraction, labelled_fraction
        Share of pixels with data, and with data and a label, ``(patch,)`` float64.
    digests
        Hash of each patch's image, ``(patch,)`` uint64: equal images have equal hashes.
    codes
        Class codes that occur, ascending.
    class_pixels
        Labelled pixels with data, ``(patch, code)`` int64.
    dark
        First percentile of the stored numbers per band, ``(patch, band)`` float64, which
        `dark_numbers` finds in a sample of the pixels with data.
    """

    histograms: dict[str, BandHistogram]
    valid_fraction: NDArray[np.float64]
    labelled_fraction: NDArray[np.float64]
    digests: NDArray[np.uint64]
    codes: NDArray[np.int64]
    class_pixels: NDArray[np.int64]
    dark: NDArray[np.float64]


def summarize(
    images: np.ndarray,
    labels: np.ndarray,
    splits: NDArray[np.str_],
    names: Sequence[str],
    rules: SummaryRules,
    inside: NDArray[np.bool_] | None = None,
) -> ShardSummary:
    """Take the statistics of patches.

    Parameters
    ----------
    images
        Stored numbers, ``(patch, band, y, x)``.
    labels
        Class codes, ``(patch, y, x)``.
    splits
        Split that each patch belongs to if it is of use, ``(patch,)``.
    names
        What error messages call the patches.
    rules
        What counts.
    inside
        Which pixels lie inside the scene, ``(patch, y, x)``; None where all do. Others have no
        data, whatever number stands there.

    Raises
    ------
    ValueError
        If a label is not in the class table.
    """
    valid = valid_mask(images, rules.nodata, rules.nodata_rule)
    if inside is not None:
        valid &= inside
    labelled = valid & (labels != rules.ignore)
    valid_fraction, labelled_fraction = (
        np.array([np.count_nonzero(patch) / patch.size for patch in mask])
        for mask in (valid, labelled)
    )
    usable = rules.usable(valid_fraction, labelled_fraction)
    histograms: dict[str, BandHistogram] = {}
    for split in SPLITS:
        counted = usable & (splits == split)
        if counted.any():
            pixels = valid & counted[:, None, None]
            histograms[split] = BandHistogram.of_block(images, pixels, rules.nodata)
    codes, class_pixels = _count_codes(labels, labelled)
    if rules.classes is not None:
        _require_known(codes, class_pixels, names, rules.classes, rules.ignore)
    digests = np.array(
        [xxhash.xxh3_64_intdigest(np.ascontiguousarray(image).data) for image in images], np.uint64
    )
    return ShardSummary(
        histograms,
        valid_fraction,
        labelled_fraction,
        digests,
        codes,
        class_pixels,
        _dark_numbers(images, valid),
    )


def merge_summaries(parts: Sequence[ShardSummary]) -> ShardSummary:
    """Join the statistics of consecutive patches."""
    if len(parts) == 1:
        return parts[0]
    codes = np.unique(np.concatenate([part.codes for part in parts]))
    return ShardSummary(
        merge_by_split([part.histograms for part in parts]),
        np.concatenate([part.valid_fraction for part in parts]),
        np.concatenate([part.labelled_fraction for part in parts]),
        np.concatenate([part.digests for part in parts]),
        codes,
        np.concatenate([class_columns(part, codes) for part in parts]),
        np.concatenate([part.dark for part in parts]),
    )


def merge_by_split(parts: Sequence[dict[str, BandHistogram]]) -> dict[str, BandHistogram]:
    """Add up histograms, each split for itself; a split that is nowhere stays absent."""
    found = {split: [part[split] for part in parts if split in part] for split in SPLITS}
    return {split: merge_histograms(several) for split, several in found.items() if several}


def class_columns(summary: ShardSummary, codes: Sequence[int] | NDArray[np.int64]) -> np.ndarray:
    """Arrange `class_pixels` by the given codes, which include all that occur."""
    columns = np.zeros((len(summary.class_pixels), len(codes)), np.int64)
    place = {int(code): column for column, code in enumerate(codes)}
    columns[:, [place[code] for code in summary.codes.tolist()]] = summary.class_pixels
    return columns


def _dark_numbers(images: np.ndarray, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    thin = slice(None, None, _THINNED)
    samples = (
        image[:, thin, thin][:, mask[thin, thin]] for image, mask in zip(images, valid, strict=True)
    )
    return np.array([dark_numbers(sample) for sample in samples])


def typical_dark(scenes: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
    """Median of the scenes' dark numbers per band, NaN where none is known; None without any."""
    known = [scene["dark"] for scene in scenes if scene.get("dark")]
    return known_medians(np.array(known, np.float64)) if known else None


def known_medians(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of each column without its NaN; NaN where there is nothing else."""
    columns = (column[~np.isnan(column)] for column in rows.T)
    return np.array([np.median(column) if column.size else np.nan for column in columns])


def _count_codes(
    labels: np.ndarray, counted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes that occur among the `counted` pixels, and how often in each patch."""
    lowest = int(labels.min())
    span = int(labels.max()) - lowest + 1
    table = np.zeros((len(labels), span), np.int64)
    for row, patch, chosen in zip(table, labels, counted, strict=True):
        codes = patch if chosen.all() else patch[chosen]
        row += np.bincount(codes.ravel().astype(np.intp) - lowest, minlength=span)
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
