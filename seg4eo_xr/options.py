"""Options as frozen dataclasses, single fields of which may be given by name."""

from __future__ import annotations

import difflib
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Options = TypeVar("Options")


def require_choice(name: str, value: object, accepted: tuple[str, ...]) -> None:
    """Raise a ValueError that names the option and its choices where `value` is none of them."""
    if value not in accepted:
        raise ValueError(f"{name} must be one of {', '.join(accepted)}, got {value!r}")


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
