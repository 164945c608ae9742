"""From the attributes of vector features to class codes, one table for one file or several."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.notices import warn
from seg4eo_xr.scenes.classes import ClassTable, class_name
from seg4eo_xr.scenes.label_options import LabelOptions, LabelWarning
from seg4eo_xr.scenes.matching import BACKGROUND, NAMED_BY_FILE, NUMBERED
from seg4eo_xr.scenes.unlabelled import free_code, warn_of_negative
from seg4eo_xr.scenes.vectors import read_vector

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import geopandas as gpd

_NO_VALUE = ("nan", "<na>", "null")  # texts that tables leave where a value is missing
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_ONE_CLASS = 1  # code of all features where no column names their classes

# Stands for the code of features without a label until that of all classes is known.
_UNLABELLED = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Coding:
    """Which code each feature burns, and which stands where there is none.

    Parameters
    ----------
    codes
        A code for each feature, int64.
    background
        Code of pixels outside all features.
    classes
        The classes that both stand for.
    ignore
        Code of features without a label.
    numbered
        Whether names got their codes for want of any, so that the codes mean nothing elsewhere.
    named_by_file
        Whether the class has the name of its file for want of any.
    """

    codes: np.ndarray
    background: int
    classes: ClassTable
    ignore: int
    numbered: bool = False
    named_by_file: bool = False

    def to_attrs(self) -> dict[str, Any]:
        """Attributes of labels of these codes: the class table, and what of it was made up."""
        made = (NUMBERED if self.numbered else {}) | (NAMED_BY_FILE if self.named_by_file else {})
        return self.classes.to_attrs() | made


def code_features(
    features: gpd.GeoDataFrame, what: str, options: LabelOptions, classes: ClassTable | None
) -> Coding:
    """Choose the codes of features by their column, or one for all where no column is named.

    Parameters
    ----------
    features
        The features.
    what
        What error messages call them.
    options
        Column, background and codes without a label.
    classes
        Gives names their codes, and says which codes there are. By default numbers are codes, and
        names get the codes 1..N in alphabetical order.

    Raises
    ------
    ValueError
        If the column is missing, holds fractions or no value, or a class is not in the table.
    """
    numbered = False
    if options.column is None:
        _require_areas(features, what, options)
        outside = 0 if options.background is None else options.background
        codes = np.full(len(features), _ONE_CLASS, np.int64)
        code_of = {_name_of_all(features, what, options): _ONE_CLASS}
    else:
        outside = _UNLABELLED if options.background is None else options.background
        values = column_of(features, options.column, what)
        codes, code_of, numbered = _codes_of_column(values, what, options, classes)
    names = {code: name for name, code in code_of.items()}
    if options.column is None or options.background is not None:
        names = {outside: BACKGROUND, **names}
        code_of = {BACKGROUND: outside, **code_of}
    if classes is not None:
        code_of |= classes.code_of
    options = options.with_codes(code_of, what)
    unlabelled = options.no_label | {_UNLABELLED}
    codes = np.where(np.isin(codes, list(unlabelled)), _UNLABELLED, codes)
    outside = _UNLABELLED if outside in unlabelled else outside
    kept = sorted(set(names) - unlabelled)
    if not kept:
        raise ValueError(
            f"{what} name no class: the column {options.column!r} holds only missing values "
            "and what is unlabelled"
        )
    if classes is None:
        counts = {code: int((codes == code).sum()) for code in kept if code != options.background}
        warn_of_negative(counts, len(codes), what, unit="features", stacklevel=4)
    ignore = options.ignore
    if ignore is None:
        ignore = free_code([*kept, *(() if classes is None else classes.codes)])
    codes[codes == _UNLABELLED] = ignore
    outside = ignore if outside == _UNLABELLED else outside
    if classes is None:
        table = ClassTable.from_codes(kept, [names[code] for code in kept])
        return Coding(codes, outside, table, ignore, numbered, options.column is None)
    unknown = [code for code in kept if code not in classes.codes]
    if unknown:
        raise ValueError(
            f"{what} hold the class codes {unknown}, which are not in the class table "
            f"{list(classes.codes)}; add them to the table, or name them in unlabelled= "
            "(--unlabelled)"
        )
    return Coding(codes, outside, classes.without(options.no_label), ignore)


def _name_of_all(features: gpd.GeoDataFrame, what: str, options: LabelOptions) -> str:
    """Name of the one class of features without a column: that of their file, if it has one."""
    if options.background == _ONE_CLASS:
        raise ValueError(
            f"background (--background) is {_ONE_CLASS}, which is the code of all features of "
            f"{what} without a column; choose another background, or name the column with the "
            "codes (column=, --column)"
        )
    name = class_name(str(features.attrs.get("name", "")))
    return name if name and name.casefold() != BACKGROUND else "labelled"


def _require_areas(features: gpd.GeoDataFrame, what: str, options: LabelOptions) -> None:
    """Raise where features without a column are points, and nobody says what lies between them."""
    kinds = set(features.geom_type.dropna())
    if kinds and kinds <= {"Point", "MultiPoint"} and options.background is None:
        raise ValueError(
            f"{what} are points: name the column that holds their class with column= (--column), "
            "or say with background=0 (--background 0) that all other pixels are of one class"
        )


def column_of(features: gpd.GeoDataFrame, column: str, what: str) -> Any:
    """Take a column of features as a pandas Series; an error lists the columns there are."""
    known = [str(name) for name in features.columns if name != features.geometry.name]
    if column not in known:
        raise ValueError(f"{what} have no column {column!r}; the columns are {known}")
    if known.count(column) > 1:
        raise ValueError(
            f"{what} have {known.count(column)} columns {column!r}; rename or drop all but one"
        )
    return features[column]


def _present(column: Any, what: str) -> Any:
    """Values of a column that name a class: neither missing nor a text that says so."""
    present = column.dropna()
    texts = present.astype(str).str.strip()
    if isinstance(present.dtype, np.dtype) and present.dtype.kind in "iufb":
        return present
    none = texts.str.casefold().isin(_NO_VALUE)
    if none.any():
        warn(
            f"the column {column.name!r} of {what} holds the text {texts[none].iloc[0]!r} in "
            f"{int(none.sum())} features, which are taken as unlabelled; give them another name if "
            "it is a class",
            LabelWarning,
            stacklevel=5,
        )
    return present[~none & (texts != "")]


def _codes_of_column(
    column: Any, what: str, options: LabelOptions, classes: ClassTable | None
) -> tuple[np.ndarray, dict[str, int], bool]:
    """Code of each feature, and of each class that occurs, and whether these were numbered.

    Missing values are ignored.
    """
    present = _present(column.reset_index(drop=True), what)
    missing = np.ones(len(column), bool)
    missing[present.index] = False
    codes = np.full(len(column), _UNLABELLED, np.int64)
    numbers = whole_numbers(present, what)
    if numbers is not None:
        codes[~missing] = numbers
        return codes, {f"class {int(code)}": int(code) for code in np.unique(numbers)}, False
    texts = [class_name(str(text)) for text in present]
    dropped = [name for name in options.unlabelled if isinstance(name, str)]
    texts = _in_one_spelling(texts, [*dropped, *(() if classes is None else classes.names)], what)
    table = _table_of_names(texts, _reserved(options)) if classes is None else classes
    # what means "no label" need not be in the table
    code_of = dict.fromkeys(dropped, _UNLABELLED)
    code_of |= table.code_of
    unknown = sorted(set(texts) - set(code_of))
    if unknown:
        raise ValueError(
            f"the column {column.name!r} of {what} holds the classes {unknown}, which are not in "
            f"the class table {list(table.names)}; add them to the table, rename them, or name "
            "them in unlabelled= (--unlabelled)"
        )
    codes[~missing] = [code_of[text] for text in texts]
    return codes, {text: code_of[text] for text in set(texts)}, classes is None


def whole_numbers(values: Any, what: str) -> np.ndarray | None:
    """Values of a column as int64, ``None`` where they are names; texts of digits are numbers.

    Raises
    ------
    ValueError
        If the numbers are fractions.
    """
    texts = [value.strip() for value in values if isinstance(value, str)]
    whole = [text for text in texts if _WHOLE.fullmatch(text)]
    if len(whole) < len(texts):
        if whole:
            strange = next(text for text in texts if not _WHOLE.fullmatch(text))
            warn(
                f"the column {values.name!r} of {what} holds texts of digits, as {whole[0]!r}, and "
                f"others, as {strange!r}: all are names, which a class table (classes=, --classes) "
                "gives their codes",
                LabelWarning,
                stacklevel=6,
            )
        return None
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return None
    fractions = numbers[~np.isfinite(numbers) | (numbers != np.floor(numbers))]
    if fractions.size:
        raise ValueError(
            f"the column {values.name!r} of {what} holds fractions, as {fractions[0]:g}, but "
            "class codes are whole numbers or names"
        )
    _warn_of_one_number(texts, what, values)
    return numbers.astype(np.int64)


def _warn_of_one_number(texts: Sequence[str], what: str, column: Any) -> None:
    """Warn where texts that differ are one number, as "011" and "11" are; "11.0" and "11" may."""
    spelt: dict[int, set[str]] = {}
    for text in set(texts):
        spelt.setdefault(int(float(text)), set()).add(text.partition(".")[0].removeprefix("+"))
    for code, found in sorted(spelt.items()):
        if len(found) > 1:
            listed = " and ".join(map(repr, sorted(found)))
            warn(
                f"the column {column.name!r} of {what} holds {listed}, which are one number and so "
                f"one class, {code}; if they are several classes, rename them, as 'a011'",
                LabelWarning,
                stacklevel=7,
            )


def _in_one_spelling(texts: list[str], known: Sequence[str], what: str) -> list[str]:
    """Names as a table has them, in capitals or not; without one as the first of its spellings."""
    spelt = {name.casefold(): name for name in sorted(set(texts), reverse=True)}
    other = sorted({text for text in texts if spelt[text.casefold()] != text})
    if other and not known:
        pairs = ", ".join(f"{text!r} as {spelt[text.casefold()]!r}" for text in other)
        warn(
            f"{what} have names of classes that differ in capitals alone: {pairs}. They are one "
            "class each; a class table (classes=, --classes) tells them apart by code",
            LabelWarning,
            stacklevel=6,
        )
    spelt |= {class_name(name).casefold(): name for name in known}
    return [text if text in known else spelt[text.casefold()] for text in texts]


def _reserved(options: LabelOptions) -> set[int]:
    """Codes that no name is numbered with."""
    return {code for code in (options.ignore, options.background) if code is not None}


def _table_of_names(names: Sequence[str], reserved: Collection[int] = ()) -> ClassTable:
    ordered = sorted(set(names))
    if not ordered:
        # a column of nothing but missing values; the caller says so
        return ClassTable.from_codes([1])
    free = (code for code in count(1) if code not in reserved)
    return ClassTable.from_codes(list(islice(free, len(ordered))), ordered)


def common_classes(
    sources: Sequence[str | Path | gpd.GeoDataFrame], column: str, *, layer: str | None = None
) -> ClassTable:
    """Make one class table for several vector files, so that a name has one code in all of them.

    Parameters
    ----------
    sources
        Vector files or GeoDataFrames.
    column
        Their column that holds the class: whole numbers are codes, names get the codes 1..N in
        alphabetical order.
    layer
        Layer of the files; the first by default.

    Returns
    -------
    ClassTable
        For the argument ``classes`` of `open_labels`.

    Raises
    ------
    FileNotFoundError, OSError
        If a file is missing or unreadable.
    ValueError
        If a file lacks the column, none has a class, or some hold numbers and some names.

    Examples
    --------
    >>> import geopandas as gpd
    >>> from shapely import Point
    >>> north = gpd.GeoDataFrame({"crop": ["wheat", "maize"]}, geometry=[Point(0, 0)] * 2)
    >>> south = gpd.GeoDataFrame({"crop": ["wheat", "rye"]}, geometry=[Point(0, 0)] * 2)
    >>> common_classes([north, south], "crop").names
    ('maize', 'rye', 'wheat')
    """
    options = LabelOptions(column=column, layer=layer)
    codes: set[int] = set()
    names: set[str] = set()
    for number, source in enumerate(sources, start=1):
        found = classes_of_column(source, options, f"labels no. {number}")
        codes |= found[0]
        names |= found[1]
    if codes and names:
        raise ValueError(
            f"the column {column!r} holds codes, such as {min(codes)}, in some of the "
            f"{len(sources)} sources and names, such as {min(names)!r}, in others; bring it into "
            "one form"
        )
    if not codes and not names:
        raise ValueError(f"the column {column!r} names no class in any of {len(sources)} sources")
    return table_of_column(codes, names, options)


def classes_of_column(
    source: str | Path | gpd.GeoDataFrame, options: LabelOptions, what: str = "the labels"
) -> tuple[set[int], set[str]]:
    """Codes or names in the column of a vector file or of features; one of the two is empty."""
    assert options.column is not None
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        what = f"labels {str(source)!r}"
        source = read_vector(source, layer=options.layer, encoding=options.encoding)
    present = _present(column_of(source, options.column, what), what)
    numbers = whole_numbers(present, what)
    if numbers is not None:
        return set(numbers.tolist()), set()
    return set(), set(_in_one_spelling([class_name(str(text)) for text in present], [], what))


def _warn_of_negative_column(codes: set[int], options: LabelOptions) -> None:
    negative = sorted(code for code in codes if code < 0 and code != options.background)
    if negative:
        warn(
            f"the column {options.column!r} holds the negative codes {negative}, which are "
            'classes here; if they mean "no label", say so with unlabelled='
            f"{tuple(negative)} (--unlabelled {' '.join(map(str, negative))}), and if they are "
            "classes, name them in a class table (classes=, --classes)",
            LabelWarning,
            stacklevel=4,
        )


def table_of_column(
    codes: Collection[int], names: Collection[str], options: LabelOptions
) -> ClassTable:
    """Table of the codes or else the names of a column, and of the background where it is one."""
    outside = options.background
    table = _table_of_names([*names], _reserved(options))
    if codes:
        table = ClassTable.from_codes(sorted(codes))
        _warn_of_negative_column(
            set(codes) - {code for code in options.unlabelled if isinstance(code, int)}, options
        )
    if outside is None or outside in table.codes:
        return table
    code_of = {**table.code_of, BACKGROUND: outside}
    rows = sorted((code, name) for name, code in code_of.items())
    return ClassTable.from_codes([code for code, _ in rows], [name for _, name in rows])
