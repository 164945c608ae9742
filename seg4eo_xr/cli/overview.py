"""The page that lists the commands, and what a shell needs to complete them."""

from __future__ import annotations

import sys
from textwrap import TextWrapper

from seg4eo_xr.cli.directory import COMMANDS, STAGES
from seg4eo_xr.cli.parser import BOLD, Parser, command_parser, page_width, paint, summary
from seg4eo_xr.kinds import choices_of

_INDENT = 18
_FIRST = "Segment satellite, aerial and drone imagery: cut patches, train, map, and judge the maps."
_LAST = """\
seg4eo-xr COMMAND --help explains a command. Options are written --patch_size or --patch-size, or
stand in a file: --config run.toml. A first try, of some minutes: seg4eo-xr demo

Exit status: 0 done; 1 a part failed, it is listed and the rest is done; 2 wrong use or input, with
one message; 130 interrupted."""


def overview() -> str:
    """List all commands by stage, each with its first sentence."""
    lines = ["usage: seg4eo-xr COMMAND [options]", "", *_wrapped(_FIRST)]
    for stage, commands in STAGES.items():
        lines += ["", paint(f"{stage}:", BOLD, sys.stdout)]
        for name, command in commands.items():
            lines += _wrapped(summary(command).rstrip("."), f"  {name}", _INDENT)
    for paragraph in _LAST.split("\n\n"):
        lines += ["", *_wrapped(paragraph)]
    return "\n".join(lines)


def _wrapped(text: str, first: str = "", indent: int = 0) -> list[str]:
    lead = first.ljust(indent)
    return TextWrapper(
        page_width(), initial_indent=lead, subsequent_indent=" " * indent, break_long_words=False
    ).wrap(text)


def completion_script(shell: str) -> str:
    """Write the script by which a shell completes commands, options, choices and files.

    Parameters
    ----------
    shell
        One of shtab's, as ``bash``.
    """
    import shtab

    whole = Parser("seg4eo-xr")
    places = {"": whole.add_subparsers()}
    for name, command in COMMANDS.items():
        parent, _, last = name.rpartition(" ")
        if parent not in places:
            places[parent] = places[""].add_parser(parent, help="Cut patches.").add_subparsers()
        parser = places[parent].add_parser(last, help=summary(command))
        command_parser(name, command, parser)
        for action, kind in parser.explained.values():
            if choices_of(kind):
                action.choices = choices_of(kind)
            elif action.metavar in ("FILE", "STORE", "FOLDER"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(whole, shell)
