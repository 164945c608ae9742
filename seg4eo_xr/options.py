"""What all options share: frozen dataclasses, and answers to names that do not exist."""

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


def suggestion(name: str, known: Iterable[str], mark: str = "") -> str:
    """Ask whether the nearest of the known names is meant.

    Parameters
    ----------
    name
        What was asked for.
    known
        What there is.
    mark
        What stands before a name where it is written, as ``--``; without one it is in quotes.

    Returns
    -------
    str
        The end of a sentence; empty where nothing is near.

    Examples
    --------
    >>> "no band 'BO4'" + suggestion("BO4", ["B03", "B04"])
    "no band 'BO4'; did you mean 'B04'?"
    """
    by_lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    if not close:
        return ""
    found = by_lower[close[0]]
    return f"; did you mean {mark + found if mark else repr(found)}?"


def require_choice(name: str, value: object, accepted: tuple[str, ...]) -> None:
    """Raise a ValueError that names the option and its choices where `value` is none of them."""
    if value not in accepted:
        raise ValueError(
            f"{name} must be one of {', '.join(accepted)}, got {value!r}"
            f"{suggestion(str(value), accepted)}"
        )


class OptionSet:
    """What dataclasses of options inherit: to a name that is no field, the nearest is suggested.

    That holds for a new set, as ``TrainConfig(epoch=3)``, and for `dataclasses.replace`.
    """

    def __new__(cls, *_values: Any, **named: Any) -> Self:
        """Refuse names that are no field."""
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for name in named:
            if name not in known:
                near = suggestion(name, known) or "."
                raise TypeError(f"unknown option {name!r}{near} Known: {', '.join(known)}")
        return super().__new__(cls)
