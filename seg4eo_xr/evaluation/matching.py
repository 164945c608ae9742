"""Class tables of two rasters brought into one."""

from __future__ import annotations

from itertools import count

from seg4eo_xr.scenes.classes import ClassTable


def joined(first: ClassTable, second: ClassTable) -> tuple[ClassTable, dict[int, int]]:
    """Join two tables: all classes of the first, and those that only the second has.

    Classes are matched by name where all names of the second are known to the first, or where
    codes are not enough: where the tables have a telling name in common but differ in others. Else
    they are matched by code, as those of tables in two languages.

    Parameters
    ----------
    first
        The table whose codes and names stay.
    second
        The table to match with it.

    Returns
    -------
    ClassTable
        Classes of both.
    dict of int
        Code in it of each code of the second.

    Examples
    --------
    >>> ours = ClassTable.from_codes([1, 2], ["water", "forest"])
    >>> table, codes = joined(ours, ClassTable.from_codes([1, 2], ["forest", "snow"]))
    >>> table.names, codes
    (('water', 'forest', 'snow'), {1: 2, 2: 3})
    """
    moved = _by_name(first, second) if _names_match(first, second) else {}
    codes = {code: moved.get(code, code) for code in second.codes}
    known = set(first.codes)
    rows = list(zip(first.codes, first.names, first.colors, strict=True))
    for code, name, color in zip(second.codes, second.names, second.colors, strict=True):
        if codes[code] not in known:
            rows.append((codes[code], name, color))
    rows.sort()
    return ClassTable.from_codes(*map(list, zip(*rows, strict=True))), codes


def _names_match(first: ClassTable, second: ClassTable) -> bool:
    if len(first.code_of) < len(first) or len(second.code_of) < len(second):
        return False
    ours, theirs = set(first.names), set(second.names)
    return theirs <= ours or ours <= theirs or bool((ours & theirs) - _telling_nothing(second))


def _telling_nothing(table: ClassTable) -> set[str]:
    """Names that many tables have in common, whatever their classes are."""
    return {"background", *(f"class {code}" for code in table.codes)}


def _by_name(first: ClassTable, second: ClassTable) -> dict[int, int]:
    """Code for each code of the second table; names of its own get their code, or the next free."""
    taken = set(first.codes)
    moved = {
        code: first.code_of[name] for name, code in second.code_of.items() if name in first.code_of
    }
    for code in second.codes:
        if code not in moved:
            moved[code] = code
            if code in taken:
                moved[code] = next(free for free in count(max(taken) + 1) if free not in taken)
            taken.add(moved[code])
    return moved
