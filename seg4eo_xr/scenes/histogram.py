"""Histograms of stored numbers a band: small, exact for short integers, and mergeable."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.scenes.contract import valid_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXACT_DTYPES = ("uint8", "int8", "uint16", "int16")
_FLOAT_BINS = 65536
# Bits of a float32 that the bins of real numbers leave out.
_COARSEST = 16
# More bins of 16 bits than this are no narrow range, and need no finer ones.
_NARROW = 128
_FINE_BINS = 16384


@dataclass(frozen=True, eq=False)
class FineCounts:
    """Counts of one band's numbers in bins that are as fine as their own range allows.

    A bin is named by the upper bits of a float32. Numbers that lie in few bins of 16 bits are
    counted by more bits, in some 16,384 bins. How many depends on the numbers alone, and not on how
    these were cut into blocks.

    Parameters
    ----------
    shift
        Lower bits that are left out, at most 16.
    keys
        The other bits of the occupied bins, uint32; they ascend as the numbers do.
    counts
        Numbers in each of these bins, int64.
    """

    shift: int
    keys: np.ndarray
    counts: np.ndarray

    @classmethod
    def of_bits(cls, bits: np.ndarray, coarse: np.ndarray) -> FineCounts:
        """Count numbers by their ascending bits, once their upper 16 bits have been counted."""
        occupied = np.flatnonzero(coarse)
        shift = _shift_for(len(occupied))
        if shift == _COARSEST:
            return cls(shift, occupied.astype(np.uint32), coarse[occupied])
        more = _COARSEST - shift
        rank = np.zeros(len(coarse), np.uint32)
        rank[occupied] = np.arange(len(occupied)) << more
        places = rank[bits >> np.uint32(16)]
        places |= (bits & np.uint32(0xFFFF)) >> np.uint32(shift)
        counts = np.bincount(places, minlength=len(occupied) << more)
        keys = (occupied[:, None] << more) + np.arange(1 << more)
        found = np.flatnonzero(counts)
        return cls(shift, keys.ravel()[found].astype(np.uint32), counts[found])

    @classmethod
    def merged(cls, parts: Sequence[FineCounts]) -> FineCounts:
        """Add up counts of several blocks."""
        coarse = [part.keys >> np.uint32(_COARSEST - part.shift) for part in parts]
        shift = _shift_for(len(np.unique(np.concatenate(coarse))))
        shift = max(shift, *(part.shift for part in parts if part.keys.size), 0)
        keys = [part.keys >> np.uint32(max(0, shift - part.shift)) for part in parts]
        joined, place = np.unique(np.concatenate(keys), return_inverse=True)
        counts = np.zeros(len(joined), np.int64)
        np.add.at(counts, place, np.concatenate([part.counts for part in parts]))
        return cls(shift, joined, counts)

    @property
    def numbers(self) -> np.ndarray:
        """The number that stands for each bin, float64."""
        middle = np.uint32((1 << self.shift) >> 1)
        return _float_of_bits((self.keys << np.uint32(self.shift)) | middle)


def _shift_for(bins: int) -> int:
    """Bits to leave out where numbers lie in so many bins of 16 bits."""
    if bins > _NARROW:
        return _COARSEST
    return _COARSEST - (_FINE_BINS // max(1, bins)).bit_length() + 1


@dataclass(frozen=True, eq=False)
class BandHistogram:
    """Counts of stored numbers a band, which can be added up over blocks, shards and scenes.

    Integers of 8 and 16 bits have a bin each: all that follows is exact, whatever the order in
    which blocks are added. Other dtypes are counted by the upper 16 bits of a float32, and in
    `FineCounts`, so that percentiles are right to 0.4 %, and far better where the numbers lie
    close together; the other numbers are kept apart and are not rounded.

    Parameters
    ----------
    dtype
        NumPy name of the dtype that was counted.
    counts
        ``(band, bin)`` int64.
    minimum, maximum, mean, deviation
        ``(band,)`` float64: smallest, largest and mean number, and the sum of squared distances
        from the mean. NaN where a band has no valid number.
    fine
        Finer counts of each band. Empty for short integers, and in stores of before.

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
    fine: tuple[FineCounts, ...] = ()

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
        fine, *rest = zip(*per_band, strict=True)
        columns: list[np.ndarray] = [np.array(column) for column in rest]
        return cls(str(values.dtype), *columns, fine=fine)  # type: ignore[misc, arg-type]

    @classmethod
    def _of_counts(cls, dtype: str, counts: np.ndarray, lowest: int, highest: int) -> BandHistogram:
        """Rebuild the rest from the counts, of a dtype whose bins hold one number each.

        No number lies outside `lowest` to `highest`, so that most bins need not be looked at.
        """
        occupied = counts[:, _bins_between(dtype, lowest, highest)]
        moments = zip(*(_exact_moments(row, lowest) for row in occupied), strict=True)
        columns: list[np.ndarray] = [np.array(column) for column in moments]
        return cls(dtype, counts, *columns)  # type: ignore[arg-type]

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
            tuple(map(FineCounts.merged, zip(self._fine(), other._fine(), strict=True))),
        )

    def _fine(self) -> tuple[FineCounts, ...]:
        """Finer counts, or the others in their form."""
        if self.fine:
            return self.fine
        occupied = (np.flatnonzero(row) for row in self.counts)
        return tuple(
            FineCounts(_COARSEST, bins.astype(np.uint32), row[bins])
            for row, bins in zip(self.counts, occupied, strict=True)
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
        if not self.fine:
            return self.rounded_percentile(q)
        return self._percentile(q, [(fine.numbers, fine.counts) for fine in self.fine])

    def rounded_percentile(self, q: float) -> np.ndarray:
        """Percentile per band by the counts alone, as stores of before have it."""
        numbers = bin_numbers(self.dtype)
        return self._percentile(q, [(numbers, row) for row in self.counts])

    def _percentile(self, q: float, bands: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        if not 0 <= q <= 100:
            raise ValueError(f"q must lie in 0..100, got {q}")
        result = np.full(len(bands), np.nan)
        for band, (numbers, counts) in enumerate(bands):
            ranks = np.cumsum(counts)
            if ranks.size and ranks[-1]:
                position = (ranks[-1] - 1) * q / 100
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
        """Plain arrays, as for a Zarr group or `numpy.savez`; those of `fine` one after another."""
        arrays = {name: np.asarray(getattr(self, name)) for name in _PLAIN}
        if self.fine:
            arrays |= {
                "fine_shift": np.array([fine.shift for fine in self.fine]),
                "fine_length": np.array([len(fine.keys) for fine in self.fine]),
                "fine_keys": np.concatenate([fine.keys for fine in self.fine]),
                "fine_counts": np.concatenate([fine.counts for fine in self.fine]),
            }
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> BandHistogram:
        """Rebuild a histogram from what `to_arrays` gave."""
        numbers = {name: np.asarray(arrays[name]) for name in _PLAIN if name != "dtype"}
        fine: tuple[FineCounts, ...] = ()
        if "fine_keys" in arrays:
            ends = np.cumsum(arrays["fine_length"])[:-1]
            keys, counts = (np.split(arrays[f"fine_{n}"], ends) for n in ("keys", "counts"))
            fine = tuple(map(FineCounts, map(int, arrays["fine_shift"]), keys, counts))
        return cls(str(arrays["dtype"]), **numbers, fine=fine)


_PLAIN = ("dtype", "counts", "minimum", "maximum", "mean", "deviation")


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
    return _float_of_bits(ascending)


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


def _band_summary(
    numbers: np.ndarray,
) -> tuple[FineCounts, np.ndarray, float, float, float, float]:
    """Both counts, minimum, maximum, mean and summed squared deviation of a band's valid numbers.

    Not for short integers, whose counts tell the rest.
    """
    bits = _ascending_bits(numbers)
    counts = np.bincount((bits >> np.uint32(16)).astype(np.intp), minlength=_FLOAT_BINS)
    fine = FineCounts.of_bits(bits, counts)
    if not numbers.size:
        return fine, counts, np.nan, np.nan, np.nan, np.nan
    wide = numbers.astype(np.float64)
    mean = float(wide.mean())
    return (
        *(fine, counts),
        *(float(wide.min()), float(wide.max()), mean, float(((wide - mean) ** 2).sum())),
    )


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


def _ascending_bits(numbers: np.ndarray) -> np.ndarray:
    """Bits of each number as a float32, uint32, so changed that they ascend as the numbers do."""
    with np.errstate(over="ignore"):  # beyond float32 the outermost bins serve
        bits = numbers.astype(np.float32).view(np.uint32)
    # the bits of positive floats ascend as the floats do, those of negative ones descend
    turned = (bits.view(np.int32) >> 31).view(np.uint32)
    turned |= np.uint32(1 << 31)
    bits ^= turned
    return bits


def _float_of_bits(ascending: np.ndarray) -> np.ndarray:
    """Undo `_ascending_bits`, as float64."""
    bits = np.where(ascending >> 31, ascending & np.uint32(0x7FFFFFFF), ~ascending)
    with np.errstate(invalid="ignore"):  # the bins of NaN stay empty
        return bits.astype(np.uint32).view(np.float32).astype(np.float64)
