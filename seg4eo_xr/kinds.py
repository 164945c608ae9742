"""What an annotation accepts: told in words, and asked of a value."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np

_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a path",
    str: "text",
}
_PLURALS = {int: "whole numbers", float: "numbers", Path: "paths", str: "names"}
_NUMBERS = {int: Integral, float: Real}


def members_of(kind: Any) -> tuple[Any, ...]:
    """Alternatives of a type, text last since every word is text.

    Examples
    --------
    >>> members_of(str | int | None)
    (<class 'int'>, <class 'NoneType'>, <class 'str'>)
    """
    if get_origin(kind) is Annotated:
        return members_of(get_args(kind)[0])
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return tuple(sorted(parts, key=lambda part: part is str))


def is_list(kind: Any) -> bool:
    """Whether an option takes several words."""
    return any(get_origin(part) in (tuple, dict, Mapping) for part in members_of(kind))


def choices_of(kind: Any) -> tuple[str, ...]:
    """Words that a type names, of its items where it is a list."""
    found: list[str] = []
    for part in members_of(kind):
        if get_origin(part) is Literal:
            found += [str(word) for word in get_args(part)]
        elif get_origin(part) is tuple:
            found += choices_of(get_args(part)[0])
    return tuple(found)


def accepted(kind: Any) -> str:
    """Say what a type accepts.

    Examples
    --------
    >>> accepted(int | Literal["auto"])
    'a whole number or auto'
    >>> accepted(tuple[float, ...])
    'numbers'
    """
    told = []
    for part in members_of(kind):
        choices = choices_of(part)
        if get_origin(part) is tuple:
            item = get_args(part)[0]
            plural = [_PLURALS[one] for one in members_of(item) if one in _PLURALS]
            told.append(" or ".join(plural) or f"one or several of {', '.join(choices)}")
        elif get_origin(part) in (dict, Mapping):
            told.append(f"names, each with {_NAMES[get_args(part)[1]]}")
        elif choices:
            told.append(f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0])
        elif part is not type(None):
            told.append(_NAMES[part])
    return " or ".join(told)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, as far as that can be mistaken.

    Whole numbers pass for real ones, NumPy's for Python's, and lists and arrays for tuples. Text
    may be whatever speaks for itself, as a path does; which of several words it is, is not asked.

    Examples
    --------
    >>> fits(3, float), fits(True, int), fits("B02", tuple[str, ...]), fits("3", int | None)
    (True, False, False, False)
    """
    return any(_fits_part(value, part) for part in members_of(kind))


def _fits_part(value: Any, part: Any) -> bool:
    origin = get_origin(part)
    if origin is tuple:
        several = isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping))
        return several and all(fits(one, get_args(part)[0]) for one in value)
    if origin in (dict, Mapping):
        item = get_args(part)[1]
        return isinstance(value, Mapping) and all(fits(one, item) for one in value.values())
    if origin is Literal:
        return isinstance(value, str)
    if part is bool:
        return isinstance(value, (bool, np.bool_))
    if part in _NUMBERS:
        return isinstance(value, _NUMBERS[part]) and not isinstance(value, bool)
    return value is None if part is type(None) else True
