"""Words into options, and the page that explains a command."""

from __future__ import annotations

import argparse
import inspect
import os
import shutil
import sys
from collections.abc import Mapping
from textwrap import fill
from typing import Any, NoReturn, TextIO, cast

from seg4eo_xr.cli.command import Command, UsageError
from seg4eo_xr.cli.groups import metavar
from seg4eo_xr.cli.option import Option, options_of, plain
from seg4eo_xr.cli.values import from_words
from seg4eo_xr.kinds import choices_of, is_list
from seg4eo_xr.options import suggestion

BOLD, RED = 1, 31
_WIDEST = 96
_USAGE = "usage: "
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_GENERAL = "For every command"
GENERAL_FLAGS: Mapping[str, str] = {
    "dump_config": "Print all options as TOML, as --config takes it, and do nothing else.",
    "json": "Print the result as one JSON document instead of text.",
    "quiet": "No progress bars and messages; warnings and errors are shown all the same.",
    "verbose": "Tell more, and what other libraries log.",
    "debug": "Show where in the code an error came from.",
}
_CONFIG_TEXT = (
    "TOML file with options by name, as patch_size = 256; what the command itself says wins."
)


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the program, and takes no shortened names.

    ``explained`` has the action and the type of each option of a command.
    """

    def __init__(self, prog: str | None = None, **_: Any) -> None:
        super().__init__(prog, allow_abbrev=False, add_help=False)
        self.explained: dict[str, tuple[argparse.Action, Any]] = {}

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the words."""
        raise UsageError(message.removeprefix("argument "))


def command_parser(name: str, command: type[Command], parser: Parser | None = None) -> Parser:
    """Make the parser of a command.

    Parameters
    ----------
    name
        Words that call it.
    command
        Its dataclass.
    parser
        To fill; a new one if None.
    """
    options = options_of(command)
    parser = parser or Parser()
    parser.prog, parser.usage = f"seg4eo-xr {name}", _usage(name, options, command.FIRST_WORD)
    parser.description = _description(command)
    parser.formatter_class = _Page
    groups = {title: parser.add_argument_group(title) for title in [one.group for one in options]}
    for option in options:
        action = _add(groups[option.group], option, stands_first=option.name == command.FIRST_WORD)
        parser.explained[option.name] = action, option.kind
    general = parser.add_argument_group(_GENERAL)
    general.add_argument("--config", metavar="FILE", help=_CONFIG_TEXT)
    for flag, text in GENERAL_FLAGS.items():
        general.add_argument(f"--{flag}", action="store_true", help=text)
    general.add_argument("-h", "--help", action="store_true", help="Show this page.")
    return parser


def split_words(
    name: str, command: type[Command], words: list[str]
) -> tuple[dict[str, Any], argparse.Namespace]:
    """Take the words of a command apart.

    Parameters
    ----------
    name, command
        Of the command.
    words
        What follows its name.

    Returns
    -------
    dict
        Values of the options that the words give.
    Namespace
        What is asked of every command: ``config``, ``json``, ``help`` and so on.

    Raises
    ------
    UsageError
        Where an option or a value is unknown; the nearest is suggested.
    """
    options = {option.name: option for option in options_of(command)}
    found, strange = command_parser(name, command).parse_known_args(
        _flags_alone([_spelled(word) for word in words], options)
    )
    if strange:
        raise UsageError(_strange(strange[0], [*options, *GENERAL_FLAGS, "config"], name))
    values = {}
    for option in options.values():
        given = vars(found).pop(option.name, None)
        if given is not None:
            values[option.name] = given if option.is_flag else _value(option, given)
    return values, found


def paint(text: str, code: int, stream: TextIO) -> str:
    """Colour text for a terminal, and leave it plain elsewhere and where NO_COLOR is set."""
    plainly = not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plainly else f"\x1b[{code}m{text}\x1b[0m"


def page_width() -> int:
    """Letters a line of help."""
    return min(shutil.get_terminal_size().columns, _WIDEST) - 2


def summary(command: type[Command]) -> str:
    """First sentence of what a command is about."""
    return plain((inspect.getdoc(command) or "").partition("\n\n")[0])


class _Page(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **_: Any) -> None:
        super().__init__(prog, max_help_position=26, width=page_width())

    def start_section(self, heading: str | None) -> None:
        super().start_section(heading and paint(heading, BOLD, sys.stdout))


