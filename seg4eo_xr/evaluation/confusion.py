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
from dask.delayed import delayed

from seg4eo_xr.evaluation.pairs import PairCounts, count_pairs
from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.store import open_map
from seg4eo_xr.options import with_changes
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.label_options import LabelOptions
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.staging import commit, staging
from seg4eo_xr.training.metrics import METRICS, Scores, scores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import geopandas as gpd

    from seg4eo_xr.evaluation.pairs import Array


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
    options: LabelOptions | None = None,
    *,
    classes: ClassTable | None = None,
    **changes: Any,
) -> Evaluation:
    """Compare a map with a reference, in one pass and in bounded memory.

    Pixels that are nodata in the map or unlabelled in the reference do not count.

    Parameters
    ----------
    prediction
        A map, or what `open_map` opens; of a Dataset the layer ``classes``. A lazy prediction is
        computed here and not kept: write it first if the map is wanted too.
    reference
        Labels ``(y, x)``, or whatever `open_labels` opens: rasters on the map's grid, or of any
        other with ``warp=True``; vectors of any CRS.
    options
        How the reference becomes codes on the map's pixels.
    classes
        The classes to report; by default those of the map, else those of the reference, else the
        codes that occur.
    **changes
        Fields of `LabelOptions` to set, as ``column="class"``.

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
    predicted = class_layer(prediction)
    options = with_changes(options or LabelOptions(), changes)
    labels = open_labels(reference, like=predicted, options=options)
    counts = count_pairs(predicted, labels, nodata_of(predicted), options.ignore).compute()
    given = classes or ClassTable.from_attrs(predicted.attrs)
    labelled = ClassTable.from_attrs(labels.attrs)
    if given is not None and labelled is not None:
        counts = counts.relabelled(_codes_by_name(labelled, given))
    table = given or labelled or _table_of_codes(counts)
    matrix = counts.matrix(table.codes)
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


def _codes_by_name(labelled: ClassTable, given: ClassTable) -> dict[int, int]:
    """Codes that the map has for the names of the reference's codes, if it has all of them."""
    code_of = dict(zip(given.names, given.codes, strict=True))
    if not set(labelled.names) <= set(code_of) or len(code_of) < len(given):
        return {}
    return {code: code_of[name] for name, code in zip(labelled.names, labelled.codes, strict=True)}


def _table_of_codes(counts: PairCounts) -> ClassTable:
    occurs = sorted({*counts.reference.tolist(), *counts.prediction.tolist()})
    return ClassTable.from_codes(occurs or [0])


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
        The classes, in the order of rows and columns.
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
    counts = count_pairs(prediction, reference, nodata, ignore)
    matrix: da.Array = da.from_delayed(
        delayed(PairCounts.matrix, pure=True)(counts, tuple(codes)),
        (len(codes), len(codes)),
        meta=np.empty((0, 0), np.int64),
    )
    return matrix
