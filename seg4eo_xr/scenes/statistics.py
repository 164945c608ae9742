"""Band and class statistics in one streamed pass, and the contract that follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.base import compute
from dask.delayed import delayed

from seg4eo_xr.notices import warn
from seg4eo_xr.scenes.classes import require_scene
from seg4eo_xr.scenes.conform import ground_sample_distance
from seg4eo_xr.scenes.contract import (
    Contract,
    Normalization,
    NormalizationKind,
    valid_mask,
)
from seg4eo_xr.scenes.histogram import (
    EXACT_DTYPES,
    BandHistogram,
    bin_numbers,
    merge_histograms,
)
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.open import band_names_of, band_scaling
from seg4eo_xr.scenes.undeclared import MarginCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.contract import NodataRule

__all__ = [
    "BandHistogram",
    "band_statistics",
    "class_counts",
    "make_contract",
    "merge_histograms",
    "scene_histogram",
    "statistics_dataset",
]

_MERGED_AT_ONCE = 8
# Numbers by which files of measurements often mark missing pixels; only the outermost count here.
_FILLS = np.array([-999, -9999, -99999, -32767, -32768, -1e20, 1e20, 9.96921e36, -3.4e38, 3.4e38])
_FILL_TOLERANCE = 2e-3  # relative; some writers round, as 3.40282e38


def scene_histogram(
    scene: xr.DataArray,
    *,
    nodata_rule: NodataRule = "any",
    look: Callable[[np.ndarray, np.ndarray], None] | None = None,
) -> BandHistogram:
    """Count a scene's valid numbers in one pass over its chunks.

    Parameters
    ----------
    scene
        ``(band, y, x)``; read chunk by chunk where it is lazy.
    nodata_rule
        A pixel is missing where ``any`` or where ``all`` of its bands are.
    look
        Called with the numbers of each chunk and with which of its pixels hold data.
    """
    nodata = scene.rio.nodata

    def of_block(values: np.ndarray) -> BandHistogram:
        valid = valid_mask(values, nodata, nodata_rule)
        if look is not None:
            look(values, valid)
        return BandHistogram.of_block(values, valid, None if nodata_rule == "any" else nodata)

    if scene.chunks is None:
        return of_block(scene.values)
    return _reduced(scene.data.rechunk({0: -1}, method="tasks"), of_block)


def band_statistics(scene: xr.DataArray, *, nodata_rule: NodataRule = "any") -> xr.Dataset:
    """Statistics of a scene's stored numbers, nodata excluded, in one pass.

    Parameters
    ----------
    scene
        ``(band, y, x)``; read chunk by chunk where it is lazy.
    nodata_rule
        A pixel is missing where ``any`` or where ``all`` of its bands are.

    Returns
    -------
    Dataset (band)
        ``count``, ``minimum``, ``maximum``, ``mean``, ``std``, ``p01``, ``p50`` and ``p99``.

    Raises
    ------
    ValueError
        If there is no pixel with data, or these are labels.

    Warns
    -----
    SceneWarning
        If a margin of one number looks like missing pixels that are not declared, or pixels hold a
        number that often marks missing data, as -9999, and is not nodata here.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, _ = synthetic_sentinel2((64, 64), nodata_wedge=False)
    >>> int(band_statistics(scene)["count"].sel(band="B04"))
    4096
    """
    require_scene(scene, "the array")
    histogram = scene_histogram(scene, nodata_rule=nodata_rule, look=MarginCheck())
    warn_of_fills(histogram, scene, "the scene", stacklevel=2)
    return statistics_dataset(histogram, band_names_of(scene))


def warn_of_fills(
    histogram: BandHistogram, scene: xr.DataArray, what: str, *, stacklevel: int
) -> None:
    """Warn where a band's lowest or highest number is one that often marks missing pixels.

    Parameters
    ----------
    histogram
        Counts of the scene's valid numbers.
    scene
        Names of its bands and its nodata value.
    what
        What the warning calls the scene.
    stacklevel
        As of `warnings.warn`.
    """
    found: dict[float, list[str]] = {}
    fine = histogram.fine or (None,) * len(histogram.counts)
    total = np.maximum(histogram.count, 1)
    for place, name in enumerate(band_names_of(scene)):
        own = fine[place]
        counts = histogram.counts[place] if own is None else own.counts
        occupied = counts[counts > 0]
        ends = (histogram.minimum[place], 0), (histogram.maximum[place], -1)
        for number, end in ends[: 1 if histogram.dtype.startswith("u") else 2]:
            if np.isclose(number, _FILLS, rtol=_FILL_TOLERANCE, atol=0).any():
                count = int(occupied[end])
                found.setdefault(float(number), []).append(
                    f"{count:,} of {total[place]:,} pixels of {name} "
                    f"({100 * count / total[place]:.2g} %)"
                )
    for number, bands in found.items():
        more = f" and in {len(bands) - 1} more bands" if len(bands) > 1 else ""
        nodata = scene.rio.nodata
        stated = "no nodata value" if nodata is None else f"the nodata value {nodata:g}"
        warn(
            f"{what} holds {number:g} in {bands[0]}{more} and states {stated}; if these pixels are "
            f"missing, say so with nodata={number:g} (--nodata {number:g})",
            SceneWarning,
            stacklevel=stacklevel + 1,
        )


def statistics_dataset(histogram: BandHistogram, bands: Sequence[str]) -> xr.Dataset:
    """Arrange a histogram's statistics by band name, as `band_statistics` gives them."""
    numbers = {
        "count": histogram.count,
        "minimum": histogram.minimum,
        "maximum": histogram.maximum,
        "mean": histogram.mean,
        "std": histogram.std,
        **{f"p{q:02d}": histogram.percentile(q) for q in (1, 50, 99)},
    }
    return xr.Dataset({name: ("band", row) for name, row in numbers.items()}, {"band": list(bands)})


