"""From the words of a command line to a command, its answer and an exit status.

Exit status: 0 done, 1 a part failed or an error of the program's own, 2 wrong use or input,
130 interrupted (SIGINT), 143 terminated (SIGTERM).
"""

from __future__ import annotations

import contextlib
import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from seg4eo_xr import __version__
from seg4eo_xr.cli.answers import plain
from seg4eo_xr.cli.command import Command, PartlyFailedError, Told, UsageError
from seg4eo_xr.cli.directory import COMMANDS
from seg4eo_xr.cli.old_names import command_of_script, renamed
from seg4eo_xr.cli.option import build, options_of
from seg4eo_xr.cli.overview import overview
from seg4eo_xr.cli.parser import GENERAL_FLAGS, RED, command_parser, paint, split_words
from seg4eo_xr.cli.settings import read_settings, write_settings
from seg4eo_xr.cli.voices import say, steady_streams, voices
from seg4eo_xr.notices import Terminated
from seg4eo_xr.options import suggestion

_INTERRUPTED = ("interrupted", 130)
_HELP = ("-h", "--help", "help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        The words after ``seg4eo-xr``; those of the process if None.

    Returns
    -------
    int
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Wherever they stand, since wrong words have to be told in the right way too.
    debug, as_json = "--debug" in words, "--json" in words
    with steady_streams():
        try:
            return _answer(words)
        except PartlyFailedError as error:
            return _end(error, 1, as_json=as_json)
        except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
            if debug:
                raise
            return _end(error, 2, as_json=as_json)
        except KeyboardInterrupt as interrupt:
            if debug:
                raise
            ended = isinstance(interrupt, Terminated)
            word, status = ("terminated", 143) if ended else _INTERRUPTED
            print("\n".join([word, *getattr(interrupt, "__notes__", ())]), file=sys.stderr)
            return status


def _answer(words: list[str]) -> int:
    """Do what the words ask for."""
    if words == ["--version"]:
        say(f"seg4eo-xr {__version__}")
        return 0
    if not words or words[0] in _HELP:
        if not words[1:]:
            if not words:
                print(overview(), file=sys.stderr)
                return 2
            say(overview())
            return 0
        words = [*words[1:], "--help"]
    early = list(takewhile(lambda word: word.removeprefix("--") in GENERAL_FLAGS, words))
    name, command, rest = _command(words[len(early) :])
    rest, notes = renamed(name, rest)
    values, general = split_words(name, command, [*rest, *early])
    if general.help:
        say(command_parser(name, command).format_help(), end="")
        return 0
    if general.config is not None:
        values = read_settings(general.config, command) | values
    values = command.completed(values)
    if general.dump_config:
        say(_dump(name, command, values), end="")
        return 0
    if notes and not general.quiet:
        print(*notes, sep="\n", file=sys.stderr)
    _require_all(name, command, values)
    with voices(quiet=general.quiet, verbose=general.verbose):
        return _run(build(command, values), general)


def _run(command: Command, general: Namespace) -> int:
    """Run a command; whatever its parts print beside its answer is no answer."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            told = command.run(progress=sys.stderr.isatty() and not general.quiet)
    except PartlyFailedError as error:
        if error.told is not None:
            _say(error.told, as_json=general.json)
        raise
    _say(told, as_json=general.json)
    return 0


def _say(told: Told, *, as_json: bool) -> None:
    text = told.text
    if as_json:
        # no letter of a path may be replaced where a program reads it
        escaped = (getattr(sys.stdout, "encoding", None) or "utf-8").lower() != "utf-8"
        text = json.dumps(plain(told.data), ensure_ascii=escaped, indent=2)
    say(text)


def _end(error: Exception, status: int, *, as_json: bool) -> int:
    """Say what is wrong: one message, for machines the last line of standard error."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        # What the system says, without its number.
        text = f"{error.filename}: {error.strerror}"
    message = "\n".join([text, *getattr(error, "__notes__", ())])
    if as_json:
        print(json.dumps({"error": message, "status": status}), file=sys.stderr)
    else:
        print(f"{paint('error:', RED, sys.stderr)} {message}", file=sys.stderr)
    return status


def _command(words: list[str]) -> tuple[str, type[Command], list[str]]:
    """Find the command that the first words name."""
    if not words:
        raise UsageError("a command is missing; seg4eo-xr --help lists them")
    for size in (2, 1):
        name = " ".join(words[:size])
        if name in COMMANDS:
            return name, COMMANDS[name], words[size:]
    if words[0] == "extract" and (not words[1:] or words[1].startswith("-")):
        return _command(["extract", "single", *words[1:]])
    instead = command_of_script(*words[:2])
    if instead is not None:
        raise UsageError(
            f"{words[0]} is a script of SemanticSeg4EO; its options are understood by "
            f"seg4eo-xr {instead}, see 'Moving over' in the README"
        )
    asked = " ".join(words[:2]) if words[0] == "extract" else words[0]
    hint = suggestion(asked, COMMANDS) or "; seg4eo-xr --help lists them"
    raise UsageError(f"unknown command {asked!r}{hint}")


def _dump(name: str, command: type[Command], values: dict[str, Any]) -> str:
    """Options as TOML; where none is missing they are also checked."""
    if all(option.name in values for option in options_of(command) if option.required):
        build(command, values)
    return write_settings(name, command, values)


def _require_all(name: str, command: type[Command], values: dict[str, Any]) -> None:
    first = command.FIRST_WORD
    missing = [
        one.name if one.name == first else f"--{one.name}"
        for one in options_of(command)
        if one.required and one.name not in values
    ]
    if missing:
        raise UsageError(f"{' and '.join(missing)} must be given; see seg4eo-xr {name} --help")
