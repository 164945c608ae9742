"""Class tables of two rasters brought into one: classes are the same where their names are."""

from __future__ import annotations

import warnings
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.label_options import LabelWarning

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

NUMBERED = {"class_numbering": "alphabetical"}
"""Attribute of labels whose names got their codes for want of any."""
NAMED_BY_FILE = {"class_naming": "file"}
"""Attribute of labels of one class that has the name of its file for want of any."""
MADE_UP = frozenset({*NUMBERED, *NAMED_BY_FILE})
"""Attributes that say what of a class table was made up."""
BACKGROUND = "background"


def is_numbered(attrs: Mapping[Any, Any]) -> bool:
    """Whether labels of these attributes have codes that mean nothing elsewhere."""
    return all(attrs.get(name) == value for name, value in NUMBERED.items())


def is_named_by_file(attrs: Mapping[Any, Any]) -> bool:
    """Whether labels of these attributes have a class name that only their file gave."""
    return all(attrs.get(name) == value for name, value in NAMED_BY_FILE.items())


def meant_table(attrs: Mapping[Any, Any]) -> ClassTable | None:
    """Class table of attributes, without a name that only the file gave."""
    table = ClassTable.from_attrs(attrs)
    if table is None or not is_named_by_file(attrs):
        return table
    names = [
        name if name == BACKGROUND else f"class {code}"
        for code, name in zip(table.codes, table.names, strict=True)
    ]
    return ClassTable(table.codes, tuple(names), table.colors)


def names_nothing(table: ClassTable) -> bool:
    """Whether a table has codes alone: its names are made of them."""
    return set(_keys(table)) <= _telling_nothing(table)


def joined(
    first: ClassTable, second: ClassTable, *, by_name: bool = False, parts: bool = False
) -> tuple[ClassTable, dict[int, int]]:
    """Join two tables to compare rasters: all classes of the first, and the second's own.

    Classes are matched by name, in capitals or not, where all names of the second are known to the
    first, or where codes are not enough: where the tables have a telling name in common but differ
    in others. Else they are matched by code, as those of tables in two languages.

    Parameters
    ----------
    first
        The table whose codes and names stay.
    second
        The table to match with it.
    by_name
        Whether codes of one of them mean nothing, so that names must match.
    parts
        Whether these are parts of something larger, which may well have no class in common.

    Returns
    -------
    ClassTable
        Classes of both.
    dict of int
        Code in it of each code of the second.

    Raises
    ------
    ValueError
        If names must match, and none does; if a name, in capitals or not, stands for other codes
        in one table than in the other, and for several in one of them.

    Warns
    -----
    LabelWarning
        If one code has two names, or no class of one table is in the other.

    Examples
    --------
    >>> ours = ClassTable.from_codes([1, 2], ["water", "forest"])
    >>> table, codes = joined(ours, ClassTable.from_codes([1, 2], ["Forest", "snow"]))
    >>> table.names, codes
    (('water', 'forest', 'snow'), {1: 2, 2: 3})
    """
    _require_one_code(first, second, numbered=by_name)
    if by_name:
        require_common_names(first, second)
    numbered, by_name = by_name, by_name or _names_match(first, second)
    moved = _by_name(first, second) if by_name else {}
    codes = {code: moved.get(code, code) for code in second.codes}
    if not parts or not set(first.codes).isdisjoint(codes.values()):
        _warn_of_other_classes(first, second, codes, numbered=numbered)
    return _with_new(first, second, codes), codes