def class_counts(labels: xr.DataArray) -> dict[int, int]:
    """Pixels of each class code, in ascending order, in one pass.

    Parameters
    ----------
    labels
        ``(y, x)`` integers of at most 16 bits; `labels.rio.nodata` marks what is ignored.

    Returns
    -------
    dict of int
        Pixels by code; codes that do not occur are absent.

    Raises
    ------
    ValueError
        If they are no plane of such integers.

    Examples
    --------
    >>> class_counts(xr.DataArray(np.array([[1, 1], [2, 255]], np.uint8), dims=("y", "x"),
    ...                           attrs={"_FillValue": 255}))
    {1: 2, 2: 1}
    """
    if labels.ndim != 2:
        raise ValueError(
            f"labels are (y, x), got {labels.dims}; of a scene's bands there are band_statistics"
        )
    if str(labels.dtype) not in EXACT_DTYPES:
        raise ValueError(f"labels must be integers of at most 16 bits, got {labels.dtype}")
    ignore = labels.rio.nodata
    plane = labels.expand_dims("band").assign_coords(band=["labels"])
    histogram = scene_histogram(plane if ignore is None else plane.rio.write_nodata(ignore))
    found = np.flatnonzero(histogram.counts[0])
    codes = bin_numbers(histogram.dtype)[found]
    return {int(code): int(n) for code, n in zip(codes, histogram.counts[0][found], strict=True)}


def make_contract(
    histogram: BandHistogram,
    scene: xr.DataArray,
    classes: ClassTable,
    *,
    kind: NormalizationKind = "percentile",
    nodata_rule: NodataRule = "any",
    ignore: int = 255,
    dark: np.ndarray | None = None,
) -> Contract:
    """Derive a model's contract from the statistics of its training data.

    Parameters
    ----------
    histogram
        Counts of the training split.
    scene
        A scene of the training data; only its metadata are read.
    classes
        The classes, in the order of the network's outputs.
    kind
        ``percentile``: from 0 to the 99th percentile; from the 1st one in bands with negative
        values, and in those whose numbers lie close together and far from 0, such as temperatures
        in kelvins; ``standard``: mean and standard deviation; ``none``.
    nodata_rule
        A pixel is missing where ``any`` or where ``all`` of its bands are.
    ignore
        Label code of unlabelled pixels.
    dark
        Low stored number per band of a typical patch, NaN where it is not known; by default, and
        there, the first percentile of all.

    Raises
    ------
    ValueError
        If a band has no valid number.
    """
    bands = band_names_of(scene)
    empty = [band for band, count in zip(bands, histogram.count, strict=True) if count == 0]
    if empty:
        raise ValueError(
            f"the training data hold no valid number in the bands {empty}: all is nodata "
            f"({scene.rio.nodata}) or not finite; check the scene's nodata value and the split"
        )
    scales, offsets = (np.array(numbers) for numbers in band_scaling(scene))

    def physical(*stored: np.ndarray) -> np.ndarray:
        return np.sort(np.array(stored) * scales + offsets, axis=0)

    minimum, maximum = physical(histogram.minimum, histogram.maximum)
    if kind == "percentile":
        lower, upper = physical(histogram.rounded_percentile(1), histogram.rounded_percentile(99))
        # a negative scale turns the percentiles round, which sorting has undone
        lower = np.where(minimum >= 0, 0.0, lower)
        if scene.dtype != np.uint8:  # pictures begin at black, however hazy they are
            low, high = physical(histogram.percentile(1), histogram.percentile(99))
            high = np.where(high > low, high, maximum)
            narrow = _far_from_zero(low, high)
            lower, upper = np.where(narrow, low, lower), np.where(narrow, high, upper)
    elif kind == "standard":
        lower = histogram.mean * scales + offsets
        upper = lower + histogram.std * np.abs(scales)
    else:
        lower, upper = np.zeros_like(minimum), np.ones_like(maximum)
    first = histogram.percentile(1)
    low = first if dark is None else np.where(np.isnan(dark), first, dark)
    nodata = scene.rio.nodata
    return Contract(
        bands=tuple(bands),
        dtype=str(scene.dtype),
        scale=_plain(scales),
        offset=_plain(offsets),
        nodata=None if nodata is None else float(nodata),
        nodata_rule=nodata_rule,
        ground_sample_distance=ground_sample_distance(scene),
        minimum=_plain(minimum),
        maximum=_plain(maximum),
        normalization=Normalization(kind, _plain(lower), _plain(upper)),
        classes=classes,
        ignore=ignore,
        dark=_plain(low * scales + offsets),
    )


def _far_from_zero(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Tell where all numbers between two limits lie so far from 0 that they look alike from there.

    Four fifths of the way: reflectances, raised by Sentinel-2's offset or not, begin nearer to 0.
    """
    near, far = np.sort(np.abs([low, high]), axis=0)
    return np.asarray((low * high > 0) & (high > low) & (near > 0.8 * far))


def _plain(numbers: np.ndarray) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)


def _reduced(array: Any, of_block: Any) -> BandHistogram:
    """Apply `of_block` to each chunk and add up the results as a tree."""
    level = [delayed(of_block)(block) for block in array.to_delayed().ravel()]
    merge = delayed(merge_histograms)
    while len(level) > 1:
        level = [
            merge(level[i : i + _MERGED_AT_ONCE]) for i in range(0, len(level), _MERGED_AT_ONCE)
        ]
    result: BandHistogram = compute(level[0])[0]
    return result
