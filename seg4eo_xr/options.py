"""Options as frozen dataclasses, single fields of which may be given by name."""

from __future__ import annotations

import difflib
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Options = TypeVar("Options")


def with_changes(options: Options, changes: Mapping[str, Any]) -> Options:
    """Replace fields of a dataclass of options.

    Raises
    ------
    TypeError
        If there is no such field; the nearest is suggested.
    """
    known = [field.name for field in fields(options)]  # type: ignore[arg-type]
    for name in changes:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise TypeError(f"unknown option {name!r}; {hint}known: {', '.join(known)}")
    changed: Options = replace(options, **changes)  # type: ignore[type-var]
    return changed
