"""Several maps, each with its reference, evaluated as one."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.evaluation.boundaries import BorderScores
from seg4eo_xr.evaluation.points import PointCounts
from seg4eo_xr.evaluation.result import Evaluation
from seg4eo_xr.scenes.matching import joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seg4eo_xr.scenes.classes import ClassTable

_LOGGER = logging.getLogger(__name__)


def paired(predictions: Sequence[Any], reference: Any) -> dict[str, tuple[Any, Any]]:
    """Find the reference of each map.

    Parameters
    ----------
    predictions
        Maps or their paths.
    reference
        One reference for all, or a list of as many: paths are paired by name, and by order where
        the names have nothing in common.

    Returns
    -------
    dict
        Map and reference, by the name of the map.

    Raises
    ------
    ValueError
        If the numbers differ, or only some of the names fit.

    Examples
    --------
    >>> paired(["maps/map_2.tif", "maps/map_1.tif"], ["mask_1.tif", "mask_2.tif"])
    {'map_2': ('maps/map_2.tif', 'mask_2.tif'), 'map_1': ('maps/map_1.tif', 'mask_1.tif')}
    """
    if not predictions:
        raise ValueError("prediction (--prediction) is an empty list; give at least one map")
    names = _names(predictions)
    if not isinstance(reference, list | tuple):
        return {name: (one, reference) for name, one in zip(names, predictions, strict=True)}
    if len(reference) != len(predictions):
        raise ValueError(
            f"there are {len(predictions)} maps (prediction, --prediction), but {len(reference)} "
            "references (reference, --reference); give one reference for each map, or one for all"
        )
    ordered = [reference[place] for place in _order(names, _names(reference))]
    return {
        name: (one, its_reference)
        for name, one, its_reference in zip(names, predictions, ordered, strict=True)
    }


def _names(sources: Sequence[Any]) -> list[str]:
    """Distinct names: of the files, or else their positions, from 1."""
    paths = [
        source
        if isinstance(source, str) or hasattr(source, "__fspath__")
        else getattr(source, "encoding", {}).get("source")
        for source in sources
    ]
    names = [
        str(number) if path is None else Path(str(path)).stem
        for number, path in enumerate(paths, start=1)
    ]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else str(number if path is None else path)
        for number, (name, path) in enumerate(zip(names, paths, strict=True), start=1)
    ]


def _order(names: Sequence[str], references: Sequence[str]) -> list[int]:
    """Position of each map's reference: by name, or as given where no name fits."""
    if len(names) == 1:
        return [0]
    for keys, others in ((names, references), (_telling(names), _telling(references))):
        place = {key: position for position, key in enumerate(others)}
        found = [place[key] for key in keys if key in place]
        if len(set(found)) == len(names):
            return found
        if found:
            lone = [name for name, key in zip(names, keys, strict=True) if key not in place]
            raise ValueError(
                f"only {len(found)} of {len(names)} maps have a reference of the same name; "
                f"{', '.join(lone[:5])}{' ...' if len(lone) > 5 else ''} have none: name all "
                "references as their maps, or evaluate these apart"
            )
    _LOGGER.info("maps and references are paired by their order, since no names fit")
    return list(range(len(names)))


def _telling(names: Sequence[str]) -> list[str]:
    """Names without the words and numbers, at the beginning and the end, that all have in common.

    Examples
    --------
    >>> _telling(["tile_10_2020_map", "tile_11_2020_map"])
    ['10', '11']
    """
    words = [re.findall(r"\d+|[^\W\d_]+|[\W_]+", name) for name in names]
    start, end = _shared(words), _shared([word[::-1] for word in words])
    return ["".join(word[start : len(word) - end]) for word in words]


def _shared(words: Sequence[Sequence[str]]) -> int:
    """How many first words all names have in common."""
    same = (len(set(column)) == 1 for column in zip(*words, strict=False))
    return sum(1 for _ in takewhile(bool, same))


def combined(scenes: Mapping[str, Evaluation], *, one_reference: bool) -> Evaluation:
    """Add up the pixels of several maps; their classes are matched as those of two rasters.

    Parameters
    ----------
    scenes
        By name.
    one_reference
        Whether all maps have the same reference, so that its points outside of one may lie in
        another.
    """
    table, places = _all_classes(scenes)
    moved = {name: _in_table(one, places[name], table) for name, one in scenes.items()}
    whole = np.sum([one.matrix for one in moved.values()], axis=0)
    borders: dict[int, BorderScores] = {}
    for width in next(iter(scenes.values())).borders:
        parts = [one.borders[width] for one in moved.values()]
        both, reference, prediction = (
            np.sum([getattr(part, field) for part in parts], axis=0)
            for field in ("both", "reference", "prediction")
        )
        borders[width] = BorderScores(width, both, reference, prediction, whole)
    told = [one.points for one in scenes.values() if one.points is not None]
    points = _all_points(told, one_reference=one_reference) if told else None
    return Evaluation(whole, table, borders=borders, points=points, scenes=moved)


def _all_classes(scenes: Mapping[str, Evaluation]) -> tuple[ClassTable, dict[str, list[int]]]:
    """One table for all maps, and the position in it of each class of each map."""
    table, codes = next(iter(scenes.values())).classes, {}
    for name, one in scenes.items():
        table, codes[name] = joined(table, one.classes)
    place = {code: position for position, code in enumerate(table.codes)}
    return table, {
        name: [place[codes[name][code]] for code in one.classes.codes]
        for name, one in scenes.items()
    }


def _in_table(one: Evaluation, places: list[int], table: ClassTable) -> Evaluation:
    """The same figures over the classes of another table."""

    def spread(matrix: np.ndarray) -> np.ndarray:
        result = np.zeros((len(table), len(table)), np.int64)
        result[np.ix_(places, places)] = matrix
        return result

    borders = {
        width: BorderScores(
            width,
            *map(spread, (found.both, found.reference, found.prediction, found.whole)),
        )
        for width, found in one.borders.items()
    }
    return replace(one, matrix=spread(one.matrix), classes=table, borders=borders)


def _all_points(told: Sequence[PointCounts], *, one_reference: bool) -> PointCounts:
    compared, nodata, unlabelled, outside = (
        sum(getattr(one, name) for one in told)
        for name in ("compared", "nodata", "unlabelled", "outside")
    )
    if one_reference:
        total = sum(vars(told[0]).values())
        outside = max(0, total - compared - nodata - unlabelled)
    return PointCounts(compared, outside, nodata, unlabelled)
