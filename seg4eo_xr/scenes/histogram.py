"""Histograms of stored numbers a band: small, exact for short integers, and mergeable."""

from __future__ import annotations

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
        per_band = [
            _band_summary(_counted(plane[valid], nodata)) for plane in np.moveaxis(values, -3, 0)
        ]
        return cls(str(values.dtype), *(np.array(column) for column in zip(*per_band, strict=True)))

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
        if (self.dtype, self.counts.shape) != (other.dtype, other.counts.shape):
            raise ValueError(
                f"histograms of {self.counts.shape[0]} bands of {self.dtype} and of "
                f"{other.counts.shape[0]} bands of {other.dtype} cannot be added"
            )
        counts = self.counts + other.counts
        if self.dtype in EXACT_DTYPES:
            moments = zip(*(_exact_moments(row, self.dtype) for row in counts), strict=True)
            return BandHistogram(self.dtype, counts, *map(np.array, moments))
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
    for histogram in histograms[1:]:
        total = total + histogram
    return total


def bin_numbers(dtype: str) -> np.ndarray:
    """The number that stands for each bin, float64."""
    if dtype in EXACT_DTYPES:
        limits = np.iinfo(dtype)
        return np.arange(limits.min, limits.max + 1, dtype=np.float64)
    ascending = (np.arange(_FLOAT_BINS, dtype=np.uint32) << np.uint32(16)) | np.uint32(1 << 15)
    bits = np.where(ascending >> 31, ascending & np.uint32(0x7FFFFFFF), ~ascending)
    with np.errstate(invalid="ignore"):  # the bins of NaN stay empty
        return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def _counted(numbers: np.ndarray, nodata: float | None) -> np.ndarray:
    """Drop nodata and what is not finite."""
    return np.asarray(numbers[valid_mask(numbers[None, None, :], nodata)[0]])


def _band_summary(numbers: np.ndarray) -> tuple[np.ndarray, float, float, float, float]:
    """Counts, minimum, maximum, mean and summed squared deviation of one band's valid numbers."""
    dtype = str(numbers.dtype)
    counts = np.bincount(_bins(numbers), minlength=bin_numbers(dtype).size)
    if dtype in EXACT_DTYPES:
        return counts, *_exact_moments(counts, dtype)
    if not numbers.size:
        return counts, np.nan, np.nan, np.nan, np.nan
    wide = numbers.astype(np.float64)
    mean = float(wide.mean())
    return counts, float(wide.min()), float(wide.max()), mean, float(((wide - mean) ** 2).sum())


def _exact_moments(counts: np.ndarray, dtype: str) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and summed squared deviation, from one band's counts."""
    present = np.flatnonzero(counts)
    if not present.size:
        return np.nan, np.nan, np.nan, np.nan
    numbers, weights = bin_numbers(dtype)[present], counts[present]
    mean = float(weights @ numbers) / int(weights.sum())
    return float(numbers[0]), float(numbers[-1]), mean, float(weights @ (numbers - mean) ** 2)


def _bins(numbers: np.ndarray) -> np.ndarray:
    """Bin of each number; bins ascend as the numbers do."""
    if str(numbers.dtype) in EXACT_DTYPES:
        return numbers.astype(np.intp) - np.iinfo(numbers.dtype).min
    with np.errstate(over="ignore"):  # beyond float32 the outermost bins serve
        bits = numbers.astype(np.float32).view(np.uint32)
    # the bits of positive floats ascend as the floats do, those of negative ones descend
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ascending >> np.uint32(16)).astype(np.intp)
