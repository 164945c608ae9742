"""A map against a reference: one confusion matrix, counted chunk by chunk."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.staging import commit, staging
from seg4eo_xr.maps.store import open_map
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.training.metrics import METRICS, Scores, scores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import geopandas as gpd

    Array = np.ndarray | da.Array | xr.DataArray

# One bucket for each code of a byte, and one for all codes that no map holds.
_BUCKETS = 257


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How well a map agrees with a reference.

    Parameters
    ----------
    matrix
        Pixels, ``(class, class)`` int64: a row for each class of the reference, a column for each
        class of the map.
    classes
        The classes of both axes.
    """

    matrix: np.ndarray
    classes: ClassTable

    @cached_property
    def scores(self) -> Scores:
        """Every score of the matrix, as arrays over the classes."""
        return scores(self.matrix)

    @property
    def miou(self) -> float:
        """Mean intersection over union of the classes that occur."""
        return self.scores.miou

    @property
    def accuracy(self) -> float:
        """Share of the pixels whose class is right."""
        return self.scores.accuracy

    @property
    def pixels(self) -> int:
        """Pixels that were compared."""
        return int(self.matrix.sum())

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """IoU, F1, precision, recall and reference pixels (``support``) by class name.

        A class that occurs neither in the map nor in the reference has NaN.
        """
        result: dict[str, dict[str, float]] = self.scores.to_dict(self._keys)["per_class"]
        return result

    @property
    def _keys(self) -> list[str]:
        names = self.classes.names
        return [
            name if names.count(name) == 1 else f"{name} ({code})"
            for name, code in zip(names, self.classes.codes, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON: scores that do not exist are None."""
        report: dict[str, Any] = _without_nan(
            {
                **self.scores.to_dict(self._keys),
                "pixels": self.pixels,
                "classes": self.classes.to_dict(),
                "confusion_matrix": self.matrix.tolist(),
            }
        )
        return report

    def to_json(self, path: str | PathLike[str]) -> Path:
        """Write `to_dict` as a JSON file, replacing what stands there."""
        path = Path(path)
        with staging(path, overwrite=True) as folder:
            unfinished = folder / "report.json"
            unfinished.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")
            commit(unfinished, path)
        return path

    def __repr__(self) -> str:
        head = ["class", "IoU", "F1", "precision", "recall", "pixels"]
        rows = [
            [name, *(_three_digits(row[metric]) for metric in METRICS), f"{row['support']:,}"]
            for name, row in self.per_class.items()
        ]
        macro = self.scores.macro
        rows.append(["mean", *(_three_digits(macro[name]) for name in METRICS), f"{self.pixels:,}"])
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            f"{row[0]:<{widths[0]}}  "
            + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
            for row in (head, *rows)
        ]
        return "\n".join([*lines, f"accuracy {_three_digits(self.accuracy)}"])


def _three_digits(number: float) -> str:
    return "–" if math.isnan(number) else f"{number:.3f}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def evaluate(
    prediction: xr.Dataset | xr.DataArray | str | PathLike[str],
    reference: xr.DataArray | gpd.GeoDataFrame | str | PathLike[str],
    *,
    column: str | None = None,
    background: int | None = None,
    ignore: int = 255,
    classes: ClassTable | None = None,
) -> Evaluation:
    """Compare a map with a reference on the same grid, in one pass and in bounded memory.

    Pixels that are nodata in the map or unlabelled in the reference do not count.

    Parameters
    ----------
    prediction
        A map, or what `open_map` opens; of a Dataset the layer ``classes``. A lazy prediction is
        computed here and not kept: write it first if the map is wanted too.
    reference
        Labels ``(y, x)``, or whatever `open_labels` opens: rasters on the map's grid, vectors of
        any CRS.
    column, background
        For vectors: the attribute that holds the class, and the code between the features.
    ignore
        Code of unlabelled pixels in the reference.
    classes
        The classes to report; by default those of the map, else those of the reference, else the
        codes that occur.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If the grids differ, a code is not among the classes, or no pixel is left to compare.
    FileNotFoundError, OSError
        If a file is missing or unreadable.

    Notes
    -----
    Where the names of all the reference's classes are names of the map's classes too, classes are
    matched by name; else by code.

    Examples
    --------
    >>> print(evaluate("map.tif", "reference.gpkg", column="class"))  # doctest: +SKIP
    """
    from seg4eo_xr.scenes.labels import open_labels

    predicted = class_layer(prediction)
    labels = open_labels(
        reference, like=predicted, column=column, background=background, ignore=ignore
    )
    counts = _count_pairs(predicted, labels, nodata_of(predicted), ignore).compute()
    given = classes or ClassTable.from_attrs(predicted.attrs)
    labelled = ClassTable.from_attrs(labels.attrs)
    if given is not None and labelled is not None:
        counts = _rows_by_name(counts, labelled, given)
    table = given or labelled or _table_of_codes(counts)
    matrix = _select(counts, table.codes)
    if not matrix.any():
        raise ValueError(
            "there is no pixel to compare: wherever the reference has a class, the map is nodata; "
            "do the two overlap?"
        )
    return Evaluation(matrix, table)


def class_layer(prediction: xr.Dataset | xr.DataArray | str | PathLike[str]) -> xr.DataArray:
    """Class layer of a map: ``classes``, or the only layer, whatever its name.

    Raises
    ------
    ValueError
        If there is none, or it does not hold integers.
    """
    if not isinstance(prediction, xr.Dataset | xr.DataArray):
        prediction = open_map(prediction)
    if isinstance(prediction, xr.Dataset):
        # A raster of somebody else's making may call its only layer as it likes.
        name = "classes" if "classes" in prediction else next(iter(prediction), "classes")
        if name not in prediction or (name != "classes" and len(prediction) > 1):
            raise ValueError(
                f"the prediction has no layer 'classes'; its layers are {list(prediction)}"
            )
        prediction = prediction[name]
    if prediction.dtype.kind not in "iu":
        raise ValueError(
            f"a map of classes holds integers, got {prediction.dtype}; open the map with "
            "seg4eo_xr.open_map, which leaves the numbers as they are stored"
        )
    return prediction.transpose("y", "x")


def _rows_by_name(counts: np.ndarray, labelled: ClassTable, given: ClassTable) -> np.ndarray:
    """Move the reference's rows to the codes that the map has for the same names."""
    code_of = dict(zip(given.names, given.codes, strict=True))
    if not set(labelled.names) <= set(code_of) or len(code_of) < len(given):
        return counts
    moved = counts.copy()
    moved[list(labelled.codes)] = 0
    for name, code in zip(labelled.names, labelled.codes, strict=True):
        moved[code_of[name]] += counts[code]
    return moved


def _table_of_codes(counts: np.ndarray) -> ClassTable:
    occurs = (counts.sum(0) + counts.sum(1))[: _BUCKETS - 1]
    return ClassTable.from_codes([int(code) for code in np.flatnonzero(occurs)] or [0])


def confusion_matrix(
    prediction: Array,
    reference: Array,
    codes: Sequence[int],
    *,
    nodata: float | None = 255,
    ignore: float | None = 255,
) -> da.Array:
    """Count the pixels of each pair of classes, lazily and chunk by chunk.

    Parameters
    ----------
    prediction, reference
        Integer codes of the same shape, ``(y, x)``; NumPy, dask or xarray.
    codes
        The classes, 0..255, in the order of rows and columns.
    nodata, ignore
        Codes of missing pixels in the prediction and in the reference; they are not counted.

    Returns
    -------
    dask array of int64, ``(class, class)``
        A row for each class of the reference, a column for each class of the prediction.

    Raises
    ------
    ValueError
        If the shapes differ; when computed, if a code is not among `codes`.

    Examples
    --------
    >>> confusion_matrix(np.array([[1, 2, 2]]), np.array([[1, 1, 255]]), [1, 2]).compute()
    array([[1, 1],
           [0, 0]])
    """
    matrix: da.Array = da.map_blocks(
        _select,
        _count_pairs(prediction, reference, nodata, ignore),
        tuple(codes),
        dtype=np.int64,
        chunks=((len(codes),), (len(codes),)),
        meta=np.empty((0, 0), np.int64),
    )
    return matrix


def _count_pairs(
    prediction: Array, reference: Array, nodata: float | None, ignore: float | None
) -> da.Array:
    """Count pairs of raw codes, ``(257, 257)`` in one chunk; reference in rows."""
    predicted, labels = (
        da.asarray(array.data if isinstance(array, xr.DataArray) else array)
        for array in (prediction, reference)
    )
    if predicted.shape != labels.shape:
        raise ValueError(
            f"the map has {predicted.shape} pixels and the reference {labels.shape}; "
            "warp the reference onto the map's grid with reference.rio.reproject_match(map)"
        )
    blocks = da.map_blocks(
        _count_block,
        predicted,
        labels.rechunk(predicted.chunks, method="tasks"),
        nodata=nodata,
        ignore=ignore,
        dtype=np.int64,
        new_axis=(2, 3),
        chunks=(*((1,) * n for n in predicted.numblocks), (_BUCKETS,), (_BUCKETS,)),
        meta=np.empty((0, 0, 0, 0), np.int64),
    )
    counts: da.Array = blocks.sum(axis=(0, 1), split_every=8)
    return counts


def _count_block(
    predicted: np.ndarray, labels: np.ndarray, nodata: float | None, ignore: float | None
) -> np.ndarray:
    counted = np.ones(labels.shape, bool)
    for values, missing in ((predicted, nodata), (labels, ignore)):
        if missing is not None:
            counted &= values != missing
    pairs = _bucket(labels[counted]) * _BUCKETS + _bucket(predicted[counted])
    counts = np.bincount(pairs, minlength=_BUCKETS**2)
    return counts.reshape(1, 1, _BUCKETS, _BUCKETS)


def _bucket(codes: np.ndarray) -> np.ndarray:
    if codes.dtype == np.uint8:
        return codes.astype(np.intp)
    inside = (codes >= 0) & (codes < _BUCKETS - 1)
    return np.where(inside, codes, _BUCKETS - 1).astype(np.intp)


def _select(counts: np.ndarray, codes: Sequence[int]) -> np.ndarray:
    """Keep the rows and columns of the classes; no other may hold a pixel."""
    chosen = list(codes)
    for what, totals in (("the reference", counts.sum(1)), ("the map", counts.sum(0))):
        totals[chosen] = 0
        unknown = [int(code) for code in np.flatnonzero(totals)]
        if unknown:
            found = [f"{code}" if code < _BUCKETS - 1 else "outside 0..255" for code in unknown]
            raise ValueError(
                f"{what} holds the class codes {', '.join(found)} ({int(totals.sum())} pixels), "
                f"which are not among the classes {chosen}; set those pixels to the ignored code, "
                "or give a class table that has them"
            )
    return counts[np.ix_(chosen, chosen)]