def _usage(name: str, options: tuple[Option, ...], first: str | None) -> str:
    needed = [
        ("" if one.name == first else f"--{one.name} ") + metavar(one.name, one.kind)
        for one in options
        if one.required
    ]
    return fill(
        " ".join([f"seg4eo-xr {name}", *needed, "[options]"]),
        page_width(),
        initial_indent=" " * len(_USAGE),
        subsequent_indent=" " * (len(_USAGE) + 2),
        break_on_hyphens=False,
    ).lstrip()


def _description(command: type[Command]) -> str:
    """Summary, example and the rest of what a command's docstring says."""
    text, _, example = (inspect.getdoc(command) or "").partition("Example: ")
    first, *rest = [plain(part) for part in text.split("\n\n") if part.strip()]
    parts = [fill(first, page_width())]
    parts.append("\n".join(["Example:", *_broken(plain(example), page_width() - 6)]))
    return "\n\n".join([*parts, *(fill(part, page_width()) for part in rest)])


def _broken(line: str, width: int) -> list[str]:
    """Break a command between its options, as a shell reads it."""
    lines = ["  "]
    for number, part in enumerate(line.split(" --")):
        word = f" --{part}" if number else part
        if len(lines[-1]) + len(word) > width:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += word
    return lines


def _add(group: Any, option: Option, *, stands_first: bool) -> argparse.Action:
    text = (option.text + _default_text(option)).replace("%", "%%")
    target = {"dest": option.name, "default": argparse.SUPPRESS}
    flag = f"--{option.name}"
    if option.is_flag:
        hidden = {"const": False, "help": argparse.SUPPRESS, **target}
        group.add_argument(_opposite(option.name), action="store_const", **hidden)
        added = group.add_argument(flag, action="store_const", const=True, help=text, **target)
        return cast("argparse.Action", added)
    several = is_list(option.kind)
    count: dict[str, Any] = {"nargs": "+" if option.required else "*"} if several else {}
    shown = metavar(option.name, option.kind)
    kind = "extend" if several else "store"
    if stands_first:
        group.add_argument(flag, help=argparse.SUPPRESS, **target)
        added = group.add_argument(nargs="?", metavar=shown, help=text, **target)
        return cast("argparse.Action", added)
    added = group.add_argument(flag, action=kind, metavar=shown, help=text, **count, **target)
    return cast("argparse.Action", added)


def _opposite(name: str) -> str:
    return f"--{name.removeprefix('no_')}" if name.startswith("no_") else f"--no_{name}"


def _default_text(option: Option) -> str:
    choices, shown = choices_of(option.kind), metavar(option.name, option.kind)
    told = f" One of {', '.join(choices)}." if choices and shown == "NAME" else ""
    default = option.default
    if option.required or default is None or default is False or default in ((), {}):
        return told
    if default is True:
        return f"{told} (on; {_opposite(option.name)} turns it off)"
    words = " ".join(map(str, default)) if isinstance(default, tuple) else default
    words = f"{words:g}" if isinstance(words, float) else words
    return f"{told} (default: {words})"


def _spelled(word: str) -> str:
    """Write an option with underscores."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def _flags_alone(words: list[str], options: Mapping[str, Option]) -> list[str]:
    """Write ``--flag True`` and ``--flag=False`` as ``--flag`` and as its opposite."""
    result: list[str] = []
    rest = [part for word in words for part in _parted(word, options)]
    for word in rest:
        before = result[-1] if result else ""
        option = options.get(before.removeprefix("--")) if before.startswith("--") else None
        if option is None or not option.is_flag or word.lower() not in _TRUTHS:
            result.append(word)
        elif not _TRUTHS[word.lower()]:
            result[-1] = _opposite(option.name)
    return result


def _parted(word: str, options: Mapping[str, Option]) -> list[str]:
    name, equals, value = word.removeprefix("--").partition("=")
    is_flag = word.startswith("--") and name in options and options[name].is_flag
    return [f"--{name}", value] if equals and is_flag else [word]


def _strange(word: str, known: list[str], command: str) -> str:
    if not word.startswith("-"):
        return f"unexpected {word!r}; options begin with --, see seg4eo-xr {command} --help"
    name = word.lstrip("-").partition("=")[0]
    hint = suggestion(name, known, "--").removeprefix("; ")
    hint = hint or f"seg4eo-xr {command} --help lists the options"
    return f"unknown option --{name}; {hint}"


def _value(option: Option, given: str | list[str]) -> Any:
    try:
        return from_words([given] if isinstance(given, str) else given, option.kind)
    except ValueError as error:
        raise UsageError(f"--{option.name}: {error}") from error
