"""How often the confidence of a finished map is right, counted chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from seg4eo_xr.calibration.reliability import STEPS, Reliability, count_confidences
from seg4eo_xr.evaluation.confusion import nothing_compared, reference_layer
from seg4eo_xr.evaluation.points import read_points
from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.store import class_layer, open_map
from seg4eo_xr.options import changed
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import require_same_grid
from seg4eo_xr.scenes.label_options import LabelOptions
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.matching import is_numbered, joined, require_common_names
from seg4eo_xr.scenes.unlabelled import is_assumed, warn_of_assumed

if TYPE_CHECKING:
    from os import PathLike

    import geopandas as gpd


def reliability(
    prediction: xr.Dataset | str | PathLike[str],
    reference: xr.DataArray | xr.Dataset | gpd.GeoDataFrame | str | PathLike[str],
    options: LabelOptions | None = None,
    *,
    confidence: xr.DataArray | str | PathLike[str] | None = None,
    **changes: Any,
) -> Reliability:
    """Tell how often a map is right, by the confidence that it states; in bounded memory.

    Pixels that are nodata in the map or unlabelled in the reference do not count.

    Parameters
    ----------
    prediction
        A map with its confidence, or what `open_map` opens.
    reference
        Labels as for `evaluate`: a raster on the map's grid, or of any other with ``warp=True``, or
        polygons of any CRS. They tell how reliable the confidence is on their ground alone.
    options
        How the reference becomes codes on the map's pixels.
    confidence
        The confidence, or the path of its file, where the map does not hold it.
    **changes
        Fields of `LabelOptions` to set, as ``column="class"``.

    Returns
    -------
    Reliability

    Raises
    ------
    ValueError
        If the map has no confidence, the grids differ, the reference is made of points, the map has
        none of the names of a column, or nothing is left to compare.
    FileNotFoundError, OSError
        If a file is missing or unreadable.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64), seed=2)
    >>> prediction = labels.to_dataset(name="classes")
    >>> prediction["confidence"] = labels.astype("float32") * 0 + 0.75
    >>> reliability(prediction, labels).ece()
    0.25
    """
    dataset = prediction if isinstance(prediction, xr.Dataset) else open_map(prediction)
    stated = _confidence_of(dataset, confidence)
    layers = dataset[["classes"]] if "classes" in dataset else dataset
    predicted = class_layer(layers, count=True)
    remedy = "Give the two of one prediction"
    require_same_grid(predicted, stated, "the map", "its confidence", remedy=remedy)
    options = changed(options, LabelOptions, changes)
    reference = reference_layer(reference)
    if read_points(reference, options)[0] is not None:
        raise ValueError(
            "the reference is made of points, which are too few to tell how reliable confidences "
            "are; give a raster or polygons, or hold the points against the map with evaluate"
        )
    labels = open_labels(reference, like=predicted, options=options)
    counts = _count(predicted, stated, labels, int(labels.rio.nodata)).compute()
    if is_assumed(labels.attrs):
        unlabelled = int((labels == labels.rio.nodata).sum())
        warn_of_assumed(unlabelled, labels.size, "the reference", stacklevel=2)
    if not counts.any():
        labelled = bool((labels != labels.rio.nodata).any())
        raise ValueError(nothing_compared(labelled=labelled))
    return Reliability(counts)


def _confidence_of(
    dataset: xr.Dataset, confidence: xr.DataArray | str | PathLike[str] | None
) -> xr.DataArray:
    if isinstance(confidence, xr.DataArray):
        return confidence.transpose("y", "x")
    if confidence is not None:
        dataset = open_map(confidence)
        only = next(iter(dataset.values()))
        if len(dataset) == 1 and only.dtype.kind == "f":  # whatever another tool calls it
            return only.transpose("y", "x")
        if "confidence" not in dataset:
            raise ValueError(
                f"confidence (--confidence) is {str(confidence)!r}, which holds {only.dtype} and "
                "no layer 'confidence'; give real numbers from 0 to 1, of percent made as with "
                "`gdal_translate -ot Float32 -scale 0 100 0 1 FILE NEW`"
            )
    if "confidence" not in dataset:
        raise ValueError(
            f"there is no layer 'confidence' among {list(dataset)}; predict with "
            "layers=('classes', 'confidence') (--save_confidence), and give its file with "
            "confidence= (--confidence) where the map is a GeoTIFF"
        )
    return dataset["confidence"].transpose("y", "x")


def _count(
    predicted: xr.DataArray, stated: xr.DataArray, labels: xr.DataArray, ignore: int
) -> da.Array:
    """Sum of `count_confidences` over the blocks of the map, ``(2, STEPS + 1)``."""
    ours, theirs = (ClassTable.from_attrs(layer.attrs) for layer in (predicted, labels))
    by_name = is_numbered(labels.attrs)
    if by_name and ours is None and theirs is not None:
        require_common_names(None, theirs)
    moved = {} if ours is None or theirs is None else joined(ours, theirs, by_name=by_name)[1]
    codes = da.asarray(predicted.data)
    others = [
        da.asarray(layer.data).rechunk(codes.chunks, method="tasks") for layer in (stated, labels)
    ]
    counts: da.Array = da.map_blocks(
        _count_block,
        codes,
        *others,
        nodata=nodata_of(predicted),
        ignore=ignore,
        moved={code: new for code, new in moved.items() if code != new},
        dtype=np.int64,
        chunks=(*((1,) * count for count in codes.numblocks), (2,), (STEPS + 1,)),
        new_axis=(2, 3),
        meta=np.empty((0, 0, 0, 0), np.int64),
    )
    total: da.Array = counts.sum(axis=(0, 1))
    return total


def _count_block(
    predicted: np.ndarray,
    stated: np.ndarray,
    labels: np.ndarray,
    *,
    nodata: float | None,
    ignore: int,
    moved: dict[int, int],
) -> np.ndarray:
    counted = (labels != ignore) & np.isfinite(stated)
    if nodata is not None:
        counted &= predicted != nodata
    known = labels[counted]
    truth = known.astype(np.int64)
    for code, new in moved.items():
        truth[known == code] = new
    return count_confidences(stated[counted], truth == predicted[counted])[None, None]
