"""Values of options: from the words of a shell, from TOML, and back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from seg4eo_xr.kinds import accepted, choices_of, members_of
from seg4eo_xr.options import suggestion

UNSET = "none"
"""Says of an option that may be left out that it is, where its default is something else."""


def from_words(words: list[str], kind: Any) -> Any:
    """Make a value of the words of a command line.

    Raises
    ------
    ValueError
        If the words are none of what the type accepts; the nearest is suggested.
    """
    if _can_be_unset(kind) and [word.lower() for word in words] == [UNSET]:
        return None
    for part in members_of(kind):
        with suppress(ValueError):
            return _part_from_words(words, part)
    raise ValueError(_refusal(" ".join(words), words, kind))


def from_toml(value: Any, kind: Any) -> Any:
    """Check a value of a TOML file, whose types are stricter than words.

    Raises
    ------
    ValueError
        If it is none of what the type accepts; the nearest is suggested.
    """
    if _can_be_unset(kind) and value == UNSET:
        return None
    for part in members_of(kind):
        with suppress(ValueError):
            return _part_from_toml(value, part)
    raise ValueError(_refusal(value, value if isinstance(value, list) else [value], kind))


def _can_be_unset(kind: Any) -> bool:
    """Whether the word means that there is no value, and is not one of the choices itself."""
    return type(None) in members_of(kind) and UNSET not in choices_of(kind)


def to_toml(value: Any) -> Any:
    """Make a value of a field fit for TOML."""
    if value is None:
        return UNSET
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _refusal(shown: Any, words: list[Any], kind: Any) -> str:
    known = choices_of(kind)
    strange = [word for word in words if isinstance(word, str) and word not in known]
    hint = suggestion(strange[0], known) if strange else ""
    empty = " (it is empty)" if not str(shown).strip() else ""
    return f"{shown!r} is not {accepted(kind)}{empty}{hint}"


def _part_from_words(words: list[str], part: Any) -> Any:
    origin = get_origin(part)
    if origin is tuple:
        return tuple(from_words([word], get_args(part)[0]) for word in words)
    if origin in (dict, Mapping):
        if not words or len(words) % 2:
            raise ValueError("names and values come in pairs")
        item = get_args(part)[1]
        pairs = zip(words[::2], words[1::2], strict=True)
        return {name: from_words([word], item) for name, word in pairs}
    if len(words) != 1 or part is type(None):
        raise ValueError("one word is wanted")
    if origin is Literal:
        return _chosen(words[0], part)
    return _text(words[0], part) if part in (str, Path) else part(words[0])


def _part_from_toml(value: Any, part: Any) -> Any:
    origin = get_origin(part)
    if origin is tuple and isinstance(value, list):
        return tuple(from_toml(one, get_args(part)[0]) for one in value)
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {name: from_toml(one, get_args(part)[1]) for name, one in value.items()}
    if origin is Literal:
        return _chosen(value, part)
    if part is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if part is str and isinstance(value, date):
        return value.isoformat()
    if part in (str, Path) and isinstance(value, str):
        return _text(value, part)
    if origin is None and type(value) is part:
        return value
    return _refuse(value)


def _text(word: str, part: type[str | Path]) -> str | Path:
    """Make a text or path, which an empty word is not: as a path it would be the current folder."""
    return part(word) if word.strip() else _refuse(word)


def _chosen(value: Any, part: Any) -> Any:
    """Take one of the choices, in whatever case it is written."""
    choices = get_args(part)
    if value in choices or not isinstance(value, str):
        return value if value in choices else _refuse(value)
    alike = [one for one in choices if isinstance(one, str) and one.lower() == value.lower()]
    return alike[0] if alike else _refuse(value)


def _refuse(value: Any) -> Any:
    raise ValueError(f"{value!r} does not fit")