def fitted(
    known: ClassTable,
    own: ClassTable,
    owner: str | Mapping[int, str],
    what: str,
    *,
    numbered: bool = False,
    reserved: Collection[int] = (),
) -> tuple[ClassTable, dict[int, int]]:
    """Add a table to one whose codes are in use, as those of a store are.

    Classes of one name are one class, in capitals or not. Codes that somebody has chosen have to
    agree; names that were numbered for want of codes get the code of their name. New classes come
    after those that are known.

    Parameters
    ----------
    known
        The table whose codes stay.
    own
        The table to add.
    owner
        What error messages call the known table's labels: all of them, or those of each code.
    what
        What error messages call the labels of the other.
    numbered
        Whether the codes of `own` mean nothing.
    reserved
        Codes that stand for no class.

    Returns
    -------
    ClassTable
        Classes of both; a name that is made of its code gives way to another.
    dict of int
        Code in it of each code of `own`.

    Raises
    ------
    ValueError
        If a name has two codes, or a code two names.

    Examples
    --------
    >>> known = ClassTable.from_codes([1, 2], ["maize", "wheat"])
    >>> wheat = ClassTable.from_codes([1, 2], ["rye", "wheat"])
    >>> table, codes = fitted(known, wheat, "the store", "the labels", numbered=True)
    >>> table.names, codes
    (('maize', 'wheat', 'rye'), {1: 3, 2: 2})
    """
    owners = dict.fromkeys(known.codes, owner) if isinstance(owner, str) else owner
    if numbered:
        codes = _renumbered(known, own, owners, what, reserved)
    else:
        codes = {code: code for code in own.codes}
        _require_same_codes(known, own, owners, what)
    return _with_new(_with_telling_names(known, own, codes), own, codes), codes


def recoded(
    values: np.ndarray, codes: Mapping[int, int], ignore: int, dtype: np.dtype[Any], what: str
) -> np.ndarray:
    """Give pixels other codes; the ignored code stays.

    Parameters
    ----------
    values
        Class codes, of any shape and integer dtype.
    codes
        New code of each.
    ignore
        Code of unlabelled pixels.
    dtype
        Dtype of the new codes.
    what
        What error messages call the pixels.

    Raises
    ------
    ValueError
        If a pixel has another code.
    """
    found, position = np.unique(values, return_inverse=True)
    strange = sorted(set(found.tolist()) - {*codes, ignore})
    if strange:
        raise ValueError(
            f"{what} hold the class codes {strange}, which are not in their own class table "
            f"{sorted(codes)}; add them to the table, or set them to {ignore} (ignored)"
        )
    new = np.array([codes.get(code, code) for code in found.tolist()], dtype)
    return new[position].reshape(values.shape)


