"""A map against a reference: one confusion matrix, counted chunk by chunk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import dask.array as da
import numpy as np
import rasterio
import xarray as xr
from dask.delayed import delayed

from seg4eo_xr.evaluation.boundaries import BorderScores
from seg4eo_xr.evaluation.evaluate_options import EvaluateOptions
from seg4eo_xr.evaluation.pairs import PairCounts
from seg4eo_xr.evaluation.points import read_points, tally_points
from seg4eo_xr.evaluation.result import Evaluation
from seg4eo_xr.evaluation.scenes import combined, paired
from seg4eo_xr.evaluation.split_zones import SPLIT_COLUMN, check_splits, split_areas, store_of
from seg4eo_xr.evaluation.tallies import (
    BORDERS,
    WHOLE,
    Counting,
    count_pairs,
    merge_tallies,
    tally_blocks,
)
from seg4eo_xr.evaluation.zones import zones_of
from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.maps.store import class_layer
from seg4eo_xr.options import changed
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import as_band_y_x
from seg4eo_xr.scenes.label_pictures import is_picture
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.matching import (
    is_numbered,
    joined,
    meant_table,
    require_common_names,
    require_same_classes,
)
from seg4eo_xr.scenes.rasters import is_raster
from seg4eo_xr.scenes.unlabelled import (
    USUAL,
    free_code,
    is_assumed,
    one_warning_of_codes,
    warn_of_assumed,
    warn_of_counted,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    import geopandas as gpd

    from seg4eo_xr.evaluation.points import PointCounts
    from seg4eo_xr.evaluation.tallies import Array, Part
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.label_options import LabelOptions


Map: TypeAlias = "xr.Dataset | xr.DataArray | str | PathLike[str]"
Reference: TypeAlias = "xr.DataArray | xr.Dataset | gpd.GeoDataFrame | str | PathLike[str]"


def evaluate(
    prediction: Map | Sequence[Map],
    reference: Reference | Sequence[Reference],
    options: EvaluateOptions | LabelOptions | None = None,
    *,
    classes: ClassTable | None = None,
    zones: gpd.GeoDataFrame | PatchStore | str | PathLike[str] | None = None,
    **changes: Any,
) -> Evaluation:
    """Compare a map with a reference, in one pass and in bounded memory.

    Pixels that are nodata in the map or unlabelled in the reference do not count.

    Parameters
    ----------
    prediction
        A map, or what `open_map` opens; of a Dataset the layer ``classes``. A lazy prediction is
        computed here and not kept: write it first if the map is wanted too. Or a list of maps: the
        figures of all together, and of each in ``scenes``.
    reference
        Another map, labels ``(y, x)``, or whatever `open_labels` opens: rasters on the map's grid,
        which may cover more, or of any other with ``warp=True``; polygons of any CRS; or points of
        any CRS with a ``column`` of classes, of which each is compared with the pixel under it. For
        a list of maps one reference for all, or a list of as many: files are paired by the words
        and numbers of their names (``map_07.tif`` with ``mask_7.tif``), and by their order where
        the names have nothing in common or the maps are arrays without a file of their own.
    options
        How the reference becomes codes on the map's pixels, and what is counted apart.
    classes
        The classes to report; others are an error. Also the colours of a reference that is a
        picture. By default those of the map's class table and those that only the reference's has;
        codes that occur where there is no table.
    zones
        Polygons of any CRS, or a vector file of them; each zone is evaluated for itself too. Or a
        patch store: the ground of its training, validation and test patches is evaluated each for
        itself, and how far these are apart is told beside.
    **changes
        Fields of `EvaluateOptions` to set, as ``column="class"`` or ``border_widths=(1, 3)``.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If the grids differ, a code is not among the classes, the map has none of the names of a
        column, maps and references cannot be paired, or nothing is left to compare.
    FileNotFoundError, OSError
        If a file is missing or unreadable.

    Notes
    -----
    Classes are matched by name, in capitals or not, where all names of one table are in the other,
    or the tables share a telling name; else by code, which a column of names does not have: where
    the map knows none of its names, that is an error.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, before = synthetic_sentinel2((64, 64), nodata_wedge=False)
    >>> after = before.where(before != 2, 4).assign_attrs(before.attrs).astype("uint8")
    >>> evaluate(after, before).per_class["forest"]["recall"]
    0.0
    """
    if not isinstance(options, EvaluateOptions):
        options = EvaluateOptions(**({} if options is None else vars(options)))
    options = changed(options, EvaluateOptions, changes)
    if zones is None and options.zone_column is not None:
        raise ValueError(
            f"zone_column (--zone_column) is {options.zone_column!r}, but there are no zones; give "
            "them with zones= (--zones)"
        )
    if isinstance(prediction, list | tuple):
        if zones is not None:
            raise ValueError(
                f"zones (--zones) need one map, got {len(prediction)}; join the maps first, as "
                "with `gdalbuildvrt all.vrt *.tif`"
            )
        with one_warning_of_codes():
            compared = {
                name: _compared(one, its_reference, options, classes, None, part=True)
                for name, (one, its_reference) in paired(prediction, reference).items()
            }
        labelled = any(any_label for _, any_label in compared.values())
        evaluation = combined(
            {name: scene for name, (scene, _) in compared.items()},
            one_reference=not isinstance(reference, list | tuple),
        )
    else:
        evaluation, labelled = _compared(prediction, reference, options, classes, zones)
    if not evaluation.pixels:
        raise ValueError(nothing_compared(evaluation.points, labelled=labelled))
    return evaluation


def _compared(
    prediction: Any,
    reference: Any,
    options: EvaluateOptions,
    classes: ClassTable | None,
    zones: Any,
    *,
    part: bool = False,
) -> tuple[Evaluation, bool]:
    """Compare one map with its reference, and tell whether that has a label anywhere on the map.

    There may be no pixel to compare. `part` says that the map is one of many.
    """
    predicted = class_layer(prediction, count=True)
    store = store_of(zones)
    if store is not None:
        zones, options = split_areas(store), replace(options, zone_column=SPLIT_COLUMN)
    counting = Counting(
        nodata_of(predicted),
        None,
        options.border_widths,
        None if zones is None else zones_of(zones, options.zone_column, predicted),
    )
    named = ClassTable.from_attrs(predicted.attrs)
    known = named if classes is None else classes
    if known is not None and USUAL in known.codes and options.ignore is None:
        # the user or the map says that it is a class, so there is nothing to warn of
        options = replace(options, ignore=free_code({USUAL, -1, *known.codes}))
    reference = reference_layer(reference)
    points, what = read_points(reference, options)
    if points is None:
        # a picture has no codes of its own: its colours are those of the classes given
        colors = None if classes is None or not _is_picture(reference) else classes
        labels = open_labels(reference, like=predicted, options=options, classes=colors)
        counting = replace(counting, ignore=labels.rio.nodata)
        tally = merge_tallies(tally_blocks(predicted, labels, counting).compute().ravel())
        told, attrs = None, labels.attrs
    else:
        tally, told, coding = tally_points(points, predicted, what, options, counting)
        attrs = coding.to_attrs()
    if classes is not None:
        require_same_classes(named, classes, "the map")
        named = classes
    _warn_of_reference(tally[WHOLE], attrs, () if named is None else named.codes)
    table, moved = _common_table(tally[WHOLE], named, attrs, strict=bool(classes), part=part)
    matrices = {
        part: counts.relabelled(moved).matrix(table.codes) for part, counts in tally.items()
    }
    evaluation = _evaluation(matrices, table, counting, told)
    if store is not None:
        evaluation = replace(evaluation, splits=check_splits(store))
    return evaluation, tally[WHOLE].labelled > 0


def nothing_compared(points: PointCounts | None = None, *, labelled: bool) -> str:
    """Say why no pixel of a map is compared with its reference.

    Parameters
    ----------
    points
        What became of the points of a reference.
    labelled
        Whether the reference has a class anywhere on the map.
    """
    if points is not None or labelled:
        where = "wherever the reference has a class, the map is nodata"
        return f"there is no pixel to compare: {points or where}; do the two overlap?"
    return (
        "there is no pixel to compare: the reference has no labelled pixel on the map, all are "
        "nodata or unlabelled; check the nodata value of its file, and which codes ignore= and "
        "unlabelled= (--ignore, --unlabelled) name"
    )


def _warn_of_reference(
    counts: PairCounts, attrs: Mapping[Any, Any], classes: Sequence[int]
) -> None:
    """Warn of codes of the reference that may not mean what they are taken for."""
    total = counts.labelled + counts.unlabelled
    if is_assumed(attrs):
        warn_of_assumed(counts.unlabelled, total, "the reference", stacklevel=4)
    if "flag_values" not in attrs:
        pixels = dict(zip(counts.reference.tolist(), counts.counts.sum(1).tolist(), strict=True))
        others = {code: count for code, count in pixels.items() if code not in classes}
        warn_of_counted(others, total, "the reference", attrs, stacklevel=4)


def reference_layer(reference: Any) -> Any:
    """Return the class layer of a reference that is a map with several; any other as it is."""
    is_path = isinstance(reference, str) or hasattr(reference, "__fspath__")
    if isinstance(reference, xr.Dataset) or (is_path and Path(reference, "classes").is_dir()):
        return class_layer(reference)
    return reference


def _is_picture(reference: Any) -> bool:
    """Whether a reference is a raster of red, green and blue."""
    if isinstance(reference, xr.DataArray):
        return is_picture(as_band_y_x(reference, "the reference"))
    if not isinstance(reference, str | Path) or not is_raster(reference):
        return False
    with rasterio.open(reference) as file:
        return file.count == 3 and set(file.dtypes) == {"uint8"}


def _common_table(
    counts: PairCounts,
    named: ClassTable | None,
    attrs: Mapping[Any, Any],
    *,
    strict: bool,
    part: bool,
) -> tuple[ClassTable, dict[int, int]]:
    """Classes to report, and the codes among them of the reference's codes."""
    labelled, by_name = meant_table(attrs), is_numbered(attrs)
    if named is None:
        if labelled is not None and by_name:
            require_common_names(None, labelled)
        # A map without names is held against the reference's codes.
        found = [_table_of(codes) for codes in (counts.reference, counts.prediction)]
        first, second = labelled or found[0], found[1]
        if first is None or second is None:
            return first or second or ClassTable.from_codes([0]), {}
        return joined(first, second, parts=part and labelled is None)[0], {}
    if labelled is None:
        return named, {}
    table, moved = joined(named, labelled, by_name=by_name)
    return (named if strict else table), moved


def _table_of(codes: np.ndarray) -> ClassTable | None:
    return ClassTable.from_codes(codes.tolist()) if len(codes) else None


def _evaluation(
    matrices: dict[Part, np.ndarray],
    table: ClassTable,
    counting: Counting,
    points: PointCounts | None,
) -> Evaluation:
    """Arrange the matrices of all parts."""
    nothing = np.zeros_like(matrices[WHOLE])
    names = [] if counting.zones is None else counting.zones.names
    return Evaluation(
        matrices[WHOLE],
        table,
        {name: Evaluation(matrices.get(("zone", name), nothing), table) for name in names},
        {width: _border_scores(matrices, width) for width in counting.widths},
        points,
    )


def _border_scores(matrices: dict[Part, np.ndarray], width: int) -> BorderScores:
    both, reference, prediction = (matrices["border", str(width), whose] for whose in BORDERS)
    return BorderScores(width, both, reference, prediction, matrices[WHOLE])


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
