"""Options of a command in a TOML file: read, and written for the next run."""

from __future__ import annotations

import tomllib
from typing import Any

from seg4eo_xr.cli.command import Command, UsageError
from seg4eo_xr.cli.groups import metavar
from seg4eo_xr.cli.option import Option, options_of
from seg4eo_xr.cli.values import from_toml, to_toml
from seg4eo_xr.options import suggestion


def read_settings(path: str, command: type[Command]) -> dict[str, Any]:
    """Read options of a command from a TOML file.

    Parameters
    ----------
    path
        The file.
    command
        The command's dataclass.

    Returns
    -------
    dict
        Values by option.

    Raises
    ------
    UsageError
        If the file is no TOML, or a key or a value does not fit; the nearest is suggested.
    OSError
        If it cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:  # some editors begin files with a mark
            found = tomllib.loads(file.read())
    except FileNotFoundError as error:
        raise UsageError(
            f"--config {path}: there is no such file; --dump_config > {path} writes one"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--config {path} is no TOML: {error}; write a line an option, as patch_size = 256"
        ) from error
    options = {option.name: option for option in options_of(command)}
    values = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        if isinstance(value, dict) and name not in options:
            raise UsageError(
                f"--config {path}: [{key}] is a table, but options stand by themselves; leave its "
                "heading out"
            )
        if name not in options:
            raise UsageError(_unknown(path, key, options))
        if name in values:
            raise UsageError(f"--config {path} gives {name} twice, by two of its names")
        try:
            values[name] = from_toml(value, options[name].kind)
        except ValueError as error:
            raise UsageError(f"--config {path}: {key} = {error}") from error
    return values


def write_settings(name: str, command: type[Command], values: dict[str, Any]) -> str:
    """Write the options that a command would use as TOML.

    Parameters
    ----------
    name
        Words that call the command.
    command
        Its dataclass.
    values
        Options that are given; the others have their defaults.

    Returns
    -------
    str
        What `read_settings` takes; options without a value are comments.
    """
    from tomlkit import comment, document, dumps, item, nl

    written, title = document(), ""
    written.add(comment(f"seg4eo-xr {name} --config FILE"))
    for option in options_of(command):
        if option.group != title:
            title = option.group
            written.add(nl())
            written.add(comment(title))
        value = values.get(option.name, option.default)
        if option.name not in values and (option.required or value is None):
            needed = ", required" if option.required else ""
            shown = metavar(option.name, option.kind)
            written.add(comment(f"{option.name} = {shown} (not given{needed})"))
        elif value is not None or option.default is not None:
            written.add(option.name, item(_inline(value)))
    return dumps(written)


def _inline(value: Any) -> Any:
    """A mapping on one line, so that no key after it becomes part of it."""
    plain = to_toml(value)
    if not isinstance(plain, dict):
        return plain
    from tomlkit import inline_table

    table = inline_table()
    table.update(plain)
    return table


def _unknown(path: str, key: str, options: dict[str, Option]) -> str:
    hint = suggestion(key, options) or f". Known: {', '.join(options)}"
    return f"--config {path}: unknown option {key!r}{hint}"
