"""Class tables of two rasters brought into one."""

from __future__ import annotations

from itertools import count

from seg4eo_xr.scenes.classes import ClassTable


def joined(
    first: ClassTable, second: ClassTable, *, by_name: bool = False
) -> tuple[ClassTable, dict[int, int]]:
    """Join two tables: all classes of the first, and those that only the second has.

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

    Returns
    -------
    ClassTable
        Classes of both.
    dict of int
        Code in it of each code of the second.

    Raises
    ------
    ValueError
        If names must match, and none does.

    Examples
    --------
    >>> ours = ClassTable.from_codes([1, 2], ["water", "forest"])
    >>> table, codes = joined(ours, ClassTable.from_codes([1, 2], ["Forest", "snow"]))
    >>> table.names, codes
    (('water', 'forest', 'snow'), {1: 2, 2: 3})
    """
    if by_name:
        require_common_names(first, second)
    by_name = by_name or _names_match(first, second)
    moved = _by_name(first, second) if by_name else {}
    codes = {code: moved.get(code, code) for code in second.codes}
    known = set(first.codes)
    rows = list(zip(first.codes, first.names, first.colors, strict=True))
    for code, name, color in zip(second.codes, second.names, second.colors, strict=True):
        if codes[code] not in known:
            rows.append((codes[code], name, color))
    rows.sort()
    return ClassTable.from_codes(*map(list, zip(*rows, strict=True))), codes


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
    if named <= known or (named & known) - {"background"}:
        return
    has = "has no class table" if ours is None else f"has the classes {list(ours.names)}"
    raise ValueError(
        f"the names {list(theirs.names)} were given no codes, and none of them is the map's, which "
        f"{has}; rename the classes of one of the two, or give classes= a table of the map's codes "
        "with these names"
    )


def _keys(table: ClassTable) -> list[str]:
    """Names by which classes are compared."""
    return [name.casefold() for name in table.names]


def _names_match(first: ClassTable, second: ClassTable) -> bool:
    ours, theirs = set(_keys(first)), set(_keys(second))
    if len(ours) < len(first) or len(theirs) < len(second):
        return False
    return theirs <= ours or ours <= theirs or bool((ours & theirs) - _telling_nothing(second))


def _telling_nothing(table: ClassTable) -> set[str]:
    """Names that many tables have in common, whatever their classes are."""
    return {"background", *(f"class {code}" for code in table.codes)}


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