def label_dtype(codes: Iterable[int], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a dtype of labels where it holds all codes, else int16."""
    limits = np.iinfo(dtype)
    fits = all(limits.min <= code <= limits.max for code in codes)
    return dtype if fits else np.dtype(np.int16)


def require_common_names(ours: ClassTable | None, theirs: ClassTable) -> None:
    """Raise ValueError where names must match, and a map has none of those of its reference.

    Parameters
    ----------
    ours
        Classes of the map; None where it has no table.
    theirs
        Classes of the reference, whose names alone mean something.
    """
    known = set() if ours is None else set(_keys(ours))
    named = set(_keys(theirs))
    if named <= known or (named & known) - {BACKGROUND}:
        return
    has = "has no class table" if ours is None else f"has the classes {list(ours.names)}"
    raise ValueError(
        f"the names {list(theirs.names)} were given no codes, and none of them is the map's, which "
        f"{has}; rename the classes of one of the two, or give classes= a table of the map's codes "
        "with these names"
    )


def require_same_classes(
    own: ClassTable | None, given: ClassTable, what: str
) -> list[tuple[int, str, str]]:
    """Return what a given table renames; raise ValueError where it shuffles names that it shares.

    Parameters
    ----------
    own
        Classes that a raster states; None where it states none.
    given
        Classes that somebody gave for it.
    what
        What error messages call the raster.
    """
    if own is None:
        return []
    telling = [set(_keys(table)) - _telling_nothing(table) for table in (own, given)]
    if telling[0].isdisjoint(telling[1]):
        return _clashes(own, given)
    _require_same_codes(given, own, dict.fromkeys(given.codes, "the given class table"), what)
    return []


def warn_of_renaming(own: ClassTable | None, given: ClassTable, what: str) -> None:
    """Warn where a given table has other names for the codes of labels; see above for the error."""
    renamed = require_same_classes(own, given, what)
    if renamed:
        warnings.warn(
            f"classes= (--classes) has no name that {what} have, so it gives their codes new "
            f"names: {_listed(renamed)}; if these are other classes, give a table with the labels' "
            "own names",
            LabelWarning,
            stacklevel=4,
        )


def _keys(table: ClassTable) -> list[str]:
    """Names by which classes are compared."""
    return [name.casefold() for name in table.names]


def _with_new(first: ClassTable, second: ClassTable, codes: Mapping[int, int]) -> ClassTable:
    """Classes of the first table, and those of the second that have another code."""
    rows = {
        code: (name, color)
        for code, name, color in zip(first.codes, first.names, first.colors, strict=True)
    }
    for code, name, color in zip(second.codes, second.names, second.colors, strict=True):
        rows.setdefault(codes[code], (name, color))
    order = sorted(rows)
    return ClassTable.from_codes(
        order, [rows[code][0] for code in order], [rows[code][1] for code in order]
    )


def _require_one_code(first: ClassTable, second: ClassTable, *, numbered: bool) -> None:
    """Raise where a name stands for several codes, and the other table has it for others.

    Codes of the second that were `numbered` may well become one.
    """
    codes_of: list[dict[str, list[int]]] = [{}, {}]
    for table, found in zip((first, second), codes_of, strict=True):
        for code, key in zip(table.codes, _keys(table), strict=True):
            found.setdefault(key, []).append(code)
    ours, theirs = codes_of
    for key in ours.keys() & theirs.keys():
        several = len(ours[key]) > 1 or (len(theirs[key]) > 1 and not numbered)
        if several and ours[key] != theirs[key]:
            raise ValueError(
                f"the class {key!r} has the codes {ours[key]} in one class table and {theirs[key]} "
                "in the other; give each code its own name, or first bring their pixels together "
                "under one code (reclassify)"
            )


def _names_match(first: ClassTable, second: ClassTable) -> bool:
    ours, theirs = set(_keys(first)), set(_keys(second))
    if len(ours) < len(first) or len(theirs) < len(second):
        return False
    return theirs <= ours or ours <= theirs or bool((ours & theirs) - _telling_nothing(second))


def _telling_nothing(table: ClassTable) -> set[str]:
    """Names that many tables have in common, whatever their classes are."""
    return {BACKGROUND, *map(_made_name, table.codes)}


def _made_name(code: int) -> str:
    """Name of a class that has none."""
    return f"class {code}"


def _by_name(first: ClassTable, second: ClassTable) -> dict[int, int]:
    """Code for each code of the second table; names of its own get their code, or the next free."""
    taken = set(first.codes)
    code_of = dict(zip(_keys(first), first.codes, strict=True))
    pairs = zip(second.codes, _keys(second), strict=True)
    moved = {code: code_of[key] for code, key in pairs if key in code_of}
    for code in second.codes:
        if code not in moved:
            moved[code] = code
            if code in taken:
                moved[code] = next(free for free in count(max(taken) + 1) if free not in taken)
            taken.add(moved[code])
    return moved


def _clashes(first: ClassTable, second: ClassTable) -> list[tuple[int, str, str]]:
    """Codes that have two names, neither of which the other table knows."""
    ours, theirs = dict(zip(first.codes, first.names, strict=True)), set(_keys(second))
    quiet = _telling_nothing(first) | _telling_nothing(second)
    found = []
    for code, name in zip(second.codes, second.names, strict=True):
        other = ours.get(code)
        if other is None or other.casefold() in quiet or name.casefold() in quiet:
            continue
        if other.casefold() not in theirs and name.casefold() not in _keys(first):
            found.append((code, other, name))
    return found


def _listed(clashes: Iterable[tuple[int, str, str]]) -> str:
    return ", ".join(f"{code} is {one!r} and {other!r}" for code, one, other in clashes)


def _warn_of_other_classes(
    first: ClassTable, second: ClassTable, codes: Mapping[int, int], *, numbered: bool
) -> None:
    """Warn where two tables that are compared seem to speak of different classes."""
    if set(first.codes).isdisjoint(codes.values()):
        warnings.warn(
            f"the classes {_named_codes(first)} and {_named_codes(second)} have none in common, so "
            "no pixel of the two can agree; rename or renumber the classes of one of the two "
            "(--classes, classes=) if some are the same",
            LabelWarning,
            stacklevel=3,
        )
        return
    clashes = [] if numbered else _clashes(first, second)
    apart = [clash for clash in clashes if codes[clash[0]] != clash[0]]
    if apart:
        warnings.warn(
            f"a code has two names: {_listed(apart)}; they count as two classes, since the other "
            "classes are matched by name. Rename one of them if they are the same",
            LabelWarning,
            stacklevel=3,
        )
    elif clashes:
        warnings.warn(
            f"the tables have no name of a class in common and are matched by code: "
            f"{_listed(clashes)}; if these are other classes, rename or renumber them",
            LabelWarning,
            stacklevel=3,
        )


def _named_codes(table: ClassTable) -> str:
    return ", ".join(
        f"{code} {name!r}" for code, name in zip(table.codes, table.names, strict=True)
    )


def _require_same_codes(
    known: ClassTable, own: ClassTable, owners: Mapping[int, str], what: str
) -> None:
    """Raise where a name has two codes, or a code two names that say something."""
    codes_of: dict[str, list[int]] = {}
    for code, key in zip(known.codes, _keys(known), strict=True):
        codes_of.setdefault(key, []).append(code)
    name_of = dict(zip(known.codes, known.names, strict=True))
    for code, name in zip(own.codes, own.names, strict=True):
        if name.casefold() == _made_name(code):
            continue  # a code without a name is the class of that code
        same = codes_of.get(name.casefold(), [])
        if same and code not in same:
            raise ValueError(
                f"the class {name!r} has the code {same[0]} in {owners[same[0]]}, but {code} in "
                f"{what}; give it one code in both, or give one class table for all (classes=, "
                "--classes)"
            )
        other = name_of.get(code)
        if other is not None and not same and other.casefold() != _made_name(code):
            raise ValueError(
                f"code {code} is {other!r} in {owners[code]}, but {name!r} in {what}; give one "
                "class table for all (classes=, --classes), or renumber the classes of one of them"
            )


def _renumbered(
    known: ClassTable,
    own: ClassTable,
    owners: Mapping[int, str],
    what: str,
    reserved: Collection[int],
) -> dict[int, int]:
    """Code for each code of a table that was numbered; new names get codes after all others."""
    if names_nothing(known) and not names_nothing(own):
        raise ValueError(
            f"{what} name their classes ({', '.join(own.names)}), but those of "
            f"{next(iter(owners.values()))} are codes without names ({list(known.codes)}); say "
            "which name has which code in a class table (classes=, --classes)"
        )
    code_of: dict[str, int] = {}
    for code, key in zip(known.codes, _keys(known), strict=True):
        if key in code_of and key in _keys(own):
            raise ValueError(
                f"the class {key!r} has the codes {code_of[key]} and {code} in {owners[code]}, so "
                f"that of {what} is one of two; say which name has which code in a class table "
                "(classes=, --classes)"
            )
        code_of[key] = code
    taken = {*known.codes, *reserved}
    codes: dict[int, int] = {}
    for code, key in zip(own.codes, _keys(own), strict=True):
        if key not in code_of:
            free = (new for new in count(max(known.codes) + 1) if new not in taken)
            # what lies between features has a code that somebody chose
            code_of[key] = code if key == BACKGROUND and code not in taken else next(free)
            taken.add(code_of[key])
        codes[code] = code_of[key]
    return codes


def _with_telling_names(known: ClassTable, own: ClassTable, codes: Mapping[int, int]) -> ClassTable:
    """Known classes, named as the other table does where their name is made of their code."""
    better = {codes[code]: name for code, name in zip(own.codes, own.names, strict=True)}
    names = [
        better.get(code, name) if name.casefold() == _made_name(code) else name
        for code, name in zip(known.codes, known.names, strict=True)
    ]
    return ClassTable(known.codes, tuple(names), known.colors)
