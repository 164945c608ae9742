"""What a shard tells about its patches while it is in memory: no second pass is ever needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from scipy import ndimage

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.scenes.harmonize import dark_numbers
from seg4eo_xr.scenes.statistics import BandHistogram, merge_histograms
from seg4eo_xr.scenes.undeclared import constant_margin

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
        Hash of each patch's image, ``(patch,)`` uint64: equal images have equal hashes. It is 0
        where all pixels with data are alike, since such images are equal without being copies.
    codes
        Class codes that occur, ascending.
    class_pixels
        Labelled pixels with data, ``(patch, code)`` int64.
    dark
        First percentile of the stored numbers per band, ``(patch, band)`` float64, which
        `dark_numbers` finds in a sample of the pixels with data.
    lost
        Labelled pixels without data inside of patches: a row for each class code, of the code and
        their number.
    margins
        Pixels of margins that look missing and are not declared: a row for each stored number, of
        the number and how many patches these pixels would fill.
    """

    histograms: dict[str, BandHistogram]
    valid_fraction: NDArray[np.float64]
    labelled_fraction: NDArray[np.float64]
    digests: NDArray[np.uint64]
    codes: NDArray[np.int64]
    class_pixels: NDArray[np.int64]
    dark: NDArray[np.float64]
    lost: NDArray[np.float64]
    margins: NDArray[np.float64]


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
    digests = np.array([_digest(*patch) for patch in zip(images, valid, strict=True)], np.uint64)
    return ShardSummary(
        histograms,
        valid_fraction,
        labelled_fraction,
        digests,
        codes,
        class_pixels,
        _dark_numbers(images, valid),
        _lost(labels, valid, valid_fraction < 1, rules.ignore),
        _margins(images, valid),
    )


def _digest(image: np.ndarray, valid: NDArray[np.bool_]) -> int:
    """Hash of an image ``(band, y, x)``, or 0 where its pixels with data are all alike."""
    row, column = np.unravel_index(np.argmax(valid), valid.shape)
    first = image[:, row, column, None, None]
    for step in (8, 1):  # few pixels show of most images that they are not alike
        differs = (image[:, ::step, ::step] != first) & valid[::step, ::step]
        if differs.any():
            return xxhash.xxh3_64_intdigest(np.ascontiguousarray(image).data)
    return 0


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
        _sums([part.lost for part in parts]),
        _sums([part.margins for part in parts]),
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


def _lost(
    labels: np.ndarray, valid: NDArray[np.bool_], holed: NDArray[np.bool_], ignore: int
) -> NDArray[np.float64]:
    """Count the labelled pixels that are missing, but not at a margin of the scene."""
    if not holed.any():
        return np.empty((0, 2))
    labels, missing = labels[holed], ~valid[holed]
    inner = np.array([_without_margins(patch) for patch in missing]) & (labels != ignore)
    if not inner.any():
        return np.empty((0, 2))
    codes, pixels = _count_codes(labels, inner)
    return np.column_stack([codes, pixels.sum(axis=0)]).astype(np.float64)


def _without_margins(missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Missing pixels of a patch ``(y, x)`` that are not connected with one of its corners."""
    ends = (0, -1)
    if not any(missing[row, col] for row in ends for col in ends):
        return missing
    parts, _ = ndimage.label(missing)
    margins = {int(parts[row, col]) for row in ends for col in ends}
    return np.asarray(missing & ~np.isin(parts, list(margins)))


def _margins(images: np.ndarray, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    found = [constant_margin(image, mask) for image, mask in zip(images, valid, strict=True)]
    return _sums([np.array([margin]) for margin in found if margin is not None])


def _sums(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Add up the second column of all rows that have the same first one."""
    rows = np.concatenate([np.empty((0, 2)), *parts])
    keys, places = np.unique(rows[:, 0], return_inverse=True)
    return np.column_stack([keys, np.bincount(places, rows[:, 1], minlength=len(keys))])


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
