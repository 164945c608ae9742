"""What all options share: frozen dataclasses, and answers to names that do not exist."""

from __future__ import annotations

import difflib
import re
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_type_hints

from seg4eo_xr.kinds import accepted, fits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_Options = TypeVar("_Options", bound="OptionSet")


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
    by_key = {_key(one): one for one in known}
    asked = _key(name)
    close = difflib.get_close_matches(asked, by_key, cutoff=0.5)
    if not close and len(asked) > 2:  # an abbreviation, as val for validation
        close = [one for one in by_key if one.startswith(asked)]
    if not close:
        return ""
    # Letters that changed places are a slip of the hand: `modle` is nearer to `model` than `mode`.
    swapped = [one for one in close if sorted(one) == sorted(asked)]
    found = by_key[(swapped or close)[0]]
    return f"; did you mean {mark + found if mark else repr(found)}?"


def _key(name: str) -> str:
    """What is alike in the spellings of a name: B8 and B08, UnetPP and unet++."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", name.lower().replace("+", "p"))


def require_choice(name: str, value: object, accepted: tuple[str, ...]) -> None:
    """Raise a ValueError that names the option and its choices where `value` is none of them."""
    if value not in accepted:
        raise ValueError(
            f"{name} must be one of {', '.join(accepted)}, got {value!r}"
            f"{suggestion(str(value), accepted)}"
        )


class OptionSet:
    """What dataclasses of options inherit: names and values are held against the fields.

    To a name that is no field the nearest is suggested, and a value of another type, as
    ``TrainConfig(epochs="3")``, meets the option's name. That holds for a new set and for
    `dataclasses.replace`.
    """

    def __new__(cls, *values: Any, **named: Any) -> Self:
        """Refuse names that are no field, and values that are not of its type."""
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for name in named:
            if name not in known:
                near = suggestion(name, known) or "."
                raise TypeError(f"unknown option {name!r}{near} Known: {', '.join(known)}")
        kinds = _kinds_of(cls)  # type: ignore[arg-type]
        for name, value in [*zip(known, values, strict=False), *named.items()]:
            _require_kind(name, value, kinds[name])
        return super().__new__(cls)


def changed(options: _Options | None, kind: type[_Options], changes: Mapping[str, Any]) -> _Options:
    """Options, the defaults if None, with single fields changed.

    Parameters
    ----------
    options
        What to change.
    kind
        What it has to be.
    changes
        Values by the names of the fields.

    Raises
    ------
    TypeError
        If `options` are something else, or a change is no field's or of another type.
    """
    _require_set(options, kind)
    return replace(kind() if options is None else options, **changes)  # type: ignore[type-var]


def _require_set(given: object, kind: type[OptionSet]) -> None:
    if given is None or isinstance(given, kind):
        return
    remedy = ""
    if isinstance(given, dict):
        written = ", ".join(f"{name}={value!r}" for name, value in given.items())
        remedy = f"; write {kind.__name__}({written})"
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    raise TypeError(f"{article} {kind.__name__} is wanted, got {type(given).__name__}{remedy}")


@cache
def _kinds_of(options: type[OptionSet]) -> dict[str, Any]:
    return get_type_hints(options)


def _require_kind(name: str, value: object, kind: Any) -> None:
    if fits(value, kind):
        return
    remedy = f"; give ({value!r},)" if fits((value,), kind) else ""
    raise TypeError(f"{name} must be {accepted(kind)}, got {value!r}{remedy}")
