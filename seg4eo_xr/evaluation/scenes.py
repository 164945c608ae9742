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
        One reference for all, or a list of as many: files are paired by the words and numbers of
        their names, and by order where the names have nothing in common. Arrays that come from no
        file, or several of one file, are paired by order.

    Returns
    -------
    dict
        Map and reference, by the name of the map.

    Raises
    ------
    ValueError
        If the numbers differ, only some of the names fit, or a file is given twice.

    Examples
    --------
    >>> paired(["maps/map_2.tif", "maps/map_1.tif"], ["mask_1.tif", "mask_2.tif"])
    {'map_2': ('maps/map_2.tif', 'mask_2.tif'), 'map_1': ('maps/map_1.tif', 'mask_1.tif')}
    """
    if not predictions:
        raise ValueError("prediction (--prediction) is an empty list; give at least one map")
    files = _files(predictions)
    _require_once(predictions, files)
    names = _names(files)
    if not isinstance(reference, list | tuple):
        return {name: (one, reference) for name, one in zip(names, predictions, strict=True)}
    if len(reference) != len(predictions):
        raise ValueError(
            f"there are {len(predictions)} maps (prediction, --prediction), but {len(reference)} "
            "references (reference, --reference); give one reference for each map, or one for all"
        )
    references = _files(reference)
    order = list(range(len(names)))
    # Arrays without a file have no name, and parts of one file have no name of their own.
    if all(None not in of and len(set(of)) == len(of) for of in (files, references)):
        order = _order(names, _names(references))
    return {
        name: (one, reference[place])
        for name, one, place in zip(names, predictions, order, strict=True)
    }


def _is_path(source: Any) -> bool:
    return isinstance(source, str) or hasattr(source, "__fspath__")


def _files(sources: Sequence[Any]) -> list[str | None]:
    """Paths of the files that maps or references come from, as far as they are known."""
    found = (
        source if _is_path(source) else getattr(source, "encoding", {}).get("source")
        for source in sources
    )
    return [None if path is None else str(path) for path in found]


def _require_once(predictions: Sequence[Any], files: Sequence[str | None]) -> None:
    given = [file for one, file in zip(predictions, files, strict=True) if _is_path(one)]
    twice = [str(file) for file, count in Counter(given).items() if count > 1]
    if twice:
        raise ValueError(
            f"prediction (--prediction) names {', '.join(map(repr, twice[:5]))} more than once; "
            "give each map once"
        )


def _names(files: Sequence[str | None]) -> list[str]:
    """Distinct names: of the files, or else their positions, from 1."""
    names = [
        str(number) if file is None else Path(file).stem
        for number, file in enumerate(files, start=1)
    ]
    counts = Counter(names)
    whole = [
        name if counts[name] == 1 else file or name for name, file in zip(names, files, strict=True)
    ]
    counts = Counter(whole)
    return [
        name if counts[name] == 1 else f"{name} ({number})"
        for number, name in enumerate(whole, start=1)
    ]


def _order(names: Sequence[str], references: Sequence[str]) -> list[int]:
    """Position of each map's reference: by name, or as given where no name fits."""
    if len(names) == 1:
        return [0]
    ways = [
        _equal(names, references),
        _equal(_telling(names), _telling(references)),
        _most_alike(_own_words(names), _own_words(references)),
    ]
    for found in ways:
        order = [place for place in found if place is not None]
        if len(set(order)) == len(names):
            return order
    fitting = max(ways, key=lambda found: len({*found} - {None}))
    count = len({*fitting} - {None})
    if count or _some_alike(names, references):
        lone = [name for name, place in zip(names, fitting, strict=True) if place is None]
        raise ValueError(
            f"only {count} of {len(names)} maps have a reference of the same name; look at "
            f"{', '.join((lone or names)[:5])}{' ...' if len(lone or names) > 5 else ''}: name all "
            "references as their maps, or evaluate these apart"
        )
    _LOGGER.info("maps and references are paired by their order, since no names fit")
    return list(range(len(names)))


def _equal(keys: Sequence[Any], others: Sequence[Any]) -> list[int | None]:
    """Position of the one equal key, where there is just one."""
    return [others.index(key) if others.count(key) == 1 else None for key in keys]


def _most_alike(words: Sequence[set[str]], others: Sequence[set[str]]) -> list[int | None]:
    """Position of the name with the most words in common, where there is just one."""
    found: list[int | None] = []
    for own in words:
        common = [len(own & other) for other in others]
        best = max(common)
        found.append(common.index(best) if best and common.count(best) == 1 else None)
    return found


def _some_alike(names: Sequence[str], references: Sequence[str]) -> bool:
    words, others = _own_words(names), _own_words(references)
    return any(own & other for own in words for other in others)


def _own_words(names: Sequence[str]) -> list[set[str]]:
    """Words and numbers of each name that not all names have."""
    words = [set(_words(name)) for name in names]
    common = set.intersection(*words)
    return [own - common for own in words]


def _words(name: str) -> list[str]:
    """Words in small letters and numbers without leading zeros.

    Examples
    --------
    >>> _words("Tile_07-b")
    ['tile', '7', 'b']
    """
    found = re.findall(r"\d+|[^\W\d_]+", name.casefold())
    return [str(int(word)) if word.isdecimal() else word for word in found]


def _telling(names: Sequence[str]) -> list[list[str]]:
    """Words of names without those, at the beginning and the end, that all have in common.

    Examples
    --------
    >>> _telling(["tile_10_2020_map", "tile_11_2020_map"])
    [['10'], ['11']]
    """
    words = [_words(name) for name in names]
    start, end = _shared(words), _shared([word[::-1] for word in words])
    return [word[start : len(word) - end] for word in words]


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
        table, codes[name] = joined(table, one.classes, parts=True)
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
