"""The options of a command, read from its dataclass and those among its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, cast, get_type_hints

from docstring_parser import parse_from_object

from seg4eo_xr.cli.groups import GROUPS, OPTIONAL, RARE, REQUIRED
from seg4eo_xr.kinds import members_of


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Parameters
    ----------
    name
        The field's.
    kind
        Its annotation.
    default
        What holds where it is not given; `dataclasses.MISSING` where it must be.
    text
        What it is about.
    group
        Title under which it is explained.
    """

    name: str
    kind: Any
    default: Any
    text: str
    group: str

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is MISSING

    @property
    def is_flag(self) -> bool:
        """Whether it is on or off."""
        return bool in members_of(self.kind)


def options_of(command: type[Any]) -> tuple[Option, ...]:
    """List the options of a command: those that it needs, its own, and those of its dataclasses.

    A field of its own stands for one of the same name in those dataclasses.

    Parameters
    ----------
    command
        A dataclass.

    Returns
    -------
    tuple of Option
        In the order in which they are explained.
    """
    found = list(_walk(command, OPTIONAL))
    topics = dict.fromkeys(option.group for option in found)
    order = list(dict.fromkeys([REQUIRED, OPTIONAL, *topics]))
    # A stable sort: options keep their order within a group.
    return tuple(
        sorted(found, key=lambda option: (option.group == RARE, order.index(option.group)))
    )


def build(command: type[Any], values: dict[str, Any]) -> Any:
    """Make a command of the values of its options.

    Parameters
    ----------
    command
        A dataclass.
    values
        By name; what is missing has its default.

    Raises
    ------
    ValueError, TypeError
        Where values do not go together.
    """
    kinds = get_type_hints(command)
    own = {}
    for one in fields(command):
        if is_dataclass(kinds[one.name]):
            own[one.name] = build(kinds[one.name], values)
        elif one.name in values:
            own[one.name] = values[one.name]
    return command(**own)


def _walk(owner: type[Any], group: str) -> Iterator[Option]:
    kinds, texts = get_type_hints(owner, include_extras=True), field_texts(owner)  # type: ignore[arg-type]
    special = {
        name: title for title, names in GROUPS.get(owner.__name__, {}).items() for name in names
    }
    for one in fields(owner):
        kind, text = kinds[one.name], texts.get(one.name, "")
        if is_dataclass(kind):
            title = text.partition(".")[0] if group == OPTIONAL else group
            inner = _walk(cast("type[Any]", kind), title)
            yield from (option for option in inner if option.name not in kinds)
        else:
            default = _default(one)
            if kind is float and isinstance(default, int):
                default = float(default)
            title = REQUIRED if default is MISSING else special.get(one.name, group)
            yield Option(one.name, kind, default, text, title)


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


@cache
def field_texts(owner: type[Any]) -> dict[str, str]:
    """What the docstrings of a dataclass, and of those it is made from, say of its fields."""
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__[:-1]):
        for parameter in parse_from_object(base).params:
            for name in parameter.arg_name.split(", "):
                found[name] = plain(parameter.description or "")
    return found


def plain(text: str) -> str:
    """Text without line breaks and marks of code."""
    return re.sub(r"\s+", " ", re.sub(r"`{1,2}", "", text)).strip()
