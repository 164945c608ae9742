"""Histograms of stored numbers a band: small, exact for short integers, and mergeable."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.scenes.contract import valid_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXACT_DTYPES = ("uint8", "int8", "uint16", "int16")
_FLOAT_BINS = 65536


@dataclass(frozen=True, eq=False)
class BandHistogram:
    """Counts of stored numbers a band, which can be added up over blocks, shards and scenes.

    Integers of 8 and 16 bits have a bin each: all that follows is exact, whatever the order in
    which blocks are added. Other dtypes are counted by the upper 16 bits of a float32, so that
    percentiles are right to 0.4 %; the other numbers are kept apart and are not rounded.

    Parameters
    ----------
    dtype
        NumPy name of the dtype that was counted.
    counts
        ``(band, bin)`` int64.
    minimum, maximum, mean, deviation
        ``(band,)`` float64: smallest, largest and mean number, and the sum of squared distances
        from the mean. NaN where a band has no valid number.

    Examples
    --------
    >>> values = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    >>> histogram = BandHistogram.of_block(values, np.ones((2, 2), bool))
    >>> histogram.count, histogram.percentile(50)
    (array([4, 4]), array([1.5, 5.5]))
    """

    dtype: str
    counts: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of_block(
        cls, values: np.ndarray, valid: np.ndarray, nodata: float | None = None
    ) -> BandHistogram:
        """Count one block.

        Parameters
        ----------
        values
            Stored numbers, ``(..., band, y, x)``.
        valid
            Which pixels to count, ``(..., y, x)``, as `valid_mask` tells.
        nodata
            Number that is never counted: under the rule "all" a valid pixel may still lack bands.
            NaN and infinity never count.
        """
        if str(values.dtype) in EXACT_DTYPES:
            return cls._of_counts(str(values.dtype), *_exact_counts(values, valid, nodata))
        per_band = [
            _band_summary(_counted(plane[valid], nodata)) for plane in np.moveaxis(values, -3, 0)
        ]
        return cls(str(values.dtype), *(np.array(column) for column in zip(*per_band, strict=True)))

    @classmethod
    def _of_counts(cls, dtype: str, counts: np.ndarray, lowest: int, highest: int) -> BandHistogram:
        """Rebuild the rest from the counts, of a dtype whose bins hold one number each.

        No number lies outside `lowest` to `highest`, so that most bins need not be looked at.
        """
        occupied = counts[:, _bins_between(dtype, lowest, highest)]
        moments = zip(*(_exact_moments(row, lowest) for row in occupied), strict=True)
        return cls(dtype, counts, *map(np.array, moments))

    @property
    def count(self) -> np.ndarray:
        """Valid numbers a band, int64."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def std(self) -> np.ndarray:
        """Standard deviation a band, of the population."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.sqrt(self.deviation / self.count))

    def __add__(self, other: BandHistogram) -> BandHistogram:
        if self.dtype in EXACT_DTYPES:
            return merge_histograms([self, other])
        self._require_like(other)
        counts = self.counts + other.counts
        ours, theirs = self.count, other.count
        total = np.maximum(ours + theirs, 1)
        gap = np.where((ours > 0) & (theirs > 0), other.mean - self.mean, 0.0)
        mean = np.where(ours > 0, self.mean, other.mean) + gap * theirs / total
        spread = np.where(ours > 0, self.deviation, 0) + np.where(theirs > 0, other.deviation, 0)
        return BandHistogram(
            self.dtype,
            counts,
            np.fmin(self.minimum, other.minimum),
            np.fmax(self.maximum, other.maximum),
            mean,
            np.where(ours + theirs > 0, spread + gap**2 * ours * theirs / total, np.nan),
        )

    def _require_like(self, other: BandHistogram) -> None:
        if (self.dtype, self.counts.shape) != (other.dtype, other.counts.shape):
            raise ValueError(
                f"histograms of {self.counts.shape[0]} bands of {self.dtype} and of "
                f"{other.counts.shape[0]} bands of {other.dtype} cannot be added"
            )

    def percentile(self, q: float) -> np.ndarray:
        """Percentile a band, interpolated between neighbours as `numpy.percentile` does.

        Parameters
        ----------
        q
            From 0 to 100.

        Returns
        -------
        ndarray of float64, ``(band,)``
            NaN where a band has no valid number.
        """
        if not 0 <= q <= 100:
            raise ValueError(f"q must lie in 0..100, got {q}")
        numbers = bin_numbers(self.dtype)
        result = np.full(len(self.counts), np.nan)
        for band, count in enumerate(self.count):
            if count:
                position = (count - 1) * q / 100
                ranks = np.cumsum(self.counts[band])
                below, above = (
                    np.clip(
                        numbers[np.searchsorted(ranks, rank, side="right")],
                        self.minimum[band],
                        self.maximum[band],
                    )
                    for rank in (np.floor(position), np.ceil(position))
                )
                result[band] = below + (above - below) * (position % 1)
        return result

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays, as for a Zarr group or `numpy.savez`."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> BandHistogram:
        """Rebuild a histogram from what `to_arrays` gave."""
        numbers = {f.name: np.asarray(arrays[f.name]) for f in fields(cls) if f.name != "dtype"}
        return cls(str(arrays["dtype"]), **numbers)


def merge_histograms(histograms: Sequence[BandHistogram]) -> BandHistogram:
    """Add up histograms."""
    total = histograms[0]
    if len(histograms) == 1 or total.dtype not in EXACT_DTYPES:
        return functools.reduce(operator.add, histograms)
    counts = total.counts.copy()
    limits = [_limits(total)]
    for histogram in histograms[1:]:
        total._require_like(histogram)
        limits.append(_limits(histogram))
        occupied = _bins_between(total.dtype, *limits[-1])
        counts[:, occupied] += histogram.counts[:, occupied]
    lowest, highest = min(low for low, _ in limits), max(high for _, high in limits)
    return BandHistogram._of_counts(total.dtype, counts, lowest, highest)


def _limits(histogram: BandHistogram) -> tuple[int, int]:
    """Smallest and largest number of all bands; 0 and 0 where there is none."""
    known = ~np.isnan(histogram.minimum)
    if not known.any():
        return 0, 0
    return int(histogram.minimum[known].min()), int(histogram.maximum[known].max())


def _bins_between(dtype: str, lowest: int, highest: int) -> slice:
    """Bins of the numbers from `lowest` to `highest`, of a dtype with a bin for each number."""
    first = int(np.iinfo(dtype).min)
    return slice(lowest - first, highest + 1 - first)


def bin_numbers(dtype: str) -> np.ndarray:
    """The number that stands for each bin, float64."""
    if dtype in EXACT_DTYPES:
        limits = np.iinfo(dtype)
        return np.arange(limits.min, limits.max + 1, dtype=np.float64)
    ascending = (np.arange(_FLOAT_BINS, dtype=np.uint32) << np.uint32(16)) | np.uint32(1 << 15)
    bits = np.where(ascending >> 31, ascending & np.uint32(0x7FFFFFFF), ~ascending)
    with np.errstate(invalid="ignore"):  # the bins of NaN stay empty
        return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def _exact_counts(
    values: np.ndarray, valid: np.ndarray, nodata: float | None
) -> tuple[np.ndarray, int, int]:
    """Count how often each band holds each number, ``(band, bin)``; and between which limits."""
    limits, bands = np.iinfo(values.dtype), values.shape[-3]
    counts = np.zeros((bands, int(limits.max) - int(limits.min) + 1), np.int64)
    lowest, highest = int(limits.max), int(limits.min)
    blocks = values.reshape(-1, *values.shape[-3:])
    for block, mask in zip(blocks, valid.reshape(-1, *valid.shape[-2:]), strict=True):
        if not mask.any():
            continue
        everything = mask.all()
        for row, plane in zip(counts, block, strict=True):
            numbers = plane.ravel() if everything else plane[mask]
            lowest, highest = min(lowest, int(numbers.min())), max(highest, int(numbers.max()))
            # Faster than `bincount`, which copies and searches more. Negative numbers are counted
            # from the row's end.
            np.add.at(row, numbers.astype(np.intp), 1)
    if nodata is not None and float(nodata).is_integer() and limits.min <= nodata <= limits.max:
        counts[:, int(nodata)] = 0
    if limits.min:
        counts = np.roll(counts, -int(limits.min), axis=1)
    return (counts, lowest, highest) if lowest <= highest else (counts, 0, 0)


def _counted(numbers: np.ndarray, nodata: float | None) -> np.ndarray:
    """Drop nodata and what is not finite."""
    return np.asarray(numbers[valid_mask(numbers[None, None, :], nodata)[0]])


def _band_summary(numbers: np.ndarray) -> tuple[np.ndarray, float, float, float, float]:
    """Counts, minimum, maximum, mean and summed squared deviation of one band's valid numbers.

    Not for short integers, whose counts tell the rest.
    """
    counts = np.bincount(_bins(numbers), minlength=_FLOAT_BINS)
    if not numbers.size:
        return counts, np.nan, np.nan, np.nan, np.nan
    wide = numbers.astype(np.float64)
    mean = float(wide.mean())
    return counts, float(wide.min()), float(wide.max()), mean, float(((wide - mean) ** 2).sum())


def _exact_moments(counts: np.ndarray, lowest: int) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and summed squared deviation, from one band's counts.

    The first bin holds the number `lowest`, the next one its successor.
    """
    present = np.flatnonzero(counts)
    if not present.size:
        return np.nan, np.nan, np.nan, np.nan
    numbers, weights = present + float(lowest), counts[present]
    mean = float(weights @ numbers) / int(weights.sum())
    return float(numbers[0]), float(numbers[-1]), mean, float(weights @ (numbers - mean) ** 2)


def _bins(numbers: np.ndarray) -> np.ndarray:
    """Bin of each number by its upper bits as a float32; bins ascend as the numbers do."""
    with np.errstate(over="ignore"):  # beyond float32 the outermost bins serve
        bits = numbers.astype(np.float32).view(np.uint32)
    # the bits of positive floats ascend as the floats do, those of negative ones descend
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ascending >> np.uint32(16)).astype(np.intp)
